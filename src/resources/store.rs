//! The folder of journals: one file per run, locked while the run lives.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::journal::{Entry, Header, Recorded, Writer};

/// The ending of journals that have no first line yet.
const TEMP_SUFFIX: &str = "new";
/// How often a journal is begun at most.
const BIRTHS: usize = 3;

/// Where journals are kept.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

/// What went wrong with a journal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The system refused.
    #[error("cannot use the journal {}: {source}", path.display())]
    System {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What stands in it cannot be understood.
    #[error("cannot read the journal {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// No folder for it is known: neither a state folder nor a home is named.
    #[error("no folder for journals: set MALLEUS_STATE_DIR, XDG_STATE_HOME or HOME")]
    NoStateDir,
    /// The run that writes it is alive.
    #[error("run {run} is still in progress")]
    Busy {
        /// The run's id.
        run: String,
    },
}

/// A journal as [`Store::all`] finds it.
#[derive(Debug)]
pub struct Listed {
    /// The run's id.
    pub run: String,
    /// What stands in it.
    pub recorded: Result<Recorded, StoreError>,
    /// Whether the run still writes it.
    pub life: Life,
}

/// Whether a run is still in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Its process lives, or somebody is cleaning up behind it.
    Alive,
    /// Nobody holds its journal.
    Ended,
}

/// A journal on the disk, locked by us.
#[derive(Debug)]
pub struct Kept {
    path: PathBuf,
    /// Held for its lock, which ends with it.
    file: File,
    /// What stands in it.
    pub recorded: Recorded,
}

impl Store {
    /// Journals in this folder, which is made when the first is written.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// The platform's folder for state: `MALLEUS_STATE_DIR`; `malleus` in `XDG_STATE_HOME`; in `~/.local/state`.
    ///
    /// # Errors
    /// [`StoreError::NoStateDir`] where none of them is set.
    pub fn of_user(environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, StoreError> {
        let set = |name: &str| environment(name).filter(|value| !value.is_empty());
        let folder = set("MALLEUS_STATE_DIR")
            .map(PathBuf::from)
            .or_else(|| set("XDG_STATE_HOME").map(|state| Path::new(&state).join("malleus")))
            .or_else(|| set("HOME").map(|home| Path::new(&home).join(".local/state/malleus")))
            .ok_or(StoreError::NoStateDir)?;
        Ok(Self::new(folder.join("runs")))
    }

    /// Where the journals are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Begins the journal of a run.
    pub(super) fn begin(&self, header: &Header) -> Result<(PathBuf, Writer), StoreError> {
        let path = self.path(&header.run);
        // Whoever finds the file before it is locked takes it for one that was given up.
        let mut begun = self.create(header, &path);
        for _ in 1..BIRTHS {
            match &begun {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    begun = self.create(header, &path);
                }
                _ => break,
            }
        }
        match begun {
            Ok(writer) => Ok((path, writer)),
            Err(source) => Err(StoreError::System { path, source }),
        }
    }

    fn create(&self, header: &Header, path: &Path) -> io::Result<Writer> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)?;
        // It gets its name once it is locked and has its first line: nobody ever sees it without.
        let unborn = self.folder.join(format!("{}.{TEMP_SUFFIX}", header.run));
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&unborn)?;
        file.lock()?;
        let mut writer = Writer::new(file);
        writer.promise(Entry::Run(header.clone()))?;
        std::fs::rename(&unborn, path)?;
        // The file's name has to survive as well.
        File::open(&self.folder)?.sync_all()?;
        Ok(writer)
    }

    /// Removes a journal that was killed before it had its first line; nothing was sent for it.
    fn remove(path: &Path) {
        if let Ok(file) = File::open(path)
            && file.try_lock().is_ok()
        {
            // Somebody else may have been quicker.
            let _ = std::fs::remove_file(path);
        }
    }

    /// The journals that are there, oldest first.
    ///
    /// # Errors
    /// [`StoreError::System`] where the folder cannot be read; one that is not there holds none.
    pub fn all(&self) -> Result<Vec<Listed>, StoreError> {
        let mut found = Vec::new();
        for run in self.runs()? {
            let (recorded, life) = match self.open(&run) {
                Ok(kept) => (Ok(kept.recorded), Life::Ended),
                Err(StoreError::Busy { .. }) => {
                    (read(&self.path(&run)).map(|(known, _)| known), Life::Alive)
                }
                Err(error) => (Err(error), Life::Ended),
            };
            // Removed by somebody else in between.
            let is_gone = matches!(&recorded, Err(StoreError::System { source, .. })
                if source.kind() == io::ErrorKind::NotFound);
            if !is_gone {
                found.push(Listed {
                    run,
                    recorded,
                    life,
                });
            }
        }
        found.sort_by_cached_key(|listed| {
            let known = listed.recorded.as_ref().ok();
            known.map(|known| known.header.started.clone())
        });
        Ok(found)
    }

    fn runs(&self) -> Result<Vec<String>, StoreError> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => {
                return Err(StoreError::System {
                    path: self.folder.clone(),
                    source,
                });
            }
        };
        Ok(entries
            .filter_map(Result::ok)
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                if name.ends_with(TEMP_SUFFIX) {
                    Self::remove(&entry.path());
                }
                name.strip_suffix(".jsonl").map(str::to_owned)
            })
            .collect())
    }

    fn path(&self, run: &str) -> PathBuf {
        self.folder.join(format!("{run}.jsonl"))
    }

    /// Takes the journal of a run whose process has ended.
    ///
    /// # Errors
    /// [`StoreError::Busy`] where the run is alive, and where somebody else is cleaning up behind it.
    pub fn open(&self, run: &str) -> Result<Kept, StoreError> {
        let path = self.path(run);
        let system = |source| StoreError::System {
            path: path.clone(),
            source,
        };
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(&path)
            .map_err(system)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Busy {
                    run: run.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(system(source)),
        }
        let (recorded, whole) = read(&path)?;
        // What is appended must not continue a torn line.
        file.set_len(whole as u64).map_err(system)?;
        Ok(Kept {
            path,
            file,
            recorded,
        })
    }
}

impl Kept {
    /// Notes that a resource is gone.
    ///
    /// # Errors
    /// [`StoreError::System`] where the line cannot be written.
    pub fn removed(&self, number: u32) -> Result<(), StoreError> {
        self.note(Entry::Now {
            number,
            state: super::State::Removed,
        })
    }

    /// Removes the journal: nothing is left to do for it.
    ///
    /// # Errors
    /// [`StoreError::System`] where the file cannot be removed.
    pub fn discard(self) -> Result<(), StoreError> {
        discard(&self.path)
    }

    fn note(&self, entry: Entry) -> Result<(), StoreError> {
        let file = self.file.try_clone();
        file.and_then(|file| Writer::new(file).note(entry))
            .map_err(|source| StoreError::System {
                path: self.path.clone(),
                source,
            })
    }

    /// The journal's file and its writer, for a run that goes on with it.
    pub(super) fn into_writer(self, header: Header) -> Result<(PathBuf, Writer), StoreError> {
        let mut writer = Writer::new(self.file);
        match writer.promise(Entry::Run(header)) {
            Ok(()) => Ok((self.path, writer)),
            Err(source) => Err(StoreError::System {
                path: self.path,
                source,
            }),
        }
    }
}

/// What stands in a journal, and the length of its whole lines.
fn read(path: &Path) -> Result<(Recorded, usize), StoreError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|mut file| file.read_to_string(&mut text))
        .map_err(|source| StoreError::System {
            path: path.to_owned(),
            source,
        })?;
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    match Recorded::read(&text[..whole]) {
        Ok(recorded) => Ok((recorded, whole)),
        Err(reason) => Err(StoreError::Unreadable {
            path: path.to_owned(),
            reason: reason.to_string(),
        }),
    }
}

pub(super) fn discard(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StoreError::System {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}
