//! Eight containers from creation to deletion, side by side: malleus beside a client written by hand for just these
//! requests, on a private daemon of each brand.
//!
//!     cargo bench --bench fleet [-- [ROUNDS] [incus|lxd]]
//!
//! The client by hand keeps a connection for each container, and asks for the end of an operation by `/wait`. How many
//! operations that load the processors it begins at a time is tried out; malleus is compared with the best. Each round runs
//! every candidate once, in an order that turns, so that what else the machine does touches them alike.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a bench tells its figures, and ends where it cannot go on"
)]

#[path = "../tests/support/daemon.rs"]
#[allow(dead_code, reason = "tests use more of it")]
mod daemon;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use daemon::{Daemon, daemons};
use serde_json::{Value, json};

/// Containers at a time.
const FLEET: usize = 8;

/// Operations that load the processors at a time, as the client by hand tries them.
const HEAVY: [usize; 3] = [2, 4, FLEET];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Cargo says so when it is the bench that is wanted, and not a test that it builds.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let rounds = arguments.iter().find_map(|argument| argument.parse().ok());
    let named = |name| arguments.iter().any(|argument| argument == name);
    let all = !named("incus") && !named("lxd");
    for flavor in daemons() {
        if !all && !named(flavor.name()) {
            continue;
        }
        let daemon = Daemon::start(flavor);
        measure(&daemon, rounds.unwrap_or(9));
    }
}

fn measure(daemon: &Daemon, rounds: usize) {
    let mut times = vec![Vec::new(); HEAVY.len() + 1];
    let run = |candidate: usize| match candidate.checked_sub(1) {
        None => by_malleus(&daemon.socket),
        Some(at) => by_hand(&daemon.socket, HEAVY[at]),
    };
    // The first run of each warms the daemon up.
    for round in 0..=rounds {
        for turn in 0..times.len() {
            let candidate = (round + turn) % times.len();
            let took = run(candidate);
            if round > 0 {
                times[candidate].push(took);
            }
        }
    }
    let medians: Vec<f64> = times.into_iter().map(median).collect();
    let (malleus, by_hand) = medians.split_first().expect("there are some");
    let best = by_hand.iter().copied().fold(f64::INFINITY, f64::min);
    println!("{}, medians of {rounds} rounds:", daemon.flavor);
    println!("  malleus                {malleus:.3} s");
    for (heavy, time) in HEAVY.iter().zip(by_hand) {
        println!("  by hand, {heavy} at a time   {time:.3} s");
    }
    println!("  malleus / the best     {:.2}", malleus / best);
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

fn by_malleus(socket: &Path) -> Duration {
    let playbook = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/fleet.yaml");
    let start = Instant::now();
    let ended = Command::new(env!("CARGO_BIN_EXE_malleus"))
        .args(["run", "-q", "--remote"])
        .args([socket, &playbook])
        .status();
    assert!(ended.expect("malleus runs").success());
    start.elapsed()
}

fn by_hand(socket: &Path, heavy: usize) -> Duration {
    let start = Instant::now();
    let gate = Gate {
        free: Mutex::new(heavy),
        left: Condvar::new(),
    };
    std::thread::scope(|threads| {
        for number in 0..FLEET {
            let gate = &gate;
            threads.spawn(move || life(socket, &format!("by-hand-{number}"), gate));
        }
    });
    start.elapsed()
}

/// Lets some operations through at a time.
struct Gate {
    free: Mutex<usize>,
    left: Condvar,
}

impl Gate {
    fn through<T>(&self, work: impl FnOnce() -> T) -> T {
        let free = self.free.lock().expect("no panic");
        *self
            .left
            .wait_while(free, |free| *free == 0)
            .expect("no panic") -= 1;
        let done = work();
        *self.free.lock().expect("no panic") += 1;
        self.left.notify_one();
        done
    }
}

/// From creation to deletion.
fn life(socket: &Path, name: &str, gate: &Gate) {
    let instance = format!("/1.0/instances/{name}");
    let state = format!("{instance}/state");
    let create = json!({"name": name, "source": {"type": "image", "alias": "busybox"}});
    let mut connection = gate.through(|| {
        let mut connection = Connection::to(socket);
        connection.operation("POST", "/1.0/instances", &create);
        connection
    });
    gate.through(|| connection.operation("PUT", &state, &json!({"action": "start"})));
    let exec = json!({
        "command": ["echo", "hello"], "record-output": true,
        "wait-for-websocket": false, "interactive": false,
    });
    let ended = gate.through(|| connection.operation("POST", &format!("{instance}/exec"), &exec));
    let log = |stream: &str| ended["metadata"]["output"][stream].as_str().expect("a log");
    assert_eq!(connection.call("GET", log("1"), None), b"hello\n");
    connection.call("DELETE", log("1"), None);
    connection.call("DELETE", log("2"), None);
    connection.operation("PUT", &state, &json!({"action": "stop", "force": true}));
    connection.operation("DELETE", &instance, &Value::Null);
}

/// A connection that is kept.
struct Connection(BufReader<UnixStream>);

impl Connection {
    /// Incus takes no other connection until this one has sent something: connect, then send.
    fn to(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("the socket");
        let limit = Some(Duration::from_secs(60));
        stream.set_read_timeout(limit).expect("a limit");
        Self(BufReader::new(stream))
    }

    /// A request whose operation is waited for: what became of it.
    fn operation(&mut self, method: &str, path: &str, body: &Value) -> Value {
        let begun = self.call(method, path, Some(body));
        let begun: Value = serde_json::from_slice(&begun).expect("JSON");
        let id = begun["metadata"]["id"].as_str();
        let id = id.unwrap_or_else(|| panic!("{method} {path}: {begun}"));
        let ended = self.call("GET", &format!("/1.0/operations/{id}/wait"), None);
        let ended: Value = serde_json::from_slice(&ended).expect("JSON");
        assert_eq!(
            ended["metadata"]["status_code"], 200,
            "{method} {path}: {ended}"
        );
        ended["metadata"].clone()
    }

    fn call(&mut self, method: &str, path: &str, body: Option<&Value>) -> Vec<u8> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: daemon\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let sent = self.0.get_mut().write_all(request.as_bytes());
        sent.expect("sent");
        self.reply()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line");
        assert!(!line.is_empty(), "the connection was closed");
        line.trim_end().to_ascii_lowercase()
    }

    fn exactly(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).expect("a body");
        bytes
    }

    fn reply(&mut self) -> Vec<u8> {
        let (mut length, mut chunked) = (0, false);
        self.line();
        loop {
            let line = self.line();
            match line.split_once(": ") {
                None => break,
                Some(("content-length", value)) => length = value.parse().expect("a length"),
                Some(("transfer-encoding", value)) => chunked = value == "chunked",
                Some(_) => {}
            }
        }
        if !chunked {
            return self.exactly(length);
        }
        let mut body = Vec::new();
        loop {
            let size = usize::from_str_radix(&self.line(), 16).expect("the size of a chunk");
            body.extend(self.exactly(size));
            self.exactly(2);
            if size == 0 {
                return body;
            }
        }
    }
}
