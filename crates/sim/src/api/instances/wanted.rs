//! What the body of a creation asks for.

use serde_json::{Map, Value, json};

use crate::api::nics;
use crate::api::valid::{self, Owner};
use crate::call::{Call, Refusal, flag, text, uuid};
use crate::state::World;
use crate::state::instance::Instance;

/// What a body says of a new instance.
pub(super) struct Wanted {
    pub(super) project: String,
    pub(super) name: String,
    pub(super) body: Map<String, Value>,
    pub(super) config: Map<String, Value>,
    pub(super) devices: Map<String, Value>,
    pub(super) profiles: Option<Vec<String>>,
    /// The member of a cluster that is to have it, and the group of members that it was chosen from.
    pub(super) location: String,
    pub(super) group: Option<String>,
}

impl Wanted {
    pub(super) fn read(
        world: &World,
        call: &Call,
        body: Map<String, Value>,
    ) -> Result<Self, Refusal> {
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
        let name = text(&body, "name");
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

    pub(super) fn text(&self, key: &str) -> &str {
        self.body
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    pub(super) fn source(&self, key: &str) -> &str {
        self.body
            .get("source")
            .and_then(|source| source[key].as_str())
            .unwrap_or_default()
    }

    /// The instance that this makes of what its source gives.
    pub(super) fn apply(&self, world: &World, mut instance: Instance) -> Result<Instance, Refusal> {
        let failed = |refusal: Refusal| {
            let text = format!("Failed creating instance record: {}", refusal.text);
            Refusal::new(refusal.code, text)
        };
        let initializing = |refusal: Refusal| {
            let doing = world.profile.initializing;
            let text = format!("Failed {doing} instance: {}", refusal.text);
            failed(Refusal::new(refusal.code, text))
        };
        let kind = Some(self.text("type")).filter(|kind| !kind.is_empty());
        let owner = Owner::Instance(kind.unwrap_or(&instance.kind));
        valid::config(&self.config, (world.profile.flavor, owner))
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
        instance.ephemeral = flag(&self.body, "ephemeral");
        if !self.text("description").is_empty() {
            self.text("description")
                .clone_into(&mut instance.description);
        }
        if !self.text("type").is_empty() {
            self.text("type").clone_into(&mut instance.kind);
        }
        instance.location.clone_from(&self.location);
        if let (Some(group), true) = (&self.group, world.profile.is_incus()) {
            let key = "volatile.cluster.group".to_owned();
            instance.config.insert(key, json!(group));
        }
        instance.set_volatile(world.profile);
        let (_, devices) = world.expanded(&instance);
        nics::settle(world.profile, &mut instance, &devices);
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
