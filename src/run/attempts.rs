//! The attempts at one step: render, send, wait, expect, capture, and again where the playbook says so.

use std::time::Duration;

use serde_json::{Map, Value};

use super::action::{ActionError, ActionResult, Attempt, Change};
use super::executor::{Frame, Run};
use super::expect::Judge;
use super::shown::{shown, values_of};
use super::{failure, retry};
use crate::client::{self, Limit};
use crate::diagnostic::Diagnostic;
use crate::events::{Kind, Phase, StepInfo};
use crate::playbook::plan::{Action, Binding, Plan, Step, Until, Visibility};
use crate::secret::Masker;
use crate::template::{Expr, Renderer, Scope, Template, TemplateError};

/// Limit for one attempt of a step that names none.
const STEP_TIMEOUT: Duration = Duration::from_secs(600);

/// How one attempt ended.
pub(super) struct AttemptOutcome {
    pub(super) fields: Map<String, Value>,
    pub(super) captures: Vec<Value>,
    pub(super) failures: Vec<Diagnostic>,
    /// Whether something may have been done, so that its cleanup is needed.
    pub(super) touched: bool,
    /// Whether it was cancelled, so that it neither passed nor failed.
    pub(super) cancelled: bool,
    /// Whether nothing was done since what the step makes is there.
    pub(super) is_skipped: bool,
    /// What is worth a remark although it passed.
    pub(super) remark: String,
}

/// What to do after an attempt.
enum Verdict {
    Enough,
    Again(String),
    GiveUp(Box<Diagnostic>),
}

impl<'a> Run<'a> {
    /// Tries until nothing is left to try.
    pub(super) fn attempts(
        &self,
        step: &Step,
        frame: &Frame<'a>,
        info: &StepInfo,
    ) -> AttemptOutcome {
        let patience = step
            .until
            .as_ref()
            .map(|until| frame.client.limit("until", until.within));
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
            self.emit(
                &frame.events,
                Kind::Again {
                    step: info.clone(),
                    attempt: number,
                    reason: reason.clone(),
                },
            );
            let rest = frame.limit.remaining().map_or(rest, |left| left.min(rest));
            if frame.client.pause(rest).is_err() {
                ended.cancelled = true;
                return ended;
            }
            if frame.limit.is_over() {
                let failure = failure::of_limit(frame.plan, step.span, frame.limit);
                ended
                    .failures
                    .insert(0, failure.note(format!("last seen: {reason}")));
                return ended;
            }
        }
    }

    /// What an `until` makes of an attempt.
    fn wanting(
        &self,
        until: &Until,
        (seen, ended): (&ActionResult, &AttemptOutcome),
        frame: &Frame<'a>,
        patience: Limit,
    ) -> Verdict {
        let scope = with_result(frame, &ended.fields);
        let renderer = self.engine.with(&frame.plan.source, &scope);
        if let Some(condition) = &until.fail_when
            && renderer.holds(condition).unwrap_or(false)
        {
            let failure = Diagnostic::error(format!(
                "`{}` holds, so waiting on is pointless",
                condition.code().trim()
            ))
            .at(
                frame.plan.place(condition.place(&frame.plan.source, None)),
                "",
            );
            return Verdict::GiveUp(Box::new(self.with_values(failure, renderer, condition)));
        }
        // A name that is not there yet, as in a reply that is still an error, is a condition that does not hold yet.
        if renderer.holds(&until.condition).unwrap_or(false) {
            return Verdict::Enough;
        }
        if patience.is_over() {
            let within = malleus_core::duration::compact(until.within);
            let failure = Diagnostic::error(format!(
                "`{}` did not hold within {within}",
                until.condition.code().trim()
            ))
            .at(
                frame
                    .plan
                    .place(until.condition.place(&frame.plan.source, None)),
                "",
            )
            .note(seen.what.as_str());
            return Verdict::GiveUp(Box::new(self.with_values(
                failure,
                renderer,
                &until.condition,
            )));
        }
        Verdict::Again(values_of(self.masker, renderer, &until.condition).join(", "))
    }

    /// A failure with the values that kept a condition from holding.
    fn with_values(
        &self,
        mut failure: Diagnostic,
        renderer: Renderer<'_>,
        condition: &Expr,
    ) -> Diagnostic {
        let values = values_of(self.masker, renderer, condition).into_iter();
        failure
            .notes
            .extend(values.map(|value| format!("last seen: {value}")));
        // Values that are there, but cannot be judged, would look as if the condition were just not met.
        if let Err(fault) = renderer.holds(condition)
            && !failure.notes.iter().any(|note| note.contains("undefined"))
        {
            failure.notes.push(format!("last time: {}", fault.message));
        }
        failure
    }

    /// Render, send, wait, expect, capture: once.
    fn attempt(
        &self,
        step: &Step,
        frame: &Frame<'a>,
        info: &StepInfo,
        number: u32,
    ) -> (Result<ActionResult, ()>, AttemptOutcome) {
        let client = &frame.client;
        let limit = client.limit("step", step.timeout.unwrap_or(STEP_TIMEOUT));
        let limit = limit.earlier(frame.limit);
        let attempt = Attempt {
            run: self,
            frame,
            limit,
            owner: frame.owned_by(info.number),
            fate: frame.retention_of(step),
            progress: &|operation| self.progress(info, frame, operation),
        };
        let acted = retry::retry(&frame.client, limit, &step.action, || {
            attempt.act_for_include(step)
        });
        let acted = acted.and_then(|seen| {
            self.bind_set(step, frame)
                .map(|()| seen)
                .map_err(ActionError::Template)
        });
        let acted = acted.or_else(|trouble| expected(trouble, step));
        match acted {
            Ok(ActionResult {
                already_there: Some(path),
                ..
            }) => {
                let mut fields = ActionResult::default().fields_of(&step.action);
                fields.insert("skipped".into(), true.into());
                fields.insert("attempts".into(), number.into());
                fields.insert("changed".into(), false.into());
                let ended = AttemptOutcome {
                    fields,
                    captures: vec![Value::Null; step.capture.len()],
                    failures: Vec::new(),
                    touched: false,
                    cancelled: false,
                    is_skipped: true,
                    remark: format!("{path} is there"),
                };
                // There is nothing that `until` could wait for.
                (Err(()), ended)
            }
            Ok(seen) => {
                let seen = forgiven(seen, step, frame.phase);
                if frame.visibility == Visibility::Secret {
                    self.learn(&seen);
                }
                let ended = self.judge(step, frame, &seen, number);
                (Ok(seen), ended)
            }
            Err(trouble) => {
                let error = trouble.client_error();
                let touched = error.is_some_and(client::Error::may_have_been_sent);
                let cancelled = matches!(error, Some(client::Error::Cancelled));
                let mut fields = ActionResult::default().fields_of(&step.action);
                fields.insert("failed".into(), true.into());
                if let Some(error) = error {
                    fields.insert("error".into(), failure::words(error).into());
                }
                fields.insert("attempts".into(), number.into());
                fields.insert("changed".into(), touched.into());
                let failures = vec![failure::of_trouble(frame.plan, step.span, trouble)];
                let captures = vec![Value::Null; step.capture.len()];
                (
                    Err(()),
                    AttemptOutcome {
                        fields,
                        captures,
                        failures,
                        touched,
                        cancelled,
                        is_skipped: false,
                        remark: String::new(),
                    },
                )
            }
        }
    }

    fn bind_set(&self, step: &Step, frame: &Frame<'a>) -> Result<(), TemplateError> {
        if let Action::Set(bindings) = &step.action {
            for binding in bindings {
                let value = self.renderer(frame).value(&binding.value)?;
                if step.visibility == Visibility::Secret {
                    self.masker.add(&value);
                }
                bind_outside(step, frame, &binding.name.text, &value);
            }
        }
        Ok(())
    }

    fn judge(
        &self,
        step: &Step,
        frame: &Frame<'a>,
        seen: &ActionResult,
        number: u32,
    ) -> AttemptOutcome {
        let mut fields = seen.fields_of(&step.action);
        fields.insert("attempts".into(), number.into());
        fields.insert("changed".into(), changed(step, seen).into());
        let asks = step.expect.is_any() || !step.capture.is_empty();
        // A reply may be large, and most steps ask nothing of it.
        let scope = if asks {
            with_result(frame, &fields)
        } else {
            frame.scope.child()
        };
        let renderer = self.engine.with(&frame.plan.source, &scope);
        let renderers = (self.renderer(frame), renderer);
        let judge = Judge::new(frame, self.masker, renderers, seen);
        let mut failures = judge.judge(step);
        let mut captures = vec![Value::Null; step.capture.len()];
        if failures.is_empty() {
            (captures, failures) = captured(step, frame.plan, renderer);
        }
        if frame.visibility == Visibility::Secret {
            for value in &captures {
                self.masker.add(value);
            }
            hide(&mut failures, self.masker, seen);
        }
        if !seen.what.is_empty() {
            let line = format!("{}{}", seen.what, ending(seen));
            for failure in &mut failures {
                failure.notes.insert(0, line.clone());
            }
        }
        AttemptOutcome {
            fields,
            captures,
            touched: seen.error.is_none() || seen.may_be_done || is_changed(seen),
            cancelled: false,
            is_skipped: false,
            remark: seen
                .change
                .as_ref()
                .filter(|_| seen.error.is_none())
                .map(|change| remark(self.masker, change, frame.visibility))
                .unwrap_or_default(),
            failures,
        }
    }
}

/// A failure of the client as something that the action showed, where the step expects its words: a limit of its own
/// that has passed, an outcome that is unknown, an instance that is not ready, files that cannot be copied. An empty text
/// expects a refusal.
fn expected(trouble: ActionError, step: &Step) -> Result<ActionResult, ActionError> {
    let ActionError::Client(failure) = trouble else {
        return Err(trouble);
    };
    let error = &failure.error;
    let is_own = match error {
        client::Error::Timeout { limit, .. } => !matches!(*limit, "group" | "playbook"),
        client::Error::Lost { .. } | client::Error::NotReady(_) | client::Error::Copy { .. } => {
            true
        }
        _ => false,
    };
    let wanted = step.expect.error.as_ref();
    let is_any = |wanted: &Template| wanted.literal().and_then(Value::as_str) == Some("");
    if is_own && wanted.is_some_and(|wanted| !is_any(wanted)) {
        let mut seen = ActionResult::failed(failure::words(error), failure.what.clone());
        seen.may_be_done = error.may_have_been_sent();
        Ok(seen)
    } else {
        Err(ActionError::Client(failure))
    }
}

impl Run<'_> {
    /// Has what a secret step has read masked from now on, line by line.
    fn learn(&self, seen: &ActionResult) {
        if let Some(command) = &seen.command {
            self.masker.add_output(&command.stdout);
            self.masker.add_output(&command.stderr);
        }
        if let Value::String(text) = &seen.body {
            self.masker.add_output(text.as_bytes());
        }
    }
}

/// Takes out of the messages of a secret step's failures what they quote of its result.
fn hide(failures: &mut [Diagnostic], masker: &Masker, seen: &ActionResult) {
    if failures.is_empty() {
        return;
    }
    // Apart: words of a reply such as `Running` may be shown elsewhere.
    let all = masker.apart();
    all.add(&seen.metadata);
    all.add(&seen.body);
    for failure in failures {
        // A filter says what it cannot read; values elsewhere in a failure are hidden where it is made.
        failure.message = all.mask(&failure.message);
    }
}

/// The values that a step captures, and what keeps it from capturing them.
pub(super) fn captured(
    step: &Step,
    plan: &Plan,
    renderer: Renderer<'_>,
) -> (Vec<Value>, Vec<Diagnostic>) {
    let mut failures = Vec::new();
    let mut capture = |binding: &Binding<Expr>| match renderer.eval(&binding.value) {
        Ok(value) => value,
        Err(fault) => {
            let name = &binding.name.text;
            failures.push(
                Diagnostic::error(format!("cannot capture `{name}`: {}", fault.message))
                    .at(plan.place(fault.span), ""),
            );
            Value::Null
        }
    };
    let captures = step.capture.iter().map(&mut capture).collect();
    (captures, failures)
}

/// What `set` binds is seen by later steps: in a loop the frame's own layer ends with the item.
fn bind_outside(step: &Step, frame: &Frame<'_>, name: &str, value: &Value) {
    if step.for_each.is_some() {
        frame.scope.bind_in_parent(name, value);
    } else {
        frame.scope.bind(name, value);
    }
}

/// The names in scope with a step's result on top. What a secret step has read is not to be shown.
pub(super) fn with_result(frame: &Frame<'_>, fields: &Map<String, Value>) -> Scope {
    let scope = frame.scope.child();
    scope.bind_fields(fields);
    if frame.visibility == Visibility::Secret {
        // Numbers and booleans such as an exit code are no text that was read.
        for name in READ {
            if let Some(value) = fields.get(name).filter(|value| !value.is_null()) {
                scope.bind_secret(name, value);
            }
        }
    }
    scope
}

/// The fields of a result that hold what was read.
const READ: [&str; 9] = [
    "metadata",
    "body",
    "operation",
    "headers",
    "stdout",
    "stderr",
    "stdout_base64",
    "stderr_base64",
    "difference",
];

/// In cleanup, what is gone already counts as removed.
fn forgiven(mut seen: ActionResult, step: &Step, phase: Phase) -> ActionResult {
    let removes = matches!(&step.action, Action::Request(request) if request.method == "DELETE");
    let unasked = step.expect.status.is_none() && step.expect.error.is_none();
    if phase != Phase::Steps && removes && unasked && seen.status == Some(404) {
        seen.error = None;
    }
    seen
}

fn changed(step: &Step, seen: &ActionResult) -> bool {
    if seen.change.is_some() {
        return is_changed(seen);
    }
    match &step.action {
        Action::Request(request) => {
            !matches!(request.method.as_str(), "GET" | "HEAD" | "OPTIONS") && seen.error.is_none()
        }
        Action::Exec(_) => seen.command.is_some(),
        Action::Push(_) => seen.error.is_none(),
        _ => false,
    }
}

/// Whether an action that brings a resource to a state has changed something, be it that it failed afterwards.
fn is_changed(seen: &ActionResult) -> bool {
    seen.change
        .as_ref()
        .is_some_and(|change| change.outcome != "unchanged")
}

/// `created`, `unchanged`, `changed config.user.x: "1" → "2"`.
fn remark(masker: &Masker, change: &Change, visibility: Visibility) -> String {
    let differences: Vec<String> = change
        .difference
        .iter()
        .map(|one| {
            let path = one["path"].as_str().unwrap_or_default();
            if visibility == Visibility::Secret {
                return path.to_owned();
            }
            let (from, to) = (shown(masker, &one["from"]), shown(masker, &one["to"]));
            format!("{path}: {from} → {to}")
        })
        .collect();
    let text = format!("{} {}", change.outcome, differences.join(", "));
    format!("{}{}", text.trim_end(), change.note)
}

/// ` → 404`, ` → exit code 0`: how a request or a command ended.
fn ending(seen: &ActionResult) -> String {
    match (&seen.command, seen.status) {
        (Some(command), _) => format!(" → exit code {}", command.exit_code),
        (None, Some(status)) => format!(" → {status}"),
        (None, None) => String::new(),
    }
}
