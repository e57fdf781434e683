//! A new remote: a key pair, the server's certificate, and the exchange of a token.

use std::path::PathBuf;
use std::time::SystemTime;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair,
    PKCS_ECDSA_P384_SHA384, date_time_ymd,
};
use serde_json::json;

use super::entry::{Entry, Origin, Pin, Place};
use super::{Catalog, Environment, RemotesError};
use malleus_client::{
    Address, Bearer, Client, Error, Fingerprint, Flavor, Https, Proxy, Remote, Request, Settings,
    Token, Trust, presented_certificate,
};

/// How often a server that has just taken a token is asked whether it trusts us: members of a cluster learn of it after the
/// answer.
const LOOKS: u32 = 20;

/// How long is waited between two of these looks.
const REST: std::time::Duration = std::time::Duration::from_millis(250);

/// How a remote becomes known.
#[derive(Debug)]
pub enum Way {
    /// By a token, which has addresses and fingerprint.
    Token(Token),
    /// By its address, and by the fingerprint of its certificate where no authority vouches for it.
    Address(Address, Option<Fingerprint>),
}

/// A remote to be added.
#[derive(Debug)]
pub struct Addition {
    /// What it is to be called.
    pub name: String,
    /// How it becomes known.
    pub way: Way,
    /// The project of requests that name none.
    pub project: Option<String>,
    /// A file with a bearer token, to be sent instead of a certificate of our own.
    pub bearer_file: Option<PathBuf>,
}

/// A remote that was added.
#[derive(Debug)]
pub struct Added {
    /// The remote.
    pub entry: Entry,
    /// The server's flavor.
    pub flavor: Flavor,
    /// The fingerprint of the server's certificate; none where authorities vouch for it.
    pub server: Option<Fingerprint>,
    /// The fingerprint of our own certificate; none with a bearer token.
    pub client: Option<Fingerprint>,
    /// Whether the server trusts us already.
    pub trusted: bool,
}

/// Adds a remote: makes a key pair, makes sure of the server, has it trust us where there is a token, and stores all of it.
/// Where it fails nothing is stored.
///
/// # Errors
/// [`RemotesError::Unconfirmed`] where people must compare the server's fingerprint, [`RemotesError::Refused`] where it does
/// not take the token, and whatever else stands in the way.
pub fn enrol(
    catalog: &Catalog,
    addition: &Addition,
    settings: &Settings,
    environment: Environment<'_>,
) -> Result<Added, RemotesError> {
    check_name(catalog, &addition.name)?;
    let own = catalog.own()?;
    let (addresses, pin) = sure_of(addition, settings, environment)?;
    let mut entry = Entry {
        name: addition.name.clone(),
        origin: Origin::Own,
        place: Place::Https(addresses),
        project: addition.project.clone(),
        pin,
        identity: None,
        authority: None,
        bearer: addition.bearer_file.clone().map(Bearer::file),
    };
    if entry.bearer.is_none() {
        let (certificate, key) =
            key_pair(&addition.name).map_err(|error| Error::InvalidIdentity {
                reason: format!("cannot make a key pair: {error}"),
            })?;
        own.write_pair(&addition.name, (&certificate, &key))?;
        entry.identity = Some(own.pair(&addition.name));
    }
    let added = introduce(entry, addition, settings, environment).and_then(|added| {
        own.add(&added.entry, addition.bearer_file.as_deref())?;
        Ok(added)
    });
    if added.is_err() {
        own.forget_pair(&addition.name)?;
    }
    added
}

fn check_name(catalog: &Catalog, name: &str) -> Result<(), RemotesError> {
    let refuse = |reason| {
        Err(RemotesError::Name {
            name: name.to_owned(),
            reason,
        })
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.starts_with(['.', '-']) || !name.chars().all(is_plain) {
        return refuse("use letters, digits, and -, _ or . between them");
    }
    if name == "local" {
        return refuse("it means the daemon of this machine");
    }
    if catalog.has_own(name) {
        return refuse("there is one of this name; `malleus remote remove` removes it");
    }
    Ok(())
}

/// The addresses and the pin of a server, once it has shown its certificate.
fn sure_of(
    addition: &Addition,
    settings: &Settings,
    environment: Environment<'_>,
) -> Result<(Vec<Address>, Pin), RemotesError> {
    let at = |address: &Address| -> Result<Https, RemotesError> {
        Ok(Https {
            proxy: Proxy::of_environment(environment, address)?,
            ..Https::at(address.clone())
        })
    };
    match &addition.way {
        Way::Token(token) => {
            let pin = of_token(token)?;
            let addresses: Result<Vec<Address>, Error> =
                token.addresses().into_iter().map(str::parse).collect();
            let mut last = RemotesError::Token("the token has no address".to_owned());
            let addresses = addresses?;
            // A server lists all its addresses; some may be reachable from elsewhere alone, and mean another machine here.
            for (position, address) in addresses.iter().enumerate() {
                let server = Https {
                    trust: Trust::Pinned(pin),
                    ..at(address)?
                };
                match Client::connect_with(&Remote::Https(Box::new(server)), settings.clone()) {
                    Ok(_) => {
                        let mut sorted = addresses.clone();
                        sorted[..=position].rotate_right(1);
                        return Ok((sorted, Pin::Fingerprint(pin)));
                    }
                    Err(error) => last = error.into(),
                }
            }
            Err(last)
        }
        Way::Address(address, expected) => {
            let server = at(address)?;
            let presented = presented_certificate(&server, settings.connect_timeout)?.fingerprint();
            let pin = match expected {
                Some(expected) if *expected == presented => Pin::Fingerprint(presented),
                Some(expected) => {
                    return Err(Error::Unverified {
                        remote: address.to_string(),
                        address: address.authority(),
                        reason: Box::new(malleus_client::TlsError::Changed {
                            pinned: *expected,
                            presented,
                        }),
                    }
                    .into());
                }
                None => {
                    match Client::connect_with(&Remote::Https(Box::new(server)), settings.clone()) {
                        Ok(_) => Pin::System,
                        Err(Error::Unverified { .. } | Error::InvalidIdentity { .. }) => {
                            return Err(RemotesError::Unconfirmed {
                                address: address.to_string(),
                                fingerprint: presented,
                            });
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
            };
            Ok((vec![address.clone()], pin))
        }
    }
}

fn of_token(token: &Token) -> Result<Fingerprint, RemotesError> {
    let over = token
        .expires_at()
        .and_then(|at| Some((at, humantime::parse_rfc3339_weak(at).ok()?)))
        .filter(|(_, time)| *time < SystemTime::now());
    if let Some((at, _)) = over {
        return Err(RemotesError::Token(format!(
            "the token has expired at {at}; ask for a new one"
        )));
    }
    token
        .fingerprint()
        .parse()
        .map_err(|error| RemotesError::Token(format!("the token is broken: {error}")))
}

/// Connects as ourselves, hands over the token, and looks whether we are trusted.
fn introduce(
    mut entry: Entry,
    addition: &Addition,
    settings: &Settings,
    environment: Environment<'_>,
) -> Result<Added, RemotesError> {
    let resolved = entry.resolve(environment)?;
    let mut settings = settings.clone();
    if let Some(authentication) = &resolved.authentication {
        settings.authentication = std::sync::Arc::clone(authentication);
    }
    let mut client = Client::connect_with(&resolved.remote, settings.clone())?;
    if let Way::Token(token) = &addition.way {
        hand_over(&client, token)?;
        for _ in 0..LOOKS {
            client = Client::connect_with(&resolved.remote, settings.clone())?;
            if client.server().is_trusted() {
                break;
            }
            client.pause(REST)?;
        }
    }
    if let (true, Place::Https(addresses)) = (client.server().is_trusted(), &mut entry.place) {
        // All members have the same certificate; where one is down, another is asked. Not every client may list them.
        for member in client.members().unwrap_or_default() {
            addresses.extend(member.url.parse::<Address>().ok());
        }
        let mut seen = Vec::new();
        addresses.retain(|address| {
            let is_new = !seen.contains(address);
            seen.push(address.clone());
            is_new
        });
    }
    let Remote::Https(server) = &resolved.remote else {
        return Err(RemotesError::Token(
            "the server is not at an https:// address".to_owned(),
        ));
    };
    Ok(Added {
        flavor: client.server().flavor,
        server: match server.trust {
            Trust::Pinned(pin) => Some(pin),
            _ => None,
        },
        client: server
            .identity
            .as_ref()
            .map(malleus_client::Identity::fingerprint),
        trusted: client.server().is_trusted(),
        entry,
    })
}

/// Has the server trust the certificate that it has seen in the handshake.
fn hand_over(client: &Client, token: &Token) -> Result<(), RemotesError> {
    let joined = token.joined();
    let request = if token.is_of_identity() {
        Request::post("auth/identities/tls").json(json!({"trust_token": joined}))
    } else {
        let server = client.server();
        // LXD before 5.21 takes it for a password.
        let field =
            if server.flavor == Flavor::Incus || server.has_extension("explicit_trust_token") {
                "trust_token"
            } else {
                "password"
            };
        Request::post("certificates").json(json!({"type": "client", field: joined}))
    };
    match client.request(&request) {
        Ok(_) => Ok(()),
        Err(Error::Api(error)) if error.status == 403 => Err(RemotesError::Refused(error)),
        Err(error) => Err(error.into()),
    }
}

/// A certificate as the clients make them, and its key, in PEM.
fn key_pair(name: &str) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "malleus");
    params
        .distinguished_name
        .push(DnType::CommonName, format!("malleus {name}"));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    // Servers that trust a certificate do so until it is removed; its dates only have to hold.
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2050, 1, 1);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}
