//! The kinds of resources that are nothing but their JSON.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::generic::{self, Creation, Kind, New, Scope, Tag, Unused};
use super::valid;
use crate::sim::call::{Answer, Call, Refusal, Reply};
use crate::sim::daemon::Daemon;
use crate::sim::operations::{Spec, begin};
use crate::sim::state::collection::Place;
use crate::sim::state::{World, url};

/// The kind whose collection has this path, for those at the top.
pub(crate) fn by_path(path: &str) -> Option<&'static Kind> {
    let all = [
        &PROFILES,
        &PROJECTS,
        &NETWORKS,
        &ACLS,
        &POOLS,
        &CERTIFICATES,
    ];
    all.into_iter().find(|kind| kind.path == path)
}

fn taken(_: &World, _: &str) -> Refusal {
    Refusal::new(409, "The record already exists")
}

#[expect(clippy::unnecessary_wraps, reason = "one check of many that can fail")]
fn unchecked(_: &World, _: &Value) -> Result<(), Refusal> {
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "one check of many that can fail")]
fn free(_: &World, _: &Place, _: &str) -> Result<(), Refusal> {
    Ok(())
}

fn part(body: &Map<String, Value>, key: &str, default: Value) -> Value {
    match body.get(key) {
        None | Some(Value::Null) => default,
        Some(value) => generic::in_order(value),
    }
}

pub(crate) const ALIASES: Kind = Kind {
    store: "aliases",
    title: "Alias",
    path: "images/aliases",
    scope: Scope::Feature("images"),
    editable: &["description", "target"],
    tag: Tag::Both,
    creation: Creation::Located,
    shows: None,
    missing: ("Image alias not found", "Image alias not found"),
    make: |world,
           New {
               name,
               body,
               project,
           }| {
        let target = part(body, "target", json!(""));
        let image = world.image(project, target.as_str().unwrap_or_default());
        let target = &image
            .ok_or_else(|| Refusal::new(404, "Image not found"))?
            .fingerprint;
        let description = part(body, "description", json!(""));
        Ok(json!({"description": description, "target": target, "name": name, "type": "container"}))
    },
    taken: |_, name| Refusal::new(409, format!("Alias \"{name}\" already exists")),
    check: unchecked,
    used_by: None,
    unused: Unused::Empty,
    keep: free,
};

pub(crate) const PROFILES: Kind = Kind {
    store: "profiles",
    title: "Profile",
    path: "profiles",
    scope: Scope::Feature("profiles"),
    editable: &["config", "description", "devices"],
    tag: Tag::Both,
    creation: Creation::Located,
    shows: Some("project"),
    missing: ("Fetch profile: Profile not found", "Profile not found"),
    make: |_, New { name, body, .. }| {
        if name.contains('/') {
            return Err(Refusal::new(400, "Profile names may not contain slashes"));
        }
        valid::texts(body, ("config", "ProfilesPost.config"))?;
        Ok(json!({
            "config": part(body, "config", json!({})),
            "description": part(body, "description", json!("")),
            "devices": part(body, "devices", json!({})), "name": name,
        }))
    },
    taken: |_, name| {
        let text = format!("Error inserting \"{name}\" into database: The profile already exists");
        Refusal::new(500, text)
    },
    check: |_, object| {
        let empty = Map::new();
        valid::config(object["config"].as_object().unwrap_or(&empty))?;
        valid::devices(object["devices"].as_object().unwrap_or(&empty))
    },
    used_by: Some(|world, place, name| {
        let all = world.instances.values().filter(|instance| {
            world.owner(&instance.project, "profiles") == place.project()
                && instance.profiles.iter().any(|profile| profile == name)
        });
        all.map(|instance| url(&format!("instances/{}", instance.name), &instance.project))
            .collect()
    }),
    unused: Unused::Empty,
    keep: |world, place, name| {
        if name == "default" {
            return Err(Refusal::new(
                403,
                "The \"default\" profile cannot be deleted",
            ));
        }
        let used_by = PROFILES.used_by.map(|used_by| used_by(world, place, name));
        match used_by {
            Some(used) if !used.is_empty() => Err(Refusal::new(400, "Profile is currently in use")),
            _ => Ok(()),
        }
    },
};

pub(crate) const PROJECTS: Kind = Kind {
    store: "projects",
    title: "Project",
    path: "projects",
    scope: Scope::Server,
    editable: &["config", "description"],
    tag: Tag::Both,
    creation: Creation::Located,
    shows: None,
    missing: (
        "Project not found",
        "Fetch project \"{}\": Project not found",
    ),
    make: |world, New { name, body, .. }| {
        for (wrong, why) in [(' ', "spaces"), ('/', "slashes"), ('_', "underscores")] {
            if name.contains(wrong) {
                return Err(Refusal::new(
                    400,
                    format!("Project names may not contain {why}"),
                ));
            }
        }
        let given = valid::texts(body, ("config", "ProjectsPost.config"))?.unwrap_or_default();
        let mut config: Map<String, Value> = Map::new();
        for feature in world.traits.features {
            config.insert((*feature).to_owned(), json!("true"));
        }
        config.extend(given);
        config.sort_keys();
        let description = part(body, "description", json!(""));
        Ok(json!({"config": config, "description": description, "name": name}))
    },
    taken: |world, name| {
        let (code, why) = world.traits.project_taken;
        let text =
            format!("Failed creating project \"{name}\": Failed adding database record: {why}");
        Refusal::new(code, text)
    },
    check: unchecked,
    used_by: Some(|world, _, name| in_project(world, name)),
    unused: Unused::Empty,
    keep: |world, _, name| {
        if name == "default" {
            return Err(Refusal::new(403, "The 'default' project cannot be deleted"));
        }
        let own = url("profiles/default", name);
        let left = in_project(world, name);
        if left.iter().any(|each| *each != own) {
            return Err(Refusal::new(500, world.traits.project_not_empty));
        }
        Ok(())
    },
};

/// `POST /1.0/projects/<name>`: another name for the project and for all in it.
pub(crate) fn rename_project(daemon: &Arc<Daemon>, call: &Call, name: &str) -> Answer {
    let body = call.json()?;
    let to = body
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let place = Place::global("projects");
    {
        let world = daemon.world();
        if world.collections.get(&place, name).is_none() {
            return Err(Refusal::new(404, "Project not found"));
        }
        if world.collections.get(&place, &to).is_some() {
            return Err(Refusal::new(
                409,
                format!("A project named \"{to}\" already exists"),
            ));
        }
    }
    let resources = if daemon.traits.is_incus() {
        json!({})
    } else {
        Value::Null
    };
    let spec = Spec::task("Renaming project", "default", resources);
    let (worker, name) = (daemon.clone(), name.to_owned());
    Ok(begin(daemon, (spec, call.fault), |_| async move {
        let mut world = worker.world();
        if let Some(mut object) = world.collections.remove(&place, &name) {
            object["name"] = json!(to);
            world.collections.put(&place, &to, object);
            world.collections.move_project(&name, &to);
        }
        Ok(Value::Null)
    }))
}

/// The paths of all in a project.
fn in_project(world: &World, project: &str) -> Vec<String> {
    let instances = world
        .instances
        .values()
        .filter(|each| each.project == project);
    let instances = instances.map(|each| url(&format!("instances/{}", each.name), project));
    let images = world.images.keys().filter(|(owner, _)| owner == project);
    let images = images.map(|(_, fingerprint)| url(&format!("images/{fingerprint}"), project));
    let profiles = Place::of("profiles", project);
    let profiles = world.collections.list(&profiles);
    let profiles = profiles.map(|(name, _)| url(&format!("profiles/{name}"), project));
    let volumes = world.collections.every("volumes");
    let volumes = volumes.filter(|(place, ..)| place.project() == project);
    let volumes = volumes.map(|(place, name, _)| {
        url(
            &format!("storage-pools/{}/volumes/custom/{name}", place.parent()),
            project,
        )
    });
    instances
        .chain(images)
        .chain(profiles)
        .chain(volumes)
        .collect()
}

pub(crate) const NETWORKS: Kind = Kind {
    store: "networks",
    title: "Network",
    path: "networks",
    scope: Scope::Feature("networks"),
    editable: &["config", "description"],
    tag: Tag::Both,
    creation: Creation::Located,
    shows: Some("project"),
    missing: (
        "Network not found",
        "Failed loading network: Network not found",
    ),
    make: |_, New { name, body, .. }| {
        if name.len() > 15 {
            return Err(Refusal::new(
                400,
                "Invalid network name: Network interface is too long (maximum 15 characters)",
            ));
        }
        let mut config = valid::texts(body, ("config", "NetworksPost.config"))?.unwrap_or_default();
        for (key, subnet) in [
            (
                "ipv4.address",
                format!("10.{}.{}.1/24", fastrand::u8(..), fastrand::u8(..)),
            ),
            ("ipv6.address", "none".to_owned()),
        ] {
            let given = config.get(key).and_then(Value::as_str).unwrap_or("auto");
            if given == "auto" {
                config.insert(key.to_owned(), json!(subnet));
            }
        }
        config.sort_keys();
        Ok(json!({
            "config": config, "description": part(body, "description", json!("")), "name": name,
            "type": part(body, "type", json!("bridge")), "managed": true, "status": "Created",
            "locations": ["none"],
        }))
    },
    taken: |world, name| {
        let (code, text) = world.traits.network_taken;
        Refusal::new(code, text.replace("{}", name))
    },
    check: unchecked,
    used_by: Some(network_users),
    unused: Unused::NullInLxd,
    keep: |world, place, name| {
        if network_users(world, place, name).is_empty() {
            Ok(())
        } else {
            Err(Refusal::new(400, "The network is currently in use"))
        }
    },
};

fn uses_network(devices: &Value, name: &str) -> bool {
    let devices = devices.as_object().into_iter().flatten();
    devices
        .map(|(_, device)| device)
        .any(|device| device["network"] == name || device["parent"] == name)
}

fn network_users(world: &World, _: &Place, name: &str) -> Vec<String> {
    let instances = world.instances.values().filter(|instance| {
        let (_, devices) = world.expanded(instance);
        uses_network(&Value::Object(devices), name)
    });
    let instances = instances.map(|each| url(&format!("instances/{}", each.name), &each.project));
    let profiles = world.collections.every("profiles");
    let profiles = profiles.filter(|(_, _, object)| uses_network(&object["devices"], name));
    let profiles =
        profiles.map(|(place, profile, _)| url(&format!("profiles/{profile}"), place.project()));
    instances.chain(profiles).collect()
}

pub(crate) const ACLS: Kind = Kind {
    store: "network-acls",
    title: "Network ACL",
    path: "network-acls",
    scope: Scope::Feature("networks"),
    editable: &["description", "egress", "ingress", "config"],
    tag: Tag::Both,
    creation: Creation::Located,
    shows: Some("project"),
    missing: ("Network ACL not found", "Network ACL not found"),
    make: |_, New { name, body, .. }| {
        Ok(json!({
            "name": name, "description": part(body, "description", json!("")),
            "egress": part(body, "egress", json!([])), "ingress": part(body, "ingress", json!([])),
            "config": part(body, "config", json!({})),
        }))
    },
    taken: |_, _| Refusal::new(500, "The network ACL already exists"),
    check: unchecked,
    used_by: Some(|_, _, _| Vec::new()),
    unused: Unused::Empty,
    keep: free,
};

pub(crate) const CERTIFICATES: Kind = Kind {
    store: "certificates",
    title: "Certificate",
    path: "certificates",
    scope: Scope::Server,
    editable: &["name", "type", "restricted", "projects", "description"],
    tag: Tag::Both,
    creation: Creation::Located,
    shows: None,
    missing: ("Certificate not found", "Certificate not found"),
    // They come in by another way, as their name is made of what they are.
    make: |_, _| Err(Refusal::not_implemented()),
    taken,
    check: unchecked,
    used_by: None,
    unused: Unused::Empty,
    keep: free,
};

pub(crate) const POOLS: Kind = Kind {
    store: "storage-pools",
    title: "Storage pool",
    path: "storage-pools",
    scope: Scope::Server,
    editable: &["config", "description"],
    tag: Tag::IncusAlone,
    creation: Creation::Located,
    shows: None,
    missing: ("Storage pool not found", "Storage pool not found"),
    make: |world, New { name, body, .. }| {
        let mut config =
            valid::texts(body, ("config", "StoragePoolsPost.config"))?.unwrap_or_default();
        let source = format!("/var/lib/{}/storage-pools/{name}", world.traits.name);
        config.entry("source").or_insert(json!(source));
        Ok(json!({
            "config": config, "description": part(body, "description", json!("")), "name": name,
            "driver": part(body, "driver", json!("dir")), "status": "Created", "locations": ["none"],
        }))
    },
    taken: |_, _| {
        Refusal::new(
            409,
            "The storage pool already exists: The record already exists",
        )
    },
    check: unchecked,
    used_by: Some(pool_users),
    unused: Unused::NullInLxd,
    keep: |world, place, name| {
        if pool_users(world, place, name).is_empty() {
            Ok(())
        } else {
            Err(Refusal::new(400, "The storage pool is currently in use"))
        }
    },
};

fn on_pool(devices: &Value, pool: &str) -> bool {
    let devices = devices.as_object().into_iter().flatten();
    devices
        .map(|(_, device)| device)
        .any(|device| device["pool"] == pool)
}

fn pool_users(world: &World, _: &Place, name: &str) -> Vec<String> {
    let instances = world.instances.values().filter(|instance| {
        let (_, devices) = world.expanded(instance);
        on_pool(&Value::Object(devices), name)
    });
    let instances = instances.map(|each| url(&format!("instances/{}", each.name), &each.project));
    let profiles = world.collections.every("profiles");
    let profiles = profiles.filter(|(_, _, object)| on_pool(&object["devices"], name));
    let profiles =
        profiles.map(|(place, profile, _)| url(&format!("profiles/{profile}"), place.project()));
    let volumes = world.collections.every("volumes");
    let volumes = volumes.filter(|(place, ..)| place.parent() == name);
    let volumes = volumes.map(|(place, volume, _)| {
        url(
            &format!("storage-pools/{name}/volumes/custom/{volume}"),
            place.project(),
        )
    });
    instances.chain(profiles).chain(volumes).collect()
}

const VOLUMES: Kind = Kind {
    store: "volumes",
    title: "Volume",
    path: "storage-pools/{}/volumes/custom",
    scope: Scope::Feature("storage.volumes"),
    editable: &["config", "description"],
    tag: Tag::Both,
    creation: Creation::Plain,
    shows: None,
    missing: (
        "Storage pool volume not found",
        "Storage pool volume not found",
    ),
    make: |world,
           New {
               name,
               body,
               project,
           }| {
        let config = valid::texts(body, ("config", "StorageVolumesPost.config"))?;
        let created = if world.traits.is_incus() {
            humantime::format_rfc3339_nanos(std::time::SystemTime::now()).to_string()
        } else {
            "0001-01-01T00:00:00Z".to_owned()
        };
        Ok(json!({
            "config": config.unwrap_or_default(),
            "description": part(body, "description", json!("")),
            "name": name, "type": "custom", "used_by": [], "location": "none",
            "content_type": part(body, "content_type", json!("filesystem")), "project": project,
            "created_at": created,
        }))
    },
    taken: |_, _| Refusal::new(409, "Volume by that name already exists"),
    check: unchecked,
    used_by: None,
    unused: Unused::Empty,
    keep: free,
};

const VOLUME_SNAPSHOTS: Kind = Kind {
    store: "volume-snapshots",
    title: "Snapshot",
    path: "storage-pools/{}/snapshots",
    scope: Scope::Feature("storage.volumes"),
    editable: &["description", "expires_at"],
    tag: Tag::Both,
    creation: Creation::Plain,
    shows: None,
    missing: (
        "Storage volume snapshot not found",
        "Storage volume snapshot not found",
    ),
    make: |_, New { name, body, .. }| {
        Ok(json!({
            "name": name, "description": part(body, "description", json!("")),
            "expires_at": "0001-01-01T00:00:00Z", "config": {}, "content_type": "filesystem",
        }))
    },
    taken: |_, _| Refusal::new(409, "Snapshot by that name already exists"),
    check: unchecked,
    used_by: None,
    unused: Unused::Empty,
    keep: free,
};

/// Answers for what is below a storage pool.
pub(crate) fn below_pool(
    daemon: &Arc<Daemon>,
    call: &Call,
    (pool, rest): (&str, &[&str]),
) -> Answer {
    let exists = daemon
        .world()
        .collections
        .get(&Place::global("storage-pools"), pool)
        .is_some();
    if !exists {
        return Err(Refusal::new(404, "Storage pool not found"));
    }
    match rest {
        ["resources"] => Ok(Reply::Sync(json!({
            "space": {"used": 1_073_741_824_u64, "total": 107_374_182_400_u64},
            "inodes": {"used": 1000, "total": 6_553_600},
        }))),
        ["volumes"] | ["volumes", "custom"] => generic::answer(daemon, call, (&VOLUMES, pool, &[])),
        ["volumes", "custom", name] => generic::answer(daemon, call, (&VOLUMES, pool, &[name])),
        ["volumes", "custom", name, "snapshots", rest @ ..] => {
            volume_snapshots(daemon, call, ((pool, name), rest))
        }
        ["volumes", _] if call.method == "GET" => Ok(Reply::Sync(json!([]))),
        _ => Err(Refusal::not_found()),
    }
}

fn volume_snapshots(
    daemon: &Arc<Daemon>,
    call: &Call,
    ((pool, volume), rest): ((&str, &str), &[&str]),
) -> Answer {
    let parent = format!("{pool}/volumes/custom/{volume}");
    let done = generic::answer(daemon, call, (&VOLUME_SNAPSHOTS, &parent, rest))?;
    let path = |name: &str| format!("/1.0/storage-pools/{parent}/snapshots/{name}");
    let incus = daemon.traits.is_incus();
    let (description, resources) = match (call.method.as_str(), rest) {
        ("POST", []) => {
            let body = call.json()?;
            let name = body.get("name").and_then(Value::as_str).unwrap_or_default();
            let resources = if incus {
                json!({"storage_volume_snapshots": [path(name)], "storage_volumes": [format!("/1.0/storage-pools/{parent}")]})
            } else {
                json!({"storage_volumes": [format!("/1.0/storage_volumes/{volume}")]})
            };
            ("Creating storage volume snapshot", resources)
        }
        ("DELETE", [name]) => {
            let resource = if incus {
                path(name)
            } else {
                format!("/1.0/storage_volume_snapshots/{volume}")
            };
            (
                "Deleting storage volume snapshot",
                json!({"storage_volume_snapshots": [resource]}),
            )
        }
        _ => return Ok(done),
    };
    let spec = Spec::task(description, call.project(), resources);
    Ok(begin(daemon, (spec, call.fault), |_| async {
        Ok(Value::Null)
    }))
}

/// `GET /1.0/networks/<name>/leases`.
pub(crate) fn leases(daemon: &Arc<Daemon>, call: &Call, name: &str) -> Answer {
    let world = daemon.world();
    let place = Place::of("networks", world.owner(call.project(), "networks"));
    let network = world.collections.get(&place, name);
    let network = network.ok_or_else(|| Refusal::new(404, "Network not found"))?;
    let gateway = network["config"]["ipv4.address"]
        .as_str()
        .unwrap_or_default();
    let mut leases = Vec::new();
    if let Some((address, _)) = gateway.split_once('/') {
        leases.push(json!({
            "hostname": format!("{name}.gw"), "hwaddr": "", "address": address,
            "type": "gateway", "location": "",
        }));
    }
    for instance in world.instances.values() {
        let (_, devices) = world.expanded(instance);
        for (device, described) in &devices {
            let interface = described["name"].as_str().unwrap_or(device);
            let mine = described["network"] == name || described["parent"] == name;
            let addresses = instance.interfaces.get(interface).filter(|_| mine);
            for (address, _) in addresses.into_iter().flatten() {
                leases.push(json!({
                    "hostname": instance.name, "hwaddr": hwaddr(&instance.name, interface),
                    "address": address, "type": "dynamic", "location": "none",
                }));
            }
        }
    }
    Ok(Reply::Sync(Value::Array(leases)))
}

/// An address that stays the same for an interface.
pub(crate) fn hwaddr(instance: &str, interface: &str) -> String {
    let digest = crate::sim::call::etag(&json!([instance, interface]));
    format!(
        "00:16:3e:{}:{}:{}",
        &digest[..2],
        &digest[2..4],
        &digest[4..6]
    )
}

/// `GET /1.0/networks/<name>/state`.
pub(crate) fn network_state(daemon: &Arc<Daemon>, call: &Call, name: &str) -> Answer {
    let world = daemon.world();
    let place = Place::of("networks", world.owner(call.project(), "networks"));
    let network = world.collections.get(&place, name);
    let network = network.ok_or_else(|| Refusal::new(404, "Network not found"))?;
    let address = network["config"]["ipv4.address"]
        .as_str()
        .unwrap_or_default();
    let addresses: Vec<Value> = address
        .split_once('/')
        .map(|(address, netmask)| {
            json!({"family": "inet", "address": address, "netmask": netmask, "scope": "global"})
        })
        .into_iter()
        .collect();
    let hwaddr = hwaddr(name, "bridge");
    Ok(Reply::Sync(json!({
        "addresses": addresses,
        "counters": {"bytes_received": 0, "bytes_sent": 0, "packets_received": 0, "packets_sent": 0},
        "hwaddr": hwaddr, "mtu": 1500, "state": "up", "type": "broadcast", "bond": null,
        "bridge": {
            "id": format!("8000.{}", hwaddr.replace(':', "")), "stp": false, "forward_delay": 1500,
            "vlan_default": 0, "vlan_filtering": false, "upper_devices": [],
        },
        "vlan": null, "ovn": null,
    })))
}
