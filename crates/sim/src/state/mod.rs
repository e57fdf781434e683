//! What there is in a simulated daemon, as plain data.

pub(super) mod archive;
pub(super) mod backup;
pub(super) mod cluster;
pub(super) mod collection;
pub(super) mod image;
pub(super) mod instance;
pub(super) mod tree;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use self::cluster::Cluster;
use self::collection::{Collections, Place};
use self::image::Image;
use self::instance::Instance;
use super::call::Refusal;
use super::clock::Clock;
use super::exec::sockets::Sockets;
use super::flavor::FlavorProfile;

/// Project and name.
pub(super) type Key = (String, String);

/// Everything.
#[derive(Debug)]
pub(super) struct World {
    pub(super) profile: &'static FlavorProfile,
    pub(super) collections: Collections,
    pub(super) instances: BTreeMap<Key, Instance>,
    pub(super) images: BTreeMap<Key, Image>,
    pub(super) cluster: Cluster,
    /// `config` of the server itself.
    pub(super) config: Map<String, Value>,
    /// Websockets that commands wait for.
    pub(super) sockets: Sockets,
}

impl World {
    /// A daemon that has just been set up: pool, profile, and the image `busybox`.
    pub(super) fn new(profile: &'static FlavorProfile, clock: &Clock) -> Self {
        let mut collections = Collections::default();
        let features = profile.features.iter().chain(profile.default_features);
        let features: BTreeMap<_, _> = features.map(|name| (*name, "true")).collect();
        let description = format!("Default {} project", profile.title);
        let default = json!({"config": features, "description": description, "name": "default"});
        collections.put(&Place::global("projects"), "default", default);
        let pool = json!({
            "config": {"source": format!("/var/lib/{}/storage-pools/default", profile.name)},
            "description": "", "name": "default", "driver": "dir",
            "status": "Created", "locations": ["none"],
        });
        collections.put(&Place::global("storage-pools"), "default", pool);
        let root = json!({"root": {"path": "/", "pool": "default", "type": "disk"}});
        let default_profile =
            json!({"config": {}, "description": "", "devices": root, "name": "default"});
        collections.put(
            &Place::of("profiles", "default"),
            "default",
            default_profile,
        );
        let mut world = Self {
            profile,
            collections,
            instances: BTreeMap::new(),
            images: BTreeMap::new(),
            cluster: Cluster::default(),
            config: Map::new(),
            sockets: Sockets::default(),
        };
        let image = image::busybox(profile, clock);
        let alias = json!({
            "description": "", "target": image.fingerprint, "name": "busybox", "type": "container",
        });
        let aliases = Place::of("aliases", "default");
        world.collections.put(&aliases, "busybox", alias);
        let key = ("default".to_owned(), image.fingerprint.clone());
        world.images.insert(key, image);
        world
    }

    /// A project's object.
    pub(super) fn project(&self, name: &str) -> Option<&Value> {
        self.collections.get(&Place::global("projects"), name)
    }

    /// The project whose images, profiles or the like are seen in a project.
    pub(super) fn owner<'a>(&self, project: &'a str, feature: &str) -> &'a str {
        let object = self.project(project);
        let has =
            object.is_some_and(|object| object["config"][format!("features.{feature}")] == "true");
        if has { project } else { "default" }
    }

    /// # Errors
    /// When there is no such instance.
    pub(super) fn instance(&self, project: &str, name: &str) -> Result<&Instance, Refusal> {
        let key = (project.to_owned(), name.to_owned());
        match self.instances.get(&key) {
            Some(instance) => Ok(instance),
            None => Err(self.no_instance(project, name)),
        }
    }

    /// # Errors
    /// When there is no such instance.
    pub(super) fn instance_mut(
        &mut self,
        project: &str,
        name: &str,
    ) -> Result<&mut Instance, Refusal> {
        let key = (project.to_owned(), name.to_owned());
        if !self.instances.contains_key(&key) {
            return Err(self.no_instance(project, name));
        }
        self.instances.get_mut(&key).ok_or_else(Refusal::not_found)
    }

    fn no_instance(&self, project: &str, name: &str) -> Refusal {
        if !self.profile.is_incus() {
            return Refusal::new(404, "Instance not found");
        }
        if !self.cluster.is_alone() {
            // The member that has it is looked for first.
            return Refusal::new(404, "Instance not found");
        }
        if self.project(project).is_none() {
            return Refusal::new(404, "Project not found");
        }
        Refusal::new(
            404,
            format!(
                "Failed to fetch instance \"{name}\" in project \"{project}\": Instance not found"
            ),
        )
    }

    /// An image by its fingerprint or the beginning of it, as seen in a project.
    pub(super) fn image(&self, project: &str, fingerprint: &str) -> Option<&Image> {
        let owner = self.owner(project, "images");
        let mut found = self.images.iter().filter(|((project, is), _)| {
            project == owner && !fingerprint.is_empty() && is.starts_with(fingerprint)
        });
        let (_, image) = found.next()?;
        found.next().is_none().then_some(image)
    }

    /// The fingerprint that an alias stands for.
    pub(super) fn alias(&self, project: &str, name: &str) -> Option<String> {
        let place = Place::of("aliases", self.owner(project, "images"));
        let alias = self.collections.get(&place, name)?;
        alias["target"].as_str().map(str::to_owned)
    }

    /// A profile as seen in a project.
    pub(super) fn profile(&self, project: &str, name: &str) -> Option<&Value> {
        let place = Place::of("profiles", self.owner(project, "profiles"));
        self.collections.get(&place, name)
    }

    /// An instance's `expanded_config` and `expanded_devices`: its profiles' first, its own on top.
    pub(super) fn expanded(&self, instance: &Instance) -> (Map<String, Value>, Map<String, Value>) {
        let (mut config, mut devices) = (Map::new(), Map::new());
        let profiles = instance.profiles.iter();
        for profile in profiles.filter_map(|name| self.profile(&instance.project, name)) {
            merge(&mut config, profile["config"].as_object());
            merge(&mut devices, profile["devices"].as_object());
        }
        merge(&mut config, Some(&instance.config));
        merge(&mut devices, Some(&instance.devices));
        config.sort_keys();
        devices.sort_keys();
        (config, devices)
    }
}

fn merge(into: &mut Map<String, Value>, from: Option<&Map<String, Value>>) {
    for (key, value) in from.into_iter().flatten() {
        into.insert(key.clone(), value.clone());
    }
}

/// A resource's path as lists show it: with its project outside `default`.
pub(super) fn url(path: &str, project: &str) -> String {
    if project == "default" {
        format!("/1.0/{path}")
    } else {
        format!("/1.0/{path}?project={project}")
    }
}
