//! Backups of instances, and instances from backups.

use std::sync::Arc;

use serde_json::{Value, json};

use super::instances::{published, resources};
use super::valid;
use crate::sim::brand::Traits;
use crate::sim::call::{Answer, Call, Raw, Refusal, Reply};
use crate::sim::daemon::Daemon;
use crate::sim::operations::{Spec, begin};
use crate::sim::state::instance::{Backup, Instance};
use crate::sim::state::{Key, archive, url};

/// A backup's object.
pub(crate) fn object(traits: &'static Traits) -> impl Fn(&Backup) -> Value {
    move |backup| {
        let mut object = json!({
            "name": backup.name, "created_at": backup.created, "expires_at": backup.expires,
            "instance_only": backup.instance_only,
        });
        if !traits.is_incus() {
            object["container_only"] = json!(backup.instance_only);
        }
        object["optimized_storage"] = json!(false);
        object
    }
}

fn missing(traits: &Traits) -> Refusal {
    Refusal::new(
        404,
        if traits.is_incus() {
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
        found.ok_or_else(|| missing(daemon.traits))
    };
    let object = object(daemon.traits);
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
    let name = body.get("name").and_then(Value::as_str).unwrap_or_default();
    let count = daemon.world().instance(&key.0, &key.1)?.backups.len();
    let name = if name.is_empty() {
        format!("backup{count}")
    } else {
        name.to_owned()
    };
    let mut about = resources(daemon, (&key.0, &[&key.1]));
    let path = if daemon.traits.is_incus() {
        url(&format!("instances/{}/backups/{name}", key.1), &key.0)
    } else {
        format!("/1.0/backups/{name}")
    };
    about["backups"] = json!([path]);
    let expires = body.get("expires_at").and_then(Value::as_str);
    let expires = expires.unwrap_or("0001-01-01T00:00:00Z").to_owned();
    let instance_only = body.get("instance_only").is_some_and(|only| only == true);
    let spec = Spec::task("Backing up instance", &key.0, about);
    let worker = daemon.clone();
    Ok(begin(daemon, (spec, call.fault), |_| async move {
        let created = worker.clock.text();
        let mut world = worker.world();
        let instance = world.instance_mut(&key.0, &key.1)?;
        if instance.backups.iter().any(|backup| backup.name == name) {
            let text = format!("Create instance backup: Backup \"{name}\" already exists");
            return Err(Refusal::new(500, text).into());
        }
        let bytes = published(instance);
        let bytes = bytes.map_err(|error| Refusal::new(500, error.to_string()))?;
        instance.backups.push(Backup {
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
    let about = if daemon.traits.is_incus() {
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
    let header = format!("{}name", daemon.traits.header);
    let name = call.header(&header).unwrap_or("imported").to_owned();
    valid::instance_name(&name)?;
    let project = call.project().to_owned();
    let spec = Spec::task(
        "Restoring backup",
        &project,
        resources(daemon, (&project, &[&name])),
    );
    let (worker, body) = (daemon.clone(), call.body.clone());
    let location = call.location.clone();
    Ok(begin(daemon, (spec, call.fault), |_| async move {
        let unpacked = archive::unpack(&body).map_err(|why| Refusal::new(500, why))?;
        let created = worker.clock.text();
        let mut world = worker.world();
        let key = (project, name);
        if world.instances.contains_key(&key) {
            let text = format!(
                "Cannot restore instance \"{}\": Instance already exists",
                key.1
            );
            return Err(Refusal::new(500, text).into());
        }
        let mut instance = Instance::new((&key.0, &key.1), unpacked.tree, created);
        instance.metadata = unpacked.metadata;
        instance.location = location;
        instance.set_volatile(worker.traits);
        world.instances.insert(key, instance);
        Ok(Value::Null)
    }))
}
