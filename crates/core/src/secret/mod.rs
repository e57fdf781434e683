//! Values that must not be shown, and the one place that keeps them out of every output.

mod spelling;

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;

/// What stands in the place of a secret.
pub const MASK: &str = "***";

/// Shorter values are not masked: `1` or `no` would blacken every line and hide nothing.
pub const SHORTEST: usize = 4;

/// A line of output that is longer is learned only as a part of what is captured.
const LONGEST_LINE: usize = 4096;

/// The most of one output that is learned line by line: to look for more would take longer than the run.
const MOST_LINES: usize = 1 << 20;

/// Shorter base64 is not wrapped.
const SHORTEST_WRAPPED: usize = 16;

/// Knows the secrets of a run and replaces them in text: as they are, escaped as in JSON, in URLs, in shell words and in
/// markup, and in base64. Copies share what they know.
#[derive(Clone, Default)]
pub struct Masker(Arc<RwLock<Known>>);

#[derive(Default)]
struct Known {
    /// The secrets as they are.
    plain: BTreeSet<String>,
    /// Their base64.
    encoded: BTreeSet<String>,
    /// Looks for them; made anew where there are more.
    finders: Option<Arc<Finders>>,
}

struct Finders {
    all: AhoCorasick,
    /// Base64 that may be wrapped.
    wrapped: AhoCorasick,
}

impl Known {
    fn is_empty(&self) -> bool {
        self.plain.is_empty()
    }

    fn add(&mut self, secret: &str) {
        if secret.chars().count() < SHORTEST || self.plain.contains(secret) {
            return;
        }
        self.encoded.extend(in_base64(secret));
        self.plain.insert(secret.to_owned());
        self.finders = None;
    }

    fn find(&self) -> Option<Arc<Finders>> {
        let long = |form: &&String| form.len() >= SHORTEST_WRAPPED;
        // A DFA takes time that grows with the square of a secret's length where letters repeat.
        let mut builder = AhoCorasick::builder();
        builder.kind(Some(AhoCorasickKind::ContiguousNFA));
        let all = builder.build(self.plain.iter().chain(&self.encoded));
        let wrapped = builder.build(self.encoded.iter().filter(long));
        // They fail only where there is more text than a 32-bit number counts; secrets are no such text.
        Some(Arc::new(Finders {
            all: all.ok()?,
            wrapped: wrapped.ok()?,
        }))
    }
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Masker")
    }
}

impl Masker {
    /// Whether a value is text or a number that is too short to be masked. Nothing at all is no secret.
    pub fn is_too_short(value: &Value) -> bool {
        let length = match value {
            Value::String(text) => text.chars().count(),
            Value::Number(number) => number.to_string().len(),
            _ => 0,
        };
        (1..SHORTEST).contains(&length)
    }

    /// Adds every text and number inside a value.
    pub fn add(&self, value: &Value) {
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => self.add_text(&number.to_string()),
            Value::String(text) => self.add_text(text),
            Value::Array(items) => items.iter().for_each(|item| self.add(item)),
            Value::Object(map) => map.values().for_each(|item| self.add(item)),
        }
    }

    fn add_text(&self, text: &str) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // A secret read from a file ends with a newline that the place of its use may not have; a multi-line
        // secret, such as a key, may be shown line by line.
        known.add(text.trim());
        text.lines().for_each(|line| known.add(line.trim()));
    }

    /// Adds the lines of an output, as far as they are of a length that can be masked.
    pub fn add_output(&self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut left = MOST_LINES;
        for line in text.lines().map(str::trim) {
            if line.chars().count() > LONGEST_LINE {
                continue;
            }
            let Some(rest) = left.checked_sub(line.len()) else {
                return;
            };
            left = rest;
            known.add(line);
        }
    }

    /// A masker that knows the same by now, and shares nothing that either learns later.
    #[must_use]
    pub fn apart(&self) -> Self {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Self(Arc::new(RwLock::new(Known {
            plain: known.plain.clone(),
            encoded: known.encoded.clone(),
            finders: known.finders.clone(),
        })))
    }

    /// Whether no secret is known.
    pub fn is_empty(&self) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.is_empty()
    }

    /// Whether a secret is in a value.
    pub fn hides(&self, value: &Value) -> bool {
        match value {
            _ if self.is_empty() => false,
            Value::Null | Value::Bool(_) => false,
            Value::Number(number) => self.has(&number.to_string()),
            Value::String(text) => self.has(text),
            Value::Array(items) => {
                items.iter().any(|item| self.hides(item)) || self.has(&value.to_string())
            }
            Value::Object(map) => map
                .iter()
                .any(|(key, item)| self.has(key) || self.hides(item)),
        }
    }

    fn has(&self, text: &str) -> bool {
        !self.ranges(text).is_empty()
    }

    /// `text` without the secrets.
    pub fn mask(&self, text: &str) -> String {
        self.mask_mapped(text).into_text()
    }

    /// `text` without the secrets, and where each part of the rest stands now. Line ends in a secret stay, so that all lines
    /// keep their numbers.
    pub fn mask_mapped(&self, text: &str) -> Masked {
        let mut masked = String::with_capacity(text.len());
        let mut secrets = Vec::new();
        let mut end = 0;
        for secret in self.ranges(text) {
            masked.push_str(&text[end..secret.start]);
            let start = masked.len();
            masked.push_str(MASK);
            for _ in text[secret.clone()].matches('\n') {
                masked.push('\n');
                masked.push_str(MASK);
            }
            end = secret.end;
            secrets.push((secret, start..masked.len()));
        }
        masked.push_str(&text[end..]);
        Masked {
            text: masked,
            secrets,
        }
    }

    fn finders(&self) -> Option<Arc<Finders>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if known.is_empty() || known.finders.is_some() {
            return known.finders.clone();
        }
        drop(known);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.finders.is_none() {
            known.finders = known.find();
        }
        known.finders.clone()
    }

    /// Where secrets stand, in order. Those that overlap are one: the rest of a secret whose beginning is masked with another
    /// one must not stay.
    fn ranges(&self, text: &str) -> Vec<Range<usize>> {
        let Some(finders) = self.finders() else {
            return Vec::new();
        };
        let within = |finder: &AhoCorasick, bytes: &[u8]| -> Vec<Range<usize>> {
            let found = finder.find_overlapping_iter(bytes);
            found.map(|found| found.range()).collect()
        };
        let mut found = within(&finders.all, text.as_bytes());
        for reading in spelling::readings(text) {
            let read = within(&finders.all, &reading.bytes);
            found.extend(read.into_iter().map(|range| reading.origin(range)));
        }
        if finders.wrapped.patterns_len() > 0 && text.len() >= SHORTEST_WRAPPED {
            let joined = spelling::Joined::new(text);
            let read = within(&finders.wrapped, &joined.bytes);
            found.extend(read.into_iter().map(|range| joined.origin(range)));
        }
        found.sort_by_key(|range| (range.start, range.end));
        let mut merged: Vec<Range<usize>> = Vec::with_capacity(found.len());
        for next in found {
            match merged.last_mut() {
                Some(last) if next.start < last.end => last.end = last.end.max(next.end),
                _ => merged.push(next),
            }
        }
        merged
    }

    /// `value` without the secrets, in its texts, numbers and keys.
    pub fn mask_value(&self, value: &Value) -> Value {
        match value {
            Value::Null | Value::Bool(_) => value.clone(),
            Value::Number(number) => {
                let number = number.to_string();
                let masked = self.mask(&number);
                if masked == number {
                    value.clone()
                } else {
                    masked.into()
                }
            }
            Value::String(text) => self.mask(text).into(),
            Value::Array(items) => {
                let masked: Value = items.iter().map(|item| self.mask_value(item)).collect();
                // A secret in pieces, such as a list of its letters.
                if masked == *value && self.has(&value.to_string()) {
                    MASK.into()
                } else {
                    masked
                }
            }
            Value::Object(map) => map
                .iter()
                .map(|(key, item)| (self.mask(key), self.mask_value(item)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }
}

/// Text without its secrets.
#[derive(Debug)]
pub struct Masked {
    text: String,
    /// Where they stood, and where their masks stand.
    secrets: Vec<(Range<usize>, Range<usize>)>,
}

impl Masked {
    /// The text.
    pub fn into_text(self) -> String {
        self.text
    }

    /// Whether there was no secret in it.
    pub fn is_unchanged(&self) -> bool {
        self.secrets.is_empty()
    }

    /// Where masks end, and how many characters shorter the last line of each is than that of its secret.
    pub fn replaced(&self, before: &str) -> Vec<(usize, isize)> {
        let last_line = |text: &str| {
            let line = text.rsplit('\n').next().unwrap_or_default();
            isize::try_from(line.chars().count()).unwrap_or_default()
        };
        let secrets = self.secrets.iter();
        secrets
            .map(|(secret, mask)| {
                let less = last_line(&before[secret.clone()]) - last_line(&self.text[mask.clone()]);
                (mask.end, less)
            })
            .collect()
    }

    /// Where a byte of the text before stands now; one inside a secret is the first of its mask.
    pub fn offset(&self, before: usize) -> usize {
        let begun = self.secrets.iter().rev();
        let nearest = begun.into_iter().find(|(secret, _)| secret.start <= before);
        match nearest {
            None => before,
            Some((secret, mask)) if before < secret.end => mask.start,
            Some((secret, mask)) => mask.end + (before - secret.end),
        }
    }
}

/// A secret's base64 wherever it stands in a longer text. The neighbours share the first and last characters: what is left in
/// the middle is the secret's own, at each of the three ways it can fall on the grid.
fn in_base64(secret: &str) -> Vec<String> {
    let mut forms = Vec::new();
    for shift in 0..3 {
        let padded = [&b"\0\0\0"[..shift], secret.as_bytes()].concat();
        let start = [0, 2, 3][shift];
        let shared = usize::from(padded.len() % 3 != 0);
        for encoded in [
            STANDARD_NO_PAD.encode(&padded),
            URL_SAFE_NO_PAD.encode(&padded),
        ] {
            // Where nothing follows, the last character is its own too.
            let whole = encoded.get(start..);
            let own = encoded.get(start..encoded.len() - shared);
            let long = |form: &&str| form.len() >= SHORTEST;
            forms.extend(
                [whole, own]
                    .into_iter()
                    .flatten()
                    .filter(long)
                    .map(str::to_owned),
            );
        }
    }
    forms
}

/// Writes text with the secrets masked. Each call of `write_str` must carry whole messages.
#[derive(Debug)]
pub struct MaskingWriter<W> {
    to: W,
    masker: Masker,
}

impl<W: Write> MaskingWriter<W> {
    /// Writes to `to` what `masker` lets pass.
    pub fn new(to: W, masker: Masker) -> Self {
        Self { to, masker }
    }

    /// Writes one message.
    ///
    /// # Errors
    /// As the writer behind it.
    pub fn write_str(&mut self, text: &str) -> io::Result<()> {
        self.to.write_all(self.masker.mask(text).as_bytes())?;
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use serde_json::json;

    const SECRET: &str = "s3cr\"et/p&ss wörd's + <more>";

    fn ascii_json(text: &str) -> String {
        let escaped: String = text
            .chars()
            .map(|c| match c {
                '"' | '\\' | '/' => format!("\\{c}"),
                c if c.is_ascii() => c.to_string(),
                c => format!("\\u{:04x}", u32::from(c)),
            })
            .collect();
        format!("\"{escaped}\"")
    }

    fn markup(text: &str) -> String {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
            .replace('\'', "&#39;")
    }

    #[test]
    fn every_spelling_is_masked() {
        let masker = Masker::default();
        masker.add(&json!({"deep": [SECRET]}));
        let percent = utf8_percent_encode(SECRET, NON_ALPHANUMERIC).to_string();
        let json = json!({ "a": SECRET }).to_string();
        for text in [
            format!("token={SECRET}"),
            json.clone(),
            json!({ "b": json }).to_string(),
            json!({ "c": json!({ "b": json }).to_string() }).to_string(),
            ascii_json(SECRET),
            ascii_json(SECRET).replace("\\u00f6", "\\u00F6"),
            format!("?t={percent}"),
            format!("?t={}", percent.to_lowercase()),
            format!("?t={}", percent.replace('%', "%25")),
            format!("?t={}", crate::percent::encode(SECRET)),
            format!("t={}", crate::percent::encode(SECRET).replace("%20", "+")),
            format!("{SECRET:?}"),
            format!("'login {}'", SECRET.replace('\'', "'\\''")),
            format!("<b>{}</b>", markup(SECRET)),
            STANDARD.encode(SECRET),
            URL_SAFE.encode(SECRET),
            STANDARD.encode(format!("user:{SECRET}")),
            STANDARD.encode(format!("u:{SECRET}!")),
            STANDARD.encode(format!("x{SECRET}yz")),
        ] {
            let shown = masker.mask(&text);
            assert!(shown.contains(MASK), "{text} -> {shown}");
            for part in ["s3cr", "ss w", "rd", "more", "czNj", "NjciJ"] {
                assert!(!shown.contains(part), "{text} -> {shown}");
            }
        }
    }

    #[test]
    fn base64_of_short_secrets_and_in_lines_is_masked() {
        for length in 4..=12 {
            let secret = &"hunter2-xyz9"[..length];
            let masker = Masker::default();
            masker.add(&json!(secret));
            for before in ["", "u:", "ab:c"] {
                let text = STANDARD.encode(format!("{before}{secret}"));
                assert!(masker.mask(&text).contains(MASK), "{before}{secret}");
            }
        }
        let masker = Masker::default();
        masker.add(&json!("canary-hummingbird".repeat(8)));
        let encoded = STANDARD.encode("canary-hummingbird".repeat(8));
        for end in ["\n", "\r\n", "\\n", "\n    "] {
            let lines = encoded.as_bytes().chunks(76);
            let lines: Vec<&str> = lines
                .map(|line| std::str::from_utf8(line).unwrap())
                .collect();
            let shown = masker.mask(&format!("key:\n{}\nend", lines.join(end)));
            assert!(!shown.contains("Y2Fu"), "{end:?}: {shown}");
            assert!(
                shown.starts_with("key:\n***") && shown.ends_with("\nend"),
                "{shown}"
            );
        }
    }

    #[test]
    fn short_values_and_other_text_stay() {
        let masker = Masker::default();
        masker.add(&json!(["no", 1, true, null]));
        assert!(masker.is_empty());
        masker.add(&json!("swordfish"));
        for text in [
            "no 1 true null",
            "50% of 100%",
            "a\\b C:\\new",
            "größe \\ud800 %zz &unknown;",
        ] {
            assert_eq!(masker.mask(text), text);
        }
    }

    #[test]
    fn what_overlaps_is_masked_as_a_whole() {
        let masker = Masker::default();
        masker.add(&json!(["abcdef", "defghi"]));
        assert_eq!(masker.mask("x abcdefghi y"), "x *** y");
    }

    #[test]
    fn lines_of_a_key_are_masked_each() {
        let masker = Masker::default();
        masker.add(&json!("-----BEGIN-----\nabcdefgh\n"));
        assert_eq!(masker.mask("key: abcdefgh"), "key: ***");
        let shown = masker.mask_mapped("-----BEGIN-----\nabcdefgh\nrest");
        assert_eq!(shown.offset(25), 8);
        assert_eq!(shown.into_text(), "***\n***\nrest");
    }

    #[test]
    fn lines_of_an_output_are_learned_within_limits() {
        let masker = Masker::default();
        let long = "x".repeat(LONGEST_LINE + 1);
        let longest = "y".repeat(LONGEST_LINE);
        masker.add_output(format!("abc\n  four\n{long}\n{longest}\n").as_bytes());
        let text = format!("abc four {long} {longest}");
        assert_eq!(masker.mask(&text), format!("abc *** {long} ***"));
    }

    #[test]
    fn numbers_are_masked_with_their_signs() {
        let masker = Masker::default();
        masker.add(&json!(87_654_321));
        let shown = masker.mask_value(&json!({"a": -87_654_321, "b": 12}));
        assert_eq!(shown, json!({"a": "-***", "b": 12}));
    }
}
