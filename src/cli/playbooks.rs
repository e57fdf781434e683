//! What `run` and `test` share: playbooks from files to records.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Result;
use indexmap::IndexMap;
use malleus::client::Client;
use malleus::diagnostic::Diagnostic;
use malleus::playbook::input::resolve;
use malleus::playbook::plan::Visibility;
use malleus::playbook::{Given, Plan};
use malleus::report::record::Outcome;
use malleus::report::{Collector, Record, Verbosity};
use malleus::run::{Session, new_id, run};
use malleus::template::Engine;
use serde_json::Value;

use super::args::Playing;
use super::console::Console;
use super::signals::Signals;
use super::{Code, check, inputs};

/// A playbook with everything it needs but the server.
pub(crate) struct Ready {
    pub(crate) plan: Plan,
    pub(crate) inputs: IndexMap<String, Value>,
}

/// Why nothing is sent: what the reports tell of it, and the exit code.
pub(crate) struct Refused {
    pub(crate) records: Vec<Record>,
    pub(crate) code: Code,
}

impl Refused {
    fn invalid(records: Vec<Record>) -> Self {
        Self {
            records,
            code: Code::Invalid,
        }
    }
}

/// The plans of all files; all problems of all of them are shown.
pub(crate) fn plans(
    files: &[PathBuf],
    engine: &Engine,
    console: &Console,
) -> Result<Result<Vec<Plan>, Refused>> {
    let mut plans = Vec::new();
    let mut records = Vec::new();
    for file in files {
        let (source, checked) = check::load(file, engine)?;
        if checked.failed()
            || (!checked.problems.is_empty() && console.human.says(Verbosity::Normal))
        {
            check::report(&source, &checked, console);
        }
        match checked.plan {
            Some(plan) => {
                records.push(Record::waiting(&plan));
                plans.push(plan);
            }
            None => records.push(Record::broken(
                source.name(),
                source.name(),
                &checked.problems,
            )),
        }
    }
    Ok(if plans.len() == files.len() {
        Ok(plans)
    } else {
        Err(Refused::invalid(records))
    })
}

/// Gives plans their inputs; whatever is wrong with the inputs of any of them is shown.
pub(crate) fn ready(
    plans: &[Plan],
    args: &Playing,
    console: &Console,
) -> Result<Result<Vec<Ready>, Refused>> {
    let Ok(given) = inputs::given(&args.inputs, console)? else {
        return Ok(Err(Refused::invalid(
            plans.iter().map(Record::waiting).collect(),
        )));
    };
    let mut ready = Vec::new();
    let mut records = Vec::new();
    for plan in plans {
        match inputs_of(plan, &inputs::for_plan(&given, plan, plans), console) {
            Ok(inputs) => {
                records.push(Record::waiting(plan));
                ready.push(Ready {
                    plan: Plan {
                        timeout: args.timeout.or(plan.timeout),
                        ..plan.clone()
                    },
                    inputs,
                });
            }
            Err(problems) => {
                let (name, file) = (&plan.name, plan.source.name());
                records.push(Record::broken(name, file, &problems));
            }
        }
    }
    Ok(if ready.len() == plans.len() {
        Ok(ready)
    } else {
        Err(Refused::invalid(records))
    })
}

fn inputs_of(
    plan: &Plan,
    given: &[(String, Given)],
    console: &Console,
) -> Result<IndexMap<String, Value>, Vec<Diagnostic>> {
    let environment = |name: &str| std::env::var(name).ok();
    let values = resolve(plan, given, &environment).inspect_err(|problems| {
        console.problems(problems);
    })?;
    // Known to the masker before the first byte about them could be written.
    let secret = |input: &&malleus::playbook::plan::Input| input.visibility == Visibility::Secret;
    for input in plan.inputs.iter().filter(secret) {
        console.masker.add(&values[&input.name.text]);
    }
    Ok(values)
}

/// Runs a playbook, and tells what came of it. The one place where a session is made of arguments.
pub(crate) fn play(
    playbook: &Ready,
    client: Client,
    (engine, width): (&Engine, usize),
    console: &Console,
) -> Record {
    let collector = Collector::new(&playbook.plan, console);
    let session = Session {
        client,
        inputs: playbook.inputs.clone(),
        environment: &|name| std::env::var(name).ok(),
        engine,
        masker: &console.masker,
        id: new_id(),
        started: SystemTime::now(),
        width,
    };
    run(&playbook.plan, &session, &collector);
    collector.into_record()
}

/// How many operations that build something the server gets at a time, where nobody says it: about two for each
/// processor; behind a unix socket the server's processors are ours.
pub(crate) fn width(args: &Playing) -> usize {
    let default = || 2 * std::thread::available_parallelism().map_or(2, usize::from);
    args.parallel.unwrap_or_else(default)
}

/// The exit code for what came of playbooks: the gravest counts.
pub(crate) fn code_of(records: &[Record], signals: &Signals) -> Code {
    let any = |outcomes: &[Outcome]| {
        let mut of = records.iter().map(Record::outcome);
        of.any(|outcome| outcomes.contains(&outcome))
    };
    if any(&[Outcome::Left]) {
        return Code::Left;
    }
    let cut_short = any(&[Outcome::Interrupted, Outcome::NotRun]);
    match signals.received() {
        Some(number) if cut_short => Code::Signal(number),
        _ if cut_short || any(&[Outcome::Error, Outcome::Failed]) => Code::Failed,
        _ => Code::Fine,
    }
}
