//! Names and their values, in layers.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use minijinja::value::{Enumerator, Object, Serde};
use serde_json::{Map, Value};

use super::strict;
use super::taint::Watch;
use malleus_core::secret::Masker;

/// The names an expression can use. Copies share the layer: a name bound in one is seen by all. A child layer
/// sees its parents' names; what is bound in the child stays there.
#[derive(Clone)]
pub struct Scope(Arc<Layer>);

struct Layer {
    parent: Option<Scope>,
    names: RwLock<HashMap<String, Bound>>,
    bindings: Bindings,
    secrets: Secrets,
}

/// How secrets among the values are known; the same for all layers.
#[derive(Clone, Default)]
struct Secrets {
    masker: Masker,
    /// Whether a name is bound that is secret as a whole.
    any_whole: Arc<AtomicBool>,
}

/// Where names are bound.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bindings {
    Here,
    /// In the layer below.
    Below,
}

/// What a name stands for.
#[derive(Clone)]
pub(super) struct Bound {
    pub(super) value: minijinja::Value,
    pub(super) secrecy: Secrecy,
}

/// How much of a value is secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrecy {
    /// Nothing.
    Open,
    /// What the masker knows in it.
    Partly,
    /// All of it: what is taken out of it becomes known to the masker.
    Whole,
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secret; names are not.
        f.debug_set().entries(self.names()).finish()
    }
}

impl Default for Scope {
    fn default() -> Self {
        Self::hiding(&Masker::default())
    }
}

impl Scope {
    fn new(parent: Option<Scope>, bindings: Bindings, secrets: Secrets) -> Self {
        Self(Arc::new(Layer {
            parent,
            names: RwLock::default(),
            bindings,
            secrets,
        }))
    }

    /// An empty scope in which values that `masker` hides are known as secret, and what is worked out from them too.
    pub fn hiding(masker: &Masker) -> Self {
        let secrets = Secrets {
            masker: masker.clone(),
            ..Secrets::default()
        };
        Self::new(None, Bindings::Here, secrets)
    }

    /// A layer on top of this one.
    #[must_use]
    pub fn child(&self) -> Self {
        Self::new(Some(self.clone()), Bindings::Here, self.0.secrets.clone())
    }

    /// This layer, but with another value for one name; other names that are bound in it are bound in this one.
    #[must_use]
    pub fn lens(&self, name: &str, value: &Value) -> Self {
        let lens = Self::new(Some(self.clone()), Bindings::Below, self.0.secrets.clone());
        lens.bind_here(name, value);
        lens
    }

    /// Binds `name` in this layer.
    pub fn bind(&self, name: &str, value: &Value) {
        match (&self.0.parent, self.0.bindings) {
            (Some(parent), Bindings::Below) => parent.bind(name, value),
            _ => self.bind_here(name, value),
        }
    }

    /// Binds `name` in this layer to a value of which nothing may be shown.
    pub fn bind_secret(&self, name: &str, value: &Value) {
        if let (Some(parent), Bindings::Below) = (&self.0.parent, self.0.bindings) {
            parent.bind_secret(name, value);
        } else {
            self.0.secrets.any_whole.store(true, Ordering::Relaxed);
            self.insert(name, engine_value(value), Secrecy::Whole);
        }
    }

    /// Binds the fields of a step's result, each as a name of its own.
    pub fn bind_fields(&self, fields: &Map<String, Value>) {
        for (name, value) in fields {
            if is_unreadable(fields, name) {
                self.insert(name, unreadable(name), Secrecy::Open);
            } else {
                self.bind(name, value);
            }
        }
    }

    fn bind_here(&self, name: &str, value: &Value) {
        let secrecy = if self.0.secrets.masker.hides(value) {
            Secrecy::Partly
        } else {
            Secrecy::Open
        };
        self.insert(name, engine_value(value), secrecy);
    }

    fn insert(&self, name: &str, value: minijinja::Value, secrecy: Secrecy) {
        let bound = Bound { value, secrecy };
        self.0
            .names
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned(), bound);
    }

    /// Binds `name` in the layer below this one; in this one where there is none below.
    pub fn bind_in_parent(&self, name: &str, value: &Value) {
        match (&self.0.parent, self.0.bindings) {
            (Some(parent), Bindings::Below) => parent.bind_in_parent(name, value),
            (Some(parent), Bindings::Here) => parent.bind(name, value),
            (None, _) => self.bind(name, value),
        }
    }

    /// The value of a name in this layer or below.
    pub fn get(&self, name: &str) -> Option<Value> {
        self.lookup(name)
            .and_then(|bound| serde_json::to_value(bound.value).ok())
    }

    /// Whether a name stands for a value of which nothing may be shown.
    pub fn is_secret(&self, name: &str) -> bool {
        self.lookup(name)
            .is_some_and(|bound| bound.secrecy == Secrecy::Whole)
    }

    pub(super) fn lookup(&self, name: &str) -> Option<Bound> {
        if let Some(asked) = strict::asked(name) {
            let bound = self.lookup(asked)?;
            let value = strict::seen(bound.value);
            return Some(Bound { value, ..bound });
        }
        let own = self
            .0
            .names
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned();
        own.or_else(|| self.0.parent.as_ref()?.lookup(name))
    }

    pub(super) fn names(&self) -> Vec<String> {
        let mut names = self.0.parent.as_ref().map(Scope::names).unwrap_or_default();
        names.extend(
            self.0
                .names
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .keys()
                .cloned(),
        );
        names
    }

    /// The scope as the engine wants it: looked up name by name, so that its size costs nothing.
    pub(super) fn context(&self) -> minijinja::Value {
        minijinja::Value::from_object(self.clone())
    }

    /// The scope for one evaluation of `code`, where there are secrets that it may use.
    pub(super) fn watch(&self, code: &str) -> Option<Arc<Watch>> {
        let Secrets { masker, any_whole } = &self.0.secrets;
        let is_needed = !masker.is_empty() || any_whole.load(Ordering::Relaxed);
        is_needed.then(|| Watch::new(self, masker, code))
    }
}

/// Whether a field of a result is output that is not UTF-8.
fn is_unreadable(fields: &Map<String, Value>, name: &str) -> bool {
    matches!(name, "stdout" | "stderr")
        && fields.get(name) == Some(&Value::Null)
        && fields
            .get(&format!("{name}_base64"))
            .is_some_and(Value::is_string)
}

/// Output that is not UTF-8: any use of it says so.
fn unreadable(name: &str) -> minijinja::Value {
    minijinja::Value::from(minijinja::Error::new(
        minijinja::ErrorKind::InvalidOperation,
        format!("`{name}` is not UTF-8 text; `{name}_base64` has its bytes"),
    ))
}

/// A value as the engine has it. Results of commands may have output that cannot be read as text.
fn engine_value(value: &Value) -> minijinja::Value {
    let is_unreadable_at = |value: &Value| {
        value
            .as_object()
            .is_some_and(|fields| fields.keys().any(|name| is_unreadable(fields, name)))
    };
    match value {
        Value::Object(fields) if is_unreadable_at(value) => {
            let values = fields.iter().map(|(name, value)| {
                let value = if is_unreadable(fields, name) {
                    unreadable(name)
                } else {
                    engine_value(value)
                };
                (name.clone(), value)
            });
            minijinja::Value::from(values.collect::<BTreeMap<String, minijinja::Value>>())
        }
        // The results of a loop.
        Value::Array(items) if items.iter().any(is_unreadable_at) => {
            items.iter().map(engine_value).collect()
        }
        _ => minijinja::Value::from(Serde(value)),
    }
}

impl Object for Scope {
    fn get_value(self: &Arc<Self>, key: &minijinja::Value) -> Option<minijinja::Value> {
        self.lookup(key.as_str()?).map(|bound| bound.value)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(
            self.names()
                .into_iter()
                .map(minijinja::Value::from)
                .collect(),
        )
    }
}
