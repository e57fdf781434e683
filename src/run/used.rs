//! Which names an action uses: their values help to understand its failure.

use crate::playbook::plan::{Action, Body, Command, Io};
use crate::template::{Template, Usage};

/// The expressions, such as `web.status`, that stand in an action's templates; each once.
pub(super) fn names(action: &Action) -> Vec<String> {
    let mut found = Vec::new();
    for template in templates(action) {
        collect(template, &mut found);
    }
    found
}

fn templates(action: &Action) -> Vec<&Template> {
    match action {
        Action::Request(request) => {
            let body = match &request.body {
                Body::None => None,
                Body::Json(template) | Body::Upload(template) => Some(template),
            };
            let pairs = request
                .query
                .iter()
                .chain(&request.headers)
                .map(|(_, value)| value);
            std::iter::once(&request.path)
                .chain(pairs)
                .chain(body)
                .collect()
        }
        Action::Exec(exec) => {
            let command = match &exec.command {
                Command::Arguments(arguments) => arguments.iter().collect(),
                Command::Shell(line) => vec![line],
            };
            let stdin = match &exec.io {
                Io::Streamed(stdin) => stdin.as_ref(),
                Io::Recorded => None,
            };
            let environment = exec.environment.iter().map(|(_, value)| value);
            std::iter::once(&exec.instance)
                .chain(command)
                .chain(environment)
                .chain(stdin)
                .collect()
        }
        Action::Set(bindings) => bindings.iter().map(|binding| &binding.value).collect(),
        Action::Check(_) | Action::Steps(_) | Action::Join(_) => Vec::new(),
    }
}

fn collect(template: &Template, found: &mut Vec<String>) {
    let mut add = |code: &str, usage: Usage| {
        for used in usage.names {
            let name = code[used.range].to_owned();
            if !found.contains(&name) {
                found.push(name);
            }
        }
    };
    match template {
        Template::Literal(..) => {}
        Template::Value(expr) => add(expr.code(), Usage::of_expression(expr.code())),
        Template::Text(text) => add(text.code(), Usage::of_text(text.code())),
        Template::List(items, _) => items.iter().for_each(|item| collect(item, found)),
        Template::Map(entries, _) => {
            for (key, value) in entries {
                collect(key, found);
                collect(value, found);
            }
        }
    }
}
