//! Names: whether each one that a template uses is bound where it is used, and bound once.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use crate::diagnostic::{Diagnostic, Label, did_you_mean};
use crate::playbook::grammar::{ACTIONS, RESERVED, RESULT, RUN, SERVER};
use crate::playbook::plan::{
    Action, Binding, Body, Command, Exec, Expect, ForEach, Group, Io, Matcher, Name, Plan, Request,
    Step,
};
use crate::source::Span;
use crate::template::{Engine, Expr, NameUse, Template, Text, Usage, filter_names};

pub(super) fn judge(plan: &Plan, engine: &Engine) -> Vec<Diagnostic> {
    let mut judge = Judge {
        plan,
        engine,
        problems: Vec::new(),
        layers: vec![HashMap::new()],
        everywhere: all_bindings(plan),
        used: HashSet::new(),
    };
    judge.playbook();
    judge.problems
}

/// What is known of the value behind a name.
#[derive(Clone, Copy)]
enum Known {
    /// An object with just these fields.
    Fields(&'static [&'static [&'static str]]),
    /// Nothing.
    Anything,
}

#[derive(Clone, Copy)]
struct Bound {
    span: Option<Span>,
    known: Known,
}

struct Judge<'a> {
    plan: &'a Plan,
    engine: &'a Engine,
    problems: Vec<Diagnostic>,
    /// Names in scope, innermost layer last.
    layers: Vec<HashMap<String, Bound>>,
    /// Where each name is bound anywhere in the playbook.
    everywhere: HashMap<String, Vec<Span>>,
    used: HashSet<String>,
}

impl Judge<'_> {
    fn playbook(&mut self) {
        for (name, fields) in [("run", RUN), ("server", SERVER)] {
            let known = Known::Fields(match fields.len() {
                2 => &[RUN],
                _ => &[SERVER],
            });
            self.layers[0].insert(name.into(), Bound { span: None, known });
        }
        let plan = self.plan;
        for input in &plan.inputs {
            self.bind(&input.name, Known::Anything);
        }
        for var in &plan.vars {
            self.template(&var.value);
            self.bind(&var.name, Known::Anything);
        }
        if let Some(project) = &plan.project {
            self.template(project);
        }
        self.steps(&plan.steps);
        self.steps(&plan.finally);
        for output in &plan.outputs {
            self.template(&output.value);
        }
        self.unused();
    }

    fn unused(&mut self) {
        let plan = self.plan;
        let inputs = plan.inputs.iter().map(|input| ("input", &input.name));
        let vars = plan.vars.iter().map(|var| ("variable", &var.name));
        for (what, name) in inputs
            .chain(vars)
            .filter(|(_, name)| !self.used.contains(&name.text))
        {
            self.problems.push(
                Diagnostic::warning(format!("{what} `{}` is never used", name.text))
                    .at(self.plan.place(name.span), ""),
            );
        }
    }

    fn layer(&mut self, inside: impl FnOnce(&mut Self)) {
        self.layers.push(HashMap::new());
        inside(self);
        self.layers.pop();
    }

    fn lookup(&self, name: &str) -> Option<Bound> {
        self.layers
            .iter()
            .rev()
            .find_map(|layer| layer.get(name))
            .copied()
    }

    fn set(&mut self, name: &str, bound: Bound) {
        if let Some(layer) = self.layers.last_mut() {
            layer.insert(name.to_owned(), bound);
        }
    }

    fn bind(&mut self, name: &Name, known: Known) {
        let span = Some(name.span);
        if RESERVED.contains(&name.text.as_str()) {
            self.problems.push(
                Diagnostic::error(format!(
                    "`{}` is malleus's own name and cannot be bound",
                    name.text
                ))
                .at(self.plan.place(name.span), ""),
            );
        } else if let Some(Bound {
            span: Some(first), ..
        }) = self.lookup(&name.text)
        {
            self.problems.push(
                Diagnostic::error(format!(
                    "`{}` is bound a second time; a name is bound once in its scope",
                    name.text
                ))
                .at(self.plan.place(name.span), "the second time")
                .at(self.plan.place(first), "the first time"),
            );
        } else {
            self.set(&name.text, Bound { span, known });
        }
    }

    fn steps(&mut self, steps: &[Step]) {
        for step in steps {
            self.step(step);
        }
    }

    fn step(&mut self, step: &Step) {
        match &step.for_each {
            Some(ForEach::List(list)) => self.template(list),
            Some(ForEach::Expression(expr)) => self.expr(expr),
            None => {}
        }
        self.layer(|judge| {
            if step.for_each.is_some() {
                for name in ["item", "index"] {
                    judge.set(
                        name,
                        Bound {
                            span: None,
                            known: Known::Anything,
                        },
                    );
                }
            }
            judge.inside(step);
        });
        let looped = step.for_each.is_some();
        if let Some(id) = &step.id {
            let known = if looped {
                Known::Anything
            } else {
                result_of(&step.action)
            };
            self.bind(id, known);
        }
        for capture in &step.capture {
            self.bind(&capture.name, Known::Anything);
        }
        if let Action::Set(bindings) = &step.action {
            for binding in bindings {
                self.bind(&binding.name, Known::Anything);
            }
        }
        self.layer(|judge| {
            if looped {
                for name in ["item", "index"] {
                    judge.set(
                        name,
                        Bound {
                            span: None,
                            known: Known::Anything,
                        },
                    );
                }
            }
            judge.steps(&step.cleanup);
        });
    }

    fn inside(&mut self, step: &Step) {
        if let Some(expr) = &step.when {
            self.expr(expr);
        }
        if let Some(name) = &step.name {
            self.template(name);
        }
        self.action(&step.action);
        self.layer(|judge| {
            let extra = ACTIONS
                .iter()
                .find(|action| action.name == step.action.key())
                .map_or(&[][..], |action| action.result);
            for field in RESULT.iter().chain(extra) {
                judge.set(
                    field,
                    Bound {
                        span: None,
                        known: Known::Anything,
                    },
                );
            }
            judge.expect(&step.expect);
            if let Some(until) = &step.until {
                judge.expr(&until.condition);
                until.fail_when.iter().for_each(|expr| judge.expr(expr));
            }
            step.capture
                .iter()
                .for_each(|capture| judge.expr(&capture.value));
        });
    }

    fn action(&mut self, action: &Action) {
        match action {
            Action::Request(request) => self.request(request),
            Action::Exec(exec) => self.exec(exec),
            Action::Set(bindings) => bindings
                .iter()
                .for_each(|Binding { value, .. }| self.template(value)),
            Action::Check(exprs) => exprs.iter().for_each(|expr| self.expr(expr)),
            Action::Steps(Group { steps, finally }) => self.layer(|judge| {
                judge.steps(steps);
                judge.steps(finally);
            }),
            Action::Join(name) => self.join(name),
        }
    }

    fn join(&mut self, name: &Name) {
        let started = background_ids(&self.plan.steps);
        if !started.contains(&name.text.as_str()) {
            let help = did_you_mean(&name.text, started);
            self.problems.push(
                Diagnostic::error(format!(
                    "no step with `background: true` has the id `{}`",
                    name.text
                ))
                .at(self.plan.place(name.span), "")
                .help(help),
            );
        } else if self.lookup(&name.text).is_none() {
            self.unbound(name.span, &name.text);
        }
    }

    fn request(&mut self, request: &Request) {
        self.template(&request.path);
        for (_, value) in request.query.iter().chain(&request.headers) {
            self.template(value);
        }
        match &request.body {
            Body::Json(template) | Body::Upload(template) => self.template(template),
            Body::None => {}
        }
        if let Some(file) = &request.save {
            self.template(file);
        }
    }

    fn exec(&mut self, exec: &Exec) {
        self.template(&exec.instance);
        match &exec.command {
            Command::Arguments(arguments) => arguments
                .iter()
                .for_each(|argument| self.template(argument)),
            Command::Shell(line) => self.template(line),
        }
        exec.environment
            .iter()
            .for_each(|(_, value)| self.template(value));
        for part in [&exec.cwd, &exec.user, &exec.group].into_iter().flatten() {
            self.template(part);
        }
        if let Io::Streamed(Some(stdin)) = &exec.io {
            self.template(stdin);
        }
    }

    fn expect(&mut self, expect: &Expect) {
        let lists = [&expect.status, &expect.exit_code];
        lists
            .into_iter()
            .flatten()
            .flatten()
            .for_each(|value| self.template(value));
        for template in [&expect.error, &expect.metadata].into_iter().flatten() {
            self.template(template);
        }
        for matcher in expect.stdout.iter().chain(&expect.stderr) {
            match matcher {
                Matcher::Exact(value)
                | Matcher::Contains(value)
                | Matcher::Matches(value)
                | Matcher::Json(value) => {
                    self.template(value);
                }
            }
        }
        expect.that.iter().for_each(|expr| self.expr(expr));
    }

    fn template(&mut self, template: &Template) {
        match template {
            Template::Literal(..) => {}
            Template::Value(expr) => self.expr(expr),
            Template::Text(text) => self.text(text),
            Template::List(items, _) => items.iter().for_each(|item| self.template(item)),
            Template::Map(entries, _) => {
                for (key, value) in entries {
                    self.template(key);
                    self.template(value);
                }
            }
        }
    }

    fn expr(&mut self, expr: &Expr) {
        let source = &self.plan.source;
        self.usage(&Usage::of_expression(expr.code()), |range| {
            expr.place(source, Some(range))
        });
    }

    fn text(&mut self, text: &Text) {
        let source = &self.plan.source;
        self.usage(&Usage::of_text(text.code()), |range| {
            text.place(source, Some(range))
        });
    }

    fn usage(&mut self, usage: &Usage, place: impl Fn(Range<usize>) -> Span) {
        for name in &usage.names {
            self.name(name, &place);
        }
        let (filters, tests) = filter_names();
        for (name, range) in &usage.filters {
            if !self.engine.has_filter(name) {
                self.unknown("filter", name, filters, place(range.clone()));
            }
        }
        for (name, range) in &usage.tests {
            if !self.engine.has_test(name) {
                self.unknown("test", name, tests, place(range.clone()));
            }
        }
    }

    fn unknown(&mut self, what: &str, name: &str, known: &[&str], span: Span) {
        self.problems.push(
            Diagnostic::error(format!("there is no {what} `{name}`"))
                .at(self.plan.place(span), "")
                .help(did_you_mean(name, known.iter().copied())),
        );
    }

    fn name(&mut self, used: &NameUse, place: &impl Fn(Range<usize>) -> Span) {
        self.used.insert(used.name.clone());
        let Some(bound) = self.lookup(&used.name) else {
            if !used.guarded {
                self.unbound(place(used.name_range.clone()), &used.name);
            }
            return;
        };
        if let (Known::Fields(fields), Some(first)) = (bound.known, used.attributes.first())
            && !fields.iter().any(|some| some.contains(&first.as_str()))
        {
            let known: Vec<&str> = fields
                .iter()
                .flat_map(|some| some.iter().copied())
                .collect();
            let mut help = did_you_mean(first, known.iter().copied());
            if help.is_empty() {
                help = format!("it has {}", known.join(", "));
            }
            self.problems.push(
                Diagnostic::error(format!("`{}` has no `{first}`", used.name))
                    .at(self.plan.place(place(used.range.clone())), "")
                    .help(help),
            );
        }
    }

    /// A name that is not in scope: unknown, or known elsewhere.
    fn unbound(&mut self, span: Span, name: &str) {
        let problem = match self.everywhere.get(name).and_then(|spans| spans.first()) {
            Some(&binding) => {
                let (message, label) = if binding.start > span.start {
                    (
                        format!("`{name}` is used before it is bound"),
                        "bound only here",
                    )
                } else {
                    (
                        format!("`{name}` is not in scope here"),
                        "bound in a scope that has ended",
                    )
                };
                let mut problem = Diagnostic::error(message).at(self.plan.place(span), "");
                problem.labels.push(Label {
                    place: self.plan.place(binding),
                    text: label.into(),
                });
                problem
            }
            None => Diagnostic::error(format!("`{name}` is undefined"))
                .at(self.plan.place(span), "")
                .help(self.suggestion(name)),
        };
        self.problems.push(problem);
    }

    fn suggestion(&self, name: &str) -> String {
        let in_scope = self
            .layers
            .iter()
            .flat_map(|layer| layer.keys().map(String::as_str));
        match did_you_mean(name, in_scope) {
            help if help.is_empty() && name == "env" => {
                "the environment is read through an input with `env:`".into()
            }
            help if help.is_empty() && name == "result" => {
                "the fields of the step's result are names of their own, such as `metadata`".into()
            }
            help => help,
        }
    }
}

fn result_of(action: &Action) -> Known {
    match action {
        Action::Exec(_) => Known::Fields(&[
            RESULT,
            &[
                "exit_code",
                "stdout",
                "stderr",
                "stdout_base64",
                "stderr_base64",
            ],
        ]),
        _ => Known::Fields(&[RESULT]),
    }
}

/// Every name that is bound somewhere, with its places.
fn all_bindings(plan: &Plan) -> HashMap<String, Vec<Span>> {
    let mut names = HashMap::new();
    let mut note = |name: &Name| {
        names
            .entry(name.text.clone())
            .or_insert_with(Vec::new)
            .push(name.span);
    };
    plan.inputs.iter().for_each(|input| note(&input.name));
    plan.vars.iter().for_each(|var| note(&var.name));
    visit(plan.steps.iter().chain(&plan.finally), &mut |step| {
        step.id.iter().for_each(&mut note);
        step.capture.iter().for_each(|capture| note(&capture.name));
        if let Action::Set(bindings) = &step.action {
            for binding in bindings {
                note(&binding.name);
            }
        }
    });
    names
}

fn background_ids(steps: &[Step]) -> Vec<&str> {
    let mut ids = Vec::new();
    visit(steps.iter(), &mut |step| {
        if let (Action::Request(request), Some(id)) = (&step.action, &step.id)
            && request.waiting == crate::playbook::plan::Waiting::Later
        {
            ids.push(id.text.as_str());
        }
    });
    ids
}

/// Visits steps, those inside them included.
fn visit<'a>(steps: impl Iterator<Item = &'a Step>, seen: &mut dyn FnMut(&'a Step)) {
    for step in steps {
        seen(step);
        visit(step.cleanup.iter(), seen);
        if let Action::Steps(group) = &step.action {
            visit(group.steps.iter().chain(&group.finally), seen);
        }
    }
}
