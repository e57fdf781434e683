//! Putting files into an instance.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::access::{Files, absolute, copy_error};
use super::attributes::{Attributes, FileInfo, FileKind};
use super::several::several;
use super::tree::{self, Node};
use super::{Push, Pushed, Source};
use crate::{Client, Error, Exec, Output, Request, Wait};

/// The extension that lets headers change what exists.
const MODIFY: &str = "instances_files_modify_permissions";

/// How many folders one command gives to their owner: arguments may not be too long together.
const FOLDERS_AT_ONCE: usize = 100;

/// What is known about a path before something is written there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Nothing is there: its folder was made a moment ago.
    New,
    /// Something may be there.
    Unknown,
}

/// The content of one file.
#[derive(Clone, Copy)]
enum Body<'a> {
    Bytes(&'a [u8]),
    File(&'a Path),
}

/// One push under way.
struct Pusher<'a> {
    files: Files<'a>,
    /// What everything is to have; permissions concern files only.
    wanted: Attributes,
    wait: &'a Wait<'a>,
}

impl Client {
    /// Puts a file, or a folder with all that is in it, into an instance, stopped or running. Folders on the way
    /// are made (0755, with the owner that was asked for).
    ///
    /// Permissions and owner hold also for files that exist. Servers ignore them there, unless they announce the
    /// extension `instances_files_modify_permissions`; so a file that has others is deleted first and written
    /// anew, and is missing for that moment. What was not asked for is kept as it was. A file that is a link in
    /// the instance is written where the link leads. Folders that exist keep their permissions; an owner that was
    /// asked for is given to them by a `chown` in the instance, which therefore has to run in that case.
    ///
    /// A folder's links are pushed as links; links and files in the way of a link are replaced. What else is in
    /// the target folder stays.
    ///
    /// ```no_run
    /// # use malleus_client::{Client, Error, Push, Source, Wait};
    /// # fn f(client: &Client) -> Result<(), Error> {
    /// let site = Push::new("c1", "/srv/www", Source::Folder("site".into())).owner(33, 33);
    /// let pushed = client.push(&site, &Wait::default())?;
    /// println!("{} files, {} bytes", pushed.files, pushed.bytes);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::File`] for what cannot be read here, [`Error::Copy`] for what cannot be pushed (a folder in the
    /// way of a file, permissions above 0777, an owner of folders that cannot be changed), [`Error::Api`] for
    /// what the server refuses. What was written before stays.
    pub fn push(&self, push: &Push, wait: &Wait<'_>) -> Result<Pushed, Error> {
        let path = target(push)?;
        let pusher = Pusher {
            files: self.files(&push.instance, wait.limit),
            wanted: Attributes {
                mode: push.mode,
                uid: push.uid,
                gid: push.gid,
            },
            wait,
        };
        match &push.source {
            Source::Bytes(bytes) => {
                pusher.file(&path, Body::Bytes(bytes), Standing::Unknown, pusher.wanted)?;
                Ok(Pushed {
                    files: 1,
                    bytes: bytes.len() as u64,
                })
            }
            Source::File(file) => pusher.local_file(file, &path),
            Source::Folder(folder) => pusher.folder(folder, &path),
        }
    }
}

/// Where the push goes, its own name added when it goes below a folder.
fn target(push: &Push) -> Result<PathBuf, Error> {
    let path = absolute(&push.path)?;
    if let Some(mode) = push.mode.filter(|mode| *mode > 0o777) {
        let reason = format!("the API cannot set the permissions {mode:05o}, only up to 0777");
        return Err(copy_error(path, reason));
    }
    let name = match &push.source {
        _ if !push.path.ends_with('/') => return Ok(path.to_owned()),
        Source::Bytes(_) => None,
        // The root is itself, not something below it.
        Source::Folder(_) if path.parent().is_none() => return Ok(path.to_owned()),
        Source::File(local) | Source::Folder(local) => {
            let whole = fs::canonicalize(local);
            let whole = whole.map_err(|source| tree::unreadable(local, source))?;
            let name = local.file_name().or_else(|| whole.file_name());
            name.map(OsStr::to_owned)
        }
    };
    match name {
        Some(name) => Ok(path.join(name)),
        None => Err(copy_error(path, "the name of the file is missing")),
    }
}

impl Pusher<'_> {
    fn local_file(&self, file: &Path, path: &Path) -> Result<Pushed, Error> {
        let metadata = fs::metadata(file).map_err(|source| tree::unreadable(file, source))?;
        if !metadata.is_file() {
            let name = file.display();
            return Err(copy_error(path, format!("{name} is not a file")));
        }
        let mode = tree::permission_bits(&metadata);
        let wanted = self.with_mode(mode);
        self.file(path, Body::File(file), Standing::Unknown, wanted)?;
        Ok(Pushed {
            files: 1,
            bytes: metadata.len(),
        })
    }

    /// Folders first, then everything in them a few at a time, owners of folders last.
    fn folder(&self, local: &Path, path: &Path) -> Result<Pushed, Error> {
        let tree = tree::walk(local)?;
        let mut standings: HashMap<&Path, Standing> = HashMap::new();
        let mut foreign = Vec::new();
        let above = |path: &Path| path.parent().map(Path::to_owned);
        for folder in &tree.folders {
            let parent = above(&folder.path).and_then(|parent| standings.get(&*parent).copied());
            let parent = parent.unwrap_or(Standing::Unknown);
            let whole = below(path, &folder.path);
            let standing = self.make_folder(&whole, folder, parent, &mut foreign)?;
            standings.insert(&folder.path, standing);
        }
        let standing = |path: &Path| {
            let parent = above(path).and_then(|parent| standings.get(&*parent).copied());
            parent.unwrap_or(Standing::Unknown)
        };
        several(&tree.files, |file| {
            let source = local.join(&file.path);
            let wanted = self.with_mode(file.mode);
            let whole = below(path, &file.path);
            self.file(&whole, Body::File(&source), standing(&file.path), wanted)
        })?;
        several(&tree.links, |(link, target)| {
            self.link(&below(path, link), target, standing(link))
        })?;
        self.give_away(&foreign)?;
        Ok(Pushed {
            files: (tree.files.len() + tree.links.len()) as u64,
            bytes: tree.files.iter().map(|file| file.size).sum(),
        })
    }

    /// What was asked for; else these permissions.
    fn with_mode(&self, mode: u32) -> Attributes {
        Attributes {
            mode: self.wanted.mode.or(Some(mode)),
            ..self.wanted
        }
    }

    /// Writes one file so that it has what is wanted, whatever is there.
    fn file(
        &self,
        path: &Path,
        body: Body<'_>,
        standing: Standing,
        wanted: Attributes,
    ) -> Result<(), Error> {
        if standing == Standing::New || wanted.any_will_do() {
            return self.post(path, |path| self.content(path, body, wanted));
        }
        let client = self.files.client;
        if client.server().has_extension(MODIFY) {
            let flavor = client.server().flavor;
            let request = |path: &Path| wanted.insist(self.content(path, body, wanted), flavor);
            return self.post(path, request);
        }
        let found = match self.files.follow(path) {
            Ok(found) => found,
            // The server says no more than that to HEAD; to the push itself it says what is wrong.
            Err(Error::Api(_)) => return self.post(path, |path| self.content(path, body, wanted)),
            Err(error) => return Err(error),
        };
        let wanted = match found.info {
            Some(info) if info.kind == FileKind::Directory => {
                return Err(copy_error(path, "it is a folder in the instance"));
            }
            Some(info) if !wanted.hold_for(&info) => {
                self.files.remove(&found.path)?;
                wanted.or_those_of(&info)
            }
            _ => wanted,
        };
        self.post(&found.path, |path| self.content(path, body, wanted))
    }

    fn content(&self, path: &Path, body: Body<'_>, wanted: Attributes) -> Request {
        let request = self.files.write(path, FileKind::File, wanted);
        match body {
            Body::Bytes(bytes) => request.bytes(bytes),
            Body::File(file) => request.upload(file),
        }
    }

    /// Writes a link, in the place of a file or another link if need be.
    fn link(&self, path: &Path, target: &OsStr, standing: Standing) -> Result<(), Error> {
        let request = |path: &Path| {
            let none = Attributes::default();
            let request = self.files.write(path, FileKind::Symlink, none);
            request.bytes(target.as_bytes())
        };
        // A link that leads there already is accepted by the server.
        let error = match self.post(path, request) {
            Err(Error::Api(error)) if standing == Standing::Unknown => error,
            done => return done,
        };
        match self.files.stat(path)? {
            Some(info) if info.kind == FileKind::Directory => Err(copy_error(
                path,
                "it is a folder in the instance, and a link here",
            )),
            Some(_) => {
                self.files.remove(path)?;
                self.post(path, request)
            }
            None => Err(Error::Api(error)),
        }
    }

    /// Makes a folder unless it exists; one that exists with another owner is put on the list.
    fn make_folder(
        &self,
        path: &Path,
        local: &Node,
        parent: Standing,
        foreign: &mut Vec<PathBuf>,
    ) -> Result<Standing, Error> {
        let there = match parent {
            Standing::New => None,
            Standing::Unknown => self.folder_at(path)?,
        };
        if let Some(info) = there {
            if !self.wanted.owner_holds_for(&info) {
                foreign.push(path.to_owned());
            }
            return Ok(Standing::Unknown);
        }
        let attributes = Attributes {
            mode: Some(local.mode),
            ..self.wanted
        };
        self.post(path, |path| {
            self.files.write(path, FileKind::Directory, attributes)
        })?;
        Ok(Standing::New)
    }

    /// The folder at a path, or the one that a link there leads to.
    ///
    /// # Errors
    /// When there is something else: a server takes that for a folder that exists.
    fn folder_at(&self, path: &Path) -> Result<Option<FileInfo>, Error> {
        // With a slash at its end a link is followed.
        let error = match self.files.stat(&path.join("")) {
            Ok(Some(info)) if info.kind == FileKind::Directory => return Ok(Some(info)),
            Ok(None) => return Ok(None),
            Ok(Some(_)) | Err(Error::Api(_)) => {
                copy_error(path, "it is not a folder in the instance")
            }
            Err(error) => return Err(error),
        };
        Err(error)
    }

    /// Sends a request that writes something. When that is refused because the folder above is missing, it is
    /// made, and the request sent again.
    fn post(&self, path: &Path, request: impl Fn(&Path) -> Request) -> Result<(), Error> {
        let client = self.files.client;
        let Err(error) = client.request(&request(path)) else {
            return Ok(());
        };
        let folder = match path.parent() {
            Some(folder) if error.status() == Some(404) && folder.parent().is_some() => folder,
            _ => return Err(error),
        };
        let attributes = Attributes {
            mode: Some(0o755),
            ..self.wanted
        };
        let parent = |path: &Path| self.files.write(path, FileKind::Directory, attributes);
        self.post(folder, &parent as &dyn Fn(&Path) -> Request)?;
        client.request(&request(path)).map(|_| ())
    }

    /// Gives folders that existed to the owner that was asked for.
    fn give_away(&self, folders: &[PathBuf]) -> Result<(), Error> {
        let id = |id: Option<u32>| id.map(|id| id.to_string()).unwrap_or_default();
        let owner = match self.wanted.gid {
            Some(_) => format!("{}:{}", id(self.wanted.uid), id(self.wanted.gid)),
            None => id(self.wanted.uid),
        };
        for folders in folders.chunks(FOLDERS_AT_ONCE) {
            let names = folders
                .iter()
                .map(|folder| folder.to_string_lossy().into_owned());
            let command = ["chown".to_owned(), owner.clone()].into_iter().chain(names);
            let exec = Exec::new(self.files.instance, command);
            let refused = self.chown(&exec)?;
            if let (Some(why), Some(first)) = (refused, folders.first()) {
                let reason =
                    format!("the folder exists, and its owner could not be changed: {why}");
                return Err(copy_error(first, reason));
            }
        }
        Ok(())
    }

    /// Why the command did not do, if it did not.
    fn chown(&self, exec: &Exec) -> Result<Option<String>, Error> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let output = Output {
            stdout: &mut stdout,
            stderr: &mut stderr,
        };
        match self.files.client.exec(exec, output, self.wait) {
            Ok(exit) if exit.success() => Ok(None),
            Ok(exit) => {
                let said = String::from_utf8_lossy(&stderr).trim().to_owned();
                let said = if said.is_empty() {
                    exit.message.unwrap_or_default()
                } else {
                    said
                };
                Ok(Some(format!("chown ended with {}: {said}", exit.code)))
            }
            Err(Error::Api(error)) => Ok(Some(error.message)),
            Err(error) => Err(error),
        }
    }
}

/// A path below a folder; the folder itself for an empty one.
fn below(folder: &Path, path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() {
        return folder.to_owned();
    }
    folder.join(path)
}
