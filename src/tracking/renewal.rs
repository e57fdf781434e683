//! Renewing a lease: one object per run is enough, since the latest end of any of them counts for all.

use serde_json::{Value, json};

use super::journal::State;
use super::stamp::{EXPIRES_KEY, Lease, RUN_KEY};
use super::tracker::Tracked;
use crate::client::{Client, Error, Request};

/// Puts off the end of a run's lease, on the first of its resources that takes it. Nothing where it has none yet.
///
/// # Errors
/// Those of the client, where no resource took it.
pub fn renew(client: &Client, open: &[Tracked], lease: Lease) -> Result<(), Error> {
    let mut failure = Ok(());
    for known in open.iter().filter(|known| known.state == State::Made) {
        match put_off(client, known, lease) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => failure = Err(error),
        }
    }
    failure
}

/// Whether the resource carries the lease, and has now a later end.
fn put_off(client: &Client, known: &Tracked, lease: Lease) -> Result<bool, Error> {
    let reply = client.request(&known.resource.request("GET"))?;
    let live = reply.metadata();
    let Some(config) = live["config"]
        .as_object()
        .filter(|config| config.contains_key(RUN_KEY))
    else {
        return Ok(false);
    };
    let mut config = config.clone();
    config.insert(EXPIRES_KEY.into(), lease.expires().into());
    client.request(&patch(
        &known.resource.request("PATCH"),
        (live, config.into()),
        reply.etag(),
    ))?;
    Ok(true)
}

/// A change of `config` that changes nothing else, on any kind of resource.
pub(super) fn patch(
    request: &Request,
    (live, config): (&Value, Value),
    etag: Option<&str>,
) -> Request {
    let mut body = json!({"config": config});
    // Some kinds reset what a PATCH leaves out.
    for key in ["description", "ingress", "egress", "target"] {
        if let Some(value) = live.get(key) {
            body[key] = value.clone();
        }
    }
    let request = request.clone().json(body);
    match etag {
        Some(etag) => request.if_match(etag),
        None => request,
    }
}
