//! An instance's file tree as the shell sees it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bashkit::{DirEntry, FileSystem, FileSystemExt, FileType, Metadata, Result, async_trait};

use super::Place;
use super::process::{Command, Process, Processes};
use crate::state::tree::{Content, Last, Node, SharedTree, Trouble};

/// The tree with `/proc` and `/dev` on top, for one command.
#[derive(Debug)]
pub(super) struct Mount {
    tree: SharedTree,
    processes: Arc<Processes>,
    user: u32,
    group: u32,
}

fn wrong(trouble: Trouble) -> bashkit::Error {
    let kind = match trouble {
        Trouble::Missing => io::ErrorKind::NotFound,
        Trouble::NotAFolder => io::ErrorKind::NotADirectory,
        Trouble::IsAFolder => io::ErrorKind::IsADirectory,
        Trouble::NotEmpty => io::ErrorKind::DirectoryNotEmpty,
        Trouble::Exists => io::ErrorKind::AlreadyExists,
        Trouble::TooLong => io::ErrorKind::InvalidFilename,
        Trouble::Loop => io::ErrorKind::Other,
    };
    io::Error::new(kind, trouble.text()).into()
}

/// What is not in the tree.
enum Special {
    /// `/dev/null` and the like: takes all and gives nothing.
    Null,
    Folder(Vec<String>),
    File(Vec<u8>),
}

impl Mount {
    pub(super) fn new(place: &Place, command: &Command) -> Self {
        Self {
            tree: place.tree.clone(),
            processes: place.processes.clone(),
            user: command.user,
            group: command.group,
        }
    }

    fn node(&self, content: Content, mode: u32) -> Node {
        let mut node = Node::new(content, mode, SystemTime::now());
        node.uid = self.user;
        node.gid = self.group;
        node
    }

    fn special(&self, path: &str) -> Option<Special> {
        let names = ["cmdline", "comm", "environ", "status"];
        match path {
            "/dev/null" | "/dev/zero" | "/dev/tty" | "/dev/full" => return Some(Special::Null),
            "/proc" => {
                let processes = self.processes.list();
                let numbers = processes.iter().map(|process| process.id.to_string());
                let all = ["1".to_owned()].into_iter().chain(numbers);
                return Some(Special::Folder(all.collect()));
            }
            "/proc/uptime" => return Some(Special::File(b"60.00 60.00\n".to_vec())),
            _ => {}
        }
        let inside = path.strip_prefix("/proc/")?;
        let (id, file) = inside
            .split_once('/')
            .map_or((inside, None), |(id, file)| (id, Some(file)));
        let process = self.processes.get(id.parse().ok()?);
        if process.is_none() && id != "1" {
            return None;
        }
        match file {
            None => Some(Special::Folder(names.map(str::to_owned).into())),
            Some(file) => Some(Special::File(about(process.as_deref(), file)?)),
        }
    }
}

/// A path as the tree has it.
fn text(path: &Path) -> std::borrow::Cow<'_, str> {
    path.to_string_lossy()
}

/// A file of `/proc/<id>`.
fn about(process: Option<&Process>, file: &str) -> Option<Vec<u8>> {
    let init = ["/sbin/init".to_owned()];
    let argv = process.map_or(init.as_slice(), |process| &process.command.argv);
    let environment = process.map_or(&[][..], |process| &process.command.environment);
    let text = match file {
        "cmdline" => argv.iter().map(|word| format!("{word}\0")).collect(),
        "environ" => environment
            .iter()
            .map(|(key, value)| format!("{key}={value}\0"))
            .collect(),
        "comm" => format!("{}\n", argv.first()?.rsplit('/').next()?),
        "status" => {
            let id = process.map_or(1, |process| process.id);
            format!("Name:\t{}\nPid:\t{id}\n", argv.first()?)
        }
        _ => return None,
    };
    Some(text.into_bytes())
}

fn described(node: &Node) -> Metadata {
    let (file_type, size) = match &node.content {
        Content::File(bytes) => (FileType::File, bytes.len() as u64),
        Content::Folder => (FileType::Directory, 4096),
        Content::Link(target) => (FileType::Symlink, target.len() as u64),
    };
    Metadata {
        file_type,
        size,
        mode: node.mode,
        modified: node.modified,
        created: node.modified,
    }
}

impl Special {
    fn described(&self) -> Metadata {
        let (file_type, size, mode) = match self {
            Self::Null => (FileType::File, 0, 0o666),
            Self::Folder(_) => (FileType::Directory, 0, 0o555),
            Self::File(bytes) => (FileType::File, bytes.len() as u64, 0o444),
        };
        Metadata {
            file_type,
            size,
            mode,
            ..Metadata::default()
        }
    }
}

impl FileSystemExt for Mount {}

#[async_trait]
impl FileSystem for Mount {
    async fn read_file(&self, path: &Path) -> Result<Vec<u8>> {
        let path = text(path);
        match self.special(&path) {
            Some(Special::Null) => Ok(Vec::new()),
            Some(Special::File(bytes)) => Ok(bytes),
            Some(Special::Folder(_)) => Err(wrong(Trouble::IsAFolder)),
            None => {
                let bytes = self.tree.lock().read(&path).map_err(wrong)?;
                Ok(bytes.to_vec())
            }
        }
    }

    async fn write_file(&self, path: &Path, content: &[u8]) -> Result<()> {
        let path = text(path);
        if self.special(&path).is_some() {
            return Ok(());
        }
        let node = self.node(Content::File(Arc::new(content.to_vec())), 0o644);
        self.tree.lock().write(&path, node).map_err(wrong)
    }

    async fn append_file(&self, path: &Path, content: &[u8]) -> Result<()> {
        let path = text(path);
        if self.special(&path).is_some() {
            return Ok(());
        }
        let node = self.node(Content::Folder, 0o644);
        self.tree
            .lock()
            .append(&path, content, &node)
            .map_err(wrong)
    }

    async fn mkdir(&self, path: &Path, recursive: bool) -> Result<()> {
        let mut tree = self.tree.lock();
        let path = text(path);
        if !recursive {
            return tree
                .add(&path, self.node(Content::Folder, 0o755))
                .map_err(wrong);
        }
        let mut at = String::new();
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            at = format!("{at}/{segment}");
            match tree.add(&at, self.node(Content::Folder, 0o755)) {
                Ok(()) | Err(Trouble::Exists) => {}
                Err(trouble) => return Err(wrong(trouble)),
            }
        }
        let folder = tree
            .get(&path, Last::Follow)
            .is_ok_and(|(_, node)| node.is_folder());
        if folder || at.is_empty() {
            Ok(())
        } else {
            Err(wrong(Trouble::NotAFolder))
        }
    }

    async fn remove(&self, path: &Path, recursive: bool) -> Result<()> {
        let path = text(path);
        let mut tree = self.tree.lock();
        let removed = if recursive {
            tree.remove_all(&path)
        } else {
            tree.remove(&path)
        };
        removed.map_err(wrong)
    }

    /// Of a link itself: the shell follows them, and asks below as here for what is there.
    async fn stat(&self, path: &Path) -> Result<Metadata> {
        let path = text(path);
        if let Some(special) = self.special(&path) {
            return Ok(special.described());
        }
        let tree = self.tree.lock();
        let (_, node) = tree.get(&path, Last::Keep).map_err(wrong)?;
        Ok(described(node))
    }

    async fn read_dir(&self, path: &Path) -> Result<Vec<DirEntry>> {
        let path = text(path);
        if let Some(Special::Folder(names)) = self.special(&path) {
            let entries = names.into_iter().map(|name| {
                let special = self.special(&format!("{}/{name}", path.trim_end_matches('/')));
                let metadata =
                    special.map_or_else(Metadata::default, |special| special.described());
                DirEntry { name, metadata }
            });
            return Ok(entries.collect());
        }
        let tree = self.tree.lock();
        let entries = tree.list(&path).map_err(wrong)?;
        let entries = entries.into_iter().map(|(name, node)| DirEntry {
            name,
            metadata: described(node),
        });
        Ok(entries.collect())
    }

    async fn exists(&self, path: &Path) -> Result<bool> {
        let path = text(path);
        Ok(self.special(&path).is_some() || self.tree.lock().get(&path, Last::Keep).is_ok())
    }

    async fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut tree = self.tree.lock();
        tree.rename(&text(from), &text(to)).map_err(wrong)
    }

    async fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        let bytes = self.read_file(from).await?;
        let mode = self.stat(from).await?.mode;
        let node = self.node(Content::File(Arc::new(bytes)), mode);
        self.tree.lock().write(&text(to), node).map_err(wrong)
    }

    async fn symlink(&self, target: &Path, link: &Path) -> Result<()> {
        let node = self.node(Content::Link(text(target).into_owned()), 0o777);
        self.tree.lock().add(&text(link), node).map_err(wrong)
    }

    async fn read_link(&self, path: &Path) -> Result<PathBuf> {
        let tree = self.tree.lock();
        let (_, node) = tree.get(&text(path), Last::Keep).map_err(wrong)?;
        match &node.content {
            Content::Link(target) => Ok(PathBuf::from(target)),
            _ => Err(io::Error::from(io::ErrorKind::InvalidInput).into()),
        }
    }

    async fn chmod(&self, path: &Path, mode: u32) -> Result<()> {
        let mut tree = self.tree.lock();
        tree.change(&text(path), |node| node.mode = mode & 0o7777)
            .map_err(wrong)
    }

    async fn set_modified_time(&self, path: &Path, time: SystemTime) -> Result<()> {
        let mut tree = self.tree.lock();
        tree.change(&text(path), |node| node.modified = time)
            .map_err(wrong)
    }
}
