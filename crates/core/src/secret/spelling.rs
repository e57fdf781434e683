//! Other spellings of a text: a secret in an escaped or encoded text is found by reading the text as its reader would.

use std::ops::Range;

/// How a text may have been written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writing {
    /// Backslashes, as in JSON and in Rust's debug output.
    Escapes,
    /// `%2F`, as in URLs.
    Percent,
    /// The same with `+` for a blank, as in forms.
    Form,
    /// `'\''` for an apostrophe, as in shell words, and `''`, as in YAML.
    Shell,
    /// `&lt;`, as in markup.
    Markup,
}

const WRITINGS: [Writing; 5] = [
    Writing::Escapes,
    Writing::Percent,
    Writing::Form,
    Writing::Shell,
    Writing::Markup,
];

/// How often a text may have been escaped: JSON may be text inside of JSON, and that once more.
const DEEPEST: usize = 3;

/// A text as one of its readers sees it, and where each part stands in the text as it is.
pub(super) struct Reading {
    pub(super) bytes: Vec<u8>,
    /// One for each decoding, the last one last.
    decodings: Vec<Jumps>,
    last: Option<Writing>,
}

/// Where the bytes of a decoded text come from: pairs of offsets, here and there, between which both advance alike.
struct Jumps(Vec<(usize, usize)>);

impl Jumps {
    fn origin(&self, at: usize) -> usize {
        let behind = self.0.partition_point(|(here, _)| *here <= at);
        self.0
            .get(behind.saturating_sub(1))
            .map_or(at, |(here, there)| there + (at - here))
    }
}

impl Reading {
    /// The place in the text as it is.
    pub(super) fn origin(&self, range: Range<usize>) -> Range<usize> {
        self.decodings.iter().rev().fold(range, |range, jumps| {
            jumps.origin(range.start)..jumps.origin(range.end)
        })
    }
}

/// All readings of a text but the plain one.
pub(super) fn readings(text: &str) -> Vec<Reading> {
    let plain = Reading {
        bytes: text.as_bytes().to_vec(),
        decodings: Vec::new(),
        last: None,
    };
    let mut all = Vec::new();
    let mut open = vec![plain];
    for depth in 0..DEEPEST {
        let mut next = Vec::new();
        for reading in &open {
            for writing in WRITINGS {
                // The third time it is JSON: more would cost much and find nothing.
                let is_far = depth == DEEPEST - 1
                    && (writing, reading.last) != (Writing::Escapes, Some(Writing::Escapes));
                if let Some(decoded) = (!is_far).then(|| decoded(reading, writing)).flatten() {
                    next.push(decoded);
                }
            }
        }
        all.append(&mut std::mem::replace(&mut open, next));
    }
    all.append(&mut open);
    all.remove(0);
    all
}

fn decoded(reading: &Reading, writing: Writing) -> Option<Reading> {
    let mut text = &reading.bytes[..];
    let mut bytes = Vec::with_capacity(text.len());
    let mut jumps = vec![(0, 0)];
    while let Some(&first) = text.first() {
        if let Some((length, decoded)) = unit(text, writing) {
            let at = reading.bytes.len() - text.len();
            jumps.push((bytes.len(), at));
            bytes.extend_from_slice(decoded.as_bytes());
            jumps.push((bytes.len(), at + length));
            text = &text[length..];
        } else {
            bytes.push(first);
            text = &text[1..];
        }
    }
    (jumps.len() > 1).then(|| Reading {
        bytes,
        decodings: reading
            .decodings
            .iter()
            .map(|jumps| Jumps(jumps.0.clone()))
            .chain([Jumps(jumps)])
            .collect(),
        last: Some(writing),
    })
}

/// What is decoded of one place.
enum Decoded {
    Byte([u8; 1]),
    Text([u8; 4], usize),
}

impl Decoded {
    fn byte(byte: u8) -> Self {
        Self::Byte([byte])
    }

    fn char(c: char) -> Self {
        let mut bytes = [0; 4];
        let length = c.encode_utf8(&mut bytes).len();
        Self::Text(bytes, length)
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Byte(byte) => byte,
            Self::Text(bytes, length) => &bytes[..*length],
        }
    }
}

/// What the beginning of a text means where it is not itself: its length, and what it stands for.
fn unit(text: &[u8], writing: Writing) -> Option<(usize, Decoded)> {
    match (writing, text[0]) {
        (Writing::Escapes, b'\\') => escape(text),
        (Writing::Form, b'+') => Some((1, Decoded::byte(b' '))),
        (Writing::Percent | Writing::Form, b'%') => {
            let byte = u8::try_from(hex(text.get(1..3)?)?).ok()?;
            Some((3, Decoded::byte(byte)))
        }
        (Writing::Shell, b'\'') => ["'\\''", "'\"'\"'", "''"]
            .iter()
            .find(|quoted| text.starts_with(quoted.as_bytes()))
            .map(|quoted| (quoted.len(), Decoded::byte(b'\''))),
        (Writing::Markup, b'&') => [
            ("&lt;", '<'),
            ("&gt;", '>'),
            ("&amp;", '&'),
            ("&quot;", '"'),
            ("&#34;", '"'),
            ("&#39;", '\''),
            ("&#x27;", '\''),
            ("&apos;", '\''),
        ]
        .iter()
        .find(|(entity, _)| text.starts_with(entity.as_bytes()))
        .map(|(entity, c)| (entity.len(), Decoded::char(*c))),
        _ => None,
    }
}

/// What a backslash and what follows stand for.
fn escape(text: &[u8]) -> Option<(usize, Decoded)> {
    let simple = |c| Some((2, Decoded::char(c)));
    match text.get(1)? {
        quoted @ (b'"' | b'\\' | b'/' | b'\'') => simple(char::from(*quoted)),
        b'n' => simple('\n'),
        b'r' => simple('\r'),
        b't' => simple('\t'),
        b'b' => simple('\u{8}'),
        b'f' => simple('\u{c}'),
        b'0' => simple('\0'),
        b'x' => {
            let code = hex(text.get(2..4)?)?;
            Some((4, Decoded::char(char::from_u32(code)?)))
        }
        b'u' if text.get(2) == Some(&b'{') => {
            let length = text.iter().take(12).position(|byte| *byte == b'}')?;
            let code = hex(&text[3..length])?;
            Some((length + 1, Decoded::char(char::from_u32(code)?)))
        }
        b'u' => {
            let code = hex(text.get(2..6)?)?;
            if let Some(c) = char::from_u32(code) {
                return Some((6, Decoded::char(c)));
            }
            // A pair of surrogates.
            let low = text
                .get(6..8)
                .filter(|begin| *begin == b"\\u")
                .and_then(|_| hex(text.get(8..12)?))?;
            let high = code.checked_sub(0xd800)?;
            let low = low.checked_sub(0xdc00)?;
            let c = char::from_u32(0x1_0000 + (high << 10) + low)?;
            Some((12, Decoded::char(c)))
        }
        _ => None,
    }
}

fn hex(digits: &[u8]) -> Option<u32> {
    let is_hex = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    let digits = std::str::from_utf8(digits).ok().filter(|_| is_hex)?;
    u32::from_str_radix(digits, 16).ok()
}

/// A text without its blanks and line ends, bare or as `\n`: base64 is wrapped where it is long.
pub(super) struct Joined {
    pub(super) bytes: Vec<u8>,
    jumps: Jumps,
}

impl Joined {
    pub(super) fn new(text: &str) -> Self {
        let all = text.as_bytes();
        let mut bytes = Vec::with_capacity(all.len());
        let mut jumps = vec![(0, 0)];
        let mut at = 0;
        while at < all.len() {
            let left_out = match &all[at..] {
                [b'\\', b'n' | b'r', ..] => 2,
                [first, ..] if first.is_ascii_whitespace() => 1,
                _ => 0,
            };
            if left_out == 0 {
                bytes.push(all[at]);
                at += 1;
            } else {
                at += left_out;
                jumps.push((bytes.len(), at));
            }
        }
        Self {
            bytes,
            jumps: Jumps(jumps),
        }
    }

    /// The place in the text as it is.
    pub(super) fn origin(&self, range: Range<usize>) -> Range<usize> {
        // What is left out behind the last byte does not belong to it.
        let last = range.end.saturating_sub(1).max(range.start);
        self.jumps.origin(range.start)..self.jumps.origin(last) + 1
    }
}
