//! The harness of the live tests itself: private daemons and the recording proxy.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::daemon::{Daemon, Flavor, daemons, script};
use crate::support::proxy::Proxy;

/// Sends requests over one connection, and reads until the server closes it.
fn send(socket: &Path, requests: &str) -> String {
    let mut stream = UnixStream::connect(socket).expect("a connection");
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a limit");
    stream.write_all(requests.as_bytes()).expect("sent");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("a reply");
    reply
}

fn get(socket: &Path, path: &str) -> String {
    send(
        socket,
        &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    )
}

/// Processes that name the directory in their arguments or their environment.
fn processes_of(dir: &Path) -> Vec<String> {
    let needle = dir.to_str().expect("UTF-8");
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    entries
        .filter(|entry| {
            ["cmdline", "environ"].iter().any(|file| {
                fs::read(entry.path().join(file))
                    .is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(needle))
            })
        })
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Waits for what happens after a process was killed.
fn soon(holds: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        if holds() {
            return true;
        }
        thread::sleep(Duration::from_millis(20));
    }
    false
}

fn assert_nothing_left(dir: &Path) {
    // A script that starts at the same time may be removing the directory too.
    assert!(soon(|| !dir.exists()), "{} is left", dir.display());
    assert!(
        soon(|| processes_of(dir).is_empty()),
        "{:?}",
        processes_of(dir)
    );
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(dir.to_str().expect("UTF-8")), "{mounts}");
}

/// Starts an instance by the brand's own client.
fn launch(daemon: &Daemon, name: &str) {
    let (client, configuration) = match daemon.flavor {
        Flavor::Incus => ("incus", "INCUS_CONF"),
        Flavor::Lxd => ("lxc", "LXD_CONF"),
    };
    let output = Command::new(client)
        .args(["launch", "busybox", name])
        .envs(daemon.environment())
        .env(configuration, daemon.dir.join("client"))
        .stdin(Stdio::null())
        .output()
        .expect("the client runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_private_daemon_can_be_killed_and_started_again_and_leaves_nothing() {
    for flavor in daemons() {
        let mut daemon = Daemon::start(flavor);
        let reply = get(&daemon.socket, "/1.0");
        assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
        assert!(
            reply.contains(&format!(r#""server":"{}""#, flavor.flavor())),
            "{reply}"
        );
        launch(&daemon, "lasting");

        let first = daemon.pid();
        daemon.kill();
        assert!(!Path::new(&format!("/proc/{first}")).exists());
        assert!(UnixStream::connect(&daemon.socket).is_err());

        daemon.restart();
        assert_ne!(daemon.pid(), first);
        let reply = get(&daemon.socket, "/1.0/instances/lasting");
        assert!(reply.contains(r#""status":"Running""#), "{reply}");

        let dir = daemon.dir.clone();
        assert!(!processes_of(&dir).is_empty());
        drop(daemon);
        assert_nothing_left(&dir);
    }
}

/// The network devices that the calling thread sees.
fn network_devices() -> String {
    fs::read_to_string("/proc/thread-self/net/dev").expect("a list")
}

#[test]
fn networks_of_a_daemon_are_seen_in_its_own_network_only() {
    for flavor in daemons() {
        let daemon = Daemon::start(flavor);
        let body = r#"{"name": "mlown", "type": "bridge"}"#;
        let reply = send(
            &daemon.socket,
            &format!(
                "POST /1.0/networks HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        );
        assert!(reply.starts_with("HTTP/1.1 201"), "{flavor}: {reply}");
        assert!(!network_devices().contains("mlown"), "{flavor}");
        let inside = daemon.enter_network();
        assert!(network_devices().contains("mlown"), "{flavor}");
        drop(inside);
        assert!(!network_devices().contains("mlown"), "{flavor}");
    }
}

#[test]
fn a_killed_script_takes_the_daemon_along_and_the_next_start_removes_the_directory() {
    for flavor in daemons() {
        let mut script = Command::new(script("private-daemon"))
            .args([flavor.name(), "--no-image", "--hold"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the script runs");
        let mut output = script.stdout.take().expect("piped");
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            output.read_exact(&mut byte).expect("a line");
            line.extend(byte);
        }
        let description: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
        let dir = Path::new(description["dir"].as_str().expect("a dir")).to_owned();

        script.kill().expect("killed");
        script.wait().expect("ended");
        assert!(soon(|| processes_of(&dir).is_empty()));
        drop(Daemon::start(flavor));
        assert_nothing_left(&dir);
    }
}

#[test]
fn a_command_gets_the_daemon_and_passes_its_exit_code_on() {
    for flavor in daemons() {
        let brand = flavor.flavor();
        let other = match brand {
            Flavor::Incus => Flavor::Lxd,
            Flavor::Lxd => Flavor::Incus,
        };
        let [dir, socket] = brand.variables();
        let [_, foreign] = other.variables();
        let check = format!(
            r#"[ "${socket}" = "${dir}/unix.socket" ] && [ -S "${socket}" ] && [ -z "${foreign}" ] && echo "${dir}"; exit 7"#
        );
        let output = Command::new(script("private-daemon"))
            .args([flavor.name(), "--no-image", "--", "sh", "-c", &check])
            .env(foreign, "/elsewhere")
            .output()
            .expect("the script runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(7), "{stderr}");
        let dir = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(!dir.is_empty(), "the variables are wrong");
        assert_nothing_left(Path::new(dir.trim_end()));
    }
}

#[test]
fn a_shared_daemon_is_started_once() {
    for flavor in daemons() {
        let (first, second) = (Daemon::shared(flavor), Daemon::shared(flavor));
        assert_eq!(first.pid(), second.pid());
    }
}

#[test]
fn the_proxy_records_requests_with_and_without_bodies() {
    for flavor in daemons() {
        let proxy = Proxy::before(&Daemon::shared(flavor).socket);
        let body = r#"{"name": "proxied"}"#;
        let (size, half) = (body.len(), body.len() / 2);
        let (head, tail) = body.split_at(half);
        let requests = format!(
            "GET /1.0/profiles?recursion=1 HTTP/1.1\r\nHost: x\r\n\r\n\
             POST /1.0/profiles HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n{body}\
             POST /1.0/profiles HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
             {:x}\r\n{head}\r\n{:x};x=y\r\n{tail}\r\n0\r\n\r\n\
             DELETE /1.0/profiles/proxied HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            head.len(),
            tail.len(),
        );
        let reply = send(&proxy.socket, &requests);
        assert_eq!(reply.matches("HTTP/1.1 ").count(), 4, "{reply}");
        assert_eq!(reply.matches(r#""error_code":0"#).count(), 3, "{reply}");
        assert_eq!(
            proxy.requests(),
            [
                "GET /1.0/profiles?recursion=1",
                "POST /1.0/profiles",
                "POST /1.0/profiles",
                "DELETE /1.0/profiles/proxied",
            ]
        );

        proxy.clear();
        get(&proxy.socket, "/1.0");
        assert_eq!(proxy.requests(), ["GET /1.0"]);
    }
}

#[test]
fn the_proxy_passes_upgraded_connections_through() {
    for flavor in daemons() {
        let proxy = Proxy::before(&Daemon::shared(flavor).socket);
        let mut stream = UnixStream::connect(&proxy.socket).expect("a connection");
        let upgrade = "GET /1.0/events HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
        stream.write_all(upgrade.as_bytes()).expect("sent");
        let mut reply = [0; 12];
        stream.read_exact(&mut reply).expect("a reply");
        assert_eq!(&reply, b"HTTP/1.1 101");
        // A masked close frame, which is no HTTP; the server answers it by ending the connection.
        stream
            .write_all(&[0x88, 0x80, 0, 0, 0, 0])
            .expect("passed on");
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("a limit");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("closed");
        assert_eq!(proxy.requests(), ["GET /1.0/events"]);
    }
}
