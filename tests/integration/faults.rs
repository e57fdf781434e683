//! What the program does when the daemon dies, when signals come twice, and with more data than memory.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::daemon::{Daemon, Generation, daemons};
use crate::support::leftovers::Inventory;
use crate::support::program::{LONGEST, Ran, Running, malleus};
use crate::support::proxy::Proxy;
use crate::support::scripted::{Answer, Scripted, error, sync};
use serde_json::json;

/// Runs a case on every brand at the same time.
fn on_both(case: fn(Generation)) {
    thread::scope(|threads| {
        for flavor in daemons() {
            threads.spawn(move || case(flavor));
        }
    });
}

/// A playbook being run against a daemon, its requests seen.
struct Run {
    running: Running,
    proxy: Proxy,
    _folder: tempfile::TempDir,
}

impl Run {
    fn start(daemon: &Daemon, playbook: &str) -> Run {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("playbook.yaml"), playbook).expect("written");
        let proxy = Proxy::before(&daemon.socket);
        let mut command = malleus(folder.path());
        command
            .args(["run", "playbook.yaml", "--remote"])
            .arg(&proxy.socket);
        Run {
            running: Running::start(&mut command, None),
            proxy,
            _folder: folder,
        }
    }

    /// Waits until a request has been seen so many times, and a little longer.
    fn until_seen(&mut self, request: &str, times: usize) {
        let start = Instant::now();
        let seen = |proxy: &Proxy| {
            let requests = proxy.requests();
            requests
                .iter()
                .filter(|line| line.contains(request))
                .count()
                >= times
        };
        while !seen(&self.proxy) && !self.running.has_ended() && start.elapsed() < LONGEST {
            thread::sleep(Duration::from_millis(5));
        }
        thread::sleep(Duration::from_millis(300));
    }
}

/// An instance whose first process does not listen to anything but SIGKILL: to stop it takes as long as one says.
const DEAF: &str = r"
playbook: 1
name: deaf
steps:
  - name: Create it
    request: POST instances
    body: {name: deaf, source: {type: image, alias: busybox}, config: {raw.lxc: lxc.init.cmd = /bin/sleep 8000}}
  - name: Start it
    request: PUT instances/deaf/state
    body: {action: start}
  - name: Ask it to stop
    request: PUT instances/deaf/state
    body: {action: stop, timeout: 60}
    timeout: 20s
finally:
  - name: Stop it by force
    request: PUT instances/deaf/state
    body: {action: stop, force: true}
  - name: Delete it
    request: DELETE instances/deaf
";

#[test]
fn an_operation_of_a_daemon_that_was_killed_has_an_unknown_outcome() {
    on_both(|flavor| {
        let mut daemon = Daemon::start(flavor);
        let mut run = Run::start(&daemon, DEAF);
        run.until_seen("PUT /1.0/instances/deaf/state", 2);
        daemon.kill();
        daemon.restart();
        let restarted = Instant::now();
        let ran = run.running.end();
        let stderr = ran.stderr();
        // The step's own limit, and the same again for cleaning up.
        assert!(restarted.elapsed() < Duration::from_secs(40), "{stderr}");
        assert_eq!(ran.code(), Some(1), "{flavor}: {stderr}");
        assert!(stderr.contains("outcome is unknown"), "{flavor}: {stderr}");
        assert!(stderr.contains("✗ Ask it to stop"), "{flavor}: {stderr}");
        assert!(stderr.contains("✓ Delete it"), "{flavor}: {stderr}");
    });
}

#[test]
fn a_daemon_that_stays_away_ends_the_run_within_its_limits() {
    on_both(|flavor| {
        let mut daemon = Daemon::start(flavor);
        let _inventory = Inventory::of(&daemon);
        let playbook = "playbook: 1\nname: away\nsteps:\n  - name: Run long\n    timeout: 5s\n    \
                        exec: {instance: shared, command: [sleep, \"1700\"]}\n  - name: Never reached\n    check: true\n";
        let mut run = Run::start(&daemon, playbook);
        run.until_seen("POST /1.0/instances/shared/exec", 1);
        daemon.kill();
        let killed = Instant::now();
        let ran = run.running.end();
        let stderr = ran.stderr();
        assert!(killed.elapsed() < Duration::from_secs(60), "{stderr}");
        // Nobody can say whether the command still runs.
        assert!(matches!(ran.code(), Some(1 | 4)), "{flavor}: {stderr}");
        assert!(stderr.contains("✗ Run long"), "{flavor}: {stderr}");
        assert!(stderr.contains("1 not run"), "{flavor}: {stderr}");
    });
}

#[test]
fn a_second_signal_leaves_at_once() {
    on_both(|flavor| {
        let daemon = Daemon::start(flavor);
        let _inventory = Inventory::of(&daemon);
        let playbook = "playbook: 1\nname: twice\nsteps:\n  - exec: {instance: shared, command: [sleep, \"1701\"]}\n\
                        finally:\n  - name: Takes long too\n    exec: {instance: shared, command: [sleep, \"1702\"]}\n";
        let mut run = Run::start(&daemon, playbook);
        run.until_seen("POST /1.0/instances/shared/exec", 1);
        run.running.signal("INT");
        // The first command, the one that ends it, and the one of the cleanup.
        run.until_seen("POST /1.0/instances/shared/exec", 3);
        thread::sleep(Duration::from_millis(500));
        run.running.signal("TERM");
        let second = Instant::now();
        let ran = run.running.end();
        assert!(second.elapsed() < Duration::from_secs(5));
        assert_eq!(ran.code(), Some(143), "{flavor}: {}", ran.stderr());
    });
}

/// Amount of data in the tests of memory, and the memory they may take.
const MUCH: u64 = 100 << 20;
const LITTLE: u64 = 64 << 10;

/// The most memory a process has had so far, in KiB; nothing once it has ended.
fn peak(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Runs the program with stdin and stdout in files and gives how it ended and its peak of memory in KiB.
fn measured(
    daemon: &Daemon,
    folder: &Path,
    arguments: &[&str],
    stdin: Option<&Path>,
) -> (Option<i32>, u64) {
    let stdout = File::create(folder.join("stdout")).expect("created");
    let stdin = stdin.map_or_else(Stdio::null, |file| File::open(file).expect("opened").into());
    let mut command = malleus(folder);
    command.arg("--remote").arg(&daemon.socket).args(arguments);
    let mut child = command
        .stdin(stdin)
        .stdout(stdout)
        .spawn()
        .expect("started");
    let mut most = 0;
    let start = Instant::now();
    let code = loop {
        most = most.max(peak(child.id()).unwrap_or(0));
        if let Some(status) = child.try_wait().expect("a child") {
            break status.code();
        }
        assert!(start.elapsed() < LONGEST, "{arguments:?} hangs");
        thread::sleep(Duration::from_millis(2));
    };
    (code, most)
}

#[test]
fn much_data_takes_little_memory() {
    on_both(|flavor| {
        let daemon = Daemon::start(flavor);
        let _inventory = Inventory::of(&daemon);
        let folder = tempfile::tempdir().expect("a folder");
        let size = MUCH.to_string();
        let written = || {
            fs::metadata(folder.path().join("stdout"))
                .expect("there")
                .len()
        };
        let check = |what: &str, (code, most): (Option<i32>, u64)| {
            assert_eq!(code, Some(0), "{flavor}: {what}");
            assert!(
                most > 0 && most < LITTLE,
                "{flavor}: {what} took {most} KiB"
            );
        };

        let zeros = ["--", "head", "-c", &size, "/dev/zero"];
        let streamed = [&["exec", "shared"], zeros.as_slice()].concat();
        check(
            "streamed output",
            measured(&daemon, folder.path(), &streamed, None),
        );
        assert_eq!(written(), MUCH);
        let recorded = [&["exec", "--record", "shared"], zeros.as_slice()].concat();
        check(
            "recorded output",
            measured(&daemon, folder.path(), &recorded, None),
        );
        assert_eq!(written(), MUCH);

        let big = folder.path().join("big");
        File::create(&big)
            .and_then(|file| file.set_len(MUCH))
            .expect("made");
        let count = ["exec", "shared", "--", "wc", "-c"];
        check(
            "input",
            measured(&daemon, folder.path(), &count, Some(&big)),
        );
        let counted = fs::read_to_string(folder.path().join("stdout")).expect("read");
        assert_eq!(counted.trim(), size);

        let upload = [
            "request",
            "POST",
            "instances/shared/files?path=/tmp/big",
            "--upload",
            "big",
        ];
        check("upload", measured(&daemon, folder.path(), &upload, None));
        let save = [
            "request",
            "GET",
            "instances/shared/files?path=/tmp/big",
            "--save",
            "saved",
        ];
        check("save", measured(&daemon, folder.path(), &save, None));
        let saved = fs::metadata(folder.path().join("saved")).expect("there");
        assert_eq!(saved.len(), MUCH);
    });
}

#[test]
fn output_that_nobody_reads_ends_the_command() {
    on_both(|flavor| {
        let daemon = Daemon::start(flavor);
        let inventory = Inventory::of(&daemon);
        let folder = tempfile::tempdir().expect("a folder");
        let before = inventory.look();
        let mut command = malleus(folder.path());
        command.arg("--remote").arg(&daemon.socket);
        command
            .args(["exec", "shared", "--", "yes"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("started");
        drop(child.stdout.take());
        let start = Instant::now();
        while child.try_wait().expect("a child").is_none() {
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "{flavor}: it goes on"
            );
            thread::sleep(Duration::from_millis(20));
        }
        thread::sleep(Duration::from_millis(500));
        assert_eq!(inventory.look(), before, "{flavor}");
    });
}

/// A run that could not even begin says so by its code.
#[test]
fn a_daemon_that_does_not_answer_is_unreachable() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("mute.socket");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    let mut command = malleus(folder.path());
    command
        .args(["request", "GET", "instances", "--remote"])
        .arg(&socket);
    let start = Instant::now();
    let ran: Ran = Running::start(&mut command, None).end();
    assert!(start.elapsed() < Duration::from_secs(60));
    assert_eq!(ran.code(), Some(3), "{}", ran.stderr());
    assert!(ran.stderr().contains("limit"), "{}", ran.stderr());
    drop(listener);
}

/// Makes a profile, and removes it as what the test has made.
const PROFILE: &str =
    "playbook: 1\nname: profile\nsteps:\n  - request: POST profiles\n    body: {name: p}\n";

/// Runs the playbook as a test against a server whose connection breaks behind the first request that makes something.
fn unanswered(looks: &[Answer], posts: &[Answer]) -> (Ran, Vec<String>) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("playbook.yaml"), PROFILE).expect("written");
    let server = Scripted::serve(&[
        ("GET /1.0/profiles/p", looks),
        ("POST /1.0/profiles", posts),
        ("DELETE /1.0/profiles/p", &[sync(&json!({}))]),
    ]);
    let mut command = malleus(folder.path());
    command.args(["test", "playbook.yaml", "--remote"]);
    let ran = Running::start(command.arg(&server.socket), None).end();
    (ran, server.lines())
}

#[test]
fn what_is_there_after_an_answer_was_lost_is_not_made_twice() {
    let absent = error(404, 404, "Profile not found");
    // Without the run's mark somebody else has made it.
    let looks = [absent, sync(&json!({"name": "p", "config": {}}))];
    let (ran, lines) = unanswered(&looks, &[Answer::Cut("")]);
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    let expected = [
        "GET /1.0/profiles/p",
        "POST /1.0/profiles",
        "GET /1.0/profiles/p",
        "GET /1.0/profiles/p",
    ];
    assert_eq!(lines, expected, "{}", ran.stderr());
}

#[test]
fn what_was_not_made_is_asked_for_again() {
    let looks = [error(404, 404, "Profile not found")];
    let (ran, lines) = unanswered(&looks, &[Answer::Cut(""), sync(&json!({}))]);
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    let posts = lines.iter().filter(|line| line.starts_with("POST")).count();
    assert_eq!(posts, 2, "{lines:?}");
    assert_eq!(
        lines.last().map(String::as_str),
        Some("DELETE /1.0/profiles/p")
    );
}
