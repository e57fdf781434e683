//! `GET /1.0/instances/<name>/sftp`: files by SFTP, as the `incus` client pushes and pulls them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper_util::rt::TokioIo;
use russh_sftp::protocol::{
    Attrs, Data, File, FileAttributes, Handle, Name, OpenFlags, Status, StatusCode,
};
use russh_sftp::server::Handler;

use crate::call::{Answer, Call, Refusal, Reply};
use crate::daemon::Daemon;
use crate::state::tree::{Content, Last, Node, SharedTree, Trouble};

pub(crate) fn answer(daemon: &Arc<Daemon>, call: Call, name: &str) -> Answer {
    let tree = daemon.world().instance(call.project(), name)?.tree.clone();
    let upgrade = call.upgrade;
    let upgrade = upgrade.ok_or_else(|| Refusal::new(400, "Missing or invalid upgrade header"))?;
    tokio::task::spawn_local(async move {
        if let Ok(connection) = upgrade.connection.await {
            let session = Session {
                tree,
                open: BTreeMap::new(),
                next: 0,
            };
            russh_sftp::server::run(TokioIo::new(connection), session).await;
        }
    });
    Ok(Reply::Switched("sftp"))
}

/// One client's open files and folders.
struct Session {
    tree: SharedTree,
    open: BTreeMap<String, Open>,
    next: u64,
}

enum Open {
    File(String),
    /// Entries that have not been told yet.
    Folder(Vec<File>),
}

fn code(trouble: Trouble) -> StatusCode {
    match trouble {
        Trouble::Missing => StatusCode::NoSuchFile,
        _ => StatusCode::Failure,
    }
}

fn fine(id: u32) -> Status {
    Status {
        id,
        status_code: StatusCode::Ok,
        error_message: "Ok".to_owned(),
        language_tag: "en-US".to_owned(),
    }
}

fn attributes(node: &Node) -> FileAttributes {
    let (kind, size) = match &node.content {
        Content::File(bytes) => (0o100_000, bytes.len() as u64),
        Content::Folder => (0o040_000, 4096),
        Content::Link(target) => (0o120_000, target.len() as u64),
    };
    let time = node.modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = u32::try_from(time.as_secs()).ok();
    FileAttributes {
        size: Some(size),
        uid: Some(node.uid),
        gid: Some(node.gid),
        permissions: Some(kind | node.mode),
        atime: time,
        mtime: time,
        ..FileAttributes::empty()
    }
}

fn apply(node: &mut Node, attributes: &FileAttributes) {
    if let (Some(size), Content::File(bytes)) = (attributes.size, &mut node.content) {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size < bytes.len() {
            Arc::make_mut(bytes).truncate(size);
        }
    }
    if let Some(mode) = attributes.permissions {
        node.mode = mode & 0o7777;
    }
    node.uid = attributes.uid.unwrap_or(node.uid);
    node.gid = attributes.gid.unwrap_or(node.gid);
    if let Some(time) = attributes.mtime {
        node.modified = UNIX_EPOCH + Duration::from_secs(time.into());
    }
}

impl Session {
    fn handle(&mut self, id: u32, open: Open) -> Handle {
        self.next += 1;
        let handle = self.next.to_string();
        self.open.insert(handle.clone(), open);
        Handle { id, handle }
    }

    fn file(&self, handle: &str) -> Result<&str, StatusCode> {
        match self.open.get(handle) {
            Some(Open::File(path)) => Ok(path),
            _ => Err(StatusCode::Failure),
        }
    }

    fn attributes(&self, id: u32, (path, last): (&str, Last)) -> Result<Attrs, StatusCode> {
        let tree = self.tree.lock();
        let (_, node) = tree.get(path, last).map_err(code)?;
        let attrs = attributes(node);
        Ok(Attrs { id, attrs })
    }

    fn done(id: u32, result: Result<(), Trouble>) -> Result<Status, StatusCode> {
        result.map(|()| fine(id)).map_err(code)
    }
}

impl Handler for Session {
    type Error = StatusCode;

    fn unimplemented(&self) -> StatusCode {
        StatusCode::OpUnsupported
    }

    async fn open(
        &mut self,
        id: u32,
        filename: String,
        pflags: OpenFlags,
        attrs: FileAttributes,
    ) -> Result<Handle, StatusCode> {
        {
            let mut tree = self.tree.lock();
            let there = match tree.get(&filename, Last::Follow) {
                // A client may open a folder to learn what it is.
                Ok((_, node)) if node.is_folder() && pflags.contains(OpenFlags::WRITE) => {
                    return Err(StatusCode::Failure);
                }
                Ok(_) => true,
                Err(Trouble::Missing) => false,
                Err(trouble) => return Err(code(trouble)),
            };
            if (!there && pflags.contains(OpenFlags::CREATE))
                || pflags.contains(OpenFlags::TRUNCATE)
            {
                let mut node = Node::new(Content::File(Arc::default()), 0o644, SystemTime::now());
                apply(&mut node, &attrs);
                tree.write(&filename, node).map_err(code)?;
            } else if !there {
                return Err(StatusCode::NoSuchFile);
            }
        }
        Ok(self.handle(id, Open::File(filename)))
    }

    async fn close(&mut self, id: u32, handle: String) -> Result<Status, StatusCode> {
        self.open.remove(&handle);
        Ok(fine(id))
    }

    async fn read(
        &mut self,
        id: u32,
        handle: String,
        offset: u64,
        len: u32,
    ) -> Result<Data, StatusCode> {
        let bytes = self.tree.lock().read(self.file(&handle)?).map_err(code)?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = bytes.get(from..).filter(|rest| !rest.is_empty());
        let rest = rest.ok_or(StatusCode::Eof)?;
        let data = rest[..rest.len().min(len as usize)].to_vec();
        Ok(Data { id, data })
    }

    async fn write(
        &mut self,
        id: u32,
        handle: String,
        offset: u64,
        data: Vec<u8>,
    ) -> Result<Status, StatusCode> {
        let path = self.file(&handle)?;
        let from = usize::try_from(offset).map_err(|_| StatusCode::Failure)?;
        let changed = self.tree.lock().change(path, |node| {
            if let Content::File(bytes) = &mut node.content {
                let bytes = Arc::make_mut(bytes);
                if bytes.len() < from + data.len() {
                    bytes.resize(from + data.len(), 0);
                }
                bytes[from..from + data.len()].copy_from_slice(&data);
            }
            node.modified = SystemTime::now();
        });
        Self::done(id, changed)
    }

    async fn lstat(&mut self, id: u32, path: String) -> Result<Attrs, StatusCode> {
        self.attributes(id, (&path, Last::Keep))
    }

    async fn stat(&mut self, id: u32, path: String) -> Result<Attrs, StatusCode> {
        self.attributes(id, (&path, Last::Follow))
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Result<Attrs, StatusCode> {
        self.attributes(id, (self.file(&handle)?, Last::Follow))
    }

    async fn setstat(
        &mut self,
        id: u32,
        path: String,
        attrs: FileAttributes,
    ) -> Result<Status, StatusCode> {
        let changed = self.tree.lock().change(&path, |node| apply(node, &attrs));
        Self::done(id, changed)
    }

    async fn fsetstat(
        &mut self,
        id: u32,
        handle: String,
        attrs: FileAttributes,
    ) -> Result<Status, StatusCode> {
        let path = self.file(&handle)?;
        let changed = self.tree.lock().change(path, |node| apply(node, &attrs));
        Self::done(id, changed)
    }

    async fn opendir(&mut self, id: u32, path: String) -> Result<Handle, StatusCode> {
        let entries = {
            let tree = self.tree.lock();
            let entries = tree.list(&path).map_err(code)?;
            let entries = entries
                .into_iter()
                .map(|(name, node)| File::new(name, attributes(node)));
            entries.collect()
        };
        Ok(self.handle(id, Open::Folder(entries)))
    }

    async fn readdir(&mut self, id: u32, handle: String) -> Result<Name, StatusCode> {
        match self.open.get_mut(&handle) {
            Some(Open::Folder(files)) if files.is_empty() => Err(StatusCode::Eof),
            Some(Open::Folder(files)) => Ok(Name {
                id,
                files: std::mem::take(files),
            }),
            _ => Err(StatusCode::Failure),
        }
    }

    async fn remove(&mut self, id: u32, filename: String) -> Result<Status, StatusCode> {
        let removed = self.tree.lock().remove(&filename);
        Self::done(id, removed)
    }

    async fn rmdir(&mut self, id: u32, path: String) -> Result<Status, StatusCode> {
        let removed = self.tree.lock().remove(&path);
        Self::done(id, removed)
    }

    async fn mkdir(
        &mut self,
        id: u32,
        path: String,
        attrs: FileAttributes,
    ) -> Result<Status, StatusCode> {
        let mut node = Node::new(Content::Folder, 0o755, SystemTime::now());
        apply(&mut node, &attrs);
        let added = self.tree.lock().add(&path, node);
        Self::done(id, added)
    }

    async fn realpath(&mut self, id: u32, path: String) -> Result<Name, StatusCode> {
        let path = self
            .tree
            .lock()
            .resolve(&path, Last::Follow)
            .map_err(code)?;
        let files = vec![File::dummy(path)];
        Ok(Name { id, files })
    }

    async fn rename(
        &mut self,
        id: u32,
        oldpath: String,
        newpath: String,
    ) -> Result<Status, StatusCode> {
        let renamed = self.tree.lock().rename(&oldpath, &newpath);
        Self::done(id, renamed)
    }

    async fn readlink(&mut self, id: u32, path: String) -> Result<Name, StatusCode> {
        let tree = self.tree.lock();
        match &tree.get(&path, Last::Keep).map_err(code)?.1.content {
            Content::Link(target) => Ok(Name {
                id,
                files: vec![File::dummy(target.clone())],
            }),
            _ => Err(StatusCode::Failure),
        }
    }

    async fn symlink(
        &mut self,
        id: u32,
        linkpath: String,
        targetpath: String,
    ) -> Result<Status, StatusCode> {
        // As OpenSSH and its clients have it: the target comes first.
        let (target, link) = (linkpath, targetpath);
        let node = Node::new(Content::Link(target), 0o777, SystemTime::now());
        let added = self.tree.lock().add(&link, node);
        Self::done(id, added)
    }
}
