//! Text inside XML and HTML.

use super::safe::is_harmful;

/// Text between tags or in a quoted attribute. What XML 1.0 forbids, in any form, is shown by a picture of it; other
/// characters that a reader would not see as they are, are written out.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // A parser makes a line feed of it where it stands bare.
            '\r' => escaped.push_str("&#13;"),
            '\t' | '\n' => escaped.push(c),
            '\0'..='\x1f' => {
                escaped.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'));
            }
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c if is_harmful(c) => escaped.extend(c.escape_default()),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// Text in a quoted attribute whose line breaks count: XML makes spaces of bare ones.
pub(super) fn attribute(text: &str) -> String {
    escape(text).replace('\n', "&#10;").replace('\t', "&#9;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_out() {
        for (text, escaped) in [
            ("plain ✓ é", "plain ✓ é"),
            ("<a href=\"x\">&'", "&lt;a href=&quot;x&quot;&gt;&amp;&#39;"),
            ("]]>", "]]&gt;"),
            ("one\ntwo\tthree\r\n", "one\ntwo\tthree&#13;\n"),
            ("\x1b[31mred\x1b[0m\0", "␛[31mred␛[0m␀"),
            (
                "\u{fffe}\u{ffff}\u{85}\u{7f}\u{202e}",
                "\u{fffd}\u{fffd}\\u{85}\\u{7f}\\u{202e}",
            ),
            ("&amp;", "&amp;amp;"),
        ] {
            assert_eq!(escape(text), escaped, "{text:?}");
        }
        assert_eq!(attribute("a\nb\tc\"\r"), "a&#10;b&#9;c&quot;&#13;");
    }
}
