//! A claim keeps two from removing the same things side by side, and a renewal from coming too late unseen.

use std::time::{Duration, SystemTime};

use super::super::marks::{CLAIM_KEY, Claim, Marks, Seen};
use super::super::resource::Resource;
use super::{Clock, Remains, Standing};
use crate::client::{Client, Error, Limit};

/// How long a claim counts; whoever made it may have been killed since.
const FRESH: Duration = Duration::from_secs(120);
/// How often a claim is tried that comes too late because the resource has just changed.
const ATTEMPTS: usize = 5;

/// What came of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// It is ours to remove; where the claim stands, if anywhere.
    Ours(Option<Resource>),
    /// Somebody else has begun to remove it, so long ago.
    Theirs(Duration),
    /// The lease has been renewed, and holds until then.
    Renewed(SystemTime),
}

/// Claims what a run has left, before it is removed. With `was` the lease must still stand as it was found.
///
/// # Errors
/// Those of the client, where it can be told neither who has it nor that the lease has ended.
pub fn claim(
    client: &Client,
    remains: &Remains,
    (clock, was): (Clock, Option<Standing>),
    limit: Limit,
) -> Result<Claimed, Error> {
    if let Some(since) = fresh(remains.claim.as_ref(), clock) {
        return Ok(Claimed::Theirs(since));
    }
    let claim = Claim {
        since: clock.now(),
        by: (0..8).map(|_| fastrand::alphanumeric()).collect(),
    };
    for bearer in &remains.bearers {
        let made = on(client, bearer, (&remains.run, &claim), (clock, was, limit))?;
        if let Some(claimed) = made {
            return Ok(claimed);
        }
    }
    // Nothing is there any more, or nothing can be written to.
    Ok(Claimed::Ours(None))
}

/// Claims one resource; nothing where it cannot bear a claim.
fn on(
    client: &Client,
    bearer: &Resource,
    (run, claim): (&str, &Claim),
    (clock, was, limit): (Clock, Option<Standing>, Limit),
) -> Result<Option<Claimed>, Error> {
    for _ in 0..ATTEMPTS {
        let Some(seen) = Seen::look(client, bearer, limit)? else {
            return Ok(None);
        };
        if seen.marks.run != run {
            return Ok(None);
        }
        if let Some(claimed) = taken(&seen.marks, (clock, was)) {
            return Ok(Some(claimed));
        }
        match seen.write(client, (CLAIM_KEY, &claim.text()), limit) {
            Ok(()) if seen.is_guarded() => return Ok(Some(Claimed::Ours(Some(bearer.clone())))),
            Ok(()) => return unguarded(client, bearer, (claim, clock), limit),
            Err(error) if error.status() == Some(412) => {}
            Err(Error::Api(_) | Error::Operation(_)) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    // It changes all the time: somebody is at work on it.
    Ok(Some(Claimed::Theirs(Duration::ZERO)))
}

/// Why a resource is not ours to remove.
fn taken(marks: &Marks, (clock, was): (Clock, Option<Standing>)) -> Option<Claimed> {
    if let Some(since) = fresh(marks.claim.as_ref(), clock) {
        return Some(Claimed::Theirs(since));
    }
    match (was, clock.standing(marks.expires)) {
        (Some(Standing::Expired(_)), Standing::Leased(until)) => Some(Claimed::Renewed(until)),
        _ => None,
    }
}

/// Where the server does not guard writes, the last one that wrote has the claim.
fn unguarded(
    client: &Client,
    bearer: &Resource,
    (claim, clock): (&Claim, Clock),
    limit: Limit,
) -> Result<Option<Claimed>, Error> {
    let seen = Seen::look(client, bearer, limit)?;
    let other = seen.and_then(|seen| seen.marks.claim);
    Ok(match other {
        Some(other) if other.by != claim.by => Some(Claimed::Theirs(since(&other, clock))),
        Some(_) => Some(Claimed::Ours(Some(bearer.clone()))),
        None => None,
    })
}

fn fresh(claim: Option<&Claim>, clock: Clock) -> Option<Duration> {
    claim
        .map(|claim| since(claim, clock))
        .filter(|since| *since < FRESH)
}

fn since(claim: &Claim, clock: Clock) -> Duration {
    clock.now().duration_since(claim.since).unwrap_or_default()
}

/// Takes a claim back, so that the next one need not wait until it is stale.
///
/// # Errors
/// Those of the client.
pub fn release(client: &Client, bearer: &Resource, limit: Limit) -> Result<(), Error> {
    match Seen::look(client, bearer, limit)? {
        Some(seen) => seen.write(client, (CLAIM_KEY, ""), limit),
        None => Ok(()),
    }
}
