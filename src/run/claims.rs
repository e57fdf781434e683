//! Who made what: resources that includes have made.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::resources::Resource;
use crate::source::Place;

/// Who made what. A resource is locked while somebody makes it.
#[derive(Debug, Default)]
pub(super) struct Claims(Mutex<HashMap<Resource, Arc<Mutex<Option<Made>>>>>);

impl Claims {
    pub(super) fn of(&self, resource: &Resource) -> Arc<Mutex<Option<Made>>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(resource.clone()).or_default())
    }
}

/// A resource that an include has made.
#[derive(Debug)]
pub(super) struct Made {
    /// The `include.id` of its maker.
    pub(super) include: Arc<str>,
    /// Without the name.
    pub(super) body: Value,
    /// Where the step stands.
    pub(super) place: Place,
    /// The loops and includes around the step.
    pub(super) trail: Vec<String>,
}
