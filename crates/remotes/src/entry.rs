use std::fmt;
use std::path::PathBuf;

use malleus_client::{Address, Bearer, Fingerprint, Flavor};

/// Who keeps a remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// malleus itself.
    Own,
    /// The `incus` client.
    Incus,
    /// The `lxc` client.
    Lxc,
}

impl Origin {
    /// `malleus`, `incus` or `lxc`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Own => "malleus",
            Self::Incus => "incus",
            Self::Lxc => "lxc",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a remote is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Wherever the daemon of this flavor listens on this machine.
    Here(Flavor),
    /// A unix socket.
    Socket(PathBuf),
    /// One or more addresses of one server or cluster.
    Https(Vec<Address>),
    /// A server that has images alone.
    Images(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(flavor) => write!(f, "the {} of this machine", flavor.title()),
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Https(addresses) => {
                let each: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                f.write_str(&each.join(" "))
            }
            Self::Images(address) => f.write_str(address),
        }
    }
}

/// By what a server's certificate is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// By the authorities of this system.
    System,
    /// By its fingerprint.
    Fingerprint(Fingerprint),
    /// By a file with the certificate, where there is one.
    File(PathBuf),
}

/// A remote by its name.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name in the place where it is kept.
    pub name: String,
    /// Who keeps it.
    pub origin: Origin,
    /// Where it is.
    pub place: Place,
    /// The project of requests that name none.
    pub project: Option<String>,
    /// By what the server is known.
    pub pin: Pin,
    /// The files with our certificate and its key, where there are such.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// An authority that signs server certificates, in a file that may be missing.
    pub authority: Option<PathBuf>,
    /// A token that is sent instead of a certificate.
    pub bearer: Option<Bearer>,
}

impl Entry {
    /// What finds it again, whatever else has the same name.
    pub fn label(&self) -> String {
        match self.origin {
            Origin::Own => self.name.clone(),
            of => format!("{of}:{}", self.name),
        }
    }
}
