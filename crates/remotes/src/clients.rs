//! The configuration of the `incus` and `lxc` clients, read as they read it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Environment;
use super::entry::{Entry, Origin, Pin, Place};
use super::own::read_yaml;
use malleus_client::{Address, Bearer, Flavor};

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
    /// The file of a client that cannot be read, with the reason: its remotes and its default are not known.
    pub(super) unreadable: Option<(PathBuf, String)>,
}

/// Reads the configuration of both clients. What cannot be read spoils nothing but itself.
pub(super) fn known(environment: Environment<'_>) -> Known {
    let mut known = Known::default();
    for client in &CLIENTS {
        client.read(environment, &mut known);
    }
    known
}

impl Client {
    fn read(&self, environment: Environment<'_>, known: &mut Known) {
        let set = |name: &str| environment(name).filter(|value| !value.is_empty());
        let mut default = set(self.remote);
        let first = known.entries.len();
        for folder in self.folders(&set) {
            let file = folder.join("config.yml");
            let config = match read_yaml(&file) {
                Ok(Some(config)) => config,
                Ok(None) => continue,
                Err(error) => {
                    known.unreadable.get_or_insert((file, error.to_string()));
                    continue;
                }
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
                let mut entry = self.entry(name, value, &folder);
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

    fn entry(&self, name: &str, value: &Value, folder: &Path) -> Entry {
        let place = self.place(value).unwrap_or_else(|reason| {
            let file = folder.join("config.yml");
            Place::Unusable(format!("{}: remote {name:?}: {reason}", file.display()))
        });
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
        Entry {
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
        }
    }

    /// Where a remote is. Since 7.0.1 the `incus` client writes all addresses of a server into `addr`, with commas between them,
    /// and beside them the one that it has reached last.
    fn place(&self, remote: &Value) -> Result<Place, String> {
        let addr = remote["addr"].as_str().unwrap_or_default();
        if let Some("simplestreams" | "oci") = remote["protocol"].as_str() {
            return Ok(Place::Images(addr.to_owned()));
        }
        if let Some(socket) = addr.strip_prefix("unix:") {
            return Ok(match socket.strip_prefix("//").unwrap_or(socket) {
                "" => Place::Here(self.flavor),
                path => Place::Socket(PathBuf::from(path)),
            });
        }
        let mut addresses: Vec<Address> = Vec::new();
        let last_working = remote["last_working_address"].as_str().unwrap_or_default();
        for one in [last_working].into_iter().chain(addr.split(',')) {
            let one = one.trim();
            if one.is_empty() {
                continue;
            }
            let address = one.parse().map_err(|error| format!("{error}"))?;
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err("it has no `addr`".to_owned());
        }
        Ok(Place::Https(addresses))
    }
}

/// The file's name with an ending: names of remotes may have dots.
fn ending(base: &Path, ending: &str) -> String {
    let name = base.file_name().unwrap_or_default().to_string_lossy();
    format!("{name}.{ending}")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::{Catalog, RemotesError};

    const CONFIG: &str = "\
default-remote: prod
remotes:
  prod:
    addr: https://10.0.0.2:8443,https://[fd42::1]:8443
    last_working_address: https://[fd42::1]:8443
  one: {addr: 'https://10.0.0.3:8443'}
  docker: {addr: 'https://docker.io', protocol: oci}
  images: {addr: 'https://images.example', protocol: simplestreams}
  odd: {addr: 'ftp://somewhere'}
  empty: {}
";

    fn catalog(config: &str) -> (tempfile::TempDir, Catalog) {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("config.yml"), config).unwrap();
        let folder = home.path().display().to_string();
        let catalog = Catalog::read(&|name| (name == "INCUS_CONF").then(|| folder.clone()));
        (home, catalog.unwrap())
    }

    #[test]
    fn a_remote_may_have_several_addresses_the_last_working_first() {
        let (_home, catalog) = catalog(CONFIG);
        let place = |name: &str| catalog.find(name).unwrap().place.to_string();
        assert_eq!(
            place("prod"),
            "https://[fd42::1]:8443 https://10.0.0.2:8443"
        );
        assert_eq!(place("one"), "https://10.0.0.3:8443");
        assert_eq!(catalog.default_remote(), Some("incus:prod"));
        let usable = |name: &str| catalog.find(name).unwrap().place.is_usable();
        assert!(!usable("docker") && !usable("images"));
    }

    #[test]
    fn a_remote_that_cannot_be_understood_spoils_itself_alone() {
        let (_home, catalog) = catalog(CONFIG);
        for name in ["odd", "empty"] {
            let entry = catalog.find(name).unwrap();
            let error = entry.resolve(&|_| None).unwrap_err();
            assert!(matches!(error, RemotesError::Unusable { .. }), "{error}");
            assert!(error.to_string().contains("config.yml"), "{error}");
        }
    }

    #[test]
    fn a_configuration_that_cannot_be_read_is_reported_where_it_may_be_meant() {
        let (_home, catalog) = catalog("remotes: [");
        let is_reported = |error| matches!(error, RemotesError::Configuration { .. });
        assert!(is_reported(catalog.find("prod").unwrap_err()));
        assert!(is_reported(catalog.resolve_default(&|_| None).unwrap_err()));
        let named = |name: &str| (name == "INCUS_SOCKET").then(|| "/nowhere".to_owned());
        // A socket that is named is tried; that nothing listens there is another matter.
        let tried = catalog.resolve_default(&named).err();
        assert!(!tried.is_some_and(is_reported));
    }
}
