//! Nothing is left behind: of runs that are killed, interrupted, or whose daemon dies under them, at moments that are
//! spread over the whole run.
//!
//! `MALLEUS_ROUNDS` says how many moments there are on each brand; few by default.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::daemon::{Generation, daemons};
use crate::support::ground::Ground;
use crate::support::program::{Ran, Running, malleus};
use malleus::client::{Client, Limit, Remote, Request, Wait};
use serde_json::json;

/// Something of nearly everything that the API creates.
const EVERYTHING: &str = r#"
playbook: 1
name: everything
inputs: {subnet: 10.77.1.1/24}
vars: {id: "{{ run.id }}"}
steps:
  - name: Profile
    request: POST profiles
    body: {name: "p-{{ id }}", devices: {root: {type: disk, path: /, pool: default}}}
  - name: Network
    request: POST networks
    body: {name: "mb{{ id }}", type: bridge, config: {ipv4.address: "{{ subnet }}", ipv4.nat: "false", ipv6.address: none}}
  - name: Volume
    request: POST storage-pools/default/volumes/custom
    body: {name: "v-{{ id }}"}
  - name: Instances
    for_each: [a, b]
    concurrency: 2
    steps:
      - request: POST instances
        body: {name: "{{ item }}-{{ id }}", profiles: ["p-{{ id }}"], source: {type: image, alias: busybox}}
      - request: PUT instances/{{ item }}-{{ id }}/state
        body: {action: start}
  - name: Snapshot
    request: POST instances/a-{{ id }}/snapshots
    body: {name: s0}
  - name: Image
    request: POST images
    body: {source: {type: snapshot, name: "a-{{ id }}/s0"}, compression_algorithm: none}
"#;

/// What leaves recorded output where the run removes nothing else. A run that is killed between this request and its
/// answer cannot say later which output was its own: only an interrupted one is held to it.
const ELSEWHERE: &str = r"
  - name: Command in an instance of somebody else
    exec: {instance: shared, command: [echo, hello]}
";

/// A private daemon, what it holds, and a folder for the program.
struct Site {
    ground: Ground,
}

impl Site {
    fn new(generation: Generation) -> Self {
        let ground = Ground::new(generation);
        ground.write("everything.yaml", EVERYTHING);
        Self { ground }
    }

    fn start(&self, command: &str) -> Running {
        let mut program = malleus(self.ground.folder.path());
        program.args([command, "everything.yaml", "--remote"]);
        program.arg(&self.ground.daemon.socket);
        Running::start(&mut program, None)
    }

    fn down(&self) -> Ran {
        let mut program = malleus(self.ground.folder.path());
        Running::start(program.args(["down", "--all"]), None).end()
    }

    fn journals(&self) -> usize {
        self.ground.journals().len()
    }

    fn assert_clean(&self, moment: Duration, told: &str) {
        let left = self.ground.left();
        let flavor = self.ground.daemon.flavor;
        assert!(left.is_empty(), "{flavor}, at {moment:?}: {left:?}\n{told}");
    }

    /// How long a whole run takes.
    fn measure(&self) -> Duration {
        let start = Instant::now();
        let ran = self.start("test").end();
        assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
        self.assert_clean(Duration::ZERO, &ran.stderr());
        start.elapsed()
    }

    /// Moments spread over a run, each in a random place of its own part.
    fn moments(&self) -> Vec<Duration> {
        let rounds = std::env::var("MALLEUS_ROUNDS").ok();
        let rounds: u32 = rounds.and_then(|text| text.parse().ok()).unwrap_or(5);
        let whole = self.measure();
        (0..rounds)
            .map(|round| whole.mul_f64((f64::from(round) + fastrand::f64()) / f64::from(rounds)))
            .collect()
    }
}

fn on_both(case: fn(Generation)) {
    thread::scope(|threads| {
        for flavor in daemons() {
            threads.spawn(move || case(flavor));
        }
    });
}

#[test]
fn a_killed_run_is_brought_down_from_its_journal() {
    on_both(|flavor| {
        let site = Site::new(flavor);
        for moment in site.moments() {
            let running = site.start("test");
            thread::sleep(moment);
            running.signal("KILL");
            let killed = running.end();
            let down = site.down();
            let told = format!("{}\n{}", killed.stderr(), down.stderr());
            assert_eq!(down.code(), Some(0), "{flavor}, at {moment:?}: {told}");
            assert_eq!(site.journals(), 0, "{flavor}, at {moment:?}: {told}");
            site.assert_clean(moment, &told);
        }
    });
}

#[test]
fn an_interrupted_run_leaves_nothing_by_itself() {
    on_both(|flavor| {
        let site = Site::new(flavor);
        let playbook = format!("{EVERYTHING}{}", ELSEWHERE.trim_start_matches('\n'));
        fs::write(site.ground.folder.path().join("everything.yaml"), playbook).expect("written");
        let signals = [("INT", 130), ("TERM", 143), ("HUP", 129)];
        for (moment, (signal, code)) in site.moments().into_iter().zip(signals.iter().cycle()) {
            let running = site.start("test");
            thread::sleep(moment);
            running.signal(signal);
            let ran = running.end();
            // Early on nobody listens yet, and at the end the run may have been quicker than the signal.
            let is_expected = [Some(*code), Some(0), None].contains(&ran.code());
            let told = ran.stderr();
            assert!(
                is_expected,
                "{flavor}, {signal} at {moment:?}: {:?}\n{told}",
                ran.code()
            );
            assert_eq!(site.journals(), 0, "{flavor}, at {moment:?}: {told}");
            site.assert_clean(moment, &told);
        }
    });
}

#[test]
fn what_a_daemon_that_was_killed_forgot_is_brought_down() {
    on_both(|flavor| {
        let mut site = Site::new(flavor);
        for moment in site.moments().into_iter().step_by(2) {
            let running = site.start("test");
            thread::sleep(moment);
            site.ground.daemon.kill();
            site.ground.daemon.restart();
            let ran = running.end();
            let mut told = ran.stderr();
            assert!(
                matches!(ran.code(), Some(0 | 1 | 3 | 4)),
                "{flavor}, at {moment:?}: {:?}\n{told}",
                ran.code()
            );
            if ran.code() == Some(4) {
                let down = site.down();
                told.push_str(&down.stderr());
                assert_eq!(down.code(), Some(0), "{flavor}, at {moment:?}: {told}");
            }
            assert_eq!(site.journals(), 0, "{flavor}, at {moment:?}: {told}");
            site.assert_clean(moment, &told);
        }
    });
}

#[test]
fn two_runs_at_once_leave_each_other_alone() {
    on_both(|flavor| {
        let site = Site::new(flavor);
        let runs: Vec<Running> = (0..2)
            .map(|number| {
                let mut program = malleus(site.ground.folder.path());
                program.args(["test", "everything.yaml", "--var"]);
                program.arg(format!("subnet=10.77.{}.1/24", 2 + number));
                Running::start(
                    program.arg("--remote").arg(&site.ground.daemon.socket),
                    None,
                )
            })
            .collect();
        for running in runs {
            let ran = running.end();
            assert_eq!(ran.code(), Some(0), "{flavor}: {}", ran.stderr());
        }
        site.assert_clean(Duration::ZERO, "");
    });
}

/// An instance that the daemon refuses to delete.
const PROTECTED: &str = r#"
playbook: 1
name: protected
steps:
  - request: POST profiles
    body: {name: "p-{{ run.id }}"}
  - request: POST instances
    body: {name: protected, source: {type: image, alias: busybox}}
  - request: POST images/aliases
    body: {name: "alias-{{ run.id }}", target: "{{ fingerprint }}"}
inputs: {fingerprint: {type: string, required: true}}
"#;

#[test]
fn what_cannot_be_removed_is_named_with_the_line_that_removes_it() {
    on_both(|flavor| {
        let site = Site::new(flavor);
        let client =
            Client::connect(&Remote::Unix(site.ground.daemon.socket.clone())).expect("connected");
        let alias = client.request(&Request::get("images/aliases/busybox"));
        let fingerprint = alias.expect("an alias").metadata()["target"].clone();
        fs::write(site.ground.folder.path().join("protected.yaml"), PROTECTED).expect("written");
        let socket = &site.ground.daemon.socket;
        let mut program = malleus(site.ground.folder.path());
        program.args(["with", "protected.yaml", "--var"]);
        program.arg(format!(
            "fingerprint={}",
            fingerprint.as_str().expect("text")
        ));
        program.arg("--remote").arg(socket).arg("--");
        // Somebody else protects what the run has made.
        program.arg(env!("CARGO_BIN_EXE_malleus"));
        program.arg("--remote").arg(socket);
        program.args(["request", "PATCH", "instances/protected", "--body"]);
        program.arg(r#"{"config": {"security.protection.delete": "true"}}"#);
        let ran = Running::start(&mut program, None).end();
        let told = ran.stderr();
        assert_eq!(ran.code(), Some(125), "{flavor}: {told}");
        assert!(
            told.contains("instance protected is still there"),
            "{flavor}: {told}"
        );
        let line = told.lines().find(|line| line.contains("`malleus down "));
        let line = line.unwrap_or_else(|| panic!("{flavor}: no line: {told}"));
        let run = line
            .split(['`', ' '])
            .find(|word| word.len() == 6 && *word != "removes");
        let run = run.unwrap_or_else(|| panic!("{flavor}: no run: {line}"));
        // All but the one is gone.
        let left = site.ground.left();
        assert_eq!(left, ["stopped instance protected"], "{flavor}: {told}");
        let down = |folder: &Path| Running::start(malleus(folder).args(["down", run]), None).end();
        let again = down(site.ground.folder.path());
        assert_eq!(again.code(), Some(4), "{flavor}: {}", again.stderr());
        let mend = Request::patch("instances/protected")
            .json(json!({"config": {"security.protection.delete": ""}}));
        let wait = Wait::within(Limit::after("test", Duration::from_secs(30)));
        client.run(&mend, &wait).expect("mended");
        let mended = down(site.ground.folder.path());
        assert_eq!(mended.code(), Some(0), "{flavor}: {}", mended.stderr());
        site.assert_clean(Duration::ZERO, &mended.stderr());
        assert_eq!(site.journals(), 0);
    });
}
