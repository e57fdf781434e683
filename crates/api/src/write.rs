//! How a resource is changed: the one place that knows what PATCH and PUT mean for each kind.

use serde_json::{Map, Value};

use crate::bodies::Schema;
use crate::catalog::{Change, Etag, KEPT_BY_PATCH, SERVER_OWNED};
use crate::compare::{Difference, Step};
use crate::path::ApiPath;

/// The change of a resource.
#[derive(Debug, PartialEq)]
pub struct Write {
    /// `PATCH` or `PUT`.
    pub method: &'static str,
    /// The body.
    pub body: Value,
    /// Whether `If-Match` with the `ETag` of the state that it is based on is understood.
    pub is_conditional: bool,
}

/// What to send so that the differences between `body` and `live` go away and nothing else changes.
pub fn write(path: &ApiPath, (body, live): (&Value, &Value), differences: &[Difference]) -> Write {
    let kind = path.kind();
    let change = kind.map_or(Change::Patch, |kind| kind.change);
    let is_whole = change == Change::Put || differences.iter().any(|one| is_kept(one, live));
    let mut sent = if is_whole {
        all_that_put_takes(path, live)
    } else {
        let kept = |key: &&str| Some(((*key).to_owned(), live.get(*key)?.clone()));
        KEPT_BY_PATCH.iter().filter_map(kept).collect()
    };
    for difference in differences {
        let first = difference.first();
        if !sent.contains_key(first)
            && let Some(value) = live.get(first)
        {
            sent.insert(first.to_owned(), value.clone());
        }
        let mut to = difference.to.clone();
        if to.is_null() {
            to = match (difference.path.len(), &difference.from) {
                (1, from) => empty_like(from),
                // Empty text takes a key out of what is merged.
                _ if first == "config" && !is_whole => "".into(),
                _ => Value::Null,
            };
        }
        let root = (
            sent.entry(first.to_owned()).or_insert(Value::Null),
            body.get(first),
        );
        apply(root, difference.path.get(1..).unwrap_or_default(), to);
    }
    Write {
        method: if is_whole { "PUT" } else { "PATCH" },
        body: sent.into(),
        is_conditional: kind.is_none_or(|kind| kind.etag == Etag::Compared),
    }
}

/// A body without the keys that should not be, for a creation: there, servers take null for a value.
pub fn without_nulls(body: &Value) -> Value {
    match body {
        Value::Object(map) => {
            let set = map.iter().filter(|(_, value)| !value.is_null());
            set.map(|(key, value)| (key.clone(), without_nulls(value)))
                .collect::<Map<_, _>>()
                .into()
        }
        other => other.clone(),
    }
}

/// Whether PATCH would keep what should go: an entry of a mapping that it merges. `config` has empty text for that.
fn is_kept(difference: &Difference, live: &Value) -> bool {
    let is_entry = difference.path.len() == 2 && live[difference.first()].is_object();
    difference.to.is_null() && is_entry && difference.first() != "config"
}

fn all_that_put_takes(path: &ApiPath, live: &Value) -> Map<String, Value> {
    let schema = Schema::of_request("PUT", &path.to_string());
    let takes = |key: &str| {
        if schema.is_known() {
            schema.has_key(key)
        } else {
            !SERVER_OWNED.contains(&key)
        }
    };
    let entries = live.as_object().into_iter().flatten();
    entries
        .filter(|(key, _)| takes(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Puts a value where a way leads. A list is replaced by the one that is asked for.
fn apply((into, body): (&mut Value, Option<&Value>), path: &[Step], to: Value) {
    let Some((step, rest)) = path.split_first() else {
        *into = to;
        return;
    };
    let Step::Key(key) = step else {
        *into = body.cloned().unwrap_or(to);
        return;
    };
    if !into.is_object() {
        *into = Map::new().into();
    }
    let Value::Object(map) = into else { return };
    if rest.is_empty() && to.is_null() {
        map.shift_remove(key);
        return;
    }
    let inner = body.and_then(|body| body.get(key));
    apply(
        (map.entry(key.clone()).or_insert(Value::Null), inner),
        rest,
        to,
    );
}

fn empty_like(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::Bool(_) => false.into(),
        Value::Number(_) => 0.into(),
        Value::String(_) => "".into(),
        Value::Array(_) => Value::Array(Vec::new()),
        Value::Object(_) => Map::new().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::differences;
    use serde_json::json;

    fn sent(path: &str, body: &Value, live: &Value) -> (&'static str, Value) {
        let path = ApiPath::parse(path).expect("a path");
        let write = write(&path, (body, live), &differences(&path, body, live));
        (write.method, write.body)
    }

    #[test]
    fn a_patch_changes_nothing_else() {
        let live = json!({
            "description": "d", "config": {"a": "1", "b": "2", "c": "3"},
            "devices": {"root": {"type": "disk", "path": "/"}}, "used_by": [],
        });
        let body = json!({"config": {"a": "2", "b": null}, "devices": {"root": {"size": "1GiB"}}});
        assert_eq!(
            sent("profiles/x", &body, &live),
            (
                "PATCH",
                json!({
                    "description": "d",
                    "config": {"a": "2", "b": "", "c": "3"},
                    "devices": {"root": {"type": "disk", "path": "/", "size": "1GiB"}},
                })
            )
        );
    }

    #[test]
    fn what_patch_would_keep_goes_by_put() {
        let live = json!({
            "name": "x", "description": "d", "config": {"user.a": "1"}, "used_by": ["/1.0/instances/i"],
            "devices": {"root": {"type": "disk"}, "eth0": {"type": "nic"}},
        });
        assert_eq!(
            sent(
                "profiles/x",
                &json!({"devices": {"eth0": null}, "config": {"user.a": null}}),
                &live
            ),
            (
                "PUT",
                json!({"description": "d", "config": {}, "devices": {"root": {"type": "disk"}}})
            )
        );
    }

    #[test]
    fn kinds_with_another_patch_are_put_whole() {
        let live = json!({
            "name": "www", "description": "d", "config": {"user.a": "1"},
            "entries": [{"type": "A", "ttl": 3600, "value": "10.0.0.1"}],
        });
        let body = json!({"entries": [{"type": "A", "ttl": 60, "value": "10.0.0.1"}]});
        assert_eq!(
            sent("network-zones/z/records/www", &body, &live),
            (
                "PUT",
                json!({"description": "d", "config": {"user.a": "1"}, "entries": body["entries"]})
            )
        );
    }

    #[test]
    fn null_empties_a_list() {
        let live =
            json!({"description": "", "config": {}, "ingress": [{"action": "drop"}], "egress": []});
        let (method, body) = sent("network-acls/x", &json!({"ingress": null}), &live);
        assert_eq!((method, &body["ingress"]), ("PATCH", &json!([])));
    }

    #[test]
    fn a_creation_has_no_nulls() {
        let body = json!({"config": {"user.a": null, "user.b": "1"}, "devices": {"old": null}, "description": null});
        assert_eq!(
            without_nulls(&body),
            json!({"config": {"user.b": "1"}, "devices": {}})
        );
    }
}
