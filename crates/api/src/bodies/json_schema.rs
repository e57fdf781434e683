//! The definitions as a JSON Schema, for editors of files in which text may be a template.
//!
//! Lenient where the check only warns: keys that are not known are left alone.

use serde_json::{Map, Value, json};

use super::definitions::{DEFINITIONS, Field, Key, Kind, Shape};
use crate::endpoints;

/// A name in a path: anything but the end of the segment, or a template.
const NAME: &str = r"(?:[^/?{]|\{\{[^}]*\}\})+";

/// Keys that are known before a template is rendered.
const PLAIN_KEY: &str = "^[^{]*$";

/// A kind of request or resource, and the schema of its body.
#[derive(Debug)]
pub struct Rule {
    /// The regular expression of the request (`POST instances`) or of the resource's path.
    pub pattern: String,
    /// The schema of its body, which names those of [`definitions`].
    pub body: Value,
}

/// The schemas that others name, for `$defs`.
pub fn definitions() -> Map<String, Value> {
    let types = DEFINITIONS.types().iter().map(|kind| {
        let mut properties = Map::new();
        for Field { key, .. } in kind.fields() {
            let shapes: Vec<Value> = kind.shapes(key).map(schema).collect();
            properties.insert((*key).to_owned(), any_of(shapes));
        }
        let whole = json!({"type": ["object", "null"], "properties": properties});
        (name("type", kind.name), or_template(whole))
    });
    let kinds = DEFINITIONS.kinds().iter().map(|kind| {
        let whole = match kind.name {
            "device" => device(kind),
            _ => settings(kind),
        };
        (name("keys", kind.name), or_template(whole))
    });
    let shared = [
        (
            "text".to_owned(),
            json!({"anyOf": [
                {"type": ["string", "number", "boolean", "null"]},
                // The content of a file, in the place of a text.
                {
                    "type": "object",
                    "properties": {"file": {"type": "string"}, "template": {"type": "boolean"}},
                    "required": ["file"],
                    "additionalProperties": false,
                },
            ]}),
        ),
        (
            "template".to_owned(),
            json!({"type": "string", "pattern": r"\{[{%#]"}),
        ),
    ];
    shared.into_iter().chain(types).chain(kinds).collect()
}

/// A rule for every request whose body is known.
pub fn requests() -> Vec<Rule> {
    DEFINITIONS
        .requests()
        .map(|request| Rule {
            pattern: format!(
                "^(?:{}) {}$",
                request.methods.replace(',', "|"),
                path(request.path)
            ),
            body: all_of(request.types.iter().copied()),
        })
        .collect()
}

/// A rule for every resource that is made by one request and changed by another.
pub fn resources() -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for endpoint in endpoints::all() {
        let of = |method, path| {
            DEFINITIONS
                .types_of(method, path)
                .map(|kind| kind.name)
                .collect::<Vec<_>>()
        };
        let mut types = of("PUT", endpoint.path);
        types.extend(of("PATCH", endpoint.path));
        if let Some((collection, _)) = endpoint.path.rsplit_once('/') {
            types.extend(of("POST", collection));
        }
        types.sort_unstable();
        types.dedup();
        if !types.is_empty() {
            rules.push(Rule {
                pattern: format!("^{}$", path(endpoint.path)),
                body: all_of(types.into_iter()),
            });
        }
    }
    rules
}

/// The regular expression of a path, with or without `/1.0/` before it and a query behind it.
fn path(of: &str) -> String {
    if of.is_empty() {
        return r"/1\.0(?:\?.*)?".to_owned();
    }
    let segments: Vec<String> = of
        .split('/')
        .enumerate()
        .map(|(index, segment)| match segment {
            "instances" if index == 0 => endpoints::with_aliases(segment),
            _ if segment.ends_with("…}") => format!("{NAME}(?:/{NAME})*"),
            _ if endpoints::is_placeholder(segment) => NAME.to_owned(),
            word => word.to_owned(),
        })
        .collect();
    format!(r"(?:/1\.0/)?{}(?:\?.*)?", segments.join("/"))
}

fn schema(shape: &Shape) -> Value {
    match shape {
        Shape::Any => json!({}),
        Shape::Text => reference("text"),
        Shape::Words(_) => {
            let words: Vec<&str> = shape.words().collect();
            json!({"anyOf": [{"enum": words}, reference("text")]})
        }
        Shape::Boolean => or_template(json!({"type": ["boolean", "null"]})),
        Shape::Integer => or_template(json!({"type": ["integer", "null"]})),
        Shape::Number => or_template(json!({"type": ["number", "null"]})),
        Shape::List(item) => or_template(json!({"type": ["array", "null"], "items": schema(item)})),
        Shape::Map(item) => or_template(json!({
            "type": ["object", "null"],
            "patternProperties": {PLAIN_KEY: schema(item)},
        })),
        Shape::Type(kind) => reference(&name("type", kind)),
        // Kinds without keys of their own are maps of text.
        Shape::Config(kind) if DEFINITIONS.kind(kind).is_none() => {
            schema(&Shape::Map(Box::new(Shape::Text)))
        }
        Shape::Config(kind) => reference(&name("keys", kind)),
        Shape::Devices => or_template(json!({
            "type": ["object", "null"],
            "patternProperties": {PLAIN_KEY: reference(&name("keys", "device"))},
        })),
    }
}

/// A map of text whose keys are known.
fn settings(kind: &Kind) -> Value {
    let keys: Map<String, Value> = kind
        .keys
        .iter()
        .filter(|Key { name, .. }| !name.contains('*'))
        .map(|key| (key.name.to_owned(), json!({})))
        .collect();
    json!({
        "type": ["object", "null"],
        "properties": keys,
        "patternProperties": {PLAIN_KEY: reference("text")},
    })
}

fn device(kind: &Kind) -> Value {
    let mut whole = settings(kind);
    whole["properties"]["type"] = json!({"anyOf": [{"enum": kind.device_types()}, {}]});
    whole
}

fn name(room: &str, of: &str) -> String {
    format!("api-{room}-{of}")
}

fn reference(to: &str) -> Value {
    json!({"$ref": format!("#/$defs/{to}")})
}

fn or_template(schema: Value) -> Value {
    any_of(vec![schema, reference("template")])
}

fn any_of(mut schemas: Vec<Value>) -> Value {
    match schemas.len() {
        1 => schemas.remove(0),
        _ => json!({"anyOf": schemas}),
    }
}

fn all_of<'a>(types: impl Iterator<Item = &'a str>) -> Value {
    let mut schemas: Vec<Value> = types.map(|kind| reference(&name("type", kind))).collect();
    match schemas.len() {
        1 => schemas.remove(0),
        _ => json!({"allOf": schemas}),
    }
}
