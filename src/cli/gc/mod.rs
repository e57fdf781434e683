//! `malleus gc`: removes what runs have left on a server whose lease has ended, by the marks there alone.

mod told;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use malleus::client::{Client, Limit};
use malleus::diagnostic::{Diagnostic, count};
use malleus::report::Verbosity;
use malleus::resources::{
    self, Claimed, Clock, Fate, Kept, Resource, RunLeftovers, Standing, StoreError, Target, claim,
    release, survey,
};
use malleus_core::duration;

use super::args::{Common, Gc, ListFormat};
use super::console::Console;
use super::playbooks::store;
use super::signals::Signals;
use super::{Code, connect};
use told::{Fates, Retention};

pub(crate) fn main(common: &Common, args: &Gc, console: &Console) -> Result<Code> {
    let client = match connect(common, None, console) {
        Ok(client) => client,
        Err(code) => return Ok(code),
    };
    let signals = Signals::listen().context("cannot listen for signals")?;
    signals.cancels(&client);
    let limit = Limit::after("cleanup", args.cleanup_timeout);
    let all = survey(&client, limit)?;
    let sweep = CleanupPolicy {
        args,
        console,
        clock: Clock::of(client.server()),
        client,
        limit,
        all: &all,
    };
    let (wanted, others): (Vec<&RunLeftovers>, Vec<&RunLeftovers>) =
        all.iter().partition(|remains| sweep.is_wanted(remains));
    sweep.miss();
    if args.dry_run {
        sweep.list(&wanted, &others)
    } else {
        let code = sweep.remove(&wanted, &others)?;
        Ok(match signals.received() {
            Some(number) if code == Code::Left => Code::Signal(number),
            _ => code,
        })
    }
}

/// One walk over a server.
struct CleanupPolicy<'a> {
    args: &'a Gc,
    console: &'a Console,
    client: Client,
    clock: Clock,
    limit: Limit,
    all: &'a [RunLeftovers],
}

/// A run whose resources are ours to remove.
struct ToRemove<'a> {
    remains: &'a RunLeftovers,
    /// Where the claim stands.
    bearer: Option<Resource>,
    /// The run's journal, where it is on this machine: nobody else brings the run down meanwhile.
    _journal: Option<Kept>,
}

impl<'a> CleanupPolicy<'a> {
    fn is_wanted(&self, remains: &RunLeftovers) -> bool {
        if self.args.runs.is_empty() {
            matches!(remains.standing(self.clock), Standing::Expired(_))
        } else {
            self.args.runs.contains(&remains.run)
        }
    }

    fn line(&self, text: &str) {
        if self.console.human.says(Verbosity::Normal) {
            self.console.human.line(text);
        }
    }

    /// Removes what is wanted and not somebody else's by now.
    fn remove(&self, wanted: &[&'a RunLeftovers], others: &[&RunLeftovers]) -> Result<Code> {
        let start = Instant::now();
        let mut code = Code::Fine;
        let (to_remove, skipped) = self.doom(wanted)?;
        for (remains, reason) in &skipped {
            self.line(&format!("run {}: {}", remains.run, reason.words));
            if reason.is_refusal && !self.args.runs.is_empty() {
                code = Code::Failed;
            }
        }
        let fates = self.carry_out(&to_remove);
        let left = self.tell_of_left(&fates);
        if left > 0 {
            code = Code::Left;
            self.release(&to_remove);
        }
        if self.args.format == ListFormat::Json {
            self.print_outcome(&to_remove, &skipped, &fates)?;
        }
        let removed = fates.values().flatten();
        let removed = removed.filter(|(_, fate)| matches!(fate, Retention::Removed));
        let removed = removed.count();
        self.line(&format!(
            "gc: {} of {} removed in {}{}",
            count(removed, "resource"),
            count(to_remove.len(), "run"),
            duration::show(start.elapsed()),
            self.rest(others)
        ));
        Ok(code)
    }

    /// Claims what runs have left; those whose resources are not ours to remove come with the reason.
    fn doom(&self, wanted: &[&'a RunLeftovers]) -> Result<(Vec<ToRemove<'a>>, Skipped<'a>)> {
        let mut skipped = Vec::new();
        let mut free = Vec::new();
        for remains in wanted {
            match journal(remains) {
                Ok(journal) => free.push((*remains, journal)),
                Err(reason) => skipped.push((*remains, reason)),
            }
        }
        let was = |remains: &RunLeftovers| {
            let by_lease = self.args.runs.is_empty();
            by_lease.then(|| remains.standing(self.clock))
        };
        let runs: Vec<_> = free
            .iter()
            .map(|(remains, _)| (*remains, was(remains)))
            .collect();
        let claims = claim(&self.client, &runs, self.clock, self.limit)?;
        let mut to_remove = Vec::new();
        for ((remains, journal), claimed) in free.into_iter().zip(claims) {
            match claimed {
                Claimed::Ours(bearer) => to_remove.push(ToRemove {
                    remains,
                    bearer,
                    _journal: journal,
                }),
                Claimed::Theirs(since) => {
                    let since = duration::show(since);
                    let words = format!("somebody else began to remove it {since} ago");
                    skipped.push((remains, Reason::other(words)));
                }
                Claimed::Renewed(until) => {
                    let until = humantime::format_rfc3339_seconds(until);
                    let words = format!("its lease has just been renewed, until {until}");
                    skipped.push((remains, Reason::other(words)));
                }
            }
        }
        Ok((to_remove, skipped))
    }

    fn carry_out(&self, to_remove: &[ToRemove<'_>]) -> Fates {
        let targets: Vec<Target<String>> = to_remove
            .iter()
            .flat_map(|run| run.remains.targets())
            .collect();
        let fates: Mutex<Fates> = Mutex::default();
        let connect = |_: &str| Ok(self.client.clone());
        resources::remove_all(&targets, &connect, self.limit, &|removal| {
            let what = removal.resource.to_string();
            let (fate, failure) = match removal.result {
                Ok(ref fate) => match fate.left_alone() {
                    Some(why) => (Retention::LeftAlone(why), None),
                    None => (Retention::Removed, None),
                },
                Err(ref error) => {
                    let problem = Diagnostic::error(format!("{what} is still there"));
                    let fate = Retention::Left(error.to_string());
                    (fate, Some(problem.note(error.to_string())))
                }
            };
            if let Retention::LeftAlone(why) = &fate {
                self.line(&format!("  {what}: {why}"));
            }
            if failure.is_some() || matches!(removal.result, Ok(Fate::Removed)) {
                self.console
                    .human
                    .removed(&what, failure.as_ref(), removal.duration);
            }
            let mut fates = lock(&fates);
            let of_run = fates.entry(removal.key.clone()).or_default();
            if matches!(removal.result, Ok(Fate::Removed)) {
                // What was in a project went before it.
                let remains = to_remove.iter().find(|run| run.remains.run == *removal.key);
                let inside = remains.map(|run| run.remains.contents_of(removal.resource));
                let inside = inside.into_iter().flatten().cloned();
                of_run.extend(inside.map(|resource| (resource, Retention::Removed)));
            }
            of_run.push((removal.resource.clone(), fate));
        });
        fates.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes back the claims on what is left, so that the next one need not wait.
    fn release(&self, to_remove: &[ToRemove<'_>]) {
        let client = self.client.detached();
        let limit = Limit::after("release", Duration::from_secs(10));
        for bearer in to_remove.iter().filter_map(|run| run.bearer.as_ref()) {
            // A claim that stays is stale soon.
            let _ = release(&client, bearer, limit);
        }
    }
}

/// The run's journal, where it is on this machine and nobody writes it.
fn journal(remains: &RunLeftovers) -> Result<Option<Kept>, Reason> {
    match store().map(|store| store.open(&remains.run)) {
        Ok(Ok(kept)) => {
            // Without the line `malleus down` takes this for a run in progress.
            let _ = kept.comes_down();
            Ok(Some(kept))
        }
        Ok(Err(StoreError::Busy { .. })) => Err(Reason::refusal(
            "it is still in progress on this machine: end it first, or wait until it has ended",
        )),
        // Most runs have none here, and what a journal holds does not matter.
        _ => Ok(None),
    }
}

/// Runs whose resources are not removed, with the reasons.
type Skipped<'a> = Vec<(&'a RunLeftovers, Reason)>;

/// Why a run's resources are not removed.
struct Reason {
    words: String,
    /// Whether whoever named the run has to do something first.
    is_refusal: bool,
}

impl Reason {
    fn refusal(words: &str) -> Self {
        Self {
            words: words.to_owned(),
            is_refusal: true,
        }
    }

    fn other(words: String) -> Self {
        Self {
            words,
            is_refusal: false,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
