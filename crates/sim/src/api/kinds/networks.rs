//! Networks, what is below them, and ACLs.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{of_networks, with_device};
use crate::api::kind::{Blank, Kind, Listing, Patching, Renaming, Scope, Shown, Unused};
use crate::api::valid::{self, Wrong, keys};
use crate::api::{generic, nics};
use crate::call::{Answer, Call, Refusal, Reply};
use crate::daemon::Daemon;
use crate::state::World;
use crate::state::collection::Place;

pub(crate) const NETWORKS: Kind = Kind {
    store: "networks",
    title: "Network",
    path: "networks",
    scope: Scope::Feature("networks"),
    shape: &[
        ("config", Blank::Map),
        ("description", Blank::Text("")),
        ("name", Blank::Name),
        ("type", Blank::Text("bridge")),
    ],
    shown: Shown::Always,
    bodies: ("NetworksPost", "NetworkPut"),
    missing: (
        "Network not found",
        "Failed loading network: Network not found",
    ),
    no_project: "Failed to load project",
    make: |_, new, mut object| {
        if new.name.len() > 15 {
            return Err(Refusal::new(
                400,
                "Invalid network name: Network interface is too long (maximum 15 characters)",
            ));
        }
        for (key, subnet) in [
            (
                "ipv4.address",
                format!("10.{}.{}.1/24", fastrand::u8(..), fastrand::u8(..)),
            ),
            ("ipv6.address", "none".to_owned()),
        ] {
            if object["config"][key].as_str().unwrap_or("auto") == "auto" {
                object["config"][key] = json!(subnet);
            }
        }
        if let Some(config) = object["config"].as_object_mut() {
            config.sort_keys();
        }
        object["managed"] = json!(true);
        object["status"] = json!("Created");
        object["locations"] = json!(["none"]);
        Ok(object)
    },
    taken: |profile| profile.network_taken,
    check,
    unfit: (500, 400),
    used_by: Some(|world, _, name| {
        with_device(world, |device| {
            device["network"] == name || device["parent"] == name
        })
    }),
    unused: Unused::NullInLxd,
    in_use: (400, "The network is currently in use"),
    below: &["network-forwards"],
    ..Kind::PLAIN
};

fn check(world: &World, (place, name): (&Place, &str), object: &Value) -> Result<(), Wrong> {
    let unknown = format!("Invalid option for network \"{name}\" option \"{{}}\"");
    let value_of = format!("Invalid value for network \"{name}\" option \"{{}}\"");
    let texts = (unknown.as_str(), value_of.as_str());
    valid::options(object, (keys::NETWORKS, world.profile.flavor), texts)?;
    let named = |key: &str| {
        let list = object["config"][key].as_str().unwrap_or_default();
        let names = list.split(',').map(|name| name.trim().to_owned());
        names.filter(|name| !name.is_empty()).collect::<Vec<_>>()
    };
    let acls = Place::of("network-acls", place.project());
    for acl in named("security.acls") {
        if world.collections.get(&acls, &acl).is_none() {
            let text = format!("Network ACL \"{acl}\" does not exist");
            return Err(Wrong::Refused(Refusal::new(500, text)));
        }
    }
    for key in super::zones::KEYS {
        for zone in named(key) {
            let mut known = world.collections.every("network-zones");
            if known.all(|(_, name, _)| *name != zone) {
                let text = if world.profile.is_incus() {
                    format!("Invalid \"{key}\", network zone \"{zone}\" not found")
                } else {
                    let why = format!("Network zone \"{zone}\" doesn't exist");
                    format!("{}: {why}", value_of.replace("{}", key))
                };
                return Err(Wrong::Unfit(text));
            }
        }
    }
    Ok(())
}

pub(crate) const ACLS: Kind = Kind {
    store: "network-acls",
    title: "Network ACL",
    path: "network-acls",
    scope: Scope::Feature("networks"),
    shape: &[
        ("name", Blank::Name),
        ("description", Blank::Text("")),
        ("egress", Blank::List),
        ("ingress", Blank::List),
        ("config", Blank::Map),
    ],
    editable: &["description", "egress", "ingress", "config"],
    shown: Shown::Always,
    listing: Listing::Bare,
    bodies: ("NetworkACLsPost", "NetworkACLPut"),
    missing: ("Network ACL not found", "Network ACL not found"),
    no_project: "Failed to load project",
    unnamed: (500, "Name is required"),
    taken: |_| (400, "The network ACL already exists"),
    make: |_, new, object| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if new.name.bytes().all(plain) {
            return Ok(object);
        }
        let text = "Name can only contain alphanumeric and hyphen characters";
        Err(Refusal::new(500, text))
    },
    check: |world, _, object| {
        let texts = ("Invalid config option \"{}\"", "");
        valid::options(object, (keys::USERS, world.profile.flavor), texts)
    },
    unfit: (500, 500),
    used_by: Some(|world, _, name| {
        let mut users = of_networks(world, name, &["security.acls"]);
        users.extend(with_device(world, |device| {
            let acls = device["security.acls"].as_str().unwrap_or_default();
            acls.split(',').any(|acl| acl.trim() == name)
        }));
        users
    }),
    in_use: (500, "Cannot delete an ACL that is in use"),
    ..Kind::PLAIN
};

const FORWARDS: Kind = Kind {
    store: "network-forwards",
    title: "Network forward",
    path: "networks/{}/forwards",
    scope: Scope::Feature("networks"),
    key: "listen_address",
    shape: &[
        ("description", Blank::Text("")),
        ("config", Blank::Map),
        ("ports", Blank::List),
        ("listen_address", Blank::Name),
        ("location", Blank::Text("none")),
    ],
    editable: &["config", "description", "ports"],
    patching: Patching::MergesOnly(&["config", "ports"]),
    renaming: Renaming::Never,
    missing: (
        "Network forward not found",
        "Failed deleting forward: Network forward not found",
    ),
    unnamed: (
        500,
        "Failed creating forward: Failed parsing address forward listen address \"\": invalid CIDR address: /32",
    ),
    taken: |_| {
        let text = "Failed creating forward: A forward for that listen address already exists";
        (409, text)
    },
    make: |_, new, mut object| {
        if new.name.parse::<std::net::IpAddr>().is_err() {
            let name = new.name;
            return Err(Refusal::new(
                500,
                format!(
                    "Failed creating forward: Failed parsing address forward listen address \"{name}\": invalid CIDR address: {name}/32"
                ),
            ));
        }
        for port in object["ports"].as_array_mut().into_iter().flatten() {
            let given = port.clone();
            let fields = [
                "description",
                "protocol",
                "listen_port",
                "target_port",
                "target_address",
            ];
            let text = |key: &&str| {
                (
                    (*key).to_owned(),
                    given[*key].as_str().unwrap_or_default().into(),
                )
            };
            *port = Value::Object(fields.iter().map(text).collect());
        }
        Ok(object)
    },
    check: |world, _, object| {
        let known = (keys::USERS, world.profile.flavor);
        valid::options(
            object,
            known,
            ("Failed creating forward: Invalid option \"{}\"", ""),
        )
    },
    unfit: (500, 500),
    ..Kind::PLAIN
};

/// Answers for what is below a network.
pub(crate) fn below_network(
    daemon: &Arc<Daemon>,
    call: &Call,
    (name, rest): (&str, &[&str]),
) -> Answer {
    let world = daemon.world();
    let place = NETWORKS.place(&world, (call.project(), ""))?;
    let network = world.collections.get(&place, name);
    let network = network.ok_or_else(|| Refusal::new(404, NETWORKS.missing.1))?;
    let unsupported = |what: &str| {
        let text = format!("Network driver \"bridge\" does not support {what}");
        Err(Refusal::new(400, text))
    };
    match (call.method.as_str(), rest) {
        ("GET", ["leases"]) => Ok(leases(&world, (name, network))),
        ("GET", ["state"]) => Ok(state(&world, (name, network))),
        (_, ["forwards", rest @ ..]) => {
            drop(world);
            generic::answer(daemon, call, (&FORWARDS, name, rest))
        }
        (_, ["peers", ..]) => unsupported("peering"),
        (_, ["load-balancers", ..]) if daemon.profile.is_incus() => unsupported("load balancers"),
        _ => Err(Refusal::not_found()),
    }
}

/// `GET /1.0/networks/<name>/leases`.
fn leases(world: &World, (name, network): (&str, &Value)) -> Reply {
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
            let interface = nics::interface(instance, (device, described));
            let mine = described["network"] == name || described["parent"] == name;
            let addresses = instance.interfaces.get(interface).filter(|_| mine);
            for (address, _) in addresses.into_iter().flatten() {
                leases.push(json!({
                    "hostname": instance.name, "hwaddr": nics::address(instance, (device, described)),
                    "address": address, "type": "dynamic", "location": instance.location,
                }));
            }
        }
    }
    Reply::Sync(Value::Array(leases))
}

/// `GET /1.0/networks/<name>/state`.
fn state(world: &World, (name, network): (&str, &Value)) -> Reply {
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
    let hwaddr = nics::hwaddr(world.profile, name);
    Reply::Sync(json!({
        "addresses": addresses,
        "counters": {"bytes_received": 0, "bytes_sent": 0, "packets_received": 0, "packets_sent": 0},
        "hwaddr": hwaddr, "mtu": 1500, "state": "up", "type": "broadcast", "bond": null,
        "bridge": {
            "id": format!("8000.{}", hwaddr.replace(':', "")), "stp": false, "forward_delay": 1500,
            "vlan_default": 0, "vlan_filtering": false, "upper_devices": nics::hosts(world, name),
        },
        "vlan": null, "ovn": null,
    }))
}
