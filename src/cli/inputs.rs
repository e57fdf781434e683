//! Values for inputs from the command line.

use std::path::Path;

use anyhow::{Context, Result, bail};
use malleus::playbook::{Given, Plan};
use malleus::source::Source;
use malleus::yaml;

use super::Code;
use super::args::Inputs;
use super::console::Console;

/// What the caller gives, lowest precedence first: files in order, then `--var` and `--var-json`.
pub(crate) fn given(
    args: &Inputs,
    console: &Console,
) -> Result<Result<Vec<(String, Given)>, Code>> {
    let mut all = Vec::new();
    for file in &args.vars_files {
        match from_file(file, console)? {
            Ok(values) => all.extend(values),
            Err(code) => return Ok(Err(code)),
        }
    }
    for (name, _) in &args.vars_json {
        if args.vars.iter().any(|(other, _)| other == name) {
            bail!("`{name}` is given by --var and by --var-json; one of them is enough");
        }
    }
    all.extend(
        args.vars
            .iter()
            .map(|(name, text)| (name.clone(), Given::Text(text.clone()))),
    );
    all.extend(
        args.vars_json
            .iter()
            .map(|(name, value)| (name.clone(), Given::Typed(value.clone()))),
    );
    Ok(Ok(all))
}

fn from_file(file: &Path, console: &Console) -> Result<Result<Vec<(String, Given)>, Code>> {
    let source = Source::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let node = match yaml::parse(&source) {
        Ok(node) => node,
        Err(problems) => {
            console.problems(&problems);
            return Ok(Err(Code::Invalid));
        }
    };
    let Some(entries) = node.as_map() else {
        bail!(
            "{} must be a mapping of input names to values, not {}",
            file.display(),
            node.describe()
        );
    };
    Ok(Ok(entries
        .iter()
        .map(|(key, value)| (key.text.clone(), Given::Typed(value.to_value())))
        .collect()))
}

/// Of what is given, what one of several playbooks declares. What none of them declares is left to the last, whose
/// resolution reports it.
pub(crate) fn for_plan(
    given: &[(String, Given)],
    plan: &Plan,
    others: &[&Plan],
) -> Vec<(String, Given)> {
    let declares =
        |plan: &Plan, name: &str| plan.inputs.iter().any(|input| input.name.text == name);
    given
        .iter()
        .filter(|(name, _)| {
            declares(plan, name) || !others.iter().any(|other| declares(other, name))
        })
        .cloned()
        .collect()
}
