//! From a place in decoded text to a place in the file.

use crate::source::{Source, Span};

/// The place in the file of a range of bytes in a scalar's decoded text.
///
/// Exact for what authors write: the n-th template of the decoded text is the n-th of the raw one, and what
/// stands between its braces is written alike in both, save for escapes.
pub fn within(source: &Source, scalar: Span, decoded: &str, range: std::ops::Range<usize>) -> Span {
    let raw = source.slice(scalar);
    let before = decoded.get(..range.start).unwrap_or("");
    let Some(opening) = before.rfind("{{").max(before.rfind("{%")) else {
        return whole_or_exact(raw, scalar, decoded, &range);
    };
    let ordinal = openings(&decoded[..opening]).count();
    match openings(raw).nth(ordinal) {
        Some(at) if openings(raw).count() == openings(decoded).count() => {
            let start = scalar.start + at + (range.start - opening);
            Span::new(start, (start + range.len()).min(scalar.end))
        }
        _ => scalar,
    }
}

/// Text without a template before the range: exact where raw and decoded text are the same.
fn whole_or_exact(raw: &str, scalar: Span, decoded: &str, range: &std::ops::Range<usize>) -> Span {
    match raw.find(decoded) {
        Some(at) if !decoded.is_empty() => {
            let start = scalar.start + at;
            Span::new(start + range.start, start + range.end)
        }
        _ => scalar,
    }
}

fn openings(text: &str) -> impl Iterator<Item = usize> + '_ {
    text.match_indices('{')
        .map(|(at, _)| at)
        .filter(|&at| matches!(text.as_bytes().get(at + 1), Some(b'{' | b'%')))
}
