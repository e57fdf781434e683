//! `malleus check`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use malleus::client::Client;
use malleus::diagnostic::count;
use malleus::playbook::{Checked, check};
use malleus::report::Verbosity;
use malleus::report::problem::Problem;
use malleus::source::Source;
use malleus::template::Engine;
use malleus_core::text_file;
use serde_json::Value;

use super::args::{Check, CheckFormat, Common};
use super::console::Console;
use super::{Code, connect, named, variables};

pub(crate) fn main(common: &Common, args: &Check, console: &Console) -> Result<Code> {
    let engine = Engine::new();
    let mut failed = false;
    let mut findings = Vec::new();
    let client = match server(common, console) {
        Some(Ok(client)) => Some(client),
        Some(Err(code)) => return Ok(code),
        None => None,
    };
    for path in playbooks(&args.paths)? {
        let (source, mut checked) = load(&path, &engine)?;
        if let (Some(client), Some(plan)) = (&client, &checked.plan) {
            let missing = named::judge(plan, client).context("cannot look at the server")?;
            if !missing.is_empty() {
                checked.problems.extend(missing);
                checked.plan = None;
            }
        }
        failed |= checked.failed();
        match args.format {
            CheckFormat::Json => findings.extend(
                checked
                    .problems
                    .iter()
                    .map(|found| Problem::of(found).json()),
            ),
            CheckFormat::Human => report(&source, &checked, console),
        }
    }
    if args.format == CheckFormat::Json {
        Console::data(format!("{:#}\n", Value::Array(findings)).as_bytes())?;
    }
    Ok(if failed { Code::Invalid } else { Code::Fine })
}

/// The server whose things are looked at: one that the command line names. That of the environment is meant for runs.
fn server(common: &Common, console: &Console) -> Option<Result<Client, Code>> {
    let is_named = common.is_simulated() || common.remote != connect::variable("MALLEUS_REMOTE");
    (common.remote.is_some() && is_named).then(|| connect(common, None, console))
}

/// Reads and checks one playbook.
pub(crate) fn load(path: &Path, engine: &Engine) -> Result<(Arc<Source>, Checked)> {
    let source = Source::read(path).map_err(|error| unreadable(path, &error))?;
    let mut checked = check(&source, engine);
    if let Some(plan) = &checked.plan {
        checked.problems.extend(variables::judge(plan));
    }
    Ok((source, checked))
}

/// Why a file cannot be read, for people.
pub(crate) fn unreadable(path: &Path, error: &std::io::Error) -> anyhow::Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => anyhow!("there is no file {}", path.display()),
        std::io::ErrorKind::InvalidData => anyhow!("{} {error}", path.display()),
        _ => anyhow!("cannot read {}: {error}", path.display()),
    }
}

/// Draws what was found and says how it stands.
pub(crate) fn report(source: &Source, checked: &Checked, console: &Console) {
    console.problems(&checked.problems);
    let errors = checked
        .problems
        .iter()
        .filter(|problem| problem.is_error())
        .count();
    let warnings = checked.problems.len() - errors;
    let line = match (errors, warnings) {
        (0, 0) => format!("{}: ok", source.name()),
        (0, warnings) => format!("{}: ok, {}", source.name(), count(warnings, "warning")),
        (errors, 0) => format!("{}: {}", source.name(), count(errors, "error")),
        (errors, warnings) => format!(
            "{}: {}, {}",
            source.name(),
            count(errors, "error"),
            count(warnings, "warning")
        ),
    };
    if errors > 0 || console.human.says(Verbosity::Normal) {
        console.human.line(&line);
    }
}

/// The files themselves, and the playbooks in folders, in order.
pub(crate) fn playbooks(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            let before = found.len();
            in_folder(path, &mut found)
                .with_context(|| format!("cannot read {}", path.display()))?;
            if found.len() == before {
                bail!(
                    "there is no playbook in {}: no .yaml or .yml file with a `playbook:` key",
                    path.display()
                );
            }
        } else {
            found.push(path.clone());
        }
    }
    Ok(found)
}

fn in_folder(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)?
        // `a.yaml`, not `./a.yaml`: CI compares it with the paths of the repository.
        .map(|entry| entry.map(|entry| plain(entry.path())))
        .collect::<Result<_, _>>()?;
    entries.sort();
    for path in entries {
        let is_yaml = path
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml");
        if path.is_dir() && !path.is_symlink() {
            in_folder(&path, found)?;
        } else if is_yaml && is_playbook(&path) {
            found.push(path);
        }
    }
    Ok(())
}

fn plain(path: PathBuf) -> PathBuf {
    path.strip_prefix(".").map(Path::to_owned).unwrap_or(path)
}

fn is_playbook(path: &Path) -> bool {
    text_file::read_bytes(path).is_ok_and(|bytes| malleus::playbook::is_playbook(&bytes))
}
