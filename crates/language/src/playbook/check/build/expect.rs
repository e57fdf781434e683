//! Expectations.

use super::{Builder, entries, expr, one_or_more};
use crate::playbook::document::has_template;
use crate::playbook::plan::{Action, Expect, Matcher};
use crate::template::Pattern;
use malleus_source::yaml::{Key, Kind, Node};

impl Builder<'_> {
    pub(super) fn expect(&mut self, step: &Node, action: &Action) -> Expect {
        let Some(node) = step.get("expect") else {
            return Expect::default();
        };
        self.not_empty(node, "nothing is expected here");
        for (key, value) in entries(Some(node)) {
            if key.text != "metadata" {
                let message = format!("`{}` expects nothing", key.text);
                self.not_empty(value, &message);
            }
            self.fitting_expectation((key, value), action);
        }
        let list = |builder: &mut Self, key: &str| {
            node.get(key).map(|value| {
                one_or_more(value)
                    .iter()
                    .map(|item| builder.template(item))
                    .collect()
            })
        };
        Expect {
            status: list(self, "status"),
            error: node.get("error").map(|error| self.template(error)),
            exit_code: list(self, "exit_code"),
            stdout: self.matchers(node.get("stdout")),
            stderr: self.matchers(node.get("stderr")),
            metadata: node.get("metadata").map(|metadata| self.template(metadata)),
            that: node
                .get("that")
                .map(|that| one_or_more(that).iter().filter_map(expr).collect())
                .unwrap_or_default(),
        }
    }

    fn fitting_expectation(&mut self, (key, value): (&Key, &Node), action: &Action) {
        let is_success = |status: &Node| match &status.kind {
            Kind::Number(number) => number.as_u64().is_some_and(|status| status < 400),
            _ => false,
        };
        // Only a refusal leaves a command without an exit code, and with a status.
        if key.text == "status"
            && matches!(action, Action::Exec(_) | Action::Push(_) | Action::Pull(_))
            && one_or_more(value).iter().all(is_success)
        {
            let help = match action {
                Action::Exec(_) => "write `exit_code: 0`; a refusal has a status, as 404",
                _ => "leave it out: success is what is expected anyway",
            };
            self.problem(
                key.span,
                format!(
                    "`status` can never hold: success of `{}` has none",
                    action.key()
                ),
            )
            .help = Some(help.into());
            return;
        }
        let fits = match key.text.as_str() {
            "exit_code" | "stdout" | "stderr" => matches!(action, Action::Exec(_)),
            "status" | "error" => {
                matches!(
                    action,
                    Action::Request(_)
                        | Action::Exec(_)
                        | Action::Join(_)
                        | Action::Ensure(_)
                        | Action::Absent(_)
                        | Action::Push(_)
                        | Action::Pull(_)
                ) || (key.text == "error" && matches!(action, Action::WaitFor(_)))
            }
            "metadata" => !matches!(
                action,
                Action::Set(_)
                    | Action::Check(_)
                    | Action::Steps(_)
                    | Action::Parallel(_)
                    | Action::Include(_)
            ),
            _ => true,
        };
        if !fits {
            self.problem(
                key.span,
                format!(
                    "`{}` can never hold: `{}` has no such result",
                    key.text,
                    action.key()
                ),
            );
        }
    }

    fn matchers(&mut self, node: Option<&Node>) -> Vec<Matcher> {
        let Some(node) = node else { return Vec::new() };
        if node.as_map().is_none() {
            return vec![Matcher::Exact(self.template(node))];
        }
        let mut matchers = Vec::new();
        for (key, value) in entries(Some(node)) {
            match key.text.as_str() {
                "contains" => {
                    self.not_empty(value, "`contains` asks for nothing");
                    let parts = one_or_more(value)
                        .iter()
                        .map(|part| Matcher::Contains(self.template(part)));
                    matchers.extend(parts.collect::<Vec<_>>());
                }
                "matches" => {
                    self.regex(value);
                    matchers.push(Matcher::Matches(self.template(value)));
                }
                "json" => matchers.push(Matcher::Json(self.template(value))),
                _ => {}
            }
        }
        matchers
    }

    fn regex(&mut self, node: &Node) {
        if let Some(pattern) = node.as_text().filter(|pattern| !has_template(pattern))
            && let Err(error) = Pattern::new(pattern)
        {
            self.problem(
                node.span,
                format!("this is not a regular expression: {error}"),
            );
        }
    }
}
