use super::entry::{Entry, Origin, Place};
use std::path::PathBuf;

use super::{Environment, Own, RemotesError, clients};

/// All remotes there are.
#[derive(Debug)]
pub struct Catalog {
    own: Option<Own>,
    entries: Vec<Entry>,
    defaults: Vec<String>,
    unreadable: Option<(PathBuf, String)>,
}

impl Catalog {
    /// Reads malleus's own remotes and those of both clients.
    ///
    /// # Errors
    /// When the file of malleus's own remotes cannot be read, or does not hold what it should. One that is missing is no error,
    /// and one of the clients that is broken is reported when a remote of theirs may be meant: see [`Catalog::unreadable`].
    pub fn read(environment: Environment<'_>) -> Result<Self, RemotesError> {
        let own = Own::find(environment).ok();
        let mut entries = match &own {
            Some(own) => own.entries()?,
            None => Vec::new(),
        };
        let known = clients::known(environment);
        entries.extend(known.entries);
        Ok(Self {
            own,
            entries,
            defaults: known.defaults,
            unreadable: known.unreadable,
        })
    }

    /// All remotes, malleus's own first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Where malleus's own remotes are kept.
    ///
    /// # Errors
    /// [`RemotesError::NoHome`] where there is no such place.
    pub fn own(&self) -> Result<&Own, RemotesError> {
        self.own.as_ref().ok_or(RemotesError::NoHome)
    }

    /// The default remote of the clients, that of `incus` first, unless it is this machine's daemon.
    pub fn default_remote(&self) -> Option<&str> {
        self.defaults.first().map(String::as_str)
    }

    /// Why remotes of the `incus` or `lxc` client are not known, where the file with them cannot be read.
    ///
    /// # Errors
    /// That of the file.
    pub fn unreadable(&self) -> Result<(), RemotesError> {
        match &self.unreadable {
            None => Ok(()),
            Some((path, reason)) => Err(RemotesError::Configuration {
                path: path.clone(),
                reason: reason.clone(),
            }),
        }
    }

    /// The remote of a name or a label.
    ///
    /// # Errors
    /// When there is none, or there are several that malleus does not keep.
    pub fn find(&self, name: &str) -> Result<&Entry, RemotesError> {
        if let Some(entry) = self.entries.iter().find(|entry| entry.label() == name) {
            return Ok(entry);
        }
        let named: Vec<&Entry> = self
            .entries
            .iter()
            .filter(|entry| entry.name == name)
            .collect();
        match named.as_slice() {
            [entry] => Ok(entry),
            [] => {
                self.unreadable()?;
                Err(RemotesError::Unknown {
                    name: name.to_owned(),
                    known: self.usable().map(Entry::label).collect(),
                })
            }
            several => Err(RemotesError::Ambiguous {
                name: name.to_owned(),
                labels: several.iter().map(|entry| entry.label()).collect(),
            }),
        }
    }

    fn usable(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.place.is_usable())
    }

    /// The remote at an address: malleus's own before others.
    pub(super) fn at(&self, address: &malleus_client::Address) -> Option<&Entry> {
        self.entries.iter().find(|entry| match &entry.place {
            Place::Https(addresses) => addresses.contains(address),
            _ => false,
        })
    }

    /// Whether malleus itself keeps one of this name.
    pub fn has_own(&self, name: &str) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.origin == Origin::Own && entry.name == name)
    }
}
