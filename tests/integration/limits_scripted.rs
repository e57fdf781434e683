//! Limits hold however slowly, or however endlessly, the other side talks.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::program::{Ran, Running, malleus};
use serde_json::{Value, json};
use tungstenite::handshake::derive_accept_key;

/// What the server does once it is asked for a websocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Answers the handshake byte by byte.
    Trickle,
    /// Sends pings without end.
    Pings,
    /// Sends parts of one message without end.
    Fragments,
    /// Sends events without end that are about something else.
    Events,
    /// Says nothing more.
    Silence,
}

/// A server with one running instance and a command that never ends.
struct Endless {
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Endless {
    fn serve(manner: Manner) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("unix.socket");
        let listener = UnixListener::bind(&socket).expect("a socket");
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || attend(stream, manner));
            }
        });
        Self {
            socket,
            _folder: folder,
        }
    }
}

fn attend(mut stream: UnixStream, manner: Manner) -> Option<()> {
    let mut received = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = received.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            let mut part = [0; 4096];
            let amount = stream.read(&mut part).ok().filter(|amount| *amount > 0)?;
            received.extend(&part[..amount]);
        };
        let head = String::from_utf8_lossy(&received[..end]).into_owned();
        let header = |name: &str| {
            let mut lines = head.lines();
            let line = lines.find(|line| line.to_lowercase().starts_with(name))?;
            Some(line[name.len()..].trim().to_owned())
        };
        let length: usize = header("content-length:").map_or(0, |text| text.parse().unwrap_or(0));
        while received.len() < end + length {
            let mut part = [0; 4096];
            let amount = stream.read(&mut part).ok().filter(|amount| *amount > 0)?;
            received.extend(&part[..amount]);
        }
        received.drain(..end + length);
        let line = head.lines().next().unwrap_or_default();
        if let Some(key) = header("sec-websocket-key:") {
            return speak(
                &mut stream,
                manner,
                line,
                &derive_accept_key(key.as_bytes()),
            );
        }
        let (status, body) = answer(line);
        let body = body.to_string();
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .ok()?;
    }
}

fn answer(line: &str) -> (u16, Value) {
    let sync = |metadata: Value| json!({"type": "sync", "status_code": 200, "metadata": metadata});
    if line.contains("/exec ") {
        let fds = json!({"0": "s0", "1": "s1", "2": "s2", "control": "sc"});
        let operation = json!({"id": "op1", "class": "websocket", "status_code": 103, "metadata": {"fds": fds}});
        let url = "/1.0/operations/op1";
        let body =
            json!({"type": "async", "status_code": 100, "operation": url, "metadata": operation});
        return (202, body);
    }
    if line.contains("/operations/op1/wait") {
        thread::sleep(Duration::from_secs(1));
    }
    let body = if line.contains("/operations/op1") {
        json!({"id": "op1", "class": "websocket", "status_code": 103, "metadata": {}})
    } else if line.contains("/operations") {
        json!({})
    } else if line.contains("/instances/x/state") {
        json!({"status": "Running", "status_code": 103, "network": {}})
    } else if line.contains("/instances/x") {
        json!({"name": "x", "status": "Running", "status_code": 103, "type": "container"})
    } else {
        json!({"auth": "trusted", "api_extensions": [],
            "environment": {"server": "incus", "server_version": "6.0.4", "project": "default"}})
    };
    (200, sync(body))
}

fn speak(stream: &mut UnixStream, manner: Manner, line: &str, accept: &str) -> Option<()> {
    let padding = "a".repeat(200);
    let head = format!(
        "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Padding: {padding}\r\n\
        Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    if manner == Manner::Trickle {
        for byte in head.bytes() {
            stream.write_all(&[byte]).ok()?;
            thread::sleep(Duration::from_millis(500));
        }
    }
    stream.write_all(head.as_bytes()).ok()?;
    // Only where output and events come from.
    if line.contains("secret=s1") || line.contains("/events") {
        let event = json!({"type": "lifecycle", "timestamp": "2024-01-01T00:00:00Z",
            "metadata": {"action": "instance-updated", "source": "/1.0/instances/y"}})
        .to_string();
        let frame = match manner {
            Manner::Pings => [&[0x89, 4][..], b"ping"].concat(),
            Manner::Fragments => [&[0x00, 4][..], b"part"].concat(),
            Manner::Events => {
                let length = u8::try_from(event.len()).expect("126 is for longer ones");
                [&[0x81, 126, 0, length][..], event.as_bytes()].concat()
            }
            Manner::Trickle | Manner::Silence => Vec::new(),
        };
        if manner == Manner::Fragments {
            stream.write_all(&[0x02, 4, b'p', b'a', b'r', b't']).ok()?;
        }
        while !frame.is_empty() {
            stream.write_all(&frame.repeat(100)).ok()?;
        }
    }
    thread::sleep(Duration::from_secs(60));
    None
}

fn run(socket: &Path, steps: &str) -> (Ran, Duration) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("playbook.yaml");
    std::fs::write(&file, format!("playbook: 1\nname: slow\nsteps:\n{steps}")).expect("a file");
    let mut program = malleus(folder.path());
    program.arg("run").arg(&file).arg("--remote").arg(socket);
    let start = Instant::now();
    let ran = Running::start(&mut program, None).end();
    (ran, start.elapsed())
}

#[test]
fn limits_hold_for_websockets_that_do_not_end() {
    let command = "  - exec: {instance: x, command: [cat], stdin: hi, timeout: 2s}\n";
    let ready = "  - wait_for: {instance: x, ready: [stopped], within: 2s}\n";
    let all = [
        Manner::Trickle,
        Manner::Pings,
        Manner::Fragments,
        Manner::Events,
        Manner::Silence,
    ];
    thread::scope(|threads| {
        for manner in all {
            // Whether the command still runs cannot be learned there: that is said, with code 4.
            let begun = if manner == Manner::Trickle { 1 } else { 4 };
            for (step, code) in [(command, begun), (ready, 1)] {
                threads.spawn(move || {
                    let server = Endless::serve(manner);
                    let (ran, took) = run(&server.socket, step);
                    assert_eq!(ran.code(), Some(code), "{manner:?}: {}", ran.stderr());
                    let told = ran.stderr();
                    assert!(told.contains("limit of 2s"), "{manner:?}, {step}: {told}");
                    // What is done about the command takes some seconds more, and once more at the end of the run.
                    let most = Duration::from_secs(40);
                    assert!(took < most, "{manner:?}, {step}: {took:?}");
                });
            }
        }
    });
}

#[test]
fn the_limit_of_connecting_holds_for_a_proxy_that_answers_byte_by_byte() {
    let proxy = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = proxy.local_addr().expect("an address");
    thread::spawn(move || {
        for mut stream in proxy.incoming().flatten() {
            thread::spawn(move || {
                let head = format!("HTTP/1.1 200 OK\r\n{}", "X: a\r\n".repeat(100));
                for byte in head.bytes() {
                    if stream.write_all(&[byte]).is_err() {
                        return;
                    }
                    thread::sleep(Duration::from_millis(500));
                }
            });
        }
    });
    let folder = tempfile::tempdir().expect("a folder");
    let mut program = malleus(folder.path());
    program
        .args([
            "request",
            "GET",
            "/1.0",
            "--remote",
            "https://server.test:8443",
        ])
        .env("https_proxy", format!("http://{address}"));
    let start = Instant::now();
    let ran = Running::start(&mut program, None).end();
    let told = ran.stderr();
    assert_eq!(ran.code(), Some(3), "{told}");
    assert!(told.contains("the proxy did not answer"), "{told}");
    assert!(start.elapsed() < Duration::from_secs(25), "{told}");
}
