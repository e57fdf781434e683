//! The client's replies, from the socket on: whatever a server sends becomes a reply or an error, and both can be shown.
//!
//! An input that begins with `HTTP/` is sent as it is, any other as the body of a reply with status 200.
#![no_main]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use malleus_api::messages::explain;
use malleus_client::{Client, Limit, Remote, Request};
use tempfile::TempDir;

/// What a client asks for first.
const SERVER: &str = r#"{"type": "sync", "status": "Success", "status_code": 200, "metadata": {"api_extensions": [],
    "api_status": "stable", "api_version": "1.0", "auth": "trusted", "environment": {"server": "incus", "server_version": "6.0"}}}"#;

/// The bytes of the next reply.
static NEXT: Mutex<Vec<u8>> = Mutex::new(Vec::new());

static CLIENT: LazyLock<Client> = LazyLock::new(|| {
    let folder = TempDir::new().expect("a folder").keep();
    let socket = folder.join("socket");
    let listener = UnixListener::bind(&socket).expect("a socket");
    thread::spawn(move || {
        for stream in listener.incoming() {
            // The client may have gone away.
            let _ = stream.and_then(|stream| serve(&stream));
        }
    });
    Client::connect(&Remote::Unix(socket)).expect("a client")
});

fuzz_target!(|bytes: &[u8]| {
    let client = &*CLIENT;
    let reply = if bytes.starts_with(b"HTTP/") {
        bytes.to_vec()
    } else {
        with_head(bytes)
    };
    *NEXT.lock().expect("no panic") = reply;
    let limit = Limit::after("request", Duration::from_secs(5));
    match client.send(&Request::get("instances/web").limit(limit)) {
        Ok(reply) => {
            if let Some(error) = reply.api_error() {
                assert!(!error.to_string().is_empty());
                let _ = explain(&error.message);
            }
            if let Some(operation) = reply.operation() {
                assert!(
                    !operation.id.contains('/'),
                    "{:?} is no identifier",
                    operation.id
                );
                let _ = (operation.failed(), operation.progress());
            }
            let _ = (
                reply.body(),
                reply.metadata(),
                reply.etag(),
                format!("{reply:?}"),
            );
        }
        Err(error) => {
            assert!(!error.to_string().is_empty(), "an error without a message");
            let _ = (error.is_transient(), error.may_have_been_sent());
        }
    }
});

fn with_head(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Answers one request, and closes.
fn serve(mut stream: &UnixStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    if first.starts_with("GET /1.0 ") {
        return stream.write_all(&with_head(SERVER.as_bytes()));
    }
    stream.write_all(&NEXT.lock().expect("no panic"))
}
