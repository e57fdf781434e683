//! Other clients on the simulated daemons: `incus`, `lxc`, and `PyLXD` where the variable `MALLEUS_PYLXD` names a Python that
//! has it. A client that is not installed is left out, and that is said.
#![cfg(feature = "sim")]
#![allow(clippy::expect_used, reason = "helpers of tests may end them")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use malleus::sim::{Brand, Options, Sim};

/// A command line of a client: arguments, exit code, and a part of what it prints.
type Line = (&'static [&'static str], i32, &'static str);

const LINES: &[Line] = &[
    (&["launch", "busybox", "c1"], 0, ""),
    (
        &["list", "--format", "csv", "--columns", "ns"],
        0,
        "c1,RUNNING",
    ),
    (&["exec", "c1", "--", "hostname"], 0, "c1\n"),
    (
        &["exec", "c1", "--", "sh", "-c", "echo out; exit 3"],
        3,
        "out\n",
    ),
    (&["file", "push", "greeting", "c1/tmp/greeting"], 0, ""),
    (&["exec", "c1", "--", "cat", "/tmp/greeting"], 0, "hello\n"),
    (&["file", "pull", "c1/tmp/greeting", "-"], 0, "hello\n"),
    (&["config", "set", "c1", "user.role=web"], 0, ""),
    (&["config", "get", "c1", "user.role"], 0, "web\n"),
    (&["info", "c1"], 0, "Name: c1"),
    (&["network", "create", "br0"], 0, ""),
    (&["network", "list", "--format", "csv"], 0, "br0"),
    (&["copy", "c1", "c2"], 0, ""),
    (&["stop", "--force", "c1"], 0, ""),
    (&["delete", "c1", "c2"], 0, ""),
    (&["list", "--format", "csv", "--columns", "n"], 0, ""),
];

fn is_there(program: &str) -> bool {
    let ran = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let there = ran.is_ok_and(|status| status.success());
    if !there {
        let text = format!("\n*** THE TEST OF {program} IS LEFT OUT: it is not installed ***\n");
        std::io::stderr().write_all(text.as_bytes()).ok();
    }
    there
}

fn run(
    program: &str,
    arguments: &[&str],
    (home, variable, socket): (&Path, &str, &Path),
) -> Output {
    Command::new(program)
        .args(arguments)
        .current_dir(home)
        .env("HOME", home)
        .env(variable, socket)
        .stdin(Stdio::null())
        .output()
        .expect("it runs")
}

fn client((program, snapshot): (&str, &'static [&'static str]), (brand, variable): (Brand, &str)) {
    if !is_there(program) {
        return;
    }
    let sim = Sim::start(Options::new(brand)).expect("it starts");
    let home = tempfile::tempdir().expect("a folder");
    std::fs::write(home.path().join("greeting"), "hello\n").expect("written");
    let place = (home.path(), variable, sim.socket());
    // The one line that the two clients write differently goes before the instance is stopped.
    let stop = LINES.len() - 3;
    let (before, after) = LINES.split_at(stop);
    let snapshot: Line = (snapshot, 0, "");
    for (arguments, code, printed) in before.iter().chain([&snapshot]).chain(after).copied() {
        let output = run(program, arguments, place);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{program} {arguments:?}: {output:?}"
        );
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(
            stdout.contains(printed),
            "{program} {arguments:?}: {stdout}"
        );
    }
}

#[test]
fn incus() {
    client(
        ("incus", &["snapshot", "create", "c1", "s1"]),
        (Brand::Incus, "INCUS_SOCKET"),
    );
}

#[test]
fn lxc() {
    client(
        ("lxc", &["snapshot", "c1", "s1"]),
        (Brand::Lxd, "LXD_SOCKET"),
    );
}

const PYLXD: &str = r#"
import sys, pylxd
client = pylxd.Client(endpoint="http+unix://" + sys.argv[1].replace("/", "%2F"))
instance = client.instances.create({"name": "py1", "source": {"type": "image", "alias": "busybox"}}, wait=True)
instance.start(wait=True)
assert client.instances.get("py1").status == "Running"
result = instance.execute(["sh", "-c", "echo out; echo err >&2; exit 3"])
assert (result.exit_code, result.stdout, result.stderr) == (3, "out\n", "err\n"), result
assert instance.execute(["cat"], stdin_payload="typed\n").stdout == "typed\n"
instance.files.put("/tmp/x", b"data")
assert instance.files.get("/tmp/x") == b"data"
instance.snapshots.create("s1", wait=True)
assert [snapshot.name for snapshot in instance.snapshots.all()] == ["s1"]
instance.stop(force=True, wait=True)
instance.delete(wait=True)
assert client.instances.all() == []
"#;

#[test]
fn pylxd() {
    let Ok(python) = std::env::var("MALLEUS_PYLXD") else {
        let text =
            "\n*** THE TEST OF PyLXD IS LEFT OUT: set MALLEUS_PYLXD to a Python that has it ***\n";
        std::io::stderr().write_all(text.as_bytes()).ok();
        return;
    };
    let sim = Sim::start(Options::new(Brand::Lxd)).expect("it starts");
    let output = Command::new(python)
        .args(["-c", PYLXD])
        .arg(sim.socket())
        .output()
        .expect("it runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
