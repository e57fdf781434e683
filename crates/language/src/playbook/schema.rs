//! The language as a JSON Schema, for editors: made of the same table that the loader reads.

use malleus_api::bodies::json_schema::{self, Rule};
use serde_json::{Map, Value, json};

use super::grammar::{ACTIONS, INPUT, Kind, Need, PLAYBOOK, STEP, Shape, Type};

/// The JSON Schema (2020-12) of a playbook.
pub fn schema() -> Value {
    let mut root = shape(&PLAYBOOK);
    let mut definitions = Map::new();
    for (name, definition) in [
        ("step", step()),
        (
            "steps",
            json!({"type": "array", "items": {"$ref": "#/$defs/step"}}),
        ),
        ("expression", expression()),
        ("duration", duration()),
    ] {
        definitions.insert(name.into(), definition);
    }
    definitions.append(&mut json_schema::definitions());
    let mut schema = Map::new();
    schema.insert(
        "$schema".into(),
        "https://json-schema.org/draft/2020-12/schema".into(),
    );
    schema.insert("title".into(), "malleus playbook, format 1".into());
    if let Value::Object(root) = &mut root {
        schema.append(root);
    }
    schema.insert("$defs".into(), definitions.into());
    schema.into()
}

/// A step: all keys, exactly one action, and companions only with their action.
fn step() -> Value {
    let mut step = shape(&STEP);
    let actions: Vec<Value> = ACTIONS
        .iter()
        .map(|action| json!({"required": [action.name]}))
        .collect();
    step["oneOf"] = actions.into();
    let mut dependent = Map::new();
    for key in STEP.keys {
        let owners: Vec<&str> = ACTIONS
            .iter()
            .filter(|action| action.companions.contains(&key.name))
            .map(|action| action.name)
            .collect();
        // A key of several actions cannot be told in one list of what must be there too.
        if let [owner] = owners.as_slice()
            && key.name != "concurrency"
        {
            dependent.insert(key.name.into(), json!([owner]));
        }
    }
    for key in ["fail_when", "every", "within"] {
        dependent.insert(key.into(), json!(["until"]));
    }
    step["dependentRequired"] = dependent.into();
    step["if"] = json!({"not": may_fail()});
    step["then"] = json!({"allOf": bodies()});
    step
}

/// Bodies, by the request or the resource that a step names.
fn bodies() -> Vec<Value> {
    let of = |key: &str, rules: Vec<Rule>| -> Vec<Value> {
        rules
            .into_iter()
            .map(|rule| {
                json!({
                    "if": {"properties": {key: {"type": "string", "pattern": rule.pattern}}, "required": [key]},
                    "then": {"properties": {"body": rule.body}},
                })
            })
            .collect()
    };
    let mut all = of("request", json_schema::requests());
    all.extend(of("ensure", json_schema::resources()));
    all
}

/// A step that may be refused: what it sends is its author's affair.
fn may_fail() -> Value {
    let failure = json!({"anyOf": [{"type": "integer", "minimum": 400}, {"type": "string"}]});
    let status = json!({"anyOf": [failure, {"type": "array", "contains": failure}]});
    json!({"anyOf": [
        {"properties": {"on_error": {"const": "continue"}}, "required": ["on_error"]},
        {
            "properties": {"expect": {"type": "object", "anyOf": [
                {"required": ["error"]},
                {"properties": {"status": status}, "required": ["status"]},
            ]}},
            "required": ["expect"],
        },
    ]})
}

fn shape(shape: &Shape) -> Value {
    let properties: Map<String, Value> = shape
        .keys
        .iter()
        .map(|key| {
            let mut value = kind(&key.kind);
            value["description"] = key.doc.into();
            if key.name == "playbook" {
                value["const"] = 1.into();
            }
            (key.name.to_owned(), value)
        })
        .collect();
    let required: Vec<&str> = shape
        .keys
        .iter()
        .filter(|key| key.need == Need::Required)
        .map(|key| key.name)
        .collect();
    let mut schema = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema
}

fn kind(of: &Kind) -> Value {
    match of {
        // What is not text can still be worked out by a template.
        Kind::Dynamic(Type::Integer) => any_of(&[
            scalar(Type::Integer),
            json!({"type": "string", "pattern": "\\{\\{"}),
        ]),
        Kind::Fixed(wanted) | Kind::Dynamic(wanted) => scalar(*wanted),
        Kind::Free => json!({}),
        Kind::List(item) => json!({"type": "array", "items": kind(item)}),
        Kind::ListOrTemplate(item) => any_of(&[
            json!({"type": "array", "items": kind(item)}),
            json!({"type": "string", "pattern": "^\\{\\{[\\s\\S]*\\}\\}$"}),
        ]),
        Kind::OneOrMore(item) => {
            any_of(&[kind(item), json!({"type": "array", "items": kind(item)})])
        }
        Kind::Entries(value) => json!({"type": "object", "additionalProperties": kind(value)}),
        Kind::Names(value) => json!({
            "type": "object",
            "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
            "additionalProperties": kind(value),
        }),
        Kind::Shape(inner) => shape(inner),
        // The long form of an input is a mapping, and no mapping is a short form.
        Kind::Either([Kind::Shape(inner), Kind::Free]) if inner.what == INPUT.what => any_of(&[
            shape(inner),
            json!({"type": ["string", "number", "boolean", "array", "null"]}),
        ]),
        Kind::Either(kinds) => any_of(&kinds.iter().map(kind).collect::<Vec<_>>()),
        Kind::Steps => json!({"$ref": "#/$defs/steps"}),
        Kind::OneOrMoreSteps => any_of(&[
            json!({"$ref": "#/$defs/step"}),
            json!({"$ref": "#/$defs/steps"}),
        ]),
    }
}

fn any_of(kinds: &[Value]) -> Value {
    json!({"anyOf": kinds})
}

fn scalar(wanted: Type) -> Value {
    match wanted {
        Type::Text => json!({"type": "string"}),
        Type::Scalar => json!({"type": ["string", "integer", "boolean"]}),
        Type::Integer => json!({"type": "integer"}),
        Type::Boolean => json!({"type": "boolean"}),
        Type::Duration => json!({"$ref": "#/$defs/duration"}),
        Type::Name => json!({"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}),
        Type::Slug => json!({"type": "string", "pattern": "^[a-z0-9][a-z0-9-]*$"}),
        Type::Expression => json!({"$ref": "#/$defs/expression"}),
        Type::Word(words) => json!({"enum": words}),
    }
}

fn expression() -> Value {
    json!({
        "type": ["string", "boolean"],
        "description": "An expression, without braces.",
        "not": {"type": "string", "pattern": "^\\s*\\{\\{[\\s\\S]*\\}\\}\\s*$"},
    })
}

fn duration() -> Value {
    json!({
        "type": "string",
        "description": "500ms, 30s, 5m, 2h.",
        "pattern": "^\\s*([0-9]+(\\.[0-9]*)?(ms|s|m|h|d))+\\s*$",
    })
}
