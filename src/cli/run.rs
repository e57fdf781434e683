//! `malleus run`.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context, Result};
use indexmap::IndexMap;
use malleus::playbook::input::resolve;
use malleus::playbook::plan::Visibility;
use malleus::playbook::{Given, Plan};
use malleus::report::{Verbosity, outputs};
use malleus::run::event::Interruption;
use malleus::run::{Session, Summary, new_id, run};
use malleus::template::Engine;
use serde_json::Value;

use super::args::{Common, Out, Run};
use super::console::Console;
use super::signals::Signals;
use super::{Code, Daemon, check, connect, inputs};

/// A playbook with everything it needs but the server.
struct Ready {
    plan: Plan,
    inputs: IndexMap<String, Value>,
}

pub(crate) fn main(common: &Common, args: &Run, console: &Console) -> Result<Code> {
    let engine = Engine::new();
    // All files are checked before the first request of the first of them.
    let ready = match prepare(args, &engine, console)? {
        Ok(ready) => ready,
        Err(code) => return Ok(code),
    };
    let signals = Signals::listen().context("cannot listen for signals")?;
    let daemon = Daemon::start(common, Vec::new())?;
    let mut all = IndexMap::new();
    for playbook in ready {
        let remote = daemon.remote().or(playbook.plan.remote.as_deref());
        let client = match connect(common, remote, console) {
            Ok(client) => client,
            Err(code) => return Ok(code),
        };
        signals.cancels(&client);
        let session = Session {
            client,
            inputs: playbook.inputs,
            environment: &|name| std::env::var(name).ok(),
            engine: &engine,
            masker: &console.masker,
            id: new_id(),
            started: SystemTime::now(),
            width: args.parallel.unwrap_or_else(default_width),
        };
        let summary = run(&playbook.plan, &session, console);
        let code = code_of(&summary, &signals);
        if code != Code::Fine {
            return Ok(code);
        }
        all.extend(summary.outputs);
    }
    if let Some(out) = &args.out {
        write_outputs(&all, out, console)?;
    }
    Ok(Code::Fine)
}

/// About two operations that build for each processor; behind a unix socket the server's processors are ours.
fn default_width() -> usize {
    2 * std::thread::available_parallelism().map_or(2, usize::from)
}

fn prepare(args: &Run, engine: &Engine, console: &Console) -> Result<Result<Vec<Ready>, Code>> {
    let given = match inputs::given(&args.inputs, console)? {
        Ok(given) => given,
        Err(code) => return Ok(Err(code)),
    };
    let Some(plans) = plans(&args.files, engine, console)? else {
        return Ok(Err(Code::Invalid));
    };
    let mut ready = Vec::new();
    let mut failed = false;
    for plan in &plans {
        match inputs_of(plan, &inputs::for_plan(&given, plan, &plans), console) {
            Some(inputs) => ready.push(Ready {
                plan: Plan {
                    timeout: args.timeout.or(plan.timeout),
                    ..plan.clone()
                },
                inputs,
            }),
            None => failed = true,
        }
    }
    Ok(if failed {
        Err(Code::Invalid)
    } else {
        Ok(ready)
    })
}

/// The plans of all files, or nothing where one of them has an error.
fn plans(files: &[PathBuf], engine: &Engine, console: &Console) -> Result<Option<Vec<Plan>>> {
    let mut plans = Vec::new();
    let mut failed = false;
    for file in files {
        let (source, checked) = check::load(file, engine)?;
        if checked.failed()
            || (!checked.problems.is_empty() && console.human.says(Verbosity::Normal))
        {
            check::report(&source, &checked, console);
        }
        match checked.plan {
            Some(plan) => plans.push(plan),
            None => failed = true,
        }
    }
    Ok((!failed).then_some(plans))
}

fn inputs_of(
    plan: &Plan,
    given: &[(String, Given)],
    console: &Console,
) -> Option<IndexMap<String, Value>> {
    let environment = |name: &str| std::env::var(name).ok();
    match resolve(plan, given, &environment) {
        Ok(values) => {
            // Known to the masker before the first byte about them could be written.
            for input in plan
                .inputs
                .iter()
                .filter(|input| input.visibility == Visibility::Secret)
            {
                console.masker.add(&values[&input.name.text]);
            }
            Some(values)
        }
        Err(problems) => {
            console.problems(&problems);
            None
        }
    }
}

fn code_of(summary: &Summary, signals: &Signals) -> Code {
    if !summary.left.is_empty() {
        return Code::Left;
    }
    match (summary.interruption, signals.received()) {
        (Interruption::Cancelled, Some(number)) => Code::Signal(number),
        (Interruption::Cancelled, None) => Code::Failed,
        (Interruption::None, _) if summary.failed > 0 => Code::Failed,
        (Interruption::None, _) => Code::Fine,
    }
}

fn write_outputs(all: &IndexMap<String, Value>, out: &Out, console: &Console) -> Result<()> {
    let masked = all
        .iter()
        .map(|(name, value)| (name.clone(), console.masker.mask_value(value)))
        .collect();
    let text = outputs::write(&masked, out.format);
    match &out.file {
        Some(file) => {
            std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
        }
        None => Console::data(text.as_bytes()).context("cannot write the outputs"),
    }
}
