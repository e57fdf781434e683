use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::{Client, Error, Reply, Request};

impl Client {
    /// Sends a request and streams the body of a 2xx reply into a file, which appears whole or not at all.
    /// Folders on the way to it are made.
    ///
    /// # Errors
    /// Those of [`Client::download`]; [`Error::Output`] when the file cannot be written.
    pub fn save(&self, request: &Request, file: &Path) -> Result<Reply, Error> {
        let cannot = |source| unwritable(file, &source);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).map_err(cannot)?;
        }
        let mut name = file.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{:08x}.part", fastrand::u32(..)));
        let part = file.with_file_name(name);
        let saved = self.fill(request, &part).and_then(|reply| {
            fs::rename(&part, file).map_err(cannot)?;
            Ok(reply)
        });
        if saved.is_err() {
            // Half a file is of no use; that it cannot be removed is less than the error itself.
            let _ = fs::remove_file(&part);
        }
        saved
    }

    fn fill(&self, request: &Request, part: &Path) -> Result<Reply, Error> {
        let cannot = |source| unwritable(part, &source);
        let mut to = BufWriter::new(File::create(part).map_err(cannot)?);
        let reply = self.download(request, &mut to)?;
        to.flush().map_err(cannot)?;
        Ok(reply)
    }
}

fn unwritable(file: &Path, error: &io::Error) -> Error {
    let words = format!("{}: {error}", file.display());
    Error::Output {
        source: io::Error::new(error.kind(), words),
    }
}
