//! Events as lines of JSON.

use std::time::Duration;

use serde_json::{Value, json};

use crate::diagnostic::Diagnostic;
use crate::events::{
    Event, Interruption, Kind, Phase, Sink, StepInfo, StepOutcome, StepShape, rewritten,
};
use crate::report::problem::Problem;
use crate::secret::Masker;

/// From here on, only what ends something is kept: a step that is tried again and again must not fill the memory.
const MANY: usize = 10_000;

/// The events of a run, without those that are of use only in the moment.
#[derive(Default)]
pub(super) struct Events(Vec<Event>);

impl Events {
    pub(super) fn take(&mut self, event: &Event) {
        let is_kept = match event.kind {
            Kind::Progress { .. } => false,
            Kind::Again { .. } => self.0.len() < MANY,
            _ => true,
        };
        if is_kept {
            self.0.push(event.clone());
        }
    }

    /// Tells them again.
    pub(super) fn replay(&self, sink: &dyn Sink) {
        self.0.iter().for_each(|event| sink.event(event.clone()));
    }

    /// One JSON object a line, without secrets.
    pub(super) fn lines(&self, masker: &Masker) -> String {
        let lines = self.0.iter().map(|event| {
            // Once more: some secrets become known after an event.
            let event = rewritten(event.clone(), masker);
            let mut line = json!({"at": seconds(event.elapsed)});
            if let (Some(line), Value::Object(rest)) = (line.as_object_mut(), told(&event.kind)) {
                line.extend(rest);
            }
            format!("{line}\n")
        });
        lines.collect()
    }
}

fn told(kind: &Kind) -> Value {
    match kind {
        Kind::RunStarted {
            playbook,
            run,
            server,
        } => json!({"event": "run_started", "playbook": playbook, "run": run, "server": server}),
        Kind::StepStarted(info) => json!({"event": "step_started", "step": step(info)}),
        Kind::Again {
            step: info,
            attempt,
            reason,
        } => json!({"event": "again", "step": step(info), "attempt": attempt, "reason": reason}),
        Kind::StepFinished {
            step: info,
            outcome,
            duration,
        } => {
            let (word, remark, problems) = ended(outcome);
            json!({
                "event": "step_finished",
                "step": step(info),
                "outcome": word,
                "remark": remark,
                "problems": problems,
                "duration": seconds(*duration),
            })
        }
        Kind::Removed {
            resource,
            failure,
            duration,
        } => json!({
            "event": "removed",
            "resource": resource,
            "problem": failure.as_ref().map(problem),
            "duration": seconds(*duration),
        }),
        Kind::Warning(found) => json!({"event": "warning", "problem": problem(found)}),
        Kind::RunFinished(summary) => json!({
            "event": "run_finished",
            "passed": summary.passed,
            "failed": summary.failed,
            "tolerated": summary.tolerated,
            "skipped": summary.skipped,
            "cancelled": summary.cancelled,
            "not_run": summary.not_run,
            "interrupted": summary.interruption == Interruption::Cancelled,
            "left": summary.left,
            "owed": summary.owed,
            "duration": seconds(summary.duration),
        }),
        // Never kept.
        Kind::Progress { .. } => json!({"event": "progress"}),
    }
}

fn step(info: &StepInfo) -> Value {
    json!({
        "number": info.number,
        "title": info.title,
        "depth": info.depth,
        "phase": match info.phase {
            Phase::Steps => "steps",
            Phase::Cleanup => "cleanup",
            Phase::Finally => "finally",
        },
        "kind": match info.shape {
            StepShape::Single => "single",
            StepShape::Group => "group",
        },
    })
}

fn ended(outcome: &StepOutcome) -> (&'static str, Option<&str>, Vec<Value>) {
    let all = |problems: &[Diagnostic]| problems.iter().map(problem).collect();
    match outcome {
        StepOutcome::Passed(remark) => ("passed", said(remark), Vec::new()),
        StepOutcome::Skipped(remark) => ("skipped", said(remark), Vec::new()),
        StepOutcome::Failed(problems) => ("failed", None, all(problems)),
        StepOutcome::Tolerated(problems) => ("tolerated", None, all(problems)),
        StepOutcome::Cancelled => ("cancelled", None, Vec::new()),
    }
}

fn said(remark: &str) -> Option<&str> {
    (!remark.is_empty()).then_some(remark)
}

fn problem(found: &Diagnostic) -> Value {
    Problem::of(found).json()
}

/// Seconds to the millisecond.
pub(super) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
