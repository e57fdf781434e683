//! Which names an action uses: their values help to understand its failure.

use crate::playbook::plan::Action;
use crate::template::{Template, Usage};

/// The expressions, such as `web.status`, that stand in an action's templates; each once.
pub(super) fn names(action: &Action) -> Vec<String> {
    let mut found = Vec::new();
    for template in action.templates() {
        collect(template, &mut found);
    }
    found
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
        Template::File(file) => collect(&file.path, found),
    }
}
