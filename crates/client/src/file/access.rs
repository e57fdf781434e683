//! Single requests about the files of one instance.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::FileContent;
use super::attributes::{Attributes, FileInfo, FileKind};
use crate::exchange::{Choose, LARGEST_IN_MEMORY, Sink};
use crate::{Client, Content, Error, Headers, Limit, Reply, Request};
use malleus_api::ApiPath;
use malleus_core::percent::encode_bytes;

/// How many links lead to a file at most, as in Linux.
const MOST_LINKS: usize = 40;

/// What a path of the instance is when its links are followed.
pub(super) struct Found {
    /// Where the links lead.
    pub(super) path: PathBuf,
    /// What is there; `None` when nothing is.
    pub(super) info: Option<FileInfo>,
}

/// The files of one instance. Paths need not be text.
#[derive(Clone, Copy)]
pub(crate) struct Files<'a> {
    pub(super) client: &'a Client,
    pub(super) instance: &'a str,
    pub(super) limit: Limit,
}

impl Files<'_> {
    pub(super) fn request(&self, method: &str, path: &Path) -> Request {
        let files = ApiPath::of_instance_part(self.instance, "files");
        let path = encode_bytes(path.as_os_str().as_bytes());
        let request = Request::new(method, format!("{files}?path={path}"));
        // Without a limit of its own an exchange has that of the client.
        match self.limit.remaining() {
            Some(_) => request.limit(self.limit),
            None => request,
        }
    }

    /// A request that writes something of a kind, new or over what is there.
    pub(super) fn write(&self, path: &Path, kind: FileKind, attributes: Attributes) -> Request {
        let flavor = self.client.server().flavor;
        let request = self.request("POST", path);
        let request = request.header(format!("{}type", flavor.header_prefix()), kind.name());
        attributes.ask(request, flavor)
    }

    /// What the path is, by a HEAD request; `None` when it, or the instance, does not exist.
    pub(crate) fn stat(&self, path: &Path) -> Result<Option<FileInfo>, Error> {
        let reply = self.client.send(&self.request("HEAD", path))?;
        if reply.status == 404 {
            return Ok(None);
        }
        match reply.api_error() {
            Some(error) => Err(Error::Api(error)),
            None => self.info(&reply).map(Some),
        }
    }

    /// What the path is in the end, when each link on the way is followed.
    pub(super) fn follow(&self, path: &Path) -> Result<Found, Error> {
        let mut path = path.to_owned();
        for _ in 0..=MOST_LINKS {
            let info = self.stat(&path)?;
            if info.is_none_or(|info| info.kind != FileKind::Symlink) {
                return Ok(Found { path, info });
            }
            let target = OsString::from_vec(self.read(&path)?.content);
            path = resolve(&path, Path::new(&target));
        }
        Err(too_many_links(&path))
    }

    /// A file, the target of a link or the names in a folder.
    pub(super) fn read(&self, path: &Path) -> Result<FileContent, Error> {
        let mut content = Capped {
            flavored: self,
            bytes: Vec::new(),
        };
        let reply = self.get(path, &mut content)?;
        let info = self.info(&reply)?;
        Ok(FileContent {
            names: names(&reply)?,
            content: content.bytes,
            mode: info.mode,
            uid: info.uid,
            gid: info.gid,
            kind: info.kind,
        })
    }

    pub(super) fn get(&self, path: &Path, to: &mut dyn Choose) -> Result<Reply, Error> {
        let request = self.request("GET", path);
        let limit = self.client.request_limit(&request);
        let reply = self.client.deliver(&request, limit, Sink::Chosen(to))?;
        self.client.judged(&request, reply)
    }

    pub(super) fn remove(&self, path: &Path) -> Result<(), Error> {
        self.client
            .request(&self.request("DELETE", path))
            .map(|_| ())
    }

    pub(super) fn info(&self, reply: &Reply) -> Result<FileInfo, Error> {
        let info = FileInfo::from_headers(&reply.headers, self.client.server().flavor);
        info.ok_or_else(|| Error::Protocol {
            method: reply.method.clone(),
            path: reply.path.clone(),
            reason: "its headers do not tell what the file is".to_owned(),
        })
    }
}

/// The names in a folder; none for everything else.
pub(super) fn names(reply: &Reply) -> Result<Vec<String>, Error> {
    let Content::Envelope(envelope) = &reply.content else {
        return Ok(Vec::new());
    };
    // An empty folder may be listed as null.
    let listed = envelope
        .metadata()
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let names = listed.iter().map(|name| name.as_str().map(str::to_owned));
    names.collect::<Option<_>>().ok_or_else(|| Error::Protocol {
        method: reply.method.clone(),
        path: reply.path.clone(),
        reason: "the list of the folder holds something else than names".to_owned(),
    })
}

/// Where a link leads.
pub(super) fn resolve(link: &Path, target: &Path) -> PathBuf {
    // An absolute target takes the place of what it is joined to.
    link.parent().unwrap_or(Path::new("/")).join(target)
}

pub(super) fn too_many_links(path: &Path) -> Error {
    copy_error(path, "there are too many symbolic links on the way to it")
}

pub(super) fn copy_error(path: &Path, reason: impl Into<String>) -> Error {
    Error::Copy {
        path: path.display().to_string(),
        reason: reason.into(),
    }
}

/// Keeps the content of files and links in memory, as much as may be kept.
struct Capped<'a> {
    flavored: &'a Files<'a>,
    bytes: Vec<u8>,
}

impl Choose for Capped<'_> {
    fn choose(&mut self, headers: &Headers) -> Result<Option<&mut dyn Write>, Error> {
        let flavor = self.flavored.client.server().flavor;
        let folder = FileInfo::from_headers(headers, flavor)
            .is_none_or(|info| info.kind == FileKind::Directory);
        Ok((!folder).then_some(self as &mut dyn Write))
    }
}

impl Write for Capped<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.bytes.len() + bytes.len()) as u64 > LARGEST_IN_MEMORY {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "the file is larger than 64 MiB; Client::pull streams it instead",
            ));
        }
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Client {
    /// What a path of an instance is; `None` when it, or the instance, does not exist. A link is not followed.
    ///
    /// # Errors
    /// [`Error::Api`], without the server's words as the API sends none here.
    pub fn stat_file(&self, instance: &str, path: &str) -> Result<Option<FileInfo>, Error> {
        self.files(instance, Limit::never()).stat(absolute(path)?)
    }

    /// Reads a file of an instance into memory; of a link its target, of a folder its names.
    ///
    /// ```no_run
    /// # use malleus_client::{Client, Error};
    /// # fn f(client: &Client) -> Result<(), Error> {
    /// let file = client.read_file("c1", "/etc/hostname")?;
    /// assert_eq!((file.mode, file.content), (0o644, b"c1\n".to_vec()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Api`] with status 404 when there is none, [`Error::Output`] when it is larger than 64 MiB.
    pub fn read_file(&self, instance: &str, path: &str) -> Result<FileContent, Error> {
        self.files(instance, Limit::never()).read(absolute(path)?)
    }

    /// Removes a file, a link or an empty folder of an instance.
    ///
    /// # Errors
    /// [`Error::Api`]: status 404 when there is none, 500 when it is a folder with something in it.
    pub fn remove_file(&self, instance: &str, path: &str) -> Result<(), Error> {
        self.files(instance, Limit::never()).remove(absolute(path)?)
    }

    pub(crate) fn files<'a>(&'a self, instance: &'a str, limit: Limit) -> Files<'a> {
        Files {
            client: self,
            instance,
            limit,
        }
    }
}

/// Refuses paths that would depend on where the server stands.
pub(super) fn absolute(path: &str) -> Result<&Path, Error> {
    let path = Path::new(path);
    if path.is_absolute() {
        return Ok(path);
    }
    Err(copy_error(path, "a path in an instance begins with `/`"))
}
