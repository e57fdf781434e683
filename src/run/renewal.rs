//! A lease that lives as long as its run.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::executor::Session;
use crate::client::Client;
use crate::tracking::{Lease, Renewal, Tracker};

/// How often it is looked whether something is to be done: what bears the lease may be gone at any time.
const GLANCE: Duration = Duration::from_secs(1);

/// Renews the lease of a run from time to time, on a thread of its own.
pub(super) struct Leaseholder<'a> {
    renewal: Mutex<Renewal>,
    client: Client,
    tracker: &'a Tracker,
    is_over: Mutex<bool>,
    woken: Condvar,
}

impl<'a> Leaseholder<'a> {
    pub(super) fn new(lease: Lease, session: &Session<'a>) -> Self {
        let open = session.tracker.open();
        let renewal = Renewal::new(&session.id, lease, (&open, Instant::now()));
        Self {
            renewal: Mutex::new(renewal),
            client: session.client.detached(),
            tracker: session.tracker,
            is_over: Mutex::new(false),
            woken: Condvar::new(),
        }
    }

    /// Renews until it is retired.
    pub(super) fn serve(&self) {
        loop {
            self.tend();
            let guard = self.is_over.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = self
                .woken
                .wait_timeout_while(guard, GLANCE, |is_over| !*is_over);
            if *waited.unwrap_or_else(PoisonError::into_inner).0 {
                return;
            }
        }
    }

    /// Renews what is due.
    pub(super) fn tend(&self) {
        let mut renewal = self.renewal.lock().unwrap_or_else(PoisonError::into_inner);
        renewal.tend(&self.client, &self.tracker.open());
    }

    /// Lets the thread end, also in the middle of a renewal.
    pub(super) fn retire(&self) {
        *self.is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.client.cancel();
        self.woken.notify_all();
    }
}
