//! Storage pools, custom volumes and their snapshots.

use std::sync::Arc;

use serde_json::{Value, json};

use super::with_device;
use crate::api::generic;
use crate::api::kind::{Blank, Creation, Kind, Renaming, Scope, Tag, Unused};
use crate::api::valid::{self, Wrong, keys};
use crate::call::{Answer, Call, Refusal, Reply, text};
use crate::daemon::Daemon;
use crate::operations::{Spec, begin};
use crate::state::collection::Place;
use crate::state::{World, url};

const DRIVERS: [&str; 7] = ["dir", "btrfs", "lvm", "zfs", "ceph", "cephfs", "cephobject"];

pub(crate) const POOLS: Kind = Kind {
    store: "storage-pools",
    title: "Storage pool",
    path: "storage-pools",
    shape: &[
        ("config", Blank::Map),
        ("description", Blank::Text("")),
        ("name", Blank::Name),
        ("driver", Blank::Text("")),
    ],
    renaming: Renaming::Never,
    tag: Tag::IncusAlone,
    bodies: ("StoragePoolsPost", "StoragePoolPut"),
    missing: ("Storage pool not found", "Storage pool not found"),
    make: |world, new, mut object| {
        let driver = object["driver"].as_str().unwrap_or_default();
        if driver.is_empty() {
            return Err(Refusal::new(400, "No driver provided"));
        }
        if !DRIVERS.contains(&driver) {
            return Err(Refusal::new(500, "Unknown driver"));
        }
        let source = format!("/var/lib/{}/storage-pools/{}", world.profile.name, new.name);
        if let Some(config) = object["config"].as_object_mut() {
            config.entry("source").or_insert(json!(source));
        }
        object["status"] = json!("Created");
        object["locations"] = json!(["none"]);
        Ok(object)
    },
    taken: |_| {
        let text = "The storage pool already exists: The record already exists";
        (409, text)
    },
    check: check_pool,
    unfit: (500, 400),
    used_by: Some(pool_users),
    unused: Unused::NullInLxd,
    in_use: (400, "The storage pool is currently in use"),
    ..Kind::PLAIN
};

fn check_pool(world: &World, (place, name): (&Place, &str), object: &Value) -> Result<(), Wrong> {
    let texts = ("Invalid option \"{}\"", "Invalid value for option \"{}\"");
    valid::options(object, (keys::POOLS, world.profile.flavor), texts)?;
    let before = world.collections.get(place, name);
    if before.is_some_and(|before| before["config"]["source"] != object["config"]["source"]) {
        let text = "Pool source cannot be changed when not in pending state";
        return Err(Wrong::Refused(Refusal::new(500, text)));
    }
    Ok(())
}

fn pool_users(world: &World, _: &Place, name: &str) -> Vec<String> {
    let mut users = with_device(world, |device| device["pool"] == name);
    let volumes = world.collections.every("volumes");
    let volumes = volumes.filter(|(place, ..)| place.parent() == name);
    users.extend(volumes.map(|(place, volume, _)| {
        url(
            &format!("storage-pools/{name}/volumes/custom/{volume}"),
            place.project(),
        )
    }));
    users
}

const VOLUMES: Kind = Kind {
    store: "volumes",
    title: "Volume",
    path: "storage-pools/{}/volumes/custom",
    scope: Scope::Feature("storage.volumes"),
    shape: &[
        ("config", Blank::Map),
        ("description", Blank::Text("")),
        ("name", Blank::Name),
        ("type", Blank::Text("custom")),
        ("used_by", Blank::List),
        ("location", Blank::Text("none")),
        ("content_type", Blank::Text("filesystem")),
    ],
    creation: Creation::Plain,
    bodies: ("StorageVolumesPost", "StorageVolumePut"),
    missing: (
        "Storage pool volume not found",
        "Storage pool volume not found",
    ),
    make: |world, new, mut object| {
        let created = if world.profile.is_incus() {
            humantime::format_rfc3339_nanos(std::time::SystemTime::now()).to_string()
        } else {
            "0001-01-01T00:00:00Z".to_owned()
        };
        object["project"] = json!(new.project);
        object["created_at"] = json!(created);
        Ok(object)
    },
    taken: |_| (409, "Volume by that name already exists"),
    check: check_volume,
    unfit: (500, 500),
    below: &["volume-snapshots"],
    ..Kind::PLAIN
};

fn check_volume(world: &World, (place, name): (&Place, &str), object: &Value) -> Result<(), Wrong> {
    let new = world.collections.get(place, name).is_none();
    // On the disk its project is in its name.
    let name = if new && world.profile.is_incus() {
        name.to_owned()
    } else {
        format!("{}_{name}", place.project())
    };
    let unknown = format!("Invalid option for volume \"{name}\" option \"{{}}\"");
    let value_of = format!("Invalid value for volume \"{name}\" option \"{{}}\"");
    let known = (keys::VOLUMES, world.profile.flavor);
    valid::options(object, known, (&unknown, &value_of))
}

const VOLUME_SNAPSHOTS: Kind = Kind {
    store: "volume-snapshots",
    title: "Snapshot",
    path: "storage-pools/{}/snapshots",
    scope: Scope::Feature("storage.volumes"),
    shape: &[
        ("name", Blank::Name),
        ("description", Blank::Text("")),
        ("expires_at", Blank::Text("0001-01-01T00:00:00Z")),
        ("config", Blank::Map),
        ("content_type", Blank::Text("filesystem")),
    ],
    editable: &["description", "expires_at"],
    creation: Creation::Plain,
    missing: (
        "Storage volume snapshot not found",
        "Storage volume snapshot not found",
    ),
    taken: |_| (409, "Snapshot by that name already exists"),
    ..Kind::PLAIN
};

/// Answers for what is below a storage pool.
pub(crate) fn below_pool(
    daemon: &Arc<Daemon>,
    call: &Call,
    (pool, rest): (&str, &[&str]),
) -> Answer {
    let exists = daemon
        .world()
        .collections
        .get(&Place::global("storage-pools"), pool)
        .is_some();
    if !exists {
        return Err(Refusal::new(404, "Storage pool not found"));
    }
    match rest {
        ["resources"] => Ok(Reply::Sync(pool_resources())),
        ["volumes"] | ["volumes", "custom"] => generic::answer(daemon, call, (&VOLUMES, pool, &[])),
        ["volumes", "custom", name] => generic::answer(daemon, call, (&VOLUMES, pool, &[name])),
        ["volumes", "custom", name, "snapshots", rest @ ..] => {
            volume_snapshots(daemon, call, ((pool, name), rest))
        }
        ["volumes", _] if call.method == "GET" => Ok(Reply::Sync(json!([]))),
        _ => Err(Refusal::not_found()),
    }
}

fn volume_snapshots(
    daemon: &Arc<Daemon>,
    call: &Call,
    ((pool, volume), rest): ((&str, &str), &[&str]),
) -> Answer {
    let parent = format!("{pool}/volumes/custom/{volume}");
    let done = generic::answer(daemon, call, (&VOLUME_SNAPSHOTS, &parent, rest))?;
    let path = |name: &str| format!("/1.0/storage-pools/{parent}/snapshots/{name}");
    let incus = daemon.profile.is_incus();
    let (description, resources) = match (call.method.as_str(), rest) {
        ("POST", []) => {
            let body = call.json()?;
            let name = text(&body, "name");
            let resources = if incus {
                json!({"storage_volume_snapshots": [path(name)], "storage_volumes": [format!("/1.0/storage-pools/{parent}")]})
            } else {
                json!({"storage_volumes": [format!("/1.0/storage_volumes/{volume}")]})
            };
            ("Creating storage volume snapshot", resources)
        }
        ("DELETE", [name]) => {
            let resource = if incus {
                path(name)
            } else {
                format!("/1.0/storage_volume_snapshots/{volume}")
            };
            (
                "Deleting storage volume snapshot",
                json!({"storage_volume_snapshots": [resource]}),
            )
        }
        _ => return Ok(done),
    };
    let spec = Spec::task(description, call.project(), resources);
    Ok(begin(daemon, (spec, call.fault), |_| async {
        Ok(Value::Null)
    }))
}

/// How full a pool is.
pub(crate) fn pool_resources() -> Value {
    json!({
        "space": {"used": 1_073_741_824_u64, "total": 107_374_182_400_u64},
        "inodes": {"used": 1000, "total": 6_553_600},
    })
}
