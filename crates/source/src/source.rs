//! Text of a file and places in it. Knows nothing of what the text means.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use malleus_core::secret::Masker;
use malleus_core::text_file;

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
    /// Of text that stands in the place of a longer or shorter one: where it ends, and the characters that it has less.
    replaced: Vec<(usize, isize)>,
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
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        Self::named(path.display().to_string(), folder, text.into(), Vec::new())
    }

    fn named(
        name: String,
        folder: PathBuf,
        text: String,
        replaced: Vec<(usize, isize)>,
    ) -> Arc<Self> {
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Arc::new(Self {
            name,
            text,
            folder,
            line_starts,
            replaced,
        })
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// Those of [`text_file::read_bytes`], and when it is not UTF-8: then with the place.
    pub fn read(path: &Path) -> std::io::Result<Arc<Self>> {
        let text = String::from_utf8(text_file::read_bytes(path)?).map_err(|error| {
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
        let column = self
            .text
            .get(start..end)
            .map_or(1, |t| t.chars().count() + 1);
        let replaced = self.replaced.iter();
        let less: isize = replaced
            .filter(|(at, _)| start < *at && *at <= end)
            .map(|(_, less)| less)
            .sum();
        LineColumn {
            line: line + 1,
            column: column.saturating_add_signed(less),
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

impl Place {
    /// The same place in the file as it is without secrets; its line and column stay. Masked as a whole: where lines are cut
    /// first, a secret that has lost its end is not recognised.
    #[must_use]
    pub fn masked(&self, masker: &Masker) -> Self {
        let text = masker.mask_mapped(self.source.text());
        let name = masker.mask(self.source.name());
        if text.is_unchanged() && name == self.source.name() {
            return self.clone();
        }
        let span = Span::new(text.offset(self.span.start), text.offset(self.span.end));
        let replaced = text.replaced(self.source.text());
        let folder = self.source.folder.clone();
        let source = Source::named(name, folder, text.into_text(), replaced);
        Self { source, span }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masked_places_keep_line_and_column() {
        let masker = Masker::default();
        masker.add(&"swordfish\nsecond line\n".into());
        let text = "b: swordfish\nsecond line\na: swordfish swordfish here\n";
        let source = Source::new(Path::new("p.yaml"), text);
        let at = text.find("here").unwrap();
        let place = Place::new(&source, Span::new(at, at + 4));
        let shown = place.masked(&masker);
        assert_eq!(shown.source.text(), "b: ***\n***\na: *** *** here\n");
        assert_eq!(shown.source.slice(shown.span), "here");
        assert_eq!(shown.to_string(), place.to_string());
    }
}
