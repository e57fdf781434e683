//! What is worked out from a secret is a secret: `{{ token|upper }}` must not be shown where `{{ token }}` is not.

use std::sync::{Arc, Mutex, PoisonError};

use minijinja::State;
use minijinja::value::{Enumerator, Object};
use serde_json::Value;

use super::scope::Scope;
use malleus_core::secret::Masker;

/// The name under which the formatter finds the watch of its evaluation. No author can write it.
const KEY: &str = "\0watch";

/// The names of a scope for one evaluation, with an eye on the secret ones.
#[derive(Debug)]
pub(super) struct Watch {
    scope: Scope,
    masker: Masker,
    /// What the author wrote: words that stand in the file are no secret.
    code: String,
    /// Values with secrets in them that were used since something was last written or worked out.
    used: Mutex<Vec<minijinja::Value>>,
}

impl Watch {
    pub(super) fn new(scope: &Scope, masker: &Masker, code: &str) -> Arc<Self> {
        Arc::new(Self {
            scope: scope.clone(),
            masker: masker.clone(),
            code: code.to_owned(),
            used: Mutex::default(),
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
        let open: Vec<String> = used
            .iter()
            .filter_map(|used| serde_json::to_value(used).ok())
            .flat_map(|used| texts(&self.masker.mask_value(&used)))
            .collect();
        for text in texts(&value) {
            // What merely stands beside the secret in the same value, such as another key of a reply, may be shown.
            let is_open = open.iter().any(|open| open.contains(&text));
            if !is_open && !self.code.contains(&text) {
                self.masker.add(&text.into());
            }
        }
    }
}

impl Object for Watch {
    fn get_value(self: &Arc<Self>, key: &minijinja::Value) -> Option<minijinja::Value> {
        let name = key.as_str()?;
        if name == KEY {
            return Some(minijinja::Value::from_dyn_object(Arc::clone(self)));
        }
        let bound = self.scope.lookup(name)?;
        if bound.has_secret {
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            used.push(bound.value.clone());
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
        ] {
            engine.value_of(code, &scope).expect("a value");
            assert_eq!(masker.mask(hidden), "***", "{code}");
        }
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
