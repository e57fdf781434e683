//! What happened, as plain data: the events of one playbook's run, gathered for the reports.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use indexmap::IndexMap;
use serde_json::Value;

use super::problem::Problem;
use crate::diagnostic::{Diagnostic, Severity};
use crate::events::{
    Event, Interruption, Kind, Phase, Sink, StepInfo, StepOutcome, StepShape, Summary,
    masked_summary,
};
use crate::playbook::Plan;
use crate::secret::Masker;

/// What came of one playbook.
#[derive(Debug, Clone)]
pub struct Record {
    /// The playbook's name; its file where the name is not known.
    pub playbook: String,
    /// Its file, as the user gave it.
    pub file: String,
    /// When its run began, or when it was found that it could not.
    pub started: SystemTime,
    /// The run's id; nothing where there was no run.
    pub run: Option<String>,
    /// The server, as in `incus 6.0.4`.
    pub server: Option<String>,
    /// The steps that were begun, in the order in which they are told.
    pub steps: Vec<StepRecord>,
    /// Resources that were removed as tracked, in the order of their going.
    pub removed: Vec<String>,
    /// What is not about a step: why the playbook could not run, warnings.
    pub problems: Vec<Problem>,
    /// How the run ended; nothing where there was none.
    pub summary: Option<Summary>,
}

/// What came of one step.
#[derive(Debug, Clone)]
pub struct StepRecord {
    /// Which step.
    pub info: StepInfo,
    /// How it ended.
    pub outcome: StepEnd,
    /// How long it took.
    pub duration: Duration,
    /// What is worth a remark, such as `unchanged`; often nothing.
    pub remark: String,
    /// How often it was tried.
    pub attempts: u32,
    /// What was wrong.
    pub problems: Vec<Problem>,
}

/// How a step ended, without the details.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepEnd {
    /// All that was expected held.
    Passed,
    /// Its condition did not hold, or what it makes is there.
    Skipped,
    /// It failed.
    Failed,
    /// It failed, and the playbook says to go on.
    Tolerated,
    /// It was cancelled.
    Cancelled,
}

/// How a playbook ended, the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Cleanup is incomplete.
    Left,
    /// It was interrupted.
    Interrupted,
    /// It could not run: it has errors, or the server cannot be reached.
    Error,
    /// A step failed.
    Failed,
    /// Its turn did not come.
    NotRun,
    /// All held.
    Passed,
}

impl Record {
    /// The record of a playbook whose turn has not come.
    pub fn waiting(plan: &Plan) -> Self {
        Self::of_file(&plan.name, plan.source.name())
    }

    /// The record of a playbook that cannot run, and why.
    pub fn broken(name: &str, file: &str, problems: &[Diagnostic]) -> Self {
        Self {
            problems: problems.iter().map(Problem::of).collect(),
            ..Self::of_file(name, file)
        }
    }

    fn of_file(name: &str, file: &str) -> Self {
        Self {
            playbook: name.to_owned(),
            file: file.to_owned(),
            started: SystemTime::now(),
            run: None,
            server: None,
            steps: Vec::new(),
            removed: Vec::new(),
            problems: Vec::new(),
            summary: None,
        }
    }

    /// How it ended.
    pub fn outcome(&self) -> Outcome {
        let Some(summary) = &self.summary else {
            let broken = self.problems.iter().any(Problem::is_error);
            return if broken {
                Outcome::Error
            } else {
                Outcome::NotRun
            };
        };
        if !summary.left.is_empty() {
            Outcome::Left
        } else if summary.interruption == Interruption::Cancelled {
            Outcome::Interrupted
        } else if summary.failed > 0 {
            Outcome::Failed
        } else {
            Outcome::Passed
        }
    }

    /// How long it ran.
    pub fn duration(&self) -> Duration {
        self.summary
            .as_ref()
            .map_or(Duration::ZERO, |summary| summary.duration)
    }

    /// What is left on the server.
    pub fn left(&self) -> &[String] {
        self.summary.as_ref().map_or(&[], |summary| &summary.left)
    }

    /// What stays on the server until somebody asks for its removal.
    pub fn owed(&self) -> &[String] {
        self.summary.as_ref().map_or(&[], |summary| &summary.owed)
    }

    /// The outputs.
    pub fn outputs(&self) -> IndexMap<String, Value> {
        self.summary
            .as_ref()
            .map_or_else(IndexMap::new, |summary| summary.outputs.clone())
    }

    /// The record without the secrets: before anything is escaped, so that they are recognised.
    #[must_use]
    pub fn masked(&self, masker: &Masker) -> Self {
        let problems = |problems: &[Problem]| -> Vec<Problem> {
            problems.iter().map(|one| one.masked(masker)).collect()
        };
        let steps = self.steps.iter().map(|step| StepRecord {
            info: StepInfo {
                title: masker.mask(&step.info.title),
                ..step.info.clone()
            },
            remark: masker.mask(&step.remark),
            problems: problems(&step.problems),
            ..step.clone()
        });
        Self {
            playbook: masker.mask(&self.playbook),
            file: masker.mask(&self.file),
            started: self.started,
            run: self.run.as_deref().map(|run| masker.mask(run)),
            server: self.server.as_deref().map(|server| masker.mask(server)),
            steps: steps.collect(),
            removed: self.removed.iter().map(|one| masker.mask(one)).collect(),
            problems: problems(&self.problems),
            summary: self
                .summary
                .as_ref()
                .map(|summary| masked_summary(summary, masker)),
        }
    }

    fn take(&mut self, kind: &Kind) {
        match kind {
            Kind::RunStarted { run, server, .. } => {
                self.run = Some(run.clone());
                self.server = Some(server.clone());
            }
            Kind::StepStarted(info) => self.steps.push(StepRecord {
                info: info.clone(),
                outcome: StepEnd::Cancelled,
                duration: Duration::ZERO,
                remark: String::new(),
                attempts: 1,
                problems: Vec::new(),
            }),
            Kind::Again { step, attempt, .. } => {
                if let Some(record) = self.step(step) {
                    record.attempts = attempt + 1;
                }
            }
            Kind::StepFinished {
                step,
                outcome,
                duration,
            } => {
                if let Some(record) = self.step(step) {
                    record.duration = *duration;
                    record.end(outcome);
                }
            }
            Kind::Removed {
                resource, failure, ..
            } => match failure {
                Some(problem) => self.problems.push(Problem::of(problem)),
                None => self.removed.push(resource.clone()),
            },
            Kind::Warning(problem) => self.problems.push(Problem::of(problem)),
            Kind::RunFinished(summary) => self.summary = Some(summary.clone()),
            Kind::Progress { .. } => {}
        }
    }

    fn step(&mut self, info: &StepInfo) -> Option<&mut StepRecord> {
        // The one that ends began not long ago.
        self.steps
            .iter_mut()
            .rev()
            .find(|step| step.info.number == info.number)
    }
}

impl StepRecord {
    fn end(&mut self, outcome: &StepOutcome) {
        let problems = match outcome {
            StepOutcome::Failed(problems) | StepOutcome::Tolerated(problems) => problems.as_slice(),
            StepOutcome::Passed(_) | StepOutcome::Skipped(_) | StepOutcome::Cancelled => &[],
        };
        self.problems = problems.iter().map(Problem::of).collect();
        if matches!(outcome, StepOutcome::Tolerated(_)) {
            self.problems = problems.iter().map(tolerated).collect();
        }
        self.outcome = match outcome {
            StepOutcome::Passed(remark) => {
                self.remark.clone_from(remark);
                StepEnd::Passed
            }
            StepOutcome::Skipped(remark) => {
                self.remark.clone_from(remark);
                StepEnd::Skipped
            }
            StepOutcome::Failed(_) => StepEnd::Failed,
            StepOutcome::Tolerated(_) => StepEnd::Tolerated,
            StepOutcome::Cancelled => StepEnd::Cancelled,
        };
    }

    /// Whether it does something itself, or has something to say that its steps have not said.
    pub fn counts(&self) -> bool {
        self.info.shape == StepShape::Single || !self.problems.is_empty()
    }
}

impl StepEnd {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Tolerated => "tolerated",
            Self::Cancelled => "cancelled",
        }
    }
}

impl Outcome {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Interrupted => "interrupted",
            Self::Error => "error",
            Self::Failed => "failed",
            Self::NotRun => "not run",
            Self::Passed => "passed",
        }
    }
}

/// A failure that the playbook says to live with.
fn tolerated(failure: &Diagnostic) -> Problem {
    Problem::of(&Diagnostic {
        severity: Severity::Warning,
        ..failure.clone()
    })
}

/// The word for a part of a run.
pub(super) fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Steps => "steps",
        Phase::Cleanup => "cleanup",
        Phase::Finally => "finally",
    }
}

/// Gathers the record of a run, and passes the events on.
pub struct Collector<'a> {
    record: Mutex<Record>,
    next: &'a dyn Sink,
}

impl<'a> Collector<'a> {
    /// Begins the record of a playbook's run.
    pub fn new(plan: &Plan, next: &'a dyn Sink) -> Self {
        Self {
            record: Mutex::new(Record::waiting(plan)),
            next,
        }
    }

    /// What has been gathered.
    pub fn into_record(self) -> Record {
        self.record
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Collector<'_> {
    fn event(&self, event: Event) {
        self.record
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(&event.kind);
        self.next.event(event);
    }
}
