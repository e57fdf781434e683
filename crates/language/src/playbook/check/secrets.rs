//! Secrets that stand in a playbook itself: defaults of its secret inputs. Known before a line of it is shown.

use std::sync::Arc;

use malleus_core::secret::Masker;
use malleus_source::diagnostic::{Diagnostic, nearest};
use malleus_source::{Source, yaml};
use serde_json::Value;

use crate::playbook::grammar::INPUT;

/// Problems without the secrets that stand in the files that they show.
pub(super) fn masked(problems: &[Diagnostic]) -> Vec<Diagnostic> {
    let masker = Masker::default();
    let mut seen: Vec<&str> = Vec::new();
    for label in problems.iter().flat_map(|problem| &problem.labels) {
        let source = &label.place.source;
        if !seen.contains(&source.name()) {
            seen.push(source.name());
            for secret in of_file(source) {
                masker.add(&secret);
            }
        }
    }
    problems
        .iter()
        .map(|problem| problem.masked(&masker))
        .collect()
}

fn of_file(source: &Arc<Source>) -> Vec<Value> {
    let Ok(root) = yaml::parse(source) else {
        return of_text(source.text());
    };
    let inputs = root.get("inputs").and_then(yaml::Node::as_map);
    let secrets = inputs.unwrap_or_default().iter().filter_map(|(_, input)| {
        let keys = input.as_map()?;
        let known = || INPUT.keys.iter().map(|known| known.name);
        let is_secret = |key: &yaml::Key| nearest(&key.text, known()) == Some("secret");
        // What has a key that nobody knows may be meant as the default.
        let is_default =
            |key: &yaml::Key| key.text == "default" || known().all(|name| name != key.text);
        keys.iter().any(|(key, _)| is_secret(key)).then(|| {
            let defaults = keys.iter().filter(|(key, _)| is_default(key));
            defaults
                .map(|(_, value)| value.to_value())
                .collect::<Vec<_>>()
        })
    });
    secrets.flatten().collect()
}

/// The defaults in text that is no YAML: of all inputs, since it is not known which of them are secret.
fn of_text(text: &str) -> Vec<Value> {
    if !text.contains("secret") {
        return Vec::new();
    }
    let written = text.split("default:").skip(1).filter_map(|rest| {
        let line = rest.lines().next()?.trim();
        let mut quoted = line.chars();
        Some(match quoted.next()? {
            quote @ ('"' | '\'') => quoted.as_str().split(quote).next()?,
            _ => line.split([',', '}', ']']).next()?.split(" #").next()?,
        })
    });
    written.map(|text| text.trim().into()).collect()
}
