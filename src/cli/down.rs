//! `malleus down`: removes what environments, and runs that were killed, have left.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use malleus::client::Limit;
use malleus::diagnostic::{Diagnostic, count};
use malleus::report::Verbosity;
use malleus::resources::{self, Gone, Kept, Life, Listed, Resource, Store, StoreError};
use malleus_core::duration;

use super::Code;
use super::args::{Common, Down};
use super::connect::Clients;
use super::console::Console;
use super::playbooks::store;
use super::signals::Signals;

pub(crate) fn main(common: &Common, args: &Down, console: &Console) -> Result<Code> {
    let store = store()?;
    let signals = Signals::listen()?;
    let clients = Clients::new(common.remote.as_deref(), console);
    clients.obey(&signals);
    let (mut code, mut was_sent) = (Code::Fine, false);
    let wanted = wanted(args, &store, console)?;
    let listed = Instant::now();
    for (run, life) in wanted {
        let limit = Limit::after("cleanup", args.cleanup_timeout);
        let brought = match taken(&run, &store, (limit, &signals)) {
            Ok(kept) => {
                was_sent = true;
                let quiet_since = match life {
                    Life::Ended => listed,
                    Life::Alive => Instant::now(),
                };
                bring_down((&kept, quiet_since), &clients, limit, console)?
            }
            Err(error) => untaken(&run, &error, console),
        };
        // What has not come to its turn keeps its journal.
        if let Some(signal) = signals.received() {
            return Ok(Code::Signal(signal));
        }
        code = graver(code, brought);
    }
    Ok(match code {
        Code::Invalid if was_sent => Code::Failed,
        code => code,
    })
}

/// The runs that are asked for, newest first, and whether they have ended.
fn wanted(args: &Down, store: &Store, console: &Console) -> Result<Vec<(String, Life)>> {
    let mut all = store.all()?;
    all.reverse();
    let as_wanted = |listed: &Listed| (listed.run.clone(), listed.life);
    if args.all {
        if all.is_empty() && console.human.says(Verbosity::Normal) {
            console.human.line("nothing is left of any run");
        }
        return Ok(all.iter().map(as_wanted).collect());
    }
    let mut runs = Vec::new();
    for name in &args.names {
        let is_meant = |listed: &&Listed| {
            let recorded = listed.recorded.as_ref().ok();
            let environment = recorded.and_then(|known| known.header.environment.as_deref());
            listed.run == *name || environment == Some(name)
        };
        let before = runs.len();
        runs.extend(all.iter().filter(is_meant).map(as_wanted));
        if runs.len() == before && console.human.says(Verbosity::Normal) {
            console.human.line(&format!(
                "nothing is left of `{name}`: no environment and no run of this name has a journal here"
            ));
        }
    }
    Ok(runs)
}

/// How long a journal may be in use by a program that only reads it.
const READING: Duration = Duration::from_secs(1);

/// Takes a journal. One that another `malleus` is bringing down is waited for.
fn taken(
    run: &str,
    store: &Store,
    (limit, signals): (Limit, &Signals),
) -> Result<Kept, StoreError> {
    let start = Instant::now();
    loop {
        let busy = match store.open(run) {
            Err(error @ StoreError::Busy { .. }) => error,
            other => return other,
        };
        let is_patient = start.elapsed() < READING || store.is_coming_down(run)?;
        if !is_patient || limit.is_over() || signals.received().is_some() {
            return Err(busy);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// What a journal that cannot be taken means.
fn untaken(run: &str, error: &StoreError, console: &Console) -> Code {
    match error {
        // Another one has removed all that the run had left.
        StoreError::System { source, .. } if source.kind() == io::ErrorKind::NotFound => Code::Fine,
        StoreError::Busy { .. } => {
            let problem = Diagnostic::error(error.to_string());
            console.problem(&problem.help("end it first, or wait until it has ended"));
            Code::Failed
        }
        _ => {
            let problem = Diagnostic::error(error.to_string());
            console.problem(&problem.note(format!("what run {run} may have left stays")));
            Code::Invalid
        }
    }
}

fn bring_down(
    (kept, quiet_since): (&Kept, Instant),
    clients: &Clients<'_>,
    limit: Limit,
    console: &Console,
) -> Result<Code> {
    let start = Instant::now();
    let recorded = &kept.recorded;
    let run = &recorded.header.run;
    if let Some(damage) = recorded.damage() {
        console.problem(&Diagnostic::warning(damage));
    }
    // Without the line another `malleus down` takes this one for a run in progress.
    let _ = kept.comes_down();
    let connect = |remote: &str| clients.get(remote);
    let resources = match resources::settle(recorded, &connect, quiet_since, limit) {
        Ok(resources) => resources,
        Err(error) => {
            let problem = Diagnostic::error(format!("cannot clean up behind run {run}: {error}"));
            console.problem(&problem.help("the journal stays; try again when the server answers"));
            return Ok(super::code_of_client(&error));
        }
    };
    let (left, removed) = remove(kept, &resources, (&connect, limit), console);
    let header = &recorded.header;
    let name = header.environment.as_deref().unwrap_or(&header.playbook);
    let told = format!("{name} ({run})");
    let took = duration::show(start.elapsed());
    if left.is_empty() && recorded.nameless.is_empty() {
        kept.discard()?;
        if console.human.says(Verbosity::Normal) {
            console.human.line(&format!(
                "{told}: {} removed in {took}",
                count(removed, "resource")
            ));
        }
        return Ok(Code::Fine);
    }
    if !recorded.nameless.is_empty() {
        let unknown = count(recorded.nameless.len(), "resource");
        let problem = Diagnostic::error(format!(
            "{unknown} of run {run} may be left, whose names stood in damaged lines"
        ));
        console.problem(&problem.help(format!(
            "look for them on the server; then remove {}",
            kept.path().display()
        )));
    }
    if left.is_empty() {
        return Ok(Code::Left);
    }
    console
        .human
        .line(&format!("{told}: {} left:", count(left.len(), "resource")));
    for resource in &left {
        console.human.line(&format!("  - {resource}"));
    }
    console
        .human
        .line(&format!("  `malleus down {run}` tries again"));
    Ok(Code::Left)
}

/// Removes resources; what is left, and how many were removed.
fn remove(
    kept: &Kept,
    resources: &[(u32, Resource)],
    (connect, limit): (resources::Connect<'_>, Limit),
    console: &Console,
) -> (Vec<String>, usize) {
    let left = Mutex::new(Vec::new());
    let removed = Mutex::new(0);
    resources::remove_all(resources, connect, limit, &|removal| {
        let failure = match &removal.result {
            Ok(gone) => {
                if *gone != Gone::Already {
                    *lock(&removed) += 1;
                }
                // Where the line cannot be written the next one looks for the resource again.
                let _ = kept.removed(*removal.key);
                if *gone != Gone::Removed {
                    return;
                }
                None
            }
            Err(error) => {
                let what = removal.resource.to_string();
                let problem = Diagnostic::error(format!("{what} is still there"));
                lock(&left).push(what);
                Some(problem.note(error.to_string()))
            }
        };
        let resource = removal.resource.to_string();
        console
            .human
            .removed(&resource, failure.as_ref(), removal.duration);
    });
    let left = std::mem::take(&mut *lock(&left));
    let removed = *lock(&removed);
    (left, removed)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of two exit codes the one that says more.
fn graver(one: Code, other: Code) -> Code {
    let weight = |code: Code| match code {
        Code::Fine => 0,
        Code::Invalid => 1,
        Code::Failed => 2,
        Code::Unreachable => 3,
        _ => 4,
    };
    if weight(other) > weight(one) {
        other
    } else {
        one
    }
}
