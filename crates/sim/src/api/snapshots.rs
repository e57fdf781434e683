//! Snapshots of instances.

use std::sync::Arc;

use serde_json::{Value, json};

use super::instances::resources;
use super::states;
use crate::call::{Answer, Call, Refusal, Reply, etag, text};
use crate::daemon::Daemon;
use crate::flavor::FlavorProfile;
use crate::lifecycle::{self, LifecycleEvent};
use crate::operations::{Spec, begin};
use crate::state::instance::{Instance, Snapshot, Status};
use crate::state::{Key, url};

pub(crate) fn find<'a>(instance: &'a Instance, name: &str) -> Option<&'a Snapshot> {
    instance
        .snapshots
        .iter()
        .find(|snapshot| snapshot.name == name)
}

pub(crate) fn missing(profile: &FlavorProfile, (instance, name): (&Instance, &str)) -> Refusal {
    let (of, project, kind) = (&instance.name, &instance.project, profile.snapshot_kind);
    Refusal::new(
        404,
        format!(
            "Failed to fetch snapshot \"{name}\" of instance \"{of}\" in project \"{project}\": {kind} not found"
        ),
    )
}

/// `/1.0/instances/<name>/snapshots` and below.
pub(crate) fn answer(daemon: &Arc<Daemon>, call: &Call, (name, rest): (&str, &[&str])) -> Answer {
    let key: Key = (call.project().to_owned(), name.to_owned());
    daemon.world().instance(&key.0, name)?;
    match (call.method.as_str(), rest) {
        ("GET", []) => list(daemon, call, &key),
        ("POST", []) => create(daemon, call, key),
        ("GET", [snapshot]) => {
            let world = daemon.world();
            let instance = world.instance(&key.0, name)?;
            let found = find(instance, snapshot);
            let found = found.ok_or_else(|| missing(world.profile, (instance, snapshot)))?;
            let object = world.snapshot_object(found);
            let tag = etag(&json!(found.expires));
            Ok(Reply::Tagged(object, tag))
        }
        ("POST" | "PUT" | "PATCH" | "DELETE", [snapshot]) => {
            change(daemon, call, (key, (*snapshot).to_owned()))
        }
        _ => Err(Refusal::not_implemented()),
    }
}

fn list(daemon: &Daemon, call: &Call, key: &Key) -> Answer {
    let world = daemon.world();
    let instance = world.instance(&key.0, &key.1)?;
    let all = instance.snapshots.iter().map(|snapshot| {
        if call.recursion() > 0 {
            world.snapshot_object(snapshot)
        } else {
            let path = format!("instances/{}/snapshots/{}", key.1, snapshot.name);
            json!(url(&path, &key.0))
        }
    });
    Ok(Reply::Sync(all.collect()))
}

/// What an operation on a snapshot says it is about. LXD has its own idea of that for each.
fn about(daemon: &Daemon, (key, name): (&Key, &str), lxd: &str) -> Value {
    if !daemon.profile.is_incus() {
        return resources(daemon, (&key.0, &[lxd]));
    }
    let mut all = resources(daemon, (&key.0, &[&key.1]));
    let path = format!("instances/{}/snapshots/{name}", key.1);
    all["instances_snapshots"] = json!([url(&path, &key.0)]);
    all
}

fn create(daemon: &Arc<Daemon>, call: &Call, key: Key) -> Answer {
    let body = call.json()?;
    let name = text(&body, "name");
    if name.contains('/') {
        return Err(Refusal::new(
            400,
            "Invalid snapshot name: Cannot contain \"/\"",
        ));
    }
    let count = daemon.world().instance(&key.0, &key.1)?.snapshots.len();
    let name = if name.is_empty() {
        format!("snap{count}")
    } else {
        name.to_owned()
    };
    let expires = body.get("expires_at").and_then(Value::as_str);
    let expires = expires.unwrap_or("0001-01-01T00:00:00Z").to_owned();
    let about = about(daemon, (&key, &name), &key.1);
    let spec = Spec::task("Snapshotting instance", &key.0, about);
    let worker = daemon.clone();
    Ok(begin(daemon, (spec, call.fault), |_| async move {
        let created = worker.clock.text();
        let mut world = worker.world();
        let instance = world.instance_mut(&key.0, &key.1)?;
        if find(instance, &name).is_some() {
            let why = worker.profile.snapshot_taken;
            let text = format!(
                "Failed creating instance snapshot record \"{name}\": Add snapshot info to the database: {why}"
            );
            return Err(Refusal::new(500, text).into());
        }
        let running = instance.status == Status::Running;
        let tree = instance.tree.copy();
        let of = Box::new(instance.copy((&key.0, &key.1), tree.clone()));
        instance.snapshots.push(Snapshot {
            name: name.clone(),
            created,
            expires,
            of,
            tree,
        });
        drop(world);
        let path = format!("instances/{}/snapshots/{name}", key.1);
        let created = LifecycleEvent::new("instance-snapshot-created", (&key.0, &path));
        lifecycle::tell(&worker, &created);
        if running {
            states::tell_of_a_pause(&worker, (&key.0, &key.1));
        }
        Ok(Value::Null)
    }))
}

fn change(daemon: &Arc<Daemon>, call: &Call, (key, name): (Key, String)) -> Answer {
    {
        let world = daemon.world();
        let instance = world.instance(&key.0, &key.1)?;
        find(instance, &name).ok_or_else(|| missing(world.profile, (instance, &name)))?;
    }
    let method = call.method.clone();
    let body = if method == "DELETE" {
        serde_json::Map::new()
    } else {
        call.json()?
    };
    let of = format!("{}/{name}", key.1);
    let (description, lxd) = match method.as_str() {
        "DELETE" => ("Deleting snapshot", of.as_str()),
        "POST" => ("Renaming snapshot", key.1.as_str()),
        _ => ("Updating snapshot", name.as_str()),
    };
    let spec = Spec::task(description, &key.0, about(daemon, (&key, &name), lxd));
    let worker = daemon.clone();
    Ok(begin(daemon, (spec, call.fault), |_| async move {
        let mut world = worker.world();
        let instance = world.instance_mut(&key.0, &key.1)?;
        let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
        if method == "DELETE" {
            instance.snapshots.retain(|each| each.name != name);
            return Ok(Value::Null);
        }
        let mut snapshots = instance.snapshots.iter_mut();
        if let Some(snapshot) = snapshots.find(|each| each.name == name) {
            if let Some(to) = text("name") {
                snapshot.name = to;
            }
            if let Some(expires) = text("expires_at") {
                snapshot.expires = expires;
            }
        }
        Ok(Value::Null)
    }))
}

/// Makes an instance what a snapshot of it was.
pub(crate) fn restore(daemon: &Daemon, key: &Key, name: &str) -> Result<(), Refusal> {
    let mut world = daemon.world();
    let profile = world.profile;
    let instance = world.instance_mut(&key.0, &key.1)?;
    let Some(snapshot) = find(instance, name).cloned() else {
        let text = format!("Snapshot {}/{name} does not exist", key.1);
        return Err(Refusal::new(500, text));
    };
    *instance.tree.lock() = snapshot.tree;
    instance.config = snapshot.of.config;
    instance.devices = snapshot.of.devices;
    instance.profiles = snapshot.of.profiles;
    instance.description = snapshot.of.description;
    let running = instance.status == Status::Running;
    if running {
        instance.mark_started(profile);
    }
    drop(world);
    let path = format!("instances/{}", key.1);
    if running {
        // It is stopped for it, which nobody is told.
        let started = LifecycleEvent::new("instance-started", (&key.0, &path));
        lifecycle::tell(daemon, &started);
    }
    let context = json!({"snapshot": format!("{}/{name}", key.1)});
    let restored = LifecycleEvent::new("instance-restored", (&key.0, &path)).with(context);
    lifecycle::tell(daemon, &restored);
    Ok(())
}
