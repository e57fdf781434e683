//! Fetching files from an instance.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use super::access::{self, Files, absolute, copy_error, resolve, too_many_links};
use super::attributes::{FileInfo, FileKind};
use super::local::{Destination, check_names, make_folder, place_link, target_here, unwritable};
use super::several::several;
use super::sftp::{Kind, Pool};
use super::{Pull, Pulled, Skipped};
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
    Folder(u32, Vec<OsString>),
    /// The target of a link.
    Link(OsString),
    /// A pipe, a socket or a device.
    Other(&'static str),
}

/// A folder of the instance, the folder made for it here, and the names in it.
struct Folder {
    path: PathBuf,
    local: PathBuf,
    names: Vec<OsString>,
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
    Skipped,
}

/// One pull under way.
struct Puller<'a> {
    files: Files<'a>,
    /// Nothing where the server has none, which then cannot tell pipes and devices from files.
    sftp: Option<Pool<'a>>,
    skipped: &'a (dyn Fn(Skipped) + Sync),
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
    /// Files come over SFTP: those of `/proc` and `/sys` are read to their end, names need not be text, and pipes, sockets and
    /// devices below `path` are left out; see [`Client::pull_noting`]. Servers without SFTP do not tell them from
    /// files: a pipe that nobody writes to ends at the limit then.
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
    /// here; [`Error::Copy`] when `path` is a pipe, a socket or a device, and when a folder holds names that lead out of it.
    /// What was fetched before stays.
    pub fn pull(&self, pull: &Pull, wait: &Wait<'_>) -> Result<Pulled, Error> {
        self.pull_noting(pull, wait, &|_| {})
    }

    /// The same; `skipped` is told what is left out. It is called from several threads.
    ///
    /// # Errors
    /// Those of [`Client::pull`].
    pub fn pull_noting(
        &self,
        pull: &Pull,
        wait: &Wait<'_>,
        skipped: &(dyn Fn(Skipped) + Sync),
    ) -> Result<Pulled, Error> {
        let path = absolute(&pull.path)?;
        let to = Destination::of(path, &pull.to, &pull.own)?;
        // Without the slash at its end, which would have a link followed by the server.
        let mut path: PathBuf = path.components().collect();
        let files = self.files(&pull.instance, wait.limit);
        let puller = Puller {
            files,
            sftp: Pool::open(files)?,
            skipped,
        };
        for _ in 0..=MOST_LINKS {
            match puller.fetch(&path, Arrival::Destination(&to))? {
                Fetched::Link(target) => path = resolve(&path, Path::new(&target)),
                Fetched::File(part, bytes) => {
                    let kept = part.keep(&to.place);
                    kept.map_err(|source| unwritable(&to.place, source))?;
                    return Ok(Pulled { files: 1, bytes });
                }
                Fetched::Folder(mode, names) => {
                    to.make_folder(mode)?;
                    let local = to.place;
                    return puller.fetch_tree(Folder { path, local, names });
                }
                Fetched::Other(kind) => {
                    return Err(copy_error(&path, format!("it is {kind}")));
                }
            }
        }
        Err(too_many_links(&path))
    }
}

impl Puller<'_> {
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
                    Entry::Skipped => {}
                    Entry::File(bytes) => {
                        pulled.files += 1;
                        pulled.bytes += bytes;
                    }
                }
            }
            level = below;
        }
        for link in &links {
            let whole = plain(&resolve(&link.path, Path::new(&link.target)));
            let target = if whole.starts_with(&top) {
                target_here(&top, &link.path, &whole)
            } else {
                PathBuf::from(&link.target)
            };
            place_link(&link.local, target.as_os_str())?;
            pulled.files += 1;
        }
        Ok(pulled)
    }

    fn fetch_entry(&self, folder: &Folder, name: &OsStr) -> Result<Entry, Error> {
        let path = folder.path.join(name);
        let local = folder.local.join(name);
        let fetched = self
            .fetch(&path, Arrival::Folder(&folder.local))
            .map_err(|error| {
                let is_replaced = name.to_string_lossy().contains(char::REPLACEMENT_CHARACTER);
                if error.status() == Some(404) && is_replaced {
                    return copy_error(
                        &path,
                        "its name is not UTF-8, which the API cannot express",
                    );
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
            Fetched::Other(kind) => {
                (self.skipped)(Skipped { path, kind });
                Entry::Skipped
            }
        })
    }

    fn fetch(&self, path: &Path, into: Arrival<'_>) -> Result<Fetched, Error> {
        let Some(sftp) = &self.sftp else {
            return self.files.fetch(path, into);
        };
        let fetched = sftp.with(path, |session| {
            let Some(stat) = session.stat()? else {
                return Ok(None);
            };
            Ok(Some(match stat.kind {
                Kind::File => {
                    let mut part = into.part(stat.mode)?;
                    let copied = session.copy(&mut part);
                    let bytes = copied.map_err(|error| into.explain(error))?;
                    Fetched::File(part, bytes)
                }
                Kind::Folder => Fetched::Folder(stat.mode, session.names()?),
                Kind::Link => Fetched::Link(session.link()?),
                Kind::Other(kind) => Fetched::Other(kind),
            }))
        })?;
        match fetched {
            Some(fetched) => Ok(fetched),
            // The API says best what is missing: the file, or the instance.
            None => self.files.fetch(path, into),
        }
    }
}

impl Files<'_> {
    /// One GET request; a file is streamed into a part in a folder.
    fn fetch(&self, path: &Path, into: Arrival<'_>) -> Result<Fetched, Error> {
        let mut landing = Landing {
            files: *self,
            into,
            part: None,
        };
        let got = self.get(path, &mut landing);
        let reply = got.map_err(|error| into.explain(error))?;
        let told = self.info(&reply)?;
        match (landing.part, &reply.content, told.kind) {
            (Some(part), Content::Streamed { bytes }, _) => Ok(Fetched::File(part, *bytes)),
            (_, _, FileKind::Directory) => {
                let names = access::names(&reply)?.into_iter().map(OsString::from);
                Ok(Fetched::Folder(told.mode, names.collect()))
            }
            (_, Content::Bytes(target), _) => Ok(Fetched::Link(OsString::from_vec(target.clone()))),
            _ => Err(Error::Protocol {
                method: reply.method,
                path: reply.path,
                reason: "the link has no target".to_owned(),
            }),
        }
    }
}

/// The folder that a file goes into.
#[derive(Clone, Copy)]
enum Arrival<'a> {
    /// One that was just made.
    Folder(&'a Path),
    /// One that the caller names, which may have to be made.
    Destination(&'a Destination),
}

impl<'a> Arrival<'a> {
    fn folder(self) -> &'a Path {
        match self {
            Self::Folder(folder) => folder,
            Self::Destination(to) => &to.folder,
        }
    }

    /// Begins a file in it.
    fn part(self, mode: u32) -> Result<AtomicFile, Error> {
        if let Self::Destination(to) = self {
            to.make_way()?;
        }
        let folder = self.folder();
        AtomicFile::create(folder, mode).map_err(|source| unwritable(folder, source))
    }

    /// An error that names the folder where a file could not be written.
    fn explain(self, error: Error) -> Error {
        match error {
            Error::Output { source } => unwritable(self.folder(), source),
            error => error,
        }
    }
}

/// A path without `.` and `..`, as if it had no links.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

/// Streams files, and nothing else, into a part.
struct Landing<'a> {
    files: Files<'a>,
    into: Arrival<'a>,
    part: Option<AtomicFile>,
}

impl Choose for Landing<'_> {
    fn choose(&mut self, headers: &Headers) -> Result<Option<&mut dyn Write>, Error> {
        let flavor = self.files.client.server().flavor;
        let mode = match FileInfo::from_headers(headers, flavor) {
            Some(info) if info.kind == FileKind::File => info.mode,
            _ => return Ok(None),
        };
        let part = self.part.insert(self.into.part(mode)?);
        Ok(Some(part as &mut dyn Write))
    }
}
