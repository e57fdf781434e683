//! Collections of resources that are nothing but their JSON.

use std::collections::BTreeMap;

use serde_json::Value;

/// Which collection: a kind of resource, in a project and below a parent where it has those.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    kind: &'static str,
    project: String,
    parent: String,
}

impl Place {
    pub(crate) fn global(kind: &'static str) -> Self {
        Self::of(kind, "")
    }

    pub(crate) fn of(kind: &'static str, project: &str) -> Self {
        Self {
            kind,
            project: project.to_owned(),
            parent: String::new(),
        }
    }

    pub(crate) fn below(self, parent: &str) -> Self {
        Self {
            parent: parent.to_owned(),
            ..self
        }
    }

    pub(crate) fn project(&self) -> &str {
        &self.project
    }

    pub(crate) fn parent(&self) -> &str {
        &self.parent
    }
}

/// Objects by place and name.
#[derive(Debug, Default)]
pub(crate) struct Collections(BTreeMap<Place, BTreeMap<String, Value>>);

impl Collections {
    pub(crate) fn get(&self, place: &Place, name: &str) -> Option<&Value> {
        self.0.get(place)?.get(name)
    }

    pub(crate) fn put(&mut self, place: &Place, name: &str, object: Value) {
        let collection = self.0.entry(place.clone()).or_default();
        collection.insert(name.to_owned(), object);
    }

    pub(crate) fn remove(&mut self, place: &Place, name: &str) -> Option<Value> {
        let collection = self.0.get_mut(place)?;
        let removed = collection.remove(name);
        if collection.is_empty() {
            self.0.remove(place);
        }
        removed
    }

    /// Removes all that is in a place.
    pub(crate) fn remove_all(&mut self, place: &Place) {
        self.0.remove(place);
    }

    /// What is in one place is in another one then.
    pub(crate) fn move_all(&mut self, from: &Place, to: Place) {
        if let Some(objects) = self.0.remove(from) {
            self.0.insert(to, objects);
        }
    }

    /// The objects of one place, by name.
    pub(crate) fn list(&self, place: &Place) -> impl Iterator<Item = (&String, &Value)> {
        self.0.get(place).into_iter().flatten()
    }

    /// The objects of one kind in all projects.
    pub(crate) fn every(&self, kind: &str) -> impl Iterator<Item = (&Place, &String, &Value)> {
        let places = self.0.iter().filter(move |(place, _)| place.kind == kind);
        places.flat_map(|(place, objects)| {
            objects
                .iter()
                .map(move |(name, object)| (place, name, object))
        })
    }

    /// Everything in a project goes by another name.
    pub(crate) fn move_project(&mut self, from: &str, to: &str) {
        let places: Vec<Place> = self
            .0
            .keys()
            .filter(|place| place.project == from)
            .cloned()
            .collect();
        for place in places {
            if let Some(objects) = self.0.remove(&place) {
                let moved = Place {
                    project: to.to_owned(),
                    ..place
                };
                self.0.insert(moved, objects);
            }
        }
    }
}
