//! What an unquoted word is: YAML's 1.2 core schema, but for integers that begin with a zero, which are text.

use serde_json::Number;

/// What an unquoted word is.
pub(super) enum Plain {
    Null,
    Bool(bool),
    Number(Number),
    Text,
    /// `.inf`, `.nan`, or a number beyond what 64 bits can hold.
    NotFinite,
    /// An integer that would lose digits.
    TooLong,
}

impl Plain {
    /// Whether it is of the type that a tag of the core schema names.
    pub(super) fn has_tag(&self, tag: &str) -> bool {
        match self {
            Self::Null => tag == "null",
            Self::Bool(_) => tag == "bool",
            Self::Number(number) => tag == if number.is_f64() { "float" } else { "int" },
            Self::NotFinite => tag == "float",
            Self::TooLong => tag == "int",
            Self::Text => false,
        }
    }
}

/// Whether a word is text.
pub(super) fn is_text(word: &str) -> bool {
    matches!(plain(word), Plain::Text)
}

/// What a word is.
pub(super) fn plain(word: &str) -> Plain {
    match word {
        "" | "~" | "null" | "Null" | "NULL" => Plain::Null,
        "true" | "True" | "TRUE" => Plain::Bool(true),
        "false" | "False" | "FALSE" => Plain::Bool(false),
        // Only a word that begins so can be a number.
        _ if word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => number(word),
        _ => Plain::Text,
    }
}

fn number(word: &str) -> Plain {
    if let Some(digits) = word.strip_prefix("0o") {
        return based(digits, 8);
    }
    if let Some(digits) = word.strip_prefix("0x") {
        return based(digits, 16);
    }
    let digits = word.strip_prefix(['+', '-']).unwrap_or(word);
    if is_digits(digits) {
        return match (begins_with_zero(digits), decimal(word)) {
            (true, _) => Plain::Text,
            (false, Some(number)) => Plain::Number(number),
            (false, None) => Plain::TooLong,
        };
    }
    if matches!(digits, ".inf" | ".Inf" | ".INF") || matches!(word, ".nan" | ".NaN" | ".NAN") {
        return Plain::NotFinite;
    }
    if !is_fraction(digits) || begins_with_zero(digits) {
        return Plain::Text;
    }
    let value: f64 = word.parse().unwrap_or(f64::INFINITY);
    Number::from_f64(value).map_or(Plain::NotFinite, Plain::Number)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// `0644` is a mode to people and another number to YAML: it stays as it is written.
fn begins_with_zero(digits: &str) -> bool {
    digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit()
}

fn decimal(word: &str) -> Option<Number> {
    let signed = word.parse::<i64>().map(Number::from);
    signed
        .or_else(|_| word.parse::<u64>().map(Number::from))
        .ok()
}

fn based(digits: &str, radix: u32) -> Plain {
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Plain::Text;
    }
    u64::from_str_radix(digits, radix).map_or(Plain::TooLong, |value| Plain::Number(value.into()))
}

/// `1.5`, `.5`, `5.`, `1e3`, `1.5E-3`.
fn is_fraction(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let has_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let is_mantissa = has_digits(whole)
        && fraction.is_none_or(has_digits)
        && !(whole.is_empty() && fraction.is_none_or(str::is_empty));
    let is_exponent = exponent
        .is_none_or(|exponent| is_digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)));
    is_mantissa && is_exponent && (fraction.is_some() || exponent.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str], is: impl Fn(&Plain) -> bool) {
        for word in words {
            assert!(is(&plain(word)), "{word}");
        }
    }

    #[test]
    fn words_are_what_the_core_schema_says() {
        words(
            &["no", "on", "yes", "y", "inf", "nan", "Infinity", "a"],
            |p| matches!(p, Plain::Text),
        );
        words(
            &[
                "0644",
                "-012",
                "00.5",
                "1_000",
                "0b10",
                "1e",
                "e3",
                ".",
                "-",
                "+",
                "-.",
                "1.2.3",
                "0x",
                "0o8",
                "10.0.0.1/24",
                "2024-01-01",
                "1:30",
                "-0x1F",
            ],
            |p| matches!(p, Plain::Text),
        );
        for (word, number) in [
            ("0", "0"),
            ("-7", "-7"),
            ("+1", "1"),
            ("0o17", "15"),
            ("0x1F", "31"),
            ("18446744073709551615", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("1.5", "1.5"),
            (".5", "0.5"),
            ("5.", "5.0"),
            ("1e3", "1000.0"),
            ("-1.5E-1", "-0.15"),
            ("0.5", "0.5"),
        ] {
            let Plain::Number(found) = plain(word) else {
                panic!("{word}");
            };
            assert_eq!(found.to_string(), number, "{word}");
        }
        words(&[".inf", "-.inf", "+.INF", ".nan", "1e999"], |p| {
            matches!(p, Plain::NotFinite)
        });
        words(
            &[
                "18446744073709551616",
                "-9223372036854775809",
                "0xFFFFFFFFFFFFFFFFF",
            ],
            |p| matches!(p, Plain::TooLong),
        );
    }
}
