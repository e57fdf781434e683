//! From a place in decoded text to a place in the file.

use std::ops::Range;

use crate::{Source, Span};

/// The place in the file of a range of bytes in a scalar's decoded text: quotes, escapes, indentation and folded
/// lines are accounted for. The whole scalar where the two texts do not go together.
pub fn within(source: &Source, scalar: Span, decoded: &str, range: Range<usize>) -> Span {
    let raw = source.slice(scalar);
    let starts = Alignment::new(raw).starts(decoded);
    let place = |starts: Vec<usize>| {
        let first = *starts.get(range.start)?;
        let last = *starts.get(range.end.saturating_sub(1).max(range.start))?;
        let width = if range.is_empty() {
            0
        } else {
            raw.get(last..)?.chars().next().map_or(0, char::len_utf8)
        };
        Some(Span::new(scalar.start + first, scalar.start + last + width))
    };
    starts.and_then(place).unwrap_or(scalar)
}

/// Goes through a scalar as it is written.
struct Alignment<'a> {
    raw: &'a str,
    at: usize,
    /// `"` or `'`, where the scalar is quoted.
    quote: Option<char>,
}

impl<'a> Alignment<'a> {
    fn new(raw: &'a str) -> Self {
        let quote = raw.chars().next().filter(|c| matches!(c, '"' | '\''));
        Self {
            raw,
            at: quote.map_or(0, char::len_utf8),
            quote,
        }
    }

    /// Where each byte of the decoded text, and its end, begins in the raw one.
    fn starts(mut self, decoded: &str) -> Option<Vec<usize>> {
        let mut starts = Vec::with_capacity(decoded.len() + 1);
        for wanted in decoded.chars() {
            let start = self.take(wanted)?;
            starts.resize(starts.len() + wanted.len_utf8(), start);
        }
        starts.push(self.at);
        Some(starts)
    }

    /// Passes one character of the decoded text, and says where it begins.
    fn take(&mut self, wanted: char) -> Option<usize> {
        loop {
            let start = self.at;
            let rest = &self.raw[start..];
            let next = rest.chars().next();
            match next {
                Some('\\') if self.quote == Some('"') => {
                    self.at += escape(rest);
                    // An escaped line end stands for nothing.
                    if !rest[1..].starts_with(['\n', '\r']) {
                        return Some(start);
                    }
                }
                Some('\'') if self.quote == Some('\'') && rest.starts_with("''") => {
                    self.at += 2;
                    return Some(start);
                }
                Some(c) if c == wanted => {
                    self.at += c.len_utf8();
                    return Some(start);
                }
                // Indentation, and line ends that were folded.
                Some(c) if c.is_whitespace() => self.at += c.len_utf8(),
                _ if wanted.is_whitespace() => return Some(start),
                _ => return None,
            }
        }
    }
}

/// Length of the escape at the beginning of a text in double quotes.
fn escape(rest: &str) -> usize {
    let code = rest[1..].chars().next();
    let digits = match code {
        Some('x') => 2,
        Some('u') => 4,
        Some('U') => 8,
        _ => 0,
    };
    let length = 1 + code.map_or(0, char::len_utf8) + digits;
    if rest.is_char_boundary(length) {
        length
    } else {
        rest.len()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::within;
    use crate::{Source, Span};

    #[test]
    fn places_are_exact_in_every_style() {
        for (raw, decoded) in [
            ("a {{ x }} b", "a {{ x }} b"),
            ("\"a \\\"b\\\" \\u00fc\\x41 {{ x }}\"", "a \"b\" üA {{ x }}"),
            ("'it''s {{ x }}'", "it's {{ x }}"),
            ("one\n    two\n    {{ x }}\n", "one\ntwo\n{{ x }}\n"),
            ("one\n    two\n\n    {{ x }}\n", "one two\n{{ x }}\n"),
            ("\"one \\\n   two\n   {{ x }}\"", "one two {{ x }}"),
            ("日本 {{ x }}", "日本 {{ x }}"),
        ] {
            let source = Source::new(Path::new("p"), format!("k: {raw}"));
            let scalar = Span::new(3, 3 + raw.len());
            let at = decoded.find('x').unwrap();
            let place = within(&source, scalar, decoded, at..at + 1);
            assert_eq!(place.start - 3, raw.rfind('x').unwrap(), "{raw}");
            assert_eq!(source.slice(place), "x", "{raw}");
        }
    }

    #[test]
    fn texts_that_do_not_go_together_give_the_scalar() {
        let source = Source::new(Path::new("p"), "k: abc");
        let scalar = Span::new(3, 6);
        assert_eq!(within(&source, scalar, "xyz", 1..2), scalar);
        assert_eq!(within(&source, scalar, "abc", 5..9), scalar);
    }
}
