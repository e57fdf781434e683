//! `malleus up`: an environment that stays until `malleus down`.

use anyhow::{Context, Result, bail};
use malleus::diagnostic::Diagnostic;
use malleus::report::record::Outcome;
use malleus::resources::{Life, Store, Tracker};
use malleus::run::{CleanupPolicies, CleanupPolicy};
use malleus::template::Engine;

use super::Code;
use super::args::{Common, Up};
use super::console::Console;
use super::outputs::Outputs;
use super::playbooks::{self, Identity, Ready, RunOptions, code_of};
use super::reports::Reports;
use super::signals::Signals;

pub(crate) fn main(common: &Common, args: &Up, console: &Console) -> Result<Code> {
    let reports = Reports::prepare(&args.playing.reporting, console)?;
    let outputs = Outputs::prepare(&args.out)?;
    if reports.take_stdout() && outputs.take_stdout() {
        bail!("stdout takes a report or the outputs; write one of them to a file");
    }
    let engine = Engine::new();
    let ready = match playbooks::one(&args.file, &args.playing, &engine, console)? {
        Ok(ready) => ready,
        Err(refused) => return Ok(reports.close(&refused.records, refused.code)),
    };
    let mut way = RunOptions::new(
        (common, &args.playing),
        &engine,
        args.playing.keep.after_up(),
    )?;
    way.prune = !args.no_prune;
    let name = args.name.as_deref().unwrap_or(&ready.plan.name);
    let Some(store) = &way.store else {
        bail!(
            "an environment of `--sim` would end with this command; serve one with `malleus sim --socket PATH` and name it with `--remote PATH`"
        );
    };
    let identity = identity(&ready, name, store, console)?;
    if identity.tracker.is_resumed() {
        // What was there before this attempt is not its to take away.
        way.cleanup_policies = CleanupPolicies::always(CleanupPolicy::Nothing);
    }
    let signals = Signals::listen().context("cannot listen for signals")?;
    let client = match playbooks::server(common, &ready, console) {
        Ok(client) => client,
        Err(refused) => return Ok(reports.close(&refused.records, refused.code)),
    };
    signals.cancels(&client);
    let record = playbooks::play_as((&ready, &identity), client, &way, console);
    let records = [record];
    let code = reports.close(&records, code_of(&records, &signals));
    let [record] = records;
    if record.outcome() == Outcome::Passed && code == Code::Fine {
        return Ok(outputs.close(&record.outputs(), console));
    }
    Ok(code)
}

/// A new environment, or the living one of this name, which the playbook brings to its state again.
fn identity(ready: &Ready, name: &str, store: &Store, console: &Console) -> Result<Identity> {
    let all = store.all()?;
    let known = all.into_iter().find(|listed| {
        let recorded = listed.recorded.as_ref().ok();
        recorded.is_some_and(|known| known.header.environment.as_deref() == Some(name))
    });
    let Some(known) = known else {
        return Ok(Identity::new(&ready.plan, store, Some(name)));
    };
    if known.life == Life::Alive {
        bail!(
            "environment `{name}` (run {}) is just being brought up or down",
            known.run
        );
    }
    let kept = store.open(&known.run)?;
    if let Some(damage) = kept.recorded.damage() {
        console.problem(&Diagnostic::warning(damage));
    }
    let header = playbooks::header(&ready.plan, &known.run, Some(name));
    Ok(Identity {
        id: known.run,
        tracker: Tracker::resumed(kept, header)?,
    })
}
