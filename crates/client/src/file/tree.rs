use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::attributes::PERMISSIONS;
use crate::Error;

/// A folder of this machine, with everything below it.
#[derive(Default)]
pub(super) struct Tree {
    /// The folders by their path below the first, which is empty; parents before children.
    pub(super) folders: Vec<Node>,
    /// The files by their path below the first folder.
    pub(super) files: Vec<Node>,
    /// The links by their path below the first folder, with their targets.
    pub(super) links: Vec<(PathBuf, OsString)>,
}

/// A folder or a file.
pub(super) struct Node {
    pub(super) path: PathBuf,
    pub(super) mode: u32,
    pub(super) size: u64,
}

impl Node {
    fn new(path: PathBuf, metadata: &Metadata) -> Self {
        Self {
            path,
            mode: permission_bits(metadata),
            size: metadata.len(),
        }
    }
}

/// The bits that the API can set.
pub(super) fn permission_bits(metadata: &Metadata) -> u32 {
    metadata.permissions().mode() & PERMISSIONS
}

/// Looks at a folder and all that is below it, by name. Links are not followed, but for the first.
pub(super) fn walk(root: &Path) -> Result<Tree, Error> {
    let metadata = fs::metadata(root).map_err(|source| unreadable(root, source))?;
    if !metadata.is_dir() {
        return Err(unreadable(root, io::ErrorKind::NotADirectory.into()));
    }
    let mut tree = Tree::default();
    tree.folders.push(Node::new(PathBuf::new(), &metadata));
    let mut at = 0;
    while let Some(folder) = tree.folders.get(at) {
        let below = folder.path.clone();
        for name in names(&root.join(&below))? {
            tree.add(root, below.join(name))?;
        }
        at += 1;
    }
    Ok(tree)
}

impl Tree {
    fn add(&mut self, root: &Path, path: PathBuf) -> Result<(), Error> {
        let whole = root.join(&path);
        let failed = |source| unreadable(&whole, source);
        let metadata = fs::symlink_metadata(&whole).map_err(failed)?;
        if metadata.is_dir() {
            self.folders.push(Node::new(path, &metadata));
        } else if metadata.is_file() {
            self.files.push(Node::new(path, &metadata));
        } else if metadata.is_symlink() {
            let target = fs::read_link(&whole).map_err(failed)?;
            self.links.push((path, target.into_os_string()));
        } else {
            return Err(Error::Copy {
                path: whole.display().to_string(),
                reason: "it is neither a file nor a folder nor a symbolic link".to_owned(),
            });
        }
        Ok(())
    }
}

fn names(folder: &Path) -> Result<Vec<OsString>, Error> {
    let entries = fs::read_dir(folder).and_then(|entries| {
        entries
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<Vec<_>>>()
    });
    let mut names = entries.map_err(|source| unreadable(folder, source))?;
    names.sort();
    Ok(names)
}

pub(super) fn unreadable(path: &Path, source: io::Error) -> Error {
    Error::File {
        path: path.to_owned(),
        source,
    }
}
