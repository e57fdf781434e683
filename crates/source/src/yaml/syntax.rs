//! Syntax errors in words of the playbook's author.

use std::sync::Arc;

use granit_parser::ScanError;

use crate::diagnostic::Diagnostic;
use crate::{LineColumn, Place, Source, Span};

/// What the parser's message contains, what is said instead, and what to do.
struct Wording {
    parser: &'static str,
    message: &'static str,
    help: &'static str,
}

const UNCLOSED: &str = "the bracket that begins here is not closed";

const WORDINGS: &[Wording] = &[
    Wording {
        parser: "recursion limit exceeded",
        message: "this is nested too deeply",
        help: "",
    },
    Wording {
        parser: "found unknown anchor",
        message: "no anchor of this name stands before this alias",
        help: "`&name` before a value names it, `*name` repeats it; text that begins with `*` must be quoted",
    },
    Wording {
        parser: "tabs disallowed",
        message: "tabs cannot indent YAML",
        help: "indent by spaces",
    },
    Wording {
        parser: "tab cannot be used as indentation",
        message: "tabs cannot indent YAML",
        help: "indent by spaces",
    },
    Wording {
        parser: "did not find expected '-' indicator",
        message: "the indentation fits neither the list nor what is in it",
        help: "the keys of one step begin in the same column",
    },
    Wording {
        parser: "did not find expected ',' or '}'",
        message: "`,` or `}` is missing here",
        help: "quote a value between braces that has brackets, braces or `, ` in it: `{ip: \"metadata.ipv4[0]\"}`",
    },
    Wording {
        parser: "expected ',' or ']'",
        message: "`,` or `]` is missing here",
        help: "quote an item that has brackets, braces or `, ` in it: `[\"metadata[0].name\"]`",
    },
    Wording {
        parser: "did not find expected key",
        message: "the indentation does not fit the mapping that this belongs to",
        help: "the keys of one mapping begin in the same column; text of several lines begins with `|`",
    },
    Wording {
        parser: "unclosed bracket",
        message: UNCLOSED,
        help: "",
    },
    Wording {
        parser: "simple key expected ':'",
        message: "a `:` is missing behind this key",
        help: "a key is followed by `: `; a text of several lines begins with `|` or is quoted",
    },
    Wording {
        parser: "mapping values are not allowed",
        message: "there cannot be a key with a value here",
        help: "quote text that has `: ` in it; the line before may lack the colon of its key, or the space behind it",
    },
    Wording {
        parser: "unknown escape character",
        message: "there is an unknown escape in this text",
        help: "in double quotes a backslash is written `\\\\`; in single quotes it stands for itself",
    },
    Wording {
        parser: "unclosed quote",
        message: "the quote that begins here is not closed",
        help: "",
    },
    Wording {
        parser: "invalid trailing content after",
        message: "there is more text behind the closing quote",
        help: "a quote inside a text in single quotes is written twice, inside one in double quotes `\\\"`; or write the text below `|`",
    },
    Wording {
        parser: "the handle wasn't declared",
        message: "tags such as this one are not supported",
        help: "leave the tag away; text that begins with `!` must be quoted",
    },
];

/// A problem of the parser as a diagnostic.
pub(super) fn error(source: &Arc<Source>, error: &ScanError) -> Diagnostic {
    let (message, help) = words(&error.info());
    let marker = error.marker();
    let start = source.offset(LineColumn {
        line: marker.line(),
        column: marker.col() + 1,
    });
    let (before, after) = source.text().split_at(start);
    let first = after.chars().next().filter(|c| !matches!(c, '\n' | '\r'));
    let place = Place::new(
        source,
        Span::new(start, start + first.map_or(0, char::len_utf8)),
    );
    if after.starts_with("{{") || (first == Some('{') && before.ends_with('{')) {
        return unquoted_template(place);
    }
    if message == UNCLOSED {
        let line = after.lines().next().unwrap_or_default();
        let help = if line.contains(" #") {
            "a comment begins at ` #`: quote the text that has it"
        } else {
            ""
        };
        return Diagnostic::error(message).at(place, "").help(help);
    }
    Diagnostic::error(message).at(place, "").help(help)
}

/// An unquoted template is YAML's flow mapping: the commonest slip, and the parser cannot know it.
pub(super) fn unquoted_template(place: Place) -> Diagnostic {
    Diagnostic::error("a template must be quoted")
        .at(place, "YAML reads this brace as the start of a mapping")
        .help("write \"{{ … }}\" with the quotes")
}

fn words(written: &str) -> (String, String) {
    if let Some(character) = written.strip_prefix("unexpected character: `") {
        let character = character.trim_end_matches('\'');
        return if character.starts_with("\\u") {
            (
                "YAML does not allow this control character".into(),
                "write it as an escape in double quotes".into(),
            )
        } else {
            (
                format!("an unquoted value cannot begin with `{character}`"),
                "quote it".into(),
            )
        };
    }
    WORDINGS
        .iter()
        .find(|wording| written.contains(wording.parser))
        .map_or_else(
            || (written.to_owned(), String::new()),
            |wording| (wording.message.to_owned(), wording.help.to_owned()),
        )
}
