//! One step: condition, loop, attempts, expectations, captures.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::action::Observed;
use super::event::{StepInfo, StepOutcome, StepShape};
use super::executor::{Frame, Run, Stop, shape};
use super::ledger::Cleanup;
use super::shown::shown;
use super::title::title;
use crate::diagnostic::Diagnostic;
use crate::playbook::plan::{Action, ForEach, OnError, Step, Visibility};
use crate::template::Fault;

/// What a step leaves: its result and its captures.
#[derive(Default)]
struct Left {
    result: Value,
    captures: Vec<Value>,
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
                let info = self.begin(
                    title(step, self.renderer(&frame.scope)),
                    frame,
                    StepShape::Single,
                );
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
                turn: Some((index + 1, count)),
                ..frame.clone()
            };
            inner.scope.bind("item", &item);
            inner.scope.bind("index", &json!(index));
            inner
                .trail
                .push(format!("item {} of {count}: {}", index + 1, shown(&item)));
            let mut left = self.single(step, &inner)?;
            if step.id.is_none() {
                // Nobody can ask for it, and a thousand replies are worth their memory.
                left.result = Value::Null;
            }
            all.push(left);
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
                let info = self.begin(
                    title(step, self.renderer(&frame.scope)),
                    frame,
                    StepShape::Single,
                );
                self.finish(info, StepOutcome::Skipped, start.elapsed());
                return Ok(skipped(step));
            }
            Some(Err(fault)) => {
                let info = self.begin(
                    title(step, self.renderer(&frame.scope)),
                    frame,
                    StepShape::Single,
                );
                let failure = Diagnostic::error(fault.message).at(self.plan.place(fault.span), "");
                return self
                    .conclude(step, frame, info, (start, vec![failure]))
                    .map(|()| Left::default());
            }
        }
        let info = self.begin(title(step, self.renderer(&frame.scope)), frame, shape(step));
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
