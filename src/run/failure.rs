//! Failures as diagnostics: what went wrong, where it is written, what is known, what to do.

use super::action::ActionError;
use crate::client::{Error, Limit, NotReadyCause};
use crate::diagnostic::Diagnostic;
use crate::playbook::plan::Plan;
use crate::source::Span;
use crate::template::TemplateError;
use malleus_api::messages;
use malleus_core::duration;

/// What kept an action from showing anything.
pub(super) fn of_trouble(plan: &Plan, span: Span, trouble: ActionError) -> Diagnostic {
    match trouble {
        ActionError::Template(fault) => of_template_error(plan, &fault),
        ActionError::Client(failure) => {
            let mut found = of_client(plan, span, &failure.error, &failure.what);
            found.notes.extend(failure.notes);
            found
        }
        ActionError::Refused(problem) => *problem,
    }
}

/// A template that could not be rendered.
pub(super) fn of_template_error(plan: &Plan, fault: &TemplateError) -> Diagnostic {
    Diagnostic::error(fault.message.as_str()).at(plan.place(fault.span), "")
}

/// A limit that passed between two attempts.
pub(super) fn of_limit(plan: &Plan, span: Span, limit: Limit) -> Diagnostic {
    let total = duration::compact(limit.total());
    Diagnostic::error(format!("the {} limit of {total} passed", limit.name()))
        .at(plan.place(span), "still not done")
        .help(origin(limit.name()))
}

/// What sets a limit.
fn origin(limit: &str) -> &'static str {
    match limit {
        "step" => "`timeout:` of the step sets this limit",
        "group" => "`timeout:` of the group around it sets this limit",
        "command" => "`timeout:` under `exec` sets this limit",
        "playbook" => "`timeout:` of the playbook or `--timeout` sets this limit",
        _ => "",
    }
}

/// A failure of the client in words, as they are shown and as a playbook may expect them.
pub(super) fn words(error: &Error) -> String {
    match error {
        Error::Timeout { limit, after, .. } => {
            format!("the {limit} limit of {} passed", duration::compact(*after))
        }
        Error::Lost { reason, .. } => format!("the outcome is unknown: {reason}"),
        other => other.to_string(),
    }
}

fn of_client(plan: &Plan, span: Span, error: &Error, what: &str) -> Diagnostic {
    match error {
        Error::Timeout {
            limit,
            operation,
            note,
            ..
        } => {
            let mut found = Diagnostic::error(words(error))
                .at(plan.place(span), "still not done")
                .note(what);
            if let Some(operation) = operation {
                found = found.note(format!("operation {operation} had not ended"));
            }
            if let Some(note) = note {
                found = found.note(note.clone());
            }
            found.help(origin(limit))
        }
        Error::Lost {
            operation, reason, ..
        } => Diagnostic::error("the outcome is unknown")
            .at(plan.place(span), reason.as_str())
            .note(what)
            .note(format!("operation {operation}"))
            .help(messages::explain(reason).map_or_else(
                || "look at the resource before doing this again".to_owned(),
                |meaning| format!("{meaning}; look at the resource before doing this again"),
            )),
        Error::NotReady(not) => {
            // The first line says why, the lines below what was last seen of each condition.
            let message = not.to_string();
            let why = match not.cause {
                NotReadyCause::Late { .. } => message.split(": ").next().unwrap_or(&message),
                _ => &message,
            };
            let mut found = Diagnostic::error(why).at(plan.place(span), "");
            for seen in &not.observations {
                let mark = if seen.held { "held" } else { "not yet" };
                found = found.note(format!("{mark}: {seen}"));
            }
            found
        }
        Error::Cancelled => Diagnostic::error("interrupted")
            .at(plan.place(span), "")
            .note(what),
        other => {
            let message = other.to_string();
            let found = Diagnostic::error(&*message).at(plan.place(span), "");
            match messages::explain(&message) {
                Some(meaning) if other.status().is_some() => found.note(what).help(meaning),
                _ => found.note(what),
            }
        }
    }
}
