//! Values for inputs from the command line.

use std::path::Path;

use anyhow::{Context, Result, bail};
use malleus::playbook::{Given, Plan};
use malleus::source::{Place, Source};
use malleus_source::yaml;

use super::Code;
use super::args::Inputs;
use super::check::unreadable;
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
    let texts = pairs("--var NAME=TEXT", &args.vars)?;
    let jsons = pairs("--var-json NAME=JSON", &args.vars_json)?;
    for (name, json) in jsons {
        if texts.iter().any(|(other, _)| *other == name) {
            bail!("`{name}` is given by --var and by --var-json; one of them is enough");
        }
        let value = serde_json::from_str(json)
            .with_context(|| format!("--var-json {name}: the value is not JSON"))?;
        all.push((name.to_owned(), Given::Typed(value)));
    }
    all.extend(
        texts
            .into_iter()
            .map(|(name, text)| (name.to_owned(), Given::Text(text.to_owned()))),
    );
    Ok(Ok(all))
}

/// Names and values. The values stay out of messages: they may be secret.
fn pairs<'a>(form: &str, given: &'a [String]) -> Result<Vec<(&'a str, &'a str)>> {
    given
        .iter()
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name, value)),
            _ => bail!("what is given as {form} has no `=` behind a name"),
        })
        .collect()
}

fn from_file(file: &Path, console: &Console) -> Result<Result<Vec<(String, Given)>, Code>> {
    let source = Source::read(file).map_err(|error| unreadable(file, &error))?;
    let node = match yaml::parse(&source) {
        Ok(node) => node,
        Err(problems) => {
            console.problems(&problems);
            return Ok(Err(Code::Invalid));
        }
    };
    let entries = match &node.kind {
        yaml::Kind::Map(entries) => entries.as_slice(),
        yaml::Kind::Null => &[],
        _ => bail!(
            "{} must be a mapping of input names to values, not {}",
            file.display(),
            node.describe()
        ),
    };
    Ok(Ok(entries
        .iter()
        .map(|(key, value)| {
            let place = Place::new(&source, key.span);
            (key.text.clone(), Given::Placed(value.to_value(), place))
        })
        .collect()))
}

/// Of what is given, what one of several playbooks declares. What none of them declares is left to the first, whose
/// resolution reports it.
pub(crate) fn for_plan(
    given: &[(String, Given)],
    plan: &Plan,
    all: &[Plan],
) -> Vec<(String, Given)> {
    let is_first = all.first().is_some_and(|first| std::ptr::eq(first, plan));
    let declares =
        |plan: &Plan, name: &str| plan.inputs.iter().any(|input| input.name.text == name);
    given
        .iter()
        .filter(|(name, _)| {
            declares(plan, name) || (is_first && !all.iter().any(|other| declares(other, name)))
        })
        .cloned()
        .collect()
}
