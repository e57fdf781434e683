//! Errors that pass by themselves: tried again, with growing pauses, within the step's limit.

use std::time::Duration;

use malleus_api::{Meaning, means};

use super::action::{ActionError, ActionResult};
use crate::client::{Backoff, Client, Error, Limit, Sent};
use crate::playbook::plan::Action;

/// How long a passing error may last.
const PATIENCE: Duration = Duration::from_secs(30);
/// The first pause; each further one is twice as long, up to `LONGEST`.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(3);

/// Carries out an action, again where its failure passes by itself and repeating it cannot do harm.
///
/// | failure | repeated |
/// | --- | --- |
/// | nothing was sent; 503, a locked database, a busy instance | always |
/// | the connection broke after sending | `GET`, `HEAD`, `PUT`, `DELETE`; `PATCH` with `If-Match` |
/// | the server no longer knows the operation | `DELETE`, and what looks before it acts |
///
/// A `DELETE` that is repeated because its outcome is unknown finds its object gone when the first one was carried out: 404
/// is success then.
pub(super) fn retry(
    client: &Client,
    limit: Limit,
    action: &Action,
    act: impl Fn() -> Result<ActionResult, ActionError>,
) -> Result<ActionResult, ActionError> {
    let patience = client.limit("patience", PATIENCE).earlier(limit);
    let mut backoff = Backoff::new(FIRST, LONGEST);
    let mut may_be_done = false;
    loop {
        let acted = act().map(|seen| settle(seen, action, may_be_done));
        if !passes(&acted, action) {
            return acted;
        }
        let Some(pause) = backoff.next(patience) else {
            return acted;
        };
        may_be_done |= broke_after_sending(&acted) || is_lost(&acted);
        if client.pause(pause).is_err() {
            return acted;
        }
    }
}

fn settle(mut seen: ActionResult, action: &Action, may_be_done: bool) -> ActionResult {
    if may_be_done && deletes(action) && seen.status == Some(404) {
        seen.error = None;
    }
    seen
}

fn passes(acted: &Result<ActionResult, ActionError>, action: &Action) -> bool {
    match acted {
        Ok(seen) => seen
            .error
            .as_ref()
            .is_some_and(|words| seen.status == Some(503) || means(words, Meaning::Transient)),
        Err(ActionError::Template(_) | ActionError::Refused(_)) => false,
        Err(ActionError::Client(..)) if broke_after_sending(acted) => repeatable(action),
        Err(ActionError::Client(..)) if is_lost(acted) => {
            deletes(action) || matches!(action, Action::Ensure(_) | Action::Absent(_))
        }
        Err(ActionError::Client(failure)) => failure.error.is_transient(),
    }
}

fn broke_after_sending(acted: &Result<ActionResult, ActionError>) -> bool {
    matches!(
        client_error(acted),
        Some(Error::Interrupted {
            sent: Sent::Maybe,
            ..
        })
    )
}

fn is_lost(acted: &Result<ActionResult, ActionError>) -> bool {
    matches!(client_error(acted), Some(Error::Lost { .. }))
}

fn client_error(acted: &Result<ActionResult, ActionError>) -> Option<&Error> {
    acted.as_ref().err().and_then(ActionError::client_error)
}

fn deletes(action: &Action) -> bool {
    matches!(action, Action::Request(request) if request.method == "DELETE")
}

/// Whether a request that may have been carried out can be sent again.
fn repeatable(action: &Action) -> bool {
    match action {
        Action::Request(request) => match request.method.as_str() {
            "GET" | "HEAD" | "PUT" | "DELETE" => true,
            "PATCH" => request
                .headers
                .iter()
                .any(|(name, _)| name.eq_ignore_ascii_case("if-match")),
            _ => false,
        },
        // Waiting repeats nothing, and these look before they act.
        Action::Join(_) | Action::Ensure(_) | Action::Absent(_) => true,
        _ => false,
    }
}
