//! What is seen of an exchange, without what is true of one daemon or one run only: for comparing replies field by field.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex_lite::Regex;
use serde_json::Value;

use super::transcript::Answer;

/// Texts by the place where they stand.
pub(crate) type Seen = BTreeMap<String, String>;

/// Numbers that nobody can foresee.
const MEASURED: &[&str] = &[
    "pid",
    "usage",
    "usage_peak",
    "total",
    "used",
    "processes",
    "size",
    "speed",
    "kernel_version",
    "server_pid",
    "cpu",
    "id",
    "sysinfo",
    // What a kernel sends by itself.
    "bytes_received",
    "bytes_sent",
    "packets_received",
    "packets_sent",
];

/// Headers that say nothing about the resource.
const DULL: [&str; 5] = [
    "content-length",
    "date",
    "sec-websocket-accept",
    "transfer-encoding",
    "last-modified",
];

/// Notes a reply: its status, headers and body.
pub(crate) fn note_answer(seen: &mut Seen, answer: &Answer) {
    seen.insert("status".into(), answer.status.to_string());
    for (name, value) in &answer.headers {
        if !DULL.contains(&name.as_str()) {
            let value = if name == "etag" {
                "some".to_owned()
            } else {
                plain(value)
            };
            seen.insert(format!("header {name}"), value);
        }
    }
    note_body(seen, "body", &answer.body);
}

/// Notes a body: JSON by its fields, all else as one text.
pub(crate) fn note_body(seen: &mut Seen, place: &str, body: &[u8]) {
    match serde_json::from_slice::<Value>(body) {
        Ok(value) if value.is_object() || value.is_array() => note(seen, place, &value),
        _ => {
            let text = str::from_utf8(body).map_or_else(|_| "(bytes)".to_owned(), plain);
            seen.insert(place.to_owned(), text);
        }
    }
}

/// Notes events by what they are about: those of different things come in any order.
pub(crate) fn note_events(seen: &mut Seen, events: &[Value]) {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for event in events {
        let part = |key: &str| plain(event["metadata"][key].as_str().unwrap_or_default());
        let place = format!("{} of {}", part("action"), part("source"));
        note(seen, &place, event);
        *counts.entry(place).or_default() += 1;
    }
    let counts = counts.into_iter();
    seen.extend(counts.map(|(place, count)| (format!("{place}, times"), count.to_string())));
}

/// Notes every value of a JSON text at its place.
pub(crate) fn note(seen: &mut Seen, place: &str, value: &Value) {
    match value {
        // Operations tell of progress where the machine takes its time, and have no metadata where it does not.
        Value::Object(map)
            if !map.is_empty() && map.keys().all(|key| key.ends_with("_progress")) =>
        {
            seen.insert(place.to_owned(), Value::Null.to_string());
        }
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
        Value::Array(items) => note_list(seen, place, items),
        Value::String(text) => {
            seen.insert(place.to_owned(), plain(text));
        }
        other => {
            seen.insert(place.to_owned(), other.to_string());
        }
    }
}

/// Notes a list. The order means nothing in any list of this API: things stand by their names.
fn note_list(seen: &mut Seen, place: &str, items: &[Value]) {
    if !items.iter().any(Value::is_object) {
        let texts = items.iter().map(|item| match item {
            Value::String(text) => plain(text),
            other => other.to_string(),
        });
        let mut texts: Vec<String> = texts.collect();
        texts.sort();
        seen.insert(place.to_owned(), format!("[{}]", texts.join(", ")));
        return;
    }
    let mut named: Vec<(String, Seen)> = items
        .iter()
        .map(|item| {
            let names = ["name", "address", "fingerprint"];
            let name = names.iter().find_map(|name| item[name].as_str());
            let mut inner = Seen::new();
            note(&mut inner, "", item);
            (name.map_or_else(String::new, plain), inner)
        })
        .collect();
    named.sort();
    let mut last = (String::new(), 0);
    for (name, inner) in named {
        last = if last.0 == name {
            (name, last.1 + 1)
        } else {
            (name, 0)
        };
        let more = "+".repeat(last.1);
        let own = inner
            .into_iter()
            .map(|(at, text)| (format!("{place}[{}{more}]{at}", last.0), text));
        seen.extend(own);
    }
}

/// A text without what is true of one daemon or one run.
pub(crate) fn plain(text: &str) -> String {
    const PATTERNS: &[(&str, &str)] = &[
        (
            r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            "{uuid}",
        ),
        (r"\b[0-9a-f]{64}\b", "{hash}"),
        (r"\b[0-9a-f]{32}\b", "{token}"),
        (
            r"\b((?:[0-9a-f]{2}:){3})(?:[0-9a-f]{2}:){2}[0-9a-f]{2}\b",
            "$1{mac}",
        ),
        (
            r"\b(fe80::[0-9a-f]+:[0-9a-f]{2})[0-9a-f]{0,2}:[0-9a-f:]+\b",
            "$1{mac}",
        ),
        (r"\b(8000\.[0-9a-f]{6})[0-9a-f]{6}\b", "$1{mac}"),
        (r"\bveth[0-9a-f]{8}\b", "{veth}"),
        (r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z", "{time}"),
        (r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d \+0000 UTC", "{time}"),
        (r"/tmp/malleus\.\w+|/var/lib/(?:incus|lxd)", "{dir}"),
        (r"/var/log/(?:incus|lxd)", "{dir}/logs"),
        (r"\d+(?:\.\d+)?[kMG]?B/s", "{speed}"),
        (r"127\.0\.0\.1:\d+|192\.0\.2\.\d+:8443", "{address}"),
        (
            r"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----\n",
            "{certificate}",
        ),
        (r"sim-[0-9a-f]{8}", "{name}"),
    ];
    static COMPILED: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        let compiled =
            |(pattern, by): &(&str, &'static str)| (Regex::new(pattern).expect("a regex"), *by);
        PATTERNS.iter().map(compiled).collect()
    });
    COMPILED.iter().fold(text.to_owned(), |text, (regex, by)| {
        regex.replace_all(&text, *by).into_owned()
    })
}
