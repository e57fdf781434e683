//! A proxy before a daemon's socket that records which requests pass.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use tempfile::TempDir;

use super::transcript::{Transcript, Way};

/// Listens on a socket of its own and passes all bytes on, both ways.
pub(crate) struct Proxy {
    /// What a client connects to instead of the daemon's socket.
    pub(crate) socket: PathBuf,
    requests: Arc<Mutex<Vec<String>>>,
    /// All that passes, where it is wanted.
    pub(crate) transcript: Option<Transcript>,
    closing: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
    _dir: TempDir,
}

impl Proxy {
    /// Starts before a daemon's socket.
    pub(crate) fn before(daemon: &Path) -> Proxy {
        Self::start(daemon, None)
    }

    /// As [`Proxy::before`], and keeps all that passes.
    pub(crate) fn recording(daemon: &Path) -> Proxy {
        Self::start(daemon, Some(Transcript::default()))
    }

    fn start(daemon: &Path, transcript: Option<Transcript>) -> Proxy {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let socket = dir.path().join("proxy.socket");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let requests = Arc::default();
        let closing = Arc::new(AtomicBool::new(false));
        let thread = {
            let (requests, closing) = (Arc::clone(&requests), Arc::clone(&closing));
            let daemon = daemon.to_owned();
            let transcript = transcript.clone();
            thread::spawn(move || {
                for (number, client) in listener.incoming().map_while(Result::ok).enumerate() {
                    if closing.load(Ordering::SeqCst) {
                        break;
                    }
                    // Without a daemon the client sees its connection closed.
                    if let Ok(server) = UnixStream::connect(&daemon) {
                        let record = Record {
                            requests: Arc::clone(&requests),
                            transcript: transcript.clone(),
                            number,
                        };
                        pass_on(client, server, record);
                    }
                }
            })
        };
        Proxy {
            socket,
            requests,
            transcript,
            closing,
            listener: Some(thread),
            _dir: dir,
        }
    }

    /// The requests so far, as `METHOD path?query`, in the order of their arrival.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no panic").clone()
    }

    /// Forgets the requests so far.
    pub(crate) fn clear(&self) {
        self.requests.lock().expect("no panic").clear();
        if let Some(transcript) = &self.transcript {
            transcript.clear();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        // Wakes the listener. Connections end with their clients.
        UnixStream::connect(&self.socket).ok();
        if let Some(listener) = self.listener.take() {
            listener.join().ok();
        }
    }
}

/// Whether a connection still speaks HTTP.
#[derive(Clone, Copy, PartialEq)]
enum Protocol {
    Http,
    /// The client asked for another protocol, and the server has not answered.
    UpgradeAsked,
    Other,
}

/// Where it is written down what passes over one connection.
#[derive(Clone)]
struct Record {
    requests: Arc<Mutex<Vec<String>>>,
    transcript: Option<Transcript>,
    number: usize,
}

impl Record {
    fn passes(&self, way: Way, bytes: &[u8]) {
        if let Some(transcript) = &self.transcript {
            transcript.add(self.number, way, bytes);
        }
    }
}

fn pass_on(client: UnixStream, server: UnixStream, record: Record) {
    let protocol = Arc::new(Mutex::new(Protocol::Http));
    let mut from_server = server.try_clone().expect("a second handle");
    let mut to_client = client.try_clone().expect("a second handle");
    let seen_by_server = Arc::clone(&protocol);
    let replies = record.clone();
    thread::spawn(move || {
        copy(&mut from_server, &mut to_client, |bytes| {
            replies.passes(Way::ToClient, bytes);
            let mut protocol = seen_by_server.lock().expect("no panic");
            if *protocol == Protocol::UpgradeAsked {
                *protocol = if bytes.starts_with(b"HTTP/1.1 101") {
                    Protocol::Other
                } else {
                    Protocol::Http
                };
            }
        });
    });
    let (mut from_client, mut to_server) = (client, server);
    let mut parser = Parser::default();
    thread::spawn(move || {
        copy(&mut from_client, &mut to_server, |bytes| {
            record.passes(Way::ToServer, bytes);
            let mut protocol = protocol.lock().expect("no panic");
            if *protocol == Protocol::Other {
                return;
            }
            // Before the request goes out, so that whoever has the reply finds the request here.
            for request in parser.read(bytes) {
                if request.upgrade {
                    *protocol = Protocol::UpgradeAsked;
                }
                let mut requests = record.requests.lock().expect("no panic");
                requests.push(request.line);
            }
        });
    });
}

/// Copies until the end, which it passes on too. A broken connection ends in the same way.
fn copy(from: &mut UnixStream, to: &mut UnixStream, mut look_at: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        look_at(&buffer[..length]);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Write).ok();
    from.shutdown(Shutdown::Read).ok();
}

struct Request {
    line: String,
    upgrade: bool,
}

/// Finds the requests in what a client sends over one connection.
#[derive(Default)]
struct Parser {
    pending: Vec<u8>,
    next: Next,
}

/// What the next bytes belong to.
#[derive(Default)]
enum Next {
    #[default]
    Head,
    Body(u64),
    ChunkSize,
    /// The rest of a chunk with the line end after it.
    Chunk(u64),
    Trailers,
}

impl Parser {
    fn read(&mut self, bytes: &[u8]) -> Vec<Request> {
        self.pending.extend_from_slice(bytes);
        let mut requests = Vec::new();
        loop {
            let before = self.pending.len();
            match self.next {
                Next::Head => requests.extend(self.head()),
                Next::Body(left) => self.skip(left, Next::Body, Next::Head),
                Next::ChunkSize => self.chunk_size(),
                Next::Chunk(left) => self.skip(left, Next::Chunk, Next::ChunkSize),
                Next::Trailers => self.trailer(),
            }
            if self.pending.is_empty() || self.pending.len() == before {
                return requests;
            }
        }
    }

    fn head(&mut self) -> Option<Request> {
        let mut headers = [httparse::EMPTY_HEADER; 100];
        let mut head = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(length) = head.parse(&self.pending).expect("HTTP") else {
            return None;
        };
        let value = |name: &str| {
            let header = head
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case(name))?;
            str::from_utf8(header.value).ok()
        };
        let request = Request {
            line: format!("{} {}", head.method.unwrap_or(""), head.path.unwrap_or("")),
            upgrade: value("upgrade").is_some(),
        };
        self.next = if value("transfer-encoding").is_some_and(|te| te.contains("chunked")) {
            Next::ChunkSize
        } else {
            match value("content-length").and_then(|length| length.trim().parse().ok()) {
                None | Some(0) => Next::Head,
                Some(length) => Next::Body(length),
            }
        };
        self.pending.drain(..length);
        Some(request)
    }

    fn skip(&mut self, left: u64, more: fn(u64) -> Next, done: Next) {
        let here = self.pending.len() as u64;
        self.next = if left > here { more(left - here) } else { done };
        self.pending
            .drain(..usize::try_from(left.min(here)).expect("no more than is here"));
    }

    fn chunk_size(&mut self) {
        let parsed = httparse::parse_chunk_size(&self.pending).expect("a chunk");
        if let httparse::Status::Complete((length, size)) = parsed {
            self.pending.drain(..length);
            self.next = match size {
                0 => Next::Trailers,
                size => Next::Chunk(size + 2),
            };
        }
    }

    fn trailer(&mut self) {
        if let Some(end) = self.pending.windows(2).position(|pair| pair == b"\r\n") {
            self.pending.drain(..end + 2);
            if end == 0 {
                self.next = Next::Head;
            }
        }
    }
}
