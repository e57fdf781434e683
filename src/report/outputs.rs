//! A playbook's outputs for programs.

use indexmap::IndexMap;
use serde_json::Value;

/// How outputs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object.
    Json,
    /// Lines `MALLEUS_OUTPUT_<NAME>=value` and `MALLEUS_<NAME>=value`, as dotenv files have them. Text is quoted where it
    /// must be; other values are JSON.
    Env,
    /// The same as `export MALLEUS_<NAME>='value'` for `eval` in a POSIX shell.
    Shell,
    /// Lines `name=value` as steps of GitHub's actions write them to the file that `GITHUB_OUTPUT` names.
    Github,
}

/// Whether a variable of the environment means something to malleus itself.
pub type IsOwn = dyn Fn(&str) -> bool;

/// An output that a format cannot express.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the output `{0}` holds a NUL character, which only JSON can express; use `--out json`, or encode it"
)]
pub struct HoldsNul(pub String);

/// Writes outputs in a format, with a final newline.
///
/// # Errors
/// [`HoldsNul`] for an output that would lose a part or be read as something else.
pub fn write(
    outputs: &IndexMap<String, Value>,
    format: Format,
    is_own: &IsOwn,
) -> Result<String, HoldsNul> {
    let with_nul = |(_, value): &(&String, &Value)| text(value).contains('\0');
    if format != Format::Json
        && let Some((name, _)) = outputs.iter().find(with_nul)
    {
        return Err(HoldsNul(name.clone()));
    }
    let lines = |write: &dyn Fn(&str, &str) -> String| {
        let mut all = String::new();
        for (name, value) in outputs {
            let value = text(value);
            for variable in variables(name, is_own) {
                all.push_str(&write(&variable, &value));
            }
        }
        all
    };
    Ok(match format {
        Format::Json => {
            let map: serde_json::Map<String, Value> = outputs
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            format!("{:#}\n", Value::Object(map))
        }
        Format::Env => lines(&|name, value| format!("{name}={}\n", quoted(value))),
        Format::Shell => lines(&|name, value| format!("export {name}={}\n", shell(value))),
        Format::Github => outputs
            .iter()
            .map(|(name, value)| github(name, &text(value)))
            .collect(),
    })
}

/// One word for a shell.
fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A line, or several between delimiters that are not among them.
fn github(name: &str, text: &str) -> String {
    if !text.contains(['\n', '\r']) {
        return format!("{name}={text}\n");
    }
    let mut delimiter = String::from("END");
    while text.contains(&delimiter) {
        delimiter.push('_');
    }
    format!("{name}<<{delimiter}\n{text}\n{delimiter}\n")
}

/// The short name of the environment variable for an output.
pub fn variable(output: &str) -> String {
    format!("MALLEUS_{}", output.to_ascii_uppercase())
}

/// The environment variables for an output: one that nothing else has, and the short one where malleus does not read that
/// itself, nor another output has it.
pub fn variables(output: &str, is_own: &IsOwn) -> Vec<String> {
    let short = variable(output);
    let mut all = vec![format!("MALLEUS_OUTPUT_{}", output.to_ascii_uppercase())];
    if !is_own(&short) && !short.starts_with("MALLEUS_OUTPUT_") {
        all.push(short);
    }
    all
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

    fn outputs() -> IndexMap<String, Value> {
        [
            ("address", json!("10.0.0.2")),
            ("greeting", json!("it's \"there\" $you\nbye")),
            ("ports", json!([80, 443])),
            ("none", json!(null)),
            ("tail", json!("END\nEND_=`id`\\\n")),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }

    #[test]
    fn lines_survive_their_readers() {
        for (format, lines) in [
            (
                Format::Env,
                vec![
                    "MALLEUS_OUTPUT_ADDRESS=10.0.0.2",
                    "MALLEUS_ADDRESS=10.0.0.2",
                    r#"MALLEUS_OUTPUT_GREETING="it's \"there\" \$you\nbye""#,
                    r#"MALLEUS_GREETING="it's \"there\" \$you\nbye""#,
                    r#"MALLEUS_OUTPUT_PORTS="[80,443]""#,
                    r#"MALLEUS_PORTS="[80,443]""#,
                    "MALLEUS_OUTPUT_NONE=",
                    r#"MALLEUS_OUTPUT_TAIL="END\nEND_=\`id\`\\\n""#,
                    r#"MALLEUS_TAIL="END\nEND_=\`id\`\\\n""#,
                ],
            ),
            (
                Format::Shell,
                vec![
                    "export MALLEUS_OUTPUT_ADDRESS='10.0.0.2'",
                    "export MALLEUS_ADDRESS='10.0.0.2'",
                    r#"export MALLEUS_OUTPUT_GREETING='it'\''s "there" $you"#,
                    "bye'",
                    r#"export MALLEUS_GREETING='it'\''s "there" $you"#,
                    "bye'",
                    "export MALLEUS_OUTPUT_PORTS='[80,443]'",
                    "export MALLEUS_PORTS='[80,443]'",
                    "export MALLEUS_OUTPUT_NONE=''",
                    "export MALLEUS_OUTPUT_TAIL='END",
                    r"END_=`id`\",
                    "'",
                    "export MALLEUS_TAIL='END",
                    r"END_=`id`\",
                    "'",
                ],
            ),
            (
                Format::Github,
                vec![
                    "address=10.0.0.2",
                    "greeting<<END",
                    r#"it's "there" $you"#,
                    "bye",
                    "END",
                    "ports=[80,443]",
                    "none=",
                    "tail<<END__",
                    "END",
                    r"END_=`id`\",
                    "",
                    "END__",
                ],
            ),
        ] {
            let written = write(&outputs(), format, &|name| name == "MALLEUS_NONE").unwrap();
            assert_eq!(written, format!("{}\n", lines.join("\n")), "{format:?}");
        }
    }

    #[test]
    fn a_nul_is_refused_where_it_would_be_lost() {
        let outputs = IndexMap::from([("bytes".to_owned(), json!("a\0b"))]);
        for format in [Format::Env, Format::Shell, Format::Github] {
            let refused = write(&outputs, format, &|_| false);
            assert_eq!(refused, Err(HoldsNul("bytes".to_owned())), "{format:?}");
        }
        assert!(
            write(&outputs, Format::Json, &|_| false)
                .unwrap()
                .contains("\\u0000")
        );
    }

    #[test]
    fn a_shell_reads_what_was_written() {
        let script = format!(
            "{}printf '%s|' \"$MALLEUS_ADDRESS\" \"$MALLEUS_GREETING\" \"$MALLEUS_PORTS\" \"$MALLEUS_NONE\" \"$MALLEUS_OUTPUT_TAIL\"",
            write(&outputs(), Format::Shell, &|_| false).unwrap()
        );
        let mut shell = std::process::Command::new("sh");
        let read = shell.args(["-c", &script]).output().unwrap();
        assert_eq!(
            String::from_utf8(read.stdout).unwrap(),
            "10.0.0.2|it's \"there\" $you\nbye|[80,443]||END\nEND_=`id`\\\n|"
        );
    }
}
