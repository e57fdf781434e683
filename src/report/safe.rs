//! Text of others, such as a command's output or a server's words, made safe to show.
//!
//! | reader | what could do harm | what is written instead |
//! | --- | --- | --- |
//! | a terminal | control characters, such as ESC and a carriage return | `\u{1b}`, `\r` |
//! | people | characters that change the direction of text | `\u{202e}` |
//! | a CI system's log | lines such as `::error::…`; `##[…]`, `##vso[…]` | `\::`, `#\#[` |

use std::borrow::Cow;

use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::events::{Event, Texts, rewritten, rewritten_diagnostic};
use crate::secret::Masker;
use crate::source::Place;

/// Makes texts fit for a terminal: without secrets, then without what a terminal obeys. What malleus adds afterwards, such as
/// colours, stays as it is.
pub(super) struct Safe<'a>(pub(super) &'a Masker);

impl Safe<'_> {
    pub(super) fn event(&self, event: Event) -> Event {
        rewritten(event, self)
    }

    pub(super) fn problem(&self, problem: &Diagnostic) -> Diagnostic {
        rewritten_diagnostic(problem, self)
    }

    /// A text that stands on one line.
    pub(super) fn line(&self, line: &str) -> String {
        one_line(&self.text(line)).into_owned()
    }
}

impl Texts for Safe<'_> {
    fn text(&self, text: &str) -> String {
        printable(&self.0.mask(text)).into_owned()
    }

    fn value(&self, value: &Value) -> Value {
        self.0.mask_value(value)
    }

    /// The renderer of excerpts writes out what stands in a file.
    fn place(&self, place: &Place) -> Place {
        self.0.place(place)
    }
}

/// Text with what a terminal or a reader would not see as it is written out. Line ends and tabs stay.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        // The end of a line as some programs write it.
        if c == '\r' && rest.peek() == Some(&'\n') {
            continue;
        }
        if is_harmful(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// Characters that are not to be seen and do something: controls, and those that turn the direction of text.
pub(super) fn is_harmful(c: char) -> bool {
    let turns_text = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns_text || (c.is_control() && c != '\n' && c != '\t')
}

/// Line ends written out, for a text that is a part of a line.
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    if text.contains('\n') {
        Cow::Owned(text.replace('\n', "\\n"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Lines that a CI system would take for commands (`::name …::…`), marked so that it does not. GitHub's runner looks behind
/// blanks; the older form of a command, `##[…]`, counts anywhere in a line.
pub(super) fn without_commands(text: &str) -> String {
    let lines = text.split_inclusive('\n').map(|line| {
        let line = without_hashes(line);
        let begin = start(&line);
        let command = line[begin..].strip_prefix("::");
        if command.is_some_and(|command| command.contains("::")) {
            format!("{}\\{}", &line[..begin], &line[begin..])
        } else {
            line
        }
    });
    lines.collect()
}

/// `##[…]` and `##word[…]`, marked.
fn without_hashes(line: &str) -> String {
    let mut parts = line.split("##");
    let mut safe = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let word = part.trim_start_matches(|c: char| c.is_ascii_alphabetic());
        safe.push_str(if word.starts_with('[') { "#\\#" } else { "##" });
        safe.push_str(part);
    }
    safe
}

/// Where the words of a line begin, behind blanks and colours.
fn start(line: &str) -> usize {
    let mut rest = line;
    loop {
        let trimmed = rest.trim_start();
        let past_color = trimmed.strip_prefix("\x1b[").and_then(|code| {
            let end = code.find(|c: char| !c.is_ascii_digit() && c != ';')?;
            code[end..].strip_prefix('m')
        });
        match past_color {
            Some(next) => rest = next,
            None => return line.len() - trimmed.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        for (said, shown) in [
            ("plain\n\ttext", "plain\n\ttext"),
            ("a\r\nb\rc", "a\nb\\rc"),
            ("\x1b]0;title\x07", "\\u{1b}]0;title\\u{7}"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("a\u{202e}b", "a\\u{202e}b"),
            ("größe", "größe"),
        ] {
            assert_eq!(printable(said), shown);
        }
    }

    #[test]
    fn lines_are_no_commands() {
        for (said, shown) in [
            (
                "::error::x\n  ::stop-commands::y\n",
                "\\::error::x\n  \\::stop-commands::y\n",
            ),
            ("\x1b[1m ::add-mask::x", "\x1b[1m \\::add-mask::x"),
            ("a ##[error]b", "a #\\#[error]b"),
            ("##vso[task.complete]##[x", "#\\#vso[task.complete]#\\#[x"),
            ("## heading [1] ##", "## heading [1] ##"),
            ("  ::: tier.yaml:4:3", "  ::: tier.yaml:4:3"),
            ("::1", "::1"),
        ] {
            assert_eq!(without_commands(said), shown);
        }
    }
}
