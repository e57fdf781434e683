//! One step: condition, loop, attempts, expectations, captures.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::action::{Attempt, Observed, Trouble};
use super::event::{Kind, Phase, StepInfo, StepOutcome, StepShape};
use super::executor::{Frame, Run, Stop, shape};
use super::expect::{Judge, shown, values_of};
use super::ledger::Cleanup;
use super::{failure, transient};
use crate::client::Limit;
use crate::diagnostic::Diagnostic;
use crate::playbook::plan::{Action, ForEach, OnError, Step, Until, Visibility};
use crate::template::{Fault, Scope, Template};

/// What a step leaves: its result and its captures.
#[derive(Default)]
struct Left {
    result: Value,
    captures: Vec<Value>,
}

/// How one attempt ended.
struct Ended {
    fields: Map<String, Value>,
    captures: Vec<Value>,
    failures: Vec<Diagnostic>,
    /// Whether something may have been done, so that its cleanup is needed.
    touched: bool,
}

impl<'a> Run<'a> {
    /// Runs one step, as often as its loop says, and binds what it leaves.
    pub(super) fn step(&self, step: &'a Step, frame: &Frame) -> Result<(), Stop> {
        if frame.client.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        self.ledger().last_begun = Some(step.span);
        let left = match &step.for_each {
            None => self.single(step, frame)?,
            Some(list) => self.loop_over(step, list, frame)?,
        };
        if let Some(id) = &step.id {
            frame.scope.bind(&id.text, &left.result);
        }
        for (capture, value) in step.capture.iter().zip(&left.captures) {
            frame.scope.bind(&capture.name.text, value);
        }
        Ok(())
    }

    fn loop_over(&self, step: &'a Step, list: &'a ForEach, frame: &Frame) -> Result<Left, Stop> {
        let items = match self.items(list, frame) {
            Ok(items) => items,
            Err(fault) => {
                let failure = Diagnostic::error(fault.message).at(self.plan.place(fault.span), "");
                let info = self.begin(self.title(step, frame), frame, StepShape::Single);
                self.finish(info, StepOutcome::Failed(vec![failure]), Duration::ZERO);
                return Err(Stop::Failed);
            }
        };
        let count = items.len();
        let mut all = Vec::with_capacity(count);
        for (index, item) in items.into_iter().enumerate() {
            if frame.client.is_cancelled() {
                return Err(Stop::Cancelled);
            }
            let mut inner = Frame {
                scope: frame.scope.child(),
                ..frame.clone()
            };
            inner.scope.bind("item", &item);
            inner.scope.bind("index", &json!(index));
            inner
                .trail
                .push(format!("item {} of {count}: {}", index + 1, shown(&item)));
            all.push(self.single(step, &inner)?);
        }
        let captures = (0..step.capture.len())
            .map(|at| {
                all.iter()
                    .map(|left| left.captures.get(at).cloned().unwrap_or_default())
                    .collect()
            })
            .collect();
        let result = all.into_iter().map(|left| left.result).collect();
        Ok(Left { result, captures })
    }

    fn items(&self, list: &ForEach, frame: &Frame) -> Result<Vec<Value>, Fault> {
        let renderer = self.renderer(&frame.scope);
        let (value, span) = match list {
            ForEach::List(template) => (renderer.value(template)?, template.span()),
            ForEach::Expression(expr) => {
                (renderer.eval(expr)?, expr.place(&self.plan.source, None))
            }
        };
        match value {
            Value::Array(items) => Ok(items),
            other => Err(Fault {
                message: format!(
                    "`for_each` needs a list, this is {}",
                    crate::template::describe(&other)
                ),
                span,
            }),
        }
    }

    fn single(&self, step: &'a Step, frame: &Frame) -> Result<Left, Stop> {
        let start = Instant::now();
        match step
            .when
            .as_ref()
            .map(|when| self.renderer(&frame.scope).holds(when))
        {
            None | Some(Ok(true)) => {}
            Some(Ok(false)) => {
                // A group that is skipped has no steps to announce.
                let info = self.begin(self.title(step, frame), frame, StepShape::Single);
                self.finish(info, StepOutcome::Skipped, start.elapsed());
                return Ok(skipped(step));
            }
            Some(Err(fault)) => {
                let info = self.begin(self.title(step, frame), frame, StepShape::Single);
                let failure = Diagnostic::error(fault.message).at(self.plan.place(fault.span), "");
                return self
                    .conclude(step, frame, info, (start, vec![failure]))
                    .map(|()| Left::default());
            }
        }
        let info = self.begin(self.title(step, frame), frame, shape(step));
        if let Action::Steps(group) = &step.action {
            let ended = self.group(group, frame);
            let failed = ended.is_err();
            let outcome = match (failed, step.on_error) {
                (false, _) => StepOutcome::Passed,
                (true, OnError::Continue) => StepOutcome::Tolerated(Vec::new()),
                (true, OnError::Fail) => StepOutcome::Failed(Vec::new()),
            };
            self.register_cleanup(step, frame);
            self.finish(info, outcome, start.elapsed());
            return match ended {
                Err(Stop::Failed) if step.on_error == OnError::Continue => Ok(Left {
                    result: json!({"skipped": false, "failed": true}),
                    captures: Vec::new(),
                }),
                Err(early) => Err(early),
                Ok(()) => Ok(Left {
                    result: json!({"skipped": false, "failed": false}),
                    captures: Vec::new(),
                }),
            };
        }
        let ended = self.attempts(step, frame, &info);
        let mut fields = ended.fields;
        fields.insert("duration".into(), start.elapsed().as_secs_f64().into());
        if !ended.failures.is_empty() {
            fields.insert("failed".into(), true.into());
        }
        let left = Left {
            result: Value::Object(fields),
            captures: ended.captures,
        };
        if step.visibility == Visibility::Secret {
            left.captures
                .iter()
                .for_each(|value| self.masker.add(value));
        }
        if ended.touched {
            if let Some(id) = &step.id {
                // Cleanup steps may use the result of the very step they belong to.
                frame.scope.bind(&id.text, &left.result);
            }
            self.register_cleanup(step, frame);
        }
        self.conclude(step, frame, info, (start, ended.failures))
            .map(|()| left)
    }

    /// The result of a step that its condition skipped: every field is there.
    fn skipped(step: &Step) -> Left {
        let mut fields = Observed::default().fields();
        fields.insert("skipped".into(), true.into());
        fields.insert("changed".into(), false.into());
        fields.insert("attempts".into(), 0.into());
        fields.insert("duration".into(), 0.into());
        if let Action::Exec(_) = step.action {
            for name in [
                "exit_code",
                "stdout",
                "stderr",
                "stdout_base64",
                "stderr_base64",
            ] {
                fields.insert(name.into(), Value::Null);
            }
        }
        Left {
            result: Value::Object(fields),
            captures: vec![Value::Null; step.capture.len()],
        }
    }

    fn register_cleanup(&self, step: &'a Step, frame: &Frame) {
        if !step.cleanup.is_empty() {
            let cleanup = Cleanup {
                steps: &step.cleanup,
                scope: frame.scope.clone(),
            };
            self.ledger().cleanups.push(cleanup);
        }
    }

    /// Announces how the step ended and says whether the steps go on.
    fn conclude(
        &self,
        step: &Step,
        frame: &Frame,
        info: StepInfo,
        (start, mut failures): (Instant, Vec<Diagnostic>),
    ) -> Result<(), Stop> {
        if failures.is_empty() {
            self.finish(info, StepOutcome::Passed, start.elapsed());
            return Ok(());
        }
        for failure in &mut failures {
            self.explain(failure, step, frame);
        }
        let cancelled = frame.client.is_cancelled();
        if step.on_error == OnError::Continue && !cancelled {
            self.finish(info, StepOutcome::Tolerated(failures), start.elapsed());
            return Ok(());
        }
        self.finish(info, StepOutcome::Failed(failures), start.elapsed());
        Err(if cancelled {
            Stop::Cancelled
        } else {
            Stop::Failed
        })
    }

    /// Adds what helps to understand any failure: the loop's item, the values of the names in the action.
    fn explain(&self, failure: &mut Diagnostic, step: &Step, frame: &Frame) {
        failure
            .notes
            .extend(frame.trail.iter().map(|item| format!("in {item}")));
        let values = self.values_used(step, frame);
        if !values.is_empty() {
            failure.notes.push(values.join("   "));
        }
    }

    fn values_used(&self, step: &Step, frame: &Frame) -> Vec<String> {
        let renderer = self.renderer(&frame.scope);
        let mut shown_values = Vec::new();
        for code in super::used::names(&step.action) {
            if let Some(value) = renderer.probe(&code) {
                shown_values.push(format!("{code}: {}", shown(&value)));
            }
        }
        shown_values
    }

    /// Tries until nothing is left to try.
    fn attempts(&self, step: &Step, frame: &Frame, info: &StepInfo) -> Ended {
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
            return Verdict::GiveUp(Box::new(self.with_values(failure, renderer, condition)));
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
            return Verdict::GiveUp(Box::new(self.with_values(
                failure,
                renderer,
                &until.condition,
            )));
        }
        Verdict::Again(values_of(renderer, &until.condition).join(", "))
    }

    fn with_values(
        &self,
        mut failure: Diagnostic,
        renderer: crate::template::Renderer<'_>,
        condition: &crate::template::Expr,
    ) -> Diagnostic {
        failure.notes.extend(
            values_of(renderer, condition)
                .into_iter()
                .map(|value| format!("last seen: {value}")),
        );
        failure
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

    /// What `set` binds is seen by later steps: in a loop the frame's own layer ends with the item.
    fn bind_outside(&self, step: &Step, frame: &Frame, name: &str, value: &Value) {
        if step.for_each.is_some() {
            frame.scope.bind_in_parent(name, value);
        } else {
            frame.scope.bind(name, value);
        }
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

    /// The title of a step: the author's, or one made of its action.
    fn title(&self, step: &Step, frame: &Frame) -> String {
        let renderer = self.renderer(&frame.scope);
        let text = |template: &Template| {
            renderer
                .text(template)
                .unwrap_or_else(|_| template.written())
        };
        if let Some(name) = &step.name {
            return text(name);
        }
        match &step.action {
            Action::Request(request) => {
                let path = renderer
                    .path(&request.path)
                    .unwrap_or_else(|_| request.path.written());
                format!("{} {path}", request.method)
            }
            Action::Exec(exec) => {
                let line = match &exec.command {
                    crate::playbook::plan::Command::Arguments(arguments) => {
                        arguments.iter().map(text).collect::<Vec<_>>().join(" ")
                    }
                    crate::playbook::plan::Command::Shell(line) => {
                        text(line).lines().next().unwrap_or_default().to_owned()
                    }
                };
                format!("exec in {}: {line}", text(&exec.instance))
            }
            Action::Set(bindings) => {
                let names: Vec<&str> = bindings
                    .iter()
                    .map(|binding| binding.name.text.as_str())
                    .collect();
                format!("set {}", names.join(", "))
            }
            Action::Check(conditions) => {
                let codes: Vec<&str> = conditions
                    .iter()
                    .map(|condition| condition.code().trim())
                    .collect();
                format!("check {}", codes.join(", "))
            }
            Action::Steps(group) => format!(
                "group of {}",
                crate::diagnostic::count(group.steps.len(), "step")
            ),
            Action::Join(name) => format!("join {}", name.text),
        }
    }
}

/// What to do after an attempt.
enum Verdict {
    Enough,
    Again(String),
    GiveUp(Box<Diagnostic>),
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
