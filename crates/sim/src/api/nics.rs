//! Network interfaces of instances: their addresses, and what the daemon notes about them.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value, json};

use crate::call::etag;
use crate::flavor::FlavorProfile;
use crate::state::World;
use crate::state::instance::Instance;

/// The `nic` devices among devices, by their names.
fn nics(devices: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    devices.iter().filter(|(_, device)| device["type"] == "nic")
}

fn volatile<'a>(instance: &'a Instance, device: &str, key: &str) -> Option<&'a str> {
    let key = format!("volatile.{device}.{key}");
    instance.config.get(&key).and_then(Value::as_str)
}

/// What the interface of a device is called inside the instance.
pub(crate) fn interface<'a>(
    instance: &'a Instance,
    (name, device): (&'a str, &'a Value),
) -> &'a str {
    let given = device["name"].as_str();
    given
        .or_else(|| volatile(instance, name, "name"))
        .unwrap_or(name)
}

/// Notes an address, and where the device has none a name, for each device that is new.
pub(crate) fn settle(
    profile: &FlavorProfile,
    instance: &mut Instance,
    devices: &Map<String, Value>,
) {
    let mut taken: BTreeSet<String> = nics(devices)
        .filter_map(|(name, device)| {
            let given = device["name"].as_str();
            given.or_else(|| volatile(instance, name, "name"))
        })
        .map(str::to_owned)
        .collect();
    for (name, device) in nics(devices) {
        let given = device["hwaddr"].as_str().filter(|given| !given.is_empty());
        if given.is_none() && volatile(instance, name, "hwaddr").is_none() {
            let random = fastrand::u32(..).to_string();
            let address = json!(hwaddr(profile, &random));
            instance
                .config
                .insert(format!("volatile.{name}.hwaddr"), address);
        }
        if device["name"].is_null() && volatile(instance, name, "name").is_none() {
            let free = (0..).map(|number| format!("eth{number}"));
            let free = free.filter(|name| !taken.contains(name)).take(1);
            for own in free.collect::<Vec<_>>() {
                taken.insert(own.clone());
                instance
                    .config
                    .insert(format!("volatile.{name}.name"), json!(own));
            }
        }
    }
    instance.config.sort_keys();
}

/// The interfaces of an instance that starts, with a leased address on each network that leases some.
pub(crate) fn plug(world: &mut World, (project, name): (&str, &str)) {
    let Ok(instance) = world.instance(project, name) else {
        return;
    };
    let (_, devices) = world.expanded(instance);
    let plugged: Vec<_> = nics(&devices)
        .map(|(key, device)| {
            let interface = interface(instance, (key, device)).to_owned();
            (key, interface, Vec::from_iter(lease(world, device)))
        })
        .collect();
    if let Ok(instance) = world.instance_mut(project, name) {
        for (key, interface, addresses) in plugged {
            let host = format!("veth{:08x}", fastrand::u32(..));
            let key = format!("volatile.{key}.host_name");
            instance.config.insert(key, json!(host));
            instance.interfaces.insert(interface, addresses);
        }
    }
}

/// What is left of the interfaces of an instance that has stopped.
pub(crate) fn unplug(instance: &mut Instance) {
    instance.interfaces.clear();
    let host = |key: &str| key.starts_with("volatile.") && key.ends_with(".host_name");
    instance.config.retain(|key, _| !host(key));
}

/// The next free address of the network that an interface is on.
fn lease(world: &World, device: &Value) -> Option<(String, u8)> {
    let network = device["network"].as_str().or(device["parent"].as_str())?;
    let (_, _, object) = world
        .collections
        .every("networks")
        .find(|(_, name, _)| name.as_str() == network)?;
    if object["config"]["ipv4.dhcp"] == "false" {
        return None;
    }
    if let Some(fixed) = device["ipv4.address"].as_str() {
        return Some((fixed.to_owned(), 24));
    }
    let (gateway, prefix) = object["config"]["ipv4.address"].as_str()?.split_once('/')?;
    let prefix: u8 = prefix
        .parse()
        .ok()
        .filter(|prefix| (1..=30).contains(prefix))?;
    let gateway: Ipv4Addr = gateway.parse().ok()?;
    let base = u32::from(gateway) & (u32::MAX << (32 - prefix));
    let taken: BTreeSet<&str> = world
        .instances
        .values()
        .flat_map(|instance| instance.interfaces.values().flatten())
        .map(|(address, _)| address.as_str())
        .collect();
    let hosts = 1..(1_u32 << (32 - prefix)) - 1;
    // Low addresses are left to those who set their own.
    let all = hosts.clone().skip(99).chain(hosts.take(99));
    all.map(|host| Ipv4Addr::from(base + host))
        .filter(|address| *address != gateway)
        .map(|address| address.to_string())
        .find(|address| !taken.contains(address.as_str()))
        .map(|address| (address, prefix))
}

/// `network` in the state of an instance that runs.
pub(crate) fn object(world: &World, instance: &Instance) -> Value {
    let (_, devices) = world.expanded(instance);
    let mut all = Map::new();
    for (key, device) in nics(&devices) {
        let name = interface(instance, (key, device));
        let Some(leased) = instance.interfaces.get(name) else {
            continue;
        };
        let hwaddr = address(instance, (key, device));
        let link = described("link", &(link_local(hwaddr), 64));
        let addresses = leased.iter().map(|address| described("global", address));
        let addresses: Vec<Value> = addresses.chain([link]).collect();
        let object = json!({
            "addresses": addresses, "counters": counters(), "hwaddr": hwaddr,
            "host_name": volatile(instance, key, "host_name"), "mtu": 1500, "state": "up",
            "type": "broadcast",
        });
        all.insert(name.to_owned(), object);
    }
    // An instance that is on no network leaves this one down too.
    let up = !all.is_empty();
    let own = [("127.0.0.1", 8), ("::1", 128)];
    let own = own.map(|(address, prefix)| described("local", &(address.to_owned(), prefix)));
    let lo = json!({
        "addresses": if up { own.to_vec() } else { Vec::new() }, "counters": counters(),
        "hwaddr": "", "host_name": "", "mtu": 65536, "state": if up { "up" } else { "down" },
        "type": "loopback",
    });
    all.insert("lo".to_owned(), lo);
    Value::Object(all)
}

/// The ends of interfaces that a network has on the machine.
pub(crate) fn hosts(world: &World, network: &str) -> Vec<Value> {
    let mut hosts = Vec::new();
    for instance in world.instances.values() {
        let (_, devices) = world.expanded(instance);
        let on = nics(&devices)
            .filter(|(_, device)| device["network"] == network || device["parent"] == network);
        hosts.extend(
            on.filter_map(|(name, _)| volatile(instance, name, "host_name"))
                .map(Value::from),
        );
    }
    hosts
}

fn described(scope: &str, (address, prefix): &(String, u8)) -> Value {
    let family = if address.contains(':') {
        "inet6"
    } else {
        "inet"
    };
    json!({"family": family, "address": address, "netmask": prefix.to_string(), "scope": scope})
}

fn counters() -> Value {
    json!({
        "bytes_received": 0, "bytes_sent": 0, "packets_received": 0, "packets_sent": 0,
        "errors_received": 0, "errors_sent": 0, "packets_dropped_outbound": 0,
        "packets_dropped_inbound": 0,
    })
}

/// The hardware address of a device of an instance.
pub(crate) fn address<'a>(instance: &'a Instance, (name, device): (&'a str, &'a Value)) -> &'a str {
    let given = device["hwaddr"].as_str().filter(|given| !given.is_empty());
    given
        .or_else(|| volatile(instance, name, "hwaddr"))
        .unwrap_or_default()
}

/// A hardware address that stays the same for a text, within the product's range.
pub(crate) fn hwaddr(profile: &FlavorProfile, text: &str) -> String {
    let digest = etag(&json!(text));
    let range = profile.hwaddr;
    format!(
        "{range}:{}:{}:{}",
        &digest[..2],
        &digest[2..4],
        &digest[4..6]
    )
}

/// The address that an interface gives itself.
fn link_local(hwaddr: &str) -> String {
    let bytes: Vec<u16> = hwaddr
        .split(':')
        .filter_map(|byte| u16::from_str_radix(byte, 16).ok())
        .collect();
    let [first, second, third, rest @ ..] = bytes.as_slice() else {
        return "fe80::1".to_owned();
    };
    let [fourth, fifth, sixth] = *rest else {
        return "fe80::1".to_owned();
    };
    let own = [
        ((first ^ 2) << 8) | second,
        (third << 8) | 0xff,
        0xfe00 | fourth,
        (fifth << 8) | sixth,
    ];
    let [one, two, three, four] = own;
    Ipv6Addr::new(0xfe80, 0, 0, 0, one, two, three, four).to_string()
}
