//! How true the simulated daemon is: one suite of exchanges and all scenarios on real and on simulated daemons, held against
//! each other field by field. What differs is listed in `tests/fidelity/known` with a reason; an entry that explains nothing fails the test.

use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::daemon::{Daemon, Flavor, Generation, daemons};
use crate::support::known::Ledger;
use crate::support::played::{self, Played};
use crate::support::program::{Running, malleus};
use crate::support::proxy::Proxy;
use crate::support::seen::{Seen, note, note_answer, note_events};
use crate::support::transcript::Answer;
use malleus::client::{Client, Content, Limit, Remote, Reply, Request, Wait};
use malleus::sim::{Flavor as SimFlavor, Options, Sim};
use regex_lite::Regex;
use serde_json::{Value, json};
use tungstenite::Message;

#[test]
fn simulated_daemons_answer_as_real_ones_do() {
    let wrong: Vec<String> = thread::scope(|threads| {
        let runs: Vec<_> = daemons()
            .into_iter()
            .filter(|generation| *generation == generation.flavor().into())
            .map(|generation| threads.spawn(move || compare(generation)))
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
fn compare(generation: Generation) -> Vec<String> {
    let flavor = generation.flavor();
    let mut ledger = Ledger::read(flavor, &file("known"));
    let (suite, playbooks) = thread::scope(|threads| {
        let suite = threads.spawn(|| {
            let (real, sim) = (Daemon::start(generation), sim(flavor));
            let real = Suite::on(&real.socket, flavor).run();
            (real, Suite::on(sim.socket(), flavor).run())
        });
        let playbooks = threads.spawn(|| {
            let (real, sim) = (Daemon::start(generation), sim(flavor));
            import(&sim);
            (scenarios(&real.socket), scenarios(sim.socket()))
        });
        (
            suite.join().expect("no panic"),
            playbooks.join().expect("no panic"),
        )
    });
    for ((request, real), (_, simulated)) in suite.0.iter().zip(&suite.1) {
        ledger.compare(request, real, simulated);
    }
    for ((name, real), (_, simulated)) in playbooks.0.iter().zip(&playbooks.1) {
        ledger.turn_to(name);
        played::compare(&mut ledger, real, simulated);
    }
    ledger.end()
}

fn sim(flavor: Flavor) -> Sim {
    let brand = match flavor {
        Flavor::Incus => SimFlavor::Incus,
        Flavor::Lxd => SimFlavor::Lxd,
    };
    Sim::start(Options::new(brand)).expect("it starts")
}

/// Replaces the image of a simulated daemon by the one that real ones have here.
fn import(sim: &Sim) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/images/build");
    let built = Command::new(script).output().expect("the image's script");
    let image = String::from_utf8(built.stdout).expect("a path");
    let client = Client::connect(&Remote::Unix(sim.socket().to_owned())).expect("connected");
    let run = |request: &Request| {
        let wait = Wait::within(Limit::after("test", Duration::from_secs(60)));
        client.run(request, &wait).expect("done")
    };
    let alias = run(&Request::get("images/aliases/busybox"));
    let old = alias.reply.metadata()["target"].as_str().expect("a target");
    run(&Request::delete(format!("images/{old}")));
    let upload = Request::post("images").upload(image.trim());
    let new = run(&upload).operation.expect("an operation").metadata["fingerprint"].clone();
    run(&Request::post("images/aliases").json(json!({"name": "busybox", "target": new})));
}

fn file(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/fidelity").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(file(name)).expect("a file of the suite")
}

/// Runs all scenarios on a daemon, one after the other: some look at all that there is.
fn scenarios(socket: &Path) -> Vec<(String, Played)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let proxy = Proxy::recording(socket);
    let entries = std::fs::read_dir(folder).expect("the scenarios");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|is| is == "yaml"))
        .collect();
    files.sort();
    let before = held(socket);
    let played = files
        .iter()
        .map(|file| {
            let name = file.file_stem().expect("a name").to_string_lossy();
            (name.into_owned(), scenario(&proxy, file))
        })
        .collect();
    assert_eq!(held(socket), before, "what the scenarios leave");
    played
}

/// What a daemon holds.
fn held(socket: &Path) -> BTreeSet<String> {
    let client = Client::connect(&Remote::Unix(socket.to_owned())).expect("connected");
    let lists = [
        "instances",
        "images",
        "images/aliases",
        "profiles",
        "projects",
    ];
    let all = lists.iter().flat_map(|list| {
        let reply = client.request(&Request::get(*list)).expect("a list");
        reply.metadata().as_array().cloned().unwrap_or_default()
    });
    let own = all.filter_map(|path| path.as_str().map(str::to_owned));
    let networks = client.request(&Request::get("networks").query("recursion", "1"));
    let networks = networks.expect("a list").metadata().clone();
    // The others are devices that the daemon has not made.
    let networks = networks.as_array().cloned().unwrap_or_default();
    let managed = networks.into_iter().filter(|one| one["managed"] == true);
    own.chain(managed.map(|one| one["name"].to_string()))
        .collect()
}

fn scenario(proxy: &Proxy, file: &Path) -> Played {
    let home = tempfile::tempdir().expect("a folder");
    proxy.clear();
    let mut command = malleus(home.path());
    command
        .args(["run".as_ref(), file.as_os_str(), "--remote".as_ref()])
        .arg(&proxy.socket);
    if file.ends_with("files.yaml") {
        command.args(["--var", &format!("to={}", home.path().display())]);
    }
    let ran = Running::start(&mut command, None).end();
    assert_eq!(ran.code(), Some(0), "{}: {}", file.display(), ran.stderr());
    let own = runs(&ran.stderr());
    let exchanges = proxy.transcript.as_ref().expect("it records").exchanges();
    Played::of(&exchanges, &own)
}

/// The identifiers of the runs that a command tells of.
fn runs(stderr: &str) -> Vec<(String, String)> {
    let header = Regex::new(r"run ([a-z][a-z0-9]{5}) on ").expect("a regex");
    let found = header.captures_iter(stderr);
    found
        .map(|found| (found[1].to_owned(), "{run}".to_owned()))
        .collect()
}

/// The suite on one daemon.
struct Suite {
    socket: PathBuf,
    client: Client,
    prefix: &'static str,
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
        Suite {
            socket: socket.to_owned(),
            client,
            prefix,
            image,
            operation: Value::Null,
        }
    }

    fn run(mut self) -> Vec<(String, Seen)> {
        let mut all = Vec::new();
        let events = Listener::at(&self.socket);
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
        let mut seen = Seen::new();
        note_events(&mut seen, &events.end());
        all.push(("EVENTS".to_owned(), seen));
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
                let mut waited = Seen::new();
                let request = Request::get(format!("{path}/wait"));
                note_reply(&mut waited, &self.send(&request));
                let waited = waited.into_iter();
                seen.extend(waited.map(|(place, text)| (format!("wait {place}"), text)));
                let after = self.send(&Request::get(path));
                self.operation = after.metadata().clone();
                note(&mut seen, "after", &after.body());
            }
        }
        if let Some((instance, _)) = line.split_once("/state {\"action\": \"") {
            self.settle(instance.trim_start_matches("PUT "));
        }
        seen
    }

    /// The first process of a running instance does not hear a signal before it has begun with its work, a second process.
    fn settle(&self, instance: &str) {
        let begun = Instant::now();
        loop {
            let reply = self.send(&Request::get(format!("{instance}/state")));
            let state = reply.metadata();
            if state["status"] != "Running" || state["processes"].as_u64() > Some(1) {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{state}");
            thread::sleep(Duration::from_millis(20));
        }
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

/// Takes down events while something else is done.
struct Listener {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Value>>,
}

impl Listener {
    /// Listens to all projects: the client would to one.
    fn at(socket: &Path) -> Listener {
        let stream = UnixStream::connect(socket).expect("a daemon");
        let path = "ws://daemon/1.0/events?type=lifecycle&all-projects=true";
        let (mut socket, _) = tungstenite::client(path, stream).expect("a websocket");
        let moment = Some(Duration::from_millis(300));
        socket.get_ref().set_read_timeout(moment).expect("a limit");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut all = Vec::new();
            loop {
                // The last ones may come a moment after what they tell of.
                let over = stopped.load(Ordering::SeqCst);
                match socket.read() {
                    Ok(Message::Text(text)) => all.push(serde_json::from_str(&text).expect("JSON")),
                    Err(_) if over => return all,
                    Ok(_) | Err(_) => {}
                }
            }
        });
        Listener { stop, thread }
    }

    fn end(self) -> Vec<Value> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("no panic")
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
    let headers = reply.headers.iter();
    let answer = Answer {
        status: reply.status,
        headers: headers
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect(),
        body: match &reply.content {
            Content::Bytes(bytes) => bytes.clone(),
            Content::Empty => Vec::new(),
            Content::Text(text) => text.clone().into_bytes(),
            _ => reply.body().to_string().into_bytes(),
        },
        ..Answer::default()
    };
    note_answer(seen, &answer);
}
