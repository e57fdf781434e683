//! Clusters: which member carries out a request, and what of that its answer says.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::call::{Call, Refusal, Reply};
use crate::daemon::Daemon;
use crate::flavor::FlavorProfile;
use crate::operations;
use crate::state::World;
use crate::state::cluster::{Member, Standing};
use crate::state::collection::Place;

/// Where a request is carried out, and what must be known of it once it is.
#[derive(Debug)]
pub(crate) struct Way {
    /// The member's name; `none` where there is no cluster.
    pub(crate) location: String,
    /// What the answer says the operation's address is in: its project, where another member has it.
    project: Option<String>,
    /// The member that was asked for, of a pool, a network or a volume.
    target: Option<String>,
}

/// Decides by `?target=`, by where the thing is that it is about, and for new instances by how many there are on each member.
///
/// # Errors
/// When there is no such member, or it takes none.
pub(crate) fn direct(daemon: &Daemon, call: &Call, path: &[&str]) -> Result<Way, Refusal> {
    let world = daemon.world();
    let profile = daemon.profile;
    let target = call.query("target").filter(|target| !target.is_empty());
    let here = world.cluster.here().to_owned();
    let at_target = || match target {
        Some(target) if world.cluster.get(target).is_none() => {
            Err(Refusal::new(404, "Cluster member not found"))
        }
        target => Ok(target.map_or(here.clone(), str::to_owned)),
    };
    let location = match (call.method.as_str(), path) {
        ("POST", ["instances", _]) if world.cluster.is_alone() && target.is_some() => {
            let (code, text) = profile.moved_alone;
            return Err(Refusal::new(code, text));
        }
        ("POST", ["instances"]) if !world.cluster.is_alone() => {
            let member = chosen(&world, call, target)?.name.clone();
            comes_over(&world, call, &member)?;
            member
        }
        (method, ["instances", name, rest @ ..]) => match world.instance(call.project(), name) {
            Ok(instance) => instance.location.clone(),
            Err(_)
                if !world.cluster.is_alone()
                    && profile.is_incus()
                    && (method, rest) == ("POST", &[]) =>
            {
                let text = "Failed to get address of instance's member: Instance not found";
                return Err(Refusal::new(404, text));
            }
            Err(_) => here.clone(),
        },
        ("POST", ["cluster", "members", name, ..]) if world.cluster.get(name).is_some() => {
            (*name).to_owned()
        }
        (_, ["storage-pools", pool, "volumes", "custom", name, ..]) => {
            let wanted = at_target()?;
            match volume_at(&world, call, (pool, name)) {
                Some(location) if target.is_some() && location != wanted => {
                    return Err(Refusal::new(404, "Storage volume not found"));
                }
                location => location.unwrap_or(wanted),
            }
        }
        (_, [] | ["resources"] | ["storage-pools" | "networks", ..]) => at_target()?,
        _ => here.clone(),
    };
    let forwarded = match (call.method.as_str(), path) {
        ("POST", ["instances"]) => {
            !world.cluster.is_alone() && (!profile.is_incus() || location != here)
        }
        ("POST", ["instances", _, "exec" | "console"]) => location != here,
        _ => false,
    };
    Ok(Way {
        location,
        project: forwarded.then(|| call.project().to_owned()),
        target: target.map(str::to_owned),
    })
}

/// The member for a new instance.
fn chosen<'a>(world: &'a World, call: &Call, target: Option<&str>) -> Result<&'a Member, Refusal> {
    let none_fits = || Refusal::new(400, "No suitable cluster member could be found");
    is_found(world, call, target)?;
    let member = match target.map(|target| (target, target.strip_prefix('@'))) {
        None => {
            return world.emptiest(None, "").ok_or_else(none_fits);
        }
        Some((_, Some(group))) => {
            let found = world.cluster.groups.get(group);
            let text = format!("Cluster group \"{group}\" doesn't exist");
            let group = found.ok_or_else(|| Refusal::new(400, text))?;
            return world.emptiest(Some(group), "").ok_or_else(none_fits);
        }
        Some((name, None)) => member(world, name)?,
    };
    if member.standing == Standing::Evacuated {
        return Err(Refusal::new(403, "Cluster member is evacuated"));
    }
    Ok(member)
}

fn member<'a>(world: &'a World, name: &str) -> Result<&'a Member, Refusal> {
    let found = world.cluster.get(name);
    found.ok_or_else(|| Refusal::new(404, world.profile.no_target.replace("{}", name)))
}

/// Refuses an image that is not there, where Incus looks for it before it chooses.
fn is_found(world: &World, call: &Call, target: Option<&str>) -> Result<(), Refusal> {
    let source = call
        .json()
        .ok()
        .and_then(|body| body.get("source").cloned());
    let source = source.unwrap_or_default();
    let alias = source["alias"].as_str().unwrap_or_default();
    let unknown = !alias.is_empty() && world.alias(call.project(), alias).is_none();
    if source["type"] == "image" && unknown && target.is_none() && world.profile.is_incus() {
        let text = "No fingerprint prefix specified for the image";
        return Err(Refusal::new(500, text));
    }
    Ok(())
}

/// Refuses a copy that comes from another member and does not say for which architecture it is.
fn comes_over(world: &World, call: &Call, to: &str) -> Result<(), Refusal> {
    let Ok(body) = call.json() else {
        return Ok(());
    };
    let source = body.get("source").cloned().unwrap_or_default();
    let of = source["source"].as_str().unwrap_or_default();
    let (name, _) = of.split_once('/').unwrap_or((of, ""));
    let project = source["project"].as_str().unwrap_or(call.project());
    let elsewhere = world.instance(project, name);
    let elsewhere = elsewhere.is_ok_and(|instance| instance.location != to);
    if source["type"] == "copy" && elsewhere && !body.contains_key("architecture") {
        return Err(Refusal::new(400, "Architecture isn't supported: "));
    }
    Ok(())
}

fn volume_at(world: &World, call: &Call, (pool, name): (&str, &str)) -> Option<String> {
    let owner = world.owner(call.project(), "storage.volumes");
    let place = Place::of("volumes", owner).below(pool);
    let volume = world.collections.get(&place, name)?;
    volume["location"].as_str().map(str::to_owned)
}

/// The keys of pools and networks that each member has a value of its own for.
const OWN_KEYS: [&str; 10] = [
    "bgp.ipv4.nexthop",
    "bgp.ipv6.nexthop",
    "bridge.external_interfaces",
    "lvm.thinpool_name",
    "lvm.vg_name",
    "parent",
    "size",
    "source",
    "volatile.initial_source",
    "zfs.pool_name",
];

/// Whether a pool's or a network's setting differs by member.
pub(crate) fn is_own(key: &str) -> bool {
    OWN_KEYS.contains(&key)
}

/// What an answer says of where it was carried out.
pub(crate) fn settle(daemon: &Arc<Daemon>, (way, path): (&Way, &[&str]), reply: Reply) -> Reply {
    match reply {
        Reply::Async(operation) => {
            let id = operation["id"].as_str().unwrap_or_default();
            let operation = operations::locate(daemon, id, &way.location).unwrap_or(operation);
            match &way.project {
                Some(project) => Reply::Forwarded(operation, project.clone()),
                None => Reply::Async(operation),
            }
        }
        Reply::Sync(value) => Reply::Sync(located(&daemon.world(), (way, path), value)),
        Reply::Tagged(value, tag) => {
            Reply::Tagged(located(&daemon.world(), (way, path), value), tag)
        }
        other => other,
    }
}

/// Pools, networks and volumes as a member of a cluster shows them.
fn located(world: &World, (way, path): (&Way, &[&str]), mut value: Value) -> Value {
    if world.cluster.is_alone() {
        return value;
    }
    match (path, &mut value) {
        (["storage-pools" | "networks"], Value::Array(all)) => {
            for object in all.iter_mut() {
                share(world, (path[0], way.target.as_deref()), object);
            }
        }
        (["storage-pools" | "networks", _], object) => {
            share(world, (path[0], way.target.as_deref()), object);
        }
        (["storage-pools", pool, "volumes", ..], Value::Array(all)) if path.len() <= 4 => {
            let shown = std::mem::take(all).into_iter();
            *all = shown
                .filter_map(|volume| on_member(world, (pool, way.target.as_deref()), volume))
                .collect();
        }
        _ => {}
    }
    value
}

/// A pool or a network with the members that have it, and with one member's own settings or without any.
fn share(world: &World, (kind, target): (&str, Option<&str>), object: &mut Value) {
    if object["status"] == "Created" {
        object["locations"] = json!(world.cluster.names());
    }
    let name = object["name"].as_str().unwrap_or_default().to_owned();
    let Some(config) = object.get_mut("config").and_then(Value::as_object_mut) else {
        return;
    };
    config.retain(|key, _| !is_own(key));
    let Some(target) = target else {
        return;
    };
    let kind = if kind == "networks" {
        "networks"
    } else {
        "storage-pools"
    };
    if kind == "storage-pools" {
        config.insert("source".to_owned(), json!(source(world.profile, &name)));
    }
    let own = world.cluster.own_on(&(kind, name), target);
    config.extend(own.cloned().unwrap_or_else(Map::new));
    config.sort_keys();
}

fn source(profile: &FlavorProfile, pool: &str) -> String {
    format!("/var/lib/{}/storage-pools/{pool}", profile.name)
}

/// A volume of a list with its member, where that is the one that was asked for.
fn on_member(world: &World, (pool, target): (&str, Option<&str>), volume: Value) -> Option<Value> {
    let Some(path) = volume.as_str() else {
        let wanted = target.is_none_or(|target| volume["location"] == target);
        return wanted.then_some(volume);
    };
    let (path, project) = path.split_once("?project=").unwrap_or((path, "default"));
    let name = path.rsplit('/').next().unwrap_or_default();
    let place = Place::of("volumes", project).below(pool);
    let object = world.collections.get(&place, name)?;
    let location = object["location"].as_str().unwrap_or_default();
    let wanted = target.is_none_or(|target| location == target);
    let project = match project {
        "default" => String::new(),
        project => format!("project={project}&"),
    };
    wanted.then(|| json!(format!("{path}?{project}target={location}")))
}

/// Notes where a volume is that was made.
pub(crate) fn note_volume(daemon: &Daemon, call: &Call, (pool, rest): (&str, &[&str])) {
    let makes = call.method == "POST" && matches!(rest, ["volumes"] | ["volumes", "custom"]);
    if !makes {
        return;
    }
    let mut world = daemon.world();
    let owner = world.owner(call.project(), "storage.volumes");
    let place = Place::of("volumes", owner).below(pool);
    let name = call.json().ok().and_then(|body| {
        let name = body.get("name")?.as_str()?;
        Some(name.to_owned())
    });
    let Some(name) = name else {
        return;
    };
    let stored = world.collections.get(&place, &name).cloned();
    if let Some(mut volume) = stored {
        volume["location"] = json!(call.location);
        world.collections.put(&place, &name, volume);
    }
}
