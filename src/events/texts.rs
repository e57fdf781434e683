//! All texts of an event, rewritten: without secrets, or fit for a reader.

use serde_json::Value;

use super::{Event, Kind, StepInfo, StepOutcome, Summary};
use crate::diagnostic::Diagnostic;
use crate::source::Place;

/// What becomes of each text.
pub(crate) trait Texts {
    /// A text that an event holds.
    fn text(&self, text: &str) -> String;

    /// The value of an output.
    fn value(&self, value: &Value) -> Value;

    /// A place, with the text of the file that it is in.
    fn place(&self, place: &Place) -> Place;
}

pub(crate) fn rewritten(event: Event, texts: &dyn Texts) -> Event {
    let text = |text: String| texts.text(&text);
    let kind = match event.kind {
        Kind::RunStarted {
            playbook,
            run,
            server,
        } => Kind::RunStarted {
            playbook: text(playbook),
            run: text(run),
            server: text(server),
        },
        Kind::StepStarted(info) => Kind::StepStarted(step(info, texts)),
        Kind::Progress {
            step: info,
            text: said,
        } => Kind::Progress {
            step: step(info, texts),
            text: text(said),
        },
        Kind::Again {
            step: info,
            attempt,
            reason,
        } => Kind::Again {
            step: step(info, texts),
            attempt,
            reason: text(reason),
        },
        Kind::StepFinished {
            step: info,
            outcome: ended,
            duration,
        } => Kind::StepFinished {
            step: step(info, texts),
            outcome: outcome(ended, texts),
            duration,
        },
        Kind::Removed {
            resource,
            failure,
            duration,
        } => Kind::Removed {
            resource: text(resource),
            failure: failure.map(|failure| rewritten_diagnostic(&failure, texts)),
            duration,
        },
        Kind::Warning(problem) => Kind::Warning(rewritten_diagnostic(&problem, texts)),
        Kind::RunFinished(ended) => Kind::RunFinished(rewritten_summary(&ended, texts)),
    };
    Event { kind, ..event }
}

fn step(mut info: StepInfo, texts: &dyn Texts) -> StepInfo {
    info.title = texts.text(&info.title);
    info
}

fn outcome(outcome: StepOutcome, texts: &dyn Texts) -> StepOutcome {
    let all = |problems: Vec<Diagnostic>| {
        let problems = problems.iter();
        problems
            .map(|problem| rewritten_diagnostic(problem, texts))
            .collect()
    };
    match outcome {
        StepOutcome::Passed(remark) => StepOutcome::Passed(texts.text(&remark)),
        StepOutcome::Failed(problems) => StepOutcome::Failed(all(problems)),
        StepOutcome::Tolerated(problems) => StepOutcome::Tolerated(all(problems)),
        StepOutcome::Skipped(reason) => StepOutcome::Skipped(texts.text(&reason)),
        StepOutcome::Cancelled => outcome,
    }
}

pub(crate) fn rewritten_summary(summary: &Summary, texts: &dyn Texts) -> Summary {
    let all = |all: &[String]| all.iter().map(|text| texts.text(text)).collect();
    let outputs = summary.outputs.iter();
    Summary {
        playbook: texts.text(&summary.playbook),
        run: texts.text(&summary.run),
        environment: summary.environment.as_deref().map(|name| texts.text(name)),
        left: all(&summary.left),
        owed: all(&summary.owed),
        outputs: outputs
            .map(|(name, value)| (texts.text(name), texts.value(value)))
            .collect(),
        ..*summary
    }
}

pub(crate) fn rewritten_diagnostic(problem: &Diagnostic, texts: &dyn Texts) -> Diagnostic {
    problem.rewritten(|text| texts.text(text), |place| texts.place(place))
}
