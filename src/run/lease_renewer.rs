//! A lease that lives as long as its run.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::executor::Session;
use crate::client::Client;
use crate::resources::{Lease, Renewal, Tracked, Tracker};

/// How often it is looked whether something is to be done: what bears the lease may be gone at any time.
const GLANCE: Duration = Duration::from_secs(1);

/// Renews the lease of a run from time to time, on a thread of its own.
pub(super) struct LeaseRenewer<'a> {
    renewal: Mutex<Renewal>,
    /// Those of other servers, by what journals call these.
    elsewhere: Mutex<HashMap<String, (Client, Renewal)>>,
    lease: Lease,
    session: &'a Session<'a>,
    client: Client,
    tracker: &'a Tracker,
    is_over: Mutex<bool>,
    woken: Condvar,
}

impl<'a> LeaseRenewer<'a> {
    pub(super) fn new(lease: Lease, session: &'a Session<'a>) -> Self {
        let open = session.tracker.open();
        let renewal = Renewal::new(&session.id, lease, (&open, Instant::now()));
        Self {
            renewal: Mutex::new(renewal),
            elsewhere: Mutex::default(),
            lease,
            session,
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
        let home = self.client.remote().to_string();
        let (here, there): (Vec<Tracked>, Vec<Tracked>) = self
            .tracker
            .open()
            .into_iter()
            .partition(|known| known.resource.remote == home);
        renewal.tend(&self.client, &here);
        drop(renewal);
        self.tend_elsewhere(there);
    }

    fn tend_elsewhere(&self, open: Vec<Tracked>) {
        let mut by_remote: HashMap<String, Vec<Tracked>> = HashMap::new();
        for known in open {
            let remote = known.resource.remote.clone();
            by_remote.entry(remote).or_default().push(known);
        }
        let elsewhere = self.elsewhere.lock();
        let mut elsewhere = elsewhere.unwrap_or_else(PoisonError::into_inner);
        for (remote, open) in by_remote {
            if !elsewhere.contains_key(&remote) {
                // One that does not answer now is asked again in a second.
                let Ok(client) = (self.session.remotes)(&remote) else {
                    continue;
                };
                let lease = Lease {
                    ahead: client.server().ahead,
                    ..self.lease
                };
                let renewal = Renewal::new(&self.session.id, lease, (&[], Instant::now()));
                elsewhere.insert(remote.clone(), (self.client.child_of(&client), renewal));
            }
            if let Some((client, renewal)) = elsewhere.get_mut(&remote) {
                renewal.tend(client, &open);
            }
        }
    }

    /// Lets the thread end, also in the middle of a renewal.
    pub(super) fn retire(&self) {
        *self.is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.client.cancel();
        self.woken.notify_all();
    }
}
