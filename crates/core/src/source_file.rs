//! Files of this machine that are sent.

use std::fs::{File, FileType, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a file to be read whole, without ever waiting for another process. A link is followed.
///
/// # Errors
/// Also where it is no file that has an end: a folder, a pipe, a device, a file of `/proc` or `/sys`.
pub fn open(path: &Path) -> io::Result<File> {
    let refused = |what: &str| {
        let words = format!("it is {what}, and not a file whose length is known");
        Err(io::Error::new(io::ErrorKind::InvalidInput, words))
    };
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    // Opening a device may already do something.
    let there = path.metadata()?;
    if let Some(what) = other_kind(there.file_type()) {
        return refused(what);
    }
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)?;
    // It may have been replaced meanwhile.
    if let Some(what) = other_kind(file.metadata()?.file_type()) {
        return refused(what);
    }
    match pseudo(&file)? {
        Some(what) => refused(what),
        None => Ok(file),
    }
}

/// What a file is that the system makes up while it is read.
#[cfg(target_os = "linux")]
fn pseudo(file: &File) -> io::Result<Option<&'static str>> {
    const PROC: u64 = 0x9fa0;
    const SYS: u64 = 0x6265_6572;
    let system = u64::try_from(rustix::fs::fstatfs(file)?.f_type);
    Ok(match system {
        Ok(PROC) => Some("a file of /proc"),
        Ok(SYS) => Some("a file of /sys"),
        _ => None,
    })
}

#[cfg(not(target_os = "linux"))]
fn pseudo(_file: &File) -> io::Result<Option<&'static str>> {
    Ok(None)
}

/// What a path is that is no file.
fn other_kind(kind: FileType) -> Option<&'static str> {
    if kind.is_file() {
        None
    } else if kind.is_dir() {
        Some("a folder")
    } else if kind.is_fifo() {
        Some("a pipe")
    } else if kind.is_socket() {
        Some("a socket")
    } else {
        Some("a device")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn only_files_with_an_end_are_opened() {
        let folder = std::env::temp_dir().join(format!("malleus-{:016x}", fastrand::u64(..)));
        std::fs::create_dir(&folder).unwrap();
        let pipe = folder.join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        std::os::unix::fs::symlink(&pipe, folder.join("link")).unwrap();
        for (path, what) in [
            (folder.clone(), "it is a folder"),
            (pipe, "it is a pipe"),
            (folder.join("link"), "it is a pipe"),
            ("/dev/zero".into(), "it is a device"),
            ("/proc/self/status".into(), "it is a file of /proc"),
            ("/proc/kmsg".into(), "it is a file of /proc"),
        ] {
            let error = open(&path).unwrap_err().to_string();
            let is_refused = error.contains(what) || error.contains("ermission denied");
            assert!(is_refused, "{}: {error}", path.display());
        }
        let file = folder.join("file");
        std::fs::write(&file, "text").unwrap();
        let mut text = String::new();
        open(&file).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
