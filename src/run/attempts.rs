//! The attempts at one step: render, send, wait, expect, capture, and again where the playbook says so.

use std::time::Duration;

use serde_json::{Map, Value};

use super::action::{Attempt, Observed, Trouble};
use super::event::{Kind, Phase, StepInfo};
use super::executor::{Frame, Run};
use super::expect::Judge;
use super::shown::values_of;
use super::{failure, transient};
use crate::client::Limit;
use crate::diagnostic::Diagnostic;
use crate::playbook::plan::{Action, Step, Until, Visibility};
use crate::template::{Expr, Fault, Renderer, Scope};

/// How one attempt ended.
pub(super) struct Ended {
    pub(super) fields: Map<String, Value>,
    pub(super) captures: Vec<Value>,
    pub(super) failures: Vec<Diagnostic>,
    /// Whether something may have been done, so that its cleanup is needed.
    pub(super) touched: bool,
}

/// What to do after an attempt.
enum Verdict {
    Enough,
    Again(String),
    GiveUp(Box<Diagnostic>),
}

impl Run<'_> {
    /// Tries until nothing is left to try.
    pub(super) fn attempts(&self, step: &Step, frame: &Frame, info: &StepInfo) -> Ended {
        let patience = step
            .until
            .as_ref()
            .map(|until| Limit::after("until", until.within));
        let mut pause = step.retry.map_or(Duration::ZERO, |retry| retry.delay);
        let mut number = 0;
        loop {
            number += 1;
            let (seen, mut ended) = self.attempt(step, frame, info, number);
            let again = match (&step.until, &seen, patience) {
                (Some(until), Ok(seen), Some(patience)) => {
                    self.wanting(until, (seen, &ended), frame, patience)
                }
                _ => Verdict::Enough,
            };
            let (reason, rest) = match again {
                Verdict::Again(reason) => (
                    reason,
                    step.until
                        .as_ref()
                        .map_or(Duration::ZERO, |until| until.every),
                ),
                Verdict::GiveUp(failure) => {
                    ended.failures = vec![*failure];
                    return ended;
                }
                Verdict::Enough => {
                    let more = step.retry.filter(|retry| number < retry.attempts);
                    let (Some(retry), Some(first)) = (more, ended.failures.first()) else {
                        return ended;
                    };
                    let rest = pause;
                    pause = pause.saturating_mul(retry.backoff);
                    (first.message.clone(), rest)
                }
            };
            self.emit(Kind::Again {
                step: info.clone(),
                attempt: number,
                reason,
            });
            let rest = frame.limit.remaining().map_or(rest, |left| left.min(rest));
            if frame.client.pause(rest).is_err() || frame.limit.is_over() {
                let trouble = Diagnostic::error(if frame.limit.is_over() {
                    format!(
                        "the {} limit of {} passed",
                        frame.limit.name(),
                        crate::duration::compact(frame.limit.total())
                    )
                } else {
                    "interrupted".into()
                });
                ended
                    .failures
                    .insert(0, trouble.at(self.plan.place(step.span), ""));
                return ended;
            }
        }
    }

    /// What an `until` makes of an attempt.
    fn wanting(
        &self,
        until: &Until,
        (seen, ended): (&Observed, &Ended),
        frame: &Frame,
        patience: Limit,
    ) -> Verdict {
        let scope = with_result(&frame.scope, &ended.fields);
        let renderer = self.renderer(&scope);
        if let Some(condition) = &until.fail_when
            && renderer.holds(condition).unwrap_or(false)
        {
            let failure = Diagnostic::error(format!(
                "`{}` holds, so waiting on is pointless",
                condition.code().trim()
            ))
            .at(
                self.plan.place(condition.place(&self.plan.source, None)),
                "",
            );
            return Verdict::GiveUp(Box::new(with_values(failure, renderer, condition)));
        }
        // A name that is not there yet, as in a reply that is still an error, is a condition that does not hold yet.
        if renderer.holds(&until.condition).unwrap_or(false) {
            return Verdict::Enough;
        }
        if patience.is_over() {
            let within = crate::duration::compact(until.within);
            let failure = Diagnostic::error(format!(
                "`{}` did not hold within {within}",
                until.condition.code().trim()
            ))
            .at(
                self.plan
                    .place(until.condition.place(&self.plan.source, None)),
                "",
            )
            .note(seen.what.as_str());
            return Verdict::GiveUp(Box::new(with_values(failure, renderer, &until.condition)));
        }
        Verdict::Again(values_of(renderer, &until.condition).join(", "))
    }

    /// Render, send, wait, expect, capture: once.
    fn attempt(
        &self,
        step: &Step,
        frame: &Frame,
        info: &StepInfo,
        number: u32,
    ) -> (Result<Observed, ()>, Ended) {
        let limit = Limit::after("step", step.timeout).earlier(frame.limit);
        let attempt = Attempt {
            run: self,
            frame,
            limit,
            progress: &|operation| self.progress(info, operation),
        };
        let acted = transient::persist(&frame.client, limit, &step.action, || attempt.act(step));
        let acted = acted.and_then(|seen| {
            self.bind_set(step, frame)
                .map(|()| seen)
                .map_err(Trouble::Fault)
        });
        match acted {
            Ok(seen) => {
                let seen = forgiven(seen, step, frame.phase);
                let ended = self.judge(step, frame, &seen, number);
                (Ok(seen), ended)
            }
            Err(trouble) => {
                let touched =
                    matches!(&trouble, Trouble::Client(error, _) if error.may_have_been_sent());
                let mut fields = Observed::default().fields();
                fields.insert("failed".into(), true.into());
                fields.insert("attempts".into(), number.into());
                fields.insert("changed".into(), touched.into());
                let failures = vec![failure::of_trouble(self.plan, step.span, trouble)];
                let captures = vec![Value::Null; step.capture.len()];
                (
                    Err(()),
                    Ended {
                        fields,
                        captures,
                        failures,
                        touched,
                    },
                )
            }
        }
    }

    fn bind_set(&self, step: &Step, frame: &Frame) -> Result<(), Fault> {
        if let Action::Set(bindings) = &step.action {
            for binding in bindings {
                let value = self.renderer(&frame.scope).value(&binding.value)?;
                if step.visibility == Visibility::Secret {
                    self.masker.add(&value);
                }
                bind_outside(step, frame, &binding.name.text, &value);
            }
        }
        Ok(())
    }

    fn judge(&self, step: &Step, frame: &Frame, seen: &Observed, number: u32) -> Ended {
        let mut fields = seen.fields();
        fields.insert("attempts".into(), number.into());
        fields.insert("changed".into(), changed(step, seen).into());
        let scope = with_result(&frame.scope, &fields);
        let renderer = self.renderer(&scope);
        let mut failures = Judge::new(self.plan, renderer, seen).judge(step);
        let mut captures = Vec::with_capacity(step.capture.len());
        if failures.is_empty() {
            for capture in &step.capture {
                match renderer.eval(&capture.value) {
                    Ok(value) => captures.push(value),
                    Err(fault) => failures.push(
                        Diagnostic::error(format!(
                            "cannot capture `{}`: {}",
                            capture.name.text, fault.message
                        ))
                        .at(self.plan.place(fault.span), ""),
                    ),
                }
            }
        }
        if !seen.what.is_empty() {
            let line = format!("{}{}", seen.what, ending(seen));
            for failure in &mut failures {
                failure.notes.insert(0, line.clone());
            }
        }
        captures.resize(step.capture.len(), Value::Null);
        Ended {
            fields,
            captures,
            touched: seen.error.is_none(),
            failures,
        }
    }
}

/// A failure with the values that kept a condition from holding.
fn with_values(mut failure: Diagnostic, renderer: Renderer<'_>, condition: &Expr) -> Diagnostic {
    let values = values_of(renderer, condition).into_iter();
    failure
        .notes
        .extend(values.map(|value| format!("last seen: {value}")));
    failure
}

/// What `set` binds is seen by later steps: in a loop the frame's own layer ends with the item.
fn bind_outside(step: &Step, frame: &Frame, name: &str, value: &Value) {
    if step.for_each.is_some() {
        frame.scope.bind_in_parent(name, value);
    } else {
        frame.scope.bind(name, value);
    }
}

/// The names in scope with a step's result on top.
fn with_result(scope: &Scope, fields: &Map<String, Value>) -> Scope {
    let scope = scope.child();
    for (name, value) in fields {
        scope.bind(name, value);
    }
    scope
}

/// In cleanup, what is gone already counts as removed.
fn forgiven(mut seen: Observed, step: &Step, phase: Phase) -> Observed {
    let removes = matches!(&step.action, Action::Request(request) if request.method == "DELETE");
    let unasked = step.expect.status.is_none() && step.expect.error.is_none();
    if phase != Phase::Steps && removes && unasked && seen.status == Some(404) {
        seen.error = None;
    }
    seen
}

fn changed(step: &Step, seen: &Observed) -> bool {
    match &step.action {
        Action::Request(request) => {
            !matches!(request.method.as_str(), "GET" | "HEAD" | "OPTIONS") && seen.error.is_none()
        }
        Action::Exec(_) => seen.command.is_some(),
        _ => false,
    }
}

/// ` → 404`, ` → exit code 0`: how a request or a command ended.
fn ending(seen: &Observed) -> String {
    match (&seen.command, seen.status) {
        (Some(command), _) => format!(" → exit code {}", command.exit_code),
        (None, Some(status)) => format!(" → {status}"),
        (None, None) => String::new(),
    }
}
