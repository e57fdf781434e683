//! A lease that lives as long as its run.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::executor::Session;
use crate::client::Client;
use crate::tracking::{Lease, Tracker, renew};

/// A lease is renewed this often before it would end.
const TIMES: u32 = 3;

/// Renews the lease of a run from time to time, on a thread of its own.
pub(super) struct Renewal<'a> {
    lease: Lease,
    client: Client,
    tracker: &'a Tracker,
    is_over: Mutex<bool>,
    woken: Condvar,
}

impl<'a> Renewal<'a> {
    pub(super) fn new(lease: Lease, session: &Session<'a>) -> Self {
        Self {
            lease,
            client: session.client.detached(),
            tracker: session.tracker,
            is_over: Mutex::new(false),
            woken: Condvar::new(),
        }
    }

    /// Renews until it is retired.
    pub(super) fn serve(&self) {
        let pause = (self.lease.lasts / TIMES).min(Duration::from_secs(3600));
        loop {
            let guard = self.is_over.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = self
                .woken
                .wait_timeout_while(guard, pause, |is_over| !*is_over);
            let (guard, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if *guard {
                return;
            }
            drop(guard);
            // A renewal that fails is tried again long before the lease ends.
            let _ = renew(&self.client, &self.tracker.open(), self.lease);
        }
    }

    /// Lets the thread end.
    pub(super) fn retire(&self) {
        *self.is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.woken.notify_all();
    }
}
