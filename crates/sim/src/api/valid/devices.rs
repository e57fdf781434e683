//! What the daemons check about devices.

use serde_json::{Map, Value};

use super::Wrong;
use super::values::Rule::{self, Any, Bool, Number, Size};
use crate::call::Refusal;
use crate::state::World;
use crate::state::collection::Place;

const TYPES: [&str; 12] = [
    "none",
    "nic",
    "disk",
    "unix-char",
    "unix-block",
    "unix-hotplug",
    "usb",
    "gpu",
    "infiniband",
    "proxy",
    "tpm",
    "pci",
];

const NICS: [&str; 8] = [
    "bridged", "ipvlan", "macvlan", "ovn", "p2p", "physical", "routed", "sriov",
];

/// Options of disks.
const DISKS: &[(&str, Rule)] = &[
    ("boot.priority", Number),
    ("ceph.cluster_name", Any),
    ("ceph.user_name", Any),
    ("limits.max", Any),
    ("limits.read", Any),
    ("limits.write", Any),
    ("optional", Bool),
    ("path", Any),
    ("pool", Any),
    ("propagation", Any),
    ("raw.mount.options", Any),
    ("readonly", Bool),
    ("recursive", Bool),
    ("required", Bool),
    ("shift", Bool),
    ("size", Size),
    ("size.state", Size),
    ("source", Any),
];

/// `devices` of an instance or a profile: each has a type that exists. Disks are looked at option by option.
pub(crate) fn devices(
    world: &World,
    (project, devices): (&str, &Map<String, Value>),
) -> Result<(), Wrong> {
    for (name, device) in devices {
        one(world, (project, name), device).map_err(|wrong| {
            let before = format!("Device validation failed for \"{name}\": ");
            match wrong {
                Wrong::Unfit(text) => Wrong::Unfit(before + &text),
                Wrong::Refused(refusal) => {
                    Wrong::Refused(Refusal::new(refusal.code, before + &refusal.text))
                }
            }
        })?;
    }
    Ok(())
}

fn one(world: &World, (project, name): (&str, &str), device: &Value) -> Result<(), Wrong> {
    let text = |key: &str| device[key].as_str().unwrap_or_default();
    let loading = |why: &str| format!("Failed loading device \"{name}\": {why}");
    let kind = text("type");
    if kind.is_empty() {
        return Err(Wrong::Unfit(loading("Missing device type in config")));
    }
    let (network, nic) = (text("network"), text("nictype"));
    let known = match kind {
        "nic" => !network.is_empty() || NICS.contains(&nic),
        kind => TYPES.contains(&kind),
    };
    if !known {
        return Err(Wrong::Unfit(loading("Unsupported device type")));
    }
    if kind == "nic" && !network.is_empty() {
        let place = Place::of("networks", world.owner(project, "networks"));
        let found = world.collections.get(&place, network);
        if found.is_some_and(|found| found["status"] == "Pending") {
            let why = "Specified network is not fully created";
            return Err(Wrong::Unfit(why.to_owned()));
        }
        if found.is_none() {
            let owner = place.project();
            let why = format!(
                "Failed to load network \"{network}\" for project \"{owner}\": Network not found"
            );
            return Err(Wrong::Refused(Refusal::new(404, loading(&why))));
        }
    }
    match kind {
        "disk" => disk(device),
        "none" => options(device, &[]),
        _ => Ok(()),
    }
}

fn disk(device: &Value) -> Result<(), Wrong> {
    options(device, DISKS)?;
    let empty = |key: &str| device[key].as_str().unwrap_or_default().is_empty();
    let rootless = empty("source") && device["path"] != "/";
    if rootless || empty("path") && empty("source") {
        let text = "Disk entry is missing the required \"source\" or \"path\" property";
        return Err(Wrong::Unfit(text.to_owned()));
    }
    Ok(())
}

fn options(device: &Value, known: &[(&str, Rule)]) -> Result<(), Wrong> {
    for (key, value) in device.as_object().into_iter().flatten() {
        if key == "type" {
            continue;
        }
        let rule = known.iter().find(|(known, _)| known == key);
        let (_, rule) =
            rule.ok_or_else(|| Wrong::Unfit(format!("Invalid device option \"{key}\"")))?;
        let held = rule.check(value.as_str().unwrap_or_default());
        held.map_err(|why| {
            Wrong::Unfit(format!("Invalid value for device option \"{key}\": {why}"))
        })?;
    }
    Ok(())
}

/// What devices that an instance did not have before refer to.
pub(crate) fn added(
    world: &World,
    project: &str,
    (before, after): (&Map<String, Value>, &Map<String, Value>),
) -> Result<(), Refusal> {
    for (name, device) in after {
        if before.get(name) == Some(device) || device["type"] != "disk" {
            continue;
        }
        let text = |key: &str| device[key].as_str().unwrap_or_default();
        let (pool, volume) = (text("pool"), text("source"));
        let pools = Place::global("storage-pools");
        let found = world.collections.get(&pools, pool);
        let known = pool.is_empty() || found.is_some();
        let pending = found.is_some_and(|found| found["status"] == "Pending");
        let owner = world.owner(project, "storage.volumes");
        let volumes = Place::of("volumes", owner).below(pool);
        let there = || world.collections.get(&volumes, volume).is_some();
        let why = if pending {
            format!("Pool \"{pool}\" is pending")
        } else if !known {
            format!("Failed to get storage pool \"{pool}\": Storage pool not found")
        } else if !pool.is_empty() && !volume.is_empty() && !there() {
            "Failed loading custom volume: Storage volume not found".to_owned()
        } else {
            continue;
        };
        let text = format!("Failed add validation for device \"{name}\": {why}");
        return Err(Refusal::new(if pending { 500 } else { 404 }, text));
    }
    Ok(())
}
