//! Values that must not be shown, and the one place that keeps them out of every output.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

/// What stands in the place of a secret.
const MASK: &str = "***";

/// Knows the secrets of a run and replaces them in text: raw, JSON-escaped, percent-encoded and in base64, the
/// longest form first. Copies share what they know.
#[derive(Clone, Default)]
pub struct Masker(Arc<RwLock<Vec<String>>>);

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Masker")
    }
}

impl Masker {
    /// Shorter values are not masked: `1` or `no` would blacken every line and hide nothing.
    pub const SHORTEST: usize = 4;

    /// Whether a value is text or a number that is too short to be masked. Nothing at all is no secret.
    pub fn is_too_short(value: &Value) -> bool {
        let length = match value {
            Value::String(text) => text.chars().count(),
            Value::Number(number) => number.to_string().len(),
            _ => 0,
        };
        (1..Self::SHORTEST).contains(&length)
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
        let parts = std::iter::once(text)
            .chain(std::iter::once(text.trim()))
            .chain(text.lines().map(str::trim));
        for part in parts {
            known.extend(forms(part));
        }
        known.sort_by(|one, other| (other.len(), one).cmp(&(one.len(), other)));
        known.dedup();
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
            Value::Array(items) => items.iter().any(|item| self.hides(item)),
            Value::Object(map) => map
                .iter()
                .any(|(key, item)| self.has(key) || self.hides(item)),
        }
    }

    fn has(&self, text: &str) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().any(|form| text.contains(form.as_str()))
    }

    /// `text` without the secrets.
    pub fn mask(&self, text: &str) -> String {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut masked = text.to_owned();
        for form in known.iter().filter(|form| text.contains(form.as_str())) {
            masked = masked.replace(form.as_str(), MASK);
        }
        masked
    }

    /// `value` without the secrets, in its texts and keys.
    pub fn mask_value(&self, value: &Value) -> Value {
        match value {
            Value::Null | Value::Bool(_) => value.clone(),
            Value::Number(number) => {
                let masked = self.mask(&number.to_string());
                if masked == MASK {
                    masked.into()
                } else {
                    value.clone()
                }
            }
            Value::String(text) => self.mask(text).into(),
            Value::Array(items) => items.iter().map(|item| self.mask_value(item)).collect(),
            Value::Object(map) => map
                .iter()
                .map(|(key, item)| (self.mask(key), self.mask_value(item)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }
}

/// The forms in which a secret may turn up.
fn forms(secret: &str) -> Vec<String> {
    if secret.chars().count() < Masker::SHORTEST {
        return Vec::new();
    }
    // JSON may be text inside of JSON, and that once more.
    let once = in_json(secret);
    let twice = in_json(&once);
    let mut forms = vec![
        secret.to_owned(),
        in_json(&twice),
        twice,
        once,
        format!("{secret:?}").trim_matches('"').to_owned(),
        utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string(),
        crate::percent::encode(secret),
    ];
    // The servers write these so that no browser takes them for markup.
    if secret.contains(['&', '<', '>']) {
        let marked = in_json(secret)
            .replace('&', "\\u0026")
            .replace('<', "\\u003c")
            .replace('>', "\\u003e");
        forms.push(in_json(&marked));
        forms.push(marked);
    }
    // In base64 the neighbours share the first and last characters: what is left in the middle is the secret's
    // own, at each of the three ways it can fall on the grid.
    for shift in 0..3 {
        let padded = [&b"\0\0\0"[..shift], secret.as_bytes()].concat();
        for encoded in [
            STANDARD_NO_PAD.encode(&padded),
            URL_SAFE_NO_PAD.encode(&padded),
        ] {
            let own = encoded.get(
                [0, 2, 3][shift]
                    ..encoded
                        .len()
                        .saturating_sub(usize::from(padded.len() % 3 != 0)),
            );
            forms.extend(
                own.filter(|own| own.len() >= 2 * Masker::SHORTEST)
                    .map(str::to_owned),
            );
        }
    }
    forms
}

/// A text as it stands between the quotes of JSON.
fn in_json(text: &str) -> String {
    let json = serde_json::to_string(text).unwrap_or_default();
    let inner = json
        .strip_prefix('"')
        .and_then(|json| json.strip_suffix('"'));
    inner.unwrap_or_default().to_owned()
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
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    #[test]
    fn every_form_is_masked() {
        let masker = Masker::default();
        let secret = "s3cr\"et/pass word";
        masker.add(&json!({"deep": [secret]}));
        for text in [
            format!("token={secret}"),
            json!({"a": secret}).to_string(),
            format!("?t={}", crate::percent::encode(secret)),
            format!("{secret:?}"),
            STANDARD.encode(secret),
            STANDARD.encode(format!("user:{secret}")),
            STANDARD.encode(format!("u:{secret}!")),
            STANDARD.encode(format!("x{secret}yz")),
        ] {
            let shown = masker.mask(&text);
            assert!(shown.contains(MASK), "{text} -> {shown}");
            assert!(!shown.contains("pass"), "{text} -> {shown}");
        }
    }

    #[test]
    fn short_values_and_other_text_stay() {
        let masker = Masker::default();
        masker.add(&json!(["no", 1, true, null]));
        assert_eq!(masker.mask("no 1 true null"), "no 1 true null");
    }

    #[test]
    fn lines_of_a_key_are_masked_each() {
        let masker = Masker::default();
        masker.add(&json!("-----BEGIN-----\nabcdefgh\n"));
        assert_eq!(masker.mask("key: abcdefgh"), "key: ***");
    }
}
