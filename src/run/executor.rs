//! The story of a run: steps, then what must be done whatever happened.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::event::{
    Event, Interruption, Kind, Phase, Sink, StepInfo, StepOutcome, StepShape, Summary,
};
use super::ledger::{Janitor, Ledger};
use crate::client::{Client, Limit};
use crate::diagnostic::Diagnostic;
use crate::playbook::plan::{Action, Plan, Step, Visibility};
use crate::secret::Masker;
use crate::template::{Engine, Renderer, Scope};

/// What a run needs beside its plan.
#[derive(Debug)]
pub struct Session<'a> {
    /// The server. Cancelling it ends the steps; cleanup has connections of its own.
    pub client: Client,
    /// The inputs' values, as [`resolve`](crate::playbook::input::resolve) gives them.
    pub inputs: IndexMap<String, Value>,
    /// Renders templates.
    pub engine: &'a Engine,
    /// Learns the run's secrets.
    pub masker: &'a Masker,
    /// The run's id: short, lower case, unique, fit for an instance's name.
    pub id: String,
    /// When the run began, for people.
    pub started: SystemTime,
}

/// A new run id.
pub fn new_id() -> String {
    let letter = || char::from(*fastrand::choice(b"abcdefghijklmnopqrstuvwxyz").unwrap_or(&b'a'));
    let digit_or_letter =
        || char::from(*fastrand::choice(b"abcdefghijklmnopqrstuvwxyz0123456789").unwrap_or(&b'a'));
    // A letter first, so that an id can begin a name.
    std::iter::once(letter())
        .chain((0..5).map(|_| digit_or_letter()))
        .collect()
}

/// Carries out a plan. Everything that happens goes to `sink`; the summary comes back as well.
pub fn run(plan: &Plan, session: &Session<'_>, sink: &dyn Sink) -> Summary {
    let (janitor, duty) = Janitor::new();
    let run = Run {
        plan,
        engine: session.engine,
        masker: session.masker,
        sink,
        client: session.client.clone(),
        id: session.id.clone(),
        began: Instant::now(),
        numbers: AtomicU32::new(0),
        ledger: Mutex::default(),
        janitor,
    };
    let ledger = &run.ledger;
    std::thread::scope(|threads| {
        threads.spawn(move || {
            duty.serve(|log| {
                ledger
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .logs
                    .push(log);
            });
        });
        let summary = run.all(session);
        run.janitor.retire();
        summary
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

/// Where a step runs: with which names, against which server, until when.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) scope: Scope,
    pub(super) client: Client,
    pub(super) limit: Limit,
    pub(super) phase: Phase,
    pub(super) depth: usize,
    /// The loops this is inside of, for messages.
    pub(super) trail: Vec<String>,
    /// Which turn of its own loop a step is in, for its title.
    pub(super) turn: Option<(usize, usize)>,
}

/// A run in progress.
pub(super) struct Run<'a> {
    pub(super) plan: &'a Plan,
    pub(super) engine: &'a Engine,
    pub(super) masker: &'a Masker,
    sink: &'a dyn Sink,
    pub(super) client: Client,
    pub(super) id: String,
    began: Instant,
    numbers: AtomicU32,
    ledger: Mutex<Ledger<'a>>,
    pub(super) janitor: Janitor,
}

impl<'a> Run<'a> {
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger<'a>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn emit(&self, kind: Kind) {
        self.sink.event(Event {
            elapsed: self.began.elapsed(),
            kind,
        });
    }

    pub(super) fn renderer<'r>(&'r self, scope: &'r Scope) -> Renderer<'r> {
        self.engine.with(&self.plan.source, scope)
    }

    fn all(&self, session: &Session<'_>) -> Summary {
        let server = self.client.server();
        self.emit(Kind::RunStarted {
            playbook: self.plan.name.clone(),
            run: self.id.clone(),
            server: format!("{} {}", server.flavor, server.version),
        });
        let scope = self.first_names(session);
        let prepared = self.prepare(&scope);
        let frame = match prepared {
            Ok(frame) => frame,
            Err(problem) => {
                self.emit(Kind::Warning(problem));
                let mut ledger = self.ledger();
                ledger.summary.failed += 1;
                ledger.summary.not_run += self.plan.steps.len();
                drop(ledger);
                return self.close(Interruption::None, IndexMap::new());
            }
        };
        let stopped = self
            .steps(&self.plan.steps, &frame)
            .and_then(|()| self.join_rest(&frame));
        let outputs = match stopped {
            Ok(()) => self.outputs(&frame),
            Err(_) => IndexMap::new(),
        };
        let interruption = match stopped {
            Err(Stop::Cancelled) => Interruption::Cancelled,
            _ if self.client.is_cancelled() => Interruption::Cancelled,
            _ => Interruption::None,
        };
        self.clean_up(&frame);
        self.close(interruption, outputs)
    }

    fn first_names(&self, session: &Session<'_>) -> Scope {
        let scope = Scope::default();
        let server = self.client.server();
        scope.bind(
            "run",
            &json!({
                "id": session.id,
                "started": humantime::format_rfc3339_seconds(session.started).to_string(),
            }),
        );
        scope.bind(
            "server",
            &json!({
                "flavor": server.flavor.name(),
                "version": server.version,
                "extensions": server.extensions,
                "clustered": server.clustered,
                "name": server.name,
                "environment": server.environment,
            }),
        );
        for input in &self.plan.inputs {
            if let Some(value) = session.inputs.get(&input.name.text) {
                if input.visibility == Visibility::Secret {
                    self.masker.add(value);
                }
                scope.bind(&input.name.text, value);
            }
        }
        scope
    }

    /// Binds the vars and makes the frame of the top-level steps.
    fn prepare(&self, scope: &Scope) -> Result<Frame, Diagnostic> {
        let failed = |fault: crate::template::Fault| {
            Diagnostic::error(fault.message).at(self.plan.place(fault.span), "")
        };
        for var in &self.plan.vars {
            let value = self.renderer(scope).value(&var.value).map_err(failed)?;
            scope.bind(&var.name.text, &value);
        }
        let client = match &self.plan.project {
            Some(project) => self
                .client
                .with_project(&self.renderer(scope).text(project).map_err(failed)?),
            None => self.client.clone(),
        };
        Ok(Frame {
            scope: scope.clone(),
            client,
            limit: self
                .plan
                .timeout
                .map_or_else(Limit::never, |after| Limit::after("playbook", after)),
            phase: Phase::Steps,
            depth: 0,
            trail: Vec::new(),
            turn: None,
        })
    }

    /// Runs steps in order until one stops them.
    pub(super) fn steps(&self, steps: &'a [Step], frame: &Frame) -> Result<(), Stop> {
        for (at, step) in steps.iter().enumerate() {
            if let Err(stop) = self.step(step, frame) {
                let rest = steps.len() - at - 1;
                let begun = usize::from(stop == Stop::Cancelled && self.never_began(step));
                self.ledger().summary.not_run += rest + begun;
                return Err(stop);
            }
        }
        Ok(())
    }

    /// Steps are refused before they begin once the client is cancelled.
    fn never_began(&self, step: &Step) -> bool {
        let ledger = self.ledger();
        ledger.last_begun != Some(step.span)
    }

    /// Runs steps in order, each even if another fails.
    pub(super) fn each(&self, steps: &'a [Step], frame: &Frame) {
        for step in steps {
            // Failures have been reported and counted where they happened.
            let _ = self.step(step, frame);
        }
    }

    /// A group: its own scope, and `finally` as it is left.
    pub(super) fn group(
        &self,
        group: &'a crate::playbook::plan::Group,
        frame: &Frame,
    ) -> Result<(), Stop> {
        let inner = Frame {
            scope: frame.scope.child(),
            depth: frame.depth + 1,
            turn: None,
            ..frame.clone()
        };
        let ended = self.steps(&group.steps, &inner);
        if !group.finally.is_empty() {
            self.each(&group.finally, &Self::cleanup_frame(&inner, Phase::Finally));
        }
        ended
    }

    fn outputs(&self, frame: &Frame) -> IndexMap<String, Value> {
        let mut outputs = IndexMap::new();
        for output in &self.plan.outputs {
            match self.renderer(&frame.scope).value(&output.value) {
                Ok(value) => {
                    outputs.insert(output.name.text.clone(), value);
                }
                Err(fault) => {
                    self.ledger().summary.failed += 1;
                    self.emit(Kind::Warning(
                        Diagnostic::error(format!(
                            "output `{}`: {}",
                            output.name.text, fault.message
                        ))
                        .at(self.plan.place(fault.span), ""),
                    ));
                }
            }
        }
        outputs
    }

    fn close(&self, interruption: Interruption, outputs: IndexMap<String, Value>) -> Summary {
        let mut summary = std::mem::take(&mut self.ledger().summary);
        summary.playbook.clone_from(&self.plan.name);
        summary.interruption = interruption;
        summary.duration = self.began.elapsed();
        summary.outputs = outputs;
        self.emit(Kind::RunFinished(summary.clone()));
        summary
    }

    /// Announces a step.
    pub(super) fn begin(&self, title: String, frame: &Frame, shape: StepShape) -> StepInfo {
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
        self.emit(Kind::StepStarted(info.clone()));
        info
    }

    pub(super) fn progress(&self, info: &StepInfo, operation: &crate::client::Operation) {
        if let Some(text) = operation.progress() {
            self.emit(Kind::Progress {
                step: info.clone(),
                text,
            });
        }
    }

    /// Counts a step's end and announces it.
    pub(super) fn finish(&self, step: StepInfo, outcome: StepOutcome, duration: Duration) {
        let mut ledger = self.ledger();
        let summary = &mut ledger.summary;
        let is_single = step.shape == StepShape::Single;
        match (&outcome, step.phase) {
            (StepOutcome::Passed, Phase::Steps) => summary.passed += usize::from(is_single),
            (StepOutcome::Passed, _) => summary.cleaned_up += usize::from(is_single),
            (StepOutcome::Skipped, Phase::Steps) => summary.skipped += 1,
            (StepOutcome::Tolerated(_), _) => summary.tolerated += usize::from(is_single),
            (StepOutcome::Failed(_), Phase::Steps) => summary.failed += usize::from(is_single),
            (StepOutcome::Failed(_), _) if is_single => summary.left.push(step.title.clone()),
            (StepOutcome::Skipped | StepOutcome::Failed(_), _) => {}
        }
        drop(ledger);
        self.emit(Kind::StepFinished {
            step,
            outcome,
            duration,
        });
    }
}

/// Whether a step does something itself.
pub(super) fn shape(step: &Step) -> StepShape {
    match step.action {
        Action::Steps(_) => StepShape::Group,
        _ => StepShape::Single,
    }
}
