//! The client against what servers do wrong, or differently: a scripted server plays them all.

use std::fs;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::AT_ONCE;
use crate::support::scripted::{Answer, Scripted, error, sync};
use malleus::client::{
    Authentication, Client, Content, Error, Limit, Observer, Operation, Remote, Reply, Request,
    Sent, Settings, Trace, Validation, Wait,
};
use serde_json::{Value, json};

const OPERATION: &str = "GET /1.0/operations/op";
const WAIT: &str = "GET /1.0/operations/op/wait?timeout=20";

fn connect(server: &Scripted) -> Client {
    Client::connect(&Remote::Unix(server.socket.clone())).unwrap()
}

fn operation(status_code: u16, err: &str) -> Value {
    json!({"id": "op", "class": "task", "description": "Working", "status": "…",
        "status_code": status_code, "err": err, "metadata": {"return": 127}, "resources": null})
}

fn wait_for(script: &[(&str, &[Answer])]) -> (Result<Operation, Error>, Vec<String>) {
    let server = Scripted::serve(script);
    let limit = Limit::after("test", Duration::from_secs(20));
    let result = connect(&server).wait("op", &Wait::within(limit));
    (result, server.lines())
}

/// What it is, the answers to `/wait`, those to the operation, and what is asked.
type Case<'a> = (&'a str, &'a [Answer], &'a [Answer], &'a [&'a str]);

#[test]
fn every_kind_of_wait_ends_in_the_record() {
    let deadline = error(200, 500, "context deadline exceeded");
    let failed = operation(400, "Command not found");
    let running = sync(&operation(103, ""));
    let truncated = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"typ\r\n";
    let cases: [Case<'_>; 6] = [
        (
            "a record of the failure",
            &[running.clone(), sync(&failed)],
            &[],
            &[WAIT, WAIT],
        ),
        (
            "an error body for the failure",
            &[error(200, 400, "Command not found")],
            &[sync(&failed)],
            &[WAIT, OPERATION],
        ),
        (
            "an error body with 404 for the failure",
            &[error(200, 404, "Image not found")],
            &[sync(&failed)],
            &[WAIT, OPERATION],
        ),
        (
            "an error body for the end of the wait",
            &[deadline, sync(&failed)],
            std::slice::from_ref(&running),
            &[WAIT, OPERATION, WAIT],
        ),
        (
            "a connection that is cut",
            &[Answer::Cut("")],
            &[sync(&failed)],
            &[WAIT, OPERATION],
        ),
        (
            "a body that is cut",
            &[Answer::Cut(truncated), sync(&failed)],
            &[error(503, 503, "starting"), running.clone()],
            &[WAIT, OPERATION, WAIT],
        ),
    ];
    for (what, wait, get, lines) in cases {
        let mut script: Vec<(&str, &[Answer])> = vec![(WAIT, wait)];
        if !get.is_empty() {
            script.push((OPERATION, get));
        }
        let (result, asked) = wait_for(&script);
        let ended = result.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(ended.failed(), "{what}");
        assert_eq!(ended.err, "Command not found", "{what}");
        assert_eq!(ended.metadata["return"], 127, "{what}");
        assert_eq!(asked, lines, "{what}");
    }
}

#[test]
fn an_operation_that_is_gone_is_lost_unless_its_error_is_known() {
    let own = wait_for(&[(WAIT, &[error(200, 500, "No space left")])])
        .0
        .unwrap();
    assert!(own.failed());
    assert_eq!(own.err, "No space left");
    for (what, wait) in [
        ("unknown", error(404, 404, "Operation not found")),
        ("cut", Answer::Cut("")),
        ("deadline", error(200, 500, "context deadline exceeded")),
        ("member", error(200, 500, "unexpected EOF")),
    ] {
        match wait_for(&[(WAIT, &[wait])]).0 {
            Err(Error::Lost { operation, .. }) => assert_eq!(operation, "op", "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    }
    // The request that began it is named where it is known.
    let begun = json!({"type": "async", "status_code": 100, "operation": "/1.0/operations/op?project=x",
        "metadata": operation(103, "")});
    let server = Scripted::serve(&[("POST /1.0/instances", &[Answer::Json(202, begun)])]);
    let begun = Mutex::new(Vec::new());
    let started = |operation: &Operation| begun.lock().unwrap().push(operation.id.clone());
    let wait = Wait {
        started: Some(&started),
        ..Wait::default()
    };
    let lost = connect(&server)
        .run(&Request::post("instances"), &wait)
        .unwrap_err();
    assert_eq!(
        lost.to_string(),
        "the outcome of POST /1.0/instances is unknown: the server no longer knows the operation (operation op)"
    );
    assert_eq!(*begun.lock().unwrap(), ["op"]);
    assert!(lost.may_have_been_sent() && !lost.is_transient());
}

#[test]
fn nothing_is_sent_twice_after_it_may_have_arrived() {
    for answer in ["", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}"] {
        let server = Scripted::serve(&[("POST /1.0/instances", &[Answer::Cut(answer)])]);
        let client = connect(&server);
        let error = client.request(&Request::post("instances")).unwrap_err();
        let maybe = Sent::Maybe;
        assert!(
            matches!(&error, Error::Interrupted { sent, .. } if *sent == maybe),
            "{error}"
        );
        assert!(error.may_have_been_sent() && !error.is_transient());
        assert_eq!(server.lines(), ["POST /1.0/instances"]);
    }
}

#[test]
fn a_connection_the_server_closed_is_noticed_before_it_is_used() {
    let last = Answer::Last(Box::new(sync(&json!([]))));
    let server = Scripted::serve(&[
        ("GET /1.0/instances", &[last]),
        ("POST /1.0/instances", &[sync(&json!({}))]),
    ]);
    let client = connect(&server);
    for _ in 0..50 {
        client.request(&Request::get("instances")).unwrap();
        // The server closes the connection after its answer has arrived.
        thread::sleep(Duration::from_millis(10));
        client.request(&Request::post("instances")).unwrap();
    }
    assert_eq!(server.lines().len(), 100);
    let connections: Vec<usize> = server.received().iter().map(|r| r.connection).collect();
    // Each closed connection is replaced once, and the others are kept.
    assert_eq!(connections.last(), Some(&50), "{connections:?}");
}

#[test]
fn answers_that_are_none() {
    for (answer, part) in [
        (Answer::Cut("garbage\r\n\r\n"), "unexpected answer"),
        (
            Answer::Raw(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n{\"a",
            ),
            "its JSON is broken",
        ),
    ] {
        let server = Scripted::serve(&[("GET /1.0/instances", &[answer])]);
        let error = connect(&server)
            .request(&Request::get("instances"))
            .unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
        assert!(error.to_string().contains(part), "{error}");
    }
    let empty = Answer::Raw(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n",
    );
    let server = Scripted::serve(&[("GET /1.0/x", &[empty])]);
    let reply = connect(&server).request(&Request::get("x")).unwrap();
    assert_eq!(reply.content, Content::Empty);

    let stranger = Scripted::serve(&[("GET /1.0", &[sync(&json!({"hello": "world"}))])]);
    let error = Client::connect(&Remote::Unix(stranger.socket.clone())).unwrap_err();
    assert!(
        error.to_string().contains("neither LXD nor Incus"),
        "{error}"
    );
}

#[test]
fn limits_have_names() {
    let never = Answer::Slow(Duration::from_secs(30), Box::new(sync(&json!({}))));
    let server = Scripted::serve(&[("GET /1.0", std::slice::from_ref(&never))]);
    let settings = Settings {
        connect_timeout: Duration::from_millis(300),
        ..Settings::default()
    };
    let begun = Instant::now();
    let error = Client::connect_with(&Remote::Unix(server.socket.clone()), settings).unwrap_err();
    assert_eq!(
        error.to_string(),
        "GET /1.0 did not end within the connect limit of 300ms"
    );
    let server = Scripted::serve(&[("GET /1.0/x", &[never])]);
    let limit = Limit::after("step", Duration::from_millis(300));
    let error = connect(&server)
        .send(&Request::get("x").limit(limit))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "GET /1.0/x did not end within the step limit of 300ms"
    );
    assert!(begun.elapsed() < 2 * AT_ONCE);
}

#[test]
fn an_upload_that_is_refused_early_gives_the_refusal() {
    let refusal = Answer::Hasty(Box::new(error(404, 404, "Instance not found")));
    let server = Scripted::serve(&[("POST /1.0/instances/x/files", &[refusal])]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("large");
    fs::write(&file, vec![0; 20 << 20]).unwrap();
    let client = connect(&server);
    let upload = Request::post("instances/x/files").upload(&file);
    for _ in 0..10 {
        let error = client.request(&upload).unwrap_err();
        assert_eq!(error.status(), Some(404), "{error}");
    }
    let missing = Request::post("x").upload(dir.path().join("missing"));
    assert!(matches!(client.request(&missing), Err(Error::File { .. })));
    let directory = Request::post("x").upload(dir.path());
    let error = client.request(&directory).unwrap_err();
    assert!(matches!(error, Error::File { .. }), "{error:?}");
}

#[test]
fn a_target_is_for_requests_and_not_for_their_operations() {
    let begun = json!({"type": "async", "status_code": 100, "operation": "",
        "metadata": operation(103, "")});
    let wait = "GET /1.0/operations/op/wait?timeout=20&project=p";
    let done = sync(&operation(200, ""));
    let post = "POST /1.0/instances?project=p&target=m";
    let server = Scripted::serve(&[(post, &[Answer::Json(202, begun)]), (wait, &[done])]);
    let client = connect(&server).with_project("p").with_target("m");
    client
        .run(&Request::post("instances"), &Wait::default())
        .unwrap();
    assert_eq!(server.lines(), [post, wait]);
}

#[derive(Default)]
struct Badge;

impl Authentication for Badge {
    fn headers(&self, method: &str, path: &str) -> Result<Vec<(String, String)>, Error> {
        Ok(vec![("X-Badge".to_owned(), format!("{method} {path}"))])
    }
}

/// Accepts nothing but lists.
struct Lists;

impl Validation for Lists {
    fn validate(&self, reply: &Reply) -> Result<(), Error> {
        if reply.path == "/1.0" || reply.metadata().is_array() {
            return Ok(());
        }
        Err(Error::Invalid {
            method: reply.method.clone(),
            path: reply.path.clone(),
            reason: "not a list".to_owned(),
        })
    }
}

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Observer for Notes {
    fn observe(&self, trace: &Trace<'_>) {
        let note = match trace {
            Trace::Request { method, path, body } => format!("{method} {path} {body:?}"),
            Trace::Reply { reply, .. } => format!("{} {}", reply.status, reply.path),
            Trace::Failure { error, .. } => error.to_string(),
            _ => unreachable!(),
        };
        self.0.lock().unwrap().push(note);
    }
}

#[test]
fn authentication_validation_and_observer_are_replaceable() {
    let script: [(&str, &[Answer]); 2] = [
        ("GET /1.0/lists", &[sync(&json!([]))]),
        ("PUT /1.0/object?a=b", &[sync(&json!({}))]),
    ];
    let server = Scripted::serve(&script);
    let notes = Arc::new(Notes::default());
    let settings = Settings {
        authentication: Arc::new(Badge),
        validation: Arc::new(Lists),
        observer: Some(Arc::<Notes>::clone(&notes)),
        ..Settings::default()
    };
    let remote = Remote::Unix(server.socket.clone());
    let client = Client::connect_with(&remote, settings).unwrap();
    client.request(&Request::get("lists")).unwrap();
    let put = Request::put("object").query("a", "b").json(json!({"c": 1}));
    let error = client.request(&put).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the reply to PUT /1.0/object?a=b is not valid: not a list"
    );
    client.request(&put.skip_validation()).unwrap();
    let received = server.received().pop().unwrap();
    let badge = received.headers.iter().find(|(name, _)| name == "x-badge");
    assert_eq!(badge.unwrap().1, "PUT /1.0/object?a=b");
    assert_eq!(received.body, br#"{"c":1}"#);
    let notes = notes.0.lock().unwrap();
    assert_eq!(notes[0], "GET /1.0 None");
    assert!(
        notes[4].starts_with("PUT /1.0/object?a=b Some("),
        "{}",
        notes[4]
    );
    assert_eq!(notes[5], "200 /1.0/object?a=b");
}
