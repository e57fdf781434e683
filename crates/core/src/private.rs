//! Files and folders whose contents are obeyed: they must be their user's own.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const WRITABLE_BY_OTHERS: u32 = 0o022;
const ACCESSIBLE_TO_OTHERS: u32 = 0o077;
/// In such a folder only the owner of a file renames or removes it.
const STICKY: u32 = 0o1000;

/// Why the contents of a file or folder may come from another user, and what to do about it. `root` is no other user: it
/// can change all files.
pub fn exposure(path: &Path, metadata: &Metadata) -> Option<String> {
    let us = rustix::process::geteuid().as_raw();
    let owner = metadata.uid();
    let path = path.display();
    if owner != us && owner != 0 {
        return Some(format!(
            "it belongs to user {owner}, not to user {us}, who runs malleus; \
             if you know and trust what is in it, `chown {us} {path}`"
        ));
    }
    let mode = metadata.mode() & 0o7777;
    let is_shared_safely = metadata.is_dir() && mode & STICKY != 0;
    (mode & WRITABLE_BY_OTHERS != 0 && !is_shared_safely).then(|| {
        format!(
            "other users may write to it (mode {mode:04o}); \
             if you know and trust what is in it, `chmod go-w {path}`"
        )
    })
}

/// Why a file with a secret may be known to other users, and what to do about it.
pub fn disclosure(path: &Path, metadata: &Metadata) -> Option<String> {
    let mode = metadata.mode() & 0o7777;
    let is_open = mode & ACCESSIBLE_TO_OTHERS != 0;
    let exposed = exposure(path, metadata);
    exposed.or_else(|| {
        is_open.then(|| {
            let path = path.display();
            format!("other users may read it (mode {mode:04o}); `chmod 600 {path}`")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_others_may_write_is_exposed() {
        let folder = std::env::temp_dir().join(format!("malleus-{:016x}", fastrand::u64(..)));
        fs::create_dir(&folder).unwrap();
        for (mode, is_exposed) in [
            (0o700, false),
            (0o755, false),
            (0o775, true),
            (0o757, true),
            (0o1777, false),
        ] {
            fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
            let exposed = exposure(&folder, &folder.metadata().unwrap());
            assert_eq!(exposed.is_some(), is_exposed, "{mode:o}: {exposed:?}");
        }
        let file = folder.join("file");
        fs::write(&file, "").unwrap();
        for (mode, is_exposed) in [
            (0o600, false),
            (0o644, false),
            (0o620, true),
            (0o1666, true),
        ] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let exposed = exposure(&file, &file.metadata().unwrap());
            assert_eq!(exposed.is_some(), is_exposed, "{mode:o}: {exposed:?}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
