//! What is worked out from a secret is a secret: `{{ token|upper }}` must not be shown where `{{ token }}` is not.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::State;
use minijinja::value::{Enumerator, Object};
use serde_json::Value;

use super::scope::{Bound, Scope, Secrecy};
use malleus_core::secret::{Masker, SHORTEST};

/// The name under which the formatter finds the watch of its evaluation. No author can write it.
const KEY: &str = "\0watch";

/// The names of a scope for one evaluation, with an eye on the secret ones.
pub(super) struct Watch {
    scope: Scope,
    masker: Masker,
    /// What the author wrote: words that stand in the file are no secret.
    code: String,
    /// Values with secrets in them that were used since something was last written or worked out.
    used: Mutex<Vec<Bound>>,
    /// Whether any was used at all.
    any_used: AtomicBool,
}

impl Watch {
    pub(super) fn new(scope: &Scope, masker: &Masker, code: &str) -> Arc<Self> {
        Arc::new(Self {
            scope: scope.clone(),
            masker: masker.clone(),
            code: code.to_owned(),
            used: Mutex::default(),
            any_used: AtomicBool::new(false),
        })
    }

    /// Has texts that were worked out from secrets masked from now on.
    pub(super) fn learn(&self, value: &minijinja::Value) {
        let used = std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner));
        if used.is_empty() {
            return;
        }
        let Ok(value) = serde_json::to_value(value) else {
            return;
        };
        let mut open = Vec::new();
        let mut is_numeric = false;
        for used in &used {
            let Ok(used_value) = serde_json::to_value(&used.value) else {
                continue;
            };
            is_numeric |= used.secrecy == Secrecy::Partly && has_number(&used_value, &self.masker);
            if used.secrecy == Secrecy::Partly {
                open.extend(texts(&self.masker.mask_value(&used_value)));
            }
        }
        for text in texts(&value) {
            // What merely stands beside the secret in the same value, such as another key of a reply, may be shown.
            let is_open = open.iter().any(|open| open.contains(&text));
            if !is_open {
                self.add(&text);
            }
        }
        if is_numeric {
            // What is worked out from a text, such as its length, is no secret.
            for number in numbers(&value) {
                self.add(&number);
            }
        }
        if is_in_pieces(&value) {
            self.masker.add(&value.to_string().into());
        }
    }

    /// Has a text masked that a loop over a secret has written piece by piece.
    pub(super) fn learn_loop(&self, text: &str) {
        let has_loop = self.code.split("{%").skip(1).any(|tag| {
            let tag = tag.trim_start_matches(['-', '+']).trim_start();
            tag.starts_with("for ")
        });
        if has_loop && self.any_used.load(Ordering::Relaxed) {
            self.masker.add(&text.into());
        }
    }

    fn add(&self, text: &str) {
        if !self.code.contains(text) {
            self.masker.add(&text.into());
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secret.
        f.debug_tuple("Watch").field(&self.scope).finish()
    }
}

impl Object for Watch {
    fn get_value(self: &Arc<Self>, key: &minijinja::Value) -> Option<minijinja::Value> {
        let name = key.as_str()?;
        if name == KEY {
            return Some(minijinja::Value::from_dyn_object(Arc::clone(self)));
        }
        let bound = self.scope.lookup(name)?;
        if bound.secrecy != Secrecy::Open {
            self.any_used.store(true, Ordering::Relaxed);
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            used.push(bound.clone());
        }
        Some(bound.value)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let names = self.scope.names().into_iter();
        Enumerator::Values(names.map(minijinja::Value::from).collect())
    }
}

/// Has a value that is written into a text masked where it was worked out from a secret.
pub(super) fn written(state: &State<'_, '_>, value: &minijinja::Value) {
    if let Some(found) = state.lookup(KEY)
        && let Some(watch) = found.downcast_object_ref::<Watch>()
    {
        watch.learn(value);
    }
}

/// All texts in a value, those in keys too.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, value)| std::iter::once(key.clone()).chain(texts(value)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// All numbers in a value, as JSON writes them.
fn numbers(value: &Value) -> Vec<String> {
    match value {
        Value::Number(number) => vec![number.to_string()],
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        Value::Object(map) => map.values().flat_map(numbers).collect(),
        Value::Null | Value::Bool(_) | Value::String(_) => Vec::new(),
    }
}

fn has_number(value: &Value, masker: &Masker) -> bool {
    let mut numbers = numbers(value).into_iter();
    numbers.any(|number| masker.hides(&number.into()))
}

/// Whether a value is a list of texts that are each too short to be masked, such as the letters of a secret.
fn is_in_pieces(value: &Value) -> bool {
    let is_piece = |item: &Value| {
        item.as_str()
            .is_some_and(|text| text.chars().count() < SHORTEST)
    };
    value
        .as_array()
        .is_some_and(|items| items.len() >= SHORTEST && items.iter().all(is_piece))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::Engine;
    use serde_json::json;

    #[test]
    fn what_is_worked_out_is_masked_and_what_stands_beside_it_is_not() {
        let masker = Masker::default();
        masker.add(&"canary-bird".into());
        let scope = Scope::hiding(&masker);
        scope.bind("token", &"canary-bird".into());
        scope.bind("plain", &"sparrow".into());
        masker.add(&json!(87_654_321));
        scope.bind("pin", &json!(87_654_321));
        scope.bind_secret("whole", &json!({"name": "nightingale", "count": 12_345}));
        scope.bind(
            "reply",
            &json!({"name": "web-1", "config": {"token": "canary-bird"}}),
        );
        let engine = Engine::new();
        for (code, hidden) in [
            ("token|upper", "CANARY-BIRD"),
            ("reply.config.token|reverse", "drib-yranac"),
            ("[token|title]", "Canary-Bird"),
            ("(token ~ '!')|b64encode", "Y2FuYXJ5LWJpcmQh"),
            ("pin + 1", "87654322"),
            ("whole.name", "nightingale"),
        ] {
            engine.value_of(code, &scope).expect("a value");
            assert_eq!(masker.mask(hidden), "***", "{code}");
        }
        let letters = engine.value_of("token|list", &scope).expect("a value");
        assert_eq!(masker.mask_value(&letters), json!("***"));
        for code in [
            "plain|upper",
            "reply.name",
            "'shown' if token else 'other'",
            "token|length",
        ] {
            let value = engine.value_of(code, &scope).expect("a value");
            assert_eq!(masker.mask_value(&value), value, "{code}");
        }
    }
}
