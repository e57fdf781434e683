//! Steps that are made of steps: groups, parallel ones, included playbooks.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::{Map, Value};

use super::action::ActionResult;
use super::attempts::{captured, with_result};
use super::executor::{Frame, Run, Stop};
use super::expect::Judge;
use super::failure;
use super::parallel::run_parallel;
use super::step::StepResult;
use crate::diagnostic::Diagnostic;
use crate::events::{Phase, StepInfo, StepOutcome};
use crate::playbook::input::{Given, resolve};
use crate::playbook::plan::{Action, Group, Include, OnError, Parallel, Step, Visibility};

/// How a composite step ended.
pub(super) struct GroupOutcome {
    ended: Result<(), Stop>,
    fields: Map<String, Value>,
    /// What kept it from beginning, or from giving its outputs; the failures of its steps are theirs.
    failures: Vec<Diagnostic>,
}

impl GroupOutcome {
    fn of(ended: Result<(), Stop>) -> Self {
        Self {
            ended,
            fields: ActionResult::default().fields(),
            failures: Vec::new(),
        }
    }

    /// An included playbook that leaves no outputs.
    fn refused(include: &Include, failures: Vec<Diagnostic>) -> Self {
        Self {
            ended: Err(Stop::Failed),
            fields: without_outputs(include),
            failures,
        }
    }
}

impl<'a> Run<'a> {
    /// Runs a step that is made of steps.
    pub(super) fn composite(&self, step: &'a Step, frame: &Frame<'a>, number: u32) -> GroupOutcome {
        let start = self.now();
        let outer = &frame.changed;
        let limit = step.timeout.map_or(frame.limit, |after| {
            frame.client.limit("group", after).earlier(frame.limit)
        });
        let frame = &Frame {
            limit,
            on_error: match step.on_error {
                OnError::Continue => OnError::Continue,
                OnError::Fail => frame.on_error,
            },
            changed: Arc::default(),
            owner: frame.owned_by(number),
            fate: frame.retention_of(step),
            ..frame.clone()
        };
        let mut whole = match &step.action {
            Action::Steps(group) => GroupOutcome::of(self.group(group, frame)),
            Action::Parallel(parallel) => GroupOutcome::of(self.parallel(parallel, frame)),
            Action::Include(include) => self.include(include, frame),
            // The others do something themselves.
            _ => GroupOutcome::of(Ok(())),
        };
        let changed = frame.changed.load(Ordering::Relaxed);
        outer.fetch_or(changed, Ordering::Relaxed);
        // The outputs of an included playbook may have the same names, and are what its author meant.
        let declared = |name: &str| {
            matches!(&step.action, Action::Include(include)
                if include.plan.outputs.iter().any(|output| output.name.text == name))
        };
        for (name, value) in [
            ("changed", changed.into()),
            ("skipped", false.into()),
            ("failed", whole.ended.is_err().into()),
            ("attempts", 1.into()),
            ("duration", self.elapsed(start).as_secs_f64().into()),
        ] {
            if !declared(name) {
                whole.fields.insert(name.into(), value);
            }
        }
        whole
    }

    pub(super) fn close_composite(
        &self,
        step: &'a Step,
        frame: &Frame<'a>,
        info: StepInfo,
        (start, whole): (Instant, GroupOutcome),
    ) -> Result<StepResult, Stop> {
        let mut fields = whole.fields;
        let mut failures = whole.failures;
        let mut ended = whole.ended;
        let mut captures = vec![Value::Null; step.capture.len()];
        if ended.is_ok() {
            (captures, failures) = self.judge_whole(step, frame, &fields);
            if !failures.is_empty() {
                ended = Err(Stop::Failed);
                if let Some(failed) = fields
                    .get_mut("failed")
                    .filter(|failed| failed.is_boolean())
                {
                    *failed = true.into();
                }
            }
        }
        if frame.visibility == Visibility::Secret {
            for value in &captures {
                self.masker.add(value);
            }
        }
        let result = Value::Object(fields);
        if let Some(id) = &step.id {
            frame.bind_result(&id.text, &result);
        }
        self.register_cleanup(step, frame, info.number);
        let left = StepResult { result, captures };
        match ended {
            Ok(()) => {
                let outcome = StepOutcome::Passed(String::new());
                self.finish(info, frame, outcome, self.elapsed(start));
                Ok(left)
            }
            Err(Stop::Cancelled) => {
                self.finish(info, frame, StepOutcome::Cancelled, self.elapsed(start));
                Err(Stop::Cancelled)
            }
            Err(Stop::Failed) => self
                .conclude(step, frame, info, (start, failures))
                .map(|()| left),
        }
    }

    /// Expectations and captures over the result of a whole.
    fn judge_whole(
        &self,
        step: &Step,
        frame: &Frame<'a>,
        fields: &Map<String, Value>,
    ) -> (Vec<Value>, Vec<Diagnostic>) {
        let scope = with_result(frame, fields);
        let renderer = self.engine.with(&frame.plan.source, &scope);
        let failures = Judge::new(
            frame,
            self.masker,
            (self.renderer(frame), renderer),
            &ActionResult::default(),
        )
        .judge(step);
        if failures.is_empty() {
            captured(step, frame.plan, renderer)
        } else {
            (vec![Value::Null; step.capture.len()], failures)
        }
    }

    /// A group: its own scope, and `finally` as it is left.
    fn group(&self, group: &'a Group, frame: &Frame<'a>) -> Result<(), Stop> {
        let inner = Frame {
            scope: frame.scope.child(),
            depth: frame.depth + 1,
            turn: None,
            ..frame.clone()
        };
        let ended = self.steps(&group.steps, &inner);
        if !group.finally.is_empty() {
            self.each(&group.finally, &self.cleanup_frame(&inner, Phase::Finally));
        }
        ended
    }

    /// All at once, in the scope around them.
    fn parallel(&self, parallel: &'a Parallel, frame: &Frame<'a>) -> Result<(), Stop> {
        let inner = Frame {
            depth: frame.depth + 1,
            turn: None,
            ..frame.clone()
        };
        let count = parallel.steps.len();
        let width = parallel.concurrency.unwrap_or(count);
        let sides = run_parallel((count, width), &inner, |at, own| {
            self.step(&parallel.steps[at], &own)
        });
        self.pending_work().summary.not_run += count - sides.begun;
        sides.stop.map_or(Ok(()), Err)
    }

    /// Another playbook, in a scope of its own; its outputs are the result.
    fn include(&self, include: &'a Include, frame: &Frame<'a>) -> GroupOutcome {
        let mut given = Vec::new();
        for with in &include.with {
            match self.renderer(frame).value(&with.value) {
                Ok(value) => given.push((with.name.text.clone(), Given::Typed(value))),
                Err(fault) => {
                    let failure = failure::of_template_error(frame.plan, &fault);
                    return GroupOutcome::refused(include, vec![failure]);
                }
            }
        }
        let plan = &include.plan;
        let place = frame.plan.place(include.span);
        let here = format!("{} included at {place}", plan.name);
        let inputs = match resolve(plan, &given, self.session.environment) {
            Ok(inputs) => inputs,
            Err(problems) => {
                let problems = problems.into_iter();
                let placed = problems.map(|problem| problem.note(format!("in {here}")));
                return GroupOutcome::refused(include, placed.collect());
            }
        };
        let mut around = Frame {
            depth: frame.depth + 1,
            turn: None,
            ..frame.clone()
        };
        around.trail.push(here);
        around.branch = format!("{}-{}", around.branch, include.number);
        around.include = Some(format!("{}{}", self.session.id, around.branch).into());
        let inner = match self.enter(plan, &inputs, &around) {
            Ok(inner) => inner,
            Err(problem) => return GroupOutcome::refused(include, vec![problem]),
        };
        let ended = self.steps(&plan.steps, &inner);
        let outputs = match ended {
            Ok(()) => self.outputs(&inner),
            Err(_) => Ok(without_outputs(include).into_iter().collect()),
        };
        if !plan.finally.is_empty() {
            self.each(&plan.finally, &self.cleanup_frame(&inner, Phase::Finally));
        }
        match outputs {
            Ok(outputs) => GroupOutcome {
                fields: outputs.into_iter().collect(),
                ..GroupOutcome::of(ended)
            },
            Err(problem) => GroupOutcome::refused(include, vec![problem]),
        }
    }
}

/// The outputs that an included playbook would have given.
pub(super) fn without_outputs(include: &Include) -> Map<String, Value> {
    let outputs = include.plan.outputs.iter();
    outputs
        .map(|output| (output.name.text.clone(), Value::Null))
        .collect()
}
