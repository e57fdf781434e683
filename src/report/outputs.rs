//! A playbook's outputs for programs.

use indexmap::IndexMap;
use serde_json::Value;

/// How outputs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object.
    Json,
    /// Lines `MALLEUS_<NAME>=value`, as dotenv files have them. Text is quoted where it must be; other values are JSON.
    Env,
}

/// Writes outputs in a format, with a final newline.
pub fn write(outputs: &IndexMap<String, Value>, format: Format) -> String {
    match format {
        Format::Json => {
            let map: serde_json::Map<String, Value> = outputs
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            format!("{:#}\n", Value::Object(map))
        }
        Format::Env => outputs
            .iter()
            .map(|(name, value)| format!("{}={}\n", variable(name), quoted(&text(value))))
            .collect(),
    }
}

/// The name of the environment variable for an output.
pub fn variable(output: &str) -> String {
    format!("MALLEUS_{}", output.to_ascii_uppercase())
}

/// A value as the text of an environment variable: text as it is, null as nothing, the rest as JSON.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+,".contains(c);
    if text.chars().all(plain) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' | '$' | '`' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn env_lines_survive_a_dotenv_reader() {
        let outputs: IndexMap<String, Value> = [
            ("address", json!("10.0.0.2")),
            ("greeting", json!("hi \"there\" $you\nbye")),
            ("ports", json!([80, 443])),
            ("none", json!(null)),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        assert_eq!(
            write(&outputs, Format::Env),
            "MALLEUS_ADDRESS=10.0.0.2\nMALLEUS_GREETING=\"hi \\\"there\\\" \\$you\\nbye\"\nMALLEUS_PORTS=\"[80,443]\"\nMALLEUS_NONE=\n"
        );
    }
}
