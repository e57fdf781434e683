//! Values and texts as messages show them.

use serde_json::Value;

use crate::secret::Masker;
use crate::template::{Expr, Renderer, Usage, describe};

/// Text longer than this is not shown inline but line by line.
pub(super) const INLINE: usize = 100;

/// How many lines of a command's output a message shows.
const TAIL: usize = 10;

/// The values of the names in an expression, one a line.
pub(super) fn values_of(masker: &Masker, renderer: Renderer<'_>, expr: &Expr) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for used in Usage::of_expression(expr.code()).names {
        let code = &expr.code()[used.range];
        let line = match renderer.probe(code) {
            Some(value) => format!("{code}: {}", shown(masker, &value)),
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

/// The last lines of a command's output.
pub(super) fn tail(masker: &Masker, bytes: &[u8]) -> String {
    let text = masker.mask(&String::from_utf8_lossy(bytes));
    let lines: Vec<&str> = text.trim_end().lines().collect();
    match lines.as_slice() {
        [] => "(nothing)".into(),
        [one] => one.chars().take(4 * INLINE).collect(),
        many => {
            let skipped = many.len().saturating_sub(TAIL);
            let more = if skipped > 0 {
                format!("\n… {skipped} lines before")
            } else {
                String::new()
            };
            let shown: String = many[skipped..]
                .iter()
                .map(|line| format!("\n{}", line.chars().take(2 * INLINE).collect::<String>()))
                .collect();
            format!("{more}{shown}")
        }
    }
}

/// The first line in which two texts differ.
pub(super) fn first_difference(masker: &Masker, expected: &str, actual: &str) -> String {
    let mut expected_lines = expected.split_inclusive('\n');
    let mut actual_lines = actual.split_inclusive('\n');
    let mut number = 1;
    loop {
        match (expected_lines.next(), actual_lines.next()) {
            (Some(one), Some(other)) if one == other => number += 1,
            (one, other) => {
                let show = |line: Option<&str>| {
                    line.map_or_else(
                        || "the end".to_owned(),
                        |line| {
                            let masked = masker.mask(line);
                            let cut: String = masked.chars().take(2 * INLINE).collect();
                            format!("{cut:?}")
                        },
                    )
                };
                return format!(
                    "line {number} differs:\nexpected {}\nprinted  {}",
                    show(one),
                    show(other)
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_show_the_line_that_differs() {
        let note = first_difference(&Masker::default(), "a\nb\nc\n", "a\nB\nc\n");
        assert_eq!(
            note,
            "line 2 differs:\nexpected \"b\\n\"\nprinted  \"B\\n\""
        );
        assert!(first_difference(&Masker::default(), "a\n", "a\nb").contains("expected the end"));
    }
}
