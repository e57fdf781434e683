//! Files that appear whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file that is being written beside the place where it will appear, and goes unless it is kept.
pub struct AtomicFile {
    file: File,
    path: PathBuf,
}

impl AtomicFile {
    /// Begins a file in a folder, with the permission bits `mode` as far as the umask lets them. Its name
    /// does not depend on the final one, which may be as long as names can be.
    pub fn create(folder: &Path, mode: u32) -> io::Result<Self> {
        let path = folder.join(format!(".malleus-{:016x}.part", fastrand::u64(..)));
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path)?;
        Ok(Self { file, path })
    }

    /// Puts the file in its place; a file or a link that stands there is replaced.
    pub fn keep(self, place: &Path) -> io::Result<()> {
        fs::rename(&self.path, place)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        // Half a file is of no use; one that was kept is not found here any more.
        let _ = fs::remove_file(&self.path);
    }
}
