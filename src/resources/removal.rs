//! Removing resources: each as its kind needs it, all of them in an order that dependencies allow.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use malleus_api::{Meaning, Wave, means};
use serde_json::{Value, json};

use super::emptying::empty;
use super::resource::{Extent, Resource};
use crate::client::{Backoff, Client, DELETING, Error, Limit, Reply, Request, Wait};

/// How long a resource may be busy before its removal is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a resource may be in use by something that is itself being removed.
const IN_USE: Duration = Duration::from_secs(5);
/// The first pause before trying again; each further one is twice as long, up to `LONGEST`.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(2);
/// How long a look may take whether a resource is there at all.
const LOOK: Duration = Duration::from_secs(10);
/// How many are removed at a time: stopping an instance is nearly all waiting.
const WIDTH: usize = 16;

/// Gives the client for a remote.
pub type Connect<'a> = &'a (dyn Fn(&str) -> Result<Client, Error> + Sync);

/// How a resource went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// It was removed.
    Removed,
    /// It was not there.
    Already,
    /// It went with the resource that it belonged to.
    Along,
}

/// What came of one resource.
#[derive(Debug)]
pub struct Removal<'a, K> {
    /// What the caller calls it.
    pub key: &'a K,
    /// The resource.
    pub resource: &'a Resource,
    /// How it went, or why it is still there.
    pub result: Result<Gone, Error>,
    /// How long it took.
    pub duration: Duration,
}

/// Removes resources, given in the order of their making: in waves, what uses others first, newest first, side by side
/// within a wave. A failure does not stop the others. `done` is told of each as it ends.
pub fn remove_all<K: Sync>(
    resources: &[(K, Resource)],
    connect: Connect<'_>,
    limit: Limit,
    done: &(dyn Fn(Removal<'_, K>) + Sync),
) {
    // Two requests for one name have a record each.
    let is_double = |at: usize, resource: &Resource| {
        let before = &resources[..at];
        before.iter().any(|(_, other)| other.goes_with(resource))
    };
    let goes_along = |resource: &Resource| {
        let mut all = resources.iter();
        all.any(|(_, other)| other.takes_along(resource))
    };
    let (mut parts, mut own) = (Vec::new(), Vec::new());
    for (at, entry) in resources.iter().enumerate() {
        if is_double(at, &entry.1) || goes_along(&entry.1) {
            parts.push(entry);
        } else {
            own.push(entry);
        }
    }
    let went: Mutex<Vec<&Resource>> = Mutex::default();
    // The newest first; the sort by waves is stable.
    own.reverse();
    own.sort_by_key(|(_, resource)| resource.wave());
    for wave in own.chunk_by(|(_, one), (_, other)| one.wave() == other.wave()) {
        let wave: VecDeque<&(K, Resource)> = wave.iter().copied().collect();
        abreast(wave, |(key, resource)| {
            let start = Instant::now();
            let result = connect(&resource.remote)
                .and_then(|client| remove(&client, resource, connect, limit));
            if result.is_ok() {
                went.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(resource);
            }
            done(Removal {
                key,
                resource,
                result,
                duration: start.elapsed(),
            });
        });
    }
    let went = went.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (key, resource) in parts {
        // What belongs to a resource that could not be removed is that one's to report.
        let is_gone = went.iter().any(|other| other.goes_with(resource));
        if is_gone || went.iter().any(|owner| owner.takes_along(resource)) {
            let gone = if is_gone { Gone::Already } else { Gone::Along };
            done(Removal {
                key,
                resource,
                result: Ok(gone),
                duration: Duration::ZERO,
            });
        }
    }
}

fn abreast<T: Send>(work: VecDeque<T>, act: impl Fn(T) + Sync) {
    let width = WIDTH.min(work.len());
    let work = Mutex::new(work);
    let worker = || {
        loop {
            let next = work
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
            match next {
                Some(item) => act(item),
                None => return,
            }
        }
    };
    std::thread::scope(|threads| {
        for _ in 1..width {
            threads.spawn(worker);
        }
        worker();
    });
}

/// Removes one resource, again and again while it is busy.
fn remove(
    client: &Client,
    resource: &Resource,
    connect: Connect<'_>,
    limit: Limit,
) -> Result<Gone, Error> {
    let busy = client.limit("removal", PATIENCE).earlier(limit);
    let in_use = client.limit("removal", IN_USE).earlier(limit);
    let mut backoff = Backoff::new(FIRST, LONGEST);
    loop {
        let error = match once(client, resource, connect, limit) {
            Ok(gone) => return Ok(gone),
            Err(error) => error,
        };
        let patience = if passes_by(&error) {
            busy
        } else if says(&error, Meaning::InUse) {
            in_use
        } else {
            return gone_meanwhile(client, resource, error);
        };
        match backoff.next(patience) {
            None => return gone_meanwhile(client, resource, error),
            Some(pause) => client.pause(pause)?,
        }
    }
}

/// A removal that failed because somebody else was quicker has not failed.
fn gone_meanwhile(client: &Client, resource: &Resource, error: Error) -> Result<Gone, Error> {
    if !matches!(error, Error::Api(_) | Error::Operation(_)) {
        return Err(error);
    }
    let look = resource.request("GET").limit(Limit::after("look", LOOK));
    match client.request(&look) {
        Err(other) if other.status() == Some(404) => Ok(Gone::Already),
        _ => Err(error),
    }
}

fn once(
    client: &Client,
    resource: &Resource,
    connect: Connect<'_>,
    limit: Limit,
) -> Result<Gone, Error> {
    if let Some((instance, operation)) = resource.as_recorded_output() {
        let client = match &resource.project {
            Some(project) => client.with_project(project),
            None => client.clone(),
        };
        return match client.delete_exec_logs(&instance, &operation) {
            Err(error) if error.status() == Some(404) => Ok(Gone::Already),
            other => other.map(|()| Gone::Removed),
        };
    }
    let delete = || carry_out(client, resource.request("DELETE"), limit);
    match delete() {
        Ok(()) => Ok(Gone::Removed),
        Err(error) if error.status() == Some(404) => Ok(Gone::Already),
        Err(error) if resource.wave() == Wave::Instances && says(&error, Meaning::Running) => {
            stop(client, resource, limit)?;
            match delete() {
                // An ephemeral instance is gone as soon as it has stopped.
                Err(error) if error.status() == Some(404) => Ok(Gone::Removed),
                other => other.map(|()| Gone::Removed),
            }
        }
        // No other refusal is a reason to touch what is in it.
        Err(error)
            if resource.extent == Extent::WithContents && says(&error, Meaning::NotEmpty) =>
        {
            if empty(client, resource, connect, limit)? == 0 {
                return Err(error);
            }
            delete().map(|()| Gone::Removed)
        }
        Err(error) => Err(error),
    }
}

/// Stops an instance by force. That it has stopped already is as good.
fn stop(client: &Client, instance: &Resource, limit: Limit) -> Result<(), Error> {
    let stop = instance
        .request_at("PUT", "/state")
        .json(json!({"action": "stop", "force": true}));
    match carry_out(client, stop, limit) {
        Err(error) if error.status() == Some(404) || says(&error, Meaning::Stopped) => Ok(()),
        other => other,
    }
}

fn carry_out(client: &Client, request: Request, limit: Limit) -> Result<(), Error> {
    client
        .run(&request.limit(limit), &Wait::within(limit))
        .map(|_| ())
}

/// Whether the same request may well succeed a little later.
fn passes_by(error: &Error) -> bool {
    error.is_transient()
        || matches!(
            error,
            Error::Interrupted { .. } | Error::Lost { .. } | Error::Protocol { .. }
        )
        // Of one part, not of the whole: such as a file on a member of a cluster that is just coming back.
        || matches!(error, Error::Timeout { limit, .. } if *limit == DELETING)
        || says(error, Meaning::Transient)
        || says(error, Meaning::Busy)
}

fn says(error: &Error, meaning: Meaning) -> bool {
    said(error).is_some_and(|message| means(message, meaning))
}

/// What the server said.
pub(super) fn said(error: &Error) -> Option<&str> {
    match error {
        Error::Api(refusal) => Some(&refusal.message),
        Error::Operation(failure) => Some(&failure.err),
        _ => None,
    }
}

/// Reads something; again where the answer does not come, or not whole, so that a server that falters keeps nobody from
/// cleaning up.
pub(super) fn read(client: &Client, request: &Request, limit: Limit) -> Result<Reply, Error> {
    let patience = client.limit("removal", PATIENCE).earlier(limit);
    let request = request.clone().limit(patience);
    let mut backoff = Backoff::new(FIRST, LONGEST);
    loop {
        match client.request(&request) {
            Err(error) if error.is_transient() || matches!(error, Error::Protocol { .. }) => {
                let pause = backoff.next(patience).ok_or(error)?;
                client.pause(pause)?;
            }
            other => return other,
        }
    }
}

/// Text of a JSON value's field, for the modules beside this one.
pub(super) fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}
