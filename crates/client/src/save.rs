use std::io;
use std::path::Path;

use super::own_folder::{Missing, enter};
use super::{Client, Error, Reply, Request};
use malleus_core::atomic_file::AtomicFile;

impl Client {
    /// Sends a request and streams the body of a 2xx reply into a file, which appears whole or not at all.
    /// Folders on the way to it are made; links on the way from `own`, a folder of the caller's, are not followed, as they may
    /// have come out of an instance. `own` may be empty for the current folder.
    ///
    /// # Errors
    /// Those of [`Client::download`]; [`Error::Unwritable`] and [`Error::Output`] when the file cannot be
    /// written.
    pub fn save(&self, request: &Request, file: &Path, own: &Path) -> Result<Reply, Error> {
        let unwritable = |source| Error::Unwritable {
            path: file.to_owned(),
            source,
        };
        let folder = match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        enter(own, folder, Missing::Make).map_err(|error| match error {
            Error::Unwritable { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                unwritable(source)
            }
            error => error,
        })?;
        let mut part = AtomicFile::create(folder, 0o666).map_err(unwritable)?;
        let reply = self.download(request, &mut part)?;
        part.keep(file).map_err(unwritable)?;
        Ok(reply)
    }
}
