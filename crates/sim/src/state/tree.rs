//! A file tree in memory. Copies share what they have in common until one of them changes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// A file, folder or link.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) content: Content,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) modified: SystemTime,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    File(Arc<Vec<u8>>),
    Folder,
    Link(String),
}

impl Node {
    pub(crate) fn new(content: Content, mode: u32, modified: SystemTime) -> Self {
        Self {
            content,
            mode,
            uid: 0,
            gid: 0,
            modified,
        }
    }

    pub(crate) fn is_folder(&self) -> bool {
        matches!(self.content, Content::Folder)
    }
}

/// Why something cannot be done with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    Missing,
    NotAFolder,
    IsAFolder,
    NotEmpty,
    Exists,
    Loop,
    TooLong,
}

impl Trouble {
    /// In the words of the C library.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Missing => "No such file or directory",
            Self::NotAFolder => "Not a directory",
            Self::IsAFolder => "Is a directory",
            Self::NotEmpty => "Directory not empty",
            Self::Exists => "File exists",
            Self::Loop => "Too many levels of symbolic links",
            Self::TooLong => "File name too long",
        }
    }
}

/// The most bytes of a name.
const LONGEST: usize = 255;

/// Whether a link at the end of a path is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    Follow,
    Keep,
}

/// Nodes by their absolute path without `.`, `..` and trailing slashes; the root is `/`.
#[derive(Clone, Debug)]
pub(crate) struct Tree(Arc<BTreeMap<String, Node>>);

impl Tree {
    pub(crate) fn new(modified: SystemTime) -> Self {
        let root = Node::new(Content::Folder, 0o755, modified);
        Self(Arc::new(BTreeMap::from([("/".to_owned(), root)])))
    }

    /// A path with its links resolved; the last segment need not exist.
    pub(crate) fn resolve(&self, path: &str, last: Last) -> Result<String, Trouble> {
        let mut left: Vec<String> = segments(path);
        let mut at = String::from("/");
        let mut links = 0;
        while let Some(segment) = left.pop() {
            if segment.len() > LONGEST {
                return Err(Trouble::TooLong);
            }
            match segment.as_str() {
                "." => continue,
                ".." => {
                    at = parent(&at).to_owned();
                    continue;
                }
                _ => {}
            }
            let next = join(&at, &segment);
            match self.0.get(&next).map(|node| &node.content) {
                Some(Content::Link(target)) if !left.is_empty() || last == Last::Follow => {
                    links += 1;
                    if links > 40 {
                        return Err(Trouble::Loop);
                    }
                    if target.starts_with('/') {
                        "/".clone_into(&mut at);
                    }
                    left.extend(segments(target));
                }
                Some(Content::File(_)) if !left.is_empty() => return Err(Trouble::NotAFolder),
                None if !left.is_empty() => return Err(Trouble::Missing),
                _ => at = next,
            }
        }
        Ok(at)
    }

    /// What is at a path.
    pub(crate) fn get(&self, path: &str, last: Last) -> Result<(String, &Node), Trouble> {
        let path = self.resolve(path, last)?;
        let node = self.0.get(&path).ok_or(Trouble::Missing)?;
        Ok((path, node))
    }

    pub(crate) fn read(&self, path: &str) -> Result<Arc<Vec<u8>>, Trouble> {
        match &self.get(path, Last::Follow)?.1.content {
            Content::File(bytes) => Ok(bytes.clone()),
            _ => Err(Trouble::IsAFolder),
        }
    }

    /// Names and nodes of what is in a folder.
    pub(crate) fn list(&self, path: &str) -> Result<Vec<(String, &Node)>, Trouble> {
        let (path, node) = self.get(path, Last::Follow)?;
        if !node.is_folder() {
            return Err(Trouble::NotAFolder);
        }
        let prefix = if path == "/" {
            path
        } else {
            format!("{path}/")
        };
        let below = self.0.range(prefix.clone()..);
        let below = below.take_while(|(at, _)| at.starts_with(&prefix));
        let own = below.filter_map(|(at, node)| {
            let name = &at[prefix.len()..];
            (!name.is_empty() && !name.contains('/')).then(|| (name.to_owned(), node))
        });
        Ok(own.collect())
    }

    /// Writes a file, a new one with `node`'s attributes; one that is there keeps its own.
    pub(crate) fn write(&mut self, path: &str, node: Node) -> Result<(), Trouble> {
        let path = self.resolve(path, Last::Follow)?;
        self.in_a_folder(&path)?;
        let nodes = Arc::make_mut(&mut self.0);
        match nodes.get_mut(&path) {
            Some(there) if there.is_folder() => return Err(Trouble::IsAFolder),
            Some(there) => {
                there.content = node.content;
                there.modified = node.modified;
            }
            None => {
                nodes.insert(path, node);
            }
        }
        Ok(())
    }

    pub(crate) fn append(&mut self, path: &str, bytes: &[u8], node: &Node) -> Result<(), Trouble> {
        let mut all = match self.read(path) {
            Ok(there) => there.to_vec(),
            Err(Trouble::Missing) => Vec::new(),
            Err(trouble) => return Err(trouble),
        };
        all.extend_from_slice(bytes);
        let content = Content::File(Arc::new(all));
        self.write(
            path,
            Node {
                content,
                ..node.clone()
            },
        )
    }

    /// Adds a folder or a link.
    pub(crate) fn add(&mut self, path: &str, node: Node) -> Result<(), Trouble> {
        let path = self.resolve(path, Last::Keep)?;
        self.in_a_folder(&path)?;
        if self.0.contains_key(&path) {
            return Err(Trouble::Exists);
        }
        Arc::make_mut(&mut self.0).insert(path, node);
        Ok(())
    }

    /// Puts what an archive says, whatever was there, with folders on the way.
    pub(crate) fn put(&mut self, path: &str, node: Node) {
        let path = clean(path);
        let mut above = parent(&path).to_owned();
        let nodes = Arc::make_mut(&mut self.0);
        while !nodes.contains_key(&above) {
            let folder = Node::new(Content::Folder, 0o755, node.modified);
            let next = parent(&above).to_owned();
            nodes.insert(above, folder);
            above = next;
        }
        nodes.insert(path, node);
    }

    fn in_a_folder(&self, path: &str) -> Result<(), Trouble> {
        match self.0.get(parent(path)) {
            Some(node) if node.is_folder() => Ok(()),
            Some(_) => Err(Trouble::NotAFolder),
            None => Err(Trouble::Missing),
        }
    }

    /// Removes a file, a link or an empty folder.
    pub(crate) fn remove(&mut self, path: &str) -> Result<(), Trouble> {
        let (path, _) = self.get(path, Last::Keep)?;
        if !self.below(&path).is_empty() {
            return Err(Trouble::NotEmpty);
        }
        Arc::make_mut(&mut self.0).remove(&path);
        Ok(())
    }

    /// Removes whatever is at a path, with all in it.
    pub(crate) fn remove_all(&mut self, path: &str) -> Result<(), Trouble> {
        let (path, _) = self.get(path, Last::Keep)?;
        let below = self.below(&path);
        let nodes = Arc::make_mut(&mut self.0);
        for each in below {
            nodes.remove(&each);
        }
        nodes.remove(&path);
        Ok(())
    }

    fn below(&self, path: &str) -> Vec<String> {
        let prefix = format!("{}/", path.trim_end_matches('/'));
        let below = self.0.range(prefix.clone()..);
        let below = below.take_while(|(at, _)| at.starts_with(&prefix));
        below
            .map(|(at, _)| at.clone())
            .filter(|at| at != "/")
            .collect()
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str) -> Result<(), Trouble> {
        let (from, _) = self.get(from, Last::Keep)?;
        let to = self.resolve(to, Last::Keep)?;
        self.in_a_folder(&to)?;
        if to == from {
            return Ok(());
        }
        if self.0.contains_key(&to) {
            self.remove(&to)?;
        }
        let mut moved = self.below(&from);
        moved.push(from.clone());
        let nodes = Arc::make_mut(&mut self.0);
        for each in moved {
            if let Some(node) = nodes.remove(&each) {
                nodes.insert(format!("{to}{}", &each[from.len()..]), node);
            }
        }
        Ok(())
    }

    /// Changes what is at a path.
    pub(crate) fn change(
        &mut self,
        path: &str,
        change: impl FnOnce(&mut Node),
    ) -> Result<(), Trouble> {
        let (path, _) = self.get(path, Last::Follow)?;
        if let Some(node) = Arc::make_mut(&mut self.0).get_mut(&path) {
            change(node);
        }
        Ok(())
    }

    /// Changes what is at a path that has been resolved.
    pub(crate) fn change_at(
        &mut self,
        path: &str,
        change: impl FnOnce(&mut Node),
    ) -> Result<(), Trouble> {
        let node = Arc::make_mut(&mut self.0).get_mut(path);
        change(node.ok_or(Trouble::Missing)?);
        Ok(())
    }

    /// The paths of all below a folder.
    pub(crate) fn all_below(&self, path: &str) -> Vec<String> {
        let found = self.get(path, Last::Keep);
        found.map_or_else(|_| Vec::new(), |(path, _)| self.below(&path))
    }

    /// Everything, for archives.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&String, &Node)> {
        self.0.iter()
    }
}

/// Segments of a path, last one first.
fn segments(path: &str) -> Vec<String> {
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    segments.rev().map(str::to_owned).collect()
}

fn clean(path: &str) -> String {
    let mut at = String::from("/");
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => at = parent(&at).to_owned(),
            name => at = join(&at, name),
        }
    }
    at
}

fn join(folder: &str, name: &str) -> String {
    if folder == "/" {
        format!("/{name}")
    } else {
        format!("{folder}/{name}")
    }
}

/// The folder that a path is in.
pub(crate) fn parent(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(at) => &path[..at],
    }
}

/// A tree that an instance, its commands and its files share.
#[derive(Clone, Debug)]
pub(crate) struct SharedTree(Arc<Mutex<Tree>>);

impl SharedTree {
    pub(crate) fn new(tree: Tree) -> Self {
        Self(Arc::new(Mutex::new(tree)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Tree> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tree as it is now.
    pub(crate) fn copy(&self) -> Tree {
        self.lock().clone()
    }
}
