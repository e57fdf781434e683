//! Events without secrets: a sink that prints an event with `{:?}` shows none.

use super::texts::{Texts, rewritten, rewritten_summary};
use super::{Event, Sink, Summary};
use crate::secret::Masker;
use crate::source::Place;
use serde_json::Value;

/// Masks events on their way to another sink.
pub(crate) struct Masked<'a> {
    to: &'a dyn Sink,
    masker: &'a Masker,
}

impl<'a> Masked<'a> {
    pub(crate) fn new(to: &'a dyn Sink, masker: &'a Masker) -> Self {
        Self { to, masker }
    }
}

impl Sink for Masked<'_> {
    fn event(&self, event: Event) {
        self.to.event(if self.masker.is_empty() {
            event
        } else {
            rewritten(event, self.masker)
        });
    }
}

impl Texts for Masker {
    fn text(&self, text: &str) -> String {
        self.mask(text)
    }

    fn value(&self, value: &Value) -> Value {
        self.mask_value(value)
    }

    fn place(&self, place: &Place) -> Place {
        place.masked(self)
    }
}

/// What came of a run without secrets; its outputs too.
pub(crate) fn masked_summary(summary: &Summary, masker: &Masker) -> Summary {
    rewritten_summary(summary, masker)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;
    use crate::diagnostic::{Diagnostic, Style};
    use crate::events::{Kind, Phase, StepInfo, StepOutcome, StepShape};
    use crate::source::{Source, Span};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    const CANARY: &str = "canary-\t'hümmingbird' & nest/of <twigs>";

    /// The canary as it is, and in all forms that the masker knows.
    fn spellings() -> Vec<String> {
        let in_json = |text: &str| json!(text).to_string().trim_matches('"').to_owned();
        let percent = malleus_core::percent::encode(CANARY);
        let in_base64 = |before: &str| STANDARD.encode(format!("{before}{CANARY}"));
        let lines = |text: &str| text[..20].to_owned() + "\n" + &text[20..];
        vec![
            CANARY.to_owned(),
            in_json(CANARY),
            in_json(&in_json(CANARY)),
            in_json(CANARY).replace('ü', "\\u00fc").replace('/', "\\/"),
            in_json(CANARY)
                .replace('&', "\\u0026")
                .replace('<', "\\u003c"),
            format!("{CANARY:?}"),
            percent.to_lowercase(),
            percent.replace("%20", "+"),
            CANARY.replace('\'', "'\\''"),
            CANARY
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;"),
            in_base64(""),
            in_base64("x"),
            in_base64("user:"),
            lines(&in_base64("")),
        ]
    }

    #[derive(Default)]
    struct Printed(Mutex<Vec<String>>);

    impl Sink for Printed {
        fn event(&self, event: Event) {
            let drawn = match &event.kind {
                Kind::Warning(problem)
                | Kind::Removed {
                    failure: Some(problem),
                    ..
                } => problem.render(Style::Plain),
                Kind::StepFinished {
                    outcome: StepOutcome::Failed(problems) | StepOutcome::Tolerated(problems),
                    ..
                } => problems
                    .iter()
                    .map(|problem| problem.render(Style::Plain))
                    .collect(),
                _ => String::new(),
            };
            self.0.lock().unwrap().push(format!("{event:?}\n{drawn}"));
        }
    }

    fn told(with: &str) -> Vec<Kind> {
        let info = || StepInfo {
            number: 1,
            title: format!("read {with}"),
            depth: 0,
            phase: Phase::Steps,
            shape: StepShape::Single,
        };
        // Far to the right, so that the excerpt is cut around the place.
        let text = format!("steps:\n  - a: {}\"{with}\" # end\n", "x".repeat(120));
        let source = Source::new(Path::new(&format!("{with}.yaml")), text);
        let end = source.text().find(" # end").unwrap_or_default();
        let problem = || {
            Diagnostic::error(format!("message {with}"))
                .at(
                    Place::new(&source, Span::new(end, end + 6)),
                    format!("label {with}"),
                )
                .note(format!("note {with}"))
                .help(format!("help {with}"))
        };
        let summary = Summary {
            playbook: with.into(),
            run: with.into(),
            environment: Some(with.into()),
            left: vec![with.into()],
            owed: vec![with.into()],
            outputs: [(with.to_owned(), json!({"deep": [with], with: 1}))].into(),
            ..Summary::default()
        };
        let finished = |outcome| Kind::StepFinished {
            step: info(),
            outcome,
            duration: Duration::ZERO,
        };
        vec![
            Kind::RunStarted {
                playbook: with.into(),
                run: with.into(),
                server: with.into(),
            },
            Kind::StepStarted(info()),
            Kind::Progress {
                step: info(),
                text: with.into(),
            },
            Kind::Again {
                step: info(),
                attempt: 1,
                reason: with.into(),
            },
            finished(StepOutcome::Passed(with.into())),
            finished(StepOutcome::Skipped(with.into())),
            finished(StepOutcome::Failed(vec![problem()])),
            finished(StepOutcome::Tolerated(vec![problem()])),
            finished(StepOutcome::Cancelled),
            Kind::Removed {
                resource: with.into(),
                failure: Some(problem()),
                duration: Duration::ZERO,
            },
            Kind::Warning(problem()),
            Kind::RunFinished(summary),
        ]
    }

    #[test]
    fn no_event_shows_a_secret() {
        let masker = Masker::default();
        masker.add(&CANARY.into());
        for with in spellings() {
            let printed = Printed::default();
            let sink = Masked::new(&printed, &masker);
            let all = told(&with);
            let count = all.len();
            for kind in all {
                sink.event(Event {
                    elapsed: Duration::ZERO,
                    kind,
                });
            }
            let texts = printed.0.into_inner().unwrap();
            assert_eq!(texts.len(), count);
            for text in texts {
                for part in [
                    "canary",
                    "mmingbird",
                    "nest",
                    "twigs",
                    "Y2Fu",
                    "YW5hcn",
                    "bmVz",
                ] {
                    assert!(!text.contains(part), "{with}\n{text}");
                }
            }
        }
    }
}
