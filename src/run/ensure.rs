//! `ensure` and `absent`: a resource brought to a state, whatever it was before.

use malleus_api::bodies::Schema;
use malleus_api::compare::{Difference, differences};
use malleus_api::flavor::CREATE_AND_START;
use malleus_api::write::{self, without_nulls};
use malleus_api::{ApiPath, Kind, Meaning, means};
use serde_json::{Map, Value, json};

use super::action::{ActionError, ActionResult, Attempt, Change};
use super::shown::shown;
use crate::client::{self, Request};
use crate::playbook::plan::{Absent, Ensure, Replacement, Scalars};
use crate::resources::{Before, named_image};
use crate::template::Template;

/// How often a change is tried again after somebody else changed the resource in between.
const ROUNDS: usize = 5;
/// How long a graceful stop may take before it is forced, in seconds.
const GRACE: u64 = 30;

impl Attempt<'_, '_> {
    /// Creates the resource, or changes what differs, or does nothing.
    pub(super) fn ensure(&self, action: &Ensure) -> Result<ActionResult, ActionError> {
        let renderer = self.renderer();
        let path = renderer.path(&action.path)?;
        let query = self.query(&action.query)?;
        let mut body = match &action.body {
            Some(body) => renderer.value(body)?,
            None => json!({}),
        };
        let state = action
            .state
            .as_ref()
            .map(|state| renderer.text(state))
            .transpose()?;
        if action.scalars == Scalars::AsText {
            Schema::of_resource(&path).write_text(&mut body);
        }
        let what = format!("ensure {path}");
        let seen = self
            .bring(&Wanted {
                path,
                query,
                body,
                state,
                replace: action.replace,
            })
            .map_err(|error| ActionError::client(error, what.clone()))?;
        Ok(ActionResult { what, ..seen })
    }

    /// Removes the resource; that it is gone already is fine.
    pub(super) fn absent(&self, action: &Absent) -> Result<ActionResult, ActionError> {
        let path = self.renderer().path(&action.path)?;
        let query = self.query(&action.query)?;
        let what = format!("absent {path}");
        let seen = self
            .remove(&path, &query)
            .map_err(|error| ActionError::client(error, what.clone()))?;
        Ok(ActionResult { what, ..seen })
    }

    fn query(&self, pairs: &[(String, Template)]) -> Result<Vec<(String, String)>, ActionError> {
        let renderer = self.renderer();
        pairs
            .iter()
            .map(|(name, value)| Ok((name.clone(), renderer.text(value)?)))
            .collect()
    }

    pub(super) fn bring(&self, wanted: &Wanted) -> Result<ActionResult, client::Error> {
        let mut change = Change::none();
        for _ in 0..ROUNDS {
            let live = self.exchange(&wanted.request("GET", &wanted.path, self))?;
            if live.status == Some(404) {
                let made = self.create(wanted)?;
                if made.error.is_some() {
                    return Ok(made);
                }
                change.outcome = "created";
                return self.finish_ensure(wanted, change, None);
            }
            if live.error.is_some() {
                return Ok(live);
            }
            let path = wanted.api_path();
            let difference = differences(&path, &wanted.body, &live.metadata);
            if path.is_instance() {
                let (fixed, note) = self.fixed_differences(wanted, &live.metadata, &difference)?;
                if !fixed.is_empty() {
                    return self.replace(wanted, fixed, live);
                }
                change.note = note;
            }
            if difference.is_empty() {
                return self.finish_ensure(wanted, change, Some(live));
            }
            let write = write::write(&path, (&wanted.body, &live.metadata), &difference);
            let mut request = wanted
                .request(write.method, &wanted.path, self)
                .json(write.body);
            if let Some(etag) = &live.etag
                && write.is_conditional
            {
                request = request.if_match(etag);
            }
            let changed = self.exchange(&request)?;
            match changed.status {
                // Somebody else was quicker: look again.
                Some(412) => {}
                _ if changed.error.is_some() => return Ok(changed),
                _ => {
                    change.outcome = "changed";
                    change.difference = difference.iter().map(as_json).collect();
                    return self.finish_ensure(wanted, change, None);
                }
            }
        }
        Ok(ActionResult {
            status: Some(412),
            error: Some(format!(
                "the resource was changed by somebody else {ROUNDS} times in between"
            )),
            ..ActionResult::default()
        })
    }

    pub(super) fn create(&self, wanted: &Wanted) -> Result<ActionResult, client::Error> {
        let path = wanted.api_path();
        let Some(collection) = path.parent() else {
            return Ok(ActionResult {
                status: Some(404),
                error: Some(
                    "there is no such resource, and its path does not say where to create it"
                        .into(),
                ),
                ..ActionResult::default()
            });
        };
        let key = collection.kind_of_members().and_then(Kind::name_key);
        let mut body = Map::new();
        body.insert(key.unwrap_or("name").into(), path.name().into());
        if let Value::Object(given) = without_nulls(&wanted.body) {
            body.extend(given);
        }
        let starts = wanted.state.as_deref() == Some("running");
        if starts && self.frame.client.server().has_extension(CREATE_AND_START) {
            body.insert("start".into(), true.into());
        }
        let request = wanted.request("POST", &collection.to_string(), self);
        let request = request.json(Value::Object(body));
        self.exchange_knowing(&request, Before::Absent)
            .map(|(made, _)| made)
    }

    /// Brings an instance to its state. The result is how the resource is seen last: as it was already `seen`, where
    /// nothing was written since.
    pub(super) fn finish_ensure(
        &self,
        wanted: &Wanted,
        mut change: Change,
        seen: Option<ActionResult>,
    ) -> Result<ActionResult, client::Error> {
        let look = || self.exchange(&wanted.request("GET", &wanted.path, self));
        let mut live = seen.map_or_else(look, Ok)?;
        if live.error.is_some() {
            live.change = Some(change);
            return Ok(live);
        }
        let left = differences(&wanted.api_path(), &wanted.body, &live.metadata);
        if !left.is_empty() {
            return Ok(self.not_taken(&left, change, live));
        }
        if let Some(state) = &wanted.state {
            let is = live.metadata["status"]
                .as_str()
                .unwrap_or_default()
                .to_lowercase();
            if is != *state {
                let mut moved = if state == "stopped" && live.metadata["ephemeral"] == true {
                    live.error = Some(format!(
                        "it is ephemeral and {is}: the server deletes it when it stops; remove it with `absent:` instead"
                    ));
                    live
                } else {
                    self.set_state(wanted, (&is, state))?
                };
                if moved.error.is_some() {
                    moved.change = Some(change);
                    return Ok(moved);
                }
                if !matches!(change.outcome, "created" | "replaced") {
                    change.outcome = "changed";
                    change
                        .difference
                        .push(json!({"path": "status", "from": is, "to": state}));
                }
                live = look()?;
            }
        }
        live.change = Some(change);
        self.want(wanted)?;
        Ok(live)
    }

    /// The environment's next run knows the resource by this step.
    fn want(&self, wanted: &Wanted) -> Result<(), client::Error> {
        let tracker = self.run.session.tracker;
        let removal = wanted.request("DELETE", &wanted.path, self);
        if let Some(mut own) = tracker.own(&self.frame.client, &removal)? {
            own.image = named_image(&wanted.body).or(own.image);
            tracker.want(own, &self.frame.origin);
        }
        Ok(())
    }

    /// The result where the server has another state than the one that was written, without a word of refusal.
    fn not_taken(
        &self,
        left: &[Difference],
        mut change: Change,
        live: ActionResult,
    ) -> ActionResult {
        let masker = self.run.masker;
        let told: Vec<String> = left
            .iter()
            .map(|one| {
                let (is, should) = (shown(masker, &one.from), shown(masker, &one.to));
                format!("{} is {is}, not {should}", one.place())
            })
            .collect();
        let left: Vec<Value> = left.iter().map(as_json).collect();
        if change.outcome == "changed" && left == change.difference {
            change.outcome = "unchanged";
        }
        change.difference = left;
        ActionResult {
            error: Some(format!("the server did not take it: {}", told.join(", "))),
            change: Some(change),
            ..live
        }
    }

    fn set_state(
        &self,
        wanted: &Wanted,
        (is, state): (&str, &str),
    ) -> Result<ActionResult, client::Error> {
        let put = |body: Value| {
            let path = format!("{}/state", wanted.path);
            self.exchange(&wanted.request("PUT", &path, self).json(body))
        };
        match (is, state) {
            ("frozen", "running") => put(json!({"action": "unfreeze"})),
            (_, "running") => put(json!({"action": "start"})),
            ("running", "frozen") => put(json!({"action": "freeze"})),
            (_, "frozen") => {
                let started = put(json!({"action": "start"}))?;
                if started.error.is_some() {
                    return Ok(started);
                }
                put(json!({"action": "freeze"}))
            }
            _ => {
                let stopped = put(json!({"action": "stop", "timeout": GRACE, "force": false}))?;
                if stopped.error.is_none() {
                    return Ok(stopped);
                }
                put(json!({"action": "stop", "force": true}))
            }
        }
    }

    pub(super) fn remove(
        &self,
        path: &str,
        query: &[(String, String)],
    ) -> Result<ActionResult, client::Error> {
        let wanted = Wanted {
            path: path.to_owned(),
            query: query.to_vec(),
            body: Value::Null,
            state: None,
            replace: Replacement::Never,
        };
        let mut gone = self.exchange(&wanted.request("DELETE", path, self))?;
        let runs = |seen: &ActionResult| {
            let words = seen.error.as_deref();
            words.is_some_and(|words| means(words, Meaning::Running))
        };
        if runs(&gone) && wanted.api_path().is_instance() {
            let state = format!("{path}/state");
            let stop = wanted.request("PUT", &state, self);
            let stopped = self.exchange(&stop.json(json!({"action": "stop", "force": true})))?;
            if stopped.error.is_some() && stopped.status != Some(404) {
                return Ok(stopped);
            }
            gone = self.exchange(&wanted.request("DELETE", path, self))?;
            // An ephemeral instance is gone as soon as it has stopped.
            if gone.status == Some(404) {
                gone.error = None;
            }
        } else if gone.status == Some(404) {
            gone.error = None;
            gone.change = Some(Change::none());
            return Ok(gone);
        }
        gone.change = Some(Change::with("removed"));
        Ok(gone)
    }
}

/// What `ensure` was asked for.
pub(super) struct Wanted {
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) body: Value,
    pub(super) state: Option<String>,
    pub(super) replace: Replacement,
}

impl Wanted {
    pub(super) fn api_path(&self) -> ApiPath {
        ApiPath::parse(&self.path).unwrap_or_else(|| ApiPath::of([self.path.as_str()]))
    }

    pub(super) fn request(&self, method: &str, path: &str, attempt: &Attempt<'_, '_>) -> Request {
        self.query.iter().fold(
            Request::new(method, path).limit(attempt.limit),
            |request, (name, value)| request.query(name, value),
        )
    }
}

/// A difference for people and for the step's result.
pub(super) fn as_json(difference: &Difference) -> Value {
    json!({"path": difference.place(), "from": difference.from, "to": difference.to})
}
