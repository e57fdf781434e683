//! Backups of instances, and instances from backups.

use std::sync::Arc;

use serde_json::{Value, json};

use super::instances::resources;
use super::valid;
use crate::call::{Answer, Call, Raw, Refusal, Reply, text};
use crate::daemon::Daemon;
use crate::flavor::FlavorProfile;
use crate::operations::{Spec, begin};
use crate::state::backup::{self, Bad, Content, Files, Packing, Unpacked};
use crate::state::collection::Place;
use crate::state::instance::{Backup, Instance, Snapshot};
use crate::state::{Key, url};

/// A backup's object.
pub(crate) fn object(profile: &'static FlavorProfile) -> impl Fn(&Backup) -> Value {
    move |backup| {
        let mut object = json!({
            "name": backup.name, "created_at": backup.created, "expires_at": backup.expires,
            "instance_only": backup.instance_only,
        });
        if !profile.is_incus() {
            object["container_only"] = json!(backup.instance_only);
        }
        object["optimized_storage"] = json!(false);
        object
    }
}

fn missing(profile: &FlavorProfile) -> Refusal {
    Refusal::new(
        404,
        if profile.is_incus() {
            "Instance backup not found"
        } else {
            "Load backup from database: Instance backup not found"
        },
    )
}

/// `/1.0/instances/<name>/backups` and below.
pub(crate) fn answer(daemon: &Arc<Daemon>, call: &Call, (name, rest): (&str, &[&str])) -> Answer {
    let key: Key = (call.project().to_owned(), name.to_owned());
    let world = daemon.world();
    let instance = world.instance(&key.0, name)?;
    let find = |name: &str| {
        let found = instance.backups.iter().find(|backup| backup.name == name);
        found.ok_or_else(|| missing(daemon.profile))
    };
    let object = object(daemon.profile);
    match (call.method.as_str(), rest) {
        ("GET", []) => {
            let all = instance.backups.iter().map(|backup| {
                if call.recursion() > 0 {
                    object(backup)
                } else {
                    json!(url(
                        &format!("instances/{name}/backups/{}", backup.name),
                        &key.0
                    ))
                }
            });
            Ok(Reply::Sync(all.collect()))
        }
        ("GET", [backup]) => Ok(Reply::Sync(object(find(backup)?))),
        ("GET", [backup, "export"]) => Ok(Reply::Raw(Raw {
            headers: Vec::new(),
            body: find(backup)?.bytes.clone(),
            filename: Some(String::new()),
        })),
        ("POST", []) => {
            drop(world);
            create(daemon, call, key)
        }
        ("DELETE", [backup]) => {
            find(backup)?;
            drop(world);
            Ok(delete(daemon, call, (key, (*backup).to_owned())))
        }
        _ => Err(Refusal::not_implemented()),
    }
}

fn create(daemon: &Arc<Daemon>, call: &Call, key: Key) -> Answer {
    let body = call.json()?;
    let name = text(&body, "name");
    let count = daemon.world().instance(&key.0, &key.1)?.backups.len();
    let name = if name.is_empty() {
        format!("backup{count}")
    } else {
        name.to_owned()
    };
    let mut about = resources(daemon, (&key.0, &[&key.1]));
    let path = if daemon.profile.is_incus() {
        url(&format!("instances/{}/backups/{name}", key.1), &key.0)
    } else {
        format!("/1.0/backups/{name}")
    };
    about["backups"] = json!([path]);
    let expires = body.get("expires_at").and_then(Value::as_str);
    let expires = expires.unwrap_or("0001-01-01T00:00:00Z").to_owned();
    let instance_only = ["instance_only", "container_only"]
        .iter()
        .any(|key| body.get(*key).is_some_and(|only| only == true));
    let content = if instance_only {
        Content::WithoutSnapshots
    } else {
        Content::Whole
    };
    let packing = match body.get("compression_algorithm").and_then(Value::as_str) {
        Some("none") => Packing::Plain,
        _ => Packing::Gzip,
    };
    let spec = Spec::task("Backing up instance", &key.0, about);
    let worker = daemon.clone();
    Ok(begin(daemon, (spec, call.fault), |_| async move {
        let created = worker.clock.text();
        let mut world = worker.world();
        let instance = world.instance(&key.0, &key.1)?;
        if instance.backups.iter().any(|backup| backup.name == name) {
            let text = format!("Create instance backup: Backup \"{name}\" already exists");
            return Err(Refusal::new(500, text).into());
        }
        let bytes = backup::pack(&world, instance, (content, packing));
        let bytes = bytes.map_err(|error| Refusal::new(500, error.to_string()))?;
        world.instance_mut(&key.0, &key.1)?.backups.push(Backup {
            name,
            created,
            expires,
            instance_only,
            bytes: bytes.into(),
        });
        Ok(Value::Null)
    }))
}

fn delete(daemon: &Arc<Daemon>, call: &Call, (key, name): (Key, String)) -> Reply {
    let about = if daemon.profile.is_incus() {
        resources(daemon, (&key.0, &[&key.1]))
    } else {
        json!({"container": [format!("/1.0/container/{}", key.1)]})
    };
    let spec = Spec::task("Removing instance backup", &key.0, about);
    let worker = daemon.clone();
    begin(daemon, (spec, call.fault), |_| async move {
        let mut world = worker.world();
        let instance = world.instance_mut(&key.0, &key.1)?;
        instance.backups.retain(|backup| backup.name != name);
        Ok(Value::Null)
    })
}

/// `POST /1.0/instances` with the tarball of a backup.
pub(crate) fn import(daemon: &Arc<Daemon>, call: &Call) -> Answer {
    let header = |name: &str| call.header(&format!("{}{name}", daemon.profile.header));
    let unpacked = backup::unpack(&call.body).map_err(|bad| match bad {
        Bad::NoIndex => Refusal::new(400, daemon.profile.no_index),
        Bad::Unreadable(why) => Refusal::new(500, why),
    })?;
    if let Some(pool) = header("pool") {
        let pools = Place::global("storage-pools");
        if daemon.world().collections.get(&pools, pool).is_none() {
            let text = "Storage pool not found: Storage pool not found";
            return Err(Refusal::new(500, text));
        }
    }
    let name = header("name").or_else(|| unpacked.index["name"].as_str());
    let key: Key = (
        call.project().to_owned(),
        name.unwrap_or_default().to_owned(),
    );
    let about = resources(daemon, (&key.0, &[&key.1]));
    let spec = Spec::task("Restoring backup", &key.0, about);
    let worker = daemon.clone();
    let location = call.location.clone();
    Ok(begin(daemon, (spec, call.fault), |_| async move {
        restore(&worker, (key, location), unpacked)?;
        Ok(Value::Null)
    }))
}

fn restore(
    daemon: &Daemon,
    (key, location): (Key, String),
    unpacked: Unpacked,
) -> Result<(), Refusal> {
    let mut world = daemon.world();
    if world.instances.contains_key(&key) {
        let text = "Create instance from backup: Cannot restore volume, already exists on target";
        return Err(Refusal::new(500, text));
    }
    valid::instance_name(&key.1).map_err(|refusal| {
        let text = format!(
            "Failed importing backup: Failed creating instance record: {}",
            refusal.text
        );
        Refusal::new(refusal.code, text)
    })?;
    let Unpacked {
        index,
        instance,
        mut snapshots,
    } = unpacked;
    let config = &index["config"];
    let mut made = restored(&key, (&config["container"], &instance));
    made.location = location;
    for object in config["snapshots"].as_array().into_iter().flatten() {
        let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
        let Some(files) = snapshots.remove(&text("name")) else {
            continue;
        };
        made.snapshots.push(Snapshot {
            name: text("name"),
            created: text("created_at"),
            expires: text("expires_at"),
            of: Box::new(restored(&key, (object, &files))),
            tree: files.tree,
        });
    }
    world.instances.insert(key, made);
    Ok(())
}

/// An instance as its object in a backup says.
fn restored((project, name): &Key, (object, files): (&Value, &Files)) -> Instance {
    let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
    let map = |key: &str| object[key].as_object().cloned().unwrap_or_default();
    let profiles = object["profiles"].as_array().into_iter().flatten();
    let profiles = profiles.filter_map(Value::as_str).map(str::to_owned);
    let mut made = Instance::new((project, name), files.tree.clone(), text("created_at"));
    made.profiles = profiles.collect();
    made.config = map("config");
    made.devices = map("devices");
    made.description = text("description");
    made.ephemeral = object["ephemeral"] == true;
    made.metadata.clone_from(&files.metadata);
    for (key, field) in [
        ("type", &mut made.kind),
        ("architecture", &mut made.architecture),
        ("last_used_at", &mut made.used),
    ] {
        // Objects of snapshots do not say all of it.
        if object[key].is_string() {
            *field = text(key);
        }
    }
    made
}
