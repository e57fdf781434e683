//! malleus's own remotes: `remotes.yaml` in its configuration folder, and a key pair for each below `remotes/`.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::entry::{Entry, Origin, Pin, Place};
use super::{Environment, RemotesError};
use malleus_client::{Address, Bearer};
use malleus_core::private::exposure;
use malleus_core::text_file;
use malleus_source::Source;

const HEAD: &str = "# Remotes of malleus, written by `malleus remote add` and `malleus remote remove`.\nremotes:\n";

/// The folder of malleus's own remotes.
#[derive(Debug, Clone)]
pub struct Own {
    folder: PathBuf,
}

impl Own {
    /// `$XDG_CONFIG_HOME/malleus` or `~/.config/malleus`; it need not exist.
    ///
    /// # Errors
    /// [`RemotesError::NoHome`] where neither is known.
    pub fn find(environment: Environment<'_>) -> Result<Self, RemotesError> {
        let set = |name: &str| environment(name).filter(|value| !value.is_empty());
        let base = set("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| set("HOME").map(|home| Path::new(&home).join(".config")));
        Ok(Self {
            folder: base.ok_or(RemotesError::NoHome)?.join("malleus"),
        })
    }

    fn list(&self) -> PathBuf {
        self.folder.join("remotes.yaml")
    }

    /// Where the certificate and the key for a remote are kept.
    pub fn pair(&self, name: &str) -> (PathBuf, PathBuf) {
        let at = |ending: &str| self.folder.join("remotes").join(format!("{name}.{ending}"));
        (at("crt"), at("key"))
    }

    fn read(&self) -> Result<Map<String, Value>, RemotesError> {
        let path = self.list();
        for own in [&self.folder, &path] {
            let metadata = own.metadata().ok();
            if let Some(reason) = metadata.and_then(|metadata| exposure(own, &metadata)) {
                let path = own.clone();
                return Err(RemotesError::Invalid { path, reason });
            }
        }
        let Some(root) = read_yaml(&path)? else {
            return Ok(Map::new());
        };
        match &root["remotes"] {
            Value::Null => Ok(Map::new()),
            Value::Object(all) => Ok(all.clone()),
            _ => Err(RemotesError::Invalid {
                path,
                reason: "`remotes` is no mapping".to_owned(),
            }),
        }
    }

    /// All remotes.
    ///
    /// # Errors
    /// When the file cannot be read or does not hold remotes.
    pub fn entries(&self) -> Result<Vec<Entry>, RemotesError> {
        let all = self.read()?;
        all.iter()
            .map(|(name, value)| self.entry(name, value))
            .collect()
    }

    fn entry(&self, name: &str, value: &Value) -> Result<Entry, RemotesError> {
        let invalid = |reason: String| RemotesError::Invalid {
            path: self.list(),
            reason: format!("remote {name:?}: {reason}"),
        };
        let addresses: Result<Vec<Address>, _> =
            texts(&value["addresses"]).map(str::parse).collect();
        let addresses = addresses.map_err(|error| invalid(error.to_string()))?;
        if addresses.is_empty() {
            return Err(invalid("it has no addresses".to_owned()));
        }
        let pin = match value["fingerprint"].as_str() {
            Some(text) => {
                Pin::Fingerprint(text.parse().map_err(|error| invalid(format!("{error}")))?)
            }
            None => Pin::System,
        };
        let pair = self.pair(name);
        Ok(Entry {
            name: name.to_owned(),
            origin: Origin::Own,
            place: Place::Https(addresses),
            project: value["project"].as_str().map(str::to_owned),
            pin,
            identity: pair.0.exists().then_some(pair),
            authority: None,
            bearer: value["bearer_file"].as_str().map(Bearer::file),
        })
    }

    /// Writes the key pair for a remote, the key readable by its owner alone.
    pub(super) fn write_pair(&self, name: &str, pair: (&str, &str)) -> Result<(), RemotesError> {
        let (certificate, key) = self.pair(name);
        self.write(&key, pair.1)?;
        self.write(&certificate, pair.0)
    }

    /// Adds a remote.
    pub(super) fn add(
        &self,
        entry: &Entry,
        bearer_file: Option<&Path>,
    ) -> Result<(), RemotesError> {
        let mut all = self.read()?;
        let Place::Https(addresses) = &entry.place else {
            return Err(RemotesError::Name {
                name: entry.name.clone(),
                reason: "only servers at https:// have names",
            });
        };
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let mut value = json!({"addresses": addresses});
        if let Pin::Fingerprint(pin) = &entry.pin {
            value["fingerprint"] = pin.to_string().into();
        }
        if let Some(project) = &entry.project {
            value["project"] = project.as_str().into();
        }
        if let Some(file) = bearer_file {
            value["bearer_file"] = file.to_string_lossy().into();
        }
        all.insert(entry.name.clone(), value);
        self.write_all(&all)
    }

    /// Removes a remote with its key pair; `false` when there is none of this name.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn remove(&self, name: &str) -> Result<bool, RemotesError> {
        let mut all = self.read()?;
        if all.shift_remove(name).is_none() {
            return Ok(false);
        }
        self.write_all(&all)?;
        self.forget_pair(name)?;
        Ok(true)
    }

    pub(super) fn forget_pair(&self, name: &str) -> Result<(), RemotesError> {
        let (certificate, key) = self.pair(name);
        for path in [certificate, key] {
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(RemotesError::Unwritable { path, source });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn write_all(&self, all: &Map<String, Value>) -> Result<(), RemotesError> {
        // JSON is YAML; one line for each remote can be read and changed by people.
        let lines: String = all
            .iter()
            .map(|(name, value)| format!("  {}: {value}\n", Value::from(name.as_str())))
            .collect();
        self.write(&self.list(), &format!("{HEAD}{lines}"))
    }

    /// Writes a file as a whole or not at all, for its owner alone.
    fn write(&self, path: &Path, text: &str) -> Result<(), RemotesError> {
        let unwritable = |source| RemotesError::Unwritable {
            path: path.to_owned(),
            source,
        };
        // A link to a file that is kept elsewhere stays a link.
        let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let folder = path.parent().unwrap_or(&self.folder);
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o700);
        private.create(folder).map_err(unwritable)?;
        // Such files are made with mode 0600.
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(unwritable)?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.as_file().sync_all())
            .map_err(unwritable)?;
        file.persist(path)
            .map_err(|error| unwritable(error.error))?;
        Ok(())
    }
}

pub(super) fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// A file's YAML; `None` when there is no such file.
pub(super) fn read_yaml(path: &Path) -> Result<Option<Value>, RemotesError> {
    let text = match text_file::read(path) {
        Ok(text) => text,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            let path = path.to_owned();
            return Err(RemotesError::Unreadable { path, source });
        }
    };
    let source = Source::new(path, text);
    let node = malleus_source::yaml::parse(&source).map_err(|problems| RemotesError::Invalid {
        path: path.to_owned(),
        reason: problems
            .first()
            .map_or_else(String::new, |problem| problem.message.clone()),
    })?;
    Ok(Some(node.to_value()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn entry(name: &str) -> Entry {
        Entry {
            name: name.to_owned(),
            origin: Origin::Own,
            place: Place::Https(vec!["server.test:8443".parse().unwrap()]),
            project: None,
            pin: Pin::System,
            identity: None,
            authority: None,
            bearer: None,
        }
    }

    #[test]
    fn a_list_that_is_kept_elsewhere_stays_there() {
        let folder = tempfile::tempdir().unwrap();
        let own = Own {
            folder: folder.path().join("malleus"),
        };
        let elsewhere = folder.path().join("dotfiles.yaml");
        fs::write(&elsewhere, "remotes: {}\n").unwrap();
        fs::create_dir(&own.folder).unwrap();
        symlink(&elsewhere, own.list()).unwrap();
        own.add(&entry("a"), None).unwrap();
        assert!(own.list().is_symlink());
        assert!(
            fs::read_to_string(&elsewhere)
                .unwrap()
                .contains("server.test")
        );
        assert_eq!(own.entries().unwrap().len(), 1);
    }

    #[test]
    fn a_list_that_others_may_write_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let own = Own {
            folder: folder.path().join("malleus"),
        };
        own.add(&entry("a"), None).unwrap();
        for (path, open, usual) in [
            (own.list(), 0o666, 0o600),
            (own.folder.clone(), 0o777, 0o700),
        ] {
            let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode));
            set(open).unwrap();
            let error = own.entries().unwrap_err().to_string();
            assert!(error.contains("other users may write to it"), "{error}");
            set(usual).unwrap();
            assert_eq!(own.entries().unwrap().len(), 1);
        }
    }
}
