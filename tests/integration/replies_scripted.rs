//! What a server says becomes part of no request that the playbook does not name, and no success that it does not tell.
use std::path::Path;

use crate::support::program::{Ran, Running, malleus};
use crate::support::scripted::{Answer, Scripted, error, sync};
use serde_json::{Value, json};

/// A command of the program on a playbook.
fn play(command: &str, server: &Scripted, playbook: &str) -> Ran {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("playbook.yaml");
    std::fs::write(&file, playbook).expect("a file");
    let mut program = malleus(folder.path());
    program.args([Path::new(command), &file]);
    program.arg("--remote").arg(&server.socket);
    Running::start(&mut program, None).end()
}

/// The changes that were asked for.
fn writes(server: &Scripted) -> Vec<String> {
    let mut lines = server.lines();
    lines.retain(|line| !line.starts_with("GET "));
    lines
}

fn begun(operation: &Value) -> Answer {
    let url = "/1.0/operations/op1";
    let body =
        json!({"type": "async", "status_code": 100, "operation": url, "metadata": operation});
    Answer::Json(202, body)
}

fn operation(status: u16, metadata: &Value, resources: &Value) -> Value {
    json!({"id": "op1", "class": "task", "description": "Executing command", "status_code": status, "err": "",
        "metadata": metadata, "resources": resources})
}

const RAW: Answer = Answer::Raw(
    "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 3\r\n\r\nout",
);

#[test]
fn the_urls_of_output_are_those_of_the_commands_own_logs() {
    let logs = "/1.0/instances/x/logs/exec-output/exec_op1";
    for (stdout, stderr) in [
        ("/1.0/projects/default", format!("{logs}.stderr")),
        (
            "/1.0/instances/prod?project=other&x=y",
            format!("{logs}.stderr"),
        ),
        ("/1.0/instances/x/logs/../../prod", format!("{logs}.stderr")),
        (
            "/1.0/instances/x/logs/exec-output/..%2f..%2f..%2fprod",
            format!("{logs}.stderr"),
        ),
        (
            "/1.0/instances/y/logs/exec-output/exec_op1.stdout",
            format!("{logs}.stderr"),
        ),
        (
            "/1.0/instances/x/logs/exec-output/exec_op2.stdout",
            format!("{logs}.stderr"),
        ),
        ("/1.0/instances/x/logs/lxc.log", format!("{logs}.stderr")),
        ("/internal/shutdown", format!("{logs}.stderr")),
        ("//elsewhere/1.0/x", format!("{logs}.stderr")),
        ("@elsewhere:80/", format!("{logs}.stderr")),
        ("http://elsewhere:80/1.0/x", format!("{logs}.stderr")),
        ("", format!("{logs}.stderr")),
        // The other stream.
        (&format!("{logs}.stderr"), format!("{logs}.stderr")),
        (
            &format!("{logs}.stdout"),
            "/1.0/projects/default".to_owned(),
        ),
    ] {
        let output = json!({"return": 0, "output": {"1": stdout, "2": stderr}});
        let ended = operation(200, &output, &json!({"instances": ["/1.0/instances/x"]}));
        let running = operation(103, &Value::Null, &Value::Null);
        let server = Scripted::serve(&[
            ("POST /1.0/instances/x/exec", &[begun(&running)]),
            ("GET /1.0/operations/op1/wait?timeout=20", &[sync(&ended)]),
            ("GET /1.0/operations/op1", &[sync(&ended)]),
            (&format!("GET {logs}.stdout"), &[RAW]),
            (&format!("GET {logs}.stderr"), &[RAW]),
            (&format!("DELETE {logs}.stdout"), &[sync(&json!({}))]),
            (&format!("DELETE {logs}.stderr"), &[sync(&json!({}))]),
        ]);
        let ran = play(
            "run",
            &server,
            "playbook: 1\nname: e\nsteps:\n  - exec: {instance: x, command: [id]}\n",
        );
        assert_eq!(ran.code(), Some(1), "{stdout}: {}", ran.stderr());
        let told = ran.stderr();
        assert!(
            told.contains("as output of the command"),
            "{stdout}: {told}"
        );
        for line in server.lines() {
            let (_, path) = line.split_once(' ').expect("a method");
            // The end of the run looks whether the command may still be there.
            let is_own = path == "/1.0/instances/x"
                || path.starts_with("/1.0/instances/x/exec")
                || path.starts_with("/1.0/instances/x/logs/exec-output/exec_op1.")
                || path.starts_with("/1.0/instances/x/logs/exec_op1.")
                || path.starts_with("/1.0/operations");
            assert!(is_own, "{stdout}: {line}");
        }
    }
}

#[test]
fn what_was_made_is_a_member_of_the_collection_that_the_playbook_names() {
    for (location, url) in [
        ("/1.0/widgets/..", "/1.0/instances/.."),
        ("/1.0/widgets/%2e%2e", "/1.0/instances/%2e%2E"),
        ("/1.0/widgets/.", "/1.0/instances/."),
        (
            "/1.0/widgets/a/../../projects/p",
            "/1.0/instances/a/../../projects/p",
        ),
        ("/1.0/projects/p", "/1.0/projects/p"),
        ("/1.0/widgets/a%2fb", "/1.0/instances/a%2fb"),
        ("/1.0/widgets/a%00b", "/1.0/instances/a%1b[31mb"),
        ("/1.0/widgets//", "/1.0/instances/"),
    ] {
        let location = format!(
            "HTTP/1.1 201 X\r\nContent-Type: application/json\r\nLocation: {location}\r\nContent-Length: 47\r\n\r\n{}",
            r#"{"type":"sync","status_code":200,"metadata":{}}"#
        );
        let resources = json!({"instances": [url]});
        let (running, ended) = (103, 200);
        let server = Scripted::serve(&[
            ("POST /1.0/widgets", &[Answer::Raw(location.leak())]),
            (
                "POST /1.0/instances",
                &[begun(&operation(running, &Value::Null, &resources))],
            ),
            (
                "GET /1.0/operations/op1/wait?timeout=20",
                &[sync(&operation(ended, &Value::Null, &resources))],
            ),
            (
                "GET /1.0/operations/op1",
                &[sync(&operation(ended, &Value::Null, &resources))],
            ),
        ]);
        let playbook = "playbook: 1\nname: w\nsteps:\n  - request: POST widgets\n    body: {a: 1}\n  \
            - request: POST instances\n    body: {source: {type: none}}\n";
        play("test", &server, playbook);
        assert_eq!(
            writes(&server),
            ["POST /1.0/widgets", "POST /1.0/instances"],
            "{url}"
        );
    }
}

#[test]
fn an_answer_that_is_none_of_the_api_is_no_success() {
    let text = |head: &str, body: &str| {
        let text = format!(
            "HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Answer::Raw(text.leak())
    };
    let json = |body: Value| Answer::Json(200, body);
    let lost = |operation: Value, url: &str| {
        let body =
            json!({"type": "async", "status_code": 100, "operation": url, "metadata": operation});
        Answer::Json(202, body)
    };
    let page = "<html>please log in</html>";
    for (answer, said) in [
        (
            lost(Value::Null, "/1.0/operations/../projects/p"),
            "operation has begun",
        ),
        (lost(json!({}), ""), "operation has begun"),
        (
            lost(json!({"id": "../x", "status_code": 103}), "/1.0/x"),
            "operation has begun",
        ),
        (
            text("200 OK\r\nContent-Type: text/html", page),
            "please log in",
        ),
        (
            text("200 OK\r\nContent-Type: application/json", ""),
            "nothing came",
        ),
        (text("200 OK", page), "26 bytes"),
        (text("204 No Content", ""), "nothing came"),
        (json(json!([])), "other JSON ([])"),
        (json(json!({"type": "weird", "metadata": {}})), "other JSON"),
        (json(json!("ok")), "other JSON"),
    ] {
        for (line, step) in [
            (
                "POST /1.0/instances",
                "request: POST instances\n    body: {name: x, source: {type: none}}",
            ),
            (
                "PUT /1.0/profiles/x",
                "request: PUT profiles/x\n    body: {description: d}",
            ),
            (
                "PATCH /1.0/profiles/x",
                "request: PATCH profiles/x\n    body: {description: d}",
            ),
            ("DELETE /1.0/profiles/x", "request: DELETE profiles/x"),
            ("GET /1.0/profiles/x", "request: GET profiles/x"),
            ("GET /1.0/instances", "request: GET instances"),
            (
                "POST /1.0/widgets",
                "request: POST widgets\n    body: {a: 1}",
            ),
            (
                "POST /1.0/profiles",
                "ensure: profiles/x\n    body: {description: d}",
            ),
        ] {
            let server = Scripted::serve(&[
                (line, std::slice::from_ref(&answer)),
                (
                    "GET /1.0/instances/x",
                    &[error(404, 404, "Instance not found")],
                ),
            ]);
            let playbook = format!("playbook: 1\nname: p\nsteps:\n  - {step}\n");
            let ran = play("run", &server, &playbook);
            let told = ran.stderr();
            assert_eq!(ran.code(), Some(1), "{line} {answer:?}: {told}");
            assert!(told.contains(said), "{line} {answer:?}: {told}");
        }
    }
    // Files and logs are what they are.
    for path in [
        "instances/x/console",
        "instances/x/logs/lxc.log",
        "images/ab/export",
        "metrics",
    ] {
        for answer in [
            text("200 OK\r\nContent-Type: text/html", page),
            text("200 OK\r\nContent-Type: application/json", "[]"),
            text("200 OK\r\nContent-Type: application/json", ""),
        ] {
            let server = Scripted::serve(&[(&format!("GET /1.0/{path}"), &[answer])]);
            let playbook = format!("playbook: 1\nname: p\nsteps:\n  - request: GET {path}\n");
            let ran = play("run", &server, &playbook);
            assert_eq!(ran.code(), Some(0), "{path}: {}", ran.stderr());
        }
    }
}

#[test]
fn a_value_leads_to_no_other_path() {
    for value in ["..", ".", "%2e%2e", "a/../b"] {
        let server = Scripted::serve(&[]);
        // As a part of the path, and encoded by hand.
        for path in ["instances/{{ name }}", "instances/{{ name }}/state"] {
            let playbook = format!(
                "playbook: 1\nname: p\nvars: {{name: \"{value}\"}}\nsteps:\n  - request: DELETE {path}\n"
            );
            play("run", &server, &playbook);
        }
        let reached = writes(&server);
        let is_inside = |line: &String| {
            line.starts_with("DELETE /1.0/instances/%252e")
                || line.starts_with("DELETE /1.0/instances/a%2F")
        };
        assert!(reached.iter().all(is_inside), "{value}: {reached:?}");
    }
    for path in [
        "instances/../projects/p",
        "instances/%2e%2E",
        "instances/./x",
    ] {
        let server = Scripted::serve(&[]);
        let playbook = format!("playbook: 1\nname: p\nsteps:\n  - request: DELETE {path}\n");
        let ran = play("run", &server, &playbook);
        assert_ne!(ran.code(), Some(0));
        assert_eq!(writes(&server), Vec::<String>::new(), "{path}");
    }
}
