//! One JSON document of all that happened. Its fields are explained in `docs/reports.md`.

use serde_json::{Value, json};

use super::problem::Problem;
use super::record::{Outcome, Record, StepRecord, phase_word};
use crate::events::StepShape;

/// The version of the document. Fields may be added to it; none goes or changes its meaning.
const VERSION: u32 = 1;

/// Writes masked records.
pub(super) fn write(records: &[Record]) -> String {
    let document = json!({
        "malleus": VERSION,
        "version": env!("CARGO_PKG_VERSION"),
        "playbooks": records.iter().map(playbook).collect::<Vec<_>>(),
    });
    format!("{document:#}\n")
}

fn playbook(record: &Record) -> Value {
    let outcome = match record.outcome() {
        Outcome::NotRun => "not_run",
        other => other.word(),
    };
    let summary = record.summary.clone().unwrap_or_default();
    json!({
        "name": record.playbook,
        "file": record.file,
        "outcome": outcome,
        "run": record.run,
        "server": record.server,
        "started": humantime::format_rfc3339_millis(record.started).to_string(),
        "duration": seconds(record.duration()),
        "counts": {
            "passed": summary.passed,
            "failed": summary.failed,
            "tolerated": summary.tolerated,
            "skipped": summary.skipped,
            "cancelled": summary.cancelled,
            "not_run": summary.not_run,
            "cleaned_up": summary.cleaned_up,
            "removed": summary.removed,
        },
        "steps": record.steps.iter().map(step).collect::<Vec<_>>(),
        "problems": problems(&record.problems),
        "removed": record.removed,
        "left": summary.left,
        "owed": summary.owed,
        "outputs": summary.outputs.into_iter().collect::<serde_json::Map<_, _>>(),
    })
}

fn step(step: &StepRecord) -> Value {
    let remark = (!step.remark.is_empty()).then_some(&step.remark);
    json!({
        "number": step.info.number,
        "title": step.info.title,
        "depth": step.info.depth,
        "phase": phase_word(step.info.phase),
        "kind": match step.info.shape { StepShape::Single => "single", StepShape::Group => "group" },
        "outcome": step.outcome.word(),
        "duration": seconds(step.duration),
        "attempts": step.attempts,
        "remark": remark,
        "problems": problems(&step.problems),
    })
}

fn problems(problems: &[Problem]) -> Vec<Value> {
    problems
        .iter()
        .map(|problem| {
            let mut value = problem.json();
            value["excerpt"] = problem.excerpt.clone().into();
            value
        })
        .collect()
}

/// Seconds to the millisecond.
fn seconds(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
