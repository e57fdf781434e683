//! Values and texts as messages show them.

use std::time::{Duration, Instant};

use serde_json::Value;
use similar::TextDiff;

use crate::secret::{MASK, Masker};
use crate::template::{Expr, Renderer, Usage, describe};

/// Text longer than this is not shown inline but line by line.
pub(super) const INLINE: usize = 100;

/// Equal lines around a difference.
const CONTEXT: usize = 2;
/// Lines of a difference at the most.
const LONGEST_DIFF: usize = 60;
/// How long looking for the shortest difference may take; then a longer one will do.
const DIFF_PATIENCE: Duration = Duration::from_millis(500);
/// How many lines of a command's output a message shows.
const TAIL: usize = 10;

/// The values of the names in an expression, one a line.
pub(super) fn values_of(masker: &Masker, renderer: Renderer<'_>, expr: &Expr) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for used in Usage::of_expression(expr.code()).names {
        let code = &expr.code()[used.range];
        let line = match renderer.probe(code) {
            Some(value) if renderer.is_secret(code) => {
                format!("{code}: {}", hidden_value(&value))
            }
            Some(value) => format!("{code}: {}", shown(masker, &value)),
            None if renderer.is_unreadable(code) => continue,
            None => format!("{code} is undefined"),
        };
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

/// A value in a message: JSON, cut where it is long. Masked before it is cut: half a secret is not recognised.
pub(super) fn shown(masker: &Masker, value: &Value) -> String {
    let text = masker.mask(&value.to_string());
    if text.chars().count() <= INLINE {
        return text;
    }
    let start: String = text.chars().take(INLINE).collect();
    format!("{start}… ({})", describe(value))
}

/// What is shown of a text of which nothing may be shown.
pub(super) fn hidden(bytes: usize) -> String {
    format!("{MASK} {bytes} bytes")
}

/// The same for a value: a text as it is, all else as JSON.
pub(super) fn hidden_value(value: &Value) -> String {
    hidden(
        value
            .as_str()
            .map_or_else(|| value.to_string().len(), str::len),
    )
}

/// The last lines of a command's output, under a name.
pub(super) fn tail(masker: &Masker, name: &str, bytes: &[u8]) -> String {
    let text = masker.mask(&String::from_utf8_lossy(bytes));
    let lines: Vec<&str> = text.trim_end().lines().collect();
    match lines.as_slice() {
        [] => format!("{name}: (nothing)"),
        [one] => format!("{name}: {}", cut(one, 4 * INLINE)),
        many => {
            let skipped = many.len().saturating_sub(TAIL);
            let mut shown = format!("{name}:");
            if skipped > 0 {
                shown.push_str(&format!("\n… {skipped} lines before"));
            }
            for line in &many[skipped..] {
                shown.push('\n');
                shown.push_str(&cut(line, 2 * INLINE));
            }
            shown
        }
    }
}

/// The start of a line, and how much of it is not shown.
fn cut(line: &str, at_most: usize) -> String {
    match line.chars().count().saturating_sub(at_most) {
        0 => line.to_owned(),
        more => {
            let start: String = line.chars().take(at_most).collect();
            format!("{start}… ({more} characters more)")
        }
    }
}

/// How two texts differ, line by line: `-` was expected, `+` was printed, a few equal lines around.
pub(super) fn difference(masker: &Masker, expected: &str, actual: &str) -> String {
    let diff = TextDiff::configure()
        .deadline(Instant::now() + DIFF_PATIENCE)
        .diff_lines(expected, actual);
    let mut shown = String::from("- expected, + printed");
    let mut lines = 0;
    for group in diff.grouped_ops(CONTEXT) {
        let first = group.first().map_or(0, |op| op.old_range().start);
        shown.push_str(&format!("\n@@ line {} @@", first + 1));
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            lines += 1;
            if lines > LONGEST_DIFF {
                shown.push_str("\n… and more");
                return shown;
            }
            let text = change.value();
            let safe = masker.mask(text.trim_end_matches('\n'));
            let cut: String = safe.chars().take(2 * INLINE).collect();
            // What a terminal would swallow, such as a carriage return, is written out.
            let line: String = cut.chars().map(visible).collect();
            let end = if text.ends_with('\n') {
                ""
            } else {
                " (no line end)"
            };
            shown.push_str(&format!("\n{} {line}{end}", change.tag()));
        }
    }
    shown
}

fn visible(c: char) -> String {
    if c.is_control() {
        c.escape_debug().to_string()
    } else {
        c.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_show_the_lines_that_differ() {
        let note = difference(&Masker::default(), "a\nb\nc\n", "a\nB\r\nc\nd");
        assert_eq!(
            note,
            "- expected, + printed\n@@ line 1 @@\n  a\n- b\n+ B\\r\n  c\n+ d (no line end)"
        );
        let many = "x\n".repeat(500);
        assert!(difference(&Masker::default(), "", &many).ends_with("… and more"));
    }
}
