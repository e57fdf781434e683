//! Titles of steps.

use malleus_source::diagnostic::count;
use serde_json::Value;

use super::plan::{Action, Command, Step};
use crate::template::{Renderer, Template};

/// The title of a step: the author's, or one made of its action. What does not render stays as it is written.
pub fn title(step: &Step, renderer: Renderer<'_>) -> String {
    let text = |template: &Template| {
        renderer
            .text(template)
            .unwrap_or_else(|_| template.written())
    };
    if let Some(name) = &step.name {
        // A list or a mapping is written as JSON.
        return match renderer.value(name) {
            Ok(Value::String(text)) => text,
            Ok(value) => value.to_string(),
            Err(_) => name.written(),
        };
    }
    match &step.action {
        Action::Request(request) => {
            format!("{} {}", request.method, path(renderer, &request.path))
        }
        Action::Exec(exec) => {
            let line = match &exec.command {
                Command::Arguments(arguments) => {
                    arguments.iter().map(text).collect::<Vec<_>>().join(" ")
                }
                Command::List(list) => match renderer.value(list) {
                    Ok(Value::Array(words)) => {
                        let words = words.iter().map(plain);
                        words.collect::<Vec<_>>().join(" ")
                    }
                    _ => list.written(),
                },
                Command::Shell(file @ Template::File(_)) => file.written(),
                Command::Shell(line) => text(line).lines().next().unwrap_or_default().to_owned(),
            };
            format!("exec in {}: {line}", text(&exec.instance))
        }
        Action::Set(bindings) => {
            let names: Vec<&str> = bindings
                .iter()
                .map(|binding| binding.name.text.as_str())
                .collect();
            format!("set {}", names.join(", "))
        }
        Action::Check(conditions) => {
            let codes: Vec<&str> = conditions
                .iter()
                .map(|condition| condition.code().trim())
                .collect();
            format!("check {}", codes.join(", "))
        }
        Action::Push(push) => format!("push {} to {}", text(&push.path), text(&push.instance)),
        Action::Pull(pull) => format!("pull {} from {}", text(&pull.path), text(&pull.instance)),
        Action::WaitFor(wait) => format!("wait for {}", text(&wait.instance)),
        Action::Ensure(ensure) => format!("ensure {}", path(renderer, &ensure.path)),
        Action::Absent(absent) => format!("absent {}", path(renderer, &absent.path)),
        Action::Parallel(parallel) => {
            format!("{} side by side", count(parallel.steps.len(), "step"))
        }
        Action::Include(include) => format!("include {}", include.plan.name),
        Action::Steps(group) => format!("group of {}", count(group.steps.len(), "step")),
        Action::Join(name) => format!("join {}", name.text),
    }
}

fn path(renderer: Renderer<'_>, template: &Template) -> String {
    renderer
        .path(template)
        .unwrap_or_else(|_| template.written())
}

/// A value as a word of a command.
fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
