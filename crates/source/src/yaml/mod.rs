//! YAML text to values with positions. The only room that names the YAML crate; knows nothing of playbooks.
//!
//! YAML is read by the 1.2 core schema: `no`, `on` and `off` are text, `0o17` is 15. What silently means something
//! else than it says is refused with its position: duplicate keys, keys that are not text, non-finite numbers,
//! integers beyond 64 bits, unknown tags, more than one document.

mod position;
mod reader;
mod scalar;
mod syntax;

use std::sync::Arc;

use serde_json::{Map, Number, Value};

use crate::diagnostic::Diagnostic;
use crate::{Source, Span};

pub use position::within;

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
    reader::read(source)
}
