//! What there is in a folder.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Everything below a folder, as lines of path, permissions and content.
pub(crate) fn listing(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let mode = metadata.permissions().mode() & 0o777;
            let content = if metadata.is_symlink() {
                format!("-> {}", fs::read_link(&path).unwrap().display())
            } else if metadata.is_dir() {
                folders.push(path.clone());
                format!("{mode:o} folder")
            } else {
                format!("{mode:o} {:?}", fs::read(&path).unwrap())
            };
            let below = path.strip_prefix(root).unwrap();
            lines.push(format!("{:?} {content}", below.to_string_lossy()));
        }
    }
    lines.sort();
    lines
}
