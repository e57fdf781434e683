//! Fetching files from an instance.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::access::{self, Files, absolute, copy_error, resolve, too_many_links};
use super::attributes::{FileInfo, FileKind};
use super::local::{Destination, check_names, make_folder, place_link, target_here, unwritable};
use super::several::several;
use super::{Pull, Pulled};
use crate::exchange::Choose;
use crate::{Client, Content, Error, Headers, Wait};
use malleus_core::atomic_file::AtomicFile;

/// How many links lead to what is pulled at most, as in Linux.
const MOST_LINKS: usize = 40;

/// What one GET request brought.
enum Fetched {
    /// A file, written and waiting for its place.
    File(AtomicFile, u64),
    /// A folder, its permissions and the names in it.
    Folder(u32, Vec<String>),
    /// The target of a link.
    Link(OsString),
}

/// A folder of the instance, the folder made for it here, and the names in it.
struct Folder {
    path: PathBuf,
    local: PathBuf,
    names: Vec<String>,
}

/// A link of the instance, its place here, and its target as the server tells it.
struct Link {
    path: PathBuf,
    local: PathBuf,
    target: OsString,
}

/// What became of one name in a folder.
enum Entry {
    File(u64),
    Folder(Folder),
    /// A link that is still to be made.
    Link(Link),
}

impl Client {
    /// Fetches a file, or a folder with all that is in it, from an instance, stopped or running.
    ///
    /// Each file appears whole or not at all. Files and folders get the permissions they have in the instance, less
    /// the umask; folders stay accessible to their owner. Owners and times are not kept. A `path` that is a link
    /// in the instance is followed there. Links below it become links here and are never followed: relative ones
    /// where they lead to something below `path`, as servers tell the targets of all links as absolute paths,
    /// else with the target the server tells. Files and links that are in the way are replaced, folders are filled, and a folder in the way
    /// of a file is an error.
    ///
    /// The API does not tell pipes and devices from files. A pipe that nobody writes to ends at the limit.
    ///
    /// ```no_run
    /// # use malleus_client::{Client, Error, Pull, Wait};
    /// # fn f(client: &Client) -> Result<(), Error> {
    /// let logs = Pull::new("c1", "/var/log", "artifacts/");
    /// let pulled = client.pull(&logs, &Wait::default())?;
    /// println!("{} files in artifacts/log", pulled.files);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Api`] with status 404 when there is no such file; [`Error::Unwritable`] for what cannot be written
    /// here; [`Error::Copy`] when a folder holds names that lead out of it, or that are not UTF-8, which
    /// the API cannot express. What was fetched before stays.
    pub fn pull(&self, pull: &Pull, wait: &Wait<'_>) -> Result<Pulled, Error> {
        let path = absolute(&pull.path)?;
        let to = Destination::of(path, &pull.to);
        // Without the slash at its end, which would have a link followed by the server.
        let mut path: PathBuf = path.components().collect();
        let files = self.files(&pull.instance, wait.limit);
        for _ in 0..=MOST_LINKS {
            match files.fetch(&path, &to.folder)? {
                Fetched::Link(target) => path = resolve(&path, Path::new(&target)),
                Fetched::File(part, bytes) => {
                    let kept = part.keep(&to.place);
                    kept.map_err(|source| unwritable(&to.place, source))?;
                    return Ok(Pulled { files: 1, bytes });
                }
                Fetched::Folder(mode, names) => {
                    to.make_folder(mode)?;
                    let local = to.place;
                    return files.fetch_tree(Folder { path, local, names });
                }
            }
        }
        Err(too_many_links(&path))
    }
}

impl Files<'_> {
    /// Fetches what is in a folder, level by level and a few at a time. Links are made at the end, so that no
    /// file goes through one.
    fn fetch_tree(&self, root: Folder) -> Result<Pulled, Error> {
        let top = root.path.clone();
        let mut pulled = Pulled::default();
        let mut links = Vec::new();
        let mut level = vec![root];
        while !level.is_empty() {
            let mut places = Vec::new();
            for folder in &level {
                check_names(&folder.path, &folder.names)?;
                places.extend(folder.names.iter().map(|name| (folder, name)));
            }
            let entries = several(&places, |(folder, name)| self.fetch_entry(folder, name))?;
            let mut below = Vec::new();
            for entry in entries {
                match entry {
                    Entry::Folder(folder) => below.push(folder),
                    Entry::Link(link) => links.push(link),
                    Entry::File(bytes) => {
                        pulled.files += 1;
                        pulled.bytes += bytes;
                    }
                }
            }
            level = below;
        }
        for link in &links {
            let target = target_here(&top, &link.path, Path::new(&link.target));
            place_link(&link.local, target.as_os_str())?;
            pulled.files += 1;
        }
        Ok(pulled)
    }

    fn fetch_entry(&self, folder: &Folder, name: &str) -> Result<Entry, Error> {
        let path = folder.path.join(name);
        let local = folder.local.join(name);
        let fetched = self.fetch(&path, &folder.local).map_err(|error| {
            if error.status() == Some(404) && name.contains(char::REPLACEMENT_CHARACTER) {
                return copy_error(&path, "its name is not UTF-8, which the API cannot express");
            }
            error
        })?;
        Ok(match fetched {
            Fetched::Link(target) => Entry::Link(Link {
                path,
                local,
                target,
            }),
            Fetched::File(part, bytes) => {
                part.keep(&local)
                    .map_err(|source| unwritable(&local, source))?;
                Entry::File(bytes)
            }
            Fetched::Folder(mode, names) => {
                make_folder(&local, mode)?;
                Entry::Folder(Folder { path, local, names })
            }
        })
    }

    /// One GET request; a file is streamed into a part in `folder`.
    fn fetch(&self, path: &Path, folder: &Path) -> Result<Fetched, Error> {
        let mut landing = Landing {
            files: *self,
            folder,
            part: None,
        };
        let reply = self.get(path, &mut landing).map_err(|error| match error {
            Error::Output { source } => unwritable(folder, source),
            error => error,
        })?;
        let info = self.info(&reply)?;
        match (landing.part, &reply.content, info.kind) {
            (Some(part), Content::Streamed { bytes }, _) => Ok(Fetched::File(part, *bytes)),
            (_, _, FileKind::Directory) => Ok(Fetched::Folder(info.mode, access::names(&reply)?)),
            (_, Content::Bytes(target), _) => Ok(Fetched::Link(OsString::from_vec(target.clone()))),
            _ => Err(Error::Protocol {
                method: reply.method,
                path: reply.path,
                reason: "the link has no target".to_owned(),
            }),
        }
    }
}

/// Streams files, and nothing else, into a part.
struct Landing<'a> {
    files: Files<'a>,
    folder: &'a Path,
    part: Option<AtomicFile>,
}

impl Choose for Landing<'_> {
    fn choose(&mut self, headers: &Headers) -> Result<Option<&mut dyn Write>, Error> {
        let flavor = self.files.client.server().flavor;
        let mode = match FileInfo::from_headers(headers, flavor) {
            Some(info) if info.kind == FileKind::File => info.mode,
            _ => return Ok(None),
        };
        let part =
            fs::create_dir_all(self.folder).and_then(|()| AtomicFile::create(self.folder, mode));
        let part = self
            .part
            .insert(part.map_err(|source| unwritable(self.folder, source))?);
        Ok(Some(part as &mut dyn Write))
    }
}
