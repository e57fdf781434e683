//! Projects.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::api::kind::{Blank, Kind, Patching};
use crate::api::valid::{self, Wrong, keys};
use crate::call::{Answer, Call, Refusal, text};
use crate::daemon::Daemon;
use crate::operations::{Spec, begin};
use crate::state::collection::Place;
use crate::state::{World, url};

pub(crate) const PROJECTS: Kind = Kind {
    store: "projects",
    title: "Project",
    path: "projects",
    shape: &[
        ("config", Blank::Map),
        ("description", Blank::Text("")),
        ("name", Blank::Name),
    ],
    patching: Patching::Replaces,
    bodies: ("ProjectsPost", "ProjectPut"),
    missing: (
        "Project not found",
        "Fetch project \"{}\": Project not found",
    ),
    make: |world, new, mut object| {
        for (wrong, why) in [(' ', "spaces"), ('/', "slashes"), ('_', "underscores")] {
            if new.name.contains(wrong) {
                return Err(Refusal::new(
                    400,
                    format!("Project names may not contain {why}"),
                ));
            }
        }
        let mut config: Map<String, Value> = Map::new();
        for feature in world.profile.features {
            config.insert((*feature).to_owned(), json!("true"));
        }
        config.extend(object["config"].as_object().cloned().unwrap_or_default());
        config.sort_keys();
        object["config"] = Value::Object(config);
        Ok(object)
    },
    taken: |profile| profile.project_taken,
    check,
    unfit: (400, 400),
    used_by: Some(|world, _, name| in_project(world, name)),
    follow: default_profile,
    keep: |world, name| {
        if name == "default" {
            return Err(Refusal::new(403, "The 'default' project cannot be deleted"));
        }
        if is_empty(world, name) {
            Ok(())
        } else {
            Err(Refusal::new(500, world.profile.project_not_empty))
        }
    },
    ..Kind::PLAIN
};

fn check(world: &World, (place, name): (&Place, &str), object: &Value) -> Result<(), Wrong> {
    let before = world.collections.get(place, name);
    for (key, value) in before
        .and_then(|old| old["config"].as_object())
        .into_iter()
        .flatten()
    {
        let stays = !key.starts_with("features.") || object["config"][key] == *value;
        if !stays && !is_empty(world, name) {
            return Err(Wrong::Unfit(format!(
                "Project feature \"{key}\" cannot be disabled on non-empty projects"
            )));
        }
    }
    valid::options(
        object,
        (keys::PROJECTS, world.profile.flavor),
        (
            "Invalid project configuration key \"{}\"",
            "Invalid project configuration key \"{}\" value",
        ),
    )
}

/// A project with profiles of its own has one from its beginning to its end.
fn default_profile(world: &mut World, name: &str) {
    let place = Place::of("profiles", name);
    let there = world.collections.get(&place, "default").is_some();
    let own = world.project(name).is_some() && world.owner(name, "profiles") == name;
    if own && !there {
        let description = format!("Default {} profile for project {name}", world.profile.title);
        let profile =
            json!({"config": {}, "description": description, "devices": {}, "name": "default"});
        world.collections.put(&place, "default", profile);
    } else if !own {
        world.collections.remove(&place, "default");
    }
}

/// Whether there is nothing in a project but what it began with.
fn is_empty(world: &World, name: &str) -> bool {
    let own = url("profiles/default", name);
    in_project(world, name).iter().all(|each| *each == own)
}

/// Refuses one instance more than a project may have.
pub(crate) fn full(world: &World, project: &str) -> Result<(), Refusal> {
    let limit = world.project(project);
    let limit = limit.and_then(|project| project["config"]["limits.instances"].as_str());
    let Some(limit) = limit.and_then(|limit| limit.parse::<usize>().ok()) else {
        return Ok(());
    };
    let there = world
        .instances
        .values()
        .filter(|each| each.project == project);
    if there.count() < limit {
        return Ok(());
    }
    let text = format!("Reached maximum number of instances in project \"{project}\"");
    Err(Refusal::new(500, text))
}

/// `POST /1.0/projects/<name>`: another name for the project and for all in it.
pub(crate) fn rename_project(daemon: &Arc<Daemon>, call: &Call, name: &str) -> Answer {
    let body = call.json()?;
    let to = text(&body, "name").to_owned();
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
    let resources = if daemon.profile.is_incus() {
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
    // LXD does not count zones.
    let zones = ["network-zones"]
        .into_iter()
        .filter(|_| world.profile.is_incus());
    let plain = ["profiles", "networks", "network-acls"]
        .into_iter()
        .chain(zones);
    let plain = plain.flat_map(|store| {
        let place = Place::of(store, project);
        let all = world.collections.list(&place);
        let paths = all.map(|(name, _)| url(&format!("{store}/{name}"), project));
        paths.collect::<Vec<_>>()
    });
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
        .chain(plain)
        .chain(volumes)
        .collect()
}
