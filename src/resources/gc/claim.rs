//! A claim keeps two from removing the same things side by side, and a renewal from coming too late unseen.

use std::time::{Duration, SystemTime};

use super::super::marks::{CLAIM_KEY, Claim, Marks, Seen};
use super::super::resource::Resource;
use super::{Clock, RunLeftovers, Standing};
use crate::client::{Client, Error, Limit};

/// How long a claim counts; whoever made it may have been killed since.
const FRESH: Duration = Duration::from_secs(120);
/// How long after another a claim may be written that the server accepted at the same time.
const OVERLAP: Duration = Duration::from_millis(250);
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

/// Claims what runs have left, before it is removed; each with how its lease must still stand, where that matters.
///
/// # Errors
/// Those of the client, where it can be told neither who has it nor that the lease has ended.
pub fn claim(
    client: &Client,
    runs: &[(&RunLeftovers, Option<Standing>)],
    clock: Clock,
    limit: Limit,
) -> Result<Vec<Claimed>, Error> {
    let by: String = (0..8).map(|_| fastrand::alphanumeric()).collect();
    let office = Claims {
        client,
        clock,
        limit,
        claim: Claim {
            since: clock.now(),
            by,
        },
    };
    let mut all = Vec::new();
    for (remains, was) in runs {
        all.push(office.claim(remains, *was)?);
    }
    if all
        .iter()
        .any(|claimed| matches!(claimed, Claimed::Ours(Some(_))))
    {
        // Servers check and write in two steps, so that two claims at the same time may both be accepted.
        client.pause(OVERLAP)?;
    }
    all.into_iter()
        .map(|claimed| office.confirm(claimed))
        .collect()
}

/// Where claims are made.
struct Claims<'a> {
    client: &'a Client,
    clock: Clock,
    limit: Limit,
    claim: Claim,
}

impl Claims<'_> {
    fn claim(&self, remains: &RunLeftovers, was: Option<Standing>) -> Result<Claimed, Error> {
        if let Some(since) = self.fresh(remains.claim.as_ref()) {
            return Ok(Claimed::Theirs(since));
        }
        for lease_holder in &remains.bearers {
            if let Some(claimed) = self.claim_on(lease_holder, (&remains.run, was))? {
                return Ok(claimed);
            }
        }
        // Nothing is there any more, or nothing can be written to.
        Ok(Claimed::Ours(None))
    }

    /// Claims one resource; nothing where it cannot bear a claim.
    fn claim_on(
        &self,
        lease_holder: &Resource,
        (run, was): (&str, Option<Standing>),
    ) -> Result<Option<Claimed>, Error> {
        for _ in 0..ATTEMPTS {
            let Some(seen) = Seen::look(self.client, lease_holder, self.limit)? else {
                return Ok(None);
            };
            if seen.marks.run != run {
                return Ok(None);
            }
            if let Some(claimed) = self.taken(&seen.marks, was) {
                return Ok(Some(claimed));
            }
            let mark = (CLAIM_KEY, self.claim.text());
            match seen.write(self.client, (mark.0, &mark.1), self.limit) {
                Ok(()) => return Ok(Some(Claimed::Ours(Some(lease_holder.clone())))),
                Err(error) if error.status() == Some(412) => {}
                Err(Error::Api(_) | Error::Operation(_)) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        // It changes all the time: somebody is at work on it.
        Ok(Some(Claimed::Theirs(Duration::ZERO)))
    }

    /// Why a resource is not ours to remove.
    fn taken(&self, marks: &Marks, was: Option<Standing>) -> Option<Claimed> {
        if let Some(since) = self.fresh(marks.claim.as_ref()) {
            return Some(Claimed::Theirs(since));
        }
        match (was, self.clock.standing(marks.expires)) {
            (Some(Standing::Expired(_)), Standing::Leased(until)) => Some(Claimed::Renewed(until)),
            _ => None,
        }
    }

    /// Of two that have written a claim, the last one has it.
    fn confirm(&self, claimed: Claimed) -> Result<Claimed, Error> {
        let Claimed::Ours(Some(lease_holder)) = &claimed else {
            return Ok(claimed);
        };
        let seen = Seen::look(self.client, lease_holder, self.limit)?;
        let other = seen
            .and_then(|seen| seen.marks.claim)
            .filter(|other| other.by != self.claim.by);
        Ok(match other {
            Some(other) => Claimed::Theirs(self.since(&other)),
            None => claimed,
        })
    }

    fn fresh(&self, claim: Option<&Claim>) -> Option<Duration> {
        claim
            .map(|claim| self.since(claim))
            .filter(|since| *since < FRESH)
    }

    fn since(&self, claim: &Claim) -> Duration {
        let since = self.clock.now().duration_since(claim.since);
        since.unwrap_or_default()
    }
}

/// Takes a claim back, so that the next one need not wait until it is stale.
///
/// # Errors
/// Those of the client.
pub fn release(client: &Client, lease_holder: &Resource, limit: Limit) -> Result<(), Error> {
    match Seen::look(client, lease_holder, limit)? {
        Some(seen) => seen.write(client, (CLAIM_KEY, ""), limit),
        None => Ok(()),
    }
}
