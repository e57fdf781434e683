//! What becomes of an instance: other settings, another name, its end.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::resources;
use crate::api::valid::{self, Owner};
use crate::api::{generic, nics, snapshots, states};
use crate::call::{Answer, Call, Refusal, Reply, etag, text};
use crate::daemon::Daemon;
use crate::lifecycle::{self, LifecycleEvent};
use crate::operations::{Failure, Spec, begin};
use crate::state::Key;
use crate::state::instance::Status;

/// `PUT /1.0/instances/<name>`: all that can be set, or a snapshot to restore.
pub(super) fn put(daemon: &Arc<Daemon>, call: &Call, key: Key) -> Answer {
    let body = call.json()?;
    {
        let world = daemon.world();
        let instance = world.instance(&key.0, &key.1)?;
        call.match_etag(&etag(&instance.editable()))?;
    }
    let resources = resources(daemon, (&key.0, &[&key.1]));
    let restore = text(&body, "restore").to_owned();
    let description = if restore.is_empty() {
        valid::texts(&body, ("config", "InstancePut.config"))?;
        "Updating instance"
    } else {
        "Restoring snapshot"
    };
    let spec = Spec::task(description, &key.0, resources);
    let worker = daemon.clone();
    Ok(begin(daemon, (spec, call.fault), |_| async move {
        if restore.is_empty() {
            update(&worker, &key, (&body, "PUT"))?;
        } else {
            snapshots::restore(&worker, &key, &restore)?;
        }
        Ok(Value::Null)
    }))
}

/// `PATCH /1.0/instances/<name>`.
pub(super) fn patch(daemon: &Arc<Daemon>, call: &Call, key: &Key) -> Answer {
    {
        let world = daemon.world();
        let instance = world.instance(&key.0, &key.1)?;
        call.match_etag(&etag(&instance.editable()))?;
    }
    let body = call.json()?;
    valid::texts(&body, ("config", "InstancePut.config"))?;
    update(daemon, key, (&body, "PATCH"))?;
    Ok(Reply::empty())
}

fn update(
    daemon: &Daemon,
    key: &Key,
    (body, method): (&Map<String, Value>, &str),
) -> Result<(), Refusal> {
    let mut world = daemon.world();
    let instance = world.instance(&key.0, &key.1)?;
    let mut object = world
        .instance_object(instance)
        .as_object()
        .cloned()
        .unwrap_or_default();
    let editable = ["config", "devices", "profiles", "ephemeral"];
    generic::change(&mut object, (&editable, body), method);
    // Even PATCH takes it away where the body does not say it.
    generic::change(&mut object, (&["description"], body), "PUT");
    let map = |key: &str| {
        object
            .get(key)
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default()
    };
    let (config, devices) = (map("config"), map("devices"));
    let lost = |key: &&String| key.starts_with("volatile.idmap.") && !config.contains_key(*key);
    if instance.config.keys().any(|key| lost(&key)) {
        return Err(Refusal::new(
            500,
            "Volatile idmap keys can't be deleted by the user",
        ));
    }
    let owner = Owner::Instance(&instance.kind);
    valid::config(&config, (world.profile.flavor, owner))
        .map_err(|why| Refusal::new(500, format!("Invalid config: {why}")))?;
    valid::devices(&world, (&key.0, &devices)).map_err(|wrong| {
        let refusal = wrong.refusal(500);
        Refusal::new(refusal.code, format!("Invalid devices: {}", refusal.text))
    })?;
    valid::added(&world, &key.0, (&instance.devices, &devices))?;
    let profiles = object
        .get("profiles")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let profiles: Vec<String> = profiles
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    if let Some(name) = profiles
        .iter()
        .find(|name| world.profile(&key.0, name).is_none())
    {
        return Err(Refusal::new(
            500,
            format!("Requested profile \"{name}\" doesn't exist"),
        ));
    }
    let profile = world.profile;
    let instance = world.instance_mut(&key.0, &key.1)?;
    instance.config = config;
    nics::settle(profile, instance, &devices);
    instance.devices = devices;
    instance.profiles = profiles;
    instance.ephemeral = object.get("ephemeral").is_some_and(|is| is == true);
    let description = object.get("description").and_then(Value::as_str);
    description
        .unwrap_or_default()
        .clone_into(&mut instance.description);
    drop(world);
    let path = format!("instances/{}", key.1);
    let updated = LifecycleEvent::new("instance-updated", (&key.0, &path));
    lifecycle::tell(daemon, &updated);
    Ok(())
}

/// `POST /1.0/instances/<name>`: another name.
pub(super) fn rename(daemon: &Arc<Daemon>, call: &Call, key: Key) -> Answer {
    let body = call.json()?;
    let to = text(&body, "name").to_owned();
    {
        let world = daemon.world();
        world.instance(&key.0, &key.1)?;
        valid::instance_name(&to)?;
        if world.instance(&key.0, &to).is_ok() {
            return Err(Refusal::new(409, format!("Name \"{to}\" already in use")));
        }
    }
    let resources = resources(daemon, (&key.0, &[&key.1]));
    let spec = Spec::task("Renaming instance", &key.0, resources);
    let worker = daemon.clone();
    Ok(begin(daemon, (spec, call.fault), |_| async move {
        let mut world = worker.world();
        if world.instance(&key.0, &key.1)?.status != Status::Stopped {
            return Err(Failure::from(Refusal::new(
                500,
                worker.profile.rename_running,
            )));
        }
        if let Some(mut instance) = world.instances.remove(&key) {
            instance.name.clone_from(&to);
            let template = "volatile.apply_template".to_owned();
            instance.config.insert(template, json!("rename"));
            instance.config.sort_keys();
            world.instances.insert((key.0, to), instance);
        }
        Ok(Value::Null)
    }))
}

/// `DELETE /1.0/instances/<name>`.
pub(super) fn delete(daemon: &Arc<Daemon>, call: &Call, key: Key) -> Answer {
    {
        let world = daemon.world();
        let instance = world.instance(&key.0, &key.1)?;
        states::idle(instance)?;
        if instance.status != Status::Stopped {
            return Err(Refusal::new(400, "Instance is running"));
        }
    }
    let resources = resources(daemon, (&key.0, &[&key.1]));
    let spec = Spec::task("Deleting instance", &key.0, resources);
    let worker = daemon.clone();
    Ok(begin(daemon, (spec, call.fault), |_| async move {
        let mut world = worker.world();
        let instance = world.instance(&key.0, &key.1)?;
        if instance.status != Status::Stopped {
            return Err(Failure::from(Refusal::new(500, "Instance is running")));
        }
        let (config, _) = world.expanded(instance);
        let protection = config.get("security.protection.delete");
        let protection = protection.and_then(Value::as_str).unwrap_or_default();
        if matches!(
            protection.to_ascii_lowercase().as_str(),
            "true" | "1" | "yes" | "on"
        ) {
            return Err(Failure::from(Refusal::new(500, "Instance is protected")));
        }
        let gone = world.instances.remove(&key);
        drop(world);
        let path = format!("instances/{}", key.1);
        for snapshot in gone.into_iter().flat_map(|gone| gone.snapshots) {
            let path = format!("{path}/snapshots/{}", snapshot.name);
            let deleted = LifecycleEvent::new("instance-snapshot-deleted", (&key.0, &path));
            lifecycle::tell(&worker, &deleted);
        }
        lifecycle::tell(
            &worker,
            &LifecycleEvent::new("instance-deleted", (&key.0, &path)),
        );
        Ok(Value::Null)
    }))
}
