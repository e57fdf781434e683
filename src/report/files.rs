//! Reports as files: asked for before a run, written after it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::record::Record;
use super::{html, json, junit};
use crate::secret::Masker;
use malleus_core::atomic_file::AtomicFile;

/// A report that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What is written.
    pub format: Format,
    /// Where it goes.
    pub target: Target,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JUnit XML.
    Junit,
    /// One JSON document.
    Json,
    /// One page.
    Html,
}

/// Where a report goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The caller's stdout.
    Stdout,
    /// A file, or something else that has a path.
    File(PathBuf),
}

impl Report {
    /// Reads `FORMAT=FILE`; the file `-` is stdout.
    ///
    /// # Errors
    /// Says in one line what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (format, file) = text.split_once('=').unwrap_or((text, ""));
        let format = match format {
            "junit" => Format::Junit,
            "json" => Format::Json,
            "html" => Format::Html,
            other => {
                return Err(format!(
                    "`{other}` is no format for reports: use junit, json or html"
                ));
            }
        };
        let target = match file {
            "" => return Err("a report goes to a file, as in `junit=FILE`".into()),
            "-" => Target::Stdout,
            file => Target::File(file.into()),
        };
        Ok(Self { format, target })
    }

    /// The text of the report, without the secrets.
    pub fn text(&self, records: &[Record], masker: &Masker) -> String {
        let clean: Vec<Record> = records.iter().map(|record| record.masked(masker)).collect();
        match self.format {
            Format::Junit => junit::write(&clean),
            Format::Json => json::write(&clean),
            Format::Html => html::write(&clean),
        }
    }
}

/// Tries whether [`write()`] could write a file, and leaves nothing.
///
/// # Errors
/// As the file system says.
pub fn probe(path: &Path) -> io::Result<()> {
    match place(path)? {
        Place::Whole(file) => AtomicFile::create(folder(&file), 0o666).map(drop),
        // Whoever reads a pipe would see its end.
        Place::Stream => Ok(()),
    }
}

/// Writes a file whole or not at all. What is no regular file, such as `/dev/stdout` or a pipe, is written to.
///
/// # Errors
/// As the file system says.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    match place(path)? {
        Place::Whole(file) => {
            let mut part = AtomicFile::create(folder(&file), 0o666)?;
            part.write_all(text.as_bytes())?;
            part.keep(&file)
        }
        Place::Stream => OpenOptions::new()
            .write(true)
            .open(path)?
            .write_all(text.as_bytes()),
    }
}

enum Place {
    /// A regular file, or none yet; links are followed, so that they stay.
    Whole(PathBuf),
    Stream,
}

fn place(path: &Path) -> io::Result<Place> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(found) if found.is_file() => path.canonicalize().map(Place::Whole),
        Ok(_) => Ok(Place::Stream),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Place::Whole(path.to_owned())),
        Err(error) => Err(error),
    }
}

fn folder(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for() {
        let report = |format, target| Ok(Report { format, target });
        for (text, parsed) in [
            (
                "junit=a=b.xml",
                report(Format::Junit, Target::File("a=b.xml".into())),
            ),
            ("json=-", report(Format::Json, Target::Stdout)),
            (
                "html=x/y.html",
                report(Format::Html, Target::File("x/y.html".into())),
            ),
            (
                "junit",
                Err("a report goes to a file, as in `junit=FILE`".into()),
            ),
            (
                "junit=",
                Err("a report goes to a file, as in `junit=FILE`".into()),
            ),
            (
                "xml=a",
                Err("`xml` is no format for reports: use junit, json or html".into()),
            ),
        ] {
            assert_eq!(Report::parse(text), parsed, "{text}");
        }
    }

    #[test]
    fn files_are_replaced_whole_and_links_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("real"), folder.path().join("link"));
        write(&file, "first").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        probe(&link).unwrap();
        write(&link, "second").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "second");
        assert!(link.is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        let missing = folder.path().join("no/such");
        assert_eq!(probe(&missing).unwrap_err().kind(), io::ErrorKind::NotFound);
        let kind = probe(folder.path()).unwrap_err().kind();
        assert_eq!(kind, io::ErrorKind::IsADirectory);
    }
}
