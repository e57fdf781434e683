//! Resources that are nothing but their JSON: one way for all kinds.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::filter;
use crate::sim::call::{Answer, Call, Refusal, Reply, etag};
use crate::sim::daemon::Daemon;
use crate::sim::state::collection::Place;
use crate::sim::state::{World, url};

/// Whether replies carry an `ETag`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    Both,
    IncusAlone,
}

/// What `used_by` is where nobody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unused {
    Empty,
    NullInLxd,
}

/// What a creation answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Creation {
    /// 201 with the new resource's path.
    Located,
    /// 200 with nothing.
    Plain,
}

/// Whose resources a project shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// There is one collection for all.
    Server,
    /// Its own, where it has this feature.
    Feature(&'static str),
}

/// The paths of those who use a resource.
type Users = fn(&World, &Place, &str) -> Vec<String>;

/// A kind of resource.
#[derive(Debug)]
pub(crate) struct Kind {
    /// The collection's name in the store.
    pub(crate) store: &'static str,
    /// What one of them is called in messages.
    pub(crate) title: &'static str,
    /// The collection's path.
    pub(crate) path: &'static str,
    pub(crate) scope: Scope,
    /// What PUT and PATCH take, and what the `ETag` covers.
    pub(crate) editable: &'static [&'static str],
    pub(crate) tag: Tag,
    pub(crate) creation: Creation,
    /// Whether Incus names the project in the object.
    pub(crate) shows: Option<&'static str>,
    /// The text for one that is missing, on reading and on removal; `{}` is its name.
    pub(crate) missing: (&'static str, &'static str),
    /// The object of a new one.
    pub(crate) make: fn(&World, New<'_>) -> Result<Value, Refusal>,
    /// The refusal for a name that is taken.
    pub(crate) taken: fn(&World, &str) -> Refusal,
    /// Checks what a change leads to.
    pub(crate) check: fn(&World, &Value) -> Result<(), Refusal>,
    /// Who uses it; none where the object does not say.
    pub(crate) used_by: Option<Users>,
    pub(crate) unused: Unused,
    /// Why it must stay.
    pub(crate) keep: fn(&World, &Place, &str) -> Result<(), Refusal>,
}

/// What a new resource is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct New<'a> {
    pub(crate) name: &'a str,
    pub(crate) body: &'a Map<String, Value>,
    pub(crate) project: &'a str,
}

impl Kind {
    /// The collection that a request means.
    fn place(&self, world: &World, (project, parent): (&str, &str)) -> Result<Place, Refusal> {
        let place = match self.scope {
            Scope::Server => Place::global(self.store),
            Scope::Feature(feature) => {
                if world.project(project).is_none() {
                    return Err(Refusal::new(
                        404,
                        format!("Failed loading project \"{project}\": Project not found"),
                    ));
                }
                Place::of(self.store, world.owner(project, feature))
            }
        };
        Ok(place.below(parent))
    }

    /// The path of one below `/1.0/`; a parent is in it.
    fn path_of(&self, place: &Place, name: &str) -> String {
        format!("{}/{name}", self.path.replace("{}", place.parent()))
    }

    fn url(&self, place: &Place, name: &str) -> String {
        let project = match self.scope {
            Scope::Server => "default",
            Scope::Feature(_) => place.project(),
        };
        url(&self.path_of(place, name), project)
    }

    fn missing(&self, name: &str) -> Refusal {
        Refusal::new(404, self.missing.0.replace("{}", name))
    }

    fn object(&self, world: &World, (place, name): (&Place, &str), stored: &Value) -> Value {
        let mut object = stored.clone();
        if let Some(used_by) = self.used_by {
            let users = used_by(world, place, name);
            let null = self.unused == Unused::NullInLxd && !world.traits.is_incus();
            object["used_by"] = if users.is_empty() && null {
                Value::Null
            } else {
                json!(users)
            };
        }
        if let (Some(key), true) = (self.shows, world.traits.is_incus()) {
            object[key] = json!(place.project());
        }
        object
    }

    fn etag(&self, object: &Value) -> String {
        let covered: Vec<&Value> = self.editable.iter().map(|key| &object[*key]).collect();
        etag(&json!([object["name"], covered]))
    }
}

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
        ("POST", false) => {
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
            json!(kind.url(place, name))
        });
    }
    Ok(Reply::Sync(Value::Array(entries)))
}

fn show(world: &World, (kind, place, name): (&Kind, &Place, &str)) -> Answer {
    let stored = world.collections.get(place, name);
    let stored = stored.ok_or_else(|| kind.missing(name))?;
    let object = kind.object(world, (place, name), stored);
    if kind.tag == Tag::IncusAlone && !world.traits.is_incus() {
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
    let name = body.get("name").and_then(Value::as_str).unwrap_or_default();
    if name.is_empty() {
        return Err(Refusal::new(400, "No name provided"));
    }
    if world.collections.get(place, name).is_some() {
        return Err((kind.taken)(world, name));
    }
    let object = (kind.make)(
        world,
        New {
            name,
            body,
            project,
        },
    )?;
    (kind.check)(world, &object)?;
    world.collections.put(place, name, object);
    if kind.store == "projects" && world.owner(name, "profiles") == name {
        let description = format!("Default {} profile for project {name}", world.traits.title);
        let profile =
            json!({"config": {}, "description": description, "devices": {}, "name": "default"});
        world
            .collections
            .put(&Place::of("profiles", name), "default", profile);
    }
    Ok(match kind.creation {
        Creation::Located => Reply::Created(format!("/1.0/{}", kind.path_of(place, name))),
        Creation::Plain => Reply::empty(),
    })
}

fn rename(
    world: &mut World,
    (kind, place, name): (&Kind, &Place, &str),
    body: &Map<String, Value>,
) -> Answer {
    let to = body.get("name").and_then(Value::as_str).unwrap_or_default();
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
            if world.traits.is_incus() {
                format!("{} \"{to}\" already exists", kind.title)
            } else {
                format!("Name \"{to}\" already in use")
            },
        ));
    }
    object["name"] = json!(to);
    world.collections.remove(place, name);
    world.collections.put(place, to, object);
    Ok(Reply::Created(format!("/1.0/{}", kind.path_of(place, to))))
}

fn edit(
    world: &mut World,
    call: &Call,
    ((kind, place, name), body): ((&Kind, &Place, &str), &Map<String, Value>),
) -> Answer {
    let stored = world.collections.get(place, name);
    let mut object = stored.ok_or_else(|| kind.missing(name))?.clone();
    call.match_etag(&kind.etag(&object))?;
    let mut merged = object.as_object().cloned().unwrap_or_default();
    change(&mut merged, (kind.editable, body), &call.method);
    object = Value::Object(merged);
    (kind.check)(world, &object)?;
    world.collections.put(place, name, object);
    Ok(Reply::empty())
}

/// A value as the daemons store it: maps sorted by their keys, and the rules of an ACL in the order of their fields.
pub(crate) fn in_order(value: &Value) -> Value {
    const LAST: &str = "state";
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            let rule = map.contains_key("action") && map.contains_key(LAST);
            entries.sort_by_key(|(key, _)| (rule && key.as_str() == LAST, key.as_str()));
            let entries = entries
                .into_iter()
                .map(|(key, value)| (key.clone(), in_order(value)));
            Value::Object(entries.collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(in_order).collect()),
        plain => plain.clone(),
    }
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
        return Err(Refusal::new(404, kind.missing.1.replace("{}", name)));
    }
    (kind.keep)(world, place, name)?;
    world.collections.remove(place, name);
    if kind.store == "projects" {
        let default = Place::of("profiles", name);
        world.collections.remove(&default, "default");
    }
    Ok(Reply::empty())
}
