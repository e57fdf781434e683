//! A server on a unix socket that answers from a script, also wrongly, and records what it was asked.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// What the server does about a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Answers with an HTTP status and a JSON body.
    Json(u16, Value),
    /// Writes these bytes, whatever they are.
    Raw(&'static str),
    /// Writes these bytes and closes the connection.
    Cut(&'static str),
    /// Answers, and closes the connection without having announced it.
    Last(Box<Answer>),
    /// Answers later.
    Slow(Duration, Box<Answer>),
    /// Answers before the request's body has been read, and closes the connection.
    Hasty(Box<Answer>),
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// Method and target, such as `GET /1.0`.
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The number of the connection it came over, from 0.
    pub(crate) connection: usize,
}

/// The answers to each request line, in order; the last one is repeated.
type Script = HashMap<String, Vec<Answer>>;

#[derive(Default)]
struct Shared {
    script: Mutex<Script>,
    received: Mutex<Vec<Received>>,
}

pub(crate) struct Scripted {
    pub(crate) socket: PathBuf,
    shared: Arc<Shared>,
    _dir: tempfile::TempDir,
}

impl Scripted {
    /// Serves the script. Besides it, `GET /1.0` is answered as Incus does, and what is not in it
    /// with 404.
    pub(crate) fn serve(script: &[(&str, &[Answer])]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("unix.socket");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let script = script
            .iter()
            .map(|(line, answers)| ((*line).to_owned(), answers.to_vec()));
        let shared = Arc::new(Shared {
            script: Mutex::new(script.collect()),
            received: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                let shared = Arc::clone(&serving);
                thread::spawn(move || shared.attend(stream, number));
            }
        });
        Self {
            socket,
            shared,
            _dir: dir,
        }
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.received.lock().expect("not poisoned").clone()
    }

    /// The request lines that arrived, without the `GET /1.0` of connecting.
    pub(crate) fn lines(&self) -> Vec<String> {
        let lines = self.received().into_iter().map(|received| received.line);
        lines.filter(|line| line != "GET /1.0").collect()
    }
}

/// What `GET /1.0` of a server says that the client needs.
pub(crate) fn introduction() -> Answer {
    sync(&json!({
        "auth": "trusted",
        "api_extensions": ["container_exec_recording"],
        "environment": {"server": "incus", "server_version": "6.0.4", "project": "default"},
    }))
}

pub(crate) fn sync(metadata: &Value) -> Answer {
    let body = json!({"type": "sync", "status": "Success", "status_code": 200,
        "operation": "", "error_code": 0, "error": "", "metadata": metadata});
    Answer::Json(200, body)
}

/// An error envelope, under an HTTP status that need not be its code.
pub(crate) fn error(http: u16, code: u16, text: &str) -> Answer {
    let body = json!({"type": "error", "status": "", "status_code": 0, "operation": "",
        "error_code": code, "error": text, "metadata": null});
    Answer::Json(http, body)
}

impl Shared {
    fn attend(&self, mut stream: UnixStream, connection: usize) {
        let mut buffer = Vec::new();
        while let Some(mut received) = read_head(&mut stream, &mut buffer) {
            received.connection = connection;
            let answer = self.answer(&received.line);
            let hasty = matches!(answer, Answer::Hasty(_));
            if !hasty {
                read_body(&mut stream, &mut buffer, &mut received);
            }
            self.received.lock().expect("not poisoned").push(received);
            if !give(&mut stream, answer) {
                return;
            }
        }
    }

    fn answer(&self, line: &str) -> Answer {
        let mut script = self.script.lock().expect("not poisoned");
        match script.get_mut(line) {
            Some(answers) if answers.len() > 1 => answers.remove(0),
            Some(answers) => answers[0].clone(),
            None if line == "GET /1.0" => introduction(),
            None => error(404, 404, "not found"),
        }
    }
}

/// Whether the connection goes on.
fn give(stream: &mut UnixStream, answer: Answer) -> bool {
    match answer {
        Answer::Json(status, body) => {
            let body = body.to_string();
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            )
            .is_ok()
        }
        Answer::Raw(text) => stream.write_all(text.as_bytes()).is_ok(),
        Answer::Cut(text) => {
            stream.write_all(text.as_bytes()).ok();
            false
        }
        Answer::Last(answer) | Answer::Hasty(answer) => {
            give(stream, *answer);
            stream.shutdown(Shutdown::Both).ok();
            false
        }
        Answer::Slow(pause, answer) => {
            thread::sleep(pause);
            give(stream, *answer)
        }
    }
}

fn read_head(stream: &mut UnixStream, buffer: &mut Vec<u8>) -> Option<Received> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        if let Ok(httparse::Status::Complete(length)) = request.parse(buffer) {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let received = Received {
                line: format!("{} {}", request.method?, request.path?),
                headers: request
                    .headers
                    .iter()
                    .map(|header| (header.name.to_lowercase(), text(header.value)))
                    .collect(),
                body: Vec::new(),
                connection: 0,
            };
            buffer.drain(..length);
            return Some(received);
        }
        more(stream, buffer)?;
    }
}

fn read_body(stream: &mut UnixStream, buffer: &mut Vec<u8>, received: &mut Received) {
    let length = received
        .headers
        .iter()
        .find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| value.parse().expect("a number"));
    while buffer.len() < length {
        if more(stream, buffer).is_none() {
            return;
        }
    }
    received.body = buffer.drain(..length).collect();
}

fn more(stream: &mut UnixStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut chunk = [0; 8192];
    let amount = stream.read(&mut chunk).ok().filter(|amount| *amount > 0)?;
    buffer.extend_from_slice(&chunk[..amount]);
    Some(())
}
