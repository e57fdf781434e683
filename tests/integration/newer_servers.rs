//! What newer servers answer otherwise: operations that name what they make elsewhere, cancelling that takes until the end,
//! images that were there, addresses that the server picks, secrets in replies.

use std::time::{Duration, Instant};

use crate::support::program::{Ran, Running, malleus};
use crate::support::scripted::{Answer, Scripted, error, sync};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// `malleus test` of these steps.
fn test(server: &Scripted, steps: &str, options: &[&str]) -> Ran {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("playbook.yaml");
    let playbook = format!("playbook: 1\nname: newer\nsteps:\n{steps}");
    std::fs::write(&file, playbook).expect("a file");
    let mut program = malleus(folder.path());
    program.arg("test").arg(&file).args(options);
    program.arg("--remote").arg(&server.socket);
    Running::start(&mut program, None).end()
}

fn deletions(server: &Scripted) -> Vec<String> {
    let mut lines = server.lines();
    lines.retain(|line| line.starts_with("DELETE "));
    lines
}

fn operation(code: u16, metadata: &Value) -> Value {
    json!({"id": "op", "class": "task", "status": "x", "status_code": code, "err": "", "resources": {}, "metadata": metadata})
}

/// The beginning of an operation, and its end after one second's wait.
fn begun(metadata: &Value) -> Answer {
    let body = json!({"type": "async", "status": "Operation created", "status_code": 100,
        "operation": "/1.0/operations/op", "error_code": 0, "error": "", "metadata": operation(103, metadata)});
    Answer::Json(202, body)
}

fn ended(metadata: &Value) -> Answer {
    sync(&operation(200, metadata))
}

const WAIT: &str = "GET /1.0/operations/op/wait?timeout=1";
const WAIT_LONG: &str = "GET /1.0/operations/op/wait?timeout=20";

#[test]
fn what_an_operation_names_by_its_url_alone_is_removed() {
    let made = json!({"entity_url": "/1.0/instances/web/snapshots/snap0"});
    let server = Scripted::serve(&[
        ("GET /1.0/instances/web/snapshots", &[sync(&json!([]))]),
        ("POST /1.0/instances/web/snapshots", &[begun(&made)]),
        (WAIT, &[ended(&made)]),
        (
            "DELETE /1.0/instances/web/snapshots/snap0",
            &[sync(&json!({}))],
        ),
    ]);
    let steps = "  - request: POST instances/web/snapshots\n    body: {}\n";
    let ran = test(&server, steps, &[]);
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    assert_eq!(
        deletions(&server),
        ["DELETE /1.0/instances/web/snapshots/snap0"]
    );
}

#[test]
fn the_source_of_a_copy_without_a_name_stays() {
    let named = json!({"instances": ["/1.0/instances/able-fox", "/1.0/instances/web"]});
    let operation = |code| json!({"id": "op", "class": "task", "status": "x", "status_code": code, "err": "", "resources": named, "metadata": {}});
    let body = json!({"type": "async", "status_code": 100, "operation": "/1.0/operations/op", "metadata": operation(103)});
    let server = Scripted::serve(&[
        ("POST /1.0/instances", &[Answer::Json(202, body)]),
        (WAIT, &[sync(&operation(200))]),
        ("DELETE /1.0/instances/able-fox", &[sync(&json!({}))]),
    ]);
    let steps = "  - request: POST instances\n    body: {source: {type: copy, source: web}}\n";
    let ran = test(&server, steps, &[]);
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    assert_eq!(deletions(&server), ["DELETE /1.0/instances/able-fox"]);
}

#[test]
fn a_server_that_cancels_only_at_the_end_is_not_waited_for() {
    let server = Scripted::serve(&[
        ("POST /1.0/storage-pools/p/recover", &[begun(&json!({}))]),
        (
            "GET /1.0/operations/op",
            &[sync(&operation(103, &json!({})))],
        ),
        (
            WAIT,
            &[Answer::Slow(
                Duration::from_secs(60),
                Box::new(ended(&json!({}))),
            )],
        ),
        (
            "DELETE /1.0/operations/op",
            &[Answer::Slow(
                Duration::from_secs(60),
                Box::new(sync(&json!({}))),
            )],
        ),
    ]);
    let start = Instant::now();
    let steps = "  - request: POST storage-pools/p/recover\n    timeout: 1s\n";
    let ran = test(&server, steps, &[]);
    let took = start.elapsed();
    assert_eq!(ran.code(), Some(1), "{}", ran.stderr());
    assert!(took < Duration::from_secs(30), "{took:?}: {}", ran.stderr());
    let deletions = deletions(&server);
    assert_eq!(deletions, ["DELETE /1.0/operations/op"], "{}", ran.stderr());
}

fn pull(there: &Value) -> Vec<String> {
    let fingerprint = "ab".repeat(32);
    let metadata = json!({ "fingerprint": fingerprint });
    let deletion = format!("DELETE /1.0/images/{fingerprint}");
    let server = Scripted::serve(&[
        ("GET /1.0/images", &[sync(there)]),
        ("POST /1.0/images", &[begun(&json!({}))]),
        (WAIT, &[ended(&metadata)]),
        (&deletion, &[sync(&json!({}))]),
    ]);
    let steps = "  - request: POST images\n    body: {source: {type: image, mode: pull, server: https://images.example, alias: debian}}\n";
    let ran = test(&server, steps, &[]);
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    deletions(&server)
}

#[test]
fn an_image_that_was_there_stays_and_one_that_came_goes() {
    let image = format!("/1.0/images/{}", "ab".repeat(32));
    assert_eq!(pull(&json!([image])), Vec::<String>::new());
    let other = format!("/1.0/images/{}", "cd".repeat(32));
    assert_eq!(pull(&json!([other])), [format!("DELETE {image}")]);
}

#[test]
fn a_forward_at_an_address_that_the_server_picks_is_removed() {
    for any in ["0.0.0.0", "::"] {
        let picked = json!({"entity_url": "/1.0/networks/n", "listen_address": "192.0.2.7"});
        let server = Scripted::serve(&[
            ("POST /1.0/networks/n/forwards", &[begun(&json!({}))]),
            (WAIT, &[ended(&picked)]),
            (
                "DELETE /1.0/networks/n/forwards/192.0.2.7",
                &[sync(&json!({}))],
            ),
        ]);
        let steps = format!(
            "  - request: POST networks/n/forwards\n    body: {{listen_address: \"{any}\"}}\n"
        );
        let ran = test(&server, &steps, &[]);
        assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
        assert_eq!(
            deletions(&server),
            ["DELETE /1.0/networks/n/forwards/192.0.2.7"]
        );
    }
}

#[test]
fn secrets_of_replies_are_not_shown() {
    let token = json!({"client_name": "ci", "fingerprint": "ab12", "addresses": ["192.0.2.1:8443"], "secret": "swordfish-1",
        "expires_at": "0001-01-01T00:00:00Z", "type": "Client certificate"});
    let joined = STANDARD.encode(token.to_string());
    let key = json!({"key": {"name": "admin", "access-key": "AK", "secret-key": "swordfish-3"}});
    let server = Scripted::serve(&[
        ("POST /1.0/auth/identities/tls", &[sync(&token)]),
        (
            "POST /1.0/auth/identities/bearer/ci/token",
            &[sync(&json!({"token": "swordfish-2"}))],
        ),
        ("POST /1.0/storage-pools/p/buckets", &[begun(&json!({}))]),
        (WAIT, &[ended(&key)]),
        (WAIT_LONG, &[ended(&key)]),
        ("DELETE /1.0/storage-pools/p/buckets/b", &[sync(&json!({}))]),
    ]);
    let steps = "
  - id: identity
    request: POST auth/identities/tls
    body: {name: ci, type: Client certificate, token: true}
  - request: POST auth/identities/bearer/ci/token
    body: {}
  - id: bucket
    request: POST storage-pools/p/buckets
    body: {name: b}
  - check: identity.metadata.token == 'shown' or bucket.metadata.key == 'shown' or identity.metadata.secret == 'shown'
";
    let ran = test(&server, steps, &["-vv"]);
    assert_eq!(ran.code(), Some(1), "{}", ran.stderr());
    let written = format!("{}{}", ran.stdout(), ran.stderr());
    for secret in ["swordfish", &joined[..24]] {
        assert!(!written.contains(secret), "{secret} is in {written}");
    }
    assert!(written.contains("***"), "{written}");
}

#[test]
fn a_refusal_in_the_background_is_told_where_it_is_joined() {
    let server = Scripted::serve(&[
        (
            "GET /1.0/instances/web",
            &[error(404, 404, "Instance not found")],
        ),
        (
            "POST /1.0/instances",
            &[error(500, 500, "Instance \"web\" already exists")],
        ),
    ]);
    let begin = "  - id: creation\n    request: POST instances\n    body: {name: web, source: {type: none}}\n    background: true\n";
    let join = |expected: &str| {
        let steps = format!("{begin}  - join: creation\n    expect: {{error: {expected}}}\n");
        test(&server, &steps, &[])
    };
    for words in ["already exists", "the name is taken"] {
        let ran = join(words);
        assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    }
    assert_eq!(join("something else").code(), Some(1));
    let unjoined = test(&server, begin, &[]);
    assert_eq!(unjoined.code(), Some(1), "{}", unjoined.stderr());
    assert!(unjoined.stderr().contains("begun here"));
    assert_eq!(deletions(&server), Vec::<String>::new());
}
