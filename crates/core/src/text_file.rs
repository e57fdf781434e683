//! Text of files that a user names: read with a limit, and refused where reading could wait for ever.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// How large a file may be: far more than anyone writes, and less than what fills the memory of a small machine.
pub const MOST_BYTES: u64 = 64 << 20;

/// Reads a file's text.
///
/// # Errors
/// Those of [`read_bytes`], and when it is not UTF-8.
pub fn read(path: &Path) -> io::Result<String> {
    let bytes = read_bytes(path)?;
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Reads what may not be text.
///
/// # Errors
/// When it cannot be read, is larger than [`MOST_BYTES`], or is no regular file: a pipe or a device may give nothing for
/// ever, or never end.
pub fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    // To open a pipe may wait already.
    judge(&fs::metadata(path)?)?;
    let file = File::open(path)?;
    judge(&file.metadata()?)?;
    let mut bytes = Vec::new();
    let length = file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if length as u64 > MOST_BYTES {
        return Err(too_large());
    }
    Ok(bytes)
}

fn judge(metadata: &fs::Metadata) -> io::Result<()> {
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    if metadata.len() > MOST_BYTES {
        return Err(too_large());
    }
    Ok(())
}

fn too_large() -> io::Error {
    let most = MOST_BYTES >> 20;
    io::Error::other(format!("it is larger than {most} MiB"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_regular_files_of_a_bounded_size_are_read() {
        let folder = std::env::temp_dir().join(format!("text-file-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let plain = folder.join("plain");
        fs::write(&plain, "text").unwrap();
        assert_eq!(read(&plain).unwrap(), "text");

        // As large as it says, without the blocks.
        File::create(folder.join("large"))
            .and_then(|file| file.set_len(MOST_BYTES + 1))
            .unwrap();
        let _listener = UnixListener::bind(folder.join("socket")).unwrap();
        fs::write(folder.join("binary"), b"\xff\xfe").unwrap();
        for (name, reason) in [
            ("large", "it is larger than 64 MiB"),
            ("socket", "it is no regular file"),
            (".", "is a directory"),
        ] {
            let error = read(&folder.join(name)).unwrap_err();
            assert_eq!(error.to_string(), reason);
        }
        let binary = read(&folder.join("binary")).unwrap_err();
        assert_eq!(binary.kind(), io::ErrorKind::InvalidData);
        let device = read(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(device.to_string(), "it is no regular file");
        fs::remove_dir_all(&folder).unwrap();
    }
}
