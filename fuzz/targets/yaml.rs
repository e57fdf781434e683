//! The YAML reader gives a value whose places are in the text, or problems that can be shown.
#![no_main]

use std::collections::HashSet;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use malleus_source::diagnostic::Style;
use malleus_source::yaml::{Kind, Node, parse};
use malleus_source::{Source, Span};

fuzz_target!(|text: &str| {
    let source = Source::new(Path::new("input.yaml"), text);
    match parse(&source) {
        Ok(node) => check(&source, &node),
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a reason");
            for problem in problems {
                assert!(!problem.message.is_empty(), "a problem without a message");
                problem.render(Style::Plain);
            }
        }
    }
});

fn check(source: &Source, node: &Node) {
    check_span(source, node.span);
    match &node.kind {
        Kind::List(items) => items.iter().for_each(|item| check(source, item)),
        Kind::Map(entries) => {
            let mut keys = HashSet::new();
            for (key, value) in entries {
                check_span(source, key.span);
                assert!(
                    keys.insert(&key.text),
                    "the key {:?} has two values",
                    key.text
                );
                check(source, value);
            }
        }
        Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) => {}
    }
}

fn check_span(source: &Source, span: Span) {
    let part = source.text().get(span.start..span.end);
    assert!(part.is_some(), "{span:?} is not a part of the text");
}
