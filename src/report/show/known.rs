//! What is known of a playbook's names before a run.

use indexmap::IndexMap;
use serde_json::Value;

use crate::playbook::plan::{Include, Input, Need, Plan, Visibility};
use crate::template::{Engine, Preview, Previewer};

/// What is known before a run.
#[derive(Debug)]
pub struct Known<'a> {
    /// Values of inputs. One that is not there is not known yet.
    pub inputs: &'a IndexMap<String, Value>,
    /// The project of requests, where the playbook names none.
    pub project: Option<&'a str>,
}

/// What is known of one input.
enum Knowledge {
    Value(Value),
    Nothing,
    /// It is made of a secret.
    Hidden,
}

/// The names that a run would begin with, as far as they do not come from the run or the server.
pub(super) fn of_run(plan: &Plan, known: &Known<'_>, engine: &Engine) -> Preview {
    preview(plan, engine, &|input| {
        let value = known.inputs.get(&input.name.text);
        value.cloned().map_or(Knowledge::Nothing, Knowledge::Value)
    })
}

/// The names that an included playbook would begin with.
pub(super) fn of_include(include: &Include, outside: Previewer<'_>, engine: &Engine) -> Preview {
    preview(&include.plan, engine, &|input| {
        let with = include
            .with
            .iter()
            .find(|with| with.name.text == input.name.text);
        match with {
            Some(with) if outside.hides(&with.value) => Knowledge::Hidden,
            Some(with) => outside
                .known(&with.value)
                .map_or(Knowledge::Nothing, Knowledge::Value),
            None if input.need == Need::Required || input.env.is_some() => Knowledge::Nothing,
            None => Knowledge::Value(input.default.clone().unwrap_or_default()),
        }
    })
}

fn preview(plan: &Plan, engine: &Engine, about: &dyn Fn(&Input) -> Knowledge) -> Preview {
    let mut preview = Preview::default();
    for input in &plan.inputs {
        let name = &input.name.text;
        match about(input) {
            _ if input.visibility == Visibility::Secret => preview.hide(name),
            Knowledge::Hidden => preview.hide(name),
            Knowledge::Value(value) => preview.bind(name, &value),
            Knowledge::Nothing => {}
        }
    }
    for var in &plan.vars {
        let previewer = preview.with(engine, &plan.source);
        if previewer.hides(&var.value) {
            preview.hide(&var.name.text);
        } else if let Some(value) = previewer.known(&var.value) {
            preview.bind(&var.name.text, &value);
        }
    }
    preview
}
