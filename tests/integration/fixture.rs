//! Fixtures in code: there while their value lives, gone with it, whatever becomes of the test.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use crate::support::daemon::{Daemon, Flavor, Generation, daemons};
use crate::support::ground::Ground;
use crate::support::program::{Running, malleus, own_process};
use malleus::Fixture;
use malleus::client::{Client, Limit, Remote, Request, Wait};
use malleus::fixture::{Builder, FixtureError};
use malleus::resources::Store;
use serde_json::json;

const WEB: &str = r#"
playbook: 1
name: web
inputs:
  image: {type: string, default: busybox}
  ports: {type: list, default: [80]}
  script: {type: string, default: "true"}
  token: {type: string, secret: true, default: hunter2-hunter2}
vars: {instance: "web-{{ run.id }}"}
isolate: project
steps:
  - request: POST instances
    body:
      name: "{{ instance }}"
      source: {type: image, alias: "{{ image }}"}
  - request: PUT instances/{{ instance }}/state
    body: {action: start}
  - name: Command
    exec: {instance: "{{ instance }}", command: [sh, -c, "{{ script }}"]}
outputs:
  instance: "{{ instance }}"
  ports: "{{ ports }}"
"#;

/// The ground with the playbook, and the fixture of it.
struct Site {
    ground: Ground,
}

impl Site {
    fn new(generation: Generation) -> Self {
        let ground = Ground::new(generation);
        ground.write("web.yaml", WEB);
        Self { ground }
    }

    fn web(&self) -> Builder {
        described(self.ground.folder.path(), &self.ground.daemon.socket)
    }

    fn assert_clean(&self) {
        let ground = &self.ground;
        assert_eq!(ground.is_clean(), Ok(()), "{}", ground.daemon.flavor);
        let journals = ground.journals();
        assert!(journals.is_empty(), "{journals:?}");
    }

    fn down_all(&self) {
        let mut program = malleus(self.ground.folder.path());
        let ran = Running::start(program.args(["down", "--all"]), None).end();
        assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    }
}

/// Where the program keeps journals in this folder.
fn store(folder: &Path) -> PathBuf {
    folder.join(".local/state/malleus/runs")
}

fn journals(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(store(folder)).into_iter().flatten();
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

fn described(folder: &Path, socket: &Path) -> Builder {
    Fixture::of(folder.join("web.yaml"))
        .remote(socket.display().to_string())
        .journal_in(Store::new(store(folder)))
}

fn is_running(client: &Client, instance: &str) -> bool {
    let reply = client.send(&Request::get(format!("instances/{instance}")));
    reply.expect("a reply").metadata()["status"] == "Running"
}

#[test]
fn a_fixture_is_there_while_its_value_lives() {
    for flavor in daemons() {
        let site = Site::new(flavor);
        let web = site.web().var_json("ports", [80, 443]).up().unwrap();
        let instance = web.text("instance").unwrap();
        assert_eq!(instance, format!("web-{}", web.run()));
        assert!(is_running(web.client(), &instance));
        assert_eq!(*web.output("ports").unwrap(), json!([80, 443]));
        assert_eq!(web.text("ports").unwrap(), "[80,443]");
        assert_eq!(
            web.output("instanc").unwrap_err().to_string(),
            "the playbook `web` has no output `instanc`; did you mean `instance`?"
        );
        assert_eq!(
            journals(site.ground.folder.path()),
            [format!("{}.jsonl", web.run())]
        );
        web.down().unwrap();
        site.assert_clean();
    }
}

#[test]
fn fixtures_side_by_side_do_not_meet_and_go_when_tests_panic() {
    for flavor in daemons() {
        let site = Site::new(flavor);
        let seen = Mutex::new(BTreeSet::new());
        let test = || {
            let web = site.web().up().unwrap();
            let instance = web.text("instance").unwrap();
            assert!(is_running(web.client(), &instance));
            assert!(seen.lock().unwrap().insert(instance));
            // What a test does with its client is nothing to its fixture.
            web.client().cancel();
            panic!("the test fails");
        };
        thread::scope(|threads| {
            for _ in 0..3 {
                threads.spawn(|| {
                    let panic = catch_unwind(AssertUnwindSafe(test)).unwrap_err();
                    assert_eq!(panic.downcast_ref(), Some(&"the test fails"));
                });
            }
        });
        assert_eq!(seen.lock().unwrap().len(), 3);
        site.assert_clean();
    }
}

#[test]
fn a_fixture_that_does_not_come_about_says_why_and_leaves_nothing() {
    for flavor in daemons() {
        let site = Site::new(flavor);
        let failed = site.web().var("script", "echo hunter2-hunter2; exit 7");
        let error = failed.up().unwrap_err();
        let FixtureError::Failed { failure, left, .. } = &error else {
            panic!("{error}");
        };
        assert!(failure.contains("step Command failed"), "{failure}");
        assert!(failure.contains("exit code 7"), "{failure}");
        assert!(failure.contains("--> "), "{failure}");
        assert!(!failure.contains("hunter2"), "{failure}");
        assert!(left.is_empty(), "{left:?}");
        // Tests that end with an error show it by `{:?}`.
        assert_eq!(format!("{error:?}"), error.to_string());
        site.assert_clean();
    }
}

#[test]
fn what_cannot_be_removed_is_told() {
    for flavor in daemons() {
        let site = Site::new(flavor);
        let told = Arc::new(Mutex::new(Vec::new()));
        let listener = Arc::clone(&told);
        let web = site.web().on_left(move |error| {
            listener.lock().unwrap().push(error.to_string());
        });
        let web = web.up().unwrap();
        let client = web.client().clone();
        let instance = web.text("instance").unwrap();
        protect(&client, &instance, "true");
        drop(web);
        let told = told.lock().unwrap().join("\n");
        assert!(
            told.contains(&format!("instance {instance} in project")),
            "{told}"
        );
        assert!(told.contains("malleus down"), "{told}");
        protect(&client, &instance, "false");
        site.down_all();
        site.assert_clean();
    }
}

fn protect(client: &Client, instance: &str, value: &str) {
    let patch = Request::patch(format!("instances/{instance}"))
        .json(json!({"config": {"security.protection.delete": value}}));
    let wait = Wait::within(Limit::after("test", Duration::from_secs(30)));
    client.run(&patch, &wait).expect("changed");
}

#[test]
fn what_is_wrong_before_the_first_request() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("no.socket");
    fs::write(folder.path().join("web.yaml"), WEB).unwrap();
    fs::write(folder.path().join("bad.yaml"), "playbook: 1\nname: bad\n").unwrap();
    let up = |builder: Builder| builder.up().unwrap_err();
    let error = up(Fixture::of(folder.path().join("none.yaml")));
    assert!(matches!(error, FixtureError::Unreadable { .. }), "{error}");
    let error = up(Fixture::of(folder.path().join("bad.yaml")));
    assert!(matches!(error, FixtureError::Invalid { .. }), "{error}");
    assert!(error.to_string().contains("bad.yaml:1:1"), "{error}");
    let error = up(described(folder.path(), &socket).var("imag", "x"));
    assert!(matches!(error, FixtureError::Inputs { .. }), "{error}");
    assert!(
        error.to_string().contains("did you mean `image`?"),
        "{error}"
    );
    let error = up(described(folder.path(), &socket));
    assert!(matches!(error, FixtureError::Unreachable(_)), "{error}");
    assert!(journals(folder.path()).is_empty());
}

/// The test below runs this one in a process of its own.
#[test]
#[ignore = "belongs to the test that runs it in a process of its own"]
fn a_process_of_its_own() {
    static LEAKED: OnceLock<Fixture> = OnceLock::new();
    let path = |name: &str| PathBuf::from(std::env::var_os(name).expect(name));
    let web = described(&path("FIXTURE_FOLDER"), &path("FIXTURE_SOCKET"));
    let web = LEAKED.get_or_init(|| web.up().unwrap());
    println!("up {}", web.run());
    if std::env::var_os("FIXTURE_STAYS").is_some() {
        thread::sleep(Duration::from_secs(120));
    }
}

#[test]
fn what_a_process_leaves_behind_is_removed_by_its_journal() {
    for flavor in daemons() {
        let site = Site::new(flavor);
        // Killed, and with a guard that is never dropped.
        for stays in [Some("1"), None] {
            let mut command = own_process(concat!(module_path!(), "::a_process_of_its_own"));
            command
                .env("FIXTURE_FOLDER", site.ground.folder.path())
                .env("FIXTURE_SOCKET", &site.ground.daemon.socket)
                .stdout(Stdio::piped());
            if let Some(stays) = stays {
                command.env("FIXTURE_STAYS", stays);
            }
            let mut process = command.spawn().unwrap();
            let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
            let up = lines.find_map(|line| {
                line.unwrap()
                    .split_once("up ")
                    .map(|(_, run)| run.to_owned())
            });
            let run = up.expect("the fixture is up");
            if stays.is_some() {
                process.kill().unwrap();
            }
            process.wait().unwrap();
            assert_eq!(
                journals(site.ground.folder.path()),
                [format!("{run}.jsonl")]
            );
            site.down_all();
            site.assert_clean();
        }
    }
}

#[test]
fn the_environment_leads_to_the_server() {
    for flavor in daemons() {
        let daemon = Daemon::shared(flavor);
        let remote = Remote::Unix(daemon.socket.clone());
        assert!(Client::connect(&remote).is_ok());
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["run", "--quiet", "--example", "fixture"]);
        cargo.env_remove("MALLEUS_REMOTE");
        for variable in Flavor::ALL.into_iter().flat_map(Flavor::variables) {
            cargo.env_remove(variable);
        }
        let state = tempfile::tempdir().unwrap();
        cargo.env("MALLEUS_STATE_DIR", state.path());
        let output = cargo.envs(daemon.environment()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "hello from the container\n"
        );
    }
}
