//! What happens in a run: facts, in order, and who takes them. What leaves a run is masked here.

mod masked;
mod ordered;
mod texts;

use std::time::Duration;

use serde_json::Value;

pub(crate) use masked::{Masked, masked_summary};
pub(crate) use ordered::{EventSink, OrderedEvents};
pub(crate) use texts::{Texts, rewritten, rewritten_diagnostic};

use crate::diagnostic::Diagnostic;
use crate::playbook::plan::OnError;

/// Takes events. Called from whatever thread something happens on.
pub trait Sink: Sync {
    /// Takes one event.
    fn event(&self, event: Event);
}

/// One fact of a run.
#[derive(Debug, Clone)]
pub struct Event {
    /// Time since the run began.
    pub elapsed: Duration,
    /// What happened.
    pub kind: Kind,
}

/// What happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Kind {
    /// The run begins.
    RunStarted {
        /// The playbook's name.
        playbook: String,
        /// The run's id.
        run: String,
        /// The server, as in `incus 6.0.4`.
        server: String,
    },
    /// A step begins.
    StepStarted(StepInfo),
    /// The operation that a step waits for has got on.
    Progress {
        /// The step.
        step: StepInfo,
        /// In the daemon's words.
        text: String,
    },
    /// A step will be tried again.
    Again {
        /// The step.
        step: StepInfo,
        /// The attempt that has just ended, from 1.
        attempt: u32,
        /// Why it is not the last.
        reason: String,
    },
    /// A step has ended.
    StepFinished {
        /// The step.
        step: StepInfo,
        /// How.
        outcome: StepOutcome,
        /// How long it took.
        duration: Duration,
    },
    /// Something that the run created has been removed, or could not be.
    Removed {
        /// The resource, as `instance web`.
        resource: String,
        /// Why it is still there, if it is.
        failure: Option<Diagnostic>,
        /// How long it took.
        duration: Duration,
    },
    /// Something to know that is not a step's failure.
    Warning(Diagnostic),
    /// The run has ended.
    RunFinished(Summary),
}

/// Which step an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepInfo {
    /// Number of the step in this run, in the order of beginning.
    pub number: u32,
    /// Its title.
    pub title: String,
    /// How many groups it is inside of.
    pub depth: usize,
    /// What part of the run it belongs to.
    pub phase: Phase,
    /// Whether it is a group whose own steps have events too.
    pub shape: StepShape,
}

/// Whether a step does something itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepShape {
    /// It does.
    Single,
    /// Its steps do.
    Group,
}

/// A part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The steps.
    Steps,
    /// Registered cleanups.
    Cleanup,
    /// What is always done at the end.
    Finally,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq)]
pub enum StepOutcome {
    /// All that was expected held. What is worth a remark, such as `unchanged`; often nothing.
    Passed(String),
    /// It did nothing: its condition did not hold, or for the reason that is given, such as that what it makes is there.
    Skipped(String),
    /// It failed. A group whose step failed has no failures of its own.
    Failed(Vec<Diagnostic>),
    /// It failed, and the playbook says to go on.
    Tolerated(Vec<Diagnostic>),
    /// It was cancelled because something beside it failed, or from outside.
    Cancelled,
}

/// How a run ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// The playbook's name.
    pub playbook: String,
    /// The run's id.
    pub run: String,
    /// Steps that passed.
    pub passed: usize,
    /// Steps that failed, those of cleanups and of `finally` included.
    pub failed: usize,
    /// Steps that failed and were tolerated.
    pub tolerated: usize,
    /// Steps that were skipped.
    pub skipped: usize,
    /// Steps that were cancelled under way.
    pub cancelled: usize,
    /// Steps that were never begun, those inside groups not counted.
    pub not_run: usize,
    /// Steps of cleanups and of `finally` that passed.
    pub cleaned_up: usize,
    /// Resources that the run created and that have been removed as tracked.
    pub removed: usize,
    /// Resources that could not be removed.
    pub left: Vec<String>,
    /// Resources that stay for now, and that `malleus down` removes.
    pub owed: Vec<String>,
    /// How much of what is left or stays `malleus down` can remove.
    pub recoverable: usize,
    /// The environment's name, where the run provides one.
    pub environment: Option<String>,
    /// Whether the run was interrupted from outside.
    pub interruption: Interruption,
    /// The run's time, cleanup included.
    pub duration: Duration,
    /// The playbook's outputs, in order; none unless all steps passed.
    pub outputs: indexmap::IndexMap<String, Value>,
}

impl Summary {
    /// Counts the end of a step. Groups do not count, their steps do; but a group may fail by itself, as when what is
    /// expected of it does not hold.
    pub(crate) fn count(&mut self, step: &StepInfo, outcome: &StepOutcome, on_error: OnError) {
        let of_its_own = match outcome {
            StepOutcome::Failed(failures) | StepOutcome::Tolerated(failures) => {
                !failures.is_empty()
            }
            _ => false,
        };
        let single = usize::from(step.shape == StepShape::Single || of_its_own);
        match (outcome, step.phase) {
            (StepOutcome::Passed(_), Phase::Steps) => self.passed += single,
            (StepOutcome::Passed(_), _) => self.cleaned_up += single,
            (StepOutcome::Skipped(_), Phase::Steps) => self.skipped += 1,
            (StepOutcome::Tolerated(_), _) => self.tolerated += single,
            (StepOutcome::Failed(_), _) => match on_error {
                OnError::Fail => self.failed += single,
                OnError::Continue => self.tolerated += single,
            },
            (StepOutcome::Cancelled, _) => self.cancelled += single,
            (StepOutcome::Skipped(_), _) => {}
        }
    }

    /// Whether all steps have held, cleanups included, and nothing is left.
    pub fn is_fine(&self) -> bool {
        self.failed == 0 && self.left.is_empty() && self.interruption == Interruption::None
    }
}

/// Whether something from outside ended the steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Interruption {
    /// No.
    #[default]
    None,
    /// The client was cancelled.
    Cancelled,
}
