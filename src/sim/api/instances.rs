//! Instances: the collection and its members.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::valid::{self, Owner};
use super::{filter, generic, kinds, nics, snapshots, states};
use crate::sim::brand::Traits;
use crate::sim::call::{Answer, Call, Refusal, Reply, etag, uuid};
use crate::sim::daemon::Daemon;
use crate::sim::lifecycle::{self, Happening};
use crate::sim::operations::{Failure, Spec, begin};
use crate::sim::state::instance::{Instance, Status};
use crate::sim::state::tree::Tree;
use crate::sim::state::{Key, World, archive, url};

/// What an operation says it is about: LXD names the old paths too.
pub(crate) fn resources(daemon: &Daemon, (project, names): (&str, &[&str])) -> Value {
    let incus = daemon.traits.is_incus();
    let project = if incus { project } else { "default" };
    let paths = |kind: &str| -> Vec<String> {
        let paths = names
            .iter()
            .map(|name| format!("{kind}/{}", escaped(incus, name)));
        paths.map(|path| url(&path, project)).collect()
    };
    if incus {
        json!({"instances": paths("instances")})
    } else {
        json!({"containers": paths("containers"), "instances": paths("instances")})
    }
}

fn escaped(incus: bool, name: &str) -> String {
    if incus {
        name.replace('/', "%2F")
    } else {
        name.to_owned()
    }
}

/// `/1.0/instances`.
pub(crate) fn collection(daemon: &Arc<Daemon>, call: &Call) -> Answer {
    match call.method.as_str() {
        "GET" => list(&daemon.world(), call),
        "POST" => create(daemon, call),
        "PUT" => states::all(daemon, call),
        _ => Err(Refusal::not_implemented()),
    }
}

fn list(world: &World, call: &Call) -> Answer {
    let mut entries = Vec::new();
    for instance in world.instances.values() {
        if !call.all_projects() && instance.project != call.project() {
            continue;
        }
        if !call.access.allows(&instance.project) {
            continue;
        }
        if call
            .query("instance-type")
            .is_some_and(|kind| !kind.is_empty() && kind != instance.kind)
        {
            continue;
        }
        if call.query("filter").is_some() && !filter::holds(call, &world.instance_object(instance))?
        {
            continue;
        }
        entries.push(match call.recursion() {
            0 => json!(url(
                &format!("instances/{}", instance.name),
                &instance.project
            )),
            1 => world.instance_object(instance),
            _ => full(world, instance),
        });
    }
    Ok(Reply::Sync(Value::Array(entries)))
}

/// An instance with its state, snapshots and backups.
fn full(world: &World, instance: &Instance) -> Value {
    let mut object = world.instance_object(instance);
    let some = |list: Vec<Value>| {
        if list.is_empty() {
            Value::Null
        } else {
            Value::Array(list)
        }
    };
    let backups = instance.backups.iter();
    object["backups"] = some(backups.map(super::backups::object(world.traits)).collect());
    object["state"] = states::object(world, instance);
    let snapshots = instance.snapshots.iter();
    object["snapshots"] = some(snapshots.map(|each| world.snapshot_object(each)).collect());
    object
}

/// `/1.0/instances/<name>`.
pub(crate) fn one(daemon: &Arc<Daemon>, call: &Call, name: &str) -> Answer {
    let key: Key = (call.project().to_owned(), name.to_owned());
    match call.method.as_str() {
        "GET" => {
            let world = daemon.world();
            let instance = world.instance(&key.0, name)?;
            let object = if call.recursion() > 0 {
                full(&world, instance)
            } else {
                world.instance_object(instance)
            };
            let tag = etag(&instance.editable());
            Ok(Reply::Tagged(object, tag))
        }
        "PUT" => put(daemon, call, key),
        "PATCH" => patch(daemon, call, &key),
        "POST" => rename(daemon, call, key),
        "DELETE" => delete(daemon, call, key),
        _ => Err(Refusal::not_implemented()),
    }
}

/// What a body says of a new instance.
struct Wanted {
    project: String,
    name: String,
    body: Map<String, Value>,
    config: Map<String, Value>,
    devices: Map<String, Value>,
    profiles: Option<Vec<String>>,
    /// The member of a cluster that is to have it, and the group of members that it was chosen from.
    location: String,
    group: Option<String>,
}

impl Wanted {
    fn read(world: &World, call: &Call, body: Map<String, Value>) -> Result<Self, Refusal> {
        let project = call.project().to_owned();
        let config = valid::texts(&body, ("config", "InstancesPost.config"))?;
        let devices = body.get("devices").and_then(Value::as_object).cloned();
        let profiles = body.get("profiles").and_then(Value::as_array);
        let profiles = profiles.map(|profiles| {
            let names = profiles.iter().filter_map(Value::as_str);
            names.map(str::to_owned).collect::<Vec<_>>()
        });
        let missing = profiles
            .iter()
            .flatten()
            .find(|name| world.profile(&project, name).is_none());
        if let Some(name) = missing {
            return Err(Refusal::new(
                500,
                format!("Requested profile \"{name}\" doesn't exist"),
            ));
        }
        let name = body.get("name").and_then(Value::as_str).unwrap_or_default();
        let name = if name.is_empty() {
            format!("sim-{}", &uuid()[..8])
        } else {
            name.to_owned()
        };
        valid::instance_name(&name)?;
        let group = call
            .query("target")
            .and_then(|target| target.strip_prefix('@'));
        Ok(Self {
            location: call.location.clone(),
            group: group.map(str::to_owned),
            project,
            name,
            config: config.unwrap_or_default(),
            devices: devices.unwrap_or_default(),
            profiles,
            body,
        })
    }

    fn text(&self, key: &str) -> &str {
        self.body
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    fn source(&self, key: &str) -> &str {
        self.body
            .get("source")
            .and_then(|source| source[key].as_str())
            .unwrap_or_default()
    }

    /// The instance that this makes of what its source gives.
    fn apply(&self, world: &World, mut instance: Instance) -> Result<Instance, Refusal> {
        let failed = |refusal: Refusal| {
            let text = format!("Failed creating instance record: {}", refusal.text);
            Refusal::new(refusal.code, text)
        };
        let initializing = |refusal: Refusal| {
            let doing = world.traits.initializing;
            let text = format!("Failed {doing} instance: {}", refusal.text);
            failed(Refusal::new(refusal.code, text))
        };
        let kind = Some(self.text("type")).filter(|kind| !kind.is_empty());
        let owner = Owner::Instance(kind.unwrap_or(&instance.kind));
        valid::config(&self.config, (world.traits.brand, owner))
            .map_err(|why| failed(Refusal::new(500, why)))?;
        valid::devices(world, (&self.project, &self.devices)).map_err(|wrong| {
            let refusal = wrong.refusal(500);
            let text = format!("Invalid devices: {}", refusal.text);
            initializing(Refusal::new(refusal.code, text))
        })?;
        valid::added(world, &self.project, (&Map::new(), &self.devices)).map_err(initializing)?;
        if let Some(profiles) = &self.profiles {
            instance.profiles.clone_from(profiles);
        }
        instance.config.extend(self.config.clone());
        instance.devices.extend(self.devices.clone());
        instance.ephemeral = self.body.get("ephemeral").is_some_and(|is| is == true);
        if !self.text("description").is_empty() {
            self.text("description")
                .clone_into(&mut instance.description);
        }
        if !self.text("type").is_empty() {
            self.text("type").clone_into(&mut instance.kind);
        }
        instance.location.clone_from(&self.location);
        if let (Some(group), true) = (&self.group, world.traits.is_incus()) {
            let key = "volatile.cluster.group".to_owned();
            instance.config.insert(key, json!(group));
        }
        instance.set_volatile(world.traits);
        let (_, devices) = world.expanded(&instance);
        nics::settle(world.traits, &mut instance, &devices);
        if !devices
            .values()
            .any(|device| device["type"] == "disk" && device["path"] == "/")
        {
            let text = "Failed getting root disk: No root device could be found";
            return Err(initializing(Refusal::new(500, text)));
        }
        Ok(instance)
    }
}

/// `POST /1.0/instances`.
fn create(daemon: &Arc<Daemon>, call: &Call) -> Answer {
    if call.header("content-type") == Some("application/octet-stream") {
        return super::backups::import(daemon, call);
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
    if kind == "image" && unknown && !daemon.traits.is_incus() {
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
    let traits = daemon.traits;
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
        let why = traits.instance_taken;
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
    if traits.is_incus() && wanted.body.get("start").is_some_and(|start| start == true) {
        states::start(daemon, &mut world, (&wanted.project, &wanted.name));
    }
    drop(world);
    born.tell(daemon, wanted);
    if wanted.source("type") == "image" {
        return Ok(unpacked(traits));
    }
    Ok(Value::Null)
}

/// What an operation says that has unpacked an image.
pub(crate) fn unpacked(traits: &Traits) -> Value {
    let stage = "create_instance_from_image_unpack";
    json!({
        format!("{stage}_progress"): format!("{}: 100% (1.00GB/s)", traits.unpack),
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
        if world.traits.is_incus() {
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
        let created = Happening::new("instance-created", (project, &path)).with(self.context);
        lifecycle::tell(daemon, &created);
        for snapshot in self.snapshots {
            let path = format!("{path}/snapshots/{snapshot}");
            let created = Happening::new("instance-snapshot-created", (project, &path));
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
                &Happening::new("instance-started", (project, &path)),
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
                let fits = |image: &&crate::sim::state::image::Image| {
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

type Copied = (Instance, Vec<crate::sim::state::instance::Snapshot>);

fn from_copy(world: &World, wanted: &Wanted) -> Result<Copied, Refusal> {
    let of = wanted.source("source");
    let (name, snapshot) = of.split_once('/').unwrap_or((of, ""));
    let source = source_instance(world, wanted, name)?;
    let to = (wanted.project.as_str(), wanted.name.as_str());
    let mut copy = if snapshot.is_empty() {
        source.copy(to, source.tree.copy())
    } else {
        let snapshot = snapshots::find(source, snapshot)
            .ok_or_else(|| snapshots::missing(world.traits, (source, snapshot)))?;
        snapshot.of.copy(to, snapshot.tree.clone())
    };
    copy.config
        .retain(|key, _| !key.starts_with("volatile.") || key == "volatile.base_image");
    copy.config
        .insert("volatile.apply_template".to_owned(), json!("copy"));
    if !world.traits.is_incus() && wanted.profiles.is_none() {
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

/// `PUT /1.0/instances/<name>`: all that can be set, or a snapshot to restore.
fn put(daemon: &Arc<Daemon>, call: &Call, key: Key) -> Answer {
    let body = call.json()?;
    {
        let world = daemon.world();
        let instance = world.instance(&key.0, &key.1)?;
        call.match_etag(&etag(&instance.editable()))?;
    }
    let resources = resources(daemon, (&key.0, &[&key.1]));
    let restore = body
        .get("restore")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
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
fn patch(daemon: &Arc<Daemon>, call: &Call, key: &Key) -> Answer {
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
    valid::config(&config, (world.traits.brand, owner))
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
    let traits = world.traits;
    let instance = world.instance_mut(&key.0, &key.1)?;
    instance.config = config;
    nics::settle(traits, instance, &devices);
    instance.devices = devices;
    instance.profiles = profiles;
    instance.ephemeral = object.get("ephemeral").is_some_and(|is| is == true);
    let description = object.get("description").and_then(Value::as_str);
    description
        .unwrap_or_default()
        .clone_into(&mut instance.description);
    drop(world);
    let path = format!("instances/{}", key.1);
    let updated = Happening::new("instance-updated", (&key.0, &path));
    lifecycle::tell(daemon, &updated);
    Ok(())
}

/// `POST /1.0/instances/<name>`: another name.
fn rename(daemon: &Arc<Daemon>, call: &Call, key: Key) -> Answer {
    let body = call.json()?;
    let to = body
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
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
                worker.traits.rename_running,
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
fn delete(daemon: &Arc<Daemon>, call: &Call, key: Key) -> Answer {
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
        let gone = world.instances.remove(&key);
        drop(world);
        let path = format!("instances/{}", key.1);
        for snapshot in gone.into_iter().flat_map(|gone| gone.snapshots) {
            let path = format!("{path}/snapshots/{}", snapshot.name);
            let deleted = Happening::new("instance-snapshot-deleted", (&key.0, &path));
            lifecycle::tell(&worker, &deleted);
        }
        lifecycle::tell(
            &worker,
            &Happening::new("instance-deleted", (&key.0, &path)),
        );
        Ok(Value::Null)
    }))
}

/// `/1.0/instances/<name>/metadata`.
pub(crate) fn metadata(daemon: &Arc<Daemon>, call: &Call, name: &str) -> Answer {
    let world = daemon.world();
    let instance = world.instance(call.project(), name)?;
    if call.method != "GET" {
        return Err(Refusal::not_implemented());
    }
    let mut metadata = instance.metadata.clone();
    metadata["expiry_date"] = json!(0);
    metadata["templates"] = Value::Null;
    let tag = etag(&metadata);
    Ok(Reply::Tagged(metadata, tag))
}

/// The tarball of an instance as an image.
pub(crate) fn published(instance: &Instance) -> std::io::Result<Vec<u8>> {
    archive::pack(&instance.metadata, &instance.tree.copy())
}
