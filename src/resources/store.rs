//! The folder of journals: one file per run, locked while the run lives.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use malleus_core::private::exposure;

use super::journal::{Entry, Header, Recorded, Writer};

/// The ending of journals that have no first line yet.
const TEMP_SUFFIX: &str = "new";
/// How often a journal is begun at most.
const BIRTHS: usize = 3;

/// Where journals are kept.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
    /// The user's folder for state, where the other one is in it.
    state: Option<PathBuf>,
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
    /// Another run has the same id.
    #[error(
        "there is a journal of another run `{run}`, which is kept; start again, for another id"
    )]
    Taken {
        /// The run's id.
        run: String,
    },
    /// Somebody else may have written it: what stands in it would be removed from servers.
    #[error("{} is not used: {reason}", path.display())]
    Exposed {
        /// The file or folder.
        path: PathBuf,
        /// Why, and what to do.
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
    /// Has the file, and with it its lock.
    writer: Mutex<Writer>,
    /// What stands in it.
    pub recorded: Recorded,
}

impl Store {
    /// Journals in this folder, which is made when the first is written.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            state: None,
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
        Ok(Self {
            folder: folder.join("runs"),
            state: Some(folder),
        })
    }

    /// Where the journals are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Begins the journal of a run.
    pub(super) fn begin(&self, header: &Header) -> Result<(PathBuf, Writer), StoreError> {
        let path = self.path(&header.run);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(|source| StoreError::System {
                path: self.folder.clone(),
                source,
            })?;
        self.refuse_exposed_folders()?;
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
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let run = header.run.clone();
                Err(StoreError::Taken { run })
            }
            Err(source) => Err(StoreError::System { path, source }),
        }
    }

    fn create(&self, header: &Header, path: &Path) -> io::Result<Writer> {
        // It gets its name once it is locked and has its first line: nobody ever sees it without.
        let unborn = self.folder.join(format!("{}.{TEMP_SUFFIX}", header.run));
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&unborn)?;
        let begun = file.lock().and_then(|()| {
            let mut writer = Writer::new(file)?;
            writer.promise(Entry::Run(header.clone()))?;
            // A journal of the same name is another run's: it is never replaced.
            std::fs::hard_link(&unborn, path)?;
            Ok(writer)
        });
        // Also where the disk is full: the next request tries again.
        std::fs::remove_file(&unborn)?;
        let writer = begun?;
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
                Err(StoreError::Busy { .. }) => (
                    read(&self.path(&run), &run).map(|(known, _)| known),
                    Life::Alive,
                ),
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

    /// Others who may write to the folders could have malleus remove anything from any server.
    fn refuse_exposed_folders(&self) -> Result<(), StoreError> {
        for folder in self.state.iter().chain([&self.folder]) {
            match folder.metadata() {
                Ok(metadata) => refuse_exposed(folder, &metadata)?,
                // What is not there holds nothing.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    let path = folder.clone();
                    return Err(StoreError::System { path, source });
                }
            }
        }
        Ok(())
    }

    fn runs(&self) -> Result<Vec<String>, StoreError> {
        self.refuse_exposed_folders()?;
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
        // Names of runs come from servers as well.
        let run = run.replace('/', "_");
        self.folder.join(format!("{run}.jsonl"))
    }

    /// Whether somebody is removing what the run has left.
    ///
    /// # Errors
    /// Those of reading the journal.
    pub fn is_coming_down(&self, run: &str) -> Result<bool, StoreError> {
        let (recorded, _) = read(&self.path(run), run)?;
        Ok(recorded.is_coming_down)
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
        self.refuse_exposed_folders()?;
        refuse_exposed_journal(&path)?;
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
        let (recorded, whole) = read(&path, run)?;
        // What is appended must not continue a torn line.
        file.set_len(whole as u64).map_err(system)?;
        let writer = Writer::new(file).map_err(system)?;
        Ok(Kept {
            path,
            writer: Mutex::new(writer),
            recorded,
        })
    }
}

impl Kept {
    /// Notes that what the run has left is being removed: the journal is in use for this alone.
    ///
    /// # Errors
    /// [`StoreError::System`] where the line cannot be written.
    pub fn comes_down(&self) -> Result<(), StoreError> {
        self.note(Entry::ComesDown)
    }

    /// Where the journal is.
    pub fn path(&self) -> &Path {
        &self.path
    }

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
    pub fn discard(&self) -> Result<(), StoreError> {
        discard(&self.path)
    }

    fn note(&self, entry: Entry) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.note(entry).map_err(|source| StoreError::System {
            path: self.path.clone(),
            source,
        })
    }

    /// The journal's file and its writer, for a run that goes on with it.
    pub(super) fn into_writer(self, header: Header) -> Result<(PathBuf, Writer), StoreError> {
        let writer = self.writer.into_inner();
        let mut writer = writer.unwrap_or_else(PoisonError::into_inner);
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
fn read(path: &Path, run: &str) -> Result<(Recorded, usize), StoreError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .map_err(|source| StoreError::System {
            path: path.to_owned(),
            source,
        })?;
    let end = bytes.iter().rposition(|byte| *byte == b'\n');
    let whole = end.map_or(0, |end| end + 1);
    // Bytes that are no text are damage like other damage.
    match Recorded::read(&String::from_utf8_lossy(&bytes[..whole]), run) {
        Ok(recorded) => Ok((recorded, whole)),
        Err(reason) => Err(StoreError::Unreadable {
            path: path.to_owned(),
            reason: reason.to_string(),
        }),
    }
}

fn refuse_exposed(path: &Path, metadata: &Metadata) -> Result<(), StoreError> {
    exposure(path, metadata).map_or(Ok(()), |reason| {
        let path = path.to_owned();
        Err(StoreError::Exposed { path, reason })
    })
}

/// Whoever can write a journal says what is removed from which server.
fn refuse_exposed_journal(path: &Path) -> Result<(), StoreError> {
    let metadata = path
        .symlink_metadata()
        .map_err(|source| StoreError::System {
            path: path.to_owned(),
            source,
        })?;
    if !metadata.is_file() {
        return Err(StoreError::Unreadable {
            path: path.to_owned(),
            reason: "it is no regular file".to_owned(),
        });
    }
    refuse_exposed(path, &metadata)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_of_the_same_run_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("runs"));
        let header = |playbook: &str| Header::new("a1b2c3", playbook, "case.yaml");
        let first = store.begin(&header("first")).unwrap();
        for _ in 0..2 {
            let error = store.begin(&header("second")).unwrap_err();
            assert!(matches!(error, StoreError::Taken { .. }), "{error}");
        }
        drop(first);
        assert!(store.begin(&header("third")).is_err());
        let kept = store.open("a1b2c3").unwrap();
        assert_eq!(kept.recorded.header.playbook, "first");
        let names: Vec<_> = std::fs::read_dir(store.folder()).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }

    #[test]
    fn an_id_leads_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside.jsonl");
        std::fs::write(&outside, "precious").unwrap();
        let store = Store::new(folder.path().join("runs"));
        assert!(store.open("../outside").is_err());
        assert_eq!(std::fs::read_to_string(outside).unwrap(), "precious");
    }
}
