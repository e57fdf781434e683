//! A bound on the length of one expression. The engine takes expressions apart by recursion: thousands of operators
//! in a row would overflow the stack, which ends the process.

use super::Error;

/// How many words and signs an expression may have: far more than anyone reads, and less than half of what a thread's
/// stack of two megabytes bears in the most wasteful case.
const MOST: usize = 1000;

/// Judges each expression and statement of a text.
pub(super) fn judge_text(text: &str) -> Result<(), Error> {
    let mut at = 0;
    while let Some(found) = text[at..].find('{') {
        let start = at + found + 1;
        let end = match text.as_bytes().get(start) {
            Some(b'{') => "}}",
            Some(b'%') => "%}",
            _ => {
                at = start;
                continue;
            }
        };
        let inner = &text[start + 1..];
        let inner = inner.find(end).map_or(inner, |length| &inner[..length]);
        judge(inner, start + 1)?;
        at = start + 1 + inner.len();
    }
    Ok(())
}

/// Judges an expression that begins at `offset` of its text.
pub(super) fn judge(expression: &str, offset: usize) -> Result<(), Error> {
    let mut count = 0;
    let mut in_word = false;
    let mut quote = None;
    for (at, c) in expression.char_indices() {
        let goes_on = c.is_alphanumeric() || c == '_';
        match quote {
            Some(open) => quote = quote.filter(|_| c != open),
            None if matches!(c, '"' | '\'') => {
                quote = Some(c);
                count += 1;
            }
            None if c.is_whitespace() || (goes_on && in_word) => {}
            None => count += 1,
        }
        in_word = goes_on && quote.is_none();
        if count > MOST {
            let message =
                "the expression is too long; work out parts of it by `set` in steps before";
            return Err(Error::at(message, offset..offset + at));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_may_hold_many_expressions_but_no_long_one() {
        assert_eq!(
            judge_text(&"text {{ a + 'long text' }} {% if b %}".repeat(1000)),
            Ok(())
        );
        assert_eq!(judge_text("{{ {% }} {{"), Ok(()));
        assert_eq!(judge(&format!("'{}'", "+ ".repeat(2000)), 0), Ok(()));
        for long in ["-", "not ", "a.", "1 if 1 else ", "() "] {
            assert!(judge(&long.repeat(1001), 0).is_err(), "{long}");
            assert!(
                judge_text(&format!("x {{{{ {} }}}}", long.repeat(1001))).is_err(),
                "{long}"
            );
        }
    }
}
