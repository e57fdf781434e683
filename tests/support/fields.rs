//! Exchanges that are played on real and on simulated servers, and held against each other field by field.

use std::path::{Path, PathBuf};

use malleus::client::{Class, Client, Content, Operation, Reply, Request, Token};

use super::daemon::Flavor;
use super::known::Ledger;
use super::seen::{Seen, note, plain};

/// Lines with what was seen of each.
pub(crate) type Played = Vec<(String, Seen)>;

fn file(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/fidelity").join(name)
}

fn lines(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(file(name)).expect("a file of the suite");
    let lines = text.lines();
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// Who plays, and what `{WORD}` stands for.
pub(crate) struct Cast<'a> {
    /// Whose lines begin with `AS NAME`; the first has those that do not.
    pub(crate) clients: Vec<(&'static str, Client)>,
    pub(crate) words: Vec<(&'static str, &'a str)>,
}

impl Cast<'_> {
    /// Plays a file's lines `[AS NAME] METHOD PATH [JSON]` in order. Operations are waited for and then shown; `{token}` is what
    /// the last one that was a token came to.
    pub(crate) fn play(&self, name: &str) -> Played {
        let mut token = String::new();
        let mut all = Vec::new();
        for line in lines(name) {
            let (who, rest) = match line.strip_prefix("AS ") {
                Some(rest) => rest.split_once(' ').expect("AS NAME METHOD PATH"),
                None => (self.clients[0].0, line.as_str()),
            };
            let client = self.clients.iter().find(|(name, _)| *name == who);
            let (_, client) = client.expect("one of the cast");
            let mut rest = rest.replace("{token}", &token);
            for (word, by) in &self.words {
                rest = rest.replace(word, by);
            }
            let reply = send(client, &request(&rest));
            let mut seen = Seen::new();
            note_reply(&mut seen, &reply);
            if let Some(operation) = reply.operation() {
                if operation.class == Class::Token {
                    token = joined(&reply);
                } else {
                    let path = format!("/1.0/operations/{}", operation.id);
                    let waited = send(client, &Request::get(format!("{path}/wait")));
                    note(&mut seen, "wait", &waited.body());
                    note(
                        &mut seen,
                        "after",
                        &send(client, &Request::get(path)).body(),
                    );
                }
            }
            all.push((line, seen));
        }
        all
    }
}

fn joined(reply: &Reply) -> String {
    let operation = Operation::from_value(reply.metadata()).expect("an operation");
    Token::of(&operation)
        .map(|token| token.joined())
        .unwrap_or_default()
}

fn request(line: &str) -> Request {
    let (method, rest) = line.split_once(' ').expect("METHOD PATH");
    let (path, body) = rest.split_once(' ').unwrap_or((rest, ""));
    let request = Request::new(method, path).skip_validation();
    match body {
        "" => request,
        body => request.json(serde_json::from_str(body).expect("JSON")),
    }
}

fn send(client: &Client, request: &Request) -> Reply {
    let reply = client.send(request);
    reply.unwrap_or_else(|error| panic!("{request:?}: {error}"))
}

fn note_reply(seen: &mut Seen, reply: &Reply) {
    seen.insert("status".into(), reply.status.to_string());
    for (name, value) in reply.headers.iter() {
        match name.to_lowercase().as_str() {
            "location" => {
                seen.insert("location".into(), plain(value));
            }
            "etag" => {
                seen.insert("etag".into(), "some".into());
            }
            _ => {}
        }
    }
    match &reply.content {
        Content::Bytes(bytes) if bytes.len() > 10_000 => {
            seen.insert("body".into(), "(long)".into());
        }
        _ => note(seen, "body", &reply.body()),
    }
}

/// What differs and is not in a list of what is known to, and the entries of the list that explain nothing.
pub(crate) fn differences(
    (flavor, list): (Flavor, &str),
    (real, simulated): (&Played, &Played),
) -> Vec<String> {
    let mut ledger = Ledger::read(flavor, &file(list));
    for ((line, real), (_, simulated)) in real.iter().zip(simulated) {
        ledger.compare(line, real, simulated);
    }
    ledger.end()
}
