//! Resources of the API as `ensure` sees them: where they are made, what of them is compared, what a change sends.

use malleus_api::catalog::{KEPT_BY_PATCH, OF_CREATION};
use malleus_api::{ApiPath, Kind};
use serde_json::{Map, Value, json};

/// Where a resource is made, and under which name.
pub(super) struct Address {
    /// The path that takes the POST.
    pub(super) collection: String,
    /// The body's key for the name: `name` nearly everywhere.
    pub(super) key: &'static str,
    /// The name.
    pub(super) name: String,
}

impl Address {
    /// The address of a resource's path, which may be below `/1.0/` or begin with it.
    pub(super) fn of(path: &str) -> Option<Self> {
        let path = ApiPath::parse(path)?;
        let collection = path.parent()?;
        let key = collection.kind_of_members().and_then(Kind::name_key);
        Some(Self {
            collection: collection.to_string(),
            key: key.unwrap_or("name"),
            name: path.name().to_owned(),
        })
    }
}

/// Whether a path is that of an instance itself.
pub(super) fn is_instance(path: &str) -> bool {
    ApiPath::parse(path).is_some_and(|path| path.is_instance())
}

/// One key that is not as it should be.
#[derive(Debug, PartialEq)]
pub(super) struct Difference {
    /// The keys that lead to it.
    pub(super) path: Vec<String>,
    /// What is there; null for nothing.
    pub(super) from: Value,
    /// What should be.
    pub(super) to: Value,
}

impl Difference {
    /// For people and for the step's result.
    pub(super) fn shown(&self) -> Value {
        json!({"path": self.path.join("."), "from": self.from, "to": self.to})
    }
}

/// Where `live` is not what `body` asks for. What the body does not name is not looked at.
pub(super) fn differences(path: &str, body: &Value, live: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    let Value::Object(wanted) = body else {
        return found;
    };
    for (key, value) in wanted {
        let is_source = OF_CREATION.contains(&key.as_str());
        // The name of a resource is its path's; `source` of a pool is the daemon's once it exists.
        if is_source || (key == "type" && !path.contains("network")) {
            continue;
        }
        compare(value, live.get(key), &mut vec![key.clone()], &mut found);
    }
    found
}

fn compare(
    wanted: &Value,
    live: Option<&Value>,
    path: &mut Vec<String>,
    found: &mut Vec<Difference>,
) {
    match (wanted, live) {
        (Value::Object(wanted), Some(Value::Object(live))) => {
            for (key, value) in wanted {
                path.push(key.clone());
                compare(value, live.get(key), path, found);
                path.pop();
            }
        }
        (wanted, live) if same(wanted, live) => {}
        (wanted, live) => found.push(Difference {
            path: path.clone(),
            from: live.cloned().unwrap_or_default(),
            to: wanted.clone(),
        }),
    }
}

/// Whether a value is what was asked for, given what daemons make of values.
fn same(wanted: &Value, live: Option<&Value>) -> bool {
    match (wanted, live) {
        (Value::Null, None | Some(Value::Null)) => true,
        (Value::Null, Some(Value::String(text)))
        | (Value::String(text), None | Some(Value::Null)) => text.is_empty(),
        (Value::Object(map), None | Some(Value::Null)) => map.is_empty(),
        (Value::Array(items), None | Some(Value::Null)) => items.is_empty(),
        (Value::String(wanted), Some(Value::String(live))) => same_text(wanted, live),
        (Value::Array(wanted), Some(Value::Array(live))) => {
            wanted.len() == live.len()
                && wanted.iter().zip(live).all(|(one, other)| {
                    let mut found = Vec::new();
                    compare(one, Some(other), &mut Vec::new(), &mut found);
                    found.is_empty()
                })
        }
        (wanted, Some(live)) => wanted == live,
        (_, None) => false,
    }
}

fn same_text(wanted: &str, live: &str) -> bool {
    let truth = |text: &str| match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    };
    wanted == live
        // `auto` becomes what was chosen: an address, a subnet.
        || (wanted == "auto" && !live.is_empty() && live != "none")
        // Daemons keep the word that was written, whichever of the synonyms it is.
        || (wanted.parse::<i64>().is_err() && truth(wanted).is_some() && truth(wanted) == truth(live))
}

/// The method that changes a resource. An alias of an image takes PUT, which [`patch`] writes whole.
pub(super) fn method(path: &str) -> &'static str {
    let path = ApiPath::parse(path);
    match path.as_ref().and_then(ApiPath::kind) {
        Some(kind) if kind.label == "image alias" => "PUT",
        _ => "PATCH",
    }
}

/// What to send so that the differences go away and nothing else changes.
pub(super) fn patch(body: &Value, live: &Value, differences: &[Difference]) -> Value {
    let mut patch = Map::new();
    for key in KEPT_BY_PATCH {
        if let Some(value) = live.get(*key) {
            patch.insert((*key).into(), value.clone());
        }
    }
    for difference in differences {
        let Some((first, rest)) = difference.path.split_first() else {
            continue;
        };
        if let ("config", [key]) = (first.as_str(), rest) {
            // Empty text takes a key out, whether the server merges or replaces.
            patch.entry("config").or_insert_with(|| json!({}))[key] = match &difference.to {
                Value::Null => Value::String(String::new()),
                value => value.clone(),
            };
        } else {
            // It replaces everything else whole: what is there, with what is asked for on top.
            let mut value = live.get(first).cloned().unwrap_or_default();
            merge(&mut value, &body[first]);
            patch.insert(first.clone(), value);
        }
    }
    patch.into()
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                if value.is_null() {
                    into.shift_remove(key);
                } else {
                    merge(into.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (into, from) => *into = from.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (path, expected) in [
            ("profiles/web", Some(("/1.0/profiles", "name", "web"))),
            (
                "/1.0/images/aliases/a%2Fb",
                Some(("/1.0/images/aliases", "name", "a/b")),
            ),
            (
                "storage-pools/default/volumes/custom/v1?x=1",
                Some(("/1.0/storage-pools/default/volumes/custom", "name", "v1")),
            ),
            (
                "networks/br0/forwards/10.0.0.1",
                Some(("/1.0/networks/br0/forwards", "listen_address", "10.0.0.1")),
            ),
            ("profiles", None),
        ] {
            let found = Address::of(path);
            let found = found
                .as_ref()
                .map(|a| (a.collection.as_str(), a.key, a.name.as_str()));
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn what_counts_as_a_difference() {
        let live = json!({
            "description": "web", "profiles": ["default"],
            "config": {"limits.memory": "64MiB", "security.nesting": "true", "ipv4.address": "10.1.2.1/24", "volatile.x": "1"},
            "devices": {"root": {"type": "disk", "pool": "default", "path": "/"}},
            "ingress": [{"action": "allow", "state": "enabled"}],
        });
        for (body, paths) in [
            (json!({}), vec![]),
            (
                json!({"source": {"type": "image"}, "description": "web", "config": {"limits.memory": "64MiB"}}),
                vec![],
            ),
            (
                json!({"config": {"ipv4.address": "auto", "security.nesting": "yes", "gone": null, "empty": ""}}),
                vec![],
            ),
            (json!({"ingress": [{"action": "allow"}]}), vec![]),
            (
                json!({"config": {"limits.memory": "128MiB", "user.x": "1"}}),
                vec!["config.limits.memory", "config.user.x"],
            ),
            (
                json!({"config": {"volatile.x": null}}),
                vec!["config.volatile.x"],
            ),
            (json!({"profiles": ["default", "web"]}), vec!["profiles"]),
            (
                json!({"devices": {"root": {"size": "1GiB"}}}),
                vec!["devices.root.size"],
            ),
        ] {
            let found: Vec<String> = differences("instances/x", &body, &live)
                .iter()
                .map(|d| d.path.join("."))
                .collect();
            assert_eq!(found, paths, "{body}");
        }
    }

    #[test]
    fn a_patch_changes_nothing_else() {
        let live = json!({"description": "d", "config": {"a": "1", "b": "2", "c": "3"}, "devices": {"root": {"type": "disk", "path": "/"}}});
        let body = json!({"config": {"a": "2", "b": null}, "devices": {"root": {"size": "1GiB"}}});
        let found = differences("profiles/x", &body, &live);
        assert_eq!(
            patch(&body, &live, &found),
            json!({
                "description": "d",
                "config": {"a": "2", "b": "", "c": "3"},
                "devices": {"root": {"type": "disk", "path": "/", "size": "1GiB"}},
            })
        );
    }
}
