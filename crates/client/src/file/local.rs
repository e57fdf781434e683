//! Writing on this machine what an instance says. Its names and links are not to be trusted: nothing
//! may be written outside of the folder that was asked for.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use super::access::copy_error;
use crate::Error;
use crate::own_folder::{Missing, enter, foreign_link};

/// Refuses names that are no names in a folder, or that come twice: the second one could go through a link
/// that the first one made.
pub(super) fn check_names(folder: &Path, names: &[OsString]) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for name in names {
        let bytes = name.as_bytes();
        if matches!(bytes, b"" | b"." | b"..") || bytes.iter().any(|byte| b"/\0".contains(byte)) {
            let name = name.to_string_lossy();
            let reason = format!("the server lists {name:?} in it, which is no name");
            return Err(copy_error(folder, reason));
        }
        if !seen.insert(name) {
            let name = name.to_string_lossy();
            let reason = format!("the server lists {name:?} in it twice");
            return Err(copy_error(folder, reason));
        }
    }
    Ok(())
}

/// Makes a folder in one that is known to be a folder. A link that stands there is replaced, not followed.
pub(super) fn make_folder(path: &Path, mode: u32) -> Result<(), Error> {
    let make = || {
        match fs::symlink_metadata(path) {
            Ok(there) if there.is_dir() => return Ok(()),
            Ok(there) if there.is_symlink() => fs::remove_file(path)?,
            _ => {}
        }
        // Without access of its owner it could not be filled.
        DirBuilder::new().mode(mode | 0o700).create(path)
    };
    make().map_err(|source| unwritable(path, source))
}

/// The target for a link here. Servers make relative targets absolute; what lies below the folder that is
/// pulled is found again by a relative one.
pub(super) fn target_here(top: &Path, link: &Path, target: &Path) -> PathBuf {
    let (Ok(target_below), Ok(link_below)) = (target.strip_prefix(top), link.strip_prefix(top))
    else {
        return target.to_owned();
    };
    let mut shared = link_below.parent().unwrap_or(Path::new(""));
    let mut relative = PathBuf::new();
    while !target_below.starts_with(shared) {
        relative.push("..");
        shared = shared.parent().unwrap_or(Path::new(""));
    }
    let rest = target_below.strip_prefix(shared).unwrap_or(target_below);
    relative.extend(rest.components());
    if relative.as_os_str().is_empty() {
        relative.push(".");
    }
    relative
}

/// Makes a link, in the place of a file or another link if need be.
pub(super) fn place_link(path: &Path, target: &OsStr) -> Result<(), Error> {
    let place = || {
        let aside = path.with_file_name(format!(".malleus-{:016x}.part", fastrand::u64(..)));
        symlink(target, &aside)?;
        fs::rename(&aside, path).inspect_err(|_| {
            // What is in the way is the error; a link more or less is not.
            let _ = fs::remove_file(&aside);
        })
    };
    place().map_err(|source| unwritable(path, source))
}

/// Where a pull goes.
#[derive(Debug)]
pub(super) struct Destination {
    /// The folder from which on no link is followed.
    own: PathBuf,
    /// The folder that the caller names or means.
    pub(super) folder: PathBuf,
    /// The place of what is pulled: in that folder, or the folder itself.
    pub(super) place: PathBuf,
}

impl Destination {
    /// In a folder that exists or is written with a slash, under its own name; else as it is written.
    ///
    /// # Errors
    /// [`Error::Unwritable`] where a link is on the way.
    pub(super) fn of(path: &Path, to: &Path, own: &Path) -> Result<Self, Error> {
        let has_slash = to.as_os_str().as_encoded_bytes().ends_with(b"/");
        // A link to a folder is neither the folder nor a file that may be replaced.
        if !has_slash && to.is_symlink() && to.is_dir() {
            return Err(unwritable(to, foreign_link()));
        }
        let into = has_slash || to.is_dir();
        let (folder, place) = match (path.file_name(), to.parent()) {
            (Some(name), _) if into => (to.to_owned(), to.join(name)),
            (_, Some(folder)) if !into => {
                let folder = if folder.as_os_str().is_empty() {
                    PathBuf::from(".")
                } else {
                    folder.to_owned()
                };
                (folder, to.to_owned())
            }
            // The root of the instance has no name.
            _ => (to.to_owned(), to.to_owned()),
        };
        enter(own, &folder, Missing::Leave)?;
        Ok(Self {
            own: own.to_owned(),
            folder,
            place,
        })
    }

    /// Makes the folder that the place is in.
    pub(super) fn make_way(&self) -> Result<(), Error> {
        enter(&self.own, &self.folder, Missing::Make)
    }

    /// Makes the place a folder, with those on the way to it.
    pub(super) fn make_folder(&self, mode: u32) -> Result<(), Error> {
        self.make_way()?;
        if self.place == self.folder {
            return Ok(());
        }
        // A link there may have come out of the instance.
        make_folder(&self.place, mode)
    }
}

pub(super) fn unwritable(path: &Path, source: io::Error) -> Error {
    Error::Unwritable {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::{Destination, check_names, target_here};
    use std::ffi::OsString;
    use std::path::Path;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let folder = Path::new("/srv");
        for names in [
            &[""][..],
            &["."],
            &[".."],
            &["a/b"],
            &["/etc"],
            &["a\0"],
            &["a", "b", "a"],
        ] {
            let names: Vec<OsString> = names.iter().map(|&name| name.into()).collect();
            check_names(folder, &names).unwrap_err();
        }
        let fine = ["...", "-", "a b", "ü", "%2F", "?", "#"].map(OsString::from);
        check_names(folder, &fine).unwrap();
    }

    #[test]
    fn links_stay_in_what_is_pulled_where_they_can() {
        for (top, link, target, expected) in [
            ("/srv", "/srv/a", "/srv/b", "b"),
            ("/srv", "/srv/x/y/a", "/srv/x/b", "../b"),
            ("/srv", "/srv/x/y/a", "/srv/z/b", "../../z/b"),
            ("/srv", "/srv/x/a", "/srv/x", "."),
            ("/srv", "/srv/x/a", "/srv", ".."),
            ("/srv", "/srv/a", "/srv2/b", "/srv2/b"),
            ("/srv", "/srv/a", "/etc/b", "/etc/b"),
            ("/srv", "/srv/a", "../b", "../b"),
            ("/", "/bin/sh", "/bin/busybox", "busybox"),
            ("/", "/lib", "/usr/lib", "usr/lib"),
        ] {
            let found = target_here(Path::new(top), Path::new(link), Path::new(target));
            assert_eq!(found.to_str().unwrap(), expected, "{link}");
        }
    }

    #[test]
    fn a_slash_or_a_folder_means_into() {
        for (to, path, folder, place) in [
            ("out/", "/var/log/app", "out/", "out/app"),
            ("out/", "/var/log/app/", "out/", "out/app"),
            ("/", "/etc/hosts", "/", "/hosts"),
            ("none", "/var/log/app", ".", "none"),
            ("none/app", "/var/log/app", "none", "none/app"),
            ("out/", "/", "out/", "out/"),
            ("none", "/", ".", "none"),
        ] {
            let found = Destination::of(Path::new(path), Path::new(to), Path::new("")).unwrap();
            assert_eq!(found.folder.to_str().unwrap(), folder, "{path} to {to}");
            assert_eq!(found.place.to_str().unwrap(), place, "{path} to {to}");
        }
    }
}
