//! What `run` and `test` share: playbooks from files to records.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use indexmap::IndexMap;
use malleus::artifacts::Artifacts;
use malleus::client::Client;
use malleus::diagnostic::Diagnostic;
use malleus::events::Sink;
use malleus::playbook::input::{resolve, warnings};
use malleus::playbook::plan::{Action, Step, Visibility};
use malleus::playbook::{Given, Plan};
use malleus::report::record::Outcome;
use malleus::report::{Collector, Record, Verbosity};
use malleus::resources::{Header, Store, Tracker};
use malleus::run::{
    BeforeCleanup, CleanupPolicies, FailedRun, OnFailure, Remotes, Session, new_id, run,
    usual_width,
};
use malleus::secret::{self, Masker};
use malleus::template::Engine;
use serde_json::Value;

use super::args::{Common, Playing};
use super::connect::{Clients, try_connect};
use super::console::Console;
use super::signals::Signals;
use super::trace::Tracer;
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

/// Takes out what is no test of its own: playbooks of a folder that another one includes. One that is named is a test.
pub(crate) fn leave_out_parts(plans: &mut Vec<Plan>, named: &[PathBuf], console: &Console) {
    let mut parts = Vec::new();
    for plan in &*plans {
        included(plan.steps.iter().chain(&plan.finally), &mut parts);
    }
    let same = |one: &Path, other: &Path| match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    };
    plans.retain(|plan| {
        let path = Path::new(plan.source.name());
        let is_part = parts.iter().any(|part| same(part, path))
            && !named.iter().any(|named| same(named, path));
        if is_part && console.human.says(Verbosity::Verbose) {
            console.line(format!(
                "{}: a part of another playbook, no test of its own",
                path.display()
            ));
        }
        !is_part
    });
}

/// The files of all playbooks that steps include.
fn included<'a>(steps: impl Iterator<Item = &'a Step>, found: &mut Vec<PathBuf>) {
    for step in steps {
        included(step.cleanup.iter(), found);
        match &step.action {
            Action::Steps(group) => included(group.steps.iter().chain(&group.finally), found),
            Action::Parallel(parallel) => included(parallel.steps.iter(), found),
            Action::Include(include) => {
                found.push(PathBuf::from(include.plan.source.name()));
                included(
                    include.plan.steps.iter().chain(&include.plan.finally),
                    found,
                );
            }
            _ => {}
        }
    }
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
    if console.human.says(Verbosity::Normal) {
        console.problems(&warnings(plan, given));
    }
    // Known to the masker before the first byte about them could be written.
    let secret = |input: &&malleus::playbook::plan::Input| input.visibility == Visibility::Secret;
    for input in plan.inputs.iter().filter(secret) {
        let value = &values[&input.name.text];
        console.masker.add(value);
        if Masker::is_too_short(value) {
            let name = &input.name.text;
            let problem = Diagnostic::warning(format!(
                "`{name}` is shorter than {} characters, and not masked",
                secret::SHORTEST
            ));
            console.problem(&problem.at(plan.place(input.name.span), "declared as secret here"));
        }
    }
    Ok(values)
}

/// The playbook of a command that takes one.
pub(crate) fn one(
    file: &Path,
    args: &Playing,
    engine: &Engine,
    console: &Console,
) -> Result<Result<Ready, Refused>> {
    let plans = match plans(&[file.to_owned()], engine, console)? {
        Ok(plans) => plans,
        Err(refused) => return Ok(Err(refused)),
    };
    Ok(ready(&plans, args, console)?.map(|mut ready| ready.remove(0)))
}

/// The server of a playbook; where it cannot be reached, the problem has been shown and the playbook's record has it.
pub(crate) fn server(common: &Common, ready: &Ready, console: &Console) -> Result<Client, Refused> {
    try_connect(common, ready.plan.remote.as_deref(), console).map_err(|(code, problem)| {
        let problem = placed(problem, common, &ready.plan);
        console.problem(&problem);
        let (name, file) = (&ready.plan.name, ready.plan.source.name());
        Refused {
            records: vec![Record::broken(name, file, &[problem])],
            code,
        }
    })
}

/// A problem of the server that a playbook names, with the place where it does.
pub(crate) fn placed(problem: Diagnostic, common: &Common, plan: &Plan) -> Diagnostic {
    match plan.remote_span {
        Some(span) if common.remote.is_none() => problem.at(plan.place(span), "named here"),
        _ => problem,
    }
}

/// How playbooks are run.
#[derive(Clone)]
pub(crate) struct RunOptions<'a> {
    pub(crate) engine: &'a Engine,
    /// The remote that the user has chosen, if any.
    pub(crate) chosen: Option<&'a str>,
    /// How many operations that build something a server gets at a time.
    pub(crate) width: usize,
    /// What is removed at the end.
    pub(crate) cleanup_policies: CleanupPolicies,
    /// Whether what an environment has and no step makes any more is removed.
    pub(crate) prune: bool,
    /// How long cleanup may take.
    pub(crate) cleanup: Duration,
    /// Where journals are kept, if any are.
    pub(crate) store: Option<Store>,
    /// Where runs that fail leave what explains them.
    pub(crate) artifacts: Option<Artifacts>,
    /// The daemon of `--sim`, which playbooks may have fail.
    #[cfg(feature = "sim")]
    pub(crate) sim: &'a super::sim::SimOptions,
    /// What is done between the last step and the first cleanup, with the outputs.
    pub(crate) before_cleanup: Option<&'a BeforeCleanup<'a>>,
}

impl<'a> RunOptions<'a> {
    /// As the arguments say, where nothing is removed but what the playbook says itself.
    pub(crate) fn new(
        (common, args): (&'a Common, &Playing),
        engine: &'a Engine,
        cleanup_policies: CleanupPolicies,
    ) -> Result<Self> {
        // What a daemon holds that ends with this command needs nobody to remove it later.
        let is_lasting = !common.is_simulated();
        Ok(Self {
            engine,
            chosen: common.remote.as_deref(),
            width: args.parallel.unwrap_or_else(usual_width),
            cleanup_policies,
            prune: true,
            cleanup: args.cleanup_timeout,
            store: is_lasting.then(store).transpose()?,
            artifacts: args.artifacts.as_deref().map(artifacts).transpose()?,
            #[cfg(feature = "sim")]
            sim: &common.sim,
            before_cleanup: None,
        })
    }
}

fn artifacts(folder: &Path) -> Result<Artifacts> {
    Artifacts::prepare(folder)
        .with_context(|| format!("artifacts cannot be written to {}", folder.display()))
}

/// The user's journals.
pub(crate) fn store() -> Result<Store> {
    Ok(Store::of_user(&|name| std::env::var(name).ok())?)
}

/// Which run it is, and what follows what it creates.
pub(crate) struct Identity {
    pub(crate) id: String,
    pub(crate) tracker: Tracker,
}

impl Identity {
    /// A new run of a playbook, which provides an environment where that has a name.
    pub(crate) fn new(plan: &Plan, store: &Store, environment: Option<&str>) -> Self {
        let id = new_id();
        let tracker = Tracker::journaled(store, header(plan, &id, environment));
        Self { id, tracker }
    }

    /// A new run that leaves no journal.
    fn unwritten() -> Self {
        Self {
            id: new_id(),
            tracker: Tracker::default(),
        }
    }
}

/// The first line of a run's journal.
pub(crate) fn header(plan: &Plan, run: &str, environment: Option<&str>) -> Header {
    Header {
        environment: environment.map(str::to_owned),
        ..Header::new(run, &plan.name, plan.source.name())
    }
}

/// Runs a playbook as a new run, and tells what came of it.
pub(crate) fn play(
    playbook: &Ready,
    client: Client,
    way: &RunOptions<'_>,
    console: &Console,
) -> Record {
    let identity = match &way.store {
        Some(store) => Identity::new(&playbook.plan, store, None),
        None => Identity::unwritten(),
    };
    play_as((playbook, &identity), client, way, console)
}

/// Runs a playbook as this run, and keeps what explains it where it does not go well.
pub(crate) fn play_as(
    (playbook, identity): (&Ready, &Identity),
    client: Client,
    way: &RunOptions<'_>,
    console: &Console,
) -> Record {
    #[cfg(feature = "sim")]
    way.sim.order(&playbook.plan.sim);
    let others = Clients::new(way.chosen, console);
    let remotes = |name: &str| others.get(name);
    let Some(artifacts) = &way.artifacts else {
        return carry_out(
            (playbook, identity),
            (client, &remotes, None),
            way,
            (console, &console.masker),
        );
    };
    let dossier = artifacts.of_run(&playbook.plan.name, &identity.id, &console.masker);
    let tracer = Tracer::observer(console).map(|tracer| Arc::new(tracer) as _);
    let client = client.with_observer(dossier.observer(tracer));
    let on_failure = |failed: &FailedRun<'_>| {
        dossier.examine(failed.client, failed.ending, &identity.tracker);
    };
    let sink = dossier.sink(console);
    let run: Run<'_> = (client, &remotes, Some(&on_failure as _));
    let record = carry_out((playbook, identity), run, way, (&sink, &console.masker));
    if record.outcome() != Outcome::Passed || dossier.is_begun() {
        if let Err(problems) = dossier.close() {
            let all = problems.into_iter().map(Diagnostic::warning);
            all.for_each(|problem| console.problem(&problem));
        }
        let folder = dossier.folder().display();
        console.line(format!("  what explains it is in {folder}"));
    }
    record
}

/// The server, the way to others, and what looks at failures.
type Run<'a> = (Client, &'a Remotes<'a>, Option<&'a OnFailure<'a>>);

/// The one place where a session is made of arguments.
fn carry_out(
    (playbook, identity): (&Ready, &Identity),
    (client, remotes, on_failure): Run<'_>,
    way: &RunOptions<'_>,
    (sink, masker): (&dyn Sink, &Masker),
) -> Record {
    let collector = Collector::new(&playbook.plan, sink);
    let session = Session {
        client,
        remotes,
        inputs: playbook.inputs.clone(),
        environment: &|name| std::env::var(name).ok(),
        engine: way.engine,
        masker,
        id: identity.id.clone(),
        started: SystemTime::now(),
        width: way.width,
        tracker: &identity.tracker,
        cleanup_policies: way.cleanup_policies,
        prune: way.prune,
        cleanup: way.cleanup,
        before_cleanup: way.before_cleanup,
        on_failure,
    };
    run(&playbook.plan, &session, &collector);
    collector.into_record()
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
