//! Names: whether each one that a template uses is bound where it is used, and bound once.

mod bindings;
mod uses;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use indexmap::IndexSet;

use crate::playbook::grammar::{ACTIONS, INCLUDE, INCLUDE_RESULT, RESERVED, RESULT, RUN, SERVER};
use crate::playbook::plan::{Action, Expect, ForEach, Group, InputType, Matcher, Name, Plan, Step};
use crate::template::{Engine, Expr};
use malleus_source::diagnostic::{Diagnostic, did_you_mean};
use malleus_source::{Source, Span};

/// `unread` are the names that steps bind which could not be read.
pub(super) fn judge(plan: &Plan, unread: &HashSet<String>, engine: &Engine) -> Vec<Diagnostic> {
    let mut judge = Judge {
        plan,
        unread,
        engine,
        problems: Vec::new(),
        layers: vec![HashMap::new()],
        everywhere: all_bindings(plan),
        started: background_ids(&plan.steps),
        used: HashSet::new(),
        own: Vec::new(),
        beside: HashSet::new(),
        in_lines: false,
        file: None,
    };
    judge.playbook();
    judge.problems
}

use bindings::{all_bindings, background_ids, bindings_beside};

/// What is known of the value behind a name.
#[derive(Clone)]
enum Known {
    /// An object with just these fields.
    Fields(Rc<[String]>),
    /// It is text, as what a command printed.
    Text,
    /// Nothing.
    Anything,
}

impl Known {
    fn fields<'f>(fields: impl IntoIterator<Item = &'f str>) -> Self {
        Self::Fields(fields.into_iter().map(str::to_owned).collect())
    }
}

#[derive(Clone)]
struct Bound {
    span: Option<Span>,
    known: Known,
}

struct Judge<'a> {
    plan: &'a Plan,
    unread: &'a HashSet<String>,
    engine: &'a Engine,
    problems: Vec<Diagnostic>,
    /// Names in scope, innermost layer last.
    layers: Vec<HashMap<String, Bound>>,
    /// Where each name is bound anywhere in the playbook.
    everywhere: HashMap<String, Vec<Span>>,
    /// The ids that a `join` can name.
    started: IndexSet<&'a str>,
    used: HashSet<String>,
    /// Where the step at hand binds names: its own expectations cannot use them.
    own: Vec<Span>,
    /// Where the steps of the `parallel` at hand bind names, unless they keep them to themselves.
    beside: HashSet<Span>,
    /// Whether the text at hand has several lines, as scripts with braces of their own do.
    in_lines: bool,
    /// The file that the text at hand stands in, where that is not the playbook.
    file: Option<Arc<Source>>,
}

impl Judge<'_> {
    fn playbook(&mut self) {
        for (name, fields) in [("run", RUN), ("server", SERVER), ("include", INCLUDE)] {
            let known = Known::fields(fields.iter().copied());
            self.layers[0].insert(name.into(), Bound { span: None, known });
        }
        let plan = self.plan;
        for input in &plan.inputs {
            self.bind(&input.name, Known::Anything);
        }
        for var in &plan.vars {
            self.template(&var.value);
            self.name_as_text(&var.value);
            self.bind(&var.name, Known::Anything);
        }
        for (_, value) in plan.isolate.iter().flat_map(|isolate| &isolate.config) {
            self.template(value);
        }
        if let Some(project) = &plan.project {
            self.template(project);
        }
        self.steps(&plan.steps);
        self.steps(&plan.finally);
        for output in &plan.outputs {
            self.template(&output.value);
            self.name_as_text(&output.value);
        }
        self.unused();
    }

    fn unused(&mut self) {
        let plan = self.plan;
        let inputs = plan.inputs.iter().map(|input| ("input", &input.name));
        let vars = plan.vars.iter().map(|var| ("variable", &var.name));
        for (what, name) in inputs
            .chain(vars)
            .filter(|(_, name)| !self.used.contains(&name.text) && !has_anchor(plan, name))
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
            .cloned()
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
            judge.bind_item(step);
            judge.inside(step);
        });
        self.bind_all(step);
        self.layer(|judge| {
            judge.bind_item(step);
            judge.steps(&step.cleanup);
        });
    }

    /// What a loop binds for each of its items.
    fn bind_item(&mut self, step: &Step) {
        if step.for_each.is_none() {
            return;
        }
        let [item, index] = step.loop_names();
        let known = Known::Anything;
        if let Some(name) = &step.item {
            let index = Name {
                text: index,
                span: name.span,
            };
            self.bind(name, known.clone());
            self.bind(&index, known.clone());
            for name in RESERVED.iter().filter(|reserved| **reserved == name.text) {
                // What is wrong with it has been said.
                let known = known.clone();
                self.set(name, Bound { span: None, known });
            }
            return;
        }
        if self.lookup(&item).is_some() {
            self.hides_item(step);
        }
        for name in [item, index] {
            let known = known.clone();
            self.set(&name, Bound { span: None, known });
        }
    }

    /// A loop in a loop: the outer item has no name in it.
    fn hides_item(&mut self, step: &Step) {
        let problem = Diagnostic::warning("the `item` of this loop hides that of the loop around it")
            .at(self.plan.place(step.span), "")
            .help("give the items of one of the loops a name: `as: host` beside its `for_each` binds `host` and `host_index`");
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Results and captures of a loop are lists; what it sets is not.
    fn keeps_last(&mut self, name: &Name) {
        self.problems.push(
            Diagnostic::warning(format!(
                "`{}` keeps the value of the last item alone",
                name.text
            ))
            .at(self.plan.place(name.span), "")
            .help("a list with a value for each item is what a filter makes, as `items|map(attribute=\"name\")`, or a `capture`"),
        );
    }

    fn inside(&mut self, step: &Step) {
        if let Some(expr) = &step.when {
            self.condition(expr);
        }
        for template in step.name.iter().chain(&step.remote) {
            self.template(template);
        }
        self.action(&step.action);
        let captures = step.capture.iter().map(|capture| &capture.name);
        self.own = step
            .id
            .iter()
            .chain(captures)
            .map(|name| name.span)
            .collect();
        let asks = step.until.is_some() || !step.capture.is_empty() || step.expect.is_any();
        if !asks {
            self.own.clear();
            return;
        }
        self.layer(|judge| {
            if let Known::Fields(fields) = result_of(&step.action) {
                for field in fields.iter() {
                    let known = match field.as_str() {
                        "stdout" | "stderr" => Known::Text,
                        _ => Known::Anything,
                    };
                    judge.set(field, Bound { span: None, known });
                }
            }
            judge.expect(&step.expect);
            if let Some(until) = &step.until {
                judge.condition(&until.condition);
                until
                    .fail_when
                    .iter()
                    .for_each(|expr| judge.condition(expr));
            }
            step.capture
                .iter()
                .for_each(|capture| judge.expr(&capture.value));
        });
        self.own.clear();
    }

    fn action(&mut self, action: &Action) {
        for template in action.templates() {
            self.template(template);
        }
        if let Action::Set(bindings) = action {
            for binding in bindings {
                self.name_as_text(&binding.value);
            }
        }
        match action {
            Action::Check(exprs) => exprs.iter().for_each(|expr| self.condition(expr)),
            Action::Steps(Group { steps, finally }) => self.layer(|judge| {
                judge.steps(steps);
                judge.steps(finally);
            }),
            // What one binds, those beside it do not see; later steps do, see `bind_all`.
            Action::Parallel(parallel) => {
                let before = self.beside.clone();
                self.beside.extend(bindings_beside(&parallel.steps));
                for step in &parallel.steps {
                    self.layer(|judge| judge.step(step));
                }
                self.beside = before;
            }
            Action::Join(name) => self.join(name),
            _ => {}
        }
    }

    /// Binds what a step leaves to later steps.
    fn bind_all(&mut self, step: &Step) {
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
            let known = if !looped && is_printed_text(capture.value.code()) {
                Known::Text
            } else {
                Known::Anything
            };
            self.bind(&capture.name, known);
        }
        match &step.action {
            Action::Set(bindings) => {
                for binding in bindings {
                    self.bind(&binding.name, Known::Anything);
                    if looped {
                        self.keeps_last(&binding.name);
                    }
                }
            }
            Action::Parallel(parallel) if !looped => {
                for inner in &parallel.steps {
                    self.bind_all(inner);
                }
            }
            _ => {}
        }
    }

    /// An expression that must be true or false; where its type is known, it is judged here.
    fn condition(&mut self, expr: &Expr) {
        self.expr(expr);
        let code = expr.code().trim();
        let input = self
            .plan
            .inputs
            .iter()
            .find(|input| input.name.text == code);
        let what = match input.and_then(|input| input.kind) {
            Some(InputType::Boolean) => return,
            Some(kind) => kind.word(),
            None if is_text_literal(code) => "text",
            None => return,
        };
        let help = match what {
            "string" | "text" => format!(
                "write `{code} == \"…\"` or `{code} != \"\"`; a switch is an input with the default `true` or `false`, without quotes"
            ),
            "integer" | "number" => format!("write `{code} != 0`"),
            _ => format!("write `{code}|length > 0`"),
        };
        let place = self.plan.place(expr.place(&self.plan.source, None));
        self.problems.push(
            Diagnostic::error(format!(
                "a condition is true or false; `{code}` is {}",
                if what == "text" {
                    "a text".into()
                } else {
                    format!("an input of type {what}")
                }
            ))
            .at(place, "")
            .help(help),
        );
    }

    fn join(&mut self, name: &Name) {
        if self.unread.contains(&name.text) {
            return;
        }
        if !self.started.contains(name.text.as_str()) {
            let help = match self.lookup(&name.text) {
                Some(_) => "the step of this id waits itself; give it `background: true`".into(),
                None => did_you_mean(&name.text, self.started.iter().copied()),
            };
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
        expect.that.iter().for_each(|expr| self.condition(expr));
    }
}

/// Whether an expression is what a command printed, at most trimmed.
fn is_printed_text(code: &str) -> bool {
    let mut parts = code.split('|').map(str::trim);
    matches!(parts.next(), Some("stdout" | "stderr"))
        && parts.all(|filter| matches!(filter, "trim" | "upper" | "lower"))
}

/// Whether an expression is one text in quotes.
fn is_text_literal(code: &str) -> bool {
    let quote = code.chars().next().filter(|c| matches!(c, '"' | '\''));
    quote.is_some_and(|quote| {
        code.len() > 1 && code.ends_with(quote) && !code[1..code.len() - 1].contains(quote)
    })
}

/// A value with an anchor is there for its aliases.
fn has_anchor(plan: &Plan, name: &Name) -> bool {
    let behind = plan.source.text().get(name.span.end..).unwrap_or_default();
    let value = behind.trim_start_matches(['"', '\'', ' ']);
    value
        .strip_prefix(':')
        .is_some_and(|value| value.trim_start_matches(' ').starts_with('&'))
}

/// What is known of the result of an action.
fn result_of(action: &Action) -> Known {
    if let Action::Include(include) = action {
        let outputs = include.plan.outputs.iter();
        let outputs = outputs.map(|output| output.name.text.as_str());
        return Known::fields(outputs.chain(INCLUDE_RESULT.iter().copied()));
    }
    let own = ACTIONS.iter().find(|keys| keys.name == action.key());
    let own = own.map_or(&[][..], |keys| keys.result);
    Known::fields(RESULT.iter().chain(own).copied())
}
