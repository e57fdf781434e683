//! What the bodies of requests may hold: keys, their types, and the keys of `config` and of devices.

mod definitions;
pub mod json_schema;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use crate::endpoints::{self, Segment, matching};
use crate::servers::Servers;
use definitions::{DEFINITIONS, Key, Shape, Type};

/// Words that servers understand as booleans in text, in any mixture of capitals and small letters.
const BOOLEANS: [&str; 8] = ["true", "false", "yes", "no", "on", "off", "1", "0"];

/// Beginnings of keys that every `config` takes: the user's own, and those that servers write.
const FREE_KEYS: [&str; 2] = ["user.", "volatile."];

/// Keys of types, and beginnings of keys of a configuration, whose texts are the author's and mean nothing to servers.
const PROSE: [&str; 3] = ["description", "name", "value"];
const PROSE_KEYS: [&str; 5] = [
    "user.",
    "environment.",
    "cloud-init.",
    "raw.",
    "linux.sysctl.",
];

/// What servers make of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Nothing, or nothing that is known.
    Verbatim,
    /// A boolean, in one of several words.
    Boolean,
    /// A setting of their own: an address, an amount, a list.
    Setting,
}

/// What the body of a request may hold.
#[derive(Debug, Clone)]
pub struct Schema {
    /// One of these; none for a request of which nothing is known.
    types: Vec<&'static Type>,
}

/// What was found in a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    /// In the order of the body.
    pub findings: Vec<Finding>,
    /// The servers that know all of its keys.
    pub servers: Servers,
}

/// Something in a body that servers refuse or ignore.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// The keys and indices that lead to it.
    pub place: Vec<String>,
    /// What is wrong.
    pub problem: Problem,
}

/// What can be wrong with a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Problem {
    /// A key that servers ignore.
    UnknownKey {
        /// Those that they know.
        known: Vec<&'static str>,
    },
    /// A key that servers show in their replies, and ignore in this request.
    ReadOnlyKey,
    /// Something of another type: all servers refuse it.
    WrongType {
        /// What belongs there.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// A value that servers refuse.
    WrongValue {
        /// Those that they take.
        known: Vec<&'static str>,
    },
    /// A key of a configuration that servers refuse.
    UnknownConfigKey {
        /// What is configured.
        of: Kind,
        /// The keys that it has.
        known: Vec<&'static str>,
        /// Other variants that have it.
        elsewhere: Vec<&'static str>,
    },
    /// A key of a device that servers refuse.
    UnknownDeviceKey {
        /// The device, where one is certain: `disk`, `nic-macvlan`.
        of: Option<&'static str>,
        /// The keys that it has.
        known: Vec<&'static str>,
        /// Other devices that have it.
        elsewhere: Vec<&'static str>,
    },
}

/// A kind of thing that has a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// `instance`, `storage-pool`.
    pub name: &'static str,
    /// Its driver or type, where that is known.
    pub variant: Option<&'static str>,
}

impl Problem {
    /// Whether all servers refuse it, and not only those that are known.
    pub fn is_certain(&self) -> bool {
        matches!(self, Self::WrongType { .. })
    }
}

/// What a request to a path takes as its body. A path that can be several endpoints' takes what any of them does.
pub fn schema(method: &str, path: &[Segment<'_>]) -> Schema {
    let types = matching(path)
        .into_iter()
        .flat_map(|endpoint| DEFINITIONS.types_of(method, endpoint.path));
    Schema {
        types: types.collect(),
    }
}

/// What makes or changes a resource may hold: the bodies of its creation and of its change.
pub fn schema_of_resource(path: &[Segment<'_>]) -> Schema {
    let mut whole = schema("PUT", path);
    let change = schema("PATCH", path);
    let creation = path
        .split_last()
        .map(|(_, collection)| schema("POST", collection));
    for other in [Some(change), creation].into_iter().flatten() {
        for kind in other.types {
            if !whole.types.iter().any(|known| known.name == kind.name) {
                whole.types.push(kind);
            }
        }
    }
    whole
}

impl Schema {
    /// Of a request whose path is known, with or without `/1.0/` before it and a query behind it.
    pub fn of_request(method: &str, path: &str) -> Self {
        schema(method, &endpoints::segments(path))
    }

    /// Of the creation and the change of a resource whose path is known.
    pub fn of_resource(path: &str) -> Self {
        schema_of_resource(&endpoints::segments(path))
    }

    /// Of a request of which nothing is known.
    pub const fn unknown() -> Self {
        Self { types: Vec::new() }
    }

    /// Whether anything is known of the body.
    pub fn is_known(&self) -> bool {
        !self.types.is_empty()
    }

    /// Whether the body has a key, on any server.
    pub fn has_key(&self, key: &str) -> bool {
        self.types
            .iter()
            .any(|kind| kind.fields_named(key).next().is_some())
    }

    /// What servers make of a text, at a place that keys and indices name.
    pub fn reading(&self, place: &[impl AsRef<str>]) -> Reading {
        let place: Vec<&str> = place.iter().map(AsRef::as_ref).collect();
        let Some((first, rest)) = place.split_first() else {
            return Reading::Verbatim;
        };
        let mut shapes = self.types.iter().flat_map(|kind| kind.shapes(first));
        let is_prose = PROSE.contains(place.last().unwrap_or(first));
        shapes
            .find_map(|shape| reading(shape, rest))
            .filter(|_| !is_prose)
            .unwrap_or(Reading::Verbatim)
    }

    /// Judges a body for some servers: what is known to any of them is right. Null stands for what is not known yet, and
    /// is not judged (servers take it for every key, as if the key were not there).
    pub fn check(&self, body: &Value, servers: Servers) -> Report {
        let mut walk = Walk {
            wanted: servers,
            place: Vec::new(),
            report: Report {
                findings: Vec::new(),
                servers: Servers::ALL,
            },
        };
        if self.is_known() {
            let shapes: Vec<Shape> = self
                .types
                .iter()
                .map(|kind| Shape::Type(kind.name))
                .collect();
            walk.value(&shapes.iter().collect::<Vec<_>>(), body, None);
        }
        walk.report
    }

    /// Writes numbers and booleans as text, wherever the API has text.
    pub fn write_text(&self, body: &mut Value) {
        self.write_below(body, &mut Vec::new());
    }

    fn write_below(&self, value: &mut Value, place: &mut Vec<String>) {
        match value {
            Value::Bool(_) | Value::Number(_) if self.is_text(place) => {
                *value = value.to_string().into();
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    place.push(index.to_string());
                    self.write_below(item, place);
                    place.pop();
                }
            }
            Value::Object(map) => {
                for (key, item) in map {
                    place.push(key.clone());
                    self.write_below(item, place);
                    place.pop();
                }
            }
            _ => {}
        }
    }

    /// Whether a place of the body, named by keys and indices, is text in the API.
    pub fn is_text(&self, place: &[impl AsRef<str>]) -> bool {
        let mut shapes: Vec<&Shape> = Vec::new();
        let Some((first, rest)) = place.split_first() else {
            return false;
        };
        for kind in &self.types {
            shapes.extend(kind.shapes(first.as_ref()));
        }
        for step in rest {
            shapes = shapes
                .into_iter()
                .flat_map(|shape| inside(shape, step.as_ref()))
                .collect();
        }
        !shapes.is_empty() && shapes.iter().all(|shape| shape.is_text())
    }
}

/// What belongs at a key or an index of something of a shape.
fn inside(shape: &'static Shape, step: &str) -> Vec<&'static Shape> {
    match shape {
        Shape::List(item) | Shape::Map(item) => vec![item],
        Shape::Type(name) => DEFINITIONS
            .type_named(name)
            .map(|kind| kind.shapes(step).collect())
            .unwrap_or_default(),
        Shape::Config(_) => vec![&Shape::Text],
        Shape::Devices => vec![&definitions::DEVICE],
        _ => Vec::new(),
    }
}

/// The reading of a text at a place in something of a shape.
fn reading(shape: &'static Shape, place: &[&str]) -> Option<Reading> {
    match (shape, place) {
        (Shape::Config(name), [key]) => Some(reading_of_setting(name, key)),
        (Shape::Devices, [_, key]) => Some(reading_of_setting("device", key)),
        (Shape::Text | Shape::Words(_), []) => Some(Reading::Setting),
        (Shape::Map(_), _) => Some(Reading::Verbatim),
        (_, [first, rest @ ..]) => inside(shape, first)
            .into_iter()
            .find_map(|shape| reading(shape, rest)),
        _ => None,
    }
}

fn reading_of_setting(name: &str, key: &str) -> Reading {
    let (name, key) = match key.strip_prefix("volume.") {
        Some(rest) if name == "storage-pool" => ("storage-volume", rest),
        _ => (name, key),
    };
    if PROSE_KEYS.iter().any(|prose| key.starts_with(prose)) {
        return Reading::Verbatim;
    }
    let keys = DEFINITIONS
        .kind(name)
        .into_iter()
        .flat_map(|kind| &kind.keys);
    let shapes = keys
        .filter(|known| known.matches(key))
        .map(|known| known.shape == Shape::Boolean);
    match shapes.reduce(|one, other| one && other) {
        None => Reading::Verbatim,
        Some(true) => Reading::Boolean,
        Some(false) => Reading::Setting,
    }
}

/// One look at a body.
struct Walk {
    wanted: Servers,
    place: Vec<String>,
    report: Report,
}

impl Walk {
    fn found(&mut self, problem: Problem) {
        self.report.findings.push(Finding {
            place: self.place.clone(),
            problem,
        });
    }

    fn at(&mut self, step: &str, look: impl FnOnce(&mut Self)) {
        self.place.push(step.to_owned());
        look(self);
        self.place.pop();
    }

    /// A value that has to have one of some shapes; `around` is the map that it stands in.
    fn value(&mut self, shapes: &[&Shape], value: &Value, around: Option<&Map<String, Value>>) {
        if value.is_null() || shapes.iter().any(|shape| **shape == Shape::Any) {
            return;
        }
        let fitting: Vec<&Shape> = shapes
            .iter()
            .copied()
            .filter(|shape| shape.takes(value))
            .collect();
        let Some(first) = fitting.first() else {
            if let Some(expected) = shapes.first() {
                self.found(Problem::WrongType {
                    expected: expected.name(),
                    found: name_of(value),
                });
            }
            return;
        };
        match (first, value) {
            (Shape::Words(_), _) => self.word(&fitting, value),
            (Shape::List(_), Value::Array(items)) => {
                let inner: Vec<&Shape> = fitting.iter().filter_map(|shape| shape.item()).collect();
                for (index, item) in items.iter().enumerate() {
                    self.at(&index.to_string(), |walk| walk.value(&inner, item, None));
                }
            }
            (Shape::Map(_), Value::Object(map)) => {
                let inner: Vec<&Shape> = fitting.iter().filter_map(|shape| shape.item()).collect();
                for (key, item) in map {
                    self.at(key, |walk| walk.value(&inner, item, None));
                }
            }
            (Shape::Type(_), Value::Object(map)) => self.keys(&fitting, map),
            (Shape::Config(kind), Value::Object(map)) => self.config(kind, map, around),
            (Shape::Devices, Value::Object(map)) => {
                for (name, device) in map {
                    self.at(name, |walk| walk.device(device));
                }
            }
            _ => {}
        }
    }

    /// The keys of a map that is one of some types.
    fn keys(&mut self, shapes: &[&Shape], map: &Map<String, Value>) {
        let types: Vec<&Type> = shapes
            .iter()
            .filter_map(|shape| match shape {
                Shape::Type(name) => DEFINITIONS.type_named(name),
                _ => None,
            })
            .collect();
        for (key, value) in map {
            let fields: Vec<&definitions::Field> = types
                .iter()
                .flat_map(|kind| kind.fields_named(key))
                .filter(|field| !field.servers.and(self.wanted).is_empty())
                .collect();
            if fields.is_empty() {
                let is_shown = types.iter().any(|kind| kind.shown.contains(&key.as_str()));
                let problem = if is_shown {
                    Problem::ReadOnlyKey
                } else {
                    let known = types.iter().flat_map(|kind| kind.keys(self.wanted));
                    Problem::UnknownKey {
                        known: without_repeats(known),
                    }
                };
                self.at(key, |walk| walk.found(problem));
                continue;
            }
            let servers = fields
                .iter()
                .fold(Servers::NONE, |all, field| all.or(field.servers));
            self.report.servers = self.report.servers.and(servers);
            let shapes: Vec<&Shape> = fields.iter().map(|field| &field.shape).collect();
            self.at(key, |walk| walk.value(&shapes, value, Some(map)));
        }
    }

    /// A place that takes one of a few words.
    fn word(&mut self, shapes: &[&Shape], value: &Value) {
        let known = without_repeats(shapes.iter().flat_map(|shape| shape.words()));
        let is_known = match value {
            Value::String(word) => word.is_empty() || known.contains(&word.as_str()),
            _ => false,
        };
        if !is_known {
            self.found(Problem::WrongValue { known });
        }
    }

    fn config(
        &mut self,
        name: &'static str,
        map: &Map<String, Value>,
        around: Option<&Map<String, Value>>,
    ) {
        let kind = DEFINITIONS.kind(name);
        let variant = kind
            .and_then(|kind| kind.chosen_by)
            .and_then(|key| around?.get(key)?.as_str());
        for (key, value) in map {
            // A pool has the keys that its volumes get.
            let (holder, wanted) = match key.strip_prefix("volume.") {
                Some(rest) if name == "storage-pool" => (DEFINITIONS.kind("storage-volume"), rest),
                _ => (kind, key.as_str()),
            };
            let variants = holder.map_or_else(Vec::new, |holder| holder.variants_named(variant));
            let of = Kind {
                name,
                variant: only(&variants),
            };
            let setting = Setting {
                kind: holder,
                variants,
                key: wanted,
            };
            self.at(key, |walk| {
                walk.setting(&setting, value, |known, elsewhere| {
                    Problem::UnknownConfigKey {
                        of,
                        known,
                        elsewhere,
                    }
                });
            });
        }
    }

    fn device(&mut self, device: &Value) {
        let map = match device {
            Value::Null => return,
            Value::Object(map) => map,
            other => {
                self.found(Problem::WrongType {
                    expected: Shape::Devices.name(),
                    found: name_of(other),
                });
                return;
            }
        };
        let Some(kind) = DEFINITIONS.kind("device") else {
            return;
        };
        let Some(variants) = kind.variants_of_device(map) else {
            let known = kind.device_types();
            self.at("type", |walk| walk.found(Problem::WrongValue { known }));
            return;
        };
        for (key, value) in map {
            let setting = Setting {
                kind: Some(kind),
                variants: variants.clone(),
                key,
            };
            self.at(key, |walk| {
                walk.setting(&setting, value, |known, elsewhere| {
                    Problem::UnknownDeviceKey {
                        of: only(&setting.variants),
                        known,
                        elsewhere,
                    }
                });
            });
        }
    }

    /// A key of a configuration or of a device, and its value.
    fn setting(
        &mut self,
        setting: &Setting<'_>,
        value: &Value,
        unknown: impl FnOnce(Vec<&'static str>, Vec<&'static str>) -> Problem,
    ) {
        if FREE_KEYS.iter().any(|free| setting.key.starts_with(free)) {
            self.text(value, &Shape::Text);
            return;
        }
        let known = setting.known(self.wanted);
        let fitting: Vec<&(&Key, Servers)> = known
            .iter()
            .filter(|(key, _)| key.matches(setting.key))
            .collect();
        if fitting.is_empty() {
            let known = without_repeats(known.iter().map(|(key, _)| key.name));
            let elsewhere = setting
                .kind
                .map_or_else(Vec::new, |kind| kind.variants_with(setting.key));
            self.found(unknown(known, elsewhere));
            return;
        }
        let servers = fitting
            .iter()
            .fold(Servers::NONE, |all, (_, servers)| all.or(*servers));
        self.report.servers = self.report.servers.and(servers);
        // Where several fit, the more lenient one.
        let shape = fitting
            .iter()
            .map(|(key, _)| &key.shape)
            .reduce(|one, other| if one == other { one } else { &Shape::Text })
            .unwrap_or(&Shape::Text);
        self.text(value, shape);
    }

    /// Text that has to be understood as something of a shape.
    fn text(&mut self, value: &Value, shape: &Shape) {
        let written = match value {
            Value::Null => return,
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Array(_) | Value::Object(_) => {
                self.found(Problem::WrongType {
                    expected: Shape::Text.name(),
                    found: name_of(value),
                });
                return;
            }
        };
        if written.is_empty() {
            return;
        }
        match shape {
            Shape::Boolean if !BOOLEANS.contains(&written.to_lowercase().as_str()) => {
                self.found(Problem::WrongValue {
                    known: vec!["true", "false"],
                });
            }
            // VLANs can be `none`.
            Shape::Integer if written != "none" && written.parse::<i128>().is_err() => {
                self.found(Problem::WrongValue { known: Vec::new() });
            }
            _ => {}
        }
    }
}

/// A key that is looked for.
struct Setting<'a> {
    kind: Option<&'static definitions::Kind>,
    variants: Vec<&'static str>,
    key: &'a str,
}

impl Setting<'_> {
    /// The keys that there are, with the servers that have them.
    fn known(&self, wanted: Servers) -> Vec<(&'static Key, Servers)> {
        let keys = self.kind.into_iter().flat_map(|kind| {
            kind.keys
                .iter()
                .map(|key| (key, kind.servers_of(key, &self.variants)))
        });
        keys.filter(|(_, servers)| !servers.and(wanted).is_empty())
            .collect()
    }
}

fn only(variants: &[&'static str]) -> Option<&'static str> {
    match variants {
        [one] => Some(one),
        _ => None,
    }
}

fn without_repeats(words: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut all: Vec<&str> = words.collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The type of a value, in words.
fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}
