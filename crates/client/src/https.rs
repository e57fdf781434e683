use std::fmt;
use std::str::FromStr;

use super::tls::{Identity, Trust};
use super::{Error, Proxy};

/// The port of both flavors, where an address names none.
const PORT: u16 = 8443;

/// A server that is reached over HTTPS: what is needed to connect and to be sure of it.
///
/// ```
/// use malleus_client::{Https, Remote, Trust};
///
/// let pin = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
/// let server = Https {
///     trust: Trust::Pinned(pin.parse()?),
///     ..Https::at("https://server.example:8443".parse()?)
/// };
/// assert_eq!(Remote::Https(Box::new(server)).to_string(), "https://server.example:8443");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Https {
    /// What people call it: its name among the remotes, or its first address.
    pub name: String,
    /// Where it listens. Of a cluster several: one that does not accept a connection is passed over for the next.
    pub addresses: Vec<Address>,
    /// By what it is known.
    pub trust: Trust,
    /// Who we are to it; nobody in particular when `None`.
    pub identity: Option<Identity>,
    /// What its connections go through.
    pub proxy: Option<Proxy>,
}

impl Https {
    /// A server with one address, known by the authorities of this system, to which we are nobody in particular.
    pub fn at(address: Address) -> Self {
        Self {
            name: address.to_string(),
            addresses: vec![address],
            trust: Trust::System,
            identity: None,
            proxy: None,
        }
    }

    /// The `Host` header.
    pub(super) fn authority(&self) -> String {
        let first = self.addresses.first();
        first.map_or_else(|| self.name.clone(), Address::authority)
    }
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Address {
    /// `host:port`, an IPv6 address in brackets.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Address {
    type Err = Error;

    /// Reads `https://HOST[:PORT]`, or the same without `https://`. The port is 8443 where it is not given.
    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = |reason: &str| Error::InvalidRemote {
            remote: text.to_owned(),
            reason: reason.to_owned(),
        };
        if text.starts_with("http://") {
            return Err(invalid("servers are reached over https:// alone"));
        }
        let rest = text.strip_prefix("https://").unwrap_or(text);
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[') {
            Some(bracketed) => {
                let (host, port) = bracketed
                    .split_once(']')
                    .ok_or_else(|| invalid("the bracket of an IPv6 address is not closed"))?;
                (
                    host,
                    port.strip_prefix(':').or(port.is_empty().then_some("")),
                )
            }
            None => match rest.split_once(':') {
                // More than one colon and no bracket: an IPv6 address alone.
                Some((_, port)) if port.contains(':') => (rest, Some("")),
                Some((host, port)) => (host, Some(port)),
                None => (rest, Some("")),
            },
        };
        let port = match port {
            Some("") => Some(PORT),
            Some(port) => port.parse().ok(),
            None => None,
        };
        let port = port.ok_or_else(|| invalid("the port is not a number from 1 to 65535"))?;
        if super::tls::server_name(host).is_none() {
            return Err(invalid("write it as https://HOST:PORT"));
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn addresses_as_people_write_them() {
        for (text, expected) in [
            ("https://host:1", "https://host:1"),
            ("https://host", "https://host:8443"),
            ("host:1", "https://host:1"),
            ("https://10.0.0.1:1/", "https://10.0.0.1:1"),
            ("https://[::1]:1", "https://[::1]:1"),
            ("[::1]", "https://[::1]:8443"),
            ("::1", "https://[::1]:8443"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), expected);
        }
        for (text, part) in [
            ("http://host", "https:// alone"),
            ("https://host:x", "not a number"),
            ("https://host:70000", "not a number"),
            ("https://[::1", "not closed"),
            ("https://user@host", "https://HOST:PORT"),
            ("https://", "https://HOST:PORT"),
            ("https://host/1.0", "https://HOST:PORT"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
