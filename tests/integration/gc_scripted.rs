//! gc before servers that have little, show little, or change in between.

use std::time::{Duration, SystemTime};

use crate::support::program::{Ran, Running, malleus};
use crate::support::scripted::{Answer, Scripted, error, introduction, sync};
use serde_json::{Value, json};

const ENDED: &str = "2020-01-01T00:00:00Z";
const PROFILES: &str = "GET /1.0/profiles?recursion=1&project=default";
const PROFILE: &str = "GET /1.0/profiles/p?project=default";
const CHANGE: &str = "PATCH /1.0/profiles/p?project=default";
const REMOVAL: &str = "DELETE /1.0/profiles/p?project=default";

fn gc(server: &Scripted, arguments: &[&str]) -> Ran {
    let folder = tempfile::tempdir().expect("a folder");
    let mut program = malleus(folder.path());
    program
        .arg("gc")
        .args(arguments)
        .arg("--remote")
        .arg(&server.socket);
    Running::start(&mut program, None).end()
}

fn profile(expires: &str) -> Value {
    json!({"name": "p", "description": "mine", "config": {
        "user.malleus.run": "abc", "user.malleus.expires": expires,
    }})
}

/// A time from now.
fn later(seconds: u64) -> String {
    humantime::format_rfc3339_seconds(SystemTime::now() + Duration::from_secs(seconds)).to_string()
}

fn writes(server: &Scripted) -> Vec<String> {
    let mut lines = server.lines();
    lines.retain(|line| !line.starts_with("GET "));
    lines
}

#[test]
fn what_a_server_does_not_have_or_show_is_no_error() {
    let server = Scripted::serve(&[
        (
            "GET /1.0/projects?recursion=1",
            &[error(403, 403, "not authorized")],
        ),
        (PROFILES, &[sync(&json!([profile(ENDED)]))]),
        (
            "GET /1.0/networks?recursion=1&project=default",
            &[error(
                500,
                500,
                "User does not have permissions for project \"default\"",
            )],
        ),
        (
            "GET /1.0/images?recursion=1&project=default",
            &[error(501, 501, "not implemented")],
        ),
    ]);
    let ran = gc(&server, &["--dry-run", "--format", "json"]);
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    let runs: Value = serde_json::from_str(&ran.stdout()).expect("JSON");
    assert_eq!(runs[0]["run"], "abc", "{runs}");
    assert_eq!(runs[0]["resources"][0]["path"], "/1.0/profiles/p", "{runs}");
    assert_eq!(writes(&server), [""; 0]);
}

#[test]
fn nothing_is_removed_where_a_look_fails() {
    let server = Scripted::serve(&[
        (PROFILES, &[sync(&json!([profile(ENDED)]))]),
        (
            "GET /1.0/networks?recursion=1&project=default",
            &[error(500, 500, "database is gone")],
        ),
    ]);
    let ran = gc(&server, &[]);
    assert_eq!(ran.code(), Some(1), "{}", ran.stderr());
    assert!(
        ran.stderr().contains("database is gone"),
        "{}",
        ran.stderr()
    );
    assert_eq!(writes(&server), [""; 0]);
}

#[test]
fn a_renewal_in_between_is_seen() {
    let server = Scripted::serve(&[
        (PROFILES, &[sync(&json!([profile(ENDED)]))]),
        (
            PROFILE,
            &[sync(&profile(ENDED)), sync(&profile(&later(600)))],
        ),
        (CHANGE, &[error(412, 412, "Precondition failed")]),
    ]);
    let ran = gc(&server, &[]);
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    assert!(
        ran.stderr()
            .contains("run abc: its lease has just been renewed"),
        "{}",
        ran.stderr()
    );
    assert_eq!(writes(&server), [CHANGE]);
}

#[test]
fn a_lease_that_ended_within_the_difference_of_clocks_still_holds() {
    let just = humantime::format_rfc3339_seconds(SystemTime::now() - Duration::from_secs(20));
    let server = Scripted::serve(&[(PROFILES, &[sync(&json!([profile(&just.to_string())]))])]);
    let ran = gc(&server, &[]);
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    assert_eq!(writes(&server), [""; 0]);
}

#[test]
fn the_latest_end_of_a_runs_resources_counts_for_all() {
    let other = json!({"fingerprint": "0abc", "properties": {
        "user.malleus.run": "abc", "user.malleus.expires": later(600),
    }});
    let server = Scripted::serve(&[
        (PROFILES, &[sync(&json!([profile(ENDED)]))]),
        (
            "GET /1.0/images?recursion=1&project=default",
            &[sync(&json!([other]))],
        ),
    ]);
    let ran = gc(&server, &[]);
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    assert_eq!(writes(&server), [""; 0]);
}

#[test]
fn the_clock_of_the_server_counts() {
    let Answer::Json(_, body) = introduction() else {
        panic!("JSON");
    };
    let body = body.to_string();
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3600));
    let greeting = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: {date}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let greeting = Answer::Raw(Box::leak(greeting.into_boxed_str()));
    let server = Scripted::serve(&[
        ("GET /1.0", &[greeting]),
        (PROFILES, &[sync(&json!([profile(&later(1800))]))]),
        (PROFILE, &[sync(&profile(&later(1800)))]),
        (CHANGE, &[error(400, 400, "no such key")]),
        (REMOVAL, &[sync(&json!({}))]),
    ]);
    let ran = gc(&server, &[]);
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    // What cannot bear a claim is removed all the same.
    assert_eq!(writes(&server), [CHANGE, REMOVAL]);
}

#[test]
fn without_guarded_writes_the_last_claim_counts() {
    let mut theirs = profile(ENDED);
    theirs["config"]["user.malleus.gc"] = format!("{} other", later(0)).into();
    let server = Scripted::serve(&[
        (PROFILES, &[sync(&json!([profile(ENDED)]))]),
        (PROFILE, &[sync(&profile(ENDED)), sync(&theirs)]),
        (CHANGE, &[sync(&json!({}))]),
    ]);
    let ran = gc(&server, &[]);
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    assert!(
        ran.stderr()
            .contains("run abc: somebody else began to remove it"),
        "{}",
        ran.stderr()
    );
    assert_eq!(writes(&server), [CHANGE]);
}

#[test]
fn volumes_of_one_name_on_several_members_are_all_found() {
    let Answer::Json(status, mut greeting) = introduction() else {
        panic!("JSON");
    };
    greeting["metadata"]["environment"]["server_clustered"] = true.into();
    let volume = |member: &str| json!({"name": "v", "location": member, "config": {"user.malleus.run": "abc"}});
    let server = Scripted::serve(&[
        ("GET /1.0", &[Answer::Json(status, greeting)]),
        (
            "GET /1.0/storage-pools?recursion=1",
            &[sync(&json!([{"name": "local", "config": {}}]))],
        ),
        (
            "GET /1.0/storage-pools/local/volumes/custom?recursion=1&project=default",
            &[sync(&json!([volume("one"), volume("two")]))],
        ),
        (
            "GET /1.0/storage-pools/local/buckets?recursion=1&project=default",
            &[error(400, 400, "no buckets")],
        ),
        (
            "DELETE /1.0/storage-pools/local/volumes/custom/v?project=default&target=one",
            &[sync(&json!({}))],
        ),
        (
            "DELETE /1.0/storage-pools/local/volumes/custom/v?project=default&target=two",
            &[sync(&json!({}))],
        ),
    ]);
    // Without a lease they never expire.
    assert_eq!(gc(&server, &[]).code(), Some(0));
    assert_eq!(writes(&server), [""; 0]);
    let ran = gc(&server, &["--run", "abc"]);
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    let mut sent = writes(&server);
    sent.sort();
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert!(
        sent[0].ends_with("target=one") && sent[1].ends_with("target=two"),
        "{sent:?}"
    );
}

#[test]
fn a_mark_on_a_project_is_none_on_what_others_have_in_it() {
    let config = json!({"user.malleus.run": "abc", "user.malleus.expires": ENDED});
    let isolated = json!({"user.malleus.run": "abc", "user.malleus.expires": ENDED, "user.malleus.isolated": "abc"});
    let used_by = json!(["/1.0/instances/theirs?project=team"]);
    for (name, config, refusal, empties) in [
        ("team", &config, "Only empty projects can be removed", false),
        ("team", &config, "not authorized", false),
        // A copied mark names no run in the project's own name.
        (
            "team",
            &isolated,
            "Only empty projects can be removed",
            false,
        ),
        ("team-abc", &isolated, "not authorized", false),
        (
            "team-abc",
            &isolated,
            "Only empty projects can be removed",
            true,
        ),
    ] {
        let project = json!({"name": name, "config": config, "used_by": used_by});
        let path = format!("/1.0/projects/{name}");
        let server = Scripted::serve(&[
            (
                "GET /1.0/projects?recursion=1",
                &[sync(
                    &json!([{"name": "default", "config": {}}, project.clone()]),
                )],
            ),
            (&format!("GET {path}"), &[sync(&project)]),
            (&format!("PATCH {path}"), &[sync(&json!({}))]),
            (&format!("DELETE {path}"), &[error(400, 400, refusal)]),
        ]);
        let ran = gc(&server, &["--cleanup-timeout", "2s"]);
        assert_eq!(ran.code(), Some(4), "{}", ran.stderr());
        let sent = writes(&server);
        let touched = sent.iter().any(|line| line.contains("/instances/theirs"));
        assert_eq!(touched, empties, "{name} {refusal}: {sent:?}");
    }
}

#[test]
fn a_project_in_which_a_living_run_has_something_stays() {
    let project =
        json!({"name": "p", "config": {"user.malleus.run": "abc", "user.malleus.expires": ENDED}});
    let inside = json!({"name": "i", "config": {"user.malleus.run": "xyz", "user.malleus.expires": later(600)}});
    let server = Scripted::serve(&[
        (
            "GET /1.0/projects?recursion=1",
            &[sync(
                &json!([{"name": "default", "config": {}}, project.clone()]),
            )],
        ),
        (
            "GET /1.0/instances?recursion=1&project=p",
            &[sync(&json!([inside]))],
        ),
        ("GET /1.0/projects/p", &[sync(&project)]),
        ("PATCH /1.0/projects/p", &[sync(&json!({}))]),
        (
            "DELETE /1.0/projects/p",
            &[error(400, 400, "Only empty projects can be removed")],
        ),
    ]);
    let ran = gc(&server, &[]);
    assert_eq!(ran.code(), Some(4), "{}", ran.stderr());
    assert!(ran.stderr().contains("  - project p\n"), "{}", ran.stderr());
    assert!(
        writes(&server)
            .iter()
            .all(|line| !line.contains("instances")),
        "{:?}",
        writes(&server)
    );
}
