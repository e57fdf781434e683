//! `/1.0/cluster/groups`: members under a name.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::call::{Answer, Call, Refusal, Reply, etag, text};
use crate::daemon::Daemon;
use crate::state::World;
use crate::state::cluster::{DEFAULT, Group};

fn object(name: &str, group: &Group) -> Value {
    json!({"description": group.description, "members": group.members, "name": name})
}

fn created(name: &str) -> Reply {
    Reply::Created(format!("/1.0/cluster/groups/{name}"))
}

/// Answers for the collection and its members.
pub(crate) fn answer(daemon: &Arc<Daemon>, call: &Call, path: &[&str]) -> Answer {
    let mut world = daemon.world();
    let missing = || Refusal::new(404, daemon.profile.no_group);
    match (call.method.as_str(), path) {
        ("GET", []) => {
            let all = world.cluster.groups.iter();
            let all = all.map(|(name, group)| match call.recursion() {
                0 => json!(format!("/1.0/cluster/groups/{name}")),
                _ => object(name, group),
            });
            Ok(Reply::Sync(all.collect()))
        }
        ("POST", []) => create(&mut world, &call.json()?),
        ("GET", [name]) => {
            let group = world.cluster.groups.get(*name).ok_or_else(missing)?;
            let object = object(name, group);
            let tag = etag(&object);
            Ok(Reply::Tagged(object, tag))
        }
        ("PUT" | "PATCH", [name]) => {
            let mut group = world.cluster.groups.get(*name).ok_or_else(missing)?.clone();
            if call.method == "PUT" {
                group = Group::default();
            }
            fill(&mut group, &world, &call.json()?)?;
            world.cluster.groups.insert((*name).to_owned(), group);
            Ok(Reply::empty())
        }
        ("POST", [name]) => {
            let body = call.json()?;
            let to = text(&body, "name");
            if world.cluster.groups.contains_key(to) {
                return Err(taken(&world));
            }
            let group = world.cluster.groups.remove(*name).ok_or_else(missing)?;
            world.cluster.groups.insert(to.to_owned(), group);
            Ok(created(to))
        }
        ("DELETE", [DEFAULT]) => {
            let text = "The 'default' cluster group cannot be deleted";
            Err(Refusal::new(403, text))
        }
        ("DELETE", [name]) => {
            let (code, text) = daemon.profile.no_group_to_delete;
            let removed = world.cluster.groups.remove(*name);
            removed.ok_or_else(|| Refusal::new(code, text))?;
            Ok(Reply::empty())
        }
        _ => Err(Refusal::not_implemented()),
    }
}

fn taken(world: &World) -> Refusal {
    Refusal::new(500, world.profile.group_taken)
}

fn create(world: &mut World, body: &Map<String, Value>) -> Answer {
    let name = text(body, "name");
    if name.is_empty() {
        return Err(Refusal::new(400, "No name provided"));
    }
    if world.cluster.groups.contains_key(name) {
        return Err(taken(world));
    }
    let mut group = Group::default();
    fill(&mut group, world, body)?;
    world.cluster.groups.insert(name.to_owned(), group);
    Ok(created(name))
}

fn fill(group: &mut Group, world: &World, body: &Map<String, Value>) -> Result<(), Refusal> {
    if let Some(description) = body.get("description").and_then(Value::as_str) {
        description.clone_into(&mut group.description);
    }
    let Some(members) = body.get("members").and_then(Value::as_array) else {
        return Ok(());
    };
    let members: Vec<String> = members
        .iter()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    if members.iter().any(|name| world.cluster.get(name).is_none()) {
        return Err(Refusal::new(500, world.profile.group_of_nobody));
    }
    group.members = members;
    Ok(())
}
