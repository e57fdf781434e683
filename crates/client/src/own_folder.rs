//! Folders of this machine that files go into. What was pulled into them before has links of instances, which lead anywhere:
//! no link is followed on the way from a folder that is the user's own.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::Error;

/// Links of the system, such as `/var/run`, are no deeper than this.
const SYSTEM_LINKS: usize = 2;

/// What is done about folders that are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Make,
    Leave,
}

/// Goes to `folder` from `own`, or from the root where it is not below that.
///
/// # Errors
/// [`Error::Unwritable`] where a link or a file is on the way.
pub(super) fn enter(own: &Path, folder: &Path, missing: Missing) -> Result<(), Error> {
    let (mut at, rest) = match folder.strip_prefix(own) {
        Ok(rest) => (own.to_owned(), rest),
        Err(_) => (PathBuf::new(), folder),
    };
    let unwritable = |path: &Path, source| Error::Unwritable {
        path: path.to_owned(),
        source,
    };
    if missing == Missing::Make && !at.as_os_str().is_empty() {
        fs::create_dir_all(&at).map_err(|source| unwritable(&at, source))?;
    }
    let mut depth = 0;
    for part in rest.components() {
        at.push(part);
        if !matches!(part, Component::Normal(_)) {
            continue;
        }
        depth += 1;
        let there = match fs::symlink_metadata(&at) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if missing == Missing::Leave {
                    return Ok(());
                }
                fs::create_dir(&at).and_then(|()| fs::symlink_metadata(&at))
            }
            there => there,
        };
        let there = there.map_err(|source| unwritable(&at, source))?;
        let is_of_system = rest.is_absolute() && depth <= SYSTEM_LINKS && there.uid() == 0;
        if there.is_symlink() && !is_of_system {
            return Err(unwritable(&at, foreign_link()));
        }
        if !there.is_dir() && !there.is_symlink() {
            // The system says what is in the way.
            fs::create_dir(&at).map_err(|source| unwritable(&at, source))?;
        }
    }
    Ok(())
}

/// Why a link is not followed.
pub(super) fn foreign_link() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "it is a symbolic link, which may have come out of an instance; name the folder that it leads to",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_below_the_own_folder_are_not_followed() {
        let folder = std::env::temp_dir().join(format!("malleus-{:016x}", fastrand::u64(..)));
        let (own, outside) = (folder.join("own"), folder.join("outside"));
        fs::create_dir_all(own.join("site/real")).unwrap();
        fs::create_dir(&outside).unwrap();
        symlink(&outside, own.join("site/link")).unwrap();
        symlink(&own, folder.join("mine")).unwrap();
        fs::write(own.join("file"), "").unwrap();
        for (below, to, is_entered) in [
            ("own", "own/site/real", true),
            ("own", "own/site/new/deep", true),
            ("own", "own/site/link", false),
            ("own", "own/site/link/deep", false),
            ("own", "own/site/real/../link/deep", false),
            ("own", "own/file", false),
            // The way to the own folder is the user's.
            ("mine", "mine/site/real", true),
            ("mine", "mine/site/link", false),
            // An absolute path elsewhere is nobody's own.
            ("elsewhere", "mine/site/real", false),
            ("elsewhere", "own/site/link", false),
            ("elsewhere", "own/site/real", true),
        ] {
            for missing in [Missing::Leave, Missing::Make] {
                let entered = enter(&folder.join(below), &folder.join(to), missing);
                assert_eq!(
                    entered.is_ok(),
                    is_entered,
                    "{to} below {below}: {entered:?}"
                );
            }
            let made = folder.join(to).is_dir();
            assert!(made || !is_entered, "{to} below {below}");
        }
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        fs::remove_dir_all(folder).unwrap();
    }
}
