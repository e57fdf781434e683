//! Subsets of JSON values: what is asked for must be there, the rest may.

use serde_json::Value;

use crate::source::Span;
use crate::template::Template;

/// A step of the way into a value: `.key` or `[index]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Key(String),
    Index(usize),
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(key) if crate::playbook::document::is_name(key) => write!(f, ".{key}"),
            Self::Key(key) => write!(f, "[{key:?}]"),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

pub(super) struct Difference {
    pub(super) path: Vec<Part>,
    pub(super) expected: Value,
    pub(super) actual: Option<Value>,
}

/// Where `actual` does not have what `wanted` asks for. Objects may have more keys; lists must be as long.
pub(super) fn differences(wanted: &Value, actual: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(wanted, Some(actual), &mut Vec::new(), &mut found);
    found
}

fn compare(
    wanted: &Value,
    actual: Option<&Value>,
    path: &mut Vec<Part>,
    found: &mut Vec<Difference>,
) {
    match (wanted, actual) {
        (Value::Object(wanted), Some(Value::Object(actual))) => {
            for (key, value) in wanted {
                path.push(Part::Key(key.clone()));
                compare(value, actual.get(key), path, found);
                path.pop();
            }
        }
        (Value::Array(wanted), Some(Value::Array(actual))) if wanted.len() == actual.len() => {
            for (index, value) in wanted.iter().enumerate() {
                path.push(Part::Index(index));
                compare(value, actual.get(index), path, found);
                path.pop();
            }
        }
        // The API leaves out what is null.
        (Value::Null, None) => {}
        (wanted, Some(actual)) if same(wanted, actual) => {}
        (wanted, actual) => found.push(Difference {
            path: path.clone(),
            expected: wanted.clone(),
            actual: actual.cloned(),
        }),
    }
}

fn same(wanted: &Value, actual: &Value) -> bool {
    match (wanted.as_f64(), actual.as_f64()) {
        (Some(one), Some(other)) if wanted.is_f64() || actual.is_f64() => {
            (one - other).abs() < f64::EPSILON
        }
        _ => wanted == actual,
    }
}

/// The place of the part of a template that `path` leads to, as far as it is written out.
pub(super) fn span_of(template: &Template, path: &[Part]) -> Span {
    let Some((first, rest)) = path.split_first() else {
        return template.span();
    };
    let inner = match (template, first) {
        (Template::Map(entries, _), Part::Key(key)) => entries
            .iter()
            .find(|(name, _)| name.literal().and_then(Value::as_str) == Some(key))
            .map(|(_, value)| value),
        (Template::List(items, _), Part::Index(index)) => items.get(*index),
        _ => None,
    };
    inner.map_or_else(|| template.span(), |inner| span_of(inner, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn subsets() {
        let actual = json!({"status": "Running", "config": {"a.b": "1", "c": "2"}, "list": [1, {"x": 1, "y": 2}], "n": 1.0});
        for (wanted, paths) in [
            (json!({}), vec![]),
            (json!({"status": "Running", "config": {"c": "2"}}), vec![]),
            (json!({"n": 1, "gone": null}), vec![]),
            (json!({"list": [1, {"x": 1}]}), vec![]),
            (json!({"list": [1]}), vec![".list"]),
            (
                json!({"list": [2, {"x": 2}]}),
                vec![".list[0]", ".list[1].x"],
            ),
            (
                json!({"config": {"a.b": "2", "d": "1"}}),
                vec![".config[\"a.b\"]", ".config.d"],
            ),
            (json!({"status": null}), vec![".status"]),
        ] {
            let found: Vec<String> = differences(&wanted, &actual)
                .iter()
                .map(|difference| difference.path.iter().map(Part::to_string).collect())
                .collect();
            assert_eq!(found, paths, "{wanted}");
        }
    }
}
