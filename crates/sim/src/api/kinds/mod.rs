//! The kinds of resources that are nothing but their JSON, by family.

pub(crate) mod certificates;
mod networks;
mod profiles;
mod projects;
mod storage;
mod zones;

use serde_json::{Value, json};

use super::kind::{Blank, Kind, Patching, Scope};
use crate::call::Refusal;
use crate::state::collection::Place;
use crate::state::{World, url};

pub(crate) use self::networks::below_network;
pub(crate) use self::projects::{full, rename_project};
pub(crate) use self::storage::{below_pool, pool_resources};
pub(crate) use self::zones::records;

/// The kind whose collection has this path, for those at the top.
pub(crate) fn by_path(path: &str) -> Option<&'static Kind> {
    let all = [
        &profiles::PROFILES,
        &projects::PROJECTS,
        &networks::NETWORKS,
        &networks::ACLS,
        &zones::ZONES,
        &storage::POOLS,
        &certificates::CERTIFICATES,
    ];
    all.into_iter().find(|kind| kind.path == path)
}

pub(crate) const ALIASES: Kind = Kind {
    store: "aliases",
    title: "Alias",
    path: "images/aliases",
    scope: Scope::Feature("images"),
    shape: &[
        ("description", Blank::Text("")),
        ("target", Blank::Text("")),
        ("name", Blank::Name),
        ("type", Blank::Text("container")),
    ],
    editable: &["description", "target"],
    patching: Patching::Merges,
    missing: ("Image alias not found", "Image alias not found"),
    make: |world, new, mut object| {
        let target = object["target"].as_str().unwrap_or_default();
        let image = world.image(new.project, target);
        let image = image.ok_or_else(|| Refusal::new(404, "Image not found"))?;
        object["target"] = json!(image.fingerprint);
        Ok(object)
    },
    taken: |_| (409, "Alias \"{}\" already exists"),
    ..Kind::PLAIN
};

/// The paths of instances and profiles with a device that fits.
fn with_device(world: &World, fits: impl Fn(&Value) -> bool) -> Vec<String> {
    let any = |devices: &Value| {
        devices
            .as_object()
            .into_iter()
            .flatten()
            .any(|(_, device)| fits(device))
    };
    let instances = world.instances.values().filter(|instance| {
        let (_, devices) = world.expanded(instance);
        any(&Value::Object(devices))
    });
    let instances = instances.map(|each| url(&format!("instances/{}", each.name), &each.project));
    let profiles = world.collections.every("profiles");
    let profiles = profiles.filter(|(_, _, object)| any(&object["devices"]));
    let profiles =
        profiles.map(|(place, profile, _)| url(&format!("profiles/{profile}"), place.project()));
    instances.chain(profiles).collect()
}

/// The paths of networks one of whose keys has a name in its list.
fn of_networks(world: &World, name: &str, keys: &[&str]) -> Vec<String> {
    let names = |object: &Value, key: &str| {
        let list = object["config"][key].as_str().unwrap_or_default();
        list.split(',').any(|each| each.trim() == name)
    };
    let networks = world.collections.every("networks");
    let networks = networks.filter(|(.., object)| keys.iter().any(|key| names(object, key)));
    let path = |(place, network, _): (&Place, &String, &Value)| {
        url(&format!("networks/{network}"), place.project())
    };
    networks.map(path).collect()
}
