//! What came of several playbooks, a line each.

use super::record::{Outcome, Record};
use crate::diagnostic::count;
use crate::events::Summary;

/// The lines of the table: mark, outcome, playbook, steps. The time is the reader's to add.
pub(super) fn rows(records: &[Record]) -> Vec<(Outcome, String)> {
    let width = |of: fn(&Record) -> usize| records.iter().map(of).max().unwrap_or_default();
    let words = width(|record| record.outcome().word().chars().count());
    let names = width(|record| record.playbook.chars().count());
    records
        .iter()
        .map(|record| {
            let outcome = record.outcome();
            let (word, name) = (outcome.word(), &record.playbook);
            let line = format!("{word:words$}  {name:names$}  {}", counts(record));
            (outcome, line.trim_end().to_owned())
        })
        .collect()
}

/// `5 playbooks: 3 passed, 2 failed`.
pub(super) fn totals(records: &[Record]) -> String {
    let parts: Vec<String> = [
        (Outcome::Left, "with things left"),
        (Outcome::Interrupted, "interrupted"),
        (Outcome::Error, "could not run"),
        (Outcome::Failed, "failed"),
        (Outcome::Passed, "passed"),
        (Outcome::NotRun, "not run"),
    ]
    .iter()
    .map(|(outcome, words)| {
        let of = records.iter().filter(|record| record.outcome() == *outcome);
        (of.count(), words)
    })
    .filter(|(number, _)| *number > 0)
    .map(|(number, words)| format!("{number} {words}"))
    .collect();
    let all = count(records.len(), "playbook");
    if parts.is_empty() {
        all
    } else {
        format!("{all}: {}", parts.join(", "))
    }
}

/// How the steps of a playbook ended; nothing where it did not run.
fn counts(record: &Record) -> String {
    record.summary.as_ref().map_or_else(String::new, steps)
}

/// `1 failed, 3 passed, 1 not run`.
pub(super) fn steps(summary: &Summary) -> String {
    let parts: Vec<String> = [
        (summary.failed, "failed"),
        (summary.passed, "passed"),
        (summary.tolerated, "failed and tolerated"),
        (summary.skipped, "skipped"),
        (summary.cancelled, "cancelled"),
        (summary.not_run, "not run"),
        (summary.cleaned_up, "cleaned up"),
        (summary.removed, "removed"),
    ]
    .iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, what)| format!("{number} {what}"))
    .collect();
    if parts.is_empty() {
        "nothing to do".to_owned()
    } else {
        parts.join(", ")
    }
}
