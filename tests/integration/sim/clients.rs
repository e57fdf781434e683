//! Other clients on the simulated daemons: `incus`, `lxc`, and `PyLXD` where the variable `MALLEUS_PYLXD` names a Python that
//! has it. A client that is not installed is left out, and that is said.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::https::Pair;
use malleus::client::{Client, Operation, Remote, Request, Token};
use malleus::sim::{Flavor, Options, Sim};
use serde_json::json;

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

/// The same over HTTPS, on the remote `sim`.
const LINES_OVER_HTTPS: &[Line] = &[
    (&["launch", "sim:busybox", "sim:c1"], 0, ""),
    (
        &["list", "sim:", "--format", "csv", "--columns", "ns"],
        0,
        "c1,RUNNING",
    ),
    (
        &["exec", "sim:c1", "--", "sh", "-c", "echo out; exit 3"],
        3,
        "out\n",
    ),
    (&["file", "push", "greeting", "sim:c1/tmp/greeting"], 0, ""),
    (&["file", "pull", "sim:c1/tmp/greeting", "-"], 0, "hello\n"),
    (&["delete", "--force", "sim:c1"], 0, ""),
    (
        &["list", "sim:", "--format", "csv", "--columns", "n"],
        0,
        "",
    ),
];

/// On a cluster of three.
const LINES_ON_A_CLUSTER: &[Line] = &[
    (&["cluster", "list", "--format", "csv"], 0, "member3,"),
    (&["launch", "busybox", "c1", "--target", "member2"], 0, ""),
    (
        &["list", "--format", "csv", "--columns", "nsL"],
        0,
        "c1,RUNNING,member2",
    ),
    (&["exec", "c1", "--", "hostname"], 0, "c1\n"),
    (&["cluster", "evacuate", "member2", "--force"], 0, ""),
    (
        &["list", "--format", "csv", "--columns", "nsL"],
        0,
        "c1,RUNNING,member1",
    ),
    (&["cluster", "restore", "member2", "--force"], 0, ""),
    (&["stop", "--force", "c1"], 0, ""),
    (&["move", "c1", "--target", "member3"], 0, ""),
    (&["list", "--format", "csv", "--columns", "L"], 0, "member3"),
    (
        &["storage", "create", "po", "dir", "--target", "member1"],
        0,
        "",
    ),
    (
        &["storage", "create", "po", "dir", "--target", "member2"],
        0,
        "",
    ),
    (
        &["storage", "create", "po", "dir", "--target", "member3"],
        0,
        "",
    ),
    (&["storage", "create", "po", "dir"], 0, ""),
    (&["storage", "show", "po"], 0, "status: Created"),
    (
        &[
            "storage", "volume", "create", "po", "v", "--target", "member2",
        ],
        0,
        "",
    ),
    (
        &["storage", "volume", "list", "po", "--format", "csv"],
        0,
        "member2",
    ),
    (&["cluster", "group", "create", "gg"], 0, ""),
    (&["cluster", "group", "list", "--format", "csv"], 0, "gg,"),
    (&["delete", "c1"], 0, ""),
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

fn client((program, snapshot): (&str, &'static [&'static str]), (brand, variable): (Flavor, &str)) {
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
    lines(program, before, place);
    lines(program, &[snapshot], place);
    lines(program, after, place);
}

/// A daemon that listens on loopback too, and a token for it.
fn over_https(brand: Flavor) -> (Sim, String) {
    let sim = Sim::start(Options {
        https: Some(([127, 0, 0, 1], 0).into()),
        ..Options::new(brand)
    });
    let sim = sim.expect("it starts");
    let client = Client::connect(&Remote::Unix(sim.socket().to_owned())).expect("connected");
    let ask = json!({"name": "test", "type": "client", "token": true});
    let reply = client.request(&Request::post("certificates").json(ask));
    let operation = Operation::from_value(reply.expect("a token").metadata());
    let token = Token::of(&operation.expect("an operation")).expect("whole");
    (sim, token.joined())
}

fn client_over_https(program: &str, (brand, variable): (Flavor, &str)) {
    if !is_there(program) {
        return;
    }
    let (_sim, token) = over_https(brand);
    let home = tempfile::tempdir().expect("a folder");
    std::fs::write(home.path().join("greeting"), "hello\n").expect("written");
    // What it is told of a socket leads nowhere.
    let place = (home.path(), variable, Path::new("/nowhere"));
    let output = run(program, &["remote", "add", "sim", &token], place);
    assert!(output.status.success(), "{program} remote add: {output:?}");
    lines(program, LINES_OVER_HTTPS, place);
}

fn lines(program: &str, lines: &[Line], place: (&Path, &str, &Path)) {
    for (arguments, code, printed) in lines.iter().copied() {
        let output = run(program, arguments, place);
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{program} {arguments:?}: {output:?}"
        );
        assert!(stdout.contains(printed), "{arguments:?}: {stdout}");
    }
}

fn client_on_a_cluster(program: &str, (brand, variable): (Flavor, &str)) {
    if !is_there(program) {
        return;
    }
    let sim = Sim::start(Options {
        members: 3,
        ..Options::new(brand)
    });
    let sim = sim.expect("it starts");
    let home = tempfile::tempdir().expect("a folder");
    lines(
        program,
        LINES_ON_A_CLUSTER,
        (home.path(), variable, sim.socket()),
    );
}

#[test]
fn incus_on_a_cluster() {
    client_on_a_cluster("incus", (Flavor::Incus, "INCUS_SOCKET"));
}

#[test]
fn lxc_on_a_cluster() {
    client_on_a_cluster("lxc", (Flavor::Lxd, "LXD_SOCKET"));
}

#[test]
fn incus_over_https() {
    client_over_https("incus", (Flavor::Incus, "INCUS_SOCKET"));
}

#[test]
fn lxc_over_https() {
    client_over_https("lxc", (Flavor::Lxd, "LXD_SOCKET"));
}

#[test]
fn incus() {
    client(
        ("incus", &["snapshot", "create", "c1", "s1"]),
        (Flavor::Incus, "INCUS_SOCKET"),
    );
}

#[test]
fn lxc() {
    client(
        ("lxc", &["snapshot", "c1", "s1"]),
        (Flavor::Lxd, "LXD_SOCKET"),
    );
}

const PYLXD: &str = r#"
import sys, pylxd
if len(sys.argv) == 2:
    client = pylxd.Client(endpoint="http+unix://" + sys.argv[1].replace("/", "%2F"))
else:
    address, token, certificate, key, server = sys.argv[1:]
    client = pylxd.Client(endpoint="https://" + address, cert=(certificate, key), verify=server)
    assert not client.trusted
    client.authenticate(token)
    assert client.trusted
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

fn pylxd_with(arguments: &[&str]) {
    let Ok(python) = std::env::var("MALLEUS_PYLXD") else {
        let text =
            "\n*** THE TEST OF PyLXD IS LEFT OUT: set MALLEUS_PYLXD to a Python that has it ***\n";
        std::io::stderr().write_all(text.as_bytes()).ok();
        return;
    };
    let output = Command::new(python)
        .args(["-c", PYLXD])
        .args(arguments)
        // Its HTTP library would take these for more than the certificate that it is given.
        .env_remove("REQUESTS_CA_BUNDLE")
        .env_remove("CURL_CA_BUNDLE")
        .output()
        .expect("it runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn pylxd() {
    let sim = Sim::start(Options::new(Flavor::Lxd)).expect("it starts");
    pylxd_with(&[&sim.socket().display().to_string()]);
}

#[test]
fn pylxd_over_https() {
    let (sim, token) = over_https(Flavor::Lxd);
    let home = tempfile::tempdir().expect("a folder");
    let pair = Pair::new();
    let client = Client::connect(&Remote::Unix(sim.socket().to_owned())).expect("connected");
    let server = client.server().environment["certificate"].clone();
    let written = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let certificate = written("client.crt", &pair.certificate);
    let key = written("client.key", &pair.key);
    let server = written("server.crt", server.as_str().expect("a certificate"));
    let address = sim.https().expect("it listens").to_string();
    pylxd_with(&[&address, &token, &certificate, &key, &server]);
}
