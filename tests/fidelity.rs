//! How true the simulated daemon is: one suite of exchanges on real and on simulated daemons, held against each other field
//! by field. What differs is listed in `tests/fidelity/known` with a reason; an entry that explains nothing fails the test.
#![cfg(feature = "sim")]
#![allow(clippy::expect_used, reason = "helpers of tests may end them")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::thread;

use malleus::client::{Client, Content, Remote, Reply, Request};
use malleus::sim::{Brand, Options, Sim};
use regex_lite::Regex;
use serde_json::{Value, json};
use support::daemon::{Daemon, Flavor, daemons};

/// What is seen of one exchange: texts by the place where they stand.
type Seen = BTreeMap<String, String>;

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
    "hwaddr",
    "id",
];

#[test]
fn simulated_daemons_answer_as_real_ones_do() {
    let wrong: Vec<String> = thread::scope(|threads| {
        let runs: Vec<_> = daemons()
            .into_iter()
            .map(|flavor| threads.spawn(move || compare(flavor)))
            .collect();
        runs.into_iter()
            .flat_map(|run| run.join().expect("no panic"))
            .collect()
    });
    assert!(
        wrong.is_empty(),
        "{} differences:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// The differences that are not known, and the known ones that are not there.
fn compare(flavor: Flavor) -> Vec<String> {
    let brand = match flavor {
        Flavor::Incus => Brand::Incus,
        Flavor::Lxd => Brand::Lxd,
    };
    let sim = Sim::start(Options::new(brand)).expect("it starts");
    let daemon = Daemon::start(flavor);
    let real = Suite::on(&daemon.socket, flavor).run();
    let simulated = Suite::on(sim.socket(), flavor).run();
    let known = known(flavor);
    let mut used = BTreeSet::new();
    let mut wrong = Vec::new();
    for ((request, real), (_, simulated)) in real.iter().zip(&simulated) {
        let places: BTreeSet<&String> = real.keys().chain(simulated.keys()).collect();
        for place in places {
            let nothing = String::from("(nothing)");
            let is = simulated.get(place).unwrap_or(&nothing);
            let should = real.get(place).unwrap_or(&nothing);
            if is == should {
                continue;
            }
            let explained = known
                .iter()
                .position(|known| known.request.is_match(request) && known.place.is_match(place));
            match explained {
                Some(at) => {
                    used.insert(at);
                }
                None => wrong.push(format!(
                    "{flavor}: {request}\n    {place}\n      real      {should}\n      simulated {is}"
                )),
            }
        }
    }
    let stale = known
        .iter()
        .enumerate()
        .filter(|(at, _)| !used.contains(at));
    wrong.extend(
        stale.map(|(_, known)| format!("{flavor}: explains nothing any more: {}", known.line)),
    );
    wrong
}

/// An entry of the list of known differences.
struct Known {
    request: Regex,
    place: Regex,
    line: String,
}

/// Lines `[incus|lxd] | REQUEST | PLACE | REASON`, the middle two regular expressions.
fn known(flavor: Flavor) -> Vec<Known> {
    let lines = read("known");
    let lines = lines
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let parts: Vec<&str> = line.split(" | ").collect();
            let [brand, request, place, reason] = parts.as_slice() else {
                panic!("{line}: four parts");
            };
            assert!(!reason.trim().is_empty(), "{line}: no reason");
            let whole =
                |text: &str| Regex::new(&format!("^(?:{})$", text.trim())).expect("a regex");
            (brand.trim() == "both" || brand.trim() == flavor.name()).then(|| Known {
                request: whole(request),
                place: whole(place),
                line: line.to_owned(),
            })
        })
        .collect()
}

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fidelity")
        .join(name);
    std::fs::read_to_string(path).expect("a file of the suite")
}

/// The suite on one daemon.
struct Suite {
    client: Client,
    prefix: &'static str,
    /// What names of networks and their addresses begin with: networks are the machine's, and other daemons may be at work.
    network: (String, String),
    image: String,
    operation: Value,
}

impl Suite {
    fn on(socket: &Path, flavor: Flavor) -> Suite {
        let client = Client::connect(&Remote::Unix(socket.to_owned())).expect("connected");
        let alias = client
            .request(&Request::get("images/aliases/busybox"))
            .expect("an alias");
        let image = alias.metadata()["target"]
            .as_str()
            .expect("a target")
            .to_owned();
        let prefix = match flavor {
            Flavor::Incus => "X-Incus-",
            Flavor::Lxd => "X-LXD-",
        };
        let own = std::process::id() % 100 * 2 + u32::from(flavor == Flavor::Lxd);
        Suite {
            client,
            prefix,
            network: (format!("br{own}-"), format!("10.{}.", own + 20)),
            image,
            operation: Value::Null,
        }
    }

    fn run(mut self) -> Vec<(String, Seen)> {
        let mut all = Vec::new();
        let lines = read("exchanges");
        for line in lines
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let exchanges = match line {
                "OUTPUT" => self.output(),
                line => vec![self.exchange(line)],
            };
            all.extend(exchanges.into_iter().map(|seen| (line.to_owned(), seen)));
        }
        all
    }

    fn exchange(&mut self, line: &str) -> Seen {
        let (once, line) = match line.strip_prefix("ONCE ") {
            Some(line) => (true, line),
            None => (false, line),
        };
        let id = self.operation["id"].as_str().unwrap_or_default();
        let line = line
            .replace("*-", self.prefix)
            .replace("br-", &self.network.0)
            .replace("10.98.", &self.network.1)
            .replace("{image}", &self.image)
            .replace("{prefix}", &self.image[..6])
            .replace("{operation}", id);
        let reply = self.send(&request(&line));
        let mut seen = Seen::new();
        note_reply(&mut seen, &reply);
        if let Some(operation) = reply.operation() {
            self.operation = json!({"id": operation.id});
            // One that ends at once may have ended before the answer was written.
            for part in ["err", "status", "status_code"] {
                seen.remove(&format!("body.metadata.{part}"));
            }
            if !once {
                let path = format!("/1.0/operations/{}", operation.id);
                let waited = self.send(&Request::get(format!("{path}/wait")));
                note(&mut seen, "wait", &waited.body());
                let after = self.send(&Request::get(path));
                self.operation = after.metadata().clone();
                note(&mut seen, "after", &after.body());
            }
        }
        seen
    }

    fn send(&self, request: &Request) -> Reply {
        let request = request.clone().skip_validation();
        self.client
            .send(&request)
            .unwrap_or_else(|error| panic!("{request:?}: {error}"))
    }

    /// The recorded output of the last command, read and deleted, twice.
    fn output(&self) -> Vec<Seen> {
        let mut all = Vec::new();
        for stream in ["1", "2"] {
            let Some(path) = self.operation["metadata"]["output"][stream].as_str() else {
                continue;
            };
            for method in ["GET", "DELETE", "GET", "DELETE"] {
                let mut seen = Seen::new();
                note_reply(&mut seen, &self.send(&Request::new(method, path)));
                all.push(seen);
            }
        }
        all
    }
}

fn request(line: &str) -> Request {
    let (method, rest) = line.split_once(' ').expect("METHOD PATH");
    let (path, mut rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let mut request = Request::new(method, path);
    while let Some(inner) = rest.strip_prefix('[').filter(|inner| inner.contains(']')) {
        let (header, after) = inner.split_once(']').expect("a closed bracket");
        let (name, value) = header.split_once(": ").expect("NAME: VALUE");
        request = request.header(name, value);
        rest = after.trim_start();
    }
    match rest.strip_prefix('<') {
        Some(raw) => request.bytes(raw.trim_start()),
        None if rest.is_empty() => request,
        None => request.json(serde_json::from_str(rest).expect("JSON")),
    }
}

fn note_reply(seen: &mut Seen, reply: &Reply) {
    seen.insert("status".into(), reply.status.to_string());
    let dull = [
        "content-length",
        "date",
        "transfer-encoding",
        "last-modified",
    ];
    for (name, value) in reply.headers.iter() {
        let name = name.to_lowercase();
        if !dull.contains(&name.as_str()) {
            let value = if name == "etag" {
                "some".to_owned()
            } else {
                plain(value)
            };
            seen.insert(format!("header {name}"), value);
        }
    }
    match &reply.content {
        Content::Bytes(bytes) if bytes.len() > 10_000 => {
            seen.insert("body".into(), "(long)".into());
        }
        _ => note(seen, "body", &reply.body()),
    }
}

/// Every value of a JSON text at its place.
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
        // Their order means nothing in any list of this API.
        Value::Array(items) => {
            let mut texts: Vec<String> = items
                .iter()
                .map(|item| {
                    let mut inner = Seen::new();
                    note(&mut inner, "", item);
                    let parts = inner
                        .into_iter()
                        .map(|(place, text)| format!("{place}={text}"));
                    parts.collect::<Vec<_>>().join(" ")
                })
                .collect();
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

/// A text without what is true of one daemon or one run.
fn plain(text: &str) -> String {
    const PATTERNS: &[(&str, &str)] = &[
        (
            r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            "{uuid}",
        ),
        (r"\b[0-9a-f]{64}\b", "{hash}"),
        (r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z", "{time}"),
        (r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d \+0000 UTC", "{time}"),
        (r"/tmp/malleus\.\w+|/var/lib/(?:incus|lxd)", "{dir}"),
        (r"/var/log/(?:incus|lxd)", "{dir}/logs"),
        (r"\d+(?:\.\d+)?[kMG]?B/s", "{speed}"),
    ];
    let mut text = text.to_owned();
    for (pattern, by) in PATTERNS {
        let regex = Regex::new(pattern).expect("a regex");
        text = regex.replace_all(&text, *by).into_owned();
    }
    text
}
