//! Storage pools and networks of clusters: they are made on each member first, and then for all.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::generic;
use super::kinds;
use super::placement::is_own;
use crate::call::{Answer, Call, Refusal, Reply, text};
use crate::daemon::Daemon;
use crate::state::collection::Place;
use crate::state::{World, cluster};

/// What pools and networks differ in.
struct Messages {
    store: &'static str,
    /// In the texts about members that have none yet.
    short: &'static str,
    /// In all others.
    long: &'static str,
    /// The code where a member is given what all have alike.
    common: u16,
}

const POOLS: Messages = Messages {
    store: "storage-pools",
    short: "Pool",
    long: "Storage pool",
    common: 500,
};

const NETWORKS: Messages = Messages {
    store: "networks",
    short: "Network",
    long: "Network",
    common: 400,
};

fn words(kind: &str) -> &'static Messages {
    if kind == "networks" {
        &NETWORKS
    } else {
        &POOLS
    }
}

fn place(world: &World, call: &Call, words: &Messages) -> Place {
    match words.store {
        "networks" => Place::of("networks", world.owner(call.project(), "networks")),
        store => Place::global(store),
    }
}

fn config(body: &Map<String, Value>) -> Map<String, Value> {
    let config = body.get("config").and_then(Value::as_object);
    config.cloned().unwrap_or_default()
}

/// `POST /1.0/storage-pools` and `/1.0/networks` in a cluster.
pub(crate) fn create(daemon: &Arc<Daemon>, call: &Call, kind: &str) -> Answer {
    let words = words(kind);
    let body = call.json()?;
    let name = text(&body, "name");
    if name.is_empty() {
        return Err(Refusal::new(400, "No name provided"));
    }
    match call.query("target").filter(|target| !target.is_empty()) {
        Some(target) => on_member(daemon, call, (words, name, target, &body)),
        None => for_all(daemon, call, (words, name, &body)),
    }
}

type OnMember<'a> = (&'a Messages, &'a str, &'a str, &'a Map<String, Value>);

fn on_member(daemon: &Daemon, call: &Call, (words, name, target, body): OnMember<'_>) -> Answer {
    let mut world = daemon.world();
    let place = place(&world, call, words);
    let shared: cluster::Shared = (words.store, name.to_owned());
    let stored = world.collections.get(&place, name).cloned();
    if stored
        .as_ref()
        .is_some_and(|stored| stored["status"] == "Created")
    {
        let text = format!("{} is not in pending state", words.long);
        return Err(Refusal::new(500, text));
    }
    if world.cluster.own_on(&shared, target).is_some() {
        let (code, text) = defined(daemon, words, name);
        return Err(Refusal::new(code, text.replace("{}", target)));
    }
    let own = config(body);
    if let Some(key) = own.keys().find(|key| !is_own(key)) {
        let text = format!("Config key \"{key}\" may not be used as member-specific key");
        return Err(Refusal::new(words.common, text));
    }
    let mut object = stored.unwrap_or_else(|| blank(words, name, body));
    world.cluster.own(shared).insert(target.to_owned(), own);
    if let Some(locations) = object["locations"].as_array_mut() {
        locations.push(json!(target));
    }
    world.collections.put(&place, name, object);
    Ok(Reply::Created(format!("/1.0/{}/{name}", words.store)))
}

fn defined(daemon: &Daemon, words: &Messages, name: &str) -> (u16, String) {
    if words.store == "storage-pools" {
        let text = "The storage pool already defined on member \"{}\"";
        (400, text.to_owned())
    } else if daemon.profile.is_incus() {
        let text = format!("Network \"{name}\" is already defined on member \"{{}}\"");
        (409, text)
    } else {
        let text = "The network is already defined on member \"{}\"";
        (400, text.to_owned())
    }
}

fn blank(words: &Messages, name: &str, body: &Map<String, Value>) -> Value {
    let text = |key: &str, default: &str| {
        let given = body.get(key).and_then(Value::as_str);
        json!(given.filter(|text| !text.is_empty()).unwrap_or(default))
    };
    let mut object = json!({
        "config": {}, "description": "", "name": name, "status": "Pending", "locations": [],
    });
    if words.store == "storage-pools" {
        object["driver"] = text("driver", "dir");
    } else {
        object["type"] = text("type", "bridge");
        object["managed"] = json!(true);
    }
    object
}

fn for_all(
    daemon: &Arc<Daemon>,
    call: &Call,
    (words, name, body): (&Messages, &str, &Map<String, Value>),
) -> Answer {
    let kind = kinds::by_path(words.store).ok_or_else(Refusal::not_found)?;
    let (place, pending) = {
        let mut world = daemon.world();
        let place = place(&world, call, words);
        let pending = world.collections.get(&place, name).cloned();
        is_complete(&mut world, (words, name), pending.as_ref())?;
        let created = pending
            .as_ref()
            .is_some_and(|pending| pending["status"] == "Created");
        if let (false, Some(key)) = (created, config(body).keys().find(|key| is_own(key))) {
            let text = format!("Config key \"{key}\" is cluster member specific");
            return Err(Refusal::new(500, text));
        }
        if !created {
            world.collections.remove(&place, name);
        }
        (place, pending)
    };
    // From here it goes as with a server that is alone.
    let made = generic::answer(daemon, call, (kind, "", &[]));
    let mut world = daemon.world();
    let object = match &made {
        Ok(_) => world.collections.get(&place, name).cloned().map(common),
        Err(_) => pending,
    };
    if let Some(object) = object {
        world.collections.put(&place, name, object);
    }
    made
}

/// A pool or a network without what its members have each for themselves.
pub(crate) fn common(mut object: Value) -> Value {
    if let Some(config) = object["config"].as_object_mut() {
        config.retain(|key, _| !is_own(key));
    }
    object
}

/// What there is already belongs to all members from now on.
pub(crate) fn share(world: &mut World) {
    for store in ["storage-pools", "networks"] {
        let all: Vec<(Place, String, Value)> = world
            .collections
            .every(store)
            .map(|(place, name, object)| (place.clone(), name.clone(), object.clone()))
            .collect();
        for (place, name, object) in all {
            world.collections.put(&place, &name, common(object));
        }
    }
}

/// Refuses what is not there on all members yet.
fn is_complete(
    world: &mut World,
    (words, name): (&Messages, &str),
    pending: Option<&Value>,
) -> Result<(), Refusal> {
    let Some(pending) = pending else {
        let short = words.short;
        let text = format!("{short} not pending on any node (use --target <node> first)");
        return Err(Refusal::new(500, text));
    };
    if pending["status"] == "Created" {
        // Of networks it is said as everywhere.
        return match words.store {
            "storage-pools" => Err(Refusal::new(500, "The storage pool is already created")),
            _ => Ok(()),
        };
    }
    let names = world.cluster.names();
    let own = world.cluster.own((words.store, name.to_owned()));
    let missing: Vec<String> = names
        .into_iter()
        .filter(|name| !own.contains_key(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let text = format!(
        "{} not defined on nodes: {}",
        words.short,
        missing.join(", ")
    );
    Err(Refusal::new(500, text))
}

/// `PUT` and `PATCH` of a pool or a network of a cluster: what members have each for themselves needs one that is named, and is
/// kept apart; `None` where the request is for all.
pub(crate) fn before(daemon: &Daemon, call: &Call, (kind, name): (&str, &str)) -> Option<Answer> {
    let edits = ["PUT", "PATCH"].contains(&call.method.as_str());
    let shared = ["storage-pools", "networks"].contains(&kind);
    if !edits || !shared || daemon.world().cluster.is_alone() {
        return None;
    }
    let body = call.json().ok()?;
    let given = config(&body);
    let target = call.query("target").filter(|target| !target.is_empty());
    let own: Map<String, Value> = given
        .iter()
        .filter(|(key, _)| is_own(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    match (target, own.keys().next()) {
        (None, Some(key)) => {
            let text = format!("Config key \"{key}\" is cluster member specific");
            Some(Err(Refusal::new(400, text)))
        }
        (Some(target), Some(_)) => {
            let mut world = daemon.world();
            let shared = (words(kind).store, name.to_owned());
            let kept = world.cluster.own(shared).entry(target.to_owned());
            kept.or_default().extend(own);
            Some(Ok(Reply::empty()))
        }
        _ => None,
    }
}

/// Forgets what members had of a pool or a network that is gone.
pub(crate) fn after(daemon: &Daemon, call: &Call, path: &[&str]) {
    if let ("DELETE", [kind @ ("storage-pools" | "networks"), name]) = (call.method.as_str(), path)
    {
        let shared = (words(kind).store, (*name).to_owned());
        daemon.world().cluster.forget(&shared);
    }
}
