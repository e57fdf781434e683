//! `malleus show`.

use anyhow::Result;
use indexmap::IndexMap;
use malleus::playbook::input::resolve;
use malleus::playbook::plan::{Input, Need, Plan, Visibility};
use malleus::report::{Verbosity, show};
use malleus::template::Engine;
use serde_json::Value;

use super::args::{Common, Show};
use super::console::Console;
use super::{Code, check, inputs};

pub(crate) fn main(common: &Common, args: &Show, console: &Console) -> Result<Code> {
    let engine = Engine::new();
    let given = match inputs::given(&args.inputs, console)? {
        Ok(given) => given,
        Err(code) => return Ok(code),
    };
    let (source, checked) = check::load(&args.file, &engine)?;
    if checked.failed() || (!checked.problems.is_empty() && console.human.says(Verbosity::Normal)) {
        check::report(&source, &checked, console);
    }
    let Some(plan) = checked.plan else {
        return Ok(Code::Invalid);
    };
    let environment = |name: &str| std::env::var(name).ok();
    let known = match resolve(&nothing_required(&plan), &given, &environment) {
        Ok(values) => known(&plan, values),
        Err(problems) => {
            console.problems(&problems);
            return Ok(Code::Invalid);
        }
    };
    for input in plan.inputs.iter().filter(|input| is_secret(input)) {
        if let Some(value) = known.get(&input.name.text) {
            console.masker.add(value);
        }
    }
    let detail = if args.requests {
        show::Detail::Requests
    } else {
        show::Detail::Steps
    };
    let known = show::Known {
        inputs: &known,
        project: common.project.as_deref(),
    };
    let text = show::text(&plan, &known, &engine, detail);
    Console::data(console.masker.mask(&text).as_bytes())?;
    Ok(Code::Fine)
}

fn is_secret(input: &Input) -> bool {
    input.visibility == Visibility::Secret
}

/// A plan to be looked at: nobody has to set anything.
fn nothing_required(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    for input in &mut plan.inputs {
        input.need = Need::Optional;
    }
    plan
}

/// The values without those that are still to be given.
fn known(plan: &Plan, mut values: IndexMap<String, Value>) -> IndexMap<String, Value> {
    for input in &plan.inputs {
        let name = &input.name.text;
        if input.need == Need::Required && values.get(name).is_some_and(Value::is_null) {
            values.shift_remove(name);
        }
    }
    values
}
