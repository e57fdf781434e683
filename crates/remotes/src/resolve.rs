//! From a name to a connection's settings.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entry::{Entry, Origin, Pin, Place};
use super::{Catalog, Environment, RemotesError};
use malleus_client::{
    Address, Authentication, Bearer, Certificate, Client, Error, Https, Identity, Proxy, Remote,
    Settings, Trust,
};
use malleus_core::private::disclosure;
use malleus_core::text_file;

/// A remote with all that is needed to connect.
#[derive(Clone)]
pub struct Resolved {
    /// The server. Its text finds it again.
    pub remote: Remote,
    /// The project of requests that name none, where the remote has one.
    pub project: Option<String>,
    /// What proves who is asking, beside the certificate.
    pub authentication: Option<Arc<dyn Authentication>>,
}

impl std::fmt::Debug for Resolved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolved")
            .field("remote", &self.remote)
            .finish_non_exhaustive()
    }
}

/// The server that is meant, or the default one. `chosen` is what the user gave, for which the variables with certificates and
/// tokens are; see [`Catalog::resolve`].
///
/// # Errors
/// When there is none, or what is known of it cannot be used.
pub fn resolve(
    named: Option<&str>,
    chosen: Option<&str>,
    environment: Environment<'_>,
) -> Result<Resolved, RemotesError> {
    match named {
        // What needs no configuration does not fail because of it.
        Some(path) if path.contains('/') && !path.contains("://") => {
            Ok(Remote::parse(path)?.into())
        }
        None if Remote::is_named(environment) => Ok(Remote::discover(environment)?.into()),
        Some(named) => Catalog::read(environment)?.resolve(named, chosen, environment),
        None => Catalog::read(environment)?.resolve_default(environment),
    }
}

impl Resolved {
    /// Connects.
    ///
    /// # Errors
    /// As [`Client::connect_with`].
    pub fn connect(&self, mut settings: Settings) -> Result<Client, Error> {
        if let Some(authentication) = &self.authentication {
            settings.authentication = Arc::clone(authentication);
        }
        let client = Client::connect_with(&self.remote, settings)?;
        Ok(match &self.project {
            Some(project) => client.with_project(project),
            None => client,
        })
    }
}

impl From<Remote> for Resolved {
    fn from(remote: Remote) -> Self {
        Self {
            remote,
            project: None,
            authentication: None,
        }
    }
}

/// Whose certificate and token the variables hold.
const CERTIFICATE: &str = "MALLEUS_CLIENT_CERT";
const KEY: &str = "MALLEUS_CLIENT_KEY";
const SERVER: &str = "MALLEUS_SERVER_CERT";
const BEARER: &str = "MALLEUS_BEARER_TOKEN";
const BEARER_FILE: &str = "MALLEUS_BEARER_FILE";

impl Catalog {
    /// The remote that a name, an `https://` address or the path of a socket means.
    ///
    /// The variables `MALLEUS_CLIENT_CERT`, `MALLEUS_CLIENT_KEY`, `MALLEUS_SERVER_CERT`, `MALLEUS_BEARER_TOKEN` and
    /// `MALLEUS_BEARER_FILE` are for the address that `chosen` gives, and for no other: a playbook that names another server
    /// must not get them sent there.
    ///
    /// # Errors
    /// When there is no such remote, or one of its files cannot be used.
    pub fn resolve(
        &self,
        named: &str,
        chosen: Option<&str>,
        environment: Environment<'_>,
    ) -> Result<Resolved, RemotesError> {
        if named.starts_with("https://") || named.starts_with("http://") {
            let address: Address = named.parse()?;
            let chosen = chosen.and_then(|chosen| chosen.parse::<Address>().ok());
            if chosen.as_ref() == Some(&address) && has_variables(environment) {
                return of_variables(address, environment);
            }
            return match self.at(&address) {
                Some(entry) => entry.resolve(environment),
                None => of_address(address, environment),
            };
        }
        if named.contains('/') || named.starts_with("unix:") || named.is_empty() {
            return Ok(Remote::parse(named)?.into());
        }
        match self.find(named) {
            Ok(entry) => entry.resolve(environment),
            // Every client has one of this name, also where it is not written down.
            Err(_) if named == "local" => Ok(Remote::discover(environment)?.into()),
            Err(error) => Err(error),
        }
    }

    /// The remote of someone who names none: the daemon that a variable names, the clients' default remote, or a daemon of
    /// this machine.
    ///
    /// # Errors
    /// When there is none.
    pub fn resolve_default(&self, environment: Environment<'_>) -> Result<Resolved, RemotesError> {
        match self.default_remote() {
            Some(label) if !Remote::is_named(environment) => self.find(label)?.resolve(environment),
            _ => Ok(Remote::discover(environment)?.into()),
        }
    }
}

impl Entry {
    /// What is needed to connect.
    ///
    /// # Errors
    /// When one of its files cannot be used.
    pub fn resolve(&self, environment: Environment<'_>) -> Result<Resolved, RemotesError> {
        let remote = match &self.place {
            Place::Here(flavor) => Remote::discover_flavor(*flavor, environment)?,
            Place::Socket(path) => Remote::Unix(path.clone()),
            Place::Images(_) => {
                return Err(RemotesError::Images {
                    name: self.name.clone(),
                });
            }
            Place::Https(addresses) => Remote::Https(Box::new(Https {
                name: self.label(),
                addresses: addresses.clone(),
                trust: self.trust()?,
                identity: self.read_identity()?,
                proxy: match addresses.first() {
                    Some(first) => Proxy::of_environment(environment, first)?,
                    None => None,
                },
            })),
        };
        let authentication = self.bearer.clone();
        Ok(Resolved {
            remote,
            project: self.project.clone(),
            authentication: authentication.map(|bearer| Arc::new(bearer) as _),
        })
    }

    fn trust(&self) -> Result<Trust, RemotesError> {
        match &self.pin {
            Pin::Fingerprint(pin) => return Ok(Trust::Pinned(*pin)),
            Pin::File(path) if path.exists() => {
                return Ok(Trust::Pinned(certificate(path)?.fingerprint()));
            }
            Pin::File(_) | Pin::System => {}
        }
        Ok(match &self.authority {
            Some(path) => Trust::Authorities(vec![certificate(path)?]),
            None => Trust::System,
        })
    }

    fn read_identity(&self) -> Result<Option<Identity>, RemotesError> {
        let Some((certificate, key)) = &self.identity else {
            return Ok(None);
        };
        // The other clients keep theirs as they will.
        let metadata = key.metadata().ok().filter(|_| self.origin == Origin::Own);
        if let Some(reason) = metadata.and_then(|metadata| disclosure(key, &metadata)) {
            let path = key.clone();
            return Err(RemotesError::Invalid { path, reason });
        }
        let identity = Identity::from_pem(&read(certificate)?, &read(key)?);
        identity.map(Some).map_err(|error| RemotesError::Invalid {
            path: key.clone(),
            reason: match self.origin {
                Origin::Own => error.to_string(),
                of => format!("{error} (configuration of the `{of}` client)"),
            },
        })
    }
}

fn certificate(path: &Path) -> Result<Certificate, RemotesError> {
    Certificate::from_pem(&read(path)?).map_err(|error| RemotesError::Invalid {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

fn read(path: &Path) -> Result<String, RemotesError> {
    text_file::read(path).map_err(|source| RemotesError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

fn of_address(address: Address, environment: Environment<'_>) -> Result<Resolved, RemotesError> {
    let proxy = Proxy::of_environment(environment, &address)?;
    let server = Https {
        proxy,
        ..Https::at(address)
    };
    Ok(Remote::Https(Box::new(server)).into())
}

fn has_variables(environment: Environment<'_>) -> bool {
    [CERTIFICATE, KEY, SERVER, BEARER, BEARER_FILE]
        .into_iter()
        .any(|name| set(environment, name).is_some())
}

fn set(environment: Environment<'_>, name: &str) -> Option<String> {
    environment(name).filter(|value| !value.is_empty())
}

/// A server of an automatic job: all that is known of it is in variables.
fn of_variables(address: Address, environment: Environment<'_>) -> Result<Resolved, RemotesError> {
    let mut resolved = of_address(address, environment)?;
    let Remote::Https(server) = &mut resolved.remote else {
        return Ok(resolved);
    };
    if let Some(text) = set(environment, SERVER) {
        server.trust = Trust::Pinned(match text.parse() {
            Ok(fingerprint) => fingerprint,
            Err(_) => Certificate::from_pem(&text_or_file(SERVER, text)?)
                .map_err(|error| variable(SERVER, &error))?
                .fingerprint(),
        });
    }
    server.identity = match (set(environment, CERTIFICATE), set(environment, KEY)) {
        (Some(certificate), Some(key)) => {
            let certificate = text_or_file(CERTIFICATE, certificate)?;
            let key = text_or_file(KEY, key)?;
            let identity = Identity::from_pem(&certificate, &key);
            Some(identity.map_err(|error| variable(KEY, &error))?)
        }
        (None, None) => None,
        (Some(_), None) => return Err(variable(KEY, &"it is needed with MALLEUS_CLIENT_CERT")),
        (None, Some(_)) => {
            return Err(variable(
                CERTIFICATE,
                &"it is needed with MALLEUS_CLIENT_KEY",
            ));
        }
    };
    let bearer = match (set(environment, BEARER), set(environment, BEARER_FILE)) {
        (Some(token), _) => Some(Bearer::token(token)),
        (None, file) => file.map(Bearer::file),
    };
    resolved.authentication = bearer.map(|bearer| Arc::new(bearer) as _);
    Ok(resolved)
}

/// A variable's own text in PEM, or that of the file it names.
fn text_or_file(name: &'static str, value: String) -> Result<String, RemotesError> {
    if value.contains("-----BEGIN") {
        return Ok(value);
    }
    // A key without its first line must not be shown as the name of a file.
    if value.contains('\n') || value.len() > 4096 {
        return Err(variable(name, &"it is neither PEM nor the path of a file"));
    }
    read(&PathBuf::from(value)).map_err(|error| match error {
        RemotesError::Unreadable { source, .. } => variable(
            name,
            &format!("the file that it names cannot be read: {source}"),
        ),
        other => other,
    })
}

fn variable(variable: &'static str, reason: &dyn std::fmt::Display) -> RemotesError {
    RemotesError::Variable {
        variable,
        reason: reason.to_string(),
    }
}
