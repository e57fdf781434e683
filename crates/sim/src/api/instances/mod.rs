//! Instances: the collection and its members.

mod change;
mod creation;
mod wanted;

use std::sync::Arc;

use serde_json::{Value, json};

pub(crate) use self::creation::unpacked;
use super::{filter, states};
use crate::call::{Answer, Call, Refusal, Reply, etag};
use crate::daemon::Daemon;
use crate::state::instance::Instance;
use crate::state::{Key, World, archive, url};

/// What an operation says it is about: LXD names the old paths too.
pub(crate) fn resources(daemon: &Daemon, (project, names): (&str, &[&str])) -> Value {
    let incus = daemon.profile.is_incus();
    let project = if incus { project } else { "default" };
    let paths = |kind: &str| -> Vec<String> {
        let paths = names
            .iter()
            .map(|name| format!("{kind}/{}", escaped(incus, name)));
        paths.map(|path| url(&path, project)).collect()
    };
    if incus {
        json!({"instances": paths("instances")})
    } else {
        json!({"containers": paths("containers"), "instances": paths("instances")})
    }
}

fn escaped(incus: bool, name: &str) -> String {
    if incus {
        name.replace('/', "%2F")
    } else {
        name.to_owned()
    }
}

/// `/1.0/instances`.
pub(crate) fn collection(daemon: &Arc<Daemon>, call: &Call) -> Answer {
    match call.method.as_str() {
        "GET" => list(&daemon.world(), call),
        "POST" => creation::create(daemon, call),
        "PUT" => states::all(daemon, call),
        _ => Err(Refusal::not_implemented()),
    }
}

fn list(world: &World, call: &Call) -> Answer {
    let mut entries = Vec::new();
    for instance in world.instances.values() {
        if !call.all_projects() && instance.project != call.project() {
            continue;
        }
        if !call.access.allows(&instance.project) {
            continue;
        }
        if call
            .query("instance-type")
            .is_some_and(|kind| !kind.is_empty() && kind != instance.kind)
        {
            continue;
        }
        if call.query("filter").is_some() && !filter::holds(call, &world.instance_object(instance))?
        {
            continue;
        }
        entries.push(match call.recursion() {
            0 => json!(url(
                &format!("instances/{}", instance.name),
                &instance.project
            )),
            1 => world.instance_object(instance),
            _ => full(world, instance),
        });
    }
    Ok(Reply::Sync(Value::Array(entries)))
}

/// An instance with its state, snapshots and backups.
fn full(world: &World, instance: &Instance) -> Value {
    let mut object = world.instance_object(instance);
    let some = |list: Vec<Value>| {
        if list.is_empty() {
            Value::Null
        } else {
            Value::Array(list)
        }
    };
    let backups = instance.backups.iter();
    object["backups"] = some(
        backups
            .map(crate::api::backups::object(world.profile))
            .collect(),
    );
    object["state"] = states::object(world, instance);
    let snapshots = instance.snapshots.iter();
    object["snapshots"] = some(snapshots.map(|each| world.snapshot_object(each)).collect());
    object
}

/// `/1.0/instances/<name>`.
pub(crate) fn one(daemon: &Arc<Daemon>, call: &Call, name: &str) -> Answer {
    let key: Key = (call.project().to_owned(), name.to_owned());
    match call.method.as_str() {
        "GET" => {
            let world = daemon.world();
            let instance = world.instance(&key.0, name)?;
            let object = if call.recursion() > 0 {
                full(&world, instance)
            } else {
                world.instance_object(instance)
            };
            let tag = etag(&instance.editable());
            Ok(Reply::Tagged(object, tag))
        }
        "PUT" => change::put(daemon, call, key),
        "PATCH" => change::patch(daemon, call, &key),
        "POST" => change::rename(daemon, call, key),
        "DELETE" => change::delete(daemon, call, key),
        _ => Err(Refusal::not_implemented()),
    }
}

/// `/1.0/instances/<name>/metadata`.
pub(crate) fn metadata(daemon: &Arc<Daemon>, call: &Call, name: &str) -> Answer {
    let world = daemon.world();
    let instance = world.instance(call.project(), name)?;
    if call.method != "GET" {
        return Err(Refusal::not_implemented());
    }
    let mut metadata = instance.metadata.clone();
    metadata["expiry_date"] = json!(0);
    metadata["templates"] = Value::Null;
    let tag = etag(&metadata);
    Ok(Reply::Tagged(metadata, tag))
}

/// The tarball of an instance as an image.
pub(crate) fn published(instance: &Instance) -> std::io::Result<Vec<u8>> {
    archive::pack(&instance.metadata, &instance.tree.copy())
}
