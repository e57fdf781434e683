//! From what was written to what will run: all problems at once, nothing sent.

mod build;
mod names;
mod secrets;
mod servers;
mod shared;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::document::Document;
use super::plan::Plan;
use crate::template::Engine;
use build::Built;
use malleus_source::Source;
use malleus_source::diagnostic::Diagnostic;

/// How many problems are shown. With more of them the first ones are the cause of most, and to draw each takes time.
const MOST_PROBLEMS: usize = 100;

/// What the static check found.
#[derive(Debug)]
pub struct Checked {
    /// The plan, unless there are errors.
    pub plan: Option<Plan>,
    /// Errors and warnings, in the order of the file; where there are very many, the first ones and how many more. Defaults of
    /// secret inputs are masked in them.
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
    let files = Files {
        engine,
        path: Path::new(source.name()).to_path_buf(),
        within: None,
    };
    let (plan, mut problems) = files.check(source);
    if let Some(plan) = &plan
        && !problems.iter().any(Diagnostic::is_error)
    {
        problems.extend(shared::judge(plan, engine));
    }
    let failed = problems.iter().any(Diagnostic::is_error);
    if failed {
        // What an error keeps from being read seems unused.
        problems.retain(Diagnostic::is_error);
    }
    let more = problems.len().saturating_sub(MOST_PROBLEMS);
    if more > 0 {
        problems.truncate(MOST_PROBLEMS);
        let message = format!("{more} more problems are not shown; mend the first ones");
        problems.push(Diagnostic {
            severity: problems[0].severity,
            ..Diagnostic::error(message)
        });
    }
    Checked {
        plan: plan.filter(|_| !failed),
        problems: secrets::masked(&problems),
    }
}

/// The playbook that is being checked, and those that include it.
struct Files<'a> {
    engine: &'a Engine,
    path: PathBuf,
    within: Option<&'a Files<'a>>,
}

impl Files<'_> {
    /// A playbook that this one includes.
    fn inside<'b>(&'b self, path: &Path) -> Files<'b> {
        Files {
            engine: self.engine,
            path: path.to_path_buf(),
            within: Some(self),
        }
    }

    /// The chain of includes that leads from a playbook back to itself, if `path` closes one.
    fn cycle(&self, path: &Path) -> Option<String> {
        let same = |one: &Path| match (one.canonicalize(), path.canonicalize()) {
            (Ok(one), Ok(other)) => one == other,
            _ => one == path,
        };
        let mut chain = vec![path.display().to_string()];
        let mut at = Some(self);
        while let Some(files) = at {
            chain.push(files.path.display().to_string());
            if same(&files.path) {
                chain.reverse();
                return Some(chain.join(" includes "));
            }
            at = files.within;
        }
        None
    }

    /// The plan as far as it can be read, and all problems: this file's in its order, then those of what it includes.
    fn check(&self, source: &Arc<Source>) -> (Option<Plan>, Vec<Diagnostic>) {
        let document = match Document::parse(source) {
            Ok(document) => document,
            Err(problems) => return (None, problems),
        };
        let mut problems = document.judge();
        let Built { plan, unread } = build::plan(&document, self, &mut problems);
        problems.extend(names::judge(&plan, &unread, self.engine));
        problems.extend(servers::judge(&plan));
        problems.sort_by_key(|problem| {
            let place = problem.labels.first().map(|label| &label.place);
            place.map(|place| (place.source.name() != source.name(), place.span))
        });
        problems.dedup();
        (Some(plan), problems)
    }
}
