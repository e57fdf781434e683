//! Steps that are made of steps: groups, parallel ones, included playbooks.

use std::time::Instant;

use serde_json::{Map, Value};

use super::action::Observed;
use super::attempts::{captured, with_result};
use super::event::{Phase, StepInfo, StepOutcome};
use super::executor::{Frame, Run, Stop};
use super::expect::Judge;
use super::failure;
use super::parallel::abreast;
use super::step::Left;
use crate::client::Limit;
use crate::diagnostic::Diagnostic;
use crate::playbook::input::{Given, resolve};
use crate::playbook::plan::{Action, Group, Include, Keep, OnError, Parallel, Step};
use crate::tracking::Fate;

/// How a composite step ended.
pub(super) struct Whole {
    ended: Result<(), Stop>,
    result: Value,
    /// What kept it from beginning, or from giving its outputs; the failures of its steps are theirs.
    failures: Vec<Diagnostic>,
}

impl Whole {
    fn of(ended: Result<(), Stop>) -> Self {
        let mut fields = Observed::default().fields();
        fields.insert("failed".into(), ended.is_err().into());
        Self {
            ended,
            result: fields.into(),
            failures: Vec::new(),
        }
    }

    fn refused(failures: Vec<Diagnostic>) -> Self {
        Self {
            failures,
            ..Self::of(Err(Stop::Failed))
        }
    }
}

impl<'a> Run<'a> {
    /// Runs a step that is made of steps.
    pub(super) fn composite(&self, step: &'a Step, frame: &Frame<'a>, number: u32) -> Whole {
        let limit = step.timeout.map_or(frame.limit, |after| {
            Limit::after("group", after).earlier(frame.limit)
        });
        let frame = &Frame {
            limit,
            on_error: match step.on_error {
                OnError::Continue => OnError::Continue,
                OnError::Fail => frame.on_error,
            },
            owner: frame.owned_by(number),
            fate: match step.keep {
                Keep::Yes => Fate::Stays,
                Keep::No => frame.fate,
            },
            ..frame.clone()
        };
        match &step.action {
            Action::Steps(group) => Whole::of(self.group(group, frame)),
            Action::Parallel(parallel) => Whole::of(self.parallel(parallel, frame)),
            Action::Include(include) => self.include(include, frame),
            // The others do something themselves.
            _ => Whole::of(Ok(())),
        }
    }

    pub(super) fn close_composite(
        &self,
        step: &'a Step,
        frame: &Frame<'a>,
        info: StepInfo,
        (start, whole): (Instant, Whole),
    ) -> Result<Left, Stop> {
        let result = whole.result;
        let fields = result.as_object().cloned().unwrap_or_default();
        let mut failures = whole.failures;
        let mut ended = whole.ended;
        let mut captures = vec![Value::Null; step.capture.len()];
        if ended.is_ok() {
            (captures, failures) = self.judge_whole(step, frame, &fields);
            if !failures.is_empty() {
                ended = Err(Stop::Failed);
            }
        }
        if let Some(id) = &step.id {
            frame.scope.bind(&id.text, &result);
        }
        self.register_cleanup(step, frame, info.number);
        let left = Left { result, captures };
        match ended {
            Ok(()) => {
                let outcome = StepOutcome::Passed(String::new());
                self.finish(info, frame, outcome, start.elapsed());
                Ok(left)
            }
            Err(Stop::Cancelled) => {
                self.finish(info, frame, StepOutcome::Cancelled, start.elapsed());
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
        let scope = with_result(&frame.scope, fields);
        let renderer = self.engine.with(&frame.plan.source, &scope);
        let failures = Judge::new(
            frame.plan,
            self.masker,
            (self.renderer(frame), renderer),
            &Observed::default(),
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
        let sides = abreast((count, width), &inner, |at, own| {
            self.step(&parallel.steps[at], &own)
        });
        self.ledger().summary.not_run += count - sides.begun;
        sides.stop.map_or(Ok(()), Err)
    }

    /// Another playbook, in a scope of its own; its outputs are the result.
    fn include(&self, include: &'a Include, frame: &Frame<'a>) -> Whole {
        let mut given = Vec::new();
        for with in &include.with {
            match self.renderer(frame).value(&with.value) {
                Ok(value) => given.push((with.name.text.clone(), Given::Typed(value))),
                Err(fault) => {
                    return Whole::refused(vec![failure::of_fault(frame.plan, &fault)]);
                }
            }
        }
        let plan = &include.plan;
        let inputs = match resolve(plan, &given, self.session.environment) {
            Ok(inputs) => inputs,
            Err(problems) => return Whole::refused(problems),
        };
        let mut around = Frame {
            depth: frame.depth + 1,
            turn: None,
            ..frame.clone()
        };
        let place = frame.plan.place(include.span);
        around
            .trail
            .push(format!("{} included at {place}", plan.name));
        let inner = match self.enter(plan, &inputs, &around) {
            Ok(inner) => inner,
            Err(problem) => return Whole::refused(vec![problem]),
        };
        let ended = self.steps(&plan.steps, &inner);
        let outputs = match ended {
            Ok(()) => self.outputs(&inner),
            Err(_) => Ok(indexmap::IndexMap::new()),
        };
        if !plan.finally.is_empty() {
            self.each(&plan.finally, &self.cleanup_frame(&inner, Phase::Finally));
        }
        match outputs {
            Ok(outputs) => Whole {
                result: outputs.into_iter().collect::<Map<_, _>>().into(),
                ..Whole::of(ended)
            },
            Err(problem) => Whole::refused(vec![problem]),
        }
    }
}
