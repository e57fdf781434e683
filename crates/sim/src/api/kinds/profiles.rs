//! Profiles.

use serde_json::{Map, Value};

use crate::api::kind::{Blank, Kind, Patching, Scope, Shown};
use crate::api::valid::{self, Owner, Wrong};
use crate::call::Refusal;
use crate::state::collection::Place;
use crate::state::{World, url};

pub(crate) const PROFILES: Kind = Kind {
    store: "profiles",
    title: "Profile",
    path: "profiles",
    scope: Scope::Feature("profiles"),
    shape: &[
        ("config", Blank::Map),
        ("description", Blank::Text("")),
        ("devices", Blank::Map),
        ("name", Blank::Name),
    ],
    editable: &["config", "description", "devices"],
    patching: Patching::Merges,
    shown: Shown::Always,
    bodies: ("ProfilesPost", "ProfilePut"),
    missing: ("Fetch profile: Profile not found", "Profile not found"),
    make: |_, new, object| {
        if new.name.contains('/') {
            return Err(Refusal::new(400, "Profile names may not contain slashes"));
        }
        Ok(object)
    },
    taken: |_| {
        let text = "Error inserting \"{}\" into database: The profile already exists";
        (500, text)
    },
    check,
    used_by: Some(users),
    in_use: (400, "Profile is currently in use"),
    keep: |_, name| {
        if name == "default" {
            return Err(Refusal::new(
                403,
                "The \"default\" profile cannot be deleted",
            ));
        }
        Ok(())
    },
    ..Kind::PLAIN
};

fn check(world: &World, (place, _): (&Place, &str), object: &Value) -> Result<(), Wrong> {
    let empty = Map::new();
    let part = |key: &str| object[key].as_object().unwrap_or(&empty);
    let whose = (world.profile.flavor, Owner::Profile);
    valid::config(part("config"), whose).map_err(Wrong::Unfit)?;
    valid::devices(world, (place.project(), part("devices")))
}

fn users(world: &World, place: &Place, name: &str) -> Vec<String> {
    let all = world.instances.values().filter(|instance| {
        world.owner(&instance.project, "profiles") == place.project()
            && instance.profiles.iter().any(|profile| profile == name)
    });
    all.map(|instance| url(&format!("instances/{}", instance.name), &instance.project))
        .collect()
}
