//! Resources that are nothing but their JSON: one way for all kinds.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::kind::{Blank, Creation, Kind, New, Patching, Renaming, Shown, Tag, in_order, refuse};
use super::{filter, valid};
use crate::call::{Answer, Call, Refusal, Reply, text};
use crate::daemon::Daemon;
use crate::state::World;
use crate::state::collection::Place;

/// Answers for a collection and its members.
pub(crate) fn answer(
    daemon: &Arc<Daemon>,
    call: &Call,
    (kind, parent, rest): (&'static Kind, &str, &[&str]),
) -> Answer {
    let mut world = daemon.world();
    let place = kind.place(&world, (call.project(), parent))?;
    // An alias's name may have slashes.
    let name = rest.join("/");
    let action = match (call.method.as_str(), rest.is_empty()) {
        ("GET", true) => return list(&world, call, (kind, &place)),
        ("POST", true) => {
            let body = call.json()?;
            create(&mut world, (kind, &place, &body), call.project())
        }
        (_, true) => return Err(Refusal::not_implemented()),
        ("GET", false) => return show(&world, (kind, &place, &name)),
        ("POST", false) if kind.renaming == Renaming::Possible => {
            let body = call.json()?;
            rename(&mut world, (kind, &place, &name), &body)
        }
        ("PUT" | "PATCH", false) => {
            let body = call.json()?;
            edit(&mut world, call, ((kind, &place, &name), &body))
        }
        ("DELETE", false) => remove(&mut world, (kind, &place, &name)),
        _ => Err(Refusal::not_implemented()),
    };
    drop(world);
    action
}

fn list(world: &World, call: &Call, (kind, place): (&Kind, &Place)) -> Answer {
    let mut entries = Vec::new();
    for (name, stored) in world.collections.list(place) {
        let object = || kind.object(world, (place, name), stored);
        if call.query("filter").is_some() && !filter::holds(call, &object())? {
            continue;
        }
        entries.push(if call.recursion() > 0 {
            object()
        } else {
            json!(kind.listed(world.profile, (place, name)))
        });
    }
    Ok(Reply::Sync(Value::Array(entries)))
}

fn show(world: &World, (kind, place, name): (&Kind, &Place, &str)) -> Answer {
    let stored = world.collections.get(place, name);
    let stored = stored.ok_or_else(|| kind.missing(name))?;
    let mut object = kind.object(world, (place, name), stored);
    if kind.shown == Shown::InLists && world.profile.is_incus() {
        object["project"] = json!("");
    }
    if kind.tag == Tag::IncusAlone && !world.profile.is_incus() {
        return Ok(Reply::Sync(object));
    }
    let etag = kind.etag(&object);
    Ok(Reply::Tagged(object, etag))
}

fn create(
    world: &mut World,
    (kind, place, body): (&Kind, &Place, &Map<String, Value>),
    project: &str,
) -> Answer {
    let name = body.get(kind.key).and_then(Value::as_str);
    let name = name.unwrap_or_default();
    if !kind.bodies.0.is_empty() {
        valid::texts(body, ("config", &format!("{}.config", kind.bodies.0)))?;
    }
    if name.is_empty() {
        return Err(refuse(kind.unnamed, ""));
    }
    if world.collections.get(place, name).is_some() {
        return Err(refuse((kind.taken)(world.profile), name));
    }
    let new = New { name, project };
    let object = (kind.make)(world, new, kind.blank(name, body))?;
    (kind.check)(world, (place, name), &object).map_err(|wrong| wrong.refusal(kind.unfit.0))?;
    world.collections.put(place, name, object);
    (kind.follow)(world, name);
    Ok(match kind.creation {
        Creation::Located => Reply::Created(kind.url(place, name)),
        Creation::Plain => Reply::empty(),
    })
}

fn rename(
    world: &mut World,
    (kind, place, name): (&Kind, &Place, &str),
    body: &Map<String, Value>,
) -> Answer {
    let to = text(body, "name");
    let stored = world.collections.get(place, name);
    let mut object = stored.ok_or_else(|| kind.missing(name))?.clone();
    if to.is_empty() {
        return Err(Refusal::new(400, "No name provided"));
    }
    if world.collections.get(place, to).is_some() {
        // For profiles it is the database that says so.
        let code = if kind.store == "profiles" { 500 } else { 409 };
        return Err(Refusal::new(
            code,
            if world.profile.is_incus() {
                format!("{} \"{to}\" already exists", kind.title)
            } else {
                format!("Name \"{to}\" already in use")
            },
        ));
    }
    object["name"] = json!(to);
    world.collections.remove(place, name);
    world.collections.put(place, to, object);
    for store in kind.below {
        let below = Place::of(store, place.project());
        let from = below.clone().below(&kind.parent_of(place, name));
        let to = below.below(&kind.parent_of(place, to));
        world.collections.move_all(&from, to);
    }
    Ok(Reply::Created(kind.url(place, to)))
}

fn edit(
    world: &mut World,
    call: &Call,
    ((kind, place, name), body): ((&Kind, &Place, &str), &Map<String, Value>),
) -> Answer {
    let stored = world.collections.get(place, name);
    let mut object = stored.ok_or_else(|| kind.missing(name))?.clone();
    call.match_etag(&kind.etag(&object))?;
    if !kind.bodies.1.is_empty() {
        valid::texts(body, ("config", &format!("{}.config", kind.bodies.1)))?;
    }
    let mut body = body.clone();
    if let Some(store) = kind.mixes_in
        && call.method == "PATCH"
    {
        mix_in(
            &mut body,
            world
                .collections
                .get(&Place::of(store, place.project()), place.parent()),
        );
    }
    object = changed(kind, object, (&body, &call.method));
    (kind.check)(world, (place, name), &object).map_err(|wrong| wrong.refusal(kind.unfit.1))?;
    world.collections.put(place, name, object);
    (kind.follow)(world, name);
    Ok(Reply::empty())
}

/// Adds the config of what a resource is below to the one that is sent.
fn mix_in(body: &mut Map<String, Value>, above: Option<&Value>) {
    let config = body.entry("config").or_insert_with(|| json!({}));
    let above = above.and_then(|above| above["config"].as_object());
    if let Some(config) = config.as_object_mut() {
        for (key, value) in above.into_iter().flatten() {
            config.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
}

/// A resource after a change.
fn changed(kind: &Kind, object: Value, (body, method): (&Map<String, Value>, &str)) -> Value {
    let mut fields = match object {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    let merges = method == "PATCH";
    for key in kind.editable {
        let replaces = match kind.patching {
            Patching::Merges => false,
            Patching::MergesOnly(fields) => !fields.contains(key),
            Patching::Replaces => body.contains_key(*key),
        };
        let method = if merges && replaces { "PUT" } else { method };
        change(&mut fields, (&[*key], body), method);
    }
    for (key, blank) in kind.shape {
        if *blank == Blank::Null && fields.get(*key) == Some(&json!([])) {
            fields.insert((*key).to_owned(), Value::Null);
        }
    }
    Value::Object(fields)
}

/// Applies a body: `PUT` replaces all that can be set, `PATCH` merges, and an empty text unsets a key.
pub(crate) fn change(
    object: &mut Map<String, Value>,
    (editable, body): (&[&str], &Map<String, Value>),
    method: &str,
) {
    for key in editable {
        let given = body.get(*key).filter(|value| !value.is_null());
        let Some(there) = object.get_mut(*key) else {
            continue;
        };
        match (method, given, &mut *there) {
            ("PATCH", None, _) => {}
            ("PATCH", Some(Value::Object(given)), Value::Object(there)) => {
                for (name, value) in given {
                    if value.is_null() || value == "" {
                        there.remove(name);
                    } else {
                        there.insert(name.clone(), value.clone());
                    }
                }
                there.sort_keys();
            }
            (_, Some(given), there) => *there = in_order(given),
            (_, None, Value::Object(there)) => there.clear(),
            (_, None, Value::Array(there)) => there.clear(),
            (_, None, Value::String(there)) => there.clear(),
            (_, None, _) => {}
        }
    }
}

fn remove(world: &mut World, (kind, place, name): (&Kind, &Place, &str)) -> Answer {
    if world.collections.get(place, name).is_none() {
        return Err(refuse((404, kind.missing.1), name));
    }
    (kind.keep)(world, name)?;
    let users = kind.used_by.map(|used_by| used_by(world, place, name));
    let used = users.is_some_and(|users| !users.is_empty());
    if used && !kind.in_use.1.is_empty() {
        return Err(refuse(kind.in_use, name));
    }
    world.collections.remove(place, name);
    for store in kind.below {
        let below = Place::of(store, place.project());
        let below = below.below(&kind.parent_of(place, name));
        world.collections.remove_all(&below);
    }
    (kind.follow)(world, name);
    Ok(Reply::empty())
}
