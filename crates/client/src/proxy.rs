use std::fmt;
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ureq::ProxyProtocol;
use ureq::http::Uri;

use super::{Address, Error};

/// The most that a proxy may say before the connection is ours.
const LONGEST_ANSWER: usize = 16 << 10;

/// An HTTP proxy that passes connections on (`CONNECT`).
#[derive(Clone)]
pub struct Proxy {
    address: Address,
    /// The value of `Proxy-Authorization`.
    login: Option<String>,
}

impl Proxy {
    /// The proxy that the environment has for a server: `https_proxy` or `HTTPS_PROXY`, unless `no_proxy` or `NO_PROXY`
    /// names the host. Servers on this machine have none, as with the clients of both flavors.
    ///
    /// # Errors
    /// [`Error::InvalidRemote`] where the variable holds something else than an `http://` proxy.
    pub fn of_environment(
        environment: &dyn Fn(&str) -> Option<String>,
        server: &Address,
    ) -> Result<Option<Self>, Error> {
        let either = |names: [&str; 2]| {
            let found = names.into_iter().find_map(environment);
            found.filter(|value| !value.is_empty())
        };
        let Some(named) = either(["https_proxy", "HTTPS_PROXY"]) else {
            return Ok(None);
        };
        if is_here(&server.host) {
            return Ok(None);
        }
        let invalid = |reason: &str| Error::InvalidRemote {
            // Not its value, which may hold a password.
            remote: "https_proxy".to_owned(),
            reason: reason.to_owned(),
        };
        let parsed =
            ureq::Proxy::new(&named).map_err(|_| invalid("it is no address of a proxy"))?;
        if parsed.protocol() != ProxyProtocol::Http {
            return Err(invalid("only proxies at http:// are known"));
        }
        let mut builder = ureq::Proxy::builder(ProxyProtocol::Http)
            .host(parsed.host())
            .port(parsed.port());
        for excepted in either(["no_proxy", "NO_PROXY"])
            .iter()
            .flat_map(|list| list.split(','))
        {
            builder = builder.no_proxy(excepted.trim());
        }
        let built = builder
            .build()
            .map_err(|_| invalid("it is no address of a proxy"))?;
        let target = Uri::try_from(format!("http://{}", server.authority()));
        if target.is_ok_and(|target| built.is_no_proxy(&target)) {
            return Ok(None);
        }
        let login = parsed.username().map(|user| {
            let password = parsed.password().unwrap_or_default();
            format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
        });
        Ok(Some(Self {
            address: Address {
                host: parsed.host().trim_matches(['[', ']']).to_owned(),
                port: parsed.port(),
            },
            login,
        }))
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Has the proxy pass the connection on to a server. What it is told is the server's address and the proxy's own login.
    /// `limit` is called before each read, which it limits or refuses.
    pub(super) fn pass_on(
        &self,
        mut tcp: &TcpStream,
        server: &Address,
        limit: &dyn Fn() -> io::Result<()>,
    ) -> io::Result<()> {
        let authority = server.authority();
        let login = self
            .login
            .as_ref()
            .map(|login| format!("Proxy-Authorization: {login}\r\n"));
        let login = login.unwrap_or_default();
        let ask = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{login}\r\n");
        limit()?;
        tcp.write_all(ask.as_bytes())?;
        let mut answer = Vec::new();
        // Byte by byte: what follows the answer is the server's.
        while !answer.ends_with(b"\r\n\r\n") && answer.len() < LONGEST_ANSWER {
            let mut byte = [0];
            limit()?;
            tcp.read_exact(&mut byte)?;
            answer.extend(byte);
        }
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.lines().next().unwrap_or_default();
        let code = status
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..));
        if code.is_some_and(|code| code.starts_with('2')) {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "the proxy {} refuses: {status}",
            self.address.authority()
        )))
    }
}

fn is_here(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

impl PartialEq for Proxy {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address && self.login == other.login
    }
}

impl Eq for Proxy {}

impl Hash for Proxy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.address.hash(state);
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::Proxy;

    #[test]
    fn which_proxy_a_server_has() {
        let both = [
            ("https_proxy", "http://u:p@proxy:3128"),
            ("no_proxy", "a.test, .b.test"),
        ];
        for (variables, server, expected) in [
            (&[][..], "c.test", Ok(None)),
            (&both[..], "c.test", Ok(Some("proxy:3128"))),
            (&both[..], "a.test", Ok(None)),
            (&both[..], "x.b.test", Ok(None)),
            (&both[..], "localhost", Ok(None)),
            (&both[..], "127.0.0.2:1", Ok(None)),
            (
                &[("HTTPS_PROXY", "proxy:1")][..],
                "c.test",
                Ok(Some("proxy:1")),
            ),
            (
                &[("HTTPS_PROXY", "socks5://proxy:1")][..],
                "c.test",
                Err("only proxies at http://"),
            ),
        ] {
            let environment = |name: &str| {
                let found = variables.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let proxy = Proxy::of_environment(&environment, &server.parse().unwrap());
            match (proxy, expected) {
                (Ok(proxy), Ok(expected)) => {
                    let authority = proxy.as_ref().map(|proxy| proxy.address().authority());
                    assert_eq!(authority.as_deref(), expected, "{server}");
                    assert!(!format!("{proxy:?}").contains("Basic"), "{proxy:?}");
                }
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (got, _) => panic!("{server}: {got:?}"),
            }
        }
    }
}
