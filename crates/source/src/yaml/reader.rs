//! Reads a document from the parser's events: values with positions, and every problem that can be told apart.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, StrInput, Tag};

use super::scalar::{self, Plain};
use super::{Key, Kind, Node, syntax};
use crate::diagnostic::Diagnostic;
use crate::{Place, Source, Span};

/// How deep values may be nested: deeper ones could use up a small stack.
const MAX_DEPTH: usize = 64;
/// How many values a document may have, those that aliases repeat included. A playbook of ten thousand steps has
/// half a million.
const MAX_VALUES: usize = 4_000_000;
/// How many bytes of text aliases may repeat.
const MAX_REPEATED: usize = 64 << 20;
/// After so many problems the rest of the file is not read: nobody reads them, and each costs time to show.
const MAX_PROBLEMS: usize = 100;
/// Mappings with more keys than this have their duplicates found by a table.
const LARGE: usize = 24;

/// Reading cannot go on; the reason is in [`Reader::problems`].
struct Stop;

type Step<T> = Result<T, Stop>;

/// Reads the one document of a file.
pub(super) fn read(source: &Arc<Source>) -> Result<Node, Vec<Diagnostic>> {
    let mut reader = Reader {
        source,
        events: Parser::new_from_str(source.text()),
        anchors: HashMap::new(),
        problems: Vec::new(),
        values: 0,
        repeated: 0,
        depth: 0,
    };
    let read = reader.document();
    match read {
        Ok(node) if reader.problems.is_empty() => Ok(node),
        _ => Err(reader.problems),
    }
}

struct Reader<'a> {
    source: &'a Arc<Source>,
    events: Parser<'a, StrInput<'a>>,
    /// What aliases stand for, by the parser's number of the anchor.
    anchors: HashMap<usize, Anchored>,
    problems: Vec<Diagnostic>,
    values: usize,
    repeated: usize,
    depth: usize,
}

/// A value with a name, and what its repetition costs.
struct Anchored {
    node: Node,
    cost: Cost,
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Step<Node> {
        self.next()?;
        if let (Event::StreamEnd, span) = self.next()? {
            let kind = Kind::Null;
            return Ok(Node { span, kind });
        }
        let (event, span) = self.next()?;
        let root = self.node(event, span)?;
        self.next()?;
        match self.next()? {
            (Event::StreamEnd, _) => Ok(root),
            (_, span) => self.stop(
                Diagnostic::error("a file holds one playbook; this starts a second document")
                    .at(self.place(first_character(self.source, span)), ""),
            ),
        }
    }

    fn next(&mut self) -> Step<(Event<'a>, Span)> {
        match self.events.next() {
            Some(Ok((event, span))) => {
                let range = span.byte_range().unwrap_or_default();
                Ok((event, Span::new(range.start, range.end)))
            }
            Some(Err(error)) => self.stop(syntax::error(self.source, &error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn place(&self, span: Span) -> Place {
        Place::new(self.source, span)
    }

    fn stop<T>(&mut self, problem: Diagnostic) -> Step<T> {
        self.problems.push(problem);
        Err(Stop)
    }

    /// Notes a problem with a value; reading goes on.
    fn problem(&mut self, problem: Diagnostic) -> Step<()> {
        self.problems.push(problem);
        if self.problems.len() < MAX_PROBLEMS {
            return Ok(());
        }
        let message = format!("there are {MAX_PROBLEMS} problems up to here; the rest is not read");
        self.stop(Diagnostic::error(message))
    }

    /// The value that begins with an event.
    fn node(&mut self, event: Event<'a>, span: Span) -> Step<Node> {
        self.count(1, span)?;
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let kind = self.scalar(text, style, tag.as_deref(), span)?;
                (Node { span, kind }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "seq", span)?;
                let items = self.inside(span, Self::items)?;
                let span = block_span(span, items.first().map(|item| item.span));
                let kind = Kind::List(items);
                (Node { span, kind }, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "map", span)?;
                let entries = self.inside(span, Self::entries)?;
                let span = block_span(span, entries.first().map(|(key, _)| key.span));
                let kind = Kind::Map(entries);
                (Node { span, kind }, anchor)
            }
            Event::Alias(anchor) => return self.alias(anchor, span),
            _ => {
                let kind = Kind::Null;
                return Ok(Node { span, kind });
            }
        };
        if anchor != 0 {
            let cost = Cost::of(&node);
            let node = node.clone();
            self.anchors.insert(anchor, Anchored { node, cost });
        }
        Ok(node)
    }

    fn count(&mut self, values: usize, span: Span) -> Step<()> {
        self.values += values;
        if self.values <= MAX_VALUES && self.repeated <= MAX_REPEATED {
            return Ok(());
        }
        let span = first_character(self.source, span);
        self.stop(
            Diagnostic::error("the file is too large once its aliases are expanded")
                .at(self.place(span), ""),
        )
    }

    fn inside<T>(&mut self, span: Span, read: impl FnOnce(&mut Self) -> Step<T>) -> Step<T> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.too_deep(span);
        }
        let content = read(self)?;
        self.depth -= 1;
        Ok(content)
    }

    fn too_deep<T>(&mut self, span: Span) -> Step<T> {
        let place = self.place(first_character(self.source, span));
        self.stop(Diagnostic::error("this is nested too deeply").at(place, ""))
    }

    fn items(&mut self) -> Step<Vec<Node>> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span)?),
            }
        }
    }

    fn entries(&mut self) -> Step<Vec<(Key, Node)>> {
        let mut entries = Vec::new();
        let mut merged = Vec::new();
        // Most mappings are small: looking through them is quicker than a table of their keys.
        let mut table: HashMap<String, Span> = HashMap::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let is_merge =
                matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let key = self.key(event, span)?;
            let (event, value_span) = self.next()?;
            let value = self.node(event, value_span)?;
            if is_merge {
                merged.push((span, value));
                continue;
            }
            let first = if entries.len() < LARGE {
                let same = entries
                    .iter()
                    .find(|(known, _): &&(Key, Node)| known.text == key.text);
                same.map(|(known, _)| known.span)
            } else {
                if table.is_empty() {
                    table.extend(entries.iter().map(|(key, _)| (key.text.clone(), key.span)));
                }
                table.get(&key.text).copied()
            };
            if let Some(first) = first {
                self.duplicate(&key, first)?;
                continue;
            }
            if !table.is_empty() {
                table.insert(key.text.clone(), key.span);
            }
            entries.push((key, value));
        }
        for (span, value) in merged {
            self.merge(&mut entries, span, value)?;
        }
        Ok(entries)
    }

    fn duplicate(&mut self, key: &Key, first: Span) -> Step<()> {
        let message = format!("`{}` is written twice in the same mapping", key.text);
        self.problem(
            Diagnostic::error(message)
                .at(self.place(key.span), "the second one")
                .at(self.place(first), "the first one"),
        )
    }

    /// A key. What is not text would silently become text in JSON.
    fn key(&mut self, event: Event<'a>, span: Span) -> Step<Key> {
        self.count(1, span)?;
        let node = match event {
            Event::Scalar(text, ScalarStyle::Plain, 0, None) if scalar::is_text(&text) => {
                let text = text.into_owned();
                return Ok(Key { text, span });
            }
            event => {
                let before = self.problems.len();
                let node = self.node(event, span)?;
                // What is no number at all is no key for the same reason: one message is enough.
                if self.problems.len() > before {
                    let text = self.source.slice(span).to_owned();
                    return Ok(Key { text, span });
                }
                node
            }
        };
        let place = self.place(first_character(self.source, span));
        let text = match node.kind {
            Kind::Text(text) => text,
            Kind::List(_) | Kind::Map(_) => {
                let (before, after) = self.source.text().split_at(span.start);
                if after.starts_with('{') && (before.ends_with('{') || after.starts_with("{{")) {
                    return self.stop(syntax::unquoted_template(place));
                }
                return self.stop(Diagnostic::error("a key must be text").at(place, ""));
            }
            Kind::Null if self.source.slice(span).is_empty() => {
                let message = "a key must be text; YAML reads this one as nothing";
                self.problem(
                    Diagnostic::error(message)
                        .at(place, "")
                        .help("quote it to make it text"),
                )?;
                String::new()
            }
            Kind::Null | Kind::Bool(_) | Kind::Number(_) => {
                let written = self.source.slice(span).trim();
                let message =
                    format!("a key must be text; YAML reads `{written}` as something else");
                self.problem(
                    Diagnostic::error(message)
                        .at(self.place(span), "")
                        .help(format!("quote it: \"{written}\"")),
                )?;
                written.to_owned()
            }
        };
        Ok(Key { text, span })
    }

    /// Adds what `<<` gives: the entries of a mapping, or of several, that are not there yet.
    fn merge(&mut self, entries: &mut Vec<(Key, Node)>, at: Span, value: Node) -> Step<()> {
        match value.kind {
            Kind::Map(more) => {
                for (key, value) in more {
                    if entries.iter().all(|(known, _)| known.text != key.text) {
                        entries.push((key, value));
                    }
                }
                Ok(())
            }
            Kind::List(items) if items.iter().all(|item| item.as_map().is_some()) => items
                .into_iter()
                .try_for_each(|item| self.merge(entries, at, item)),
            Kind::Null => Ok(()),
            _ => self.problem(
                Diagnostic::error("`<<` takes a mapping, or a list of mappings")
                    .at(self.place(at), "")
                    .help("name one by `&name` where it is written and take it over by `<<: *name`; as a key of its own it is \"<<\""),
            ),
        }
    }

    /// What an alias stands for.
    fn alias(&mut self, anchor: usize, span: Span) -> Step<Node> {
        let Some(Anchored { node, cost }) = self.anchors.get(&anchor) else {
            // The parser knows the name, so it is the value that is being read.
            let place = self.place(first_character(self.source, span));
            let message = "what an anchor names cannot contain an alias of itself";
            return self.stop(Diagnostic::error(message).at(place, ""));
        };
        let cost = *cost;
        // Counted before it is copied: copies of copies grow without bound.
        let is_affordable =
            self.values + cost.values <= MAX_VALUES && self.repeated + cost.bytes <= MAX_REPEATED;
        let node = is_affordable.then(|| node.clone());
        self.repeated += cost.bytes;
        self.count(cost.values, span)?;
        if self.depth + cost.height > MAX_DEPTH {
            return self.too_deep(span);
        }
        node.ok_or(Stop)
    }

    fn collection_tag(&mut self, tag: Option<&Tag>, wanted: &str, span: Span) -> Step<()> {
        match tag {
            Some(tag) if tag.core_suffix() != Some(wanted) => self.tag(span),
            _ => Ok(()),
        }
    }

    fn tag(&mut self, span: Span) -> Step<()> {
        // The tag stands before the value, on its line.
        let before = &self.source.text()[..span.start];
        let start = before.rfind('!').unwrap_or(span.start);
        let place = self.place(Span::new(start, start + 1));
        self.problem(
            Diagnostic::error("tags such as this one are not supported")
                .at(place, "")
                .help("leave the tag away; text that begins with `!` must be quoted"),
        )
    }

    fn scalar(
        &mut self,
        text: Cow<'a, str>,
        style: ScalarStyle,
        tag: Option<&Tag>,
        span: Span,
    ) -> Step<Kind> {
        let is_plain = style == ScalarStyle::Plain;
        let plain = match tag {
            None if is_plain => scalar::plain(&text),
            None => Plain::Text,
            Some(tag) => {
                let core = tag.core_suffix();
                // `! value` says that it is no plain scalar.
                let is_text =
                    core == Some("str") || (tag.handle().is_empty() && tag.suffix() == "!");
                let found = scalar::plain(&text);
                if is_text {
                    Plain::Text
                } else if core.is_some_and(|core| found.has_tag(core)) {
                    found
                } else {
                    self.tag(span)?;
                    Plain::Text
                }
            }
        };
        Ok(match plain {
            Plain::Null => Kind::Null,
            Plain::Bool(value) => Kind::Bool(value),
            Plain::Number(number) => Kind::Number(number),
            Plain::Text => Kind::Text(text.into_owned()),
            Plain::NotFinite => {
                let place = self.place(first_character(self.source, span));
                self.problem(Diagnostic::error("a number must be finite").at(place, ""))?;
                Kind::Null
            }
            Plain::TooLong => {
                self.problem(
                    Diagnostic::error("an integer beyond 64 bits would lose digits")
                        .at(self.place(span), "")
                        .help("quote it to send it as text"),
                )?;
                Kind::Null
            }
        })
    }
}

/// What a copy of a value costs.
#[derive(Clone, Copy)]
struct Cost {
    values: usize,
    bytes: usize,
    height: usize,
}

impl Cost {
    fn of(node: &Node) -> Self {
        let mut cost = Self {
            values: 1,
            bytes: 0,
            height: 0,
        };
        let mut add = |inner: &Node| {
            let more = Self::of(inner);
            cost.values += more.values;
            cost.bytes += more.bytes;
            cost.height = cost.height.max(more.height + 1);
        };
        match &node.kind {
            Kind::Text(text) => cost.bytes = text.len(),
            Kind::List(items) => items.iter().for_each(add),
            Kind::Map(entries) => {
                entries.iter().map(|(_, value)| value).for_each(&mut add);
                cost.values += entries.len();
                cost.bytes += entries.iter().map(|(key, _)| key.text.len()).sum::<usize>();
            }
            Kind::Null | Kind::Bool(_) | Kind::Number(_) => {}
        }
        cost
    }
}

/// A block mapping or list has no text of its own: show its first key or item instead.
fn block_span(own: Span, first: Option<Span>) -> Span {
    match first {
        Some(first) if own.start == own.end => Span::new(own.start.min(first.start), first.end),
        _ => own,
    }
}

/// Where something begins.
fn first_character(source: &Source, span: Span) -> Span {
    let first = source.text()[span.start..].chars().next();
    let width = first
        .filter(|c| !matches!(c, '\n' | '\r'))
        .map_or(0, char::len_utf8);
    Span::new(span.start, span.start + width)
}
