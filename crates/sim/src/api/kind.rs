//! What there is to say about a kind of resource that is nothing but its JSON: a kind says only what is its own.

use serde_json::{Map, Value, json};

use super::valid::Wrong;
use crate::call::{Refusal, etag};
use crate::flavor::FlavorProfile;
use crate::state::collection::Place;
use crate::state::{World, url};

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
    /// As the feature for network zones says, which one of the flavors does not have.
    Zones,
}

/// Where Incus names the project in an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Never,
    Always,
    /// Empty where one object is read alone.
    InLists,
}

/// Whether the paths of a list say the project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listing {
    WithProject,
    Bare,
    BareInLxd,
}

/// Whether one can be given another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renaming {
    Possible,
    Never,
}

/// What `PATCH` does with the fields of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patching {
    /// Maps are merged, and what is not in the body stays.
    Merges,
    /// It does so for these fields; all else is as with `PUT`.
    MergesOnly(&'static [&'static str]),
    /// What is not in the body stays, what is in it replaces.
    Replaces,
}

/// What a field of a new resource is where the body does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blank {
    /// The name.
    Name,
    Text(&'static str),
    Map,
    List,
    Null,
    False,
}

impl Blank {
    fn value(self, name: &str) -> Value {
        match self {
            Self::Name => json!(name),
            Self::Text(text) => json!(text),
            Self::Map => json!({}),
            Self::List => json!([]),
            Self::Null => Value::Null,
            Self::False => json!(false),
        }
    }
}

/// A code and a text in which `{}` is the name.
pub(crate) type Messages = (u16, &'static str);

pub(crate) fn refuse((code, text): Messages, name: &str) -> Refusal {
    Refusal::new(code, text.replace("{}", name))
}

/// The paths of those who use a resource.
type Users = fn(&World, &Place, &str) -> Vec<String>;

/// Checks what the resource of a place and a name is to become.
type Check = fn(&World, (&Place, &str), &Value) -> Result<(), Wrong>;

/// A kind of resource.
#[derive(Debug)]
pub(crate) struct Kind {
    /// The collection's name in the store.
    pub(crate) store: &'static str,
    /// What one of them is called in messages.
    pub(crate) title: &'static str,
    /// The collection's path; `{}` is the parent.
    pub(crate) path: &'static str,
    pub(crate) scope: Scope,
    /// The field that names one.
    pub(crate) key: &'static str,
    /// The fields of a new one.
    pub(crate) shape: &'static [(&'static str, Blank)],
    /// What PUT and PATCH take, and what the `ETag` covers.
    pub(crate) editable: &'static [&'static str],
    pub(crate) patching: Patching,
    /// The store of what it is below, where `PATCH` takes the config of that for one's own.
    pub(crate) mixes_in: Option<&'static str>,
    pub(crate) renaming: Renaming,
    pub(crate) tag: Tag,
    pub(crate) creation: Creation,
    pub(crate) shown: Shown,
    pub(crate) listing: Listing,
    /// Go's names for the bodies of creation and of changes; empty where `config` is not looked at.
    pub(crate) bodies: (&'static str, &'static str),
    /// The text for one that is missing, on reading and on removal; `{}` is its name.
    pub(crate) missing: (&'static str, &'static str),
    /// What is said before `"NAME": Project not found`.
    pub(crate) no_project: &'static str,
    pub(crate) unnamed: Messages,
    pub(crate) taken: fn(&FlavorProfile) -> Messages,
    /// Finishes the object of a new one.
    pub(crate) make: fn(&World, New<'_>, Value) -> Result<Value, Refusal>,
    /// Checks what a creation or a change leads to.
    pub(crate) check: Check,
    /// The codes for values that do not hold, of creation and of changes.
    pub(crate) unfit: (u16, u16),
    /// Who uses it; none where the object does not say.
    pub(crate) used_by: Option<Users>,
    pub(crate) unused: Unused,
    /// What is said where one that is used is to be removed; an empty text where that does not matter.
    pub(crate) in_use: Messages,
    /// The stores of what is below one and goes with it.
    pub(crate) below: &'static [&'static str],
    /// What else a creation, a change or a removal leads to.
    pub(crate) follow: fn(&mut World, &str),
    /// Why else it must stay.
    pub(crate) keep: fn(&World, &str) -> Result<(), Refusal>,
}

/// What a new resource is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct New<'a> {
    pub(crate) name: &'a str,
    pub(crate) project: &'a str,
}

impl Kind {
    /// A kind that has nothing of its own.
    pub(crate) const PLAIN: Self = Self {
        store: "",
        title: "",
        path: "",
        scope: Scope::Server,
        key: "name",
        shape: &[],
        editable: &["config", "description"],
        patching: Patching::MergesOnly(&["config"]),
        mixes_in: None,
        renaming: Renaming::Possible,
        tag: Tag::Both,
        creation: Creation::Located,
        shown: Shown::Never,
        listing: Listing::WithProject,
        bodies: ("", ""),
        missing: ("", ""),
        no_project: "Failed loading project",
        unnamed: (400, "No name provided"),
        taken: |_| (409, "The record already exists"),
        make: |_, _, object| Ok(object),
        check: |_, _, _| Ok(()),
        unfit: (400, 500),
        used_by: None,
        unused: Unused::Empty,
        in_use: (400, ""),
        below: &[],
        follow: |_, _| {},
        keep: |_, _| Ok(()),
    };

    /// The collection that a request means.
    pub(crate) fn place(
        &self,
        world: &World,
        (project, parent): (&str, &str),
    ) -> Result<Place, Refusal> {
        let feature = match self.scope {
            Scope::Server => return Ok(Place::global(self.store).below(parent)),
            Scope::Feature(feature) => feature,
            Scope::Zones => world.profile.zones_feature,
        };
        if world.project(project).is_none() {
            let text = format!("{} \"{project}\": Project not found", self.no_project);
            return Err(Refusal::new(404, text));
        }
        Ok(Place::of(self.store, world.owner(project, feature)).below(parent))
    }

    /// The path of one below `/1.0/`; a parent is in it.
    pub(crate) fn path_of(&self, place: &Place, name: &str) -> String {
        format!("{}/{name}", self.path.replace("{}", place.parent()))
    }

    /// What is below one has this as its parent.
    pub(crate) fn parent_of(&self, place: &Place, name: &str) -> String {
        let path = self.path_of(place, name);
        path.split_once('/')
            .map_or(String::new(), |(_, parent)| parent.to_owned())
    }

    /// The path of one in full, with its project where that is not `default`.
    pub(crate) fn url(&self, place: &Place, name: &str) -> String {
        let project = match self.scope {
            Scope::Server => "default",
            Scope::Feature(_) | Scope::Zones => place.project(),
        };
        url(&self.path_of(place, name), project)
    }

    /// The same as lists have it.
    pub(crate) fn listed(&self, profile: &FlavorProfile, (place, name): (&Place, &str)) -> String {
        let bare = match self.listing {
            Listing::WithProject => false,
            Listing::Bare => true,
            Listing::BareInLxd => !profile.is_incus(),
        };
        if bare {
            url(&self.path_of(place, name), "default")
        } else {
            self.url(place, name)
        }
    }

    pub(crate) fn missing(&self, name: &str) -> Refusal {
        refuse((404, self.missing.0), name)
    }

    /// The object of a new one as its body alone makes it.
    pub(crate) fn blank(&self, name: &str, body: &Map<String, Value>) -> Value {
        let fields = self.shape.iter().map(|(key, blank)| {
            let given = body.get(*key).filter(|value| !value.is_null());
            let value = match given {
                Some(given) if *blank != Blank::Name => in_order(given),
                _ => blank.value(name),
            };
            ((*key).to_owned(), value)
        });
        Value::Object(fields.collect())
    }

    /// What is read.
    pub(crate) fn object(
        &self,
        world: &World,
        (place, name): (&Place, &str),
        stored: &Value,
    ) -> Value {
        let mut object = stored.clone();
        if let Some(used_by) = self.used_by {
            let users = used_by(world, place, name);
            let null = self.unused == Unused::NullInLxd && !world.profile.is_incus();
            object["used_by"] = if users.is_empty() && null {
                Value::Null
            } else {
                json!(users)
            };
        }
        if self.shown != Shown::Never && world.profile.is_incus() {
            object["project"] = json!(place.project());
        }
        object
    }

    pub(crate) fn etag(&self, object: &Value) -> String {
        let covered: Vec<&Value> = self.editable.iter().map(|key| &object[*key]).collect();
        etag(&json!([object[self.key], covered]))
    }
}

/// The fields of a rule of an ACL in their order, and those that are lists.
const RULE: [&str; 10] = [
    "action",
    "source",
    "destination",
    "protocol",
    "source_port",
    "destination_port",
    "icmp_type",
    "icmp_code",
    "description",
    "state",
];
const LISTS_IN_RULE: [&str; 4] = ["source", "destination", "source_port", "destination_port"];

/// A value as the daemons store it: maps sorted by their keys, and the rules of an ACL with their fields alone, without
/// blanks in lists.
pub(crate) fn in_order(value: &Value) -> Value {
    match value {
        Value::Object(map) if map.contains_key("action") && map.contains_key("state") => {
            let fields = RULE.iter().filter_map(|key| {
                let field = map.get(*key).filter(|field| **field != "")?;
                Some(((*key).to_owned(), field_of_rule(key, field)))
            });
            Value::Object(fields.collect())
        }
        Value::Object(map) => {
            let mut map: Map<String, Value> = map
                .iter()
                .map(|(key, value)| (key.clone(), in_order(value)))
                .collect();
            map.sort_keys();
            Value::Object(map)
        }
        Value::Array(items) => Value::Array(items.iter().map(in_order).collect()),
        plain => plain.clone(),
    }
}

fn field_of_rule(key: &str, field: &Value) -> Value {
    match field.as_str() {
        Some(text) if LISTS_IN_RULE.contains(&key) => {
            let parts: Vec<&str> = text.split(',').map(str::trim).collect();
            parts.join(",").into()
        }
        _ => field.clone(),
    }
}
