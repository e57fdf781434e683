//! New instances: of an image, of another instance, of nothing.

use std::sync::Arc;

use serde_json::{Value, json};

use super::resources;
use super::wanted::Wanted;
use crate::api::{backups, kinds, snapshots, states};
use crate::call::{Answer, Call, Refusal, flag};
use crate::daemon::Daemon;
use crate::flavor::FlavorProfile;
use crate::lifecycle::{self, LifecycleEvent};
use crate::operations::{Spec, begin};
use crate::state::World;
use crate::state::image::Image;
use crate::state::instance::{Instance, Snapshot, Status};
use crate::state::tree::Tree;

/// `POST /1.0/instances`.
pub(super) fn create(daemon: &Arc<Daemon>, call: &Call) -> Answer {
    if call.header("content-type") == Some("application/octet-stream") {
        return backups::import(daemon, call);
    }
    let body = call.json()?;
    let world = daemon.world();
    let targeted = call
        .query("target")
        .is_some_and(|target| !target.is_empty());
    if targeted && world.cluster.is_alone() {
        return Err(Refusal::new(400, "Target only allowed when clustered"));
    }
    if world.project(call.project()).is_none() {
        return Err(Refusal::new(
            404,
            "Failed loading project: Project not found",
        ));
    }
    let wanted = Wanted::read(&world, call, body)?;
    kinds::full(&world, call.project())?;
    let kind = wanted.source("type");
    if !["image", "none", "copy", "migration"].contains(&kind) {
        return Err(Refusal::new(400, format!("Unknown source type {kind}")));
    }
    let mut names = vec![wanted.name.as_str()];
    if kind == "copy" {
        let of = wanted.source("source");
        let (instance, _) = of.split_once('/').unwrap_or((of, ""));
        // What comes from another member of a cluster is not named.
        if source_instance(&world, &wanted, instance)?.location == call.location {
            names.push(of);
        }
    }
    let alias = wanted.source("alias");
    let unknown = !alias.is_empty() && world.alias(&wanted.project, alias).is_none();
    if kind == "image" && unknown && !daemon.profile.is_incus() {
        return Err(Refusal::new(404, "Image alias not found"));
    }
    drop(world);
    let resources = resources(daemon, (&wanted.project, &names));
    let spec = Spec::task("Creating instance", &wanted.project, resources);
    let maker = daemon.clone();
    Ok(begin(daemon, (spec, call.fault), |_| async move {
        Ok(make(&maker, &wanted)?)
    }))
}

fn source_instance<'a>(
    world: &'a World,
    wanted: &Wanted,
    name: &str,
) -> Result<&'a Instance, Refusal> {
    let project = Some(wanted.source("project")).filter(|project| !project.is_empty());
    let project = project.unwrap_or(&wanted.project);
    world.instance(project, name).map_err(|_| {
        let text = format!(
            "Failed to fetch instance \"{name}\" in project \"{project}\": Instance not found"
        );
        Refusal::new(404, text)
    })
}

/// Does what the operation is for; the result is its metadata.
fn make(daemon: &Daemon, wanted: &Wanted) -> Result<Value, Refusal> {
    let profile = daemon.profile;
    let created = daemon.clock.text();
    let mut world = daemon.world();
    let (instance, snapshots) = match wanted.source("type") {
        "image" => (from_image(&world, wanted, created)?, Vec::new()),
        "copy" => {
            let (mut copy, snapshots) = from_copy(&world, wanted)?;
            copy.created.clone_from(&created);
            (copy, snapshots)
        }
        _ => {
            let tree = Tree::new(daemon.clock.now());
            let name = (wanted.project.as_str(), wanted.name.as_str());
            let mut empty = Instance::new(name, tree, created);
            let template = "volatile.apply_template".to_owned();
            empty.config.insert(template, json!("create"));
            (empty, Vec::new())
        }
    };
    let mut instance = wanted.apply(&world, instance)?;
    instance.snapshots = snapshots;
    let key = (wanted.project.clone(), wanted.name.clone());
    if world.instances.contains_key(&key) {
        let why = profile.instance_taken;
        let text =
            format!("Failed creating instance record: Add instance info to the database: {why}");
        return Err(Refusal::new(500, text));
    }
    let base = instance
        .config
        .get("volatile.base_image")
        .and_then(Value::as_str);
    if let (Some(base), "image") = (base, wanted.source("type")) {
        let image = (
            world.owner(&wanted.project, "images").to_owned(),
            base.to_owned(),
        );
        if let Some(image) = world.images.get_mut(&image) {
            image.used = daemon.clock.text();
        }
    }
    let born = Born::of(&world, wanted, &instance);
    world.instances.insert(key, instance);
    if profile.is_incus() && flag(&wanted.body, "start") {
        states::start(daemon, &mut world, (&wanted.project, &wanted.name));
    }
    drop(world);
    born.tell(daemon, wanted);
    if wanted.source("type") == "image" {
        return Ok(unpacked(profile));
    }
    Ok(Value::Null)
}

/// What an operation says that has unpacked an image.
pub(crate) fn unpacked(profile: &FlavorProfile) -> Value {
    let stage = "create_instance_from_image_unpack";
    json!({
        format!("{stage}_progress"): format!("{}: 100% (1.00GB/s)", profile.unpack),
        "progress": {"percent": "100", "speed": "1000000000", "stage": stage},
    })
}

/// What there is to tell of a new instance.
struct Born {
    context: Value,
    snapshots: Vec<String>,
    of_running: bool,
}

impl Born {
    fn of(world: &World, wanted: &Wanted, instance: &Instance) -> Self {
        let (_, devices) = world.expanded(instance);
        let root = devices.values().find(|device| device["path"] == "/");
        let pool = root.map(|root| root["pool"].clone());
        let mut context = json!({"type": instance.kind, "storage-pool": pool});
        if world.profile.is_incus() {
            context["location"] = json!(instance.location);
        }
        let source = source_instance(world, wanted, wanted.source("source"));
        Self {
            context,
            snapshots: instance
                .snapshots
                .iter()
                .map(|each| each.name.clone())
                .collect(),
            of_running: source.is_ok_and(|source| source.status == Status::Running),
        }
    }

    fn tell(self, daemon: &Daemon, wanted: &Wanted) {
        let (project, name) = (wanted.project.as_str(), wanted.name.as_str());
        let path = format!("instances/{name}");
        let created = LifecycleEvent::new("instance-created", (project, &path)).with(self.context);
        lifecycle::tell(daemon, &created);
        for snapshot in self.snapshots {
            let path = format!("{path}/snapshots/{snapshot}");
            let created = LifecycleEvent::new("instance-snapshot-created", (project, &path));
            lifecycle::tell(daemon, &created);
        }
        if self.of_running {
            let project = Some(wanted.source("project")).filter(|project| !project.is_empty());
            let project = project.unwrap_or(&wanted.project);
            states::tell_of_a_pause(daemon, (project, wanted.source("source")));
        }
        let running = daemon.world().instance(project, name).map(|new| new.status);
        if running == Ok(Status::Running) {
            lifecycle::tell(
                daemon,
                &LifecycleEvent::new("instance-started", (project, &path)),
            );
        }
    }
}

fn from_image(world: &World, wanted: &Wanted, created: String) -> Result<Instance, Refusal> {
    let image = match (wanted.source("fingerprint"), wanted.source("alias")) {
        ("", "") => {
            let properties = wanted
                .body
                .get("source")
                .map(|source| &source["properties"]);
            let properties = properties.and_then(Value::as_object);
            let owner = world.owner(&wanted.project, "images");
            properties.and_then(|properties| {
                let own = world
                    .images
                    .iter()
                    .filter(|((project, _), _)| project == owner);
                let fits = |image: &&Image| {
                    properties
                        .iter()
                        .all(|(key, value)| image.properties.get(key) == Some(value))
                };
                own.map(|(_, image)| image).find(fits)
            })
        }
        ("", alias) => {
            let fingerprint = world.alias(&wanted.project, alias);
            fingerprint.and_then(|fingerprint| world.image(&wanted.project, &fingerprint))
        }
        (fingerprint, _) => world.image(&wanted.project, fingerprint),
    };
    let image =
        image.ok_or_else(|| Refusal::new(500, "Image not provided for instance creation"))?;
    let name = (wanted.project.as_str(), wanted.name.as_str());
    let mut instance = Instance::new(name, image.tree.clone(), created);
    instance.architecture = image.architecture();
    instance.metadata = image.metadata.clone();
    for (key, value) in &image.properties {
        instance
            .config
            .insert(format!("image.{key}"), value.clone());
    }
    let mut set = |key: &str, value: &str| {
        instance
            .config
            .insert(format!("volatile.{key}"), json!(value));
    };
    set("apply_template", "create");
    set("base_image", &image.fingerprint);
    Ok(instance)
}

type Copied = (Instance, Vec<Snapshot>);

fn from_copy(world: &World, wanted: &Wanted) -> Result<Copied, Refusal> {
    let of = wanted.source("source");
    let (name, snapshot) = of.split_once('/').unwrap_or((of, ""));
    let source = source_instance(world, wanted, name)?;
    let to = (wanted.project.as_str(), wanted.name.as_str());
    let mut copy = if snapshot.is_empty() {
        source.copy(to, source.tree.copy())
    } else {
        let snapshot = snapshots::find(source, snapshot)
            .ok_or_else(|| snapshots::missing(world.profile, (source, snapshot)))?;
        snapshot.of.copy(to, snapshot.tree.clone())
    };
    copy.config
        .retain(|key, _| !key.starts_with("volatile.") || key == "volatile.base_image");
    copy.config
        .insert("volatile.apply_template".to_owned(), json!("copy"));
    if !world.profile.is_incus() && wanted.profiles.is_none() {
        // LXD leaves it to its clients to say which profiles a copy has.
        copy.profiles.clear();
    }
    let only = wanted
        .body
        .get("source")
        .is_some_and(|source| source["instance_only"] == true || source["container_only"] == true);
    let kept = if snapshot.is_empty() && !only {
        source.snapshots.clone()
    } else {
        Vec::new()
    };
    Ok((copy, kept))
}
