//! Steps and items of loops by names that the next run of an environment knows them by.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::playbook::plan::Step;
use crate::resources;
use crate::source::Source;

/// A step by its id. One without an id goes by its line as long as the text of its file is the same, and by the text of
/// that line otherwise.
pub(super) fn of_step(step: &Step, source: &Source) -> String {
    step.id.as_ref().map_or_else(
        || {
            let line = source.position(step.span.start).line;
            let words = source.text().lines().nth(line - 1).unwrap_or_default();
            let words = words.trim_start_matches(['-', ' ']).trim_end();
            resources::step_by_place(line, &short(source.text()), &short(words))
        },
        |id| id.text.clone(),
    )
}

/// An item of a loop. It may be a secret, and is written to the journal.
pub(super) fn of_item(item: &Value, run: &str) -> String {
    format!("item {}", short(&format!("{run} {item}")))
}

fn short(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
