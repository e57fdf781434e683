//! What has happened to resources, as lifecycle events tell it.

use serde_json::{Map, Value, json};

use super::call::{Call, Refusal, Reply};
use super::daemon::Daemon;
use super::events::Event;
use super::state::collection::Place;

/// What happened to what.
#[derive(Clone, Debug)]
pub(super) struct LifecycleEvent {
    pub(super) action: String,
    /// The resource's path below `/1.0/`; empty for the server itself.
    pub(super) path: String,
    pub(super) project: String,
    /// More about it by name; none is told where there is nothing.
    pub(super) context: Value,
    /// What goes with it, and is told before.
    parts: Vec<LifecycleEvent>,
}

impl LifecycleEvent {
    pub(super) fn new(action: impl Into<String>, (project, path): (&str, &str)) -> Self {
        Self {
            action: action.into(),
            path: path.to_owned(),
            project: project.to_owned(),
            context: Value::Null,
            parts: Vec::new(),
        }
    }

    pub(super) fn with(self, context: Value) -> Self {
        Self { context, ..self }
    }

    /// Whether the event says who asked for it.
    fn is_asked_for(&self, daemon: &Daemon) -> bool {
        let what = self.action.as_str();
        let by_nobody = [
            "instance-file-",
            "instance-backup-",
            "instance-updated",
            "instance-console-reset",
        ];
        let in_operations = [
            "instance-created",
            "instance-deleted",
            "instance-renamed",
            "instance-restored",
            "instance-snapshot-",
            "instance-exec",
        ];
        let is = |actions: &[&str]| actions.iter().any(|action| what.starts_with(action));
        !is(&by_nobody) && (daemon.profile.is_incus() || !is(&in_operations))
    }

    fn source(&self) -> String {
        let whole = format!("/1.0/{}", self.path);
        let whole = whole.trim_end_matches('/');
        if self.project == "default" || self.path.starts_with("projects/") {
            whole.to_owned()
        } else {
            format!("{whole}?project={}", self.project)
        }
    }
}

/// Tells who listens.
pub(super) fn tell(daemon: &Daemon, happening: &LifecycleEvent) {
    for part in &happening.parts {
        tell(daemon, part);
    }
    let mut metadata = json!({"action": happening.action, "source": happening.source()});
    if !happening.context.is_null() {
        metadata["context"] = happening.context.clone();
    }
    if happening.is_asked_for(daemon) {
        metadata["requestor"] = json!({"username": "root", "protocol": "unix", "address": "@"});
    }
    let instance = happening.path.strip_prefix("instances/");
    if let (true, Some(name)) = (daemon.profile.is_incus(), instance)
        && !name.contains('/')
    {
        metadata["name"] = json!(name);
        metadata["project"] = json!(happening.project);
    }
    let news = Event {
        kind: "lifecycle",
        project: &happening.project,
        metadata,
    };
    daemon.events.send(daemon, &news);
}

/// What a request makes happen, if it succeeds: all but what happens to instances themselves, which their own part
/// tells.
pub(super) fn of(daemon: &Daemon, call: &Call) -> Option<LifecycleEvent> {
    if !daemon.events.is_heard() {
        return None;
    }
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    match path.strip_prefix(&["1.0"])? {
        [] if call.method == "PUT" || call.method == "PATCH" => {
            Some(LifecycleEvent::new("config-updated", ("default", "")))
        }
        ["images", rest @ ..] => image(daemon, call, rest),
        ["instances", name, rest @ ..] => below_instance(call, (name, rest)),
        ["storage-pools", pool, "volumes", rest @ ..] => volume(daemon, call, (pool, rest)),
        ["networks", network, "forwards", rest @ ..] => {
            let below = (
                "network-forward",
                format!("networks/{network}/forwards"),
                rest,
            );
            below_network(daemon, call, ("networks", below))
        }
        ["network-zones", zone, "records", rest @ ..] => {
            let below = (
                "network-zone-record",
                format!("network-zones/{zone}/records"),
                rest,
            );
            below_network(daemon, call, (daemon.profile.zones_feature, below))
        }
        [kind, rest @ ..] => plain(daemon, call, (kind, rest)),
        [] => None,
    }
}

/// Tells of it at once, or when the operation that does it has succeeded.
pub(super) fn follow(daemon: &Daemon, reply: &Reply, happening: LifecycleEvent) {
    match reply {
        Reply::Async(operation) if operation["class"] == "task" => {
            daemon.operations.follow(&operation["id"], happening);
        }
        _ => tell(daemon, &happening),
    }
}

/// The body of a request, as far as it is one.
fn body(call: &Call) -> Map<String, Value> {
    call.json().unwrap_or_default()
}

fn name_in(call: &Call) -> String {
    let body = body(call);
    let name = body.get("name").or_else(|| body.get("listen_address"));
    let name = name.and_then(Value::as_str);
    name.unwrap_or_default().to_owned()
}

/// What is done to a resource of a kind: to a new one by the name in the body, to one that there is by its own.
fn usual(call: &Call, (kind, folder): (&str, &str), name: Option<&str>) -> Option<LifecycleEvent> {
    let (project, new) = (call.project(), name_in(call));
    let (verb, name) = match (call.method.as_str(), name) {
        ("POST", None) => ("created", new.as_str()),
        ("POST", Some(_)) => ("renamed", new.as_str()),
        ("PUT" | "PATCH", Some(name)) => ("updated", name),
        ("DELETE", Some(name)) => ("deleted", name),
        _ => return None,
    };
    let happening = LifecycleEvent::new(
        format!("{kind}-{verb}"),
        (project, &format!("{folder}/{name}")),
    );
    Some(happening)
}

fn renamed(happening: LifecycleEvent, old: &str) -> LifecycleEvent {
    if happening.action.ends_with("-renamed") {
        return happening.with(json!({"old_name": old}));
    }
    happening
}

fn plain(daemon: &Daemon, call: &Call, (kind, rest): (&str, &[&str])) -> Option<LifecycleEvent> {
    let (word, feature) = match kind {
        "profiles" => ("profile", "profiles"),
        "networks" => ("network", "networks"),
        "network-acls" => ("network-acl", "networks"),
        "network-zones" => ("network-zone", daemon.profile.zones_feature),
        "projects" => ("project", ""),
        "storage-pools" => ("storage-pool", ""),
        _ => return None,
    };
    let name = match rest {
        [] => None,
        [name] => Some(*name),
        _ => return None,
    };
    let mut happening = usual(call, (word, kind), name)?;
    happening.project = match kind {
        "projects" => happening.path["projects/".len()..].to_owned(),
        "storage-pools" => "default".to_owned(),
        _ => daemon.world().owner(call.project(), feature).to_owned(),
    };
    Some(renamed(happening, name.unwrap_or_default()))
}

/// What is in a network or a zone.
fn below_network(
    daemon: &Daemon,
    call: &Call,
    (feature, (kind, folder, rest)): (&str, (&str, String, &[&str])),
) -> Option<LifecycleEvent> {
    if rest.len() > 1 {
        return None;
    }
    let mut happening = usual(call, (kind, &folder), rest.first().copied())?;
    let world = daemon.world();
    let owner = world.owner(call.project(), feature);
    owner.clone_into(&mut happening.project);
    Some(happening)
}

/// Of some kinds real daemons say that they were changed where the change was refused, once they have understood it.
pub(super) fn is_told_all_the_same(happening: &LifecycleEvent, refusal: &Refusal) -> bool {
    let kinds = [
        "profile-updated",
        "network-updated",
        "project-updated",
        "storage-pool-updated",
    ];
    let understood = !["json: ", "invalid character", "EOF", "unexpected EOF"]
        .iter()
        .any(|words| refusal.text.starts_with(words));
    // What a device needs may be missing too.
    let found = refusal.code != 404 || refusal.text.starts_with("Device ");
    let found = found && refusal.code != 412;
    kinds.contains(&happening.action.as_str()) && understood && found
}

fn image(daemon: &Daemon, call: &Call, rest: &[&str]) -> Option<LifecycleEvent> {
    let project = call.project();
    match (call.method.as_str(), rest) {
        // Which fingerprint it has is known at the end.
        ("POST", []) => {
            let context = json!({"type": "container"});
            Some(LifecycleEvent::new("image-created", (project, "images/")).with(context))
        }
        (_, ["aliases"]) => {
            let context = json!({"target": body(call).get("target")});
            Some(usual(call, ("image-alias", "images/aliases"), None)?.with(context))
        }
        (method, ["aliases", name]) => {
            let happening = usual(call, ("image-alias", "images/aliases"), Some(name))?;
            if method != "PUT" && method != "PATCH" {
                return Some(renamed(happening, name));
            }
            let given = body(call).get("target").cloned();
            let known = || daemon.world().alias(project, name).map(Value::String);
            Some(happening.with(json!({"target": given.or_else(known)})))
        }
        (method, [fingerprint, rest @ ..]) => {
            let what = match (method, rest) {
                ("PUT" | "PATCH", []) => "image-updated",
                ("DELETE", []) => "image-deleted",
                ("POST", ["secret"]) => "image-secret-created",
                ("GET", ["export"]) => "image-retrieved",
                _ => return None,
            };
            let world = daemon.world();
            let whole = world.image(project, fingerprint)?.fingerprint.clone();
            Some(LifecycleEvent::new(
                what,
                (project, &format!("images/{whole}")),
            ))
        }
        _ => None,
    }
}

fn below_instance(call: &Call, (name, rest): (&str, &[&str])) -> Option<LifecycleEvent> {
    let project = call.project();
    let own = format!("instances/{name}");
    let file = |what: &str| {
        let context = json!({"path": call.query("path")});
        Some(LifecycleEvent::new(what, (project, &own)).with(context))
    };
    match (call.method.as_str(), rest) {
        ("POST", []) => {
            let path = format!("instances/{}", name_in(call));
            let happening = LifecycleEvent::new("instance-renamed", (project, &path));
            Some(renamed(happening, name))
        }
        ("GET", ["files"]) => file("instance-file-retrieved"),
        ("POST", ["files"]) => file("instance-file-pushed"),
        ("DELETE", ["files"]) => file("instance-file-deleted"),
        ("GET", ["metadata"]) => {
            let path = format!("{own}/metadata");
            Some(LifecycleEvent::new(
                "instance-metadata-retrieved",
                (project, &path),
            ))
        }
        ("GET", ["backups", backup, "export"]) => {
            let path = format!("{own}/backups/{backup}");
            Some(LifecycleEvent::new(
                "instance-backup-retrieved",
                (project, &path),
            ))
        }
        (_, ["backups", rest @ ..]) if rest.len() < 2 => {
            let folder = format!("{own}/backups");
            let old = rest.first().copied();
            let happening = usual(call, ("instance-backup", &folder), old)?;
            Some(renamed(happening, old.unwrap_or_default()))
        }
        ("POST" | "DELETE", ["snapshots", snapshot]) => {
            let folder = format!("{own}/snapshots");
            let happening = usual(call, ("instance-snapshot", &folder), Some(snapshot))?;
            Some(renamed(happening, &format!("{name}/{snapshot}")))
        }
        _ => None,
    }
}

/// Volumes are called by their projects too.
fn volume(daemon: &Daemon, call: &Call, (pool, rest): (&str, &[&str])) -> Option<LifecycleEvent> {
    let folder = |kind: &str| format!("storage-pools/{pool}/volumes/{kind}");
    let named = |kind: &str, name: &str| format!("{}/{}_{name}", folder(kind), call.project());
    let told = match (call.method.as_str(), rest) {
        ("POST", []) => {
            let kind = body(call)
                .get("type")
                .and_then(Value::as_str)
                .map(str::to_owned)?;
            ("storage-volume-created", named(&kind, &name_in(call)), kind)
        }
        ("POST", [kind]) => {
            let path = named(kind, &name_in(call));
            ("storage-volume-created", path, (*kind).to_owned())
        }
        ("POST", [kind, volume, "snapshots"]) => {
            let path = format!("{}/snapshots/{}", named(kind, volume), name_in(call));
            ("storage-volume-snapshot-created", path, (*kind).to_owned())
        }
        ("PUT" | "PATCH", [kind, volume]) => {
            ("storage-volume-updated", named(kind, volume), String::new())
        }
        ("POST", [kind, volume]) => {
            let happening = LifecycleEvent::new(
                "storage-volume-renamed",
                (call.project(), &named(kind, &name_in(call))),
            );
            return Some(renamed(happening, volume));
        }
        ("DELETE", [kind, volume]) => {
            let path = named(kind, volume);
            let place = Place::of("volume-snapshots", call.project());
            let place = place.below(&format!("{pool}/volumes/{kind}/{volume}"));
            let world = daemon.world();
            let parts = world.collections.list(&place).map(|(snapshot, _)| {
                let path = format!("{path}/snapshots/{snapshot}");
                LifecycleEvent::new("storage-volume-snapshot-deleted", (call.project(), &path))
            });
            let happening = LifecycleEvent::new("storage-volume-deleted", (call.project(), &path));
            return Some(LifecycleEvent {
                parts: parts.collect(),
                ..happening
            });
        }
        ("DELETE", [kind, volume, "snapshots", snapshot]) => {
            let path = format!("{}/snapshots/{snapshot}", named(kind, volume));
            ("storage-volume-snapshot-deleted", path, String::new())
        }
        _ => return None,
    };
    let (what, path, kind) = told;
    let happening = LifecycleEvent::new(what, (call.project(), &path));
    Some(match kind.as_str() {
        "" => happening,
        kind => happening.with(json!({"type": kind})),
    })
}
