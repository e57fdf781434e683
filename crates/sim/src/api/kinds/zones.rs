//! Zones of names for networks, and their records.

use std::sync::Arc;

use serde_json::Value;

use super::of_networks;
use crate::api::generic;
use crate::api::kind::{Blank, Kind, Listing, Renaming, Scope, Shown};
use crate::api::valid::{self, Wrong, keys};
use crate::call::{Answer, Call};
use crate::daemon::Daemon;
use crate::state::World;

/// The keys by which a network uses a zone.
pub(crate) const KEYS: [&str; 3] = [
    "dns.zone.forward",
    "dns.zone.reverse.ipv4",
    "dns.zone.reverse.ipv6",
];

const OPTIONS: (&str, &str) = (
    "Invalid config option \"{}\"",
    "Invalid value for config option \"{}\"",
);

pub(crate) const ZONES: Kind = Kind {
    store: "network-zones",
    title: "Network zone",
    path: "network-zones",
    scope: Scope::Zones,
    shape: &[
        ("description", Blank::Text("")),
        ("config", Blank::Map),
        ("name", Blank::Name),
    ],
    renaming: Renaming::Never,
    shown: Shown::InLists,
    listing: Listing::BareInLxd,
    bodies: ("NetworkZonesPost", "NetworkZonePut"),
    missing: ("Network zone not found", "Network zone not found"),
    no_project: "Failed to load project",
    unnamed: (500, "Name is required"),
    taken: |_| (400, "The network zone already exists"),
    check: |world, _, object| valid::options(object, (keys::ZONES, world.profile.flavor), OPTIONS),
    unfit: (500, 500),
    used_by: Some(|world, _, name| of_networks(world, name, &KEYS)),
    in_use: (500, "Cannot delete a zone that is in use"),
    below: &["network-zone-records"],
    ..Kind::PLAIN
};

const RECORDS: Kind = Kind {
    store: "network-zone-records",
    title: "Network zone record",
    path: "network-zones/{}/records",
    scope: Scope::Zones,
    shape: &[
        ("description", Blank::Text("")),
        ("entries", Blank::Null),
        ("config", Blank::Map),
        ("name", Blank::Name),
    ],
    editable: &["config", "description", "entries"],
    mixes_in: Some("network-zones"),
    renaming: Renaming::Never,
    bodies: ("NetworkZoneRecordsPost", "NetworkZoneRecordPut"),
    missing: (
        "Network zone record not found",
        "Network zone record not found",
    ),
    taken: |profile| (500, profile.record_taken),
    check: |world, _, object| {
        valid::options(object, (keys::USERS, world.profile.flavor), OPTIONS)?;
        entries(&object["entries"])
    },
    unfit: (500, 500),
    ..Kind::PLAIN
};

/// No entry twice; what a name server would say to their values is not looked at.
fn entries(entries: &Value) -> Result<(), Wrong> {
    let mut seen = Vec::new();
    for entry in entries.as_array().into_iter().flatten() {
        let text = |key: &str| entry[key].as_str().unwrap_or_default();
        let pair = (text("type"), text("value"));
        if seen.contains(&pair) {
            let (kind, value) = pair;
            return Err(Wrong::Unfit(format!(
                "Duplicate record for type \"{kind}\" and value \"{value}\""
            )));
        }
        seen.push(pair);
    }
    Ok(())
}

/// `/1.0/network-zones/<zone>/records` and below.
pub(crate) fn records(daemon: &Arc<Daemon>, call: &Call, (zone, rest): (&str, &[&str])) -> Answer {
    {
        let world: &World = &daemon.world();
        let place = ZONES.place(world, (call.project(), ""))?;
        let there = world.collections.get(&place, zone);
        there.ok_or_else(|| ZONES.missing(zone))?;
    }
    generic::answer(daemon, call, (&RECORDS, zone, rest))
}
