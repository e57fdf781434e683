//! Names and their values, in layers.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use minijinja::value::{Enumerator, Object, Serde};
use serde_json::Value;

/// The names an expression can use. Copies share the layer: a name bound in one is seen by all. A child layer
/// sees its parents' names; what is bound in the child stays there.
#[derive(Clone)]
pub struct Scope(Arc<Layer>);

struct Layer {
    parent: Option<Scope>,
    names: RwLock<HashMap<String, minijinja::Value>>,
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secret; names are not.
        f.debug_set().entries(self.names()).finish()
    }
}

impl Default for Scope {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Scope {
    fn new(parent: Option<Scope>) -> Self {
        Self(Arc::new(Layer {
            parent,
            names: RwLock::default(),
        }))
    }

    /// A layer on top of this one.
    #[must_use]
    pub fn child(&self) -> Self {
        Self::new(Some(self.clone()))
    }

    /// Binds `name` in this layer.
    pub fn bind(&self, name: &str, value: &Value) {
        self.0
            .names
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned(), minijinja::Value::from(Serde(value)));
    }

    /// Binds `name` in the layer below this one; in this one where there is none below.
    pub fn bind_in_parent(&self, name: &str, value: &Value) {
        self.0.parent.as_ref().unwrap_or(self).bind(name, value);
    }

    /// The value of a name in this layer or below.
    pub fn get(&self, name: &str) -> Option<Value> {
        self.lookup(name)
            .and_then(|value| serde_json::to_value(value).ok())
    }

    fn lookup(&self, name: &str) -> Option<minijinja::Value> {
        let own = self
            .0
            .names
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned();
        own.or_else(|| self.0.parent.as_ref()?.lookup(name))
    }

    fn names(&self) -> Vec<String> {
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
}

impl Object for Scope {
    fn get_value(self: &Arc<Self>, key: &minijinja::Value) -> Option<minijinja::Value> {
        self.lookup(key.as_str()?)
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
