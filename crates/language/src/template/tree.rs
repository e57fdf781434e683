//! Templates as they stand in a playbook: parsed, with the positions they came from.

use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;

use super::engine::{self, Error, Shape};
use malleus_source::yaml::{self, Kind, Node};
use malleus_source::{Source, Span};

/// An expression, as in `when:` or between the braces of `"{{ … }}"`.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    code: String,
    /// The decoded scalar it stands in, and where in it.
    scalar: Arc<str>,
    offset: usize,
    span: Span,
}

impl Expr {
    /// Reads a scalar that is an expression as a whole.
    ///
    /// # Errors
    /// When it does not parse.
    pub fn new(text: &str, span: Span) -> Result<Self, Error> {
        engine::parse_expression(text)?;
        Ok(Self {
            code: text.to_owned(),
            scalar: text.into(),
            offset: 0,
            span,
        })
    }

    /// The expression's own text.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The place of a part of it; of all of it without a range.
    pub fn place(&self, source: &Source, range: Option<Range<usize>>) -> Span {
        let range = range.unwrap_or(0..self.code.len());
        yaml::within(
            source,
            self.span,
            &self.scalar,
            range.start + self.offset..range.end + self.offset,
        )
    }
}

/// Text with templates in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Text {
    code: Arc<str>,
    /// The decoded scalar it stands in, and where in it.
    scalar: Arc<str>,
    offset: usize,
    span: Span,
    /// The file beside the playbook that it is the content of.
    file: Option<Arc<Source>>,
}

impl Text {
    /// The content of a file that the playbook names at `span`.
    pub(super) fn of_file(file: &Arc<Source>, span: Span) -> Self {
        let code: Arc<str> = file.text().into();
        Self {
            scalar: Arc::clone(&code),
            code,
            offset: 0,
            span,
            file: Some(Arc::clone(file)),
        }
    }

    /// The file beside the playbook that it is the content of.
    pub fn file(&self) -> Option<&Arc<Source>> {
        self.file.as_ref()
    }

    /// The text as written, templates and all.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The scalar's place.
    pub fn span(&self) -> Span {
        self.span
    }

    /// The place of a part of it; of all of it without a range. Of what stands in a file of its own, the place where the
    /// playbook names the file.
    pub fn place(&self, source: &Source, range: Option<Range<usize>>) -> Span {
        let range = range.filter(|_| self.file.is_none());
        range.map_or(self.span, |range| {
            let range = range.start + self.offset..range.end + self.offset;
            yaml::within(source, self.span, &self.scalar, range)
        })
    }
}

/// A value with templates in it, ready to be rendered.
#[derive(Debug, Clone, PartialEq)]
pub enum Template {
    /// Nothing to render.
    Literal(Value, Span),
    /// A string that is exactly one `{{ … }}`: becomes the expression's value, type and all.
    Value(Expr),
    /// Text with something to render in it: becomes text.
    Text(Text),
    /// A list.
    List(Vec<Template>, Span),
    /// A mapping. Keys are rendered as text.
    Map(Vec<(Template, Template)>, Span),
    /// The content of a file: becomes text.
    File(Box<FileText>),
}

impl Template {
    /// Reads a value. Problems go to `problems`, each with its place; what does not parse is kept as text.
    pub fn read(source: &Source, node: &Node, problems: &mut Vec<(Span, Error)>) -> Self {
        match &node.kind {
            Kind::Text(text) => Self::scalar(source, text, node.span, problems),
            Kind::List(items) => Self::List(
                items
                    .iter()
                    .map(|item| Self::read(source, item, problems))
                    .collect(),
                node.span,
            ),
            Kind::Map(entries) => Self::Map(
                entries
                    .iter()
                    .map(|(key, value)| {
                        let name = Self::scalar(source, &key.text, key.span, problems);
                        (name, Self::read(source, value, problems))
                    })
                    .collect(),
                node.span,
            ),
            Kind::Null | Kind::Bool(_) | Kind::Number(_) => {
                Self::Literal(node.to_value(), node.span)
            }
        }
    }

    /// Reads the part of a scalar that begins at `offset`, as the path behind a method.
    pub fn read_part(
        source: &Source,
        (scalar, offset): (&str, usize),
        span: Span,
        problems: &mut Vec<(Span, Error)>,
    ) -> Self {
        let part = &scalar[offset..];
        match engine::shape(part) {
            Ok(Shape::Plain) => Self::Literal(Value::String(part.to_owned()), span),
            Ok(Shape::Single(range)) => Self::Value(Expr {
                code: part[range.clone()].to_owned(),
                scalar: scalar.into(),
                offset: offset + range.start,
                span,
            }),
            Ok(Shape::Mixed) => {
                let whole: Arc<str> = scalar.into();
                let code = if offset == 0 {
                    Arc::clone(&whole)
                } else {
                    part.into()
                };
                Self::Text(Text {
                    code,
                    scalar: whole,
                    offset,
                    span,
                    file: None,
                })
            }
            Err(error) => {
                let place = error.range.clone().map_or(span, |range| {
                    yaml::within(
                        source,
                        span,
                        scalar,
                        range.start + offset..range.end + offset,
                    )
                });
                problems.push((place, error));
                Self::Literal(Value::String(part.to_owned()), span)
            }
        }
    }

    fn scalar(source: &Source, text: &str, span: Span, problems: &mut Vec<(Span, Error)>) -> Self {
        Self::read_part(source, (text, 0), span, problems)
    }

    /// Where it is written.
    pub fn span(&self) -> Span {
        match self {
            Self::Literal(_, span) | Self::List(_, span) | Self::Map(_, span) => *span,
            Self::Value(expr) => expr.span,
            Self::Text(text) => text.span,
            Self::File(file) => file.span,
        }
    }

    /// The value, where nothing is to be rendered in it.
    pub fn literal(&self) -> Option<&Value> {
        match self {
            Self::Literal(value, _) => Some(value),
            _ => None,
        }
    }

    /// The text as written, for a title before anything is rendered.
    pub fn written(&self) -> String {
        match self {
            Self::Literal(Value::String(text), _) => text.clone(),
            Self::Literal(value, _) => value.to_string(),
            Self::Value(expr) => format!("{{{{{}}}}}", expr.code),
            Self::Text(text) => text.code.to_string(),
            Self::List(..) => "[…]".into(),
            Self::Map(..) => "{…}".into(),
            Self::File(file) => format!("{{file: {}}}", file.path.written()),
        }
    }
}

/// The content of a file beside the playbook, in the place of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct FileText {
    /// Its path, relative to the playbook.
    pub path: Template,
    /// Whether templates in it are rendered.
    pub rendering: Rendering,
    /// What stands in it, where it is known before the run and has templates.
    pub content: Option<Text>,
    /// Where the playbook names it.
    pub span: Span,
}

/// What becomes of templates in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rendering {
    /// They are text like any other.
    AsWritten,
    /// They are rendered.
    Templates,
}

impl FileText {
    /// The templates in a file's text.
    ///
    /// # Errors
    /// Where they do not parse; the range is that in the file.
    pub fn templates(file: &Arc<Source>, span: Span) -> Result<Text, Error> {
        engine::shape(file.text())?;
        Ok(Text::of_file(file, span))
    }
}
