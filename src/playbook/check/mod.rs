//! From what was written to what will run: all problems at once, nothing sent.

mod build;
mod names;

use std::sync::Arc;

use super::document::Document;
use super::plan::Plan;
use crate::diagnostic::Diagnostic;
use crate::source::Source;
use crate::template::Engine;

/// What the static check found.
#[derive(Debug)]
pub struct Checked {
    /// The plan, unless there are errors.
    pub plan: Option<Plan>,
    /// Errors and warnings, in the order of the file.
    pub problems: Vec<Diagnostic>,
}

impl Checked {
    /// Whether any of the problems is an error.
    pub fn failed(&self) -> bool {
        self.plan.is_none()
    }
}

/// Checks a playbook. Looks at the files that it names, and at nothing else outside it.
pub fn check(source: &Arc<Source>, engine: &Engine) -> Checked {
    let document = match Document::parse(source) {
        Ok(document) => document,
        Err(problems) => {
            return Checked {
                plan: None,
                problems,
            };
        }
    };
    let mut problems = document.judge();
    let plan = build::plan(&document, &mut problems);
    problems.extend(names::judge(&plan, engine));
    problems.sort_by_key(|problem| problem.labels.first().map(|label| label.place.span));
    problems.dedup();
    let failed = problems.iter().any(Diagnostic::is_error);
    if failed {
        // What an error keeps from being read seems unused.
        problems.retain(Diagnostic::is_error);
    }
    Checked {
        plan: (!failed).then_some(plan),
        problems,
    }
}
