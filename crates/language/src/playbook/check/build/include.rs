//! Included playbooks: read and checked with the one that includes them.

use super::files::instead_of;
use super::{Builder, entries};
use crate::playbook::document::has_template;
use crate::playbook::plan::{Include, Input, Need, Plan};
use malleus_source::diagnostic::{Diagnostic, Label, did_you_mean};
use malleus_source::yaml::Node;
use malleus_source::{Place, Source};

impl Builder<'_> {
    pub(super) fn include(&mut self, step: &Node, value: &Node) -> Option<Include> {
        let name = value.as_text()?;
        let with = self.bindings(step.get("with"));
        if has_template(name) {
            self.problem(
                value.span,
                "the name of an included playbook cannot be worked out at run time",
            )
            .help = Some("write the name itself; use `when` to choose between playbooks".into());
            return None;
        }
        let path = self.source.folder().join(name);
        let source = match Source::read(&path) {
            Ok(source) => source,
            Err(error) => {
                self.problem(
                    value.span,
                    format!("cannot read `{}`: {error}", path.display()),
                )
                .help = Some(instead_of(name, &path));
                return None;
            }
        };
        if let Some(chain) = self.files.cycle(&path) {
            self.problem(value.span, "this playbook includes itself")
                .notes
                .push(chain);
            return None;
        }
        let (plan, problems) = self.files.inside(&path).check(&source);
        let broken = problems.iter().any(Diagnostic::is_error);
        let here = Label {
            place: Place::new(self.source, value.span),
            text: "included here".into(),
        };
        self.problems
            .extend(problems.into_iter().map(|mut problem| {
                if problem.is_error() {
                    problem.labels.push(here.clone());
                }
                problem
            }));
        let plan = plan?;
        if !broken {
            self.fit(step, value, &plan);
        }
        self.includes += 1;
        Some(Include {
            span: value.span,
            number: self.includes,
            plan,
            with,
        })
    }

    /// Whether what is given fits what is declared.
    fn fit(&mut self, step: &Node, value: &Node, plan: &Plan) {
        let with = step.get("with");
        if with.is_some_and(|with| with.as_map().is_none()) {
            return;
        }
        let given = entries(with);
        let known = || plan.inputs.iter().map(|input| input.name.text.as_str());
        for (key, node) in given {
            let Some(input) = plan.inputs.iter().find(|input| input.name.text == key.text) else {
                let mut help = did_you_mean(&key.text, known());
                if help.is_empty() {
                    let names: Vec<String> = known().map(|name| format!("`{name}`")).collect();
                    help = match names.as_slice() {
                        [] => "it has no inputs at all".into(),
                        names => format!("its inputs are {}", names.join(", ")),
                    };
                }
                let message = format!("`{}` has no input `{}`", plan.name, key.text);
                self.problem(key.span, message).help = Some(help);
                continue;
            };
            let written = node.to_value();
            let is_fixed = super::template_in(node).is_none();
            if let Some(kind) = input.kind
                && is_fixed
                && !kind.admits(&written)
            {
                let message = format!(
                    "input `{}` is of type {}, not {}",
                    key.text,
                    kind.word(),
                    node.describe()
                );
                self.problem(node.span, message)
                    .labels
                    .push(declared_here(plan, input));
            }
        }
        for input in plan
            .inputs
            .iter()
            .filter(|input| input.need == Need::Required)
        {
            let name = &input.name.text;
            if input.env.is_none() && !given.iter().any(|(key, _)| key.text == *name) {
                let problem = self.problem(
                    value.span,
                    format!("`{}` needs its input `{name}`", plan.name),
                );
                problem.labels.push(declared_here(plan, input));
                problem.help = Some(format!("give it under `with`: `with: {{{name}: …}}`"));
            }
        }
    }
}

fn declared_here(plan: &Plan, input: &Input) -> Label {
    Label {
        place: plan.place(input.name.span),
        text: "declared here".into(),
    }
}
