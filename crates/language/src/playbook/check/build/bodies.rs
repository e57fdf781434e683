//! Bodies of requests, by what the servers publish.

use malleus_api::Servers;
use malleus_api::bodies::{self, Finding, Problem, Schema};
use malleus_source::diagnostic::{Diagnostic, Severity, did_you_mean};
use malleus_source::yaml::{Kind, Node};
use malleus_source::{Place, Span};
use serde_json::{Map, Value};

use super::text_file::is_file;
use super::{Builder, one_or_more, text};
use crate::playbook::document::has_template;
use crate::playbook::grammar::Type;
use crate::playbook::plan::Scalars;
use crate::playbook::words;
use crate::template::Template;

/// How many known words are listed where none of them is near.
const LISTED: usize = 12;

impl Builder<'_> {
    /// The body of a step's request. A step that is to fail sends it as it is written.
    pub(super) fn body(&mut self, step: &Node, body: &Node, schema: &Schema) -> Template {
        let mut template = self.converted(step, body, schema);
        self.files_in(body, &mut template, (schema, &mut Vec::new()));
        template
    }

    fn converted(&mut self, step: &Node, body: &Node, schema: &Schema) -> Template {
        if !schema.is_known() || scalars(step) == Scalars::AsWritten {
            return self.template(body);
        }
        let worst = match text(step, "on_error").as_deref() {
            Some("continue") => Severity::Warning,
            _ => Severity::Error,
        };
        self.judge_body(body, schema, worst);
        self.image_of_a_client(body);
        let mut numbers = Vec::new();
        scalars_of_text(body, schema, &mut Vec::new(), &mut numbers);
        if numbers.is_empty() {
            return self.template(body);
        }
        let mut body = body.clone();
        self.spell(&mut body, &numbers);
        self.template(&body)
    }

    /// Says what servers refuse or ignore in a body. `worst` is for what all of them refuse.
    pub(super) fn judge_body(&mut self, body: &Node, schema: &Schema, worst: Severity) {
        let report = schema.check(&known(body, (schema, &mut Vec::new())), Servers::ALL);
        self.servers = self.servers.and(report.servers);
        for finding in report.findings {
            let mut problem = self.finding(body, &finding);
            if finding.problem.is_certain() {
                problem.severity = worst;
            }
            self.problems.push(problem);
        }
    }

    /// Warns of `images:alpine/edge` as an alias: the part before the colon is a word of the command line clients.
    fn image_of_a_client(&mut self, body: &Node) {
        let Some(node) = body.get("source").and_then(|source| source.get("alias")) else {
            return;
        };
        let written = node.as_text().filter(|alias| !has_template(alias));
        let Some((remote, alias)) = written.and_then(|alias| alias.split_once(':')) else {
            return;
        };
        let server = match remote {
            "images" => "https://images.linuxcontainers.org",
            "ubuntu" => "https://cloud-images.ubuntu.com/releases/",
            "ubuntu-daily" => "https://cloud-images.ubuntu.com/daily/",
            _ => "https://…",
        };
        self.problems.push(
            Diagnostic::warning(format!(
                "`{remote}:` is a remote of the `incus` and `lxc` clients; the server does not know it"
            ))
            .at(Place::new(self.source, node.span), "")
            .help(format!(
                "write `source: {{type: image, mode: pull, server: \"{server}\", protocol: simplestreams, alias: {alias}}}`"
            )),
        );
    }

    /// A warning, at the place in the body that it is about.
    fn finding(&self, body: &Node, finding: &Finding) -> Diagnostic {
        let key = finding.place.last().map_or("", String::as_str);
        let (node, key_span) = at(body, &finding.place);
        let at_key = key_span.unwrap_or(node.span);
        let (span, message, help) = match &finding.problem {
            Problem::UnknownKey { known } => (
                at_key,
                format!(
                    "neither LXD nor Incus is known to take the key `{key}` here; they ignore keys that they do not know"
                ),
                own_word(key)
                    .filter(|_| known.contains(&"devices"))
                    .map_or_else(|| near(key, known), str::to_owned),
            ),
            Problem::ReadOnlyKey => (
                at_key,
                format!("LXD and Incus show `{key}` in their replies and ignore it in requests"),
                "leave it out".to_owned(),
            ),
            Problem::WrongType { expected, .. } => (
                node.span,
                format!(
                    "{} must be {expected}{}",
                    named(key, body, node),
                    words::instead(node)
                ),
                self.mend(node, expected),
            ),
            Problem::WrongValue { known } => (
                node.span,
                format!(
                    "neither LXD nor Incus is known to take `{}` for `{key}`",
                    self.source.slice(node.span)
                ),
                if known.is_empty() {
                    "write an integer".to_owned()
                } else {
                    near(node.as_text().unwrap_or_default(), known)
                },
            ),
            Problem::UnknownConfigKey {
                of,
                known,
                elsewhere,
            } => (
                at_key,
                format!(
                    "neither LXD nor Incus is known to have the key `{key}` in the configuration of {}",
                    thing(*of)
                ),
                own_key(key, known, elsewhere),
            ),
            Problem::UnknownDeviceKey {
                of,
                known,
                elsewhere,
            } => (
                at_key,
                format!(
                    "neither LXD nor Incus is known to have the key `{key}` in {}",
                    of.map_or_else(|| "this device".to_owned(), |of| format!("a `{of}` device"))
                ),
                own_key(key, known, elsewhere),
            ),
        };
        Diagnostic::warning(message)
            .at(Place::new(self.source, span), "")
            .help(help)
    }

    /// How to write a value of another type.
    fn mend(&self, node: &Node, expected: &str) -> String {
        let written = self.source.slice(node.span);
        let wanted = match expected {
            "a boolean" => Some(Type::Boolean),
            "an integer" => Some(Type::Integer),
            "a mapping" if node.as_text().is_some_and(is_json_object) => {
                return "leave out the quotes around it: JSON is YAML".into();
            }
            "a list" if node.as_text().is_some() => {
                return format!("write it as a list: [{written}]");
            }
            _ => None,
        };
        wanted
            .and_then(|wanted| words::mend(self.source, node, wanted))
            .unwrap_or_default()
    }

    /// Turns numbers and booleans into text, as the file spells them: `24.10` and `0x1F` stay what they are.
    fn spell(&self, node: &mut Node, scalars: &[Span]) {
        match &mut node.kind {
            Kind::Number(_) | Kind::Bool(_) if scalars.contains(&node.span) => {
                let written = self.source.slice(node.span);
                // Behind an alias (`*name`) or a tag there is no spelling.
                let is_spelling = written
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "+-._".contains(c));
                node.kind = Kind::Text(if is_spelling {
                    written.to_owned()
                } else {
                    node.to_value().to_string()
                });
            }
            Kind::List(items) => items.iter_mut().for_each(|item| self.spell(item, scalars)),
            Kind::Map(entries) => entries
                .iter_mut()
                .for_each(|(_, value)| self.spell(value, scalars)),
            _ => {}
        }
    }
}

/// A step that expects an error, or may expect one, sends what is written.
pub(super) fn scalars(step: &Node) -> Scalars {
    let Some(expect) = step.get("expect") else {
        return Scalars::AsText;
    };
    let is_failure = |status: &Node| match &status.kind {
        Kind::Number(number) => number.as_u64().is_none_or(|status| status >= 400),
        _ => true,
    };
    let expects_failure = expect.get("error").is_some()
        || expect
            .get("status")
            .is_some_and(|status| one_or_more(status).iter().any(is_failure));
    if expects_failure {
        Scalars::AsWritten
    } else {
        Scalars::AsText
    }
}

/// What is known of a value before the run; null stands for the rest. Keys with a template in them are left out.
fn known(node: &Node, (schema, place): (&Schema, &mut Vec<String>)) -> Value {
    if is_file(node) && schema.is_text(place) {
        return Value::Null;
    }
    let mut below = |step: String, node: &Node| {
        place.push(step);
        let value = known(node, (schema, place));
        place.pop();
        value
    };
    match &node.kind {
        Kind::Text(text) if has_template(text) => Value::Null,
        Kind::List(items) => items
            .iter()
            .enumerate()
            .map(|(index, item)| below(index.to_string(), item))
            .collect(),
        Kind::Map(entries) => entries
            .iter()
            .filter(|(key, _)| !has_template(&key.text))
            .map(|(key, value)| (key.text.clone(), below(key.text.clone(), value)))
            .collect::<Map<_, _>>()
            .into(),
        _ => node.to_value(),
    }
}

/// The value at a place, as far as it leads, and where its key is written.
fn at<'a>(body: &'a Node, place: &[String]) -> (&'a Node, Option<Span>) {
    let mut found = (body, None);
    for step in place {
        let next = match &found.0.kind {
            Kind::Map(entries) => entries
                .iter()
                .find(|(key, _)| key.text == *step)
                .map(|(key, value)| (value, Some(key.span))),
            Kind::List(items) => step
                .parse::<usize>()
                .ok()
                .and_then(|index| items.get(index))
                .map(|item| (item, None)),
            _ => None,
        };
        match next {
            Some(next) => found = next,
            None => break,
        }
    }
    found
}

/// The numbers and booleans that stand where the API has text.
fn scalars_of_text(node: &Node, schema: &Schema, place: &mut Vec<String>, found: &mut Vec<Span>) {
    let inside: Vec<(String, &Node)> = match &node.kind {
        Kind::Number(_) | Kind::Bool(_) if schema.is_text(place) => {
            found.push(node.span);
            return;
        }
        Kind::List(items) => items
            .iter()
            .enumerate()
            .map(|(index, item)| (index.to_string(), item))
            .collect(),
        Kind::Map(entries) => entries
            .iter()
            .map(|(key, value)| (key.text.clone(), value))
            .collect(),
        _ => return,
    };
    for (step, value) in inside {
        place.push(step);
        scalars_of_text(value, schema, place, found);
        place.pop();
    }
}

/// What people write for something that stands elsewhere in the body of an instance or a profile.
fn own_word(key: &str) -> Option<&'static str> {
    Some(match key {
        "image" => "write `source: {type: image, alias: NAME}`",
        "cpu" | "cpus" | "limits" => "limits stand in `config`: `config: {limits.cpu: 2}`",
        "memory" | "mem" => "write `config: {limits.memory: 1GiB}`",
        "privileged" | "nesting" => {
            "write `config: {security.privileged: true}`, or `security.nesting`"
        }
        "env" | "environment" => "variables stand in `config`: `config: {environment.NAME: value}`",
        "network" | "networks" | "nic" | "nics" => {
            "an interface is a device: `devices: {eth0: {type: nic, network: NAME}}`"
        }
        "disk" | "disks" | "volumes" | "mounts" => {
            "a disk is a device: `devices: {data: {type: disk, pool: NAME, source: VOLUME, path: /data}}`"
        }
        "user_data" | "user-data" | "cloud_init" | "cloud-init" => {
            "write `config: {cloud-init.user-data: {file: PATH}}`"
        }
        _ => return None,
    })
}

/// Whether a text is a mapping as JSON has them.
fn is_json_object(text: &str) -> bool {
    serde_json::from_str::<Map<String, Value>>(text).is_ok()
}

/// How a place is called in a message.
fn named(key: &str, body: &Node, node: &Node) -> String {
    if std::ptr::eq(body, node) {
        "the body".to_owned()
    } else if key.parse::<usize>().is_ok() {
        "each item".to_owned()
    } else {
        format!("`{key}`")
    }
}

/// `an instance`, `a network ACL`, ``a `dir` storage pool``.
fn thing(of: bodies::Kind) -> String {
    let kind = of.name.replace('-', " ").replace(" acl", " ACL");
    match of.variant {
        Some(variant) => format!("a `{variant}` {kind}"),
        None if kind.starts_with(['a', 'e', 'i', 'o', 'u']) => format!("an {kind}"),
        None => format!("a {kind}"),
    }
}

/// The nearest of what is known, or all of it where that is not much.
fn near(word: &str, known: &[&str]) -> String {
    let near = did_you_mean(word, known.iter().copied());
    if near.is_empty() && known.len() <= LISTED && !known.is_empty() {
        format!("known here: {}", quoted(known))
    } else {
        near
    }
}

/// As [`near`], for keys of which an author may have own ones, and that other variants may have.
fn own_key(key: &str, known: &[&str], elsewhere: &[&str]) -> String {
    let near = near(key, known);
    if elsewhere.is_empty() && near.is_empty() {
        format!("a key of your own begins with `user.`: `user.{key}`")
    } else if elsewhere.is_empty() {
        near
    } else {
        format!("a key of {}", quoted(elsewhere))
    }
}

/// `` `a`, `b` ``.
fn quoted(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}
