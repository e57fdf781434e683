//! The story of a run: steps, then what must be done whatever happened.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::claims::Claims;
use super::cleanup_policy::CleanupPolicies;
use super::concurrency_limit::ConcurrencyLimits;
use super::failure;
use super::lease_renewer::LeaseRenewer;
use super::pending_work::{LogDeleter, PendingWork};
use super::servers::{RemoteClients, RemoteLimits, Remotes};
use crate::client::{self, Client, Limit, Operation};
use crate::diagnostic::Diagnostic;
use crate::events::{
    Event, EventSink, Interruption, Kind, Masked, Phase, Sink, StepInfo, StepOutcome, StepShape,
    Summary, masked_summary,
};
use crate::playbook::plan::{Keep, OnError, Plan, Step, Visibility};
use crate::resources::{Ending, Lease, Owner, Retention, Stamp, StoreError, Tracker};
use crate::secret::Masker;
use crate::template::{Engine, Renderer, Scope, TemplateError};

/// What a run needs beside its plan.
pub struct Session<'a> {
    /// The server. Cancelling it ends the steps; cleanup has connections of its own.
    pub client: Client,
    /// Connects to the other servers that the playbook names.
    pub remotes: &'a Remotes<'a>,
    /// The inputs' values, as [`resolve`](crate::playbook::input::resolve) gives them.
    pub inputs: IndexMap<String, Value>,
    /// Where included playbooks find the environment variables that their inputs declare.
    pub environment: &'a (dyn Fn(&str) -> Option<String> + Sync),
    /// Renders templates.
    pub engine: &'a Engine,
    /// Learns the run's secrets.
    pub masker: &'a Masker,
    /// The run's id: short, lower case, unique, fit for an instance's name.
    pub id: String,
    /// When the run began, for people.
    pub started: SystemTime,
    /// How many operations that build something the server gets at a time; about two per processor of the server are best.
    pub width: usize,
    /// Follows what the run creates; says at the end what is left of it.
    pub tracker: &'a Tracker,
    /// What of it is removed as the run ends.
    pub cleanup_policies: CleanupPolicies,
    /// Whether what an environment has and no step makes any more is removed; otherwise it is named.
    pub prune: bool,
    /// How long cleanup may take as a whole. It does not count towards the playbook's own deadline.
    pub cleanup: Duration,
    /// What is done once all steps have held, before anything is cleaned up.
    pub before_cleanup: Option<&'a BeforeCleanup<'a>>,
    /// What is done once where the run has not gone well, before anything is removed; where it went well until something
    /// could not be removed, after that.
    pub on_failure: Option<&'a OnFailure<'a>>,
}

/// What is done while everything that the steps made is there.
pub type BeforeCleanup<'a> = dyn Fn(&RunOutputs<'_>) -> Verdict + Sync + 'a;

/// Whether what is done before the cleanup ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It did.
    Fine,
    /// It did not: the run ends as one that failed, though its steps have held.
    Failed,
}

/// What looks at the server before anything is removed from it.
pub type OnFailure<'a> = dyn Fn(&FailedRun<'_>) + Sync + 'a;

/// A run that has not gone well.
pub struct FailedRun<'a> {
    /// The server, by connections that nobody has cancelled.
    pub client: &'a Client,
    /// How the run ends.
    pub ending: Ending,
}

/// What the steps have provided.
pub struct RunOutputs<'a> {
    /// The playbook's outputs, in order.
    pub outputs: &'a IndexMap<String, Value>,
    /// The server, in the project of the playbook's steps.
    pub client: &'a Client,
}

/// A new run id.
pub fn new_id() -> String {
    // Seeded by the system: processes that begin in the same moment must not have the same.
    let mut random = fastrand::Rng::with_seed(RandomState::new().hash_one(std::process::id()));
    // A letter first, so that an id can begin a name.
    std::iter::once(random.lowercase())
        .chain((0..5).map(|_| random.digit(36)))
        .collect()
}

/// How many operations that build something a server gets at a time where nobody says it: about two for each processor;
/// behind a unix socket the server's processors are ours.
pub fn usual_width() -> usize {
    2 * std::thread::available_parallelism().map_or(2, usize::from)
}

/// Carries out a plan. Everything that happens goes to `sink`, without secrets. The summary comes back as well: of that,
/// the outputs alone may hold secrets.
pub fn run(plan: &Plan, session: &Session<'_>, sink: &dyn Sink) -> Summary {
    let sink = &Masked::new(sink, session.masker);
    let (log_deleter, worker) = LogDeleter::new();
    let lease = plan.lease.map(|lasts| Lease {
        lasts,
        ahead: session.client.server().ahead,
    });
    let run = Run {
        session,
        engine: session.engine,
        masker: session.masker,
        sink,
        globals: globals(session),
        began: session.client.clock().now(),
        numbers: AtomicU32::new(0),
        pending_work: Mutex::default(),
        stamp: Stamp {
            run: session.id.clone(),
            lease,
        },
        lease_renewer: lease.map(|lease| LeaseRenewer::new(lease, session)),
        limits: Arc::new(ConcurrencyLimits::new(session.width)),
        remote_limits: RemoteLimits::default(),
        cleaners: RemoteClients::default(),
        log_deleter,
        claims: Claims::default(),
        projects: Mutex::default(),
    };
    let (pending_work, tracker) = (&run.pending_work, session.tracker);
    std::thread::scope(|threads| {
        threads.spawn(move || {
            worker.serve(
                |log| tracker.gone(&log.resource()),
                |log| {
                    let pending_work = pending_work.lock();
                    let mut pending_work = pending_work.unwrap_or_else(PoisonError::into_inner);
                    pending_work.logs.push(log);
                },
            );
        });
        if let Some(lease_renewer) = &run.lease_renewer {
            threads.spawn(|| lease_renewer.serve());
        }
        // Dropped however the run ends: the scope waits for both threads, also where a panic passes through.
        let _helpers = Helpers(&run);
        let summary = run.all(plan);
        let masked = masked_summary(&summary, session.masker);
        Summary {
            outputs: summary.outputs,
            ..masked
        }
    })
}

/// The threads beside a run, which end when this is dropped.
struct Helpers<'r, 'a>(&'r Run<'a>);

impl Drop for Helpers<'_, '_> {
    fn drop(&mut self) {
        self.0.log_deleter.retire();
        if let Some(lease_renewer) = &self.0.lease_renewer {
            lease_renewer.retire();
        }
    }
}

/// Does a part of a run. A panic in it is a failure like another: what has been made is still removed.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Diagnostic> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        Diagnostic::error("malleus itself has failed; this is a fault of malleus")
            .note(text.unwrap_or("a panic without a message").to_owned())
    })
}

/// The names that every playbook of the run has in scope.
fn globals(session: &Session<'_>) -> Scope {
    let scope = Scope::hiding(session.masker);
    scope.bind(
        "run",
        &json!({
            "id": session.id,
            "started": humantime::format_rfc3339_seconds(session.started).to_string(),
        }),
    );
    scope.bind("server", &server_in_scope(&session.client));
    scope
}

/// What playbooks know of a server.
pub(super) fn server_in_scope(client: &Client) -> Value {
    let server = client.server();
    // Those that are away are no places for anything.
    let members: Vec<String> = client.members().map_or_else(
        |_| Vec::new(),
        |all| {
            let there = all.into_iter().filter(client::Member::is_online);
            there.map(|member| member.name).collect()
        },
    );
    json!({
        "flavor": server.flavor.name(),
        "version": server.version,
        "extensions": server.extensions,
        "clustered": server.clustered,
        "members": members,
        "name": server.name,
        "simulated": server.simulated,
        "environment": server.environment,
    })
}

/// Why steps end early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// A step failed.
    Failed,
    /// The client was cancelled.
    Cancelled,
}

/// Where a step runs: in which playbook, with which names, against which server, until when.
#[derive(Clone)]
pub(super) struct Frame<'a> {
    pub(super) plan: &'a Plan,
    pub(super) scope: Scope,
    pub(super) client: Client,
    /// Connections to other servers, cancelled with this one.
    pub(super) abroad: RemoteClients,
    /// The project of steps on the run's own server.
    pub(super) home_project: Option<Arc<str>>,
    pub(super) limit: Limit,
    pub(super) phase: Phase,
    pub(super) depth: usize,
    /// The loops and includes this is inside of, for messages.
    pub(super) trail: Vec<String>,
    /// The numbers of the includes and items this is inside of, as `-1-3`.
    pub(super) branch: String,
    /// The `include.id` of the included playbook this is in.
    pub(super) include: Option<Arc<str>>,
    /// Which turn of its own loop a step is in, for its title.
    pub(super) turn: Option<(usize, usize)>,
    pub(super) events: EventSink<'a>,
    /// What a failure in here means for the run.
    pub(super) on_error: OnError,
    /// Whether a step in here has changed something.
    pub(super) changed: Arc<AtomicBool>,
    /// The numbers of the groups this is inside of.
    pub(super) owner: Owner,
    /// The step by its name, after the groups and items of loops around it: what it makes is known by that in the next
    /// run of an environment.
    pub(super) origin: Vec<String>,
    /// What becomes of what is created in here.
    pub(super) fate: Retention,
    /// Whether what steps in here read may be shown.
    pub(super) visibility: Visibility,
}

impl Frame<'_> {
    /// The frame of a step; what a secret one reads is shown nowhere.
    pub(super) fn seen_as(&self, visibility: Visibility) -> Self {
        if visibility == Visibility::Shown && self.visibility == Visibility::Shown {
            return self.clone();
        }
        Self {
            client: self.client.with_hidden_replies(),
            visibility: Visibility::Secret,
            ..self.clone()
        }
    }

    /// Binds what a step leaves.
    pub(super) fn bind_result(&self, name: &str, value: &Value) {
        match self.visibility {
            Visibility::Shown => self.scope.bind(name, value),
            Visibility::Secret => self.scope.bind_secret(name, value),
        }
    }

    /// What becomes of what a step in here creates.
    pub(super) fn retention_of(&self, step: &Step) -> Retention {
        match step.keep {
            Keep::Yes => Retention::Stays,
            Keep::No if !step.cleanup.is_empty() => Retention::RemovedAtEnd,
            Keep::No => self.fate,
        }
    }

    /// Whose it is what the step with this number creates.
    pub(super) fn owned_by(&self, step: u32) -> Owner {
        let mut owner = self.owner.clone();
        owner.push(step);
        owner
    }
}

/// A run in progress.
pub(super) struct Run<'a> {
    pub(super) session: &'a Session<'a>,
    pub(super) engine: &'a Engine,
    pub(super) masker: &'a Masker,
    sink: &'a dyn Sink,
    globals: Scope,
    began: Instant,
    numbers: AtomicU32,
    pending_work: Mutex<PendingWork<'a>>,
    pub(super) stamp: Stamp,
    /// Keeps the lease, where there is one.
    pub(super) lease_renewer: Option<LeaseRenewer<'a>>,
    pub(super) limits: Arc<ConcurrencyLimits>,
    pub(super) remote_limits: RemoteLimits,
    /// Connections for cleaning up on other servers.
    pub(super) cleaners: RemoteClients,
    pub(super) log_deleter: LogDeleter,
    /// What includes have made.
    pub(super) claims: Claims,
    /// Projects that are there, with their servers.
    projects: Mutex<HashSet<(String, String)>>,
}

impl<'a> Run<'a> {
    pub(super) fn pending_work(&self) -> MutexGuard<'_, PendingWork<'a>> {
        self.pending_work
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a project of a server has been seen.
    pub(super) fn knows_project(&self, project: &(String, String)) -> bool {
        let known = self.projects.lock();
        known
            .unwrap_or_else(PoisonError::into_inner)
            .contains(project)
    }

    pub(super) fn note_project(&self, project: (String, String)) {
        let known = self.projects.lock();
        known
            .unwrap_or_else(PoisonError::into_inner)
            .insert(project);
    }

    pub(super) fn emit(&self, events: &EventSink<'_>, kind: Kind) {
        events.send(Event {
            elapsed: self.elapsed(self.began),
            kind,
        });
    }

    /// Renders with the names of a frame.
    /// What time it is, by the clock of the server's client.
    pub(super) fn now(&self) -> Instant {
        self.session.client.clock().now()
    }

    pub(super) fn elapsed(&self, since: Instant) -> Duration {
        self.session.client.clock().elapsed(since)
    }

    pub(super) fn renderer<'r>(&'r self, frame: &'r Frame<'a>) -> Renderer<'r> {
        self.engine.with(&frame.plan.source, &frame.scope)
    }

    fn all(&self, plan: &'a Plan) -> Summary {
        let client = &self.session.client;
        let root = EventSink::Sink(self.sink);
        let server = client.server();
        self.emit(
            &root,
            Kind::RunStarted {
                playbook: plan.name.clone(),
                run: self.session.id.clone(),
                server: format!("{} {}", server.flavor, server.version),
            },
        );
        let base = Frame {
            plan,
            scope: self.globals.clone(),
            client: client.clone(),
            abroad: RemoteClients::default(),
            home_project: client.project().map(Arc::from),
            limit: Limit::never(),
            phase: Phase::Steps,
            depth: 0,
            trail: Vec::new(),
            branch: String::new(),
            include: None,
            turn: None,
            events: root.clone(),
            on_error: OnError::Fail,
            changed: Arc::default(),
            owner: Owner::new(),
            origin: Vec::new(),
            fate: Retention::Removed,
            visibility: Visibility::Shown,
        };
        let mut frame = match self.enter(plan, &self.session.inputs, &base) {
            Ok(frame) => frame,
            Err(problem) => {
                self.emit(&root, Kind::Warning(problem));
                let mut pending_work = self.pending_work();
                pending_work.summary.failed += 1;
                pending_work.summary.not_run += plan.steps.len();
                drop(pending_work);
                return self.close(plan, Interruption::None, IndexMap::new());
            }
        };
        let steps = caught(|| {
            self.isolate(&mut frame)
                .and_then(|()| self.steps(&plan.steps, &frame))
                .and_then(|()| self.join_rest(&frame))
        });
        let stopped = steps.unwrap_or_else(|problem| {
            self.pending_work().summary.failed += 1;
            self.emit(&root, Kind::Warning(problem));
            Err(Stop::Failed)
        });
        let outputs = match stopped {
            Ok(()) => self.outputs(&frame).unwrap_or_else(|problem| {
                self.pending_work().summary.failed += 1;
                self.emit(&root, Kind::Warning(problem));
                IndexMap::new()
            }),
            Err(_) => IndexMap::new(),
        };
        let have_held = stopped.is_ok() && self.pending_work().summary.failed == 0;
        let verdict = match self.session.before_cleanup {
            Some(before_cleanup) if have_held => {
                let provided = RunOutputs {
                    outputs: &outputs,
                    client: &frame.client,
                };
                caught(|| before_cleanup(&provided)).unwrap_or_else(|problem| {
                    self.emit(&root, Kind::Warning(problem));
                    Verdict::Failed
                })
            }
            _ => Verdict::Fine,
        };
        let (interruption, ending) = if stopped == Err(Stop::Cancelled) || client.is_cancelled() {
            (Interruption::Cancelled, Ending::Interrupted)
        } else if self.pending_work().summary.failed > 0 || verdict == Verdict::Failed {
            (Interruption::None, Ending::Failed)
        } else {
            (Interruption::None, Ending::Passed)
        };
        if ending != Ending::Passed {
            self.examine(ending);
        } else if let Err(error) = self.keep_outputs(&outputs) {
            let problem = Diagnostic::warning(error.to_string());
            self.emit(&root, Kind::Warning(problem));
        }
        self.clean_up(&frame, ending);
        if ending == Ending::Passed && !self.pending_work().summary.is_fine() {
            self.examine(ending);
        }
        self.close(plan, interruption, outputs)
    }

    /// An environment has its outputs in its journal.
    fn keep_outputs(&self, outputs: &IndexMap<String, Value>) -> Result<(), StoreError> {
        if self.session.tracker.environment().is_none() {
            return Ok(());
        }
        let masked = outputs
            .iter()
            .map(|(name, value)| (name.clone(), self.masker.mask_value(value)));
        self.session.tracker.keep_outputs(masked.collect())
    }

    fn examine(&self, ending: Ending) {
        if let Some(on_failure) = self.session.on_failure {
            let client = &self.session.client.detached();
            let failed = FailedRun { client, ending };
            if let Err(problem) = caught(|| on_failure(&failed)) {
                self.emit(&EventSink::Sink(self.sink), Kind::Warning(problem));
            }
        }
    }

    /// The frame of a playbook's steps: its inputs and vars bound, its project and deadline in force.
    pub(super) fn enter(
        &self,
        plan: &'a Plan,
        inputs: &IndexMap<String, Value>,
        around: &Frame<'a>,
    ) -> Result<Frame<'a>, Diagnostic> {
        let mut frame = Frame {
            plan,
            scope: self.globals.child(),
            ..around.clone()
        };
        let failed = |fault: TemplateError| failure::of_template_error(plan, &fault);
        let id = frame.include.as_deref().unwrap_or(&self.session.id);
        frame.scope.bind("include", &json!({"id": id}));
        for input in &plan.inputs {
            if let Some(value) = inputs.get(&input.name.text) {
                if input.visibility == Visibility::Secret {
                    self.masker.add(value);
                }
                frame.scope.bind(&input.name.text, value);
            }
        }
        for var in &plan.vars {
            let value = self.renderer(&frame).value(&var.value).map_err(failed)?;
            frame.scope.bind(&var.name.text, &value);
        }
        if let Some(project) = &plan.project {
            let project = self.renderer(&frame).text(project).map_err(failed)?;
            frame.client = frame.client.with_project(&project);
            if frame.client.remote() == self.session.client.remote() {
                frame.home_project = Some(Arc::from(project));
            }
        }
        if let Some(after) = plan.timeout {
            frame.limit = frame.client.limit("playbook", after).earlier(frame.limit);
        }
        Ok(frame)
    }

    /// Runs steps in order until one stops them.
    pub(super) fn steps(&self, steps: &'a [Step], frame: &Frame<'a>) -> Result<(), Stop> {
        for (at, step) in steps.iter().enumerate() {
            if frame.client.is_cancelled() {
                self.pending_work().summary.not_run += steps.len() - at;
                return Err(Stop::Cancelled);
            }
            if let Err(stop) = self.step(step, frame) {
                self.pending_work().summary.not_run += steps.len() - at - 1;
                return Err(stop);
            }
        }
        Ok(())
    }

    /// Runs steps in order, each even if another fails.
    pub(super) fn each(&self, steps: &'a [Step], frame: &Frame<'a>) {
        for step in steps {
            // Failures have been reported and counted where they happened.
            let _ = self.step(step, frame);
        }
    }

    /// The outputs of a playbook whose steps have passed.
    pub(super) fn outputs(&self, frame: &Frame<'a>) -> Result<IndexMap<String, Value>, Diagnostic> {
        let mut outputs = IndexMap::new();
        for output in &frame.plan.outputs {
            let name = &output.name.text;
            let value = self.renderer(frame).value(&output.value).map_err(|fault| {
                Diagnostic::error(format!("output `{name}`: {}", fault.message))
                    .at(frame.plan.place(fault.span), "")
            })?;
            outputs.insert(name.clone(), value);
        }
        Ok(outputs)
    }

    fn close(
        &self,
        plan: &Plan,
        interruption: Interruption,
        outputs: IndexMap<String, Value>,
    ) -> Summary {
        let mut summary = std::mem::take(&mut self.pending_work().summary);
        summary.playbook.clone_from(&plan.name);
        summary.run.clone_from(&self.session.id);
        summary.environment = self.session.tracker.environment();
        summary.interruption = interruption;
        summary.duration = self.elapsed(self.began);
        summary.outputs = outputs;
        self.emit(
            &EventSink::Sink(self.sink),
            Kind::RunFinished(summary.clone()),
        );
        summary
    }

    /// Announces a step.
    pub(super) fn begin(&self, title: String, frame: &Frame<'a>, shape: StepShape) -> StepInfo {
        let title = match frame.turn {
            Some((turn, count)) => format!("{title} [{turn}/{count}]"),
            None => title,
        };
        let info = StepInfo {
            number: self.numbers.fetch_add(1, Ordering::Relaxed),
            title,
            depth: frame.depth,
            phase: frame.phase,
            shape,
        };
        self.emit(&frame.events, Kind::StepStarted(info.clone()));
        info
    }

    pub(super) fn progress(&self, info: &StepInfo, frame: &Frame<'a>, operation: &Operation) {
        if let Some(text) = operation.progress() {
            let step = info.clone();
            self.emit(&frame.events, Kind::Progress { step, text });
        }
    }

    /// Counts a step's end and announces it.
    pub(super) fn finish(
        &self,
        step: StepInfo,
        frame: &Frame<'a>,
        outcome: StepOutcome,
        duration: Duration,
    ) {
        self.pending_work()
            .summary
            .count(&step, &outcome, frame.on_error);
        self.emit(
            &frame.events,
            Kind::StepFinished {
                step,
                outcome,
                duration,
            },
        );
    }
}
