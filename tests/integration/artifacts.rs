//! What explains a failure is saved before anything is removed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::daemon::{Daemon, daemons};
use crate::support::folder::listing;
use crate::support::leftovers::{Inventory, SHARED};
use crate::support::program::{Ran, Running, malleus};
use malleus::client::{Client, Limit, Remote, Request, Wait};
use serde_json::{Value, json};

const PLAYBOOK: &str = r#"
playbook: 1
name: demo
inputs:
  token: {type: string, secret: true, default: hunter2-hunter2}
  script: "true"
vars: {instance: "web-{{ run.id }}"}
isolate: project
steps:
  - request: POST instances
    body:
      name: "{{ instance }}"
      source: {type: image, alias: busybox}
      config: {user.token: "{{ token }}"}
  - request: PUT instances/{{ instance }}/state
    body: {action: start}
  - name: Command in an instance of somebody else
    exec: {instance: shared, command: [sh, -c, "{{ script }}"]}
outputs: {instance: "{{ instance }}"}
"#;

struct Ground {
    daemon: &'static Daemon,
    folder: tempfile::TempDir,
}

impl Ground {
    fn new(daemon: &'static Daemon) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        // The shared instance is in the default project.
        let own = PLAYBOOK.replace("instance: shared", "instance: \"{{ instance }}\"");
        let in_default = |text: &str| text.replace("isolate: project\n", "");
        write("demo.yaml", &in_default(PLAYBOOK));
        write("own.yaml", &in_default(&own));
        write("isolated.yaml", &own);
        Self { daemon, folder }
    }

    fn start(&self, arguments: &[&str]) -> Running {
        let mut program = malleus(self.folder.path());
        program.arg("--remote").arg(&self.daemon.socket);
        program.env("MALLEUS_ARTIFACTS", "art");
        Running::start(program.args(arguments), None)
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.start(arguments).end()
    }

    /// The folder of the one run that left something, which stderr names.
    fn dossier(&self, ran: &Ran) -> PathBuf {
        let folders: Vec<_> = fs::read_dir(self.folder.path().join("art"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let [one] = folders.as_slice() else {
            panic!("{folders:?}\n{}", ran.stderr());
        };
        assert!(one.starts_with("demo-"), "{one}");
        let told = format!("what explains it is in art/{one}\n");
        assert!(ran.stderr().contains(&told), "{}", ran.stderr());
        self.folder.path().join("art").join(one)
    }
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn lines(path: impl AsRef<Path>) -> Vec<Value> {
    let text = read(path);
    let parsed = text.lines().map(|line| serde_json::from_str(line).unwrap());
    parsed.collect()
}

fn value(path: impl AsRef<Path>) -> Value {
    serde_json::from_str(&read(path)).unwrap()
}

/// Only the instance that the run made, whose name it says.
fn own_instance(dossier: &Path, project: &str) -> PathBuf {
    let folder = dossier.join("instances").join(project);
    let names = fs::read_dir(&folder).unwrap();
    let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let own = names.find(|name| name.starts_with("web-"));
    folder.join(own.expect("the run's own instance"))
}

#[test]
fn a_failure_is_explained() {
    for flavor in daemons() {
        let daemon = Daemon::shared(flavor);
        let _inventory = Inventory::of(daemon);
        let ground = Ground::new(daemon);
        let script = "script=echo hunter2-hunter2; exit 7";
        let ran = ground.run(&["test", "demo.yaml", "--var", script]);
        assert_eq!(ran.code(), Some(1), "{}", ran.stderr());
        let dossier = ground.dossier(&ran);

        // As they were when the step had failed: both run.
        let own = own_instance(&dossier, "default");
        let theirs = dossier.join("instances/default").join(SHARED);
        for instance in [&own, &theirs] {
            assert_eq!(value(instance.join("state.json"))["status"], "Running");
            assert_eq!(value(instance.join("instance.json"))["type"], "container");
            assert!(instance.join("logs/lxc.log").is_file());
            let console = instance.join("console.log").is_file();
            let missing = instance.join("missing.txt");
            assert!(console || read(missing).contains("console.log: "));
        }
        assert_eq!(
            value(own.join("instance.json"))["config"]["user.token"],
            "***"
        );

        let summary = read(dossier.join("summary.txt"));
        assert!(summary.contains("exit code 7"), "{summary}");
        assert!(summary.contains("demo: 1 failed, 2 passed"), "{summary}");

        let events = lines(dossier.join("events.jsonl"));
        let named: Vec<&str> = events
            .iter()
            .filter_map(|event| event["event"].as_str())
            .collect();
        assert_eq!(named.first(), Some(&"run_started"));
        assert_eq!(named.last(), Some(&"run_finished"));
        assert!(named.contains(&"removed"), "{named:?}");
        let failed = events
            .iter()
            .find(|event| event["outcome"] == "failed")
            .unwrap();
        assert_eq!(
            failed["problems"][0]["message"],
            "the command ended with exit code 7"
        );

        let requests = lines(dossier.join("requests.jsonl"));
        let post = requests
            .iter()
            .find(|request| request["method"] == "POST")
            .unwrap();
        assert_eq!(post["path"], "/1.0/instances");
        assert_eq!(post["request"]["config"]["user.token"], "***");
        assert_eq!(post["reply"]["type"], "async");
        assert!(post["duration"].is_f64());
        // Looking is no part of the run.
        let looked = |request: &&Value| request["path"].as_str().unwrap().contains("/console");
        assert!(!requests.iter().any(|request| looked(&request)));

        for line in listing(&dossier) {
            assert!(!line.contains("hunter2"), "{line}");
            assert!(
                line.contains(" 600 ") || line.ends_with("700 folder"),
                "{line}"
            );
        }
        let mode = fs::metadata(&dossier).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}

#[test]
fn a_command_that_fails_in_its_environment_is_explained() {
    for flavor in daemons() {
        let ground = Ground::new(Daemon::shared(flavor));
        let ran = ground.run(&["with", "isolated.yaml", "--", "sh", "-c", "exit 3"]);
        assert_eq!(ran.code(), Some(3), "{}", ran.stderr());
        let dossier = ground.dossier(&ran);
        let run = dossier.file_name().unwrap().to_str().unwrap();
        let own = own_instance(&dossier, run);
        assert_eq!(value(own.join("state.json"))["status"], "Running");
    }
}

#[test]
fn what_goes_well_leaves_nothing() {
    for flavor in daemons() {
        let ground = Ground::new(Daemon::shared(flavor));
        for arguments in [
            &["test", "isolated.yaml"][..],
            &["with", "isolated.yaml", "--", "true"],
        ] {
            let ran = ground.run(arguments);
            assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
            assert!(!ran.stderr().contains("explains"), "{}", ran.stderr());
            assert_eq!(listing(&ground.folder.path().join("art")), [""; 0]);
        }
    }
}

#[test]
fn an_interruption_is_explained() {
    for flavor in daemons() {
        let ground = Ground::new(Daemon::shared(flavor));
        let script = "script=sleep 60";
        let running = ground.start(&["test", "own.yaml", "--var", script]);
        begun(&ground);
        running.signal("TERM");
        let ran = running.end();
        assert_eq!(ran.code(), Some(143), "{}", ran.stderr());
        let dossier = ground.dossier(&ran);
        let own = own_instance(&dossier, "default");
        assert_eq!(value(own.join("state.json"))["status"], "Running");
        let events = lines(dossier.join("events.jsonl"));
        assert_eq!(events.last().unwrap()["interrupted"], true);
    }
}

/// Waits until a command has begun: there is no other on this daemon that lasts.
fn begun(ground: &Ground) {
    let remote = Remote::Unix(ground.daemon.socket.clone());
    let client = Client::connect(&remote).unwrap();
    let list = Request::get("operations").query("recursion", "1");
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        let reply = client.request(&list).unwrap();
        let running = reply.metadata()["running"].as_array().cloned();
        let is_exec = |operation: &Value| operation["description"] == "Executing command";
        if running.unwrap_or_default().iter().any(is_exec) {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("the command did not begin");
}

#[test]
fn an_incomplete_cleanup_is_explained() {
    for flavor in daemons() {
        let ground = Ground::new(Daemon::shared(flavor));
        // Somebody else protects what the run has made.
        let script = format!(
            "{} --remote {} request PATCH instances/$MALLEUS_INSTANCE \
             --query project=demo-${{MALLEUS_INSTANCE#web-}} \
             --body '{{\"config\": {{\"security.protection.delete\": \"true\"}}}}'",
            env!("CARGO_BIN_EXE_malleus"),
            ground.daemon.socket.display()
        );
        let ran = ground.run(&["with", "isolated.yaml", "--", "sh", "-c", &script]);
        assert_eq!(ran.code(), Some(125), "{}", ran.stderr());
        assert!(
            ran.stderr().contains("cleanup is incomplete"),
            "{}",
            ran.stderr()
        );
        let dossier = ground.dossier(&ran);
        let project = dossier.file_name().unwrap().to_str().unwrap().to_owned();
        let own = own_instance(&dossier, &project);
        assert!(own.join("instance.json").is_file());

        let remote = Remote::Unix(ground.daemon.socket.clone());
        let client = Client::connect(&remote).unwrap().with_project(&project);
        let name = own.file_name().unwrap().to_str().unwrap();
        let patch = Request::patch(format!("instances/{name}"))
            .json(json!({"config": {"security.protection.delete": "false"}}));
        let wait = Wait::within(Limit::after("test", Duration::from_secs(30)));
        client.run(&patch, &wait).unwrap();
        let down = ground.run(&["down", "--all"]);
        assert_eq!(down.code(), Some(0), "{}", down.stderr());
    }
}
