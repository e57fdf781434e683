//! Asking cloud-init in an instance how far it is.

use serde_json::Value;

use super::probe::{COMMAND, Tried, not_yet};
use crate::{Client, Error, Exec, Exit, Limit, Output, Wait};

/// Asks once: as JSON, and as text where that is not understood (before cloud-init 22.4).
pub(super) fn ask(client: &Client, instance: &str, limit: Limit) -> Result<Tried, Error> {
    let json = ["cloud-init", "status", "--format=json"];
    for command in [&json[..], &json[..2]] {
        let exec = Exec::new(instance, command.iter().copied());
        let (exit, stdout) = match run(client, &exec, limit) {
            Ok(ran) => ran,
            Err(error) => return not_yet(error),
        };
        if exit.message.is_some() {
            return Ok(Tried::Impossible("cloud-init is not installed".to_owned()));
        }
        if let Some(said) = judge(&stdout) {
            return Ok(said);
        }
    }
    Ok(Tried::NotYet(
        "cloud-init does not say how far it is".to_owned(),
    ))
}

fn run(client: &Client, exec: &Exec, limit: Limit) -> Result<(Exit, String), Error> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let output = Output {
        stdout: &mut stdout,
        stderr: &mut stderr,
    };
    let wait = Wait::within(Limit::after("try", COMMAND).earlier(limit));
    let exit = client.exec(exec, output, &wait)?;
    Ok((exit, String::from_utf8_lossy(&stdout).into_owned()))
}

/// What its words mean, whatever the exit code: 2 is "done, with warnings". `None` for other words.
fn judge(stdout: &str) -> Option<Tried> {
    let json: Value = serde_json::from_str(stdout).unwrap_or_default();
    let text = || {
        let mut lines = stdout.lines();
        lines.find_map(|line| line.strip_prefix("status:").map(str::trim))
    };
    let status = json["status"].as_str().or_else(text)?;
    Some(match status {
        "done" | "disabled" | "degraded done" => Tried::Held(status.to_owned()),
        "error" => {
            let errors = json["errors"].as_array().into_iter().flatten();
            let errors: Vec<&str> = errors.filter_map(Value::as_str).collect();
            let detail = json["detail"].as_str().filter(|detail| !detail.is_empty());
            Tried::Impossible(match (errors.as_slice(), detail) {
                ([], None) => "cloud-init has failed".to_owned(),
                ([], Some(detail)) => format!("cloud-init has failed: {detail}"),
                (errors, _) => format!("cloud-init has failed: {}", errors.join("; ")),
            })
        }
        other => Tried::NotYet(format!("status {other}")),
    })
}

#[cfg(test)]
mod tests {
    use super::{Tried, judge};

    #[test]
    fn its_words_are_understood() {
        for (stdout, expected) in [
            (r#"{"status": "done", "errors": []}"#, "held done"),
            (
                r#"{"status": "done", "extended_status": "degraded done"}"#,
                "held done",
            ),
            ("status: disabled\n", "held disabled"),
            ("\n..........\nstatus: done\n", "held done"),
            ("status: running\n", "not yet status running"),
            (r#"{"status": "not started"}"#, "not yet status not started"),
            ("status: not run\n", "not yet status not run"),
            (
                r#"{"status": "error", "errors": ["a", "b"]}"#,
                "hopeless cloud-init has failed: a; b",
            ),
            (
                r#"{"status": "error", "detail": "x"}"#,
                "hopeless cloud-init has failed: x",
            ),
            ("status: error\n", "hopeless cloud-init has failed"),
            ("usage: cloud-init status\n", "none"),
            ("", "none"),
        ] {
            let said = match judge(stdout) {
                Some(Tried::Held(seen)) => format!("held {seen}"),
                Some(Tried::NotYet(seen)) => format!("not yet {seen}"),
                Some(Tried::Impossible(seen)) => format!("hopeless {seen}"),
                None => "none".to_owned(),
            };
            assert_eq!(said, expected, "{stdout}");
        }
    }
}
