//! How much of one kind of work a server gets at a time.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use malleus_api::ApiPath;

use crate::client::{Client, Error};

/// How often a waiting step looks whether it has been cancelled.
const LOOK: Duration = Duration::from_millis(50);

/// Lets a number of steps through at a time.
pub(super) struct ConcurrencyLimit {
    free: Mutex<usize>,
    left: Condvar,
}

/// Passage through a gate; the place is free again when it is dropped.
pub(super) struct Permit<'a>(&'a ConcurrencyLimit);

impl ConcurrencyLimit {
    pub(super) fn new(width: usize) -> Self {
        Self {
            free: Mutex::new(width.max(1)),
            left: Condvar::new(),
        }
    }

    /// Waits for a place, unless the client is cancelled.
    pub(super) fn enter(&self, client: &Client) -> Result<Permit<'_>, Error> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if client.is_cancelled() {
                return Err(Error::Cancelled);
            }
            if *free > 0 {
                *free -= 1;
                return Ok(Permit(self));
            }
            free = self
                .left
                .wait_timeout(free, LOOK)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.left.notify_one();
    }
}

/// The limits of one server. Building saturates its processors, so it is narrow; stopping is mostly waiting, so it is
/// wide; reading is not limited, nor are commands, which may wait for each other.
pub(super) struct ConcurrencyLimits {
    build: ConcurrencyLimit,
    teardown: ConcurrencyLimit,
}

/// How many instances are stopped or deleted at a time.
const TEARDOWN: usize = 16;

impl ConcurrencyLimits {
    /// `width` operations that build at a time.
    pub(super) fn new(width: usize) -> Self {
        Self {
            build: ConcurrencyLimit::new(width),
            teardown: ConcurrencyLimit::new(TEARDOWN.max(width)),
        }
    }

    /// The gate for a request, if its kind has one.
    pub(super) fn of(&self, request: &crate::client::Request) -> Option<&ConcurrencyLimit> {
        let path = ApiPath::parse(request.path())?;
        let action = || {
            request
                .json_body()
                .and_then(|body| body["action"].as_str().map(str::to_owned))
        };
        let is_state = path.state_of().is_some();
        match request.method() {
            "DELETE" => Some(&self.teardown),
            "PUT" if is_state && action().as_deref() == Some("stop") => Some(&self.teardown),
            "PUT" if is_state => Some(&self.build),
            "POST" if path.builds() => Some(&self.build),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Request;
    use serde_json::json;

    #[test]
    fn older_names_of_instances_have_the_same_limits() {
        let limits = ConcurrencyLimits::new(2);
        let is = |request: &Request, limit: Option<&ConcurrencyLimit>| {
            let found = limits.of(request).map(std::ptr::from_ref);
            assert_eq!(found, limit.map(std::ptr::from_ref), "{request:?}");
        };
        for collection in ["instances", "containers", "virtual-machines"] {
            is(&Request::post(collection), Some(&limits.build));
            is(
                &Request::post(format!("{collection}/web/snapshots")),
                Some(&limits.build),
            );
            is(&Request::post(format!("{collection}/web/exec")), None);
            let state = Request::new("PUT", format!("{collection}/web/state"));
            is(
                &state.clone().json(json!({"action": "start"})),
                Some(&limits.build),
            );
            is(
                &state.json(json!({"action": "stop"})),
                Some(&limits.teardown),
            );
        }
        is(&Request::post("profiles"), None);
    }
}
