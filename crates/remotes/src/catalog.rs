use super::entry::{Entry, Origin, Place};
use super::{Environment, Own, RemotesError, detect_flavor};

/// All remotes there are.
#[derive(Debug)]
pub struct Catalog {
    own: Option<Own>,
    entries: Vec<Entry>,
    defaults: Vec<String>,
}

impl Catalog {
    /// Reads malleus's own remotes and those of both clients.
    ///
    /// # Errors
    /// When a file cannot be read, or does not hold what it should. Files that are missing are no error.
    pub fn read(environment: Environment<'_>) -> Result<Self, RemotesError> {
        let own = Own::find(environment).ok();
        let mut entries = match &own {
            Some(own) => own.entries()?,
            None => Vec::new(),
        };
        let known = detect_flavor::known(environment)?;
        entries.extend(known.entries);
        Ok(Self {
            own,
            entries,
            defaults: known.defaults,
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
            [] => Err(RemotesError::Unknown {
                name: name.to_owned(),
                known: self.usable().map(Entry::label).collect(),
            }),
            several => Err(RemotesError::Ambiguous {
                name: name.to_owned(),
                labels: several.iter().map(|entry| entry.label()).collect(),
            }),
        }
    }

    fn usable(&self) -> impl Iterator<Item = &Entry> {
        let is_usable = |entry: &&Entry| !matches!(entry.place, Place::Images(_));
        self.entries.iter().filter(is_usable)
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
