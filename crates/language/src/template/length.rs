//! Bounds on the length of what is parsed. The engine takes expressions and branches apart by recursion: thousands of
//! operators in a row would overflow the stack, which ends the process. Lengths are counted in the engine's own tokens,
//! so that its idea of texts, ends and `raw` blocks is the one that counts.

use minijinja::machinery::{Token, tokenize};
use minijinja::syntax::SyntaxConfig;

use super::Error;

/// How many tokens an expression or a statement may have: far more than anyone reads, and less than half of what a
/// thread's stack of two megabytes bears in the most wasteful case.
const MOST: usize = 1000;
/// How many `elif` a text may have; each is nested in the one before.
const MOST_BRANCHES: usize = 300;
/// How many tokens all statements of a text may have. A value that statements pass on may be nested once more by each.
const MOST_IN_STATEMENTS: usize = 5000;

/// Judges each expression and statement of a text.
pub(super) fn judge_text(text: &str, syntax: SyntaxConfig) -> Result<(), Error> {
    judge_tokens(text, false, syntax)
}

/// Judges an expression.
pub(super) fn judge(expression: &str, syntax: SyntaxConfig) -> Result<(), Error> {
    judge_tokens(expression, true, syntax)
}

fn judge_tokens(text: &str, is_expression: bool, syntax: SyntaxConfig) -> Result<(), Error> {
    let (mut start, mut count) = (0, 0);
    let (mut branches, mut in_statements) = (0, 0);
    let mut is_statement = false;
    // What the engine cannot take apart it refuses itself, with the reason.
    for (token, span) in tokenize(text, is_expression, syntax).map_while(Result::ok) {
        match token {
            Token::TemplateData(_) => continue,
            Token::VariableStart | Token::BlockStart => {
                (start, count) = (span.start_offset, 0);
                is_statement = matches!(token, Token::BlockStart);
            }
            Token::Ident("elif") if is_statement && count == 1 => branches += 1,
            _ => {}
        }
        count += 1;
        in_statements += usize::from(is_statement);
        let problem = if count > MOST {
            "the expression is too long; work out parts of it by `set` in steps before"
        } else if branches > MOST_BRANCHES {
            "there are too many `elif` in this text; look the value up in a mapping of `vars`"
        } else if in_statements > MOST_IN_STATEMENTS {
            "there are too many statements in this text; work out parts of it by `set` in steps before"
        } else {
            continue;
        };
        let range = start as usize..span.end_offset as usize;
        return Err(Error::at(problem, range));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::engine::syntax;

    fn judge_text(text: &str) -> Result<(), Error> {
        super::judge_text(text, syntax())
    }

    fn judge(expression: &str) -> Result<(), Error> {
        super::judge(expression, syntax())
    }

    #[test]
    fn long_texts_may_hold_many_expressions_but_no_long_one() {
        assert_eq!(
            judge_text(&"text {{ a + 'long text' }} {% if b %}".repeat(1000)),
            Ok(())
        );
        assert_eq!(judge_text("{{ {% }} {{"), Ok(()));
        assert_eq!(judge(&format!("'{}'", "+ ".repeat(2000))), Ok(()));
        for long in ["-", "not ", "a.", "1 if 1 else ", "() "] {
            assert!(judge(&long.repeat(1001)).is_err(), "{long}");
            assert!(
                judge_text(&format!("x {{{{ {} }}}}", long.repeat(1001))).is_err(),
                "{long}"
            );
        }
    }

    #[test]
    fn texts_and_raw_blocks_do_not_hide_what_follows() {
        let long = "~ 1 ".repeat(1001);
        for text in [
            format!("{{{{ \"}}}}\" {long} }}}}"),
            format!("{{{{ \"\\\"}}}}\" {long} }}}}"),
            format!("{{% raw %}}{{{{{{% endraw %}}{{{{ '}}}}' {long}}}}}"),
            format!("{{% set a = '%}}' {long} %}}"),
            format!("{{{{ '{{{{' }}}} {{{{ 1 {long}}}}}"),
        ] {
            assert!(judge_text(&text).is_err(), "{}", &text[..30]);
        }
        assert!(judge(&format!(r#""\"" {long}"#)).is_err());
    }

    #[test]
    fn branches_and_statements_are_counted_over_the_whole_text() {
        let chain = format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(200));
        assert_eq!(judge_text(&chain), Ok(()));
        assert!(judge_text(&chain.repeat(2)).is_err());
        assert!(judge_text(&"{% set x = x|batch(1) %}".repeat(2000)).is_err());
    }
}
