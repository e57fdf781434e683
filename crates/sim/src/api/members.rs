//! `/1.0/cluster`: the cluster itself and its members.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{evacuation, groups};
use crate::call::{Answer, Call, Refusal, Reply, etag, flag};
use crate::daemon::Daemon;
use crate::operations::{Failure, Spec, begin};
use crate::state::cluster::{Cluster, Member, Standing};
use crate::state::collection::Place;
use crate::state::{Key, World};

/// What is said where there is no cluster, on reading and on writing.
const ALONE: (u16, &str) = (500, "Server is not clustered");
const NO_CLUSTER: (u16, &str) = (400, "This server is not clustered");

fn missing() -> Refusal {
    Refusal::new(404, "Cluster member not found")
}

/// Answers for what is below `/1.0/cluster`.
pub(crate) fn answer(daemon: &Arc<Daemon>, call: &Call, path: &[&str]) -> Answer {
    let alone = daemon.world().cluster.is_alone();
    let refused = |(code, text): (u16, &str)| Err(Refusal::new(code, text));
    match (call.method.as_str(), path) {
        ("GET", []) => Ok(about(&daemon.world())),
        ("PUT", []) => enable(daemon, call),
        (_, ["groups", ..]) | ("POST", ["members"]) if alone => refused(NO_CLUSTER),
        (_, ["groups", rest @ ..]) => groups::answer(daemon, call, rest),
        (method, ["members", name, "state"]) => state(daemon, call, (method, name)),
        (_, ["members", ..]) if alone => refused(ALONE),
        ("GET", ["members"]) => Ok(list(&daemon.world(), call)),
        ("POST", ["members"]) => Err(Refusal::new(
            400,
            "A simulated cluster takes no more members: it is told how many it has when it starts",
        )),
        (method, ["members", name]) => one(daemon, call, (method, name)),
        (_, [] | ["certificate"]) => Err(Refusal::not_implemented()),
        _ => Err(Refusal::not_found()),
    }
}

fn about(world: &World) -> Reply {
    let members = world.cluster.members();
    let name = members.first().map_or("", |member| &member.name);
    let about = json!({
        "server_name": name, "enabled": !world.cluster.is_alone(), "member_config": [{
            "entity": "storage-pool", "name": "default", "key": "source", "value": "",
            "description": "\"source\" property for storage pool \"default\"",
        }],
    });
    let tag = etag(&about);
    Reply::Tagged(about, tag)
}

/// `PUT /1.0/cluster`: a daemon that is alone becomes a cluster's first member.
fn enable(daemon: &Arc<Daemon>, call: &Call) -> Answer {
    let body = call.json()?;
    let name = body.get("server_name").and_then(Value::as_str);
    let name = name.unwrap_or_default().to_owned();
    let enabled = flag(&body, "enabled");
    let joins = body.get("cluster_address").and_then(Value::as_str);
    let refused = |text: &str| Err(Refusal::new(400, text));
    match (enabled, name.is_empty()) {
        (true, true) => return refused("ServerName is required when enabling clustering"),
        (false, false) => return refused("ServerName must be empty when disabling clustering"),
        (false, true) => return Err(Refusal::not_implemented()),
        (true, false) if joins.is_some_and(|address| !address.is_empty()) => {
            return refused("A simulated daemon joins no cluster");
        }
        (true, false) => {}
    }
    let address = {
        let world = daemon.world();
        let address = world.config.get("core.https_address");
        address.and_then(Value::as_str).map(str::to_owned)
    };
    let Some(address) = address else {
        let text = "Cannot use wildcard core.https_address \"\" for cluster.https_address. Please specify a new cluster.https_address or core.https_address";
        return Err(Refusal::new(500, text));
    };
    let spec = Spec::task(
        "Creating bootstrap node",
        "default",
        json!({"cluster": null}),
    );
    let worker = daemon.clone();
    Ok(begin(daemon, (spec, call.fault), |_| async move {
        if !worker.world().cluster.is_alone() {
            let text = "Inconsistent state: found leftover cluster certificate";
            return Err(Failure::from(Refusal::new(500, text)));
        }
        worker.found_cluster(&[(name, address)]);
        Ok(Value::Null)
    }))
}

fn object(cluster: &Cluster, member: &Member) -> Value {
    let roles = cluster.roles(&member.name);
    let (status, message) = match member.standing {
        Standing::Online => ("Online", "Fully operational"),
        Standing::Evacuated => ("Evacuated", "Unavailable due to maintenance"),
    };
    json!({
        "roles": roles, "failure_domain": member.failure_domain,
        "description": member.description, "config": member.config,
        "groups": cluster.groups_of(&member.name), "server_name": member.name,
        "url": format!("https://{}", member.address), "database": roles.contains(&"database"),
        "status": status, "message": message, "architecture": std::env::consts::ARCH,
    })
}

fn list(world: &World, call: &Call) -> Reply {
    let all = world.cluster.members().iter();
    let all = all.map(|member| match call.recursion() {
        0 => json!(format!("/1.0/cluster/members/{}", member.name)),
        _ => object(&world.cluster, member),
    });
    Reply::Sync(all.collect())
}

fn one(daemon: &Arc<Daemon>, call: &Call, (method, name): (&str, &str)) -> Answer {
    let mut world = daemon.world();
    match method {
        "GET" => {
            let member = world.cluster.get(name).ok_or_else(missing)?;
            let object = object(&world.cluster, member);
            let tag = etag(&json!([
                object["config"],
                object["description"],
                object["groups"]
            ]));
            Ok(Reply::Tagged(object, tag))
        }
        "PUT" | "PATCH" => edit(&mut world, (name, &call.json()?), method),
        "POST" => {
            let body = call.json()?;
            let to = body.get("server_name").and_then(Value::as_str);
            let to = to.unwrap_or_default();
            if world.profile.is_incus() {
                world.cluster.get(name).ok_or_else(missing)?;
            }
            if world.cluster.get(to).is_some() {
                return Err(Refusal::new(409, "Conflict"));
            }
            world.cluster.get(name).ok_or_else(missing)?;
            world.cluster.rename(name, to);
            world.relocate(name, to);
            let here = world.cluster.here().to_owned();
            drop(world);
            daemon.set_here(here);
            Ok(Reply::empty())
        }
        "DELETE" => {
            // With `force` it goes with what is on it.
            let held = match call.query("force") {
                Some("1") => Vec::new(),
                _ => world.on_member(name),
            };
            remove(&mut world, name, &held)
        }
        _ => Err(Refusal::not_implemented()),
    }
}

/// A member leaves, unless these instances keep it.
fn remove(world: &mut World, name: &str, held: &[Key]) -> Answer {
    world.cluster.get(name).ok_or_else(missing)?;
    if name == world.cluster.here() {
        return Err(Refusal::new(
            400,
            "The member of a simulated cluster that answers cannot be removed",
        ));
    }
    if !held.is_empty() {
        let kind = world.profile.instances_word;
        let held: Vec<&str> = held.iter().map(|(_, name)| name.as_str()).collect();
        let text = format!("Node still has the following {kind}: {}", held.join(", "));
        return Err(Refusal::new(500, text));
    }
    for key in world.on_member(name) {
        world.instances.remove(&key);
    }
    world.cluster.leave(name);
    Ok(Reply::empty())
}

fn edit(world: &mut World, (name, body): (&str, &Map<String, Value>), method: &str) -> Answer {
    world.cluster.get(name).ok_or_else(missing)?;
    let roles = body.get("roles").and_then(Value::as_array);
    let keeps = roles.is_some_and(|roles| roles.iter().any(|role| role == "database"));
    if world.cluster.roles(name).contains(&"database") && !keeps {
        let text = "The \"database\" role cannot be dropped at this time";
        return Err(Refusal::new(400, text));
    }
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    if text("failure_domain").is_none_or(str::is_empty) && method == "PUT" {
        let text = "Update failure domain: Failure domain name can't be empty";
        return Err(Refusal::new(500, text));
    }
    let config = body.get("config").and_then(Value::as_object);
    let known = |key: &String| key.starts_with("user.") || key == "scheduler.instance";
    if let Some(key) = config
        .iter()
        .flat_map(|config| config.keys())
        .find(|key| !known(key))
    {
        let text = format!("Invalid cluster configuration key \"{key}\"");
        return Err(Refusal::new(500, text));
    }
    if let Some(groups) = body.get("groups").and_then(Value::as_array) {
        let wanted: Vec<&str> = groups.iter().filter_map(Value::as_str).collect();
        world.cluster.regroup(name, &wanted);
    }
    let member = world.cluster.get_mut(name).ok_or_else(missing)?;
    if method == "PUT" {
        member.config.clear();
        member.description.clear();
    }
    member.config.extend(config.cloned().unwrap_or_default());
    if let Some(description) = text("description") {
        description.clone_into(&mut member.description);
    }
    if let Some(domain) = text("failure_domain") {
        domain.clone_into(&mut member.failure_domain);
    }
    Ok(Reply::empty())
}

/// `/1.0/cluster/members/<name>/state`.
fn state(daemon: &Arc<Daemon>, call: &Call, (method, name): (&str, &str)) -> Answer {
    if method == "GET" && !daemon.profile.is_incus() {
        return Err(Refusal::not_implemented());
    }
    daemon.world().cluster.get(name).ok_or_else(missing)?;
    match method {
        "GET" => Ok(Reply::Sync(member_state(&daemon.world()))),
        "POST" => evacuation::answer(daemon, call, name),
        _ => Err(Refusal::not_implemented()),
    }
}

fn member_state(world: &World) -> Value {
    let place = Place::global("storage-pools");
    let pools = world.collections.list(&place);
    let pools: Map<String, Value> = pools
        .map(|(name, _)| (name.clone(), super::kinds::pool_resources()))
        .collect();
    json!({
        "sysinfo": {
            "uptime": 1, "load_averages": [0.0, 0.0, 0.0], "total_ram": 8_589_934_592_u64,
            "free_ram": 7_516_192_768_u64, "shared_ram": 0, "buffered_ram": 0, "total_swap": 0,
            "free_swap": 0, "processes": 1,
        },
        "storage_pools": pools,
    })
}
