//! A project of its own for a run.

use malleus_api::{ApiPath, Meaning, means};
use serde_json::{Map, Value, json};

use super::action::{ActionError, Attempt};
use super::executor::{Frame, Run, Stop};
use super::failure;
use crate::client::Request;
use crate::diagnostic::Diagnostic;
use crate::events::{StepOutcome, StepShape};
use crate::playbook::plan::Isolate;
use crate::resources::ISOLATED_KEY;

/// How long making the project may take.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);
/// The longest name of a project.
const LONGEST: usize = 63;

impl<'a> Run<'a> {
    /// Makes the project that the playbook wants for itself, and has the frame's requests go there.
    pub(super) fn isolate(&self, frame: &mut Frame<'a>) -> Result<(), Stop> {
        let Some(isolate) = &frame.plan.isolate else {
            return Ok(());
        };
        let start = self.now();
        let name = project_name(&frame.plan.name, &self.session.id);
        let info = self.begin(format!("make project {name}"), frame, StepShape::Single);
        let made = self.make_project((&name, isolate), frame, info.number);
        let outcome = match made {
            Ok(()) => StepOutcome::Passed(String::new()),
            Err(problem) => StepOutcome::Failed(vec![problem]),
        };
        let failed = matches!(outcome, StepOutcome::Failed(_));
        self.finish(info, frame, outcome, self.elapsed(start));
        if failed {
            self.pending_work().summary.not_run += frame.plan.steps.len();
            return Err(Stop::Failed);
        }
        frame.client = frame.client.with_project(&name);
        frame.home_project = Some(name.into());
        Ok(())
    }

    fn make_project(
        &self,
        (name, isolate): (&str, &'a Isolate),
        frame: &Frame<'a>,
        number: u32,
    ) -> Result<(), Diagnostic> {
        let renderer = self.renderer(frame);
        // Images and profiles are those of the default project, so that nothing has to be copied there first.
        let mut config = Map::new();
        config.insert("features.images".into(), "false".into());
        config.insert("features.profiles".into(), "false".into());
        // Without this mark `malleus gc` does not touch what is in the project.
        config.insert(ISOLATED_KEY.into(), self.session.id.clone().into());
        for (key, value) in &isolate.config {
            let value = renderer
                .text(value)
                .map_err(|fault| failure::of_template_error(frame.plan, &fault))?;
            config.insert(key.clone(), value.into());
        }
        let limit = frame.client.limit("project", LIMIT).earlier(frame.limit);
        let request = Request::post("projects").limit(limit).json(json!({
            "name": name,
            "description": format!("run {} of {}", self.session.id, frame.plan.name),
            "config": Value::Object(config),
        }));
        let attempt = Attempt {
            run: self,
            frame,
            limit,
            owner: frame.owned_by(number),
            fate: frame.fate,
            progress: &|_| {},
        };
        let what = "POST /1.0/projects";
        // An environment that is brought up again has its project already.
        let seen = attempt.exchange_or_stand(&request).map_err(|error| {
            let trouble = ActionError::client(error, what.into());
            failure::of_trouble(frame.plan, isolate.span, trouble)
        })?;
        match seen.error {
            None => {
                self.session.tracker.takes_contents(&attempt_path(name));
                Ok(())
            }
            Some(words) => Err(refused(&words, frame, isolate)),
        }
    }
}

fn attempt_path(name: &str) -> String {
    ApiPath::of_project(name).to_string()
}

fn refused(words: &str, frame: &Frame<'_>, isolate: &Isolate) -> Diagnostic {
    let problem = Diagnostic::error(format!("cannot make a project for the run: {words}"))
        .at(frame.plan.place(isolate.span), "");
    let is_restricted = means(words, Meaning::NotAllowed);
    if is_restricted {
        problem.help(
            "a certificate that is restricted to projects cannot make one: leave `isolate` away and name one of its projects with `project:`",
        )
    } else {
        problem
    }
}

/// `<playbook>-<run>`, as long as names may be.
fn project_name(playbook: &str, run: &str) -> String {
    let room = LONGEST.saturating_sub(run.len() + 1);
    let playbook: String = playbook.chars().take(room).collect();
    format!("{}-{run}", playbook.trim_end_matches('-'))
}
