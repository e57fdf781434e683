//! The examples of the client, run against real daemons.

use std::process::Command;
use std::time::Duration;

use crate::support::daemon::{Daemon, Flavor, daemons};
use malleus::client::{Client, Limit, Remote, Request, Wait};
use serde_json::json;

/// What an example prints when it is led to this daemon.
fn example(daemon: &Daemon, name: &str, arguments: &[&str]) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    // `cargo test --test` does not build examples.
    cargo.args([
        "run",
        "--quiet",
        "-p",
        "malleus-client",
        "--example",
        name,
        "--",
    ]);
    for variable in Flavor::ALL.into_iter().flat_map(Flavor::variables) {
        cargo.env_remove(variable);
    }
    let output = cargo
        .args(arguments)
        .envs(daemon.environment())
        .output()
        .expect("cargo runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn examples_do_what_they_say() {
    for flavor in daemons() {
        let daemon = Daemon::shared(flavor);
        let name = "client-example";
        let created = example(daemon, "create_instance", &[name, "busybox"]);
        assert!(
            created.ends_with("created client-example\nstarted client-example\n"),
            "{created}"
        );
        let listed = example(daemon, "list_instances", &[]);
        // Other tests have instances on this daemon as well.
        let line = "client-example           Running    container";
        assert!(listed.lines().any(|listed| listed == line), "{listed}");
        let ran = example(daemon, "run_command", &[name]);
        assert_eq!(
            ran,
            "exit code: 3\nstdout:\nto stdout\nstderr:\nto stderr\n"
        );
        let ran = example(daemon, "run_command", &[name, "nonexistent"]);
        assert_eq!(
            ran,
            "exit code: 127\nmessage: Command not found\nstdout:\nstderr:\n"
        );
        let ruled = example(daemon, "own_rules", &[]);
        assert!(
            ruled.contains("profiles: [\"/1.0/profiles/default\"]\nvalidated: "),
            "{ruled}"
        );
        assert!(ruled.ends_with("taken as it is: status 404\n"), "{ruled}");

        let client = Client::connect(&Remote::Unix(daemon.socket.clone())).unwrap();
        let wait = Wait::within(Limit::after("clean-up", Duration::from_secs(60)));
        let stop = Request::put(format!("instances/{name}/state"))
            .json(json!({"action": "stop", "force": true, "timeout": 30}));
        client.run(&stop, &wait).unwrap();
        let delete = Request::delete(format!("instances/{name}"));
        client.run(&delete, &wait).unwrap();
    }
}
