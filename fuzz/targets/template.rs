//! Templates: a value stays one segment of a path, and what a template works out from a secret is masked.
//!
//! An input is a template; behind the first byte 0 comes the text that the name `value` stands for in it.
#![no_main]

use std::path::Path;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use malleus_core::secret::Masker;
use malleus_language::template::{Engine, Scope, Template};
use malleus_source::yaml::{Kind, Node};
use malleus_source::{Source, Span};
use serde_json::json;

/// No part of it is a word that a template could come by in another way.
const SECRET: &str = "kestrel-plumage";

static ENGINE: LazyLock<Engine> = LazyLock::new(Engine::new);

fuzz_target!(|text: &str| {
    // What an input spells out itself is no secret any more.
    let lower = text.to_lowercase();
    if SECRET.split('-').any(|word| lower.contains(word)) {
        return;
    }
    let (template, value) = text.split_once('\0').unwrap_or((text, "web-1"));
    let masker = Masker::default();
    masker.add(&SECRET.into());
    let scope = Scope::hiding(&masker);
    scope.bind("value", &value.into());
    scope.bind("secret", &SECRET.into());
    scope.bind("list", &json!([1, "two", null, {"three": 3.5}]));
    scope.bind(
        "reply",
        &json!({"status": 200, "metadata": {"name": value, "config": {"token": SECRET}}}),
    );

    render(template, &scope, &masker);
    one_segment(value, &scope);
});

fn read(text: &str) -> Option<(Arc<Source>, Template)> {
    let source = Source::new(Path::new("input.yaml"), text);
    let node = Node {
        span: Span::new(0, text.len()),
        kind: Kind::Text(text.to_owned()),
    };
    let mut problems = Vec::new();
    let template = Template::read(&source, &node, &mut problems);
    for (span, problem) in &problems {
        assert!(
            text.get(span.start..span.end).is_some(),
            "{span:?} is not in the text"
        );
        assert!(!problem.message.is_empty(), "a problem without a message");
    }
    problems.is_empty().then_some((source, template))
}

fn render(text: &str, scope: &Scope, masker: &Masker) {
    let Some((source, template)) = read(text) else {
        return;
    };
    let renderer = ENGINE.with(&source, scope);
    match renderer.value(&template) {
        Ok(value) => {
            let shown = masker.mask_value(&value).to_string().to_lowercase();
            assert!(!shown.contains(SECRET), "the secret is shown: {shown}");
        }
        Err(fault) => {
            let span = fault.span;
            assert!(
                text.get(span.start..span.end).is_some(),
                "{span:?} is not in the text"
            );
        }
    }
    let _ = renderer.text(&template);
    let _ = renderer.path(&template);
}

/// A path with a value in it has as many segments as were written, and no query of the value's making.
fn one_segment(value: &str, scope: &Scope) {
    let Some((source, template)) = read("instances/{{ value }}/state?project={{ value }}") else {
        unreachable!("this template parses");
    };
    let rendered = ENGINE.with(&source, scope).path(&template);
    let Ok(path) = rendered else {
        assert!(
            ["", ".", ".."].contains(&value),
            "{value:?} cannot be a part of a path"
        );
        return;
    };
    let parts: Vec<&str> = path.split(['/', '?', '#', '&', '=']).collect();
    let ["instances", segment, "state", "project", query] = parts[..] else {
        panic!("{value:?} made {path}");
    };
    assert_eq!(segment, query, "{value:?} made {path}");
}
