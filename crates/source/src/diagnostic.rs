//! What is shown when something is wrong: one shape and one renderer for syntax errors, findings of
//! the static check and failures at run time.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};

use malleus_core::secret::Masker;

use crate::Place;

/// How many bytes of a file an excerpt may be cut from. To draw a line of megabytes takes a long time, and nobody reads it.
const LONGEST_EXCERPT: usize = 20_000;
/// How many known names an unknown one is compared with; where there are more, none is suggested.
const MOST_COMPARED: usize = 500;

/// How bad a [`Diagnostic`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The playbook cannot run, or the step failed.
    Error,
    /// The playbook runs; the author should know.
    Warning,
}

/// One problem, with the places it concerns and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// One line, lower case, without a final stop.
    pub message: String,
    /// Where it is; the first label is the place the message is about.
    pub labels: Vec<Label>,
    /// Facts that help to understand it: the request, values of names, the chain of includes.
    pub notes: Vec<String>,
    /// What to do next, where that is known.
    pub help: Option<String>,
}

/// A place with the words that stand under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub place: Place,
    /// What is to be said about this place; may be empty.
    pub text: String,
}

impl Diagnostic {
    /// An error without a place.
    pub fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            labels: Vec::new(),
            notes: Vec::new(),
            help: None,
        }
    }

    /// A warning without a place.
    pub fn warning(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(message)
        }
    }

    /// Adds a place; the first one added is the one the message is about.
    #[must_use]
    pub fn at(mut self, place: Place, text: impl Into<String>) -> Self {
        self.labels.push(Label {
            place,
            text: text.into(),
        });
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Says what to do; empty advice is none.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        let help = help.into();
        if !help.is_empty() {
            self.help = Some(help);
        }
        self
    }

    /// The same without secrets, in its words and in the lines of the file that it shows.
    #[must_use]
    pub fn masked(&self, masker: &Masker) -> Self {
        self.rewritten(|text| masker.mask(text), |place| place.masked(masker))
    }

    /// The same with other words, and other lines of the file.
    #[must_use]
    pub fn rewritten(
        &self,
        text: impl Fn(&str) -> String,
        place: impl Fn(&Place) -> Place,
    ) -> Self {
        let labels = self.labels.iter().map(|label| Label {
            place: place(&label.place),
            text: text(&label.text),
        });
        Self {
            severity: self.severity,
            message: text(&self.message),
            labels: labels.collect(),
            notes: self.notes.iter().map(|note| text(note)).collect(),
            help: self.help.as_deref().map(&text),
        }
    }

    /// Whether this is an error, not a warning.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Draws it with the lines it is about. `Style::Colored` adds ANSI colours.
    pub fn render(&self, style: Style) -> String {
        let renderer = match style {
            Style::Plain => Renderer::plain(),
            Style::Colored => Renderer::styled(),
        };
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(self.message.as_str()));
        for file in self.by_file() {
            group = group.element(file);
        }
        for note in &self.notes {
            group = group.element(Level::NOTE.no_name().message(note.as_str()));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        renderer.decor_style(DecorStyle::Ascii).render(&[group])
    }

    /// One snippet per file, holding the labels in it and two lines around them; the place alone where that is too long.
    fn by_file(&self) -> Vec<Element<'_>> {
        let mut snippets = Vec::new();
        let mut done: Vec<&str> = Vec::new();
        for (at, label) in self.labels.iter().enumerate() {
            let source = &label.place.source;
            if done.contains(&source.name()) {
                continue;
            }
            done.push(source.name());
            let here: Vec<(usize, &Label)> = self
                .labels
                .iter()
                .enumerate()
                .skip(at)
                .filter(|(_, other)| other.place.source.name() == source.name())
                .collect();
            let whole = here.iter().fold(label.place.span, |all, (_, other)| {
                crate::Span::new(
                    all.start.min(other.place.span.start),
                    all.end.max(other.place.span.end),
                )
            });
            let (first_line, range) = source.window(whole, 2);
            if range.len() > LONGEST_EXCERPT {
                let at = source.position(label.place.span.start);
                let origin = Origin::path(source.name());
                snippets.push(origin.line(at.line).char_column(at.column).into());
                continue;
            }
            let snippet = Snippet::source(&source.text()[range.clone()])
                .path(source.name())
                .line_start(first_line)
                .annotations(here.into_iter().map(|(index, other)| {
                    let kind = if index == 0 {
                        AnnotationKind::Primary
                    } else {
                        AnnotationKind::Context
                    };
                    let start = other.place.span.start - range.start;
                    let end = (other.place.span.end - range.start).min(range.len());
                    let annotation = kind.span(start..end);
                    if other.text.is_empty() {
                        annotation
                    } else {
                        annotation.label(other.text.as_str())
                    }
                }));
            snippets.push(snippet.into());
        }
        snippets
    }
}

/// Whether to draw with colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Text alone.
    Plain,
    /// With ANSI colours.
    Colored,
}

/// `, did you mean …?` material: the known name closest to `word`, if one is close enough.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let known: Vec<&str> = known.into_iter().collect();
    let is_begin = |name: &&&str| word.chars().count() >= 3 && name.starts_with(word);
    if let Some(longer) = known.iter().find(is_begin) {
        return Some(longer);
    }
    if known.len() > MOST_COMPARED {
        return None;
    }
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(word, name), name))
        .filter(|(distance, name)| {
            // A third of the letters: `int` is not a slip for `list`.
            *distance <= (name.chars().count().max(word.chars().count()) + 1) / 3
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// ``did you mean `name`?`` or nothing.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map_or_else(String::new, |name| format!("did you mean `{name}`?"))
}

/// `1 step`, `2 steps`.
pub fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{Source, Span};

    #[test]
    fn a_line_that_is_too_long_to_draw_has_its_place() {
        let source = Source::new(
            Path::new("long.yaml"),
            "a\n".to_owned() + &"x".repeat(30_000),
        );
        let problem = Diagnostic::error("wrong").at(Place::new(&source, Span::new(4, 5)), "here");
        let drawn = problem.help("mend it").render(Style::Plain);
        assert_eq!(drawn, "error: wrong\n--> long.yaml:2:3\n = help: mend it");
    }
}
