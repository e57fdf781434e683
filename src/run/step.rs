//! One step: condition, loop, attempts, expectations, captures.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use malleus_api::{Meaning, means};
use serde_json::{Value, json};

use super::action::ActionResult;
use super::composite::without_outputs;
use super::executor::{Frame, Run, Stop};
use super::failure;
use super::origin;
use super::parallel::run_parallel;
use super::pending_work::Cleanup;
use super::shown::{hidden_value, shown};
use crate::diagnostic::{Diagnostic, Label};
use crate::events::{StepInfo, StepOutcome, StepShape};
use crate::playbook::plan::{Action, ForEach, OnError, Step};
use crate::playbook::title;
use crate::template::TemplateError;

/// What a step leaves: its result and its captures.
#[derive(Default)]
pub(super) struct StepResult {
    pub(super) result: Value,
    pub(super) captures: Vec<Value>,
}

impl<'a> Run<'a> {
    /// Runs one step, as often as its loop says, and binds what it leaves.
    pub(super) fn step(&self, step: &'a Step, frame: &Frame<'a>) -> Result<(), Stop> {
        let left = match &step.for_each {
            None => self.single(step, frame)?,
            Some(list) => self.loop_over(step, list, frame)?,
        };
        if let Some(id) = &step.id {
            frame
                .seen_as(step.visibility)
                .bind_result(&id.text, &left.result);
        }
        for (capture, value) in step.capture.iter().zip(&left.captures) {
            frame.scope.bind(&capture.name.text, value);
        }
        Ok(())
    }

    fn loop_over(
        &self,
        step: &'a Step,
        list: &'a ForEach,
        frame: &Frame<'a>,
    ) -> Result<StepResult, Stop> {
        let items = match self.items(list, frame) {
            Ok(items) => items,
            Err(fault) => {
                let failure = failure::of_template_error(frame.plan, &fault);
                let title = title(step, self.renderer(frame));
                let info = self.begin(title, frame, StepShape::Single);
                let now = self.now();
                return self
                    .conclude(step, frame, info, (now, vec![failure]))
                    .map(|()| StepResult::default());
            }
        };
        let count = items.len();
        if count == 0 {
            let title = title(step, self.renderer(frame));
            let info = self.begin(title, frame, StepShape::Single);
            let outcome = StepOutcome::Skipped("no items".into());
            self.finish(info, frame, outcome, Duration::ZERO);
        }
        let [item_name, index_name] = step.loop_names();
        let turn = |index: usize, outer: Frame<'a>| {
            let mut inner = Frame {
                scope: outer.scope.child(),
                turn: Some((index + 1, count)),
                ..outer
            };
            let item = &items[index];
            inner.branch = format!("{}-{}", inner.branch, index + 1);
            inner.origin.push(origin::of_item(item, &self.session.id));
            inner.scope.bind(&item_name, item);
            inner.scope.bind(&index_name, &json!(index));
            inner.trail.push(format!(
                "item {} of {count}: {}",
                index + 1,
                shown(self.masker, item)
            ));
            let mut left = self.single(step, &inner)?;
            if step.id.is_none() {
                // Nobody can ask for it, and a thousand replies are worth their memory.
                left.result = Value::Null;
            }
            Ok(left)
        };
        let all = if step.concurrency > 1 {
            let sides = run_parallel((count, step.concurrency), frame, turn);
            if let Some(stop) = sides.stop {
                return Err(stop);
            }
            sides.results.into_iter().flatten().collect()
        } else {
            let mut all = Vec::with_capacity(count);
            for index in 0..count {
                if frame.client.is_cancelled() {
                    return Err(Stop::Cancelled);
                }
                all.push(turn(index, frame.clone())?);
            }
            all
        };
        Ok(gathered(step, all))
    }

    fn items(&self, list: &ForEach, frame: &Frame<'a>) -> Result<Vec<Value>, TemplateError> {
        let renderer = self.renderer(frame);
        let (value, span) = match list {
            ForEach::List(template) => (renderer.value(template)?, template.span()),
            ForEach::Expression(expr) => {
                (renderer.eval(expr)?, expr.place(&frame.plan.source, None))
            }
        };
        match value {
            Value::Array(items) => Ok(items),
            other => Err(TemplateError {
                message: format!(
                    "`for_each` needs a list, this is {}",
                    crate::template::describe(&other)
                ),
                span,
            }),
        }
    }

    fn single(&self, step: &'a Step, frame: &Frame<'a>) -> Result<StepResult, Stop> {
        let start = self.now();
        let mut frame = frame.clone();
        frame.origin.push(origin::of_step(step, &frame.plan.source));
        let frame = &frame;
        let title = title(step, self.renderer(frame));
        let condition = step.when.as_ref();
        match condition.map(|when| self.renderer(frame).holds(when)) {
            None | Some(Ok(true)) => {}
            Some(Ok(false)) => {
                // A group that is skipped has no steps to announce.
                let info = self.begin(title, frame, StepShape::Single);
                self.pending_work().skipped.push(frame.origin.clone());
                self.finish(
                    info,
                    frame,
                    StepOutcome::Skipped(String::new()),
                    self.elapsed(start),
                );
                return Ok(skipped(step));
            }
            Some(Err(fault)) => {
                let info = self.begin(title, frame, StepShape::Single);
                let failure = failure::of_template_error(frame.plan, &fault);
                return self
                    .conclude(step, frame, info, (start, vec![failure]))
                    .map(|()| StepResult::default());
            }
        }
        let info = self.begin(title, frame, shape(step));
        let there = step
            .remote
            .as_ref()
            .map(|remote| self.abroad(remote, frame));
        let frame = &match there.transpose() {
            Ok(there) => there.as_ref().unwrap_or(frame).seen_as(step.visibility),
            Err(trouble) => {
                let failure = failure::of_trouble(frame.plan, step.span, trouble);
                return self
                    .conclude(step, frame, info, (start, vec![failure]))
                    .map(|()| StepResult::default());
            }
        };
        match info.shape {
            StepShape::Group => {
                let whole = self.composite(step, frame, info.number);
                self.close_composite(step, frame, info, (start, whole))
            }
            StepShape::Single => self.plain(step, frame, info, start),
        }
    }

    /// A step that does something itself.
    fn plain(
        &self,
        step: &'a Step,
        frame: &Frame<'a>,
        info: StepInfo,
        start: Instant,
    ) -> Result<StepResult, Stop> {
        let ended = self.attempts(step, frame, &info);
        let mut fields = ended.fields;
        fields.insert("duration".into(), self.elapsed(start).as_secs_f64().into());
        if !ended.failures.is_empty() {
            fields.insert("failed".into(), true.into());
        }
        if fields.get("changed") == Some(&Value::Bool(true)) {
            frame.changed.store(true, Ordering::Relaxed);
        }
        let left = StepResult {
            result: Value::Object(fields),
            captures: ended.captures,
        };
        if ended.touched {
            if let Some(id) = &step.id {
                // Cleanup steps may use the result of the very step they belong to.
                frame.bind_result(&id.text, &left.result);
            }
            self.register_cleanup(step, frame, info.number);
        }
        if ended.cancelled {
            self.finish(info, frame, StepOutcome::Cancelled, self.elapsed(start));
            return Err(Stop::Cancelled);
        }
        if ended.failures.is_empty() {
            let outcome = if ended.is_skipped {
                self.pending_work().skipped.push(frame.origin.clone());
                StepOutcome::Skipped(ended.remark)
            } else {
                StepOutcome::Passed(ended.remark)
            };
            self.finish(info, frame, outcome, self.elapsed(start));
            return Ok(left);
        }
        self.conclude(step, frame, info, (start, ended.failures))
            .map(|()| left)
    }

    /// Has the cleanup of the step with this number done at the end, instead of what is tracked.
    pub(super) fn register_cleanup(&self, step: &'a Step, frame: &Frame<'a>, number: u32) {
        if !step.cleanup.is_empty() {
            let tracker = self.session.tracker;
            tracker.delegate_to_cleanup(number);
            let cleanup = Cleanup {
                steps: &step.cleanup,
                frame: Frame {
                    turn: None,
                    ..frame.clone()
                },
                mark: tracker.mark(),
                step: number,
            };
            self.pending_work().cleanups.push(cleanup);
        }
    }

    /// Announces a failure and says whether the steps go on.
    pub(super) fn conclude(
        &self,
        step: &Step,
        frame: &Frame<'a>,
        info: StepInfo,
        (start, mut failures): (Instant, Vec<Diagnostic>),
    ) -> Result<(), Stop> {
        for failure in &mut failures {
            self.explain(failure, step, frame);
        }
        if step.on_error == OnError::Continue {
            let outcome = StepOutcome::Tolerated(failures);
            self.finish(info, frame, outcome, self.elapsed(start));
            return Ok(());
        }
        let outcome = StepOutcome::Failed(failures);
        self.finish(info, frame, outcome, self.elapsed(start));
        Err(Stop::Failed)
    }

    /// Adds what helps to understand any failure: the loop's item, the values of the names in the action.
    fn explain(&self, failure: &mut Diagnostic, step: &Step, frame: &Frame<'a>) {
        if let Some(project) = &frame.plan.project
            && means(&failure.message, Meaning::NoProject)
        {
            let place = frame.plan.place(project.span());
            failure.labels.push(Label {
                place,
                text: "the project of every request".into(),
            });
        }
        failure
            .notes
            .extend(frame.trail.iter().map(|item| format!("in {item}")));
        let values = self.values_used(step, frame);
        if !values.is_empty() {
            failure.notes.push(values.join("   "));
        }
    }

    fn values_used(&self, step: &Step, frame: &Frame<'a>) -> Vec<String> {
        let renderer = self.renderer(frame);
        let mut shown_values = Vec::new();
        for code in super::used::names(&step.action) {
            if let Some(value) = renderer.probe(&code) {
                let value = if renderer.is_secret(&code) {
                    hidden_value(&value)
                } else {
                    shown(self.masker, &value)
                };
                shown_values.push(format!("{code}: {value}"));
            }
        }
        shown_values
    }
}

/// What the turns of a loop leave together: lists in the order of the items.
fn gathered(step: &Step, all: Vec<StepResult>) -> StepResult {
    let captures = (0..step.capture.len())
        .map(|at| {
            all.iter()
                .map(|left| left.captures.get(at).cloned().unwrap_or_default())
                .collect()
        })
        .collect();
    let result = all.into_iter().map(|left| left.result).collect();
    StepResult { result, captures }
}

/// The result of a step that its condition skipped: every field is there.
fn skipped(step: &Step) -> StepResult {
    let mut fields = match &step.action {
        Action::Include(include) => without_outputs(include),
        action => ActionResult::default().fields_of(action),
    };
    fields.insert("skipped".into(), true.into());
    fields.insert("changed".into(), false.into());
    fields.insert("attempts".into(), 0.into());
    fields.insert("duration".into(), 0.into());
    StepResult {
        result: Value::Object(fields),
        captures: vec![Value::Null; step.capture.len()],
    }
}

/// Whether a step does something itself.
fn shape(step: &Step) -> StepShape {
    match step.action {
        Action::Steps(_) | Action::Parallel(_) | Action::Include(_) => StepShape::Group,
        _ => StepShape::Single,
    }
}
