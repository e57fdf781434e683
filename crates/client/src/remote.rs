use std::fmt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::error::{Tried, explain_connect};
use super::{Error, Flavor, Https};

/// Where a daemon listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Remote {
    /// A unix socket of a daemon on this machine.
    Unix(PathBuf),
    /// A server, or the members of a cluster, over HTTPS.
    Https(Box<Https>),
}

/// A place to look for a daemon, and what brought us there.
struct Candidate {
    /// The variable that names it, or `None` for one of the usual places.
    variable: Option<&'static str>,
    socket: PathBuf,
    flavor: Flavor,
}

/// The variables that name a daemon, strongest first: those of the `incus` client, then of `lxc`.
const VARIABLES: [(&str, &str, Flavor); 4] = [
    ("INCUS_SOCKET", "", Flavor::Incus),
    ("INCUS_DIR", "unix.socket", Flavor::Incus),
    ("LXD_SOCKET", "", Flavor::Lxd),
    ("LXD_DIR", "unix.socket", Flavor::Lxd),
];

/// Where packages put their socket: Incus, LXD's snap, LXD's distribution package.
const USUAL: [(&str, Flavor); 4] = [
    ("/run/incus/unix.socket", Flavor::Incus),
    ("/var/lib/incus/unix.socket", Flavor::Incus),
    ("/var/snap/lxd/common/lxd/unix.socket", Flavor::Lxd),
    ("/var/lib/lxd/unix.socket", Flavor::Lxd),
];

impl Remote {
    /// Reads a remote as people write it: `unix:///path`, `unix:/path`, a path that begins with `/`, `./` or `../`, or
    /// `https://HOST[:PORT]`, which is known by the authorities of this system; [`Https`] has more choices.
    ///
    /// # Errors
    /// [`Error::InvalidRemote`] for anything else.
    ///
    /// ```
    /// use malleus_client::Remote;
    ///
    /// let remote = Remote::parse("unix:///run/incus/unix.socket")?;
    /// assert_eq!(remote, Remote::parse("/run/incus/unix.socket")?);
    /// # Ok::<(), malleus_client::Error>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, Error> {
        let invalid = |reason: &str| Error::InvalidRemote {
            remote: text.to_owned(),
            reason: reason.to_owned(),
        };
        if text.starts_with("https://") || text.starts_with("http://") {
            return Ok(Self::Https(Box::new(Https::at(text.parse()?))));
        }
        let path = text
            .strip_prefix("unix://")
            .or_else(|| text.strip_prefix("unix:"))
            .unwrap_or(text);
        match path {
            "" => Err(invalid("the path of the socket is missing")),
            _ if ["/", "./", "../"].iter().any(|s| path.starts_with(s)) => {
                Ok(Self::Unix(PathBuf::from(path)))
            }
            _ => Err(invalid(
                "a socket is written as an absolute path or as unix:///path, a server as https://HOST:PORT",
            )),
        }
    }

    /// Finds the daemon of this machine.
    ///
    /// In this order: the variables `INCUS_SOCKET`, `INCUS_DIR`, `LXD_SOCKET` and `LXD_DIR`, read by
    /// `environment`; then the usual sockets of Incus, of LXD's snap and of LXD's package. A variable that
    /// is set decides, whether or not something listens there: falling back to another daemon would do
    /// the work in the wrong place. Of the usual sockets the first that accepts a connection is taken.
    ///
    /// # Errors
    /// [`Error::NoDaemon`] with every place that was tried and why it did not do.
    ///
    /// ```no_run
    /// use malleus_client::{Client, Remote};
    ///
    /// let remote = Remote::discover(&|name| std::env::var(name).ok())?;
    /// let client = Client::connect(&remote)?;
    /// # Ok::<(), malleus_client::Error>(())
    /// ```
    pub fn discover(environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        Self::first(candidates(environment))
    }

    /// Finds the daemon of one flavor on this machine, as that flavor's client does.
    ///
    /// # Errors
    /// [`Error::NoDaemon`] as for [`Remote::discover`].
    pub fn discover_flavor(
        flavor: Flavor,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let of_brand = |variable: &str| {
            VARIABLES
                .iter()
                .any(|(name, _, of)| *name == variable && *of == flavor)
        };
        let mut candidates = candidates(&|name| environment(name).filter(|_| of_brand(name)));
        candidates.retain(|candidate| candidate.flavor == flavor);
        Self::first(candidates)
    }

    /// Whether a variable names the daemon of this machine to talk to.
    pub fn is_named(environment: &dyn Fn(&str) -> Option<String>) -> bool {
        VARIABLES
            .iter()
            .any(|(name, _, _)| environment(name).is_some_and(|value| !value.is_empty()))
    }

    fn first(candidates: Vec<Candidate>) -> Result<Self, Error> {
        let mut tried = Vec::new();
        for candidate in candidates {
            match UnixStream::connect(&candidate.socket) {
                Ok(_) => return Ok(Self::Unix(candidate.socket)),
                Err(error) => tried.push(Tried {
                    place: candidate.to_string(),
                    why: explain_connect(&error, Some(candidate.flavor)),
                }),
            }
        }
        Err(Error::NoDaemon { tried })
    }

    /// The unix socket, for a remote that has one.
    pub fn socket(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Https(_) => None,
        }
    }

    /// The host part of URLs: on a unix socket servers accept any name.
    pub(super) fn host(&self) -> String {
        match self {
            Self::Unix(_) => "malleus".to_owned(),
            Self::Https(server) => server.authority(),
        }
    }
}

fn candidates(environment: &dyn Fn(&str) -> Option<String>) -> Vec<Candidate> {
    let named = VARIABLES.into_iter().find_map(|(variable, file, flavor)| {
        let value = environment(variable).filter(|value| !value.is_empty())?;
        let path = Path::new(&value);
        Some(Candidate {
            variable: Some(variable),
            socket: if file.is_empty() {
                path.to_owned()
            } else {
                path.join(file)
            },
            flavor,
        })
    });
    if let Some(named) = named {
        return vec![named];
    }
    let usual = USUAL.into_iter().map(|(socket, flavor)| Candidate {
        variable: None,
        socket: PathBuf::from(socket),
        flavor,
    });
    usual.collect()
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.variable {
            Some(variable) => write!(f, "{} ({variable})", self.socket.display()),
            None => write!(f, "{}", self.socket.display()),
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Https(server) => f.write_str(&server.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Remote, candidates};

    /// The variables that are set, and the places that are tried.
    type Case = (
        &'static [(&'static str, &'static str)],
        &'static [&'static str],
    );

    #[test]
    fn discovery_order() {
        let cases: [Case; 6] = [
            (
                &[],
                &[
                    "/run/incus/unix.socket",
                    "/var/lib/incus/unix.socket",
                    "/var/snap/lxd/common/lxd/unix.socket",
                    "/var/lib/lxd/unix.socket",
                ],
            ),
            (
                &[
                    ("INCUS_SOCKET", "/a"),
                    ("INCUS_DIR", "/b"),
                    ("LXD_SOCKET", "/c"),
                ],
                &["/a (INCUS_SOCKET)"],
            ),
            (
                &[("INCUS_DIR", "/b"), ("LXD_SOCKET", "/c")],
                &["/b/unix.socket (INCUS_DIR)"],
            ),
            (
                &[("LXD_SOCKET", "/c"), ("LXD_DIR", "/d")],
                &["/c (LXD_SOCKET)"],
            ),
            (&[("LXD_DIR", "/d")], &["/d/unix.socket (LXD_DIR)"]),
            (
                &[("INCUS_SOCKET", ""), ("LXD_DIR", "/d")],
                &["/d/unix.socket (LXD_DIR)"],
            ),
        ];
        for (variables, expected) in cases {
            let environment = |name: &str| {
                let found = variables.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let found: Vec<String> = candidates(&environment)
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(found, expected, "{variables:?}");
        }
    }

    #[test]
    fn a_named_daemon_that_is_away_is_an_error_that_says_so() {
        let environment =
            |name: &str| (name == "LXD_SOCKET").then(|| "/nonexistent/unix.socket".to_owned());
        let error = Remote::discover(&environment).unwrap_err().to_string();
        assert_eq!(
            error,
            "no LXD or Incus daemon found: /nonexistent/unix.socket (LXD_SOCKET): there is no such socket"
        );
    }

    #[test]
    fn remotes_as_people_write_them() {
        for (text, expected) in [
            ("/run/x", Ok("/run/x")),
            ("unix:///run/x", Ok("/run/x")),
            ("unix:/run/x", Ok("/run/x")),
            ("./x", Ok("./x")),
            ("unix://", Err("the path of the socket is missing")),
            ("", Err("the path of the socket is missing")),
            ("https://host", Ok("https://host:8443")),
            ("http://host:8443", Err("over https:// alone")),
            ("local", Err("written as an absolute path")),
        ] {
            match (Remote::parse(text), expected) {
                (Ok(remote), Ok(path)) => assert_eq!(remote.to_string(), path),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
    }
}
