//! What messages of the grammar say about keys, types and what was written instead.

use super::grammar::{FILE, Kind, METHODS, Type};
use malleus_source::Source;
use malleus_source::yaml::{self, Node};

/// Whether a text can be a name in expressions.
pub fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !is_keyword(text)
}

/// What a kind is called in messages.
pub(super) fn describe(kind: &Kind) -> String {
    match kind {
        Kind::Fixed(wanted) | Kind::Dynamic(wanted) => describe_type(*wanted),
        Kind::Free => "a value".into(),
        Kind::List(of) | Kind::ListOrTemplate(of) => match describe(of).split_once(' ') {
            Some((_, noun)) => format!("a list of {noun}s"),
            None => "a list of texts".into(),
        },
        Kind::OneOrMore(of) => format!("{} or a list", describe(of)),
        Kind::Entries(_) => "a mapping of names to text".into(),
        Kind::Names(of) => match of {
            Kind::Fixed(Type::Expression) => "a mapping of names to expressions".into(),
            _ => "a mapping of names to values".into(),
        },
        Kind::Shape(shape) if shape.what == FILE.what => "`{file: PATH}`".into(),
        Kind::Shape(shape) => {
            let keys: Vec<String> = shape
                .keys
                .iter()
                .map(|key| format!("`{}`", key.name))
                .collect();
            match keys.as_slice() {
                [one, two, three, _, ..] => {
                    format!("a mapping with keys such as {one}, {two} and {three}")
                }
                few => format!("a mapping with the keys {}", few.join(", ")),
            }
        }
        Kind::Either(kinds) => {
            let words: Vec<String> = kinds.iter().map(describe).collect();
            words.join(" or ")
        }
        Kind::Steps => "a list of steps".into(),
        Kind::OneOrMoreSteps => "a step or a list of steps".into(),
    }
}

pub(super) fn describe_type(wanted: Type) -> String {
    match wanted {
        Type::Text | Type::Scalar => "text".into(),
        Type::Integer => "an integer".into(),
        Type::Boolean => "`true` or `false`".into(),
        Type::Duration => "a duration such as `30s`".into(),
        Type::Name => "a name of letters, digits and `_`".into(),
        Type::Slug => "a name of lower case letters, digits and hyphens".into(),
        Type::Expression => "an expression".into(),
        Type::Word(words) => {
            let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
            match quoted.split_last() {
                Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
                _ => quoted.concat(),
            }
        }
    }
}

pub(super) fn is_slug(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// What to write instead of a scalar of the wrong type, where that can be told.
pub(super) fn mend(source: &Source, node: &Node, wanted: Type) -> Option<String> {
    match (wanted, &node.kind) {
        (Type::Text | Type::Scalar, yaml::Kind::Number(_) | yaml::Kind::Bool(_)) => {
            Some(format!("quote it: \"{}\"", source.slice(node.span)))
        }
        (Type::Boolean, yaml::Kind::Text(text)) => match text.to_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Some("write `true`, without quotes".into()),
            "false" | "no" | "off" | "n" => Some("write `false`, without quotes".into()),
            _ => None,
        },
        (Type::Integer, yaml::Kind::Text(text)) => text
            .parse::<i64>()
            .is_ok()
            .then(|| format!("write `{text}`, without quotes")),
        (Type::Name, yaml::Kind::Text(text)) => {
            name_for(text).or_else(|| Some("begin with a letter".into()))
        }
        (Type::Slug, yaml::Kind::Text(text)) => {
            let slug = text.to_lowercase().replace(['_', ' ', '.'], "-");
            is_slug(&slug).then(|| format!("write `{slug}`"))
        }
        _ => None,
    }
}

/// Whether a word has a meaning of its own in expressions.
pub(super) fn is_keyword(text: &str) -> bool {
    matches!(
        text,
        "true"
            | "false"
            | "none"
            | "True"
            | "False"
            | "None"
            | "not"
            | "and"
            | "or"
            | "in"
            | "is"
            | "if"
            | "else"
    )
}

/// What to write in the place of what cannot be a name.
pub(super) fn name_for(text: &str) -> Option<String> {
    let name = text.replace(['-', ' ', '.'], "_");
    if is_keyword(text) {
        Some(format!(
            "`{text}` is a word of the expression language; take another name"
        ))
    } else {
        is_name(&name).then(|| format!("write `{name}`"))
    }
}

/// What to write in the place of a mode that is no text.
pub(super) fn mode(written: &str) -> String {
    let digits = written.trim_start_matches("0o");
    let is_octal = digits.len() <= 4 && digits.chars().all(|c| ('0'..='7').contains(&c));
    if is_octal && written.starts_with("0o") {
        format!("write the octal digits in quotes: \"{digits:0>4}\"")
    } else {
        "write the octal digits in quotes: \"0644\" is read and write for the owner, read for all"
            .into()
    }
}

/// What a person would say to an operator of another language at this place of a text.
pub(super) fn operator(text: &str, at: usize) -> Option<String> {
    let (before, rest) = text.split_at_checked(at)?;
    if rest.starts_with('|') && before.ends_with('|') {
        return Some("write `or`".into());
    }
    let known = [
        ("===", "write `==`"),
        ("==", ""),
        ("!=", ""),
        ("&&", "write `and`"),
        ("=>", "write `>=`"),
        ("=<", "write `<=`"),
        ("=", "compare by `==`"),
        ("!", "write `not`"),
    ];
    let found = known
        .iter()
        .find(|(operator, _)| rest.starts_with(operator))?;
    (!found.1.is_empty()).then(|| found.1.to_owned())
}

pub(super) fn begins_with_method(line: &str) -> bool {
    line.split_once(' ')
        .is_some_and(|(method, _)| METHODS.contains(&method))
}

/// `, not a list`: what stands where something else is needed.
pub(super) fn instead(node: &Node) -> String {
    match node.kind {
        yaml::Kind::Null => "; there is nothing here".into(),
        _ => format!(", not {}", node.describe()),
    }
}
