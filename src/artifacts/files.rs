//! Writing: for the user's eyes alone, without secrets, whole files or none.

use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::secret::Masker;
use malleus_core::atomic_file::AtomicFile;

/// The most of a text from the server that is kept: of a log its end.
const LONGEST: usize = 1 << 20;

/// The folder of one run.
pub(super) struct Folder {
    path: PathBuf,
    masker: Masker,
    problems: Mutex<Vec<String>>,
}

impl Folder {
    pub(super) fn new(path: PathBuf, masker: Masker) -> Self {
        Self {
            path,
            masker,
            problems: Mutex::default(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn masker(&self) -> &Masker {
        &self.masker
    }

    /// What could not be written so far.
    pub(super) fn problems(&self) -> Vec<String> {
        self.problems
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Writes a file below the folder, masked; one that is there is replaced.
    pub(super) fn write(&self, name: impl AsRef<Path>, bytes: &[u8]) {
        let path = self.path.join(name);
        let text = self.masker.mask(&String::from_utf8_lossy(bytes));
        let written = || {
            let folder = path.parent().unwrap_or(&self.path);
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
            let mut part = AtomicFile::create(folder, 0o600)?;
            part.write_all(text.as_bytes())?;
            part.keep(&path)
        };
        if let Err(error) = written() {
            self.problems
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(format!("cannot write {}: {error}", path.display()));
        }
    }

    /// Writes the end of a log. It is masked before it is cut: half a secret is no longer recognised.
    pub(super) fn write_log(&self, name: impl AsRef<Path>, bytes: &[u8]) {
        let text = self.masker.mask(&String::from_utf8_lossy(bytes));
        let mut start = text.len().saturating_sub(LONGEST);
        while !text.is_char_boundary(start) {
            start += 1;
        }
        let end = &text[start..];
        if start == 0 {
            self.write(name, end.as_bytes());
        } else {
            let cut = format!("… {start} bytes before this are left out\n{end}");
            self.write(name, cut.as_bytes());
        }
    }
}
