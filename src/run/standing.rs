//! An environment that is brought to its state again: what it has is not made a second time.

use malleus_api::{ApiPath, Meaning, means};
use serde_json::json;

use super::action::{ActionResult, Attempt, Change};
use super::ensure::Wanted;
use crate::client::{Error, Request};
use crate::playbook::plan::Replacement;
use crate::resources::Resource;

impl Attempt<'_, '_> {
    /// Sends a request, unless what it makes, or the state that it asks for, is there already.
    pub(super) fn exchange_or_stand(&self, request: &Request) -> Result<ActionResult, Error> {
        let tracker = self.run.session.tracker;
        if let Some(resource) = tracker.standing(&self.frame.client, request)? {
            return self.stand(request, &resource);
        }
        let mut seen = self.exchange(request)?;
        if tracker.is_resumed() && asks_for_state(request) && is_in_state(&seen) {
            seen.error = None;
            seen.change = Some(Change::none());
        }
        Ok(seen)
    }

    /// A resource that the environment has is compared with the request that made it, and changed where it differs.
    fn stand(&self, request: &Request, resource: &Resource) -> Result<ActionResult, Error> {
        let wanted = Wanted {
            path: resource.path.clone(),
            query: request.query_pairs().to_vec(),
            body: request.json_body().cloned().unwrap_or_else(|| json!({})),
            state: None,
            replace: Replacement::Never,
        };
        let live = self.exchange(&wanted.request("GET", &wanted.path, self))?;
        if live.status == Some(404) {
            // Somebody else has removed it.
            self.run.session.tracker.gone(resource);
            return self.exchange(request);
        }
        if !self.run.session.tracker.has(resource) {
            // Somebody else has made it anew: the server refuses the name.
            return self.exchange(request);
        }
        self.bring(&wanted)
    }
}

fn asks_for_state(request: &Request) -> bool {
    let path = ApiPath::parse(request.path());
    request.method() == "PUT" && path.is_some_and(|path| path.state_of().is_some())
}

/// Whether the daemon refused because the instance is in that state already.
fn is_in_state(seen: &ActionResult) -> bool {
    let words = seen.error.as_deref();
    words.is_some_and(|words| means(words, Meaning::InState))
}
