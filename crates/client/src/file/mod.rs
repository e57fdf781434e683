//! Files of instances: pushed, pulled, read and removed over `/1.0/instances/<name>/files`.
//!
//! All of it works on stopped instances too.

mod access;
mod attributes;
mod local;
mod pull;
mod push;
mod several;
mod sftp;
mod tree;

use std::path::PathBuf;

pub use attributes::{FileInfo, FileKind};

/// What to put into an instance, and where.
///
/// ```
/// use malleus_client::{Push, Source};
///
/// let push = Push::new("c1", "/etc/app.conf", Source::Bytes(b"port = 80\n".to_vec()))
///     .mode(0o640)
///     .owner(0, 0);
/// # assert_eq!(push.mode, Some(0o640));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// The name of the instance.
    pub instance: String,
    /// The absolute path in the instance. With a slash at its end, the source goes below it under its own
    /// name; otherwise it is the path of the file itself, or of the folder that the source becomes.
    pub path: String,
    /// What is pushed.
    pub source: Source,
    /// The permission bits of files, at most `0o777`. Without it those of the source, and for bytes those
    /// of the file that is overwritten, or 0644 when there is none.
    pub mode: Option<u32>,
    /// The numeric owner of files and folders. Without it that of what is overwritten, or root.
    pub uid: Option<u32>,
    /// The numeric group of files and folders. Without it that of what is overwritten, or root's.
    pub gid: Option<u32>,
}

impl Push {
    /// A push that leaves permissions and owner to the source and to what is overwritten.
    pub fn new(instance: impl Into<String>, path: impl Into<String>, source: Source) -> Self {
        Self {
            instance: instance.into(),
            path: path.into(),
            source,
            mode: None,
            uid: None,
            gid: None,
        }
    }

    /// Sets the permission bits of files.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Sets the numeric owner and group.
    #[must_use]
    pub fn owner(mut self, uid: u32, gid: u32) -> Self {
        self.uid = Some(uid);
        self.gid = Some(gid);
        self
    }
}

/// Where the content of a [`Push`] comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Out of memory, into one file.
    Bytes(Vec<u8>),
    /// A file of this machine, streamed. A link is followed.
    File(PathBuf),
    /// A folder of this machine with all that is in it. Links below it are pushed as links.
    Folder(PathBuf),
}

/// What a push has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Files and links; folders are not counted.
    pub files: u64,
    /// The content of the files.
    pub bytes: u64,
}

/// What to fetch from an instance, and where it goes.
///
/// ```
/// use malleus_client::Pull;
///
/// let pull = Pull::new("c1", "/var/log/app", "artifacts/");
/// # assert_eq!(pull.instance, "c1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pull {
    /// The name of the instance.
    pub instance: String,
    /// The absolute path in the instance.
    pub path: String,
    /// Where it goes on this machine. A folder that exists, or a path with a slash at its end, gets it under
    /// its own name; otherwise it is the path of the file, or of the folder, itself.
    pub to: PathBuf,
    /// The folder of the caller's that `to` is in; empty for the current folder. Links on the way from there to `to` are not
    /// followed: they may have come out of an instance. Where `to` is not in it, no link but the system's is.
    pub own: PathBuf,
}

impl Pull {
    /// Fetches `path` of an instance to `to`.
    pub fn new(
        instance: impl Into<String>,
        path: impl Into<String>,
        to: impl Into<PathBuf>,
    ) -> Self {
        Self {
            instance: instance.into(),
            path: path.into(),
            to: to.into(),
            own: PathBuf::new(),
        }
    }

    /// Names the folder of the caller's that the destination is in.
    #[must_use]
    pub fn below(mut self, own: impl Into<PathBuf>) -> Self {
        self.own = own.into();
        self
    }
}

/// What a pull has come across below the folder that it fetches, and has left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its path in the instance.
    pub path: PathBuf,
    /// What it is, as `a pipe`.
    pub kind: &'static str,
}

/// What a pull has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulled {
    /// Files and links; folders are not counted.
    pub files: u64,
    /// The content of the files.
    pub bytes: u64,
}

/// A file of an instance, in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileContent {
    /// The content of a file; of a link its target, which servers tell as an absolute path; empty for a
    /// folder.
    pub content: Vec<u8>,
    /// The names in a folder, in no order; empty for everything else.
    pub names: Vec<String>,
    /// Its permission bits.
    pub mode: u32,
    /// Its numeric owner.
    pub uid: u32,
    /// Its numeric group.
    pub gid: u32,
    /// What it is.
    pub kind: FileKind,
}
