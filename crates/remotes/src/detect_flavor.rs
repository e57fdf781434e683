//! The configuration of the `incus` and `lxc` clients, read as they read it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::entry::{Entry, Origin, Pin, Place};
use super::own::read_yaml;
use super::{Environment, RemotesError};
use malleus_client::{Bearer, Flavor};

/// What differs between the two clients.
struct Client {
    origin: Origin,
    flavor: Flavor,
    folder: &'static str,
    global: &'static str,
    remote: &'static str,
    project: Option<&'static str>,
}

const CLIENTS: [Client; 2] = [
    Client {
        origin: Origin::Incus,
        flavor: Flavor::Incus,
        folder: "INCUS_CONF",
        global: "INCUS_GLOBAL_CONF",
        remote: "INCUS_REMOTE",
        project: Some("INCUS_PROJECT"),
    },
    Client {
        origin: Origin::Lxc,
        flavor: Flavor::Lxd,
        folder: "LXD_CONF",
        global: "LXD_GLOBAL_CONF",
        remote: "LXC_REMOTE",
        project: None,
    },
];

/// The remotes of both clients, and those they use by default.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) entries: Vec<Entry>,
    /// Labels of default remotes, that of `incus` first; those of this machine's daemon are left out.
    pub(super) defaults: Vec<String>,
}

pub(super) fn known(environment: Environment<'_>) -> Result<Known, RemotesError> {
    let mut known = Known::default();
    for client in &CLIENTS {
        client.read(environment, &mut known)?;
    }
    Ok(known)
}

impl Client {
    fn read(&self, environment: Environment<'_>, known: &mut Known) -> Result<(), RemotesError> {
        let set = |name: &str| environment(name).filter(|value| !value.is_empty());
        let mut default = set(self.remote);
        let first = known.entries.len();
        for folder in self.folders(&set) {
            let Some(config) = read_yaml(&folder.join("config.yml"))? else {
                continue;
            };
            if default.is_none() {
                default = config["default-remote"].as_str().map(str::to_owned);
            }
            let remotes = config["remotes"].as_object();
            for (name, value) in remotes.into_iter().flatten() {
                if known.entries[first..]
                    .iter()
                    .any(|entry| entry.name == *name)
                {
                    continue;
                }
                let mut entry = self.entry((name, value), &folder)?;
                if let Some(project) = self.project.and_then(&set) {
                    entry.project = Some(project);
                }
                known.entries.push(entry);
            }
        }
        let found = known.entries[first..]
            .iter()
            .find(|entry| Some(&entry.name) == default.as_ref());
        // That of this machine is what is looked for anyway.
        known.defaults.extend(
            found
                .filter(|entry| !matches!(entry.place, Place::Here(_) | Place::Images(_)))
                .map(Entry::label),
        );
        Ok(())
    }

    /// The user's folder, then that of the system.
    fn folders(&self, set: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
        let home = set("HOME").map(PathBuf::from);
        let own = set(self.folder).map(PathBuf::from).or_else(|| {
            let home = home.as_ref()?;
            Some(match self.origin {
                Origin::Lxc => {
                    let snap = home.join("snap/lxd/common/config");
                    if snap.join("config.yml").exists() {
                        snap
                    } else {
                        home.join(".config/lxc")
                    }
                }
                _ => set("XDG_CONFIG_HOME")
                    .map_or_else(|| home.join(".config"), PathBuf::from)
                    .join("incus"),
            })
        });
        let system = match self.origin {
            Origin::Lxc => "/etc/lxd",
            _ => "/etc/incus",
        };
        let global = set(self.global).unwrap_or_else(|| system.to_owned());
        own.into_iter().chain([PathBuf::from(global)]).collect()
    }

    fn entry(&self, (name, value): (&str, &Value), folder: &Path) -> Result<Entry, RemotesError> {
        let addr = value["addr"].as_str().unwrap_or_default();
        let invalid = |reason: String| RemotesError::Invalid {
            path: folder.join("config.yml"),
            reason: format!("remote {name:?}: {reason}"),
        };
        let place = match (value["protocol"].as_str(), addr.strip_prefix("unix:")) {
            (Some("simplestreams"), _) => Place::Images(addr.to_owned()),
            (_, Some(socket)) => match socket.strip_prefix("//").unwrap_or(socket) {
                "" => Place::Here(self.flavor),
                path => Place::Socket(PathBuf::from(path)),
            },
            _ => Place::Https(vec![
                addr.parse().map_err(|error| invalid(format!("{error}")))?,
            ]),
        };
        let identity = ["clientcerts", ""].into_iter().find_map(|below| {
            let base = folder
                .join(below)
                .join(if below.is_empty() { "client" } else { name });
            let (certificate, key) = (
                base.with_file_name(ending(&base, "crt")),
                base.with_file_name(ending(&base, "key")),
            );
            (certificate.exists() && key.exists()).then_some((certificate, key))
        });
        let authority = [
            folder.join("clientcerts").join(format!("{name}.ca")),
            folder.join("client.ca"),
        ]
        .into_iter()
        .find(|file| file.exists());
        let is_oidc = value["auth_type"].as_str() == Some("oidc");
        let token = folder.join("oidctokens").join(format!("{name}.json"));
        Ok(Entry {
            name: name.to_owned(),
            origin: self.origin,
            place,
            // It is the server's own default.
            project: value["project"]
                .as_str()
                .filter(|name| !name.is_empty() && *name != "default")
                .map(str::to_owned),
            pin: Pin::File(folder.join("servercerts").join(format!("{name}.crt"))),
            identity,
            authority,
            bearer: is_oidc.then(|| Bearer::file(token)),
        })
    }
}

/// The file's name with an ending: names of remotes may have dots.
fn ending(base: &Path, ending: &str) -> String {
    let name = base.file_name().unwrap_or_default().to_string_lossy();
    format!("{name}.{ending}")
}
