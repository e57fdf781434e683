//! YAML text to values with positions. The only room that names the YAML crate; knows nothing of playbooks.
//!
//! YAML is read by the 1.2 core schema: `no`, `on` and `off` are text, `0o17` is 15. What silently means something
//! else than it says is refused with its position: duplicate keys, keys that are not text, non-finite numbers,
//! integers beyond 64 bits, unknown tags, more than one document.

mod position;
mod quick;
mod raw;
#[cfg(test)]
mod same;
mod syntax;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Number, Value};
use serde_yaml::{DuplicateKeyPolicy, Spanned};

use crate::diagnostic::Diagnostic;
use crate::{Place, Source, Span};

pub use position::within;
use raw::Raw;

/// A value with the place where it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it is written: the scalar's own text, the opening bracket, or the first key or item of a block.
    pub span: Span,
    /// What it is.
    pub kind: Kind,
}

/// What a [`Node`] is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `null`, `~`, or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in written order.
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The key.
    pub text: String,
    /// Where it is written.
    pub span: Span,
}

impl Node {
    /// The text, if it is text.
    pub fn as_text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items, if it is a list.
    pub fn as_list(&self) -> Option<&[Node]> {
        match &self.kind {
            Kind::List(items) => Some(items),
            _ => None,
        }
    }

    /// The entries, if it is a mapping.
    pub fn as_map(&self) -> Option<&[(Key, Node)]> {
        match &self.kind {
            Kind::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of a key, if it is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?
            .iter()
            .find_map(|(k, value)| (k.text == key).then_some(value))
    }

    /// What it is, for messages: `text`, `a list`, ….
    pub fn describe(&self) -> &'static str {
        match &self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "a boolean",
            Kind::Number(number) if number.is_f64() => "a number",
            Kind::Number(_) => "an integer",
            Kind::Text(_) => "text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }

    /// The same value without positions.
    pub fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(yes) => Value::Bool(*yes),
            Kind::Number(number) => Value::Number(number.clone()),
            Kind::Text(text) => Value::String(text.clone()),
            Kind::List(items) => items.iter().map(Node::to_value).collect(),
            Kind::Map(entries) => entries
                .iter()
                .map(|(key, value)| (key.text.clone(), value.to_value()))
                .collect::<Map<_, _>>()
                .into(),
        }
    }
}

/// Reads one document.
///
/// # Errors
/// All problems of the text that can be told apart: one for a syntax error, otherwise each duplicate key, each
/// key that is not text, and so on.
pub fn parse(source: &Arc<Source>) -> Result<Node, Vec<Diagnostic>> {
    quick::read(source.text()).map_or_else(|| carefully(source), Ok)
}

/// Reads any document, and finds all that is wrong with it.
fn carefully(source: &Arc<Source>) -> Result<Node, Vec<Diagnostic>> {
    let raw: Spanned<Raw> = serde_yaml::from_str_with_options(source.text(), options())
        .map_err(|error| vec![syntax::error(source, &error)])?;
    let mut builder = Builder {
        source,
        problems: Vec::new(),
    };
    let node = builder.node(raw);
    if builder.problems.is_empty() {
        Ok(node)
    } else {
        Err(builder.problems)
    }
}

fn options() -> serde_yaml::Options {
    serde_yaml::options! {
        // The defaults read `yes` as true, `0755` as a float and `1_000` as 1000.
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        with_snippet: false,
        // A playbook of ten thousand steps has half a million nodes. Deeper nesting could use up a small stack.
        budget: serde_yaml::budget! { max_depth: 64, max_nodes: 4_000_000, max_events: 12_000_000 },
        // Passed through so that every duplicate is reported, not only the first.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
    }
}

/// Mappings with more keys than this have their duplicates found by a table.
const LARGE: usize = 24;

struct Builder<'a> {
    source: &'a Arc<Source>,
    problems: Vec<Diagnostic>,
}

impl Builder<'_> {
    fn node(&mut self, raw: Spanned<Raw>) -> Node {
        let span = byte_span(&raw.defined);
        match raw.value {
            Raw::Null => Node {
                span,
                kind: Kind::Null,
            },
            Raw::Bool(value) => Node {
                span,
                kind: Kind::Bool(value),
            },
            Raw::Text(text) => Node {
                span,
                kind: Kind::Text(text),
            },
            Raw::Number(number) => {
                self.judge_number(&number, span);
                Node {
                    span,
                    kind: Kind::Number(number),
                }
            }
            Raw::List(items) => {
                let items: Vec<Node> = items.into_iter().map(|item| self.node(item)).collect();
                let span = block_span(span, items.first().map(|item| item.span));
                Node {
                    span,
                    kind: Kind::List(items),
                }
            }
            Raw::Map(entries) => {
                let entries = self.entries(entries);
                let span = block_span(span, entries.first().map(|(key, _)| key.span));
                Node {
                    span,
                    kind: Kind::Map(entries),
                }
            }
        }
    }

    fn entries(&mut self, raw: Vec<(Spanned<String>, Spanned<Raw>)>) -> Vec<(Key, Node)> {
        // Most mappings are small: looking through them is quicker than a table of their keys.
        let mut seen: HashMap<String, Span> = HashMap::new();
        let is_large = raw.len() > LARGE;
        let mut entries: Vec<(Key, Node)> = Vec::with_capacity(raw.len());
        for (key, value) in raw {
            let span = byte_span(&key.defined);
            self.judge_key(&key.value, span);
            let first = if is_large {
                seen.insert(key.value.clone(), span)
            } else {
                let same = entries.iter().find(|(known, _)| known.text == key.value);
                same.map(|(known, _)| known.span)
            };
            if let Some(first) = first {
                let message = format!("`{}` is written twice in the same mapping", key.value);
                self.problems.push(
                    Diagnostic::error(message)
                        .at(Place::new(self.source, span), "the second one")
                        .at(Place::new(self.source, first), "the first one"),
                );
                continue;
            }
            let node = self.node(value);
            let text = key.value;
            entries.push((Key { text, span }, node));
        }
        entries
    }

    /// An unquoted key that YAML reads as a number, a boolean or nothing would silently become text in JSON.
    fn judge_key(&mut self, text: &str, span: Span) {
        let written = self.source.slice(span);
        let is_plain = !written.starts_with(['"', '\'']);
        if is_plain && is_typed(text) {
            self.problems.push(
                Diagnostic::error(format!(
                    "a key must be text; YAML reads `{written}` as something else"
                ))
                .at(Place::new(self.source, span), "")
                .help(format!("quote it: \"{text}\"")),
            );
        }
    }

    fn judge_number(&mut self, number: &Number, span: Span) {
        if loses_digits(number, self.source.slice(span)) {
            self.problems.push(
                Diagnostic::error("an integer beyond 64 bits would lose digits")
                    .at(Place::new(self.source, span), "")
                    .help("quote it to send it as text"),
            );
        }
    }
}

/// Whether YAML reads an unquoted text as something else.
fn is_typed(text: &str) -> bool {
    let has_digit = text.contains(|c: char| c.is_ascii_digit());
    let unsigned = text.trim_start_matches(['+', '-']);
    text.is_empty()
        || (has_digit && text.parse::<f64>().is_ok())
        || matches!(
            unsigned,
            ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN"
        )
        || matches!(
            text,
            "true" | "false" | "null" | "~" | "True" | "False" | "Null"
        )
}

/// Whether a number is an integer as written but not as read.
fn loses_digits(number: &Number, written: &str) -> bool {
    let digits = written.trim_start_matches(['-', '+']);
    number.is_f64() && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

fn byte_span(location: &serde_yaml::Location) -> Span {
    let span = location.span();
    let start = usize::try_from(span.byte_offset().unwrap_or(0)).unwrap_or(0);
    let length = usize::try_from(span.byte_len().unwrap_or(0)).unwrap_or(0);
    Span::new(start, start + length)
}

/// A block mapping or list has no text of its own: show its first key or item instead.
fn block_span(own: Span, first: Option<Span>) -> Span {
    match first {
        Some(first) if own.start == own.end => Span::new(own.start.min(first.start), first.end),
        _ => own,
    }
}
