//! `malleus down`: removes what environments, and runs that were killed, have left.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Result;
use malleus::client::Limit;
use malleus::diagnostic::{Diagnostic, count};
use malleus::duration;
use malleus::report::Verbosity;
use malleus::resources::{self, Gone, Kept, Listed, Resource, Store, StoreError};

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
    let mut code = Code::Fine;
    for run in wanted(args, &store, console)? {
        let brought = bring_down((&run, &store), &clients, args, console)?;
        // What has not come to its turn keeps its journal.
        if let Some(signal) = signals.received() {
            return Ok(Code::Signal(signal));
        }
        code = graver(code, brought);
    }
    Ok(code)
}

/// The runs that are asked for, newest first.
fn wanted(args: &Down, store: &Store, console: &Console) -> Result<Vec<String>> {
    let mut all = store.all()?;
    all.reverse();
    if args.all {
        if all.is_empty() && console.human.says(Verbosity::Normal) {
            console.human.line("nothing is left of any run");
        }
        return Ok(all.into_iter().map(|listed| listed.run).collect());
    }
    let mut runs = Vec::new();
    for name in &args.names {
        let is_meant = |listed: &&Listed| {
            let recorded = listed.recorded.as_ref().ok();
            let environment = recorded.and_then(|known| known.header.environment.as_deref());
            listed.run == *name || environment == Some(name)
        };
        let before = runs.len();
        runs.extend(all.iter().filter(is_meant).map(|listed| listed.run.clone()));
        if runs.len() == before && console.human.says(Verbosity::Normal) {
            console.human.line(&format!(
                "nothing is left of `{name}`: no environment and no run of this name has a journal here"
            ));
        }
    }
    Ok(runs)
}

fn bring_down(
    (run, store): (&str, &Store),
    clients: &Clients<'_>,
    args: &Down,
    console: &Console,
) -> Result<Code> {
    let start = Instant::now();
    let kept = match store.open(run) {
        Ok(kept) => kept,
        Err(error @ StoreError::Busy { .. }) => {
            let problem = Diagnostic::error(error.to_string());
            console.problem(&problem.help("end it first, or wait until it has ended"));
            return Ok(Code::Failed);
        }
        Err(error) => return Err(error.into()),
    };
    let limit = Limit::after("cleanup", args.cleanup_timeout);
    let connect = |remote: &str| clients.get(remote);
    let resources = match resources::settle(&kept.recorded, &connect, limit) {
        Ok(resources) => resources,
        Err(error) => {
            let problem = Diagnostic::error(format!("cannot clean up behind run {run}: {error}"));
            console.problem(&problem.help("the journal stays; try again when the server answers"));
            return Ok(super::code_of_client(&error));
        }
    };
    let (left, removed) = remove(&kept, &resources, (&connect, limit), console)?;
    let header = &kept.recorded.header;
    let name = header.environment.as_deref().unwrap_or(&header.playbook);
    let told = format!("{name} ({run})");
    let took = duration::show(start.elapsed());
    if left.is_empty() {
        kept.discard()?;
        if console.human.says(Verbosity::Normal) {
            console.human.line(&format!(
                "{told}: {} removed in {took}",
                count(removed, "resource")
            ));
        }
        return Ok(Code::Fine);
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
) -> Result<(Vec<String>, usize)> {
    let left = Mutex::new(Vec::new());
    let removed = Mutex::new(0);
    let noted = Mutex::new(Ok(()));
    resources::remove_all(resources, connect, limit, &|removal| {
        let failure = match &removal.result {
            Ok(gone) => {
                if *gone != Gone::Already {
                    *lock(&removed) += 1;
                }
                let line = kept.removed(*removal.key);
                if line.is_err() {
                    *lock(&noted) = line;
                }
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
    std::mem::replace(&mut *lock(&noted), Ok(()))?;
    let left = std::mem::take(&mut *lock(&left));
    let removed = *lock(&removed);
    Ok((left, removed))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of two exit codes the one that says more.
fn graver(one: Code, other: Code) -> Code {
    let weight = |code: Code| match code {
        Code::Fine => 0,
        Code::Failed => 1,
        Code::Unreachable => 2,
        Code::Left => 3,
        _ => 4,
    };
    if weight(other) > weight(one) {
        other
    } else {
        one
    }
}
