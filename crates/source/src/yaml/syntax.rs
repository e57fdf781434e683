//! Syntax errors in words of the playbook's author.

use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::{LineColumn, Place, Source, Span};

/// What the parser's message begins with or contains, what is said instead, and what to do.
const WORDS: &[(&str, &str, &str)] = &[
    (
        "multiple YAML documents",
        "a file holds one playbook; this starts a second document",
        "",
    ),
    ("expected string scalar", "a key must be text", ""),
    (
        "cannot deserialize null into string",
        "a key must be text; YAML reads this one as nothing",
        "quote it to make it text",
    ),
    ("budget breached: Depth", "this is nested too deeply", ""),
    ("recursion limit exceeded", "this is nested too deeply", ""),
    (
        "budget breached",
        "the file is too large once its aliases are expanded",
        "",
    ),
    (
        "recursive references",
        "what an anchor names cannot contain an alias of itself",
        "",
    ),
    (
        "alias references unknown anchor",
        "no anchor of this name stands before this alias",
        "`&name` before a value names it, `*name` repeats it; text that begins with `*` must be quoted",
    ),
    (
        "tabs disallowed",
        "tabs cannot indent YAML",
        "indent by spaces",
    ),
    (
        "did not find expected '-' indicator",
        "the indentation fits neither the list nor what is in it",
        "the keys of one step begin in the same column",
    ),
    (
        "mapping values are not allowed",
        "there cannot be a key with a value here",
        "quote text that has `: ` in it; the line before may lack the colon of its key, or the space behind it",
    ),
    (
        "unknown escape character",
        "there is an unknown escape in this text",
        "in double quotes a backslash is written `\\\\`; in single quotes it stands for itself",
    ),
    (
        "unclosed quote",
        "the quote that begins here is not closed",
        "",
    ),
    ("non-finite float", "a number must be finite", ""),
    (
        "unsupported tag",
        "tags such as this one are not supported",
        "leave the tag away; text that begins with `!` must be quoted",
    ),
];

/// A problem of the parser as a diagnostic.
pub(super) fn error(source: &Arc<Source>, error: &serde_yaml::Error) -> Diagnostic {
    let full = error.to_string();
    let written = full.split(" at line ").next().unwrap_or(&full);
    let (message, help) = words(written);
    let Some(location) = error.location() else {
        return Diagnostic::error(message).help(help);
    };
    let start = source.offset(LineColumn {
        line: usize::try_from(location.line()).unwrap_or(1),
        column: usize::try_from(location.column()).unwrap_or(1),
    });
    let (before, after) = source.text().split_at(start);
    let first = after.chars().next().filter(|c| !matches!(c, '\n' | '\r'));
    let place = Place::new(
        source,
        Span::new(start, start + first.map_or(0, char::len_utf8)),
    );
    // An unquoted template is YAML's flow mapping: the commonest slip, and the parser cannot know it.
    if after.starts_with("{{") || (first == Some('{') && before.ends_with('{')) {
        return Diagnostic::error("a template must be quoted")
            .at(place, "YAML reads this brace as the start of a mapping")
            .help("write \"{{ … }}\" with the quotes");
    }
    if let Some((message, help)) = in_brackets(written, before, after) {
        return Diagnostic::error(message).at(place, "").help(help);
    }
    Diagnostic::error(message).at(place, "").help(help)
}

/// What an unquoted value between brackets cannot hold, and what to do. `metadata[0]` between braces is the commonest.
fn in_brackets(written: &str, before: &str, after: &str) -> Option<(String, String)> {
    let is_unfinished = written.contains("did not find expected ',' or");
    let line = before.rsplit('\n').next().unwrap_or_default();
    let open = line.matches(['{', '[']).count();
    let shut = line.matches(['}', ']']).count();
    let rest = after.lines().next().unwrap_or_default();
    let value = |rest: &str| {
        let start = line.rfind([',', '{', '[']).map_or(0, |at| at + 1);
        let entry = &line[start..];
        let value = entry.split_once(": ").map_or(entry, |(_, value)| value);
        format!("{}{rest}", value.trim_start())
    };
    if is_unfinished && open > shut && rest.starts_with(['[', '{']) {
        let end = rest.find([']', '}']).map_or(rest.len(), |at| at + 1);
        let end = rest[end..]
            .find([',', '}', ']'])
            .map_or(rest.len(), |at| end + at);
        return Some((
            "between brackets a value with brackets must be quoted".into(),
            format!(
                "write \"{}\"",
                value(&rest[..end]).trim_end().replace('"', "'")
            ),
        ));
    }
    if is_unfinished && open > shut && rest.starts_with(": ") {
        return Some((
            "between brackets a value with `: ` in it must be quoted".into(),
            "quote it, or write the mapping over several lines".into(),
        ));
    }
    let is_unclosed = written.contains("unclosed bracket");
    if is_unclosed && rest.starts_with(['[', '{']) && rest.contains(" #") {
        return Some((
            "this bracket is not closed: ` #` begins a comment".into(),
            "quote the value with the ` #` in it".into(),
        ));
    }
    None
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
    WORDS
        .iter()
        .find(|(part, ..)| written.contains(part))
        .map_or_else(
            || (written.to_owned(), String::new()),
            |(_, message, help)| ((*message).to_owned(), (*help).to_owned()),
        )
}
