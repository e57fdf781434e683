//! A problem as the reports have it: drawn, and taken apart.

use serde_json::{Value, json};

use crate::diagnostic::{Diagnostic, Label, Severity, Style};
use crate::secret::Masker;

/// A diagnostic as plain data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// One line.
    pub message: String,
    /// Where it is, the place that the message is about first.
    pub places: Vec<Spot>,
    /// Facts that help to understand it.
    pub notes: Vec<String>,
    /// What to do next.
    pub help: Option<String>,
    /// All of it, drawn with the lines it is about, without colours.
    pub excerpt: String,
    /// As it was told: secrets may become known after that.
    told: Diagnostic,
}

/// A place in a file. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// The file, as the user gave it.
    pub file: String,
    /// Line of the first character.
    pub line: usize,
    /// Its column.
    pub column: usize,
    /// Line behind the last character.
    pub end_line: usize,
    /// Its column.
    pub end_column: usize,
    /// What is to be said about this place; may be empty.
    pub text: String,
}

impl Spot {
    fn of(label: &Label) -> Self {
        let source = &label.place.source;
        let start = source.position(label.place.span.start);
        let end = source.position(label.place.span.end);
        Self {
            file: source.name().to_owned(),
            line: start.line,
            column: start.column,
            end_line: end.line,
            end_column: end.column,
            text: label.text.clone(),
        }
    }
}

impl Problem {
    /// Takes a diagnostic apart.
    pub fn of(diagnostic: &Diagnostic) -> Self {
        Self {
            severity: diagnostic.severity,
            message: diagnostic.message.clone(),
            places: diagnostic.labels.iter().map(Spot::of).collect(),
            notes: diagnostic.notes.clone(),
            help: diagnostic.help.clone(),
            excerpt: diagnostic.render(Style::Plain),
            told: diagnostic.clone(),
        }
    }

    /// Whether this is an error, not a warning.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The same without the secrets that are known by now.
    pub(super) fn masked(&self, masker: &Masker) -> Self {
        Self::of(&self.told.masked(masker))
    }

    /// As editors and CI read it.
    pub fn json(&self) -> Value {
        let places: Vec<Value> = self
            .places
            .iter()
            .map(|spot| {
                json!({
                    "file": spot.file,
                    "line": spot.line,
                    "column": spot.column,
                    "end_line": spot.end_line,
                    "end_column": spot.end_column,
                    "text": spot.text,
                })
            })
            .collect();
        json!({
            "severity": match self.severity { Severity::Error => "error", Severity::Warning => "warning" },
            "message": self.message,
            "places": places,
            "notes": self.notes,
            "help": self.help,
        })
    }
}
