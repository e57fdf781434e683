//! Reads what is plainly in order straight from the parser's events, in less than half the time. Everything else, and
//! so every problem, is left to the careful way through serde-saphyr, which stands on the same parser: nothing here
//! reports, decides about limits, or knows more types than it must. A test holds the two against each other.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Parser, ScalarStyle, StrInput};

use super::raw::Raw;
use super::{Key, Kind, Node, block_span, is_typed, loses_digits};
use crate::Span;

/// What is surely below the limits of the careful way, so that it need not be counted exactly: bytes of the file,
const LONGEST: usize = 32 << 20;
/// values and keys in it,
const MOST: usize = 3_000_000;
/// nesting,
const DEEPEST: usize = 48;
/// aliases and merges,
const ALIASES: usize = 99;
/// and what they and their anchors copy: values, and bytes of text.
const COPIED: usize = 250_000;

/// The document, if there is just one and nothing about it is unusual.
pub(super) fn read(text: &str) -> Option<Node> {
    if text.len() > LONGEST {
        return None;
    }
    let mut reader = Reader {
        events: Parser::new_from_str(text),
        anchors: HashMap::new(),
        values: 0,
        aliases: 0,
        copied: 0,
        depth: 0,
    };
    reader.marker(&Event::StreamStart)?;
    let (Event::DocumentStart(..), _) = reader.next()? else {
        return None;
    };
    let (event, span) = reader.next()?;
    let root = reader.node(event, span)?;
    reader.marker(&Event::DocumentEnd)?;
    reader.marker(&Event::StreamEnd)?;
    Some(root)
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    /// What aliases stand for, with its weight, by the parser's number of the anchor.
    anchors: HashMap<usize, (Node, Weight)>,
    values: usize,
    aliases: usize,
    copied: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<(Event<'a>, Span)> {
        let (event, span) = self.events.next()?.ok()?;
        let range = span.byte_range()?;
        Some((event, Span::new(range.start, range.end)))
    }

    fn marker(&mut self, wanted: &Event<'_>) -> Option<()> {
        (self.next()?.0 == *wanted).then_some(())
    }

    /// The value that begins with an event. Tags are left to the careful way.
    fn node(&mut self, event: Event<'a>, span: Span) -> Option<Node> {
        self.values += 1;
        if self.values > MOST {
            return None;
        }
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, None) => {
                let kind = scalar(text, style)?;
                (Node { span, kind }, anchor)
            }
            Event::SequenceStart(_, anchor, None) => {
                let items = self.inside(Self::items)?;
                let span = block_span(span, items.first().map(|item| item.span));
                let kind = Kind::List(items);
                (Node { span, kind }, anchor)
            }
            Event::MappingStart(_, anchor, None) => {
                let entries = self.inside(Self::entries)?;
                let span = block_span(span, entries.first().map(|(key, _)| key.span));
                let kind = Kind::Map(entries);
                (Node { span, kind }, anchor)
            }
            Event::Alias(anchor) => return self.copy(anchor),
            _ => return None,
        };
        if anchor != 0 {
            let weight = weigh(&node);
            self.pay(weight)?;
            self.anchors.insert(anchor, (node.clone(), weight));
        }
        Some(node)
    }

    fn inside<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return None;
        }
        let content = read(self)?;
        self.depth -= 1;
        Some(content)
    }

    fn items(&mut self) -> Option<Vec<Node>> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Some(items),
                (event, span) => items.push(self.node(event, span)?),
            }
        }
    }

    fn entries(&mut self) -> Option<Vec<(Key, Node)>> {
        let mut entries = Vec::new();
        let mut merged = Vec::new();
        loop {
            let (text, style, span) = match self.next()? {
                (Event::MappingEnd, _) => break,
                (Event::Scalar(text, style, 0, None), span) => (text, style, span),
                _ => return None,
            };
            let (event, value_span) = self.next()?;
            let value = self.node(event, value_span)?;
            self.values += 1;
            if style == ScalarStyle::Plain && text == "<<" {
                self.alias()?;
                merged.push(value);
                continue;
            }
            let is_quoted = matches!(style, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted);
            if !is_quoted && (is_typed(&text) || text == "NULL") {
                return None;
            }
            let text = text.into_owned();
            entries.push((Key { text, span }, value));
        }
        if has_twice(&entries) {
            return None;
        }
        merged
            .into_iter()
            .try_for_each(|value| merge(&mut entries, value))?;
        Some(entries)
    }

    fn alias(&mut self) -> Option<()> {
        self.aliases += 1;
        (self.aliases <= ALIASES).then_some(())
    }

    fn pay(&mut self, weight: Weight) -> Option<()> {
        self.copied += weight.size;
        (self.copied <= COPIED && self.depth + weight.height <= DEEPEST).then_some(())
    }

    /// What an alias stands for; nothing within the anchored value itself.
    fn copy(&mut self, anchor: usize) -> Option<Node> {
        self.alias()?;
        let weight = self.anchors.get(&anchor)?.1;
        self.pay(weight)?;
        Some(self.anchors.get(&anchor)?.0.clone())
    }
}

/// What YAML's core schema makes of a scalar without a tag.
fn scalar(text: Cow<'_, str>, style: ScalarStyle) -> Option<Kind> {
    if style != ScalarStyle::Plain {
        return Some(Kind::Text(text.into_owned()));
    }
    Some(match &*text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "True" | "TRUE" => Kind::Bool(true),
        "false" | "False" | "FALSE" => Kind::Bool(false),
        // Only a word that begins so can be a number.
        plain
            if plain.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
                && !plain.contains(char::is_whitespace) =>
        {
            return number(plain);
        }
        _ => Kind::Text(text.into_owned()),
    })
}

/// A common integer; for the many other forms of numbers the other crate is asked.
fn number(text: &str) -> Option<Kind> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if is_whole && digits.len() <= 18 && (digits == "0" || !digits.starts_with('0')) {
        let number: i64 = text.parse().ok()?;
        return Some(Kind::Number(number.into()));
    }
    match serde_yaml::from_str_with_options(text, super::options()).ok()? {
        Raw::Number(number) => (!loses_digits(&number, text)).then_some(Kind::Number(number)),
        // Alone, some texts would be more than a scalar.
        Raw::Text(same) if same == text => Some(Kind::Text(same)),
        _ => None,
    }
}

fn has_twice(entries: &[(Key, Node)]) -> bool {
    if entries.len() <= super::LARGE {
        return (1..entries.len()).any(|at| {
            let key = &entries[at].0.text;
            entries[..at].iter().any(|(known, _)| known.text == *key)
        });
    }
    let mut seen = HashSet::with_capacity(entries.len());
    !entries.iter().all(|(key, _)| seen.insert(&*key.text))
}

/// Adds what `<<` gives: the entries of a mapping, or of several, that are not there yet.
fn merge(entries: &mut Vec<(Key, Node)>, value: Node) -> Option<()> {
    match value.kind {
        Kind::Map(more) => {
            for (key, value) in more {
                // Different spellings of a number are one key to the careful way.
                if key.text.starts_with(|c: char| !c.is_alphabetic()) {
                    return None;
                }
                if entries.iter().all(|(known, _)| known.text != key.text) {
                    entries.push((key, value));
                }
            }
            Some(())
        }
        Kind::List(items) => items.into_iter().try_for_each(|item| match item.kind {
            Kind::Map(_) => merge(entries, item),
            _ => None,
        }),
        _ => None,
    }
}

/// What a copy of a value costs.
#[derive(Clone, Copy)]
struct Weight {
    size: usize,
    height: usize,
}

fn weigh(node: &Node) -> Weight {
    let mut size = 1;
    let mut height = 0;
    let add = |inner: &Node| {
        let weight = weigh(inner);
        size += weight.size;
        height = height.max(weight.height);
    };
    match &node.kind {
        Kind::Text(text) => size += text.len(),
        Kind::List(items) => {
            items.iter().for_each(add);
            height += 1;
        }
        Kind::Map(entries) => {
            entries.iter().map(|(_, value)| value).for_each(add);
            size += entries
                .iter()
                .map(|(key, _)| key.text.len() + 1)
                .sum::<usize>();
            height += 1;
        }
        Kind::Null | Kind::Bool(_) | Kind::Number(_) => {}
    }
    Weight { size, height }
}
