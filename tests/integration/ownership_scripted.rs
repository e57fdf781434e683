//! What a run may remove, before servers on which somebody else is at work.
use crate::support::program::{Ran, Running, malleus};
use crate::support::scripted::{Answer, Scripted, error, sync};
use serde_json::json;

/// `malleus test` of a playbook.
fn test(server: &Scripted, playbook: &str) -> Ran {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("playbook.yaml");
    std::fs::write(&file, playbook).expect("a file");
    let mut program = malleus(folder.path());
    program
        .arg("test")
        .arg(&file)
        .arg("--remote")
        .arg(&server.socket);
    Running::start(&mut program, None).end()
}

fn writes(server: &Scripted) -> Vec<String> {
    let mut lines = server.lines();
    lines.retain(|line| !line.starts_with("GET "));
    lines
}

/// A refusal of a creation while somebody else's creation of the same name is under way.
fn busy() -> Answer {
    error(400, 400, "Instance is busy running a \"create\" operation")
}

fn instance() -> Answer {
    sync(
        &json!({"name": "web", "status": "Stopped", "status_code": 102, "type": "container", "config": {}}),
    )
}

#[test]
fn what_somebody_else_makes_at_the_same_moment_stays() {
    let server = Scripted::serve(&[
        (
            "GET /1.0/instances/web",
            &[error(404, 404, "Instance not found"), instance()],
        ),
        ("POST /1.0/instances", &[busy()]),
    ]);
    let ran = test(
        &server,
        "playbook: 1\nname: w\nsteps:\n  - ensure: instances/web\n    body: {source: {type: none}}\n",
    );
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    assert_eq!(writes(&server), ["POST /1.0/instances"]);
}

#[test]
fn the_second_try_of_a_creation_that_finds_the_name_taken_makes_nothing_ours() {
    let server = Scripted::serve(&[
        (
            "GET /1.0/instances/web",
            &[error(404, 404, "Instance not found"), instance()],
        ),
        (
            "POST /1.0/instances",
            &[busy(), error(409, 409, "Instance \"web\" already exists")],
        ),
    ]);
    let ran = test(
        &server,
        "playbook: 1\nname: w\nsteps:\n  - request: POST instances\n    body: {name: web, source: {type: none}}\n",
    );
    assert_eq!(ran.code(), Some(1), "{}", ran.stderr());
    assert_eq!(
        writes(&server),
        ["POST /1.0/instances", "POST /1.0/instances"]
    );
}

#[test]
fn one_refusal_says_nothing_about_what_another_request_of_the_run_made() {
    let server = Scripted::serve(&[
        (
            "GET /1.0/profiles/p",
            &[error(404, 404, "Profile not found")],
        ),
        (
            "POST /1.0/profiles",
            &[
                sync(&json!({})),
                error(409, 409, "The profile already exists"),
            ],
        ),
        ("DELETE /1.0/profiles/p", &[sync(&json!({}))]),
    ]);
    let ran = test(
        &server,
        "playbook: 1\nname: w\nsteps:\n  - request: POST profiles\n    body: {name: p}\n  - request: POST profiles\n    body: {name: p}\n    expect: {status: 409}\n",
    );
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    assert_eq!(
        writes(&server),
        [
            "POST /1.0/profiles",
            "POST /1.0/profiles",
            "DELETE /1.0/profiles/p"
        ]
    );
}

#[test]
fn a_cleanup_that_removes_something_else_is_made_up_for() {
    let server = Scripted::serve(&[
        (
            "GET /1.0/profiles/p",
            &[error(404, 404, "Profile not found")],
        ),
        ("POST /1.0/profiles", &[sync(&json!({}))]),
        ("DELETE /1.0/profiles/p", &[sync(&json!({}))]),
    ]);
    let ran = test(
        &server,
        "playbook: 1\nname: w\nsteps:\n  - request: POST profiles\n    body: {name: p}\n    cleanup:\n      - request: DELETE profiles/q\n",
    );
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    assert_eq!(
        writes(&server),
        [
            "POST /1.0/profiles",
            "DELETE /1.0/profiles/q",
            "DELETE /1.0/profiles/p"
        ]
    );
}

#[test]
fn what_was_made_anew_meanwhile_stays() {
    let anew = sync(&json!({"name": "p", "config": {}}));
    let server = Scripted::serve(&[
        (
            "GET /1.0/profiles/p",
            &[error(404, 404, "Profile not found"), anew],
        ),
        ("POST /1.0/profiles", &[sync(&json!({}))]),
        ("DELETE /1.0/profiles/p", &[sync(&json!({}))]),
    ]);
    let ran = test(
        &server,
        "playbook: 1\nname: w\nsteps:\n  - request: POST profiles\n    body: {name: p}\n",
    );
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    assert_eq!(writes(&server), ["POST /1.0/profiles"]);
    let told = "profile p: made anew by somebody else, left alone";
    assert!(ran.stderr().contains(told), "{}", ran.stderr());
}
