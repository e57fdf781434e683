//! `malleus runs`: environments, and what runs have kept or left.

use std::time::SystemTime;

use anyhow::{Context, Result};
use malleus::diagnostic::{Diagnostic, count};
use malleus::resources::{Ending, Life, Listed, Noted};
use malleus_core::duration;
use serde_json::{Value, json};

use super::Code;
use super::args::{ListFormat, Runs};
use super::console::Console;
use super::playbooks::store;
use super::table::table;

pub(crate) fn main(args: &Runs, console: &Console) -> Result<Code> {
    let all = store()?.all()?;
    for listed in &all {
        let problem = match &listed.recorded {
            Ok(known) => known.damage().map(Diagnostic::warning),
            Err(error) => Some(Diagnostic::warning(error.to_string())),
        };
        if let Some(problem) = problem {
            console.problem(&problem);
        }
    }
    match args.format {
        ListFormat::Json => {
            let all: Value = all.iter().map(as_json).collect();
            Console::data(format!("{all:#}\n").as_bytes()).context("cannot write to stdout")?;
        }
        ListFormat::Human if all.is_empty() => console
            .human
            .line("no environments, and nothing is left of any run"),
        ListFormat::Human => {
            let rows: Vec<[String; 5]> = all.iter().map(row).collect();
            Console::data(table(HEADS, &rows).as_bytes()).context("cannot write to stdout")?;
        }
    }
    Ok(Code::Fine)
}

const HEADS: [&str; 5] = ["RUN", "PLAYBOOK", "AGE", "STATE", "RESOURCES"];

fn row(listed: &Listed) -> [String; 5] {
    let Ok(known) = &listed.recorded else {
        let dash = || "-".to_owned();
        return [
            listed.run.clone(),
            dash(),
            dash(),
            "unreadable".into(),
            dash(),
        ];
    };
    let header = &known.header;
    let name = match &header.environment {
        Some(environment) if *environment != header.playbook => {
            format!("{environment} ({})", header.playbook)
        }
        _ => header.playbook.clone(),
    };
    let began = humantime::parse_rfc3339(&header.started).ok();
    let age = began.and_then(|began| SystemTime::now().duration_since(began).ok());
    let open = known.open.values().filter(|noted| noted.state.is_open());
    [
        listed.run.clone(),
        name,
        age.map_or_else(|| "-".into(), duration::show),
        state(listed).to_owned(),
        count(open.count(), "resource"),
    ]
}

/// What became of a run.
fn state(listed: &Listed) -> &'static str {
    let known = listed.recorded.as_ref().ok();
    let is_environment = known.is_some_and(|known| known.header.environment.is_some());
    match (listed.life, known.and_then(|known| known.ending)) {
        (Life::Alive, _) => "running",
        (Life::Ended, Some(Ending::Passed)) if is_environment => "up",
        (Life::Ended, Some(Ending::Passed)) => "passed",
        (Life::Ended, Some(Ending::Kept)) => "kept",
        (Life::Ended, Some(Ending::Failed)) => "failed",
        (Life::Ended, Some(Ending::Interrupted)) => "interrupted",
        (Life::Ended, Some(Ending::Left)) => "left",
        (Life::Ended, None) => "killed",
    }
}

fn as_json(listed: &Listed) -> Value {
    match &listed.recorded {
        Err(error) => json!({"run": listed.run, "state": "unreadable", "error": error.to_string()}),
        Ok(known) => {
            let open = known.open.values().filter(|noted| noted.state.is_open());
            let resources: Vec<Value> = open
                .map(|Noted { resource, .. }| {
                    json!({
                        "resource": resource.to_string(),
                        "path": resource.path,
                        "project": resource.project,
                        "remote": resource.remote,
                    })
                })
                .collect();
            json!({
                "run": listed.run,
                "state": state(listed),
                "playbook": known.header.playbook,
                "environment": known.header.environment,
                "file": known.header.file,
                "started": known.header.started,
                "damaged_lines": known.damaged,
                "resources": resources,
            })
        }
    }
}
