//! Image tarballs: what is in one, and one of a tree.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::tree::{Content, Node, Tree};

/// What an image holds.
#[derive(Clone, Debug)]
pub(crate) struct Unpacked {
    /// `metadata.yaml`.
    pub(crate) metadata: Value,
    pub(crate) tree: Tree,
}

/// Beginnings of formats that real daemons unpack and this one takes without looking inside.
const SEALED: [&[u8]; 5] = [
    b"\xfd7zXZ\0",
    b"BZh",
    b"\x28\xb5\x2f\xfd",
    b"hsqs",
    b"QFI\xfb",
];

/// Reads an image. One in a sealed format has the files that every instance has.
///
/// # Errors
/// In the words of the daemons.
pub(crate) fn unpack(bytes: &[u8]) -> Result<Unpacked, String> {
    let tar = bytes.get(257..262) == Some(b"ustar");
    if bytes.is_empty() {
        return Err("EOF".to_owned());
    }
    if SEALED.iter().any(|magic| bytes.starts_with(magic)) {
        return Ok(Unpacked {
            metadata: json!({"architecture": std::env::consts::ARCH, "properties": {}}),
            tree: skeleton(UNIX_EPOCH),
        });
    }
    let unpacked = if bytes.starts_with(&[0x1f, 0x8b]) {
        read(flate2::read::GzDecoder::new(bytes))
    } else if tar {
        read(bytes)
    } else {
        return Err("Unsupported compression".to_owned());
    };
    unpacked.map_err(|error| error.to_string())
}

fn read(from: impl Read) -> io::Result<Unpacked> {
    let mut metadata = None;
    let mut tree = Tree::new(UNIX_EPOCH);
    let mut archive = tar::Archive::new(from);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let path = path.trim_start_matches("./").to_owned();
        if path == "metadata.yaml" {
            let mut text = String::new();
            entry.read_to_string(&mut text)?;
            metadata = Some(yaml_value(&text)?);
        } else if let Some(inside) = path.strip_prefix("rootfs")
            && let Some(node) = node_of(&mut entry)?
        {
            tree.put(inside, node);
        }
    }
    match metadata {
        Some(metadata) => Ok(Unpacked { metadata, tree }),
        None => Err(io::Error::other(
            "Metadata tarball is missing metadata.yaml",
        )),
    }
}

pub(super) fn node_of(entry: &mut tar::Entry<'_, impl Read>) -> io::Result<Option<Node>> {
    let header = entry.header().clone();
    let content = match header.entry_type() {
        tar::EntryType::Directory => Content::Folder,
        tar::EntryType::Symlink => {
            let target = entry.link_name()?.unwrap_or_default();
            Content::Link(target.to_string_lossy().into_owned())
        }
        tar::EntryType::Regular | tar::EntryType::Continuous => {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            Content::File(Arc::new(bytes))
        }
        _ => return Ok(None),
    };
    let modified = UNIX_EPOCH + Duration::from_secs(header.mtime()?);
    let mode = header.mode()? & 0o7777;
    let mut node = Node::new(content, mode, modified);
    node.uid = u32::try_from(header.uid()?).unwrap_or_default();
    node.gid = u32::try_from(header.gid()?).unwrap_or_default();
    Ok(Some(node))
}

pub(super) fn yaml_value(text: &str) -> io::Result<Value> {
    serde_yaml::from_str(text).map_err(|_| io::Error::other("Could not parse metadata.yaml"))
}

/// Makes the tarball of an image; the same bytes for the same tree.
pub(crate) fn pack(metadata: &Value, tree: &Tree) -> io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    add_text(&mut builder, "metadata.yaml", metadata)?;
    for (path, node) in tree.all() {
        let path = format!("rootfs{}", path.trim_end_matches('/'));
        add(&mut builder, &path, node)?;
    }
    builder.into_inner()
}

/// Compresses as the daemons do unless they are told otherwise.
pub(crate) fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn header(kind: tar::EntryType, mode: u32, modified: SystemTime) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    let seconds = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    header.set_mtime(seconds.as_secs());
    header.set_size(0);
    header
}

/// Adds a file of YAML.
pub(super) fn add_text(
    builder: &mut tar::Builder<Vec<u8>>,
    path: &str,
    value: &Value,
) -> io::Result<()> {
    // JSON is YAML.
    let text = format!("{value}\n");
    let mut header = header(tar::EntryType::Regular, 0o644, UNIX_EPOCH);
    header.set_size(text.len() as u64);
    builder.append_data(&mut header, path, text.as_bytes())
}

/// Adds what is in a tree.
pub(super) fn add(builder: &mut tar::Builder<Vec<u8>>, path: &str, node: &Node) -> io::Result<()> {
    let kind = match node.content {
        Content::File(_) => tar::EntryType::Regular,
        Content::Folder => tar::EntryType::Directory,
        Content::Link(_) => tar::EntryType::Symlink,
    };
    let mut header = header(kind, node.mode, node.modified);
    header.set_uid(node.uid.into());
    header.set_gid(node.gid.into());
    match &node.content {
        Content::File(bytes) => {
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, path, bytes.as_slice())
        }
        Content::Folder => builder.append_data(&mut header, path, io::empty()),
        Content::Link(target) => builder.append_link(&mut header, path, target),
    }
}

/// The size of `bin/busybox`.
const PROGRAM: usize = 128 << 10;

/// The files that every instance has, as in the image of the tests.
pub(crate) fn skeleton(modified: SystemTime) -> Tree {
    let mut tree = Tree::new(modified);
    let folders = [
        ("bin", 0o755),
        ("dev", 0o755),
        ("etc", 0o755),
        ("proc", 0o755),
        ("root", 0o700),
        ("run", 0o755),
        ("sbin", 0o755),
        ("sys", 0o755),
        ("tmp", 0o1777),
        ("usr", 0o755),
        ("usr/bin", 0o755),
        ("usr/sbin", 0o755),
        ("var", 0o755),
    ];
    for (path, mode) in folders {
        tree.put(path, Node::new(Content::Folder, mode, modified));
    }
    let files = [
        (
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/tmp:/bin/sh\n\
             nobody:x:65534:65534:nobody:/:/bin/false\n",
        ),
        ("etc/group", "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n"),
    ];
    for (path, text) in files {
        let content = Content::File(Arc::new(text.as_bytes().to_vec()));
        tree.put(path, Node::new(content, 0o644, modified));
    }
    // What stands for the one program of such an image: the shell knows the commands by itself.
    // The same bytes each time, which do not pack, so that the image is about as long as one with a program.
    let mut program = b"\x7fELF".to_vec();
    let mut bytes = fastrand::Rng::with_seed(0);
    program.resize_with(PROGRAM, || bytes.u8(..));
    let content = Content::File(Arc::new(program));
    tree.put("bin/busybox", Node::new(content, 0o755, modified));
    let link = Content::Link("busybox".to_owned());
    tree.put("bin/sh", Node::new(link, 0o777, modified));
    tree
}
