//! Tarballs of instances with all that belongs to them, as both daemons write and read them.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::World;
use super::archive::{add, add_text, node_of, yaml_value};
use super::instance::Instance;
use super::tree::Tree;

/// What a backup is made of beside its index.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// `metadata.yaml`.
    pub(crate) metadata: Value,
    pub(crate) tree: Tree,
}

/// A backup that was read.
#[derive(Clone, Debug)]
pub(crate) struct Unpacked {
    /// `index.yaml`; `config` of it has the objects of the instance and its snapshots.
    pub(crate) index: Value,
    pub(crate) instance: Files,
    pub(crate) snapshots: BTreeMap<String, Files>,
}

/// What becomes part of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Whole,
    WithoutSnapshots,
}

/// How a backup is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Gzip,
    Plain,
}

const INDEX: &str = "backup/index.yaml";
const INSTANCE: &str = "backup/container";
const SNAPSHOTS: &str = "backup/snapshots";

/// Makes the tarball of an instance.
pub(crate) fn pack(
    world: &World,
    instance: &Instance,
    (content, packing): (Content, Packing),
) -> io::Result<Vec<u8>> {
    let snapshots = match content {
        Content::Whole => instance.snapshots.as_slice(),
        Content::WithoutSnapshots => &[],
    };
    let names: Vec<&str> = snapshots.iter().map(|each| each.name.as_str()).collect();
    let objects: Vec<Value> = snapshots
        .iter()
        .map(|each| world.snapshot_object(each))
        .collect();
    let index = json!({
        "name": instance.name, "backend": "dir", "pool": "default", "snapshots": names,
        "optimized": false, "optimized_header": false, "type": instance.kind,
        "config": {
            "container": world.instance_object(instance), "snapshots": objects,
            "volume": {
                "config": {}, "description": "", "name": instance.name, "type": instance.kind,
                "used_by": [], "location": "none", "content_type": "filesystem",
                "project": instance.project, "created_at": instance.created,
            },
        },
    });
    let mut builder = tar::Builder::new(Vec::new());
    add_text(&mut builder, INDEX, &index)?;
    let mut put = |folder: &str, metadata: &Value, tree: &Tree| -> io::Result<()> {
        add_text(
            &mut builder,
            &format!("{folder}/backup.yaml"),
            &index["config"],
        )?;
        add_text(&mut builder, &format!("{folder}/metadata.yaml"), metadata)?;
        for (path, node) in tree.all() {
            let path = format!("{folder}/rootfs{}", path.trim_end_matches('/'));
            add(&mut builder, &path, node)?;
        }
        Ok(())
    };
    for each in snapshots {
        let folder = format!("{SNAPSHOTS}/{}", each.name);
        put(&folder, &each.of.metadata, &each.tree)?;
    }
    put(INSTANCE, &instance.metadata, &instance.tree.copy())?;
    let bytes = builder.into_inner()?;
    match packing {
        Packing::Plain => Ok(bytes),
        Packing::Gzip => {
            // What is not squeezed takes no time.
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::none());
            encoder.write_all(&bytes)?;
            encoder.finish()
        }
    }
}

/// Why a tarball is no backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// There is no index in it.
    NoIndex,
    Unreadable(String),
}

/// Reads a backup, of this daemon or of a real one.
pub(crate) fn unpack(bytes: &[u8]) -> Result<Unpacked, Bad> {
    if bytes.is_empty() {
        return Err(Bad::Unreadable("EOF".to_owned()));
    }
    let read = if bytes.starts_with(&[0x1f, 0x8b]) {
        read(flate2::read::GzDecoder::new(bytes))
    } else if bytes.get(257..262) == Some(b"ustar") {
        read(bytes)
    } else {
        return Err(Bad::Unreadable("Unsupported compression".to_owned()));
    };
    read.map_err(|error| Bad::Unreadable(error.to_string()))?
        .ok_or(Bad::NoIndex)
}

fn read(from: impl Read) -> io::Result<Option<Unpacked>> {
    let mut index = None;
    // By what is before `/rootfs` and `/metadata.yaml`.
    let mut folders: BTreeMap<String, Files> = BTreeMap::new();
    let mut archive = tar::Archive::new(from);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        if path == INDEX {
            index = Some(text_of(&mut entry)?);
        } else if let Some(folder) = path.strip_suffix("/metadata.yaml") {
            let metadata = text_of(&mut entry)?;
            files(&mut folders, folder).metadata = metadata;
        } else if let Some((folder, inside)) = path.split_once("/rootfs")
            && let Some(node) = node_of(&mut entry)?
        {
            files(&mut folders, folder).tree.put(inside, node);
        }
    }
    let Some(index) = index else {
        return Ok(None);
    };
    let instance = folders.remove(INSTANCE).unwrap_or_else(none);
    let snapshots = folders.into_iter().filter_map(|(folder, files)| {
        let name = folder.strip_prefix(SNAPSHOTS)?.strip_prefix('/')?;
        Some((name.to_owned(), files))
    });
    Ok(Some(Unpacked {
        index,
        instance,
        snapshots: snapshots.collect(),
    }))
}

fn none() -> Files {
    Files {
        metadata: json!({}),
        tree: Tree::new(std::time::UNIX_EPOCH),
    }
}

fn files<'a>(folders: &'a mut BTreeMap<String, Files>, folder: &str) -> &'a mut Files {
    folders.entry(folder.to_owned()).or_insert_with(none)
}

fn text_of(entry: &mut impl Read) -> io::Result<Value> {
    let mut text = String::new();
    entry.read_to_string(&mut text)?;
    yaml_value(&text)
}
