//! Exchanges that are played on real and on simulated servers, and held against each other field by field.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use malleus::client::{Class, Client, Content, Operation, Reply, Request, Token};
use regex_lite::Regex;
use serde_json::Value;

use super::daemon::Flavor;

/// What is seen of one exchange: texts by the place where they stand.
type Seen = BTreeMap<String, String>;

/// Lines with what was seen of each.
pub(crate) type Played = Vec<(String, Seen)>;

/// What is true of one machine or one moment only.
const MEASURED: [&str; 11] = [
    "pid",
    "usage",
    "usage_peak",
    "total",
    "used",
    "processes",
    "size",
    "speed",
    "cpu",
    "id",
    "sysinfo",
];

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

/// Every value of a JSON text at its place. The order means nothing in any list of this API.
fn note(seen: &mut Seen, place: &str, value: &Value) {
    match value {
        Value::Object(map) => {
            if map.is_empty() {
                seen.insert(place.to_owned(), "{}".to_owned());
            }
            for (key, value) in map {
                if !MEASURED.contains(&key.as_str()) {
                    note(seen, &format!("{place}.{key}"), value);
                }
            }
        }
        Value::Array(items) => {
            let texts = items.iter().map(|item| {
                let mut inner = Seen::new();
                note(&mut inner, "", item);
                let parts: Vec<String> = inner
                    .into_iter()
                    .map(|(place, text)| format!("{place}={text}"))
                    .collect();
                parts.join(" ")
            });
            let mut texts: Vec<String> = texts.collect();
            texts.sort();
            seen.insert(place.to_owned(), format!("[{}]", texts.join(", ")));
        }
        Value::String(text) => {
            seen.insert(place.to_owned(), plain(text));
        }
        other => {
            seen.insert(place.to_owned(), other.to_string());
        }
    }
}

/// A text without what is true of one server or one run.
fn plain(text: &str) -> String {
    const PATTERNS: [(&str, &str); 8] = [
        (
            r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            "{uuid}",
        ),
        (r"\b[0-9a-f]{64}\b", "{hash}"),
        (r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z", "{time}"),
        (r"/tmp/malleus\.\w+|/var/lib/(?:incus|lxd)", "{dir}"),
        (r"\d+(?:\.\d+)?[kMG]?B/s", "{speed}"),
        (r"127\.0\.0\.1:\d+|192\.0\.2\.\d+:8443", "{address}"),
        (
            r"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----\n",
            "{certificate}",
        ),
        (r"sim-[0-9a-f]{8}", "{name}"),
    ];
    PATTERNS
        .iter()
        .fold(text.to_owned(), |text, (pattern, by)| {
            let regex = Regex::new(pattern).expect("a regex");
            regex.replace_all(&text, *by).into_owned()
        })
}

/// What differs and is not in a list of what is known to, and the entries of the list that explain nothing. Its lines are
/// `incus|lxd|both | REQUEST | PLACE | REASON`, the middle two regular expressions.
pub(crate) fn differences(
    (flavor, list): (Flavor, &str),
    (real, simulated): (&Played, &Played),
) -> Vec<String> {
    let known = known(flavor, list);
    let mut used = BTreeSet::new();
    let mut wrong = Vec::new();
    for ((line, real), (_, simulated)) in real.iter().zip(simulated) {
        let places: BTreeSet<&String> = real.keys().chain(simulated.keys()).collect();
        for place in places {
            let of = |seen: &Seen| seen.get(place).cloned().unwrap_or_default();
            let (should, is) = (of(real), of(simulated));
            let explained = known
                .iter()
                .position(|(request, at, _)| request.is_match(line) && at.is_match(place));
            match explained {
                _ if should == is => {}
                Some(at) => {
                    used.insert(at);
                }
                None => wrong.push(format!(
                    "{flavor}: {line}\n    {place}\n      real      {should}\n      simulated {is}"
                )),
            }
        }
    }
    for (at, (_, _, entry)) in known.iter().enumerate() {
        if !used.contains(&at) {
            wrong.push(format!("{flavor}: explains nothing any more: {entry}"));
        }
    }
    wrong
}

fn known(flavor: Flavor, list: &str) -> Vec<(Regex, Regex, String)> {
    let whole = |text: &str| Regex::new(&format!("^(?:{})$", text.trim())).expect("a regex");
    let all = lines(list).into_iter().filter_map(|line| {
        let parts: Vec<&str> = line.split(" | ").collect();
        let [brand, request, place, reason] = parts.as_slice() else {
            panic!("{line}: four parts");
        };
        assert!(!reason.trim().is_empty(), "{line}: no reason");
        let mine = brand.trim() == "both" || brand.trim() == flavor.name();
        mine.then(|| (whole(request), whole(place), line.clone()))
    });
    all.collect()
}
