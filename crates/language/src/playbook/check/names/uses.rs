//! The uses of names, filters and tests in templates.

use std::ops::Range;

use super::bindings::is_bound_in_include;
use super::{Judge, Known};
use crate::playbook::check::build::BRACES;
use crate::playbook::grammar::{ACTIONS, RESULT};
use crate::playbook::plan::InputType;
use crate::template::{Compared, Expr, FUNCTIONS, NameUse, Template, Text, Usage, filter_names};
use malleus_source::diagnostic::{Diagnostic, Label, did_you_mean, nearest};
use malleus_source::{Place, Span};
use serde_json::Value;

impl Judge<'_> {
    /// A place in the text at hand.
    fn place(&self, span: Span) -> Place {
        Place::new(self.file.as_ref().unwrap_or(&self.plan.source), span)
    }

    pub(super) fn template(&mut self, template: &Template) {
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
            Template::File(file) => {
                self.template(&file.path);
                if let Some(text) = &file.content {
                    self.text(text);
                }
            }
        }
    }

    pub(super) fn expr(&mut self, expr: &Expr) {
        let source = &self.plan.source;
        self.usage(&Usage::of_expression(expr.code()), |range| {
            expr.place(source, Some(range))
        });
    }

    /// Warns of a plain word that is a name in scope: where values stand, names are written in braces. In quotes it is meant
    /// to be text.
    pub(super) fn name_as_text(&mut self, template: &Template) {
        let Template::Literal(Value::String(word), span) = template else {
            return;
        };
        let mut parts = word.split('.');
        let Some(bound) = parts.next().and_then(|name| self.lookup(name)) else {
            return;
        };
        let is_name = match (parts.next(), bound.known) {
            (None, _) => true,
            (Some(field), Known::Fields(fields)) => fields.iter().any(|known| known == field),
            _ => false,
        };
        if is_name && self.plan.source.slice(*span) == word {
            self.problems.push(
                Diagnostic::warning(format!(
                    "this is the text \"{word}\", not the value of `{word}`"
                ))
                .at(self.plan.place(*span), "")
                .help(format!(
                    "write \"{{{{ {word} }}}}\" for the value, or \"{word}\" in quotes for the text"
                )),
            );
        }
    }

    fn text(&mut self, text: &Text) {
        let source = &self.plan.source;
        self.in_lines = text.code().trim_end().contains('\n');
        let usage = Usage::of_text(text.code());
        if text.file().is_some() {
            self.file = text.file().cloned();
            self.usage(&usage, |range| Span::new(range.start, range.end));
            self.file = None;
        } else {
            self.usage(&usage, |range| text.place(source, Some(range)));
        }
        self.in_lines = false;
    }

    fn usage(&mut self, usage: &Usage, place: impl Fn(Range<usize>) -> Span) {
        for name in &usage.names {
            self.name(name, &place);
        }
        for (why, range) in &usage.mixed {
            self.problems
                .push(Diagnostic::error(why.as_str()).at(self.place(place(range.clone())), ""));
        }
        for compared in &usage.compared {
            self.compared(compared, place(compared.range.clone()));
        }
        let (filters, tests) = filter_names();
        for (name, range) in &usage.filters {
            // Asking the engine is far slower than looking into a list that is short of a few old names.
            if !filters.contains(&name.as_str()) && !self.engine.has_filter(name) {
                self.unknown("filter", name, filters, place(range.clone()));
            }
        }
        for (name, range) in &usage.functions {
            self.unknown_function(name, filters, place(range.clone()));
        }
        for (name, range) in &usage.tests {
            if !tests.contains(&name.as_str()) && !self.engine.has_test(name) {
                self.unknown("test", name, tests, place(range.clone()));
            }
        }
    }

    /// Warns of a comparison with a value of another type than the name can have.
    fn compared(&mut self, compared: &Compared, span: Span) {
        let name = compared.name.as_str();
        let input = self
            .plan
            .inputs
            .iter()
            .find(|input| input.name.text == name);
        let (what, is_text) = match (self.lookup(name).map(|bound| bound.known), input) {
            (Some(Known::Text), _) => ("text".to_owned(), true),
            (Some(_), Some(input)) => match input.kind {
                Some(
                    kind @ (InputType::String
                    | InputType::Integer
                    | InputType::Number
                    | InputType::Boolean),
                ) => (
                    format!("an input of type {}", kind.word()),
                    kind == InputType::String,
                ),
                _ => return,
            },
            _ => return,
        };
        if is_text == compared.with_text {
            return;
        }
        let Compared { value, .. } = compared;
        let help = match (is_text, value.as_str()) {
            (true, "true" | "false") => format!("compare with the text: `{name} == \"{value}\"`"),
            (true, _) => format!(
                "make it a number by `{name}|int` or `{name}|float`, or compare with \"{value}\""
            ),
            (false, _) => "compare with a value of its type, without quotes".into(),
        };
        self.problems.push(
            Diagnostic::warning(format!("`{name}` is {what}, and never equal to {value}"))
                .at(self.place(span), "")
                .help(help),
        );
    }

    /// Called like a function: what other languages call a function is a filter here.
    fn unknown_function(&mut self, name: &str, filters: &[&str], span: Span) {
        let filter = match name {
            "len" => Some("length"),
            name => nearest(name, filters.iter().copied()),
        };
        let help = match filter {
            Some(filter) => format!("`{filter}` is a filter: write `value|{filter}`"),
            None => format!("the functions are {}", FUNCTIONS.join(", ")),
        };
        self.problems.push(
            Diagnostic::error(format!("there is no function `{name}`"))
                .at(self.place(span), "")
                .help(help),
        );
    }

    fn unknown(&mut self, what: &str, name: &str, known: &[&str], span: Span) {
        self.problems.push(
            Diagnostic::error(format!("there is no {what} `{name}`"))
                .at(self.place(span), "")
                .help(did_you_mean(name, known.iter().copied())),
        );
    }

    fn name(&mut self, used: &NameUse, place: &impl Fn(Range<usize>) -> Span) {
        if !self.used.contains(&used.name) {
            self.used.insert(used.name.clone());
        }
        let Some(bound) = self.lookup(&used.name) else {
            if !used.guarded {
                self.unbound(place(used.name_range.clone()), &used.name);
            }
            return;
        };
        if let (Known::Fields(fields), Some(first)) = (bound.known, used.attributes.first())
            && !fields.contains(first)
        {
            let known: Vec<&str> = fields.iter().map(String::as_str).collect();
            let mut help = did_you_mean(first, known.iter().copied());
            if help.is_empty() {
                help = format!("it has {}", known.join(", "));
            }
            self.problems.push(
                Diagnostic::error(format!("`{}` has no `{first}`", used.name))
                    .at(self.place(place(used.range.clone())), "")
                    .help(help),
            );
        }
    }

    /// A name that is not in scope: unknown, or known elsewhere.
    pub(super) fn unbound(&mut self, span: Span, name: &str) {
        let binding = self.everywhere.get(name).and_then(|spans| spans.first());
        if self.unread.contains(name) {
            // The step that binds it has a problem of its own.
            return;
        }
        let problem = if let Some(&binding) = binding {
            let (message, label, help) = if self.own.contains(&binding) {
                (
                    format!("`{name}` is not bound yet"),
                    "bound by this step, once it has ended",
                    "here the fields of the step's result are names of their own, such as `metadata`",
                )
            } else if self.beside.contains(&binding) {
                (
                    format!("`{name}` is not in scope here"),
                    "bound by a step that runs beside this one",
                    "steps side by side do not see each other's names; later steps do",
                )
            } else if self.file.is_none() && binding.start > span.start {
                (
                    format!("`{name}` is used before it is bound"),
                    "bound only here",
                    "",
                )
            } else {
                (
                    format!("`{name}` is not in scope here"),
                    "bound in a scope that has ended",
                    "",
                )
            };
            let mut problem = Diagnostic::error(message)
                .at(self.place(span), "")
                .help(help);
            problem.labels.push(Label {
                place: self.plan.place(binding),
                text: label.into(),
            });
            problem
        } else {
            let mut help = self.suggestion(name);
            let source = self.file.as_ref().unwrap_or(&self.plan.source);
            let before = source.text()[..span.start].trim_end();
            if help.is_empty() && before.ends_with("${{") {
                help = "a template is `{{ … }}`, without `$`".into();
            } else if help.is_empty() && self.in_lines {
                help = BRACES.into();
            }
            Diagnostic::error(format!("`{name}` is undefined"))
                .at(self.place(span), "")
                .help(help)
        };
        self.problems.push(problem);
    }

    fn suggestion(&self, name: &str) -> String {
        let in_scope = self
            .layers
            .iter()
            .flat_map(|layer| layer.keys().map(String::as_str));
        let close = did_you_mean(name, in_scope);
        let fields = RESULT
            .iter()
            .chain(ACTIONS.iter().flat_map(|action| action.result));
        match name {
            _ if !close.is_empty() => close,
            "env" => "the environment is read through an input with `env:`".into(),
            "result" => {
                "the fields of the step's result are names of their own, such as `metadata`".into()
            }
            "item" | "index" => format!("`{name}` is there in a step with `for_each`, unless its `as` gives another name"),
            _ if fields.into_iter().any(|field| *field == name) => format!(
                "only `expect`, `capture` and `until` of a step know its `{name}`; give the step an `id`, say `web`, \
                 and write `web.{name}` in later steps"
            ),
            "null" | "nil" | "None" => "nothing is `none` here".into(),
            "yes" | "on" => "write `true`".into(),
            "no" | "off" => "write `false`".into(),
            _ if is_bound_in_include(self.plan, name) => {
                "what an included playbook binds stays in it; its `outputs` are the result of the step, by its `id`".into()
            }
            _ => String::new(),
        }
    }
}
