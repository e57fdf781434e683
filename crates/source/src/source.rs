//! Text of a file and places in it. Knows nothing of what the text means.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A range of bytes in a [`Source`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset behind the last byte; equal to `start` for a mere point.
    pub end: usize,
}

impl Span {
    /// The range `start..end`; an end before the start makes a point at `start`.
    pub fn new(start: usize, end: usize) -> Self {
        Self {
            start,
            end: end.max(start),
        }
    }
}

/// A position as people count it: both numbers start at 1, the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineColumn {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for LineColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// The text of one file with the name under which messages show it.
#[derive(PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
    folder: PathBuf,
    line_starts: Vec<usize>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text may hold a secret's default; a debug line needs the name alone.
        f.debug_struct("Source")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Source {
    /// Text that came from `path`. Relative paths in it are meant from the folder of `path`.
    pub fn new(path: &Path, text: impl Into<String>) -> Arc<Self> {
        let text = text.into();
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Arc::new(Self {
            name: path.display().to_string(),
            text,
            folder: path.parent().unwrap_or(Path::new("")).to_path_buf(),
            line_starts,
        })
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// When the file cannot be read or is not UTF-8.
    pub fn read(path: &Path) -> std::io::Result<Arc<Self>> {
        let text = String::from_utf8(std::fs::read(path)?).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let bytes = error.as_bytes();
            let before = Self::new(path, String::from_utf8_lossy(&bytes[..valid]));
            let byte = bytes.get(valid).copied().unwrap_or_default();
            let place = before.position(valid);
            std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                format!(
                    "is not UTF-8 text: byte 0x{byte:02x} in line {}, column {}",
                    place.line, place.column
                ),
            )
        })?;
        Ok(Self::new(path, text))
    }

    /// The name shown in messages: the path as the user gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The folder from which relative paths in this file are meant.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The bytes of `span`, or nothing where it does not fit the text.
    pub fn slice(&self, span: Span) -> &str {
        self.text.get(span.start..span.end).unwrap_or("")
    }

    /// Line and column of a byte offset.
    pub fn position(&self, offset: usize) -> LineColumn {
        let line = self.line_of(offset);
        let start = self.line_starts[line];
        let end = offset.min(self.text.len());
        LineColumn {
            line: line + 1,
            column: self
                .text
                .get(start..end)
                .map_or(1, |t| t.chars().count() + 1),
        }
    }

    /// The byte offset of a line and column, both from 1, the column in characters.
    pub fn offset(&self, at: LineColumn) -> usize {
        let line = at.line.clamp(1, self.line_starts.len()) - 1;
        let start = self.line_starts[line];
        self.text[start..]
            .char_indices()
            .nth(at.column.saturating_sub(1))
            .map_or(self.text.len(), |(within, _)| start + within)
    }

    /// The lines `around` lines before and after `span`: their text and the number of the first.
    pub fn window(&self, span: Span, around: usize) -> (usize, std::ops::Range<usize>) {
        let first = self.line_of(span.start).saturating_sub(around);
        let last = self.line_of(span.end) + around + 1;
        let end = self
            .line_starts
            .get(last)
            .copied()
            .unwrap_or(self.text.len());
        (first + 1, self.line_starts[first]..end)
    }

    fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|&start| start <= offset) - 1
    }
}

/// A span in a file: what an error points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub source: Arc<Source>,
    /// The bytes in it.
    pub span: Span,
}

impl Place {
    /// `span` in `source`.
    pub fn new(source: &Arc<Source>, span: Span) -> Self {
        Self {
            source: Arc::clone(source),
            span,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}",
            self.source.name(),
            self.source.position(self.span.start)
        )
    }
}
