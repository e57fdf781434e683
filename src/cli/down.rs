//! `malleus down`: removes what environments, and runs that were killed, have left.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use malleus::client::{Error, Limit};
use malleus::diagnostic::{Diagnostic, count, nearest};
use malleus::report::Verbosity;
use malleus::resources::{
    self, Ending, Fate, Kept, Life, Listed, Preview, Store, StoreError, Target,
};
use malleus_core::duration;

use super::Code;
use super::args::{ChosenRuns, Common, Down};
use super::connect::Clients;
use super::console::Console;
use super::playbooks::store;
use super::signals::Signals;
use super::table::table;

pub(crate) fn main(common: &Common, args: &Down, console: &Console) -> Result<Code> {
    let store = store()?;
    let signals = Signals::listen()?;
    let clients = Clients::new(common.remote.as_deref(), console);
    clients.obey(&signals);
    let (mut code, mut was_sent) = (Code::Fine, false);
    let wanted = wanted(&args.chosen, &store, console)?;
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
                bring_down((&kept, quiet_since), &clients, (args, limit), console)?
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
fn wanted(args: &ChosenRuns, store: &Store, console: &Console) -> Result<Vec<(String, Life)>> {
    let mut all = store.all()?;
    all.reverse();
    let as_wanted = |listed: &Listed| (listed.run.clone(), listed.life);
    if args.all {
        all.retain(|listed| args.kept || !is_kept(listed));
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
        if runs.len() == before {
            console.problem(&unknown(name, &all, Diagnostic::warning));
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

/// Whether the run has passed, and what it made is meant to stay: nobody has asked for its removal.
fn is_kept(listed: &Listed) -> bool {
    let recorded = listed.recorded.as_ref().ok();
    recorded.is_some_and(|known| known.ending == Some(Ending::Kept) && !known.is_coming_down)
}

/// Says that there is nothing of a name, and which names there are.
pub(crate) fn unknown(
    name: &str,
    all: &[Listed],
    problem: impl FnOnce(String) -> Diagnostic,
) -> Diagnostic {
    let names: Vec<&str> = all
        .iter()
        .map(|listed| {
            let recorded = listed.recorded.as_ref().ok();
            let environment = recorded.and_then(|known| known.header.environment.as_deref());
            environment.unwrap_or(&listed.run)
        })
        .collect();
    let problem = problem(format!(
        "no environment and no run of the name `{name}` has a journal here"
    ));
    if names.is_empty() {
        return problem.help("there is none of any name");
    }
    let there = format!("there are: {}", names.join(", "));
    match nearest(name, names.iter().copied()) {
        Some(near) => problem.help(format!("did you mean `{near}`? {there}")),
        None => problem.help(there),
    }
}

fn bring_down(
    (kept, quiet_since): (&Kept, Instant),
    clients: &Clients<'_>,
    (args, limit): (&Down, Limit),
    console: &Console,
) -> Result<Code> {
    let start = Instant::now();
    let recorded = &kept.recorded;
    let run = &recorded.header.run;
    if let Some(damage) = recorded.damage() {
        console.problem(&Diagnostic::warning(damage));
    }
    if !args.dry_run {
        // Without the line another `malleus down` takes this one for a run in progress.
        let _ = kept.comes_down();
    }
    let connect = |remote: &str| clients.get(remote);
    let mut targets = match resources::settle(recorded, &connect, quiet_since, limit) {
        Ok(targets) => targets,
        Err(error) => return Ok(unreachable(run, &error, console)),
    };
    if args.force_unknown {
        for target in &mut targets {
            target.force_unknown();
        }
    }
    let header = &recorded.header;
    let name = header.environment.as_deref().unwrap_or(&header.playbook);
    let told = format!("{name} ({run})");
    if args.dry_run {
        return match resources::preview(&targets, &connect, limit) {
            Ok(previews) => list(&told, &previews).map(|()| Code::Fine),
            Err(error) => Ok(unreachable(run, &error, console)),
        };
    }
    let ended = remove(kept, &targets, (&connect, limit), console);
    let took = duration::show(start.elapsed());
    if ended.left.is_empty() && recorded.nameless.is_empty() {
        kept.discard()?;
        if console.human.says(Verbosity::Normal) {
            console.human.line(&format!(
                "{told}: {} removed in {took}",
                count(ended.removed, "resource")
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
    if ended.left.is_empty() {
        return Ok(Code::Left);
    }
    console.human.line(&format!(
        "{told}: {} left:",
        count(ended.left.len(), "resource")
    ));
    for resource in &ended.left {
        console.human.line(&format!("  - {resource}"));
    }
    if ended.unknown > 0 {
        console.human.line(&format!(
            "  an older malleus wrote the journal, which does not say what tells a resource from another one of its name: `malleus down {run} --dry-run` shows what is there, `malleus down {run} --force-unknown` removes it"
        ));
    }
    if ended.left.len() > ended.unknown {
        console
            .human
            .line(&format!("  `malleus down {run}` tries again"));
    }
    Ok(Code::Left)
}

fn unreachable(run: &str, error: &Error, console: &Console) -> Code {
    let problem = Diagnostic::error(format!("cannot clean up behind run {run}: {error}"));
    console.problem(&problem.help("the journal stays; try again when the server answers"));
    super::code_of_client(error)
}

/// Lists what would become of resources.
fn list(told: &str, previews: &[Preview<'_, u32>]) -> Result<()> {
    let rows: Vec<[String; 3]> = previews
        .iter()
        .map(|Preview { target, spared }| {
            let outcome = match spared {
                None if target.is_interchangeable() => {
                    "would be removed, whoever made it: nothing tells it from another one of its name".to_owned()
                }
                None => "would be removed".to_owned(),
                Some(fate) => fate.left_alone().unwrap_or_else(|| "is gone already".to_owned()),
            };
            [told.to_owned(), target.resource.to_string(), outcome]
        })
        .collect();
    Console::data(table(["RUN", "RESOURCE", "OUTCOME"], &rows).as_bytes())
        .context("cannot write to stdout")
}

/// What came of a run's resources.
#[derive(Default)]
struct Ended {
    left: Vec<String>,
    /// How many of them are left because the journal does not say enough of them.
    unknown: usize,
    removed: usize,
}

/// Removes resources.
fn remove(
    kept: &Kept,
    targets: &[Target<u32>],
    (connect, limit): (resources::Connect<'_>, Limit),
    console: &Console,
) -> Ended {
    let ended = Mutex::new(Ended::default());
    resources::remove_all(targets, connect, limit, &|removal| {
        let resource = removal.resource.to_string();
        let failure = match &removal.result {
            Ok(Fate::Unknown) => {
                let mut ended = lock(&ended);
                ended.unknown += 1;
                ended.left.push(resource);
                return;
            }
            Ok(fate) => {
                if matches!(fate, Fate::Removed | Fate::Along) {
                    lock(&ended).removed += 1;
                }
                // Where the line cannot be written the next one looks for the resource again.
                let _ = kept.removed(*removal.key);
                if let Some(why) = fate.left_alone() {
                    console.human.line(&format!("  {resource}: {why}"));
                }
                if *fate != Fate::Removed {
                    return;
                }
                None
            }
            Err(error) => {
                lock(&ended).left.push(resource.clone());
                let problem = Diagnostic::error(format!("{resource} is still there"));
                Some(problem.note(error.to_string()))
            }
        };
        console
            .human
            .removed(&resource, failure.as_ref(), removal.duration);
    });
    ended.into_inner().unwrap_or_else(PoisonError::into_inner)
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
