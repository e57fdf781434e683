//! Who sends a request, and what it may do.

use std::sync::Arc;

use serde_json::Value;

use super::call::{Call, Refusal, Reply};
use super::daemon::Daemon;
use super::state::World;
use super::state::collection::Place;
use super::tls::fingerprint;

/// Who sends a request.
#[derive(Clone, Debug)]
pub(super) enum Peer {
    /// Through the unix socket.
    Local,
    /// Over HTTPS, with a certificate in DER, or with none.
    Remote(Option<Arc<[u8]>>),
}

/// What a sender may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Everything,
    /// What is in some projects: its certificate is restricted to them.
    Projects(Vec<String>),
    /// What is there for everybody: it is not trusted.
    Public,
}

/// What there is below `/1.0`: to those who are not trusted the rest is not there at all.
const KNOWN: [&str; 15] = [
    "certificates",
    "cluster",
    "events",
    "images",
    "instances",
    "network-acls",
    "network-allocations",
    "network-integrations",
    "network-zones",
    "networks",
    "operations",
    "profiles",
    "projects",
    "resources",
    "storage-pools",
];

impl Access {
    /// What the trust store says of a sender.
    pub(super) fn of(world: &World, peer: &Peer) -> Self {
        let certificate = match peer {
            Peer::Local => return Self::Everything,
            Peer::Remote(None) => return Self::Public,
            Peer::Remote(Some(der)) => fingerprint(der),
        };
        let stored = world
            .collections
            .get(&Place::global("certificates"), &certificate);
        match stored {
            Some(stored) if stored["type"] == "client" => {
                let projects = stored["projects"].as_array().into_iter().flatten();
                let projects = projects.filter_map(|name| name.as_str().map(str::to_owned));
                match &stored["restricted"] {
                    Value::Bool(true) => Self::Projects(projects.collect()),
                    _ => Self::Everything,
                }
            }
            _ => Self::Public,
        }
    }

    pub(super) fn allows(&self, project: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Projects(projects) => projects.iter().any(|name| name == project),
            Self::Public => false,
        }
    }
}

fn unauthorized() -> Refusal {
    Refusal::new(403, "not authorized")
}

/// Refuses what the sender may not do; `path` is below `/1.0`.
pub(super) fn check(daemon: &Daemon, call: &Call, path: &[&str]) -> Result<(), Refusal> {
    match &call.access {
        Access::Everything => Ok(()),
        Access::Public => is_public(daemon, call, path),
        Access::Projects(_) => is_within(daemon, call, path),
    }
}

fn is_public(daemon: &Daemon, call: &Call, path: &[&str]) -> Result<(), Refusal> {
    match (call.method.as_str(), path) {
        ("GET", ["images", "aliases"]) => Err(unauthorized()),
        // Of images they show the public ones; the sockets of operations and new certificates need a secret.
        (
            "GET",
            []
            | ["images"]
            | ["images", _]
            | ["images", "aliases", ..]
            | ["images", _, "export"]
            | ["operations", _, "websocket"],
        )
        | ("POST", ["certificates"]) => Ok(()),
        ("GET", ["metadata", "configuration"]) if daemon.profile.is_incus() => Ok(()),
        (_, [] | ["warnings", ..]) => Err(unauthorized()),
        (_, [kind, ..]) if KNOWN.contains(kind) => Err(unauthorized()),
        _ => Err(Refusal::not_found()),
    }
}

/// What is open to all who are trusted; what it says is another matter.
fn is_for_all(call: &Call, path: &[&str]) -> bool {
    match path {
        []
        | ["certificates" | "cluster" | "metadata" | "resources", ..]
        | ["projects" | "storage-pools" | "images"]
        | ["storage-pools", _]
        | ["storage-pools", _, "resources"]
        | ["images", "aliases", _, ..] => call.method == "GET",
        ["images", name, ..] => call.method == "GET" && *name != "aliases",
        ["projects", name] => call.method == "GET" && call.access.allows(name),
        ["operations", ..] => true,
        _ => false,
    }
}

fn is_within(daemon: &Daemon, call: &Call, path: &[&str]) -> Result<(), Refusal> {
    let profile = daemon.profile;
    let inside = call.access.allows(call.project()) && !call.all_projects();
    let refuse = |(code, text): (u16, &str), project: &str| {
        Err(Refusal::new(code, text.replace("{}", project)))
    };
    match (call.method.as_str(), path) {
        ("GET", ["storage-pools"]) if profile.is_incus() => {
            refuse((500, profile.restricted_server.1), "")
        }
        _ if is_for_all(call, path) => Ok(()),
        ("GET", ["projects", name]) => refuse(profile.restricted_one, name),
        ("GET", ["instances"]) if call.all_projects() && profile.is_incus() => Ok(()),
        ("GET", ["profiles", _]) if profile.is_incus() => Ok(()),
        ("GET", ["events"]) if !profile.is_incus() => Ok(()),
        ("POST", ["certificates"]) => Err(unauthorized()),
        (
            _,
            []
            | ["certificates" | "cluster" | "projects" | "warnings", ..]
            | ["storage-pools"]
            | ["storage-pools", _],
        ) => refuse(profile.restricted_server, ""),
        _ if inside => Ok(()),
        ("GET", ["network-acls"]) => refuse((403, profile.restricted_list.1), call.project()),
        ("GET", [_]) if path != ["events"] => refuse(profile.restricted_list, call.project()),
        _ => refuse(profile.restricted_one, call.project()),
    }
}

/// Leaves out of an answer what the sender may not see.
pub(super) fn hide_secrets(daemon: &Daemon, call: &Call, path: &[&str], reply: Reply) -> Reply {
    let Access::Projects(_) = &call.access else {
        return reply;
    };
    let cover = |pool: &mut Value| {
        pool["config"] = Value::Null;
        if let (false, Value::Array(used_by)) = (daemon.profile.is_incus(), &mut pool["used_by"]) {
            used_by.retain(|user| {
                let project = user.as_str().and_then(|user| user.split_once("?project="));
                call.access
                    .allows(project.map_or("default", |(_, project)| project))
            });
        }
    };
    match (path, reply) {
        (["projects"], Reply::Sync(Value::Array(mut all))) => {
            all.retain(|one| {
                let name = one["name"]
                    .as_str()
                    .or_else(|| one.as_str()?.rsplit('/').next());
                name.is_some_and(|name| call.access.allows(name))
            });
            Reply::Sync(Value::Array(all))
        }
        (["storage-pools"], Reply::Sync(Value::Array(mut all))) => {
            all.iter_mut()
                .filter(|pool| pool.is_object())
                .for_each(cover);
            Reply::Sync(Value::Array(all))
        }
        (["storage-pools", _], Reply::Sync(mut pool)) => {
            cover(&mut pool);
            Reply::Sync(pool)
        }
        (["storage-pools", _], Reply::Tagged(mut pool, tag)) => {
            cover(&mut pool);
            Reply::Tagged(pool, tag)
        }
        (_, reply) => reply,
    }
}
