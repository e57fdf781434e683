//! One request and its reply: building, sending, reading, and saying exactly what went wrong.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use malleus_core::source_file;
use serde_json::Value;
use ureq::SendBody;
use ureq::http;

use super::dial::{DialError, Dialer};
use super::request::Body;
use super::scope::Scope;
use super::transport::{Age, NothingSent};
use super::{
    Content, Envelope, Error, Headers, Limit, Remote, Reply, Request, Sent, Settings, Trace,
};

/// The most of a body that is kept in memory: 64 MiB.
pub(super) const LARGEST_IN_MEMORY: u64 = 64 << 20;

/// The name of the limit of connecting.
pub(super) const CONNECT: &str = "connect";

/// The place to send requests to, and how.
#[derive(Clone)]
pub(super) struct Wire {
    pub(super) remote: Remote,
    pub(super) settings: Arc<Settings>,
    pub(super) scope: Arc<Scope>,
    pub(super) dialer: Arc<Dialer>,
}

/// Where the body of a good reply goes.
pub(super) enum Sink<'a> {
    Memory,
    Writer(&'a mut dyn Write),
    /// To be chosen when the headers are known.
    Chosen(&'a mut dyn Choose),
}

/// Chooses where a body goes by the headers of the reply.
pub(super) trait Choose {
    /// The writer to stream into, or `None` to keep the body in memory and decode it.
    fn choose(&mut self, headers: &Headers) -> Result<Option<&mut dyn Write>, Error>;
}

/// A request ready to be sent: its target, the query included, and the limit that counts.
pub(super) struct Outgoing<'a> {
    pub(super) request: &'a Request,
    pub(super) target: String,
    pub(super) limit: Limit,
}

type Response = http::Response<ureq::Body>;

impl Wire {
    /// One exchange, reported to the observer. The envelope is not judged.
    pub(super) fn exchange(&self, out: &Outgoing<'_>, sink: Sink<'_>) -> Result<Reply, Error> {
        let begun = Instant::now();
        let method = out.request.method();
        let path = out.target.as_str();
        self.observe(&Trace::Request {
            method,
            path,
            body: match &out.request.body {
                Body::Json(body) => Some(body),
                _ => None,
            },
        });
        let result = self
            .deliver(out)
            .and_then(|response| read(out, response, sink));
        // Whatever the system calls it, it is the cancellation that ended the exchange.
        let result = result.map_err(|error| match error {
            Error::Output { .. }
            | Error::Unwritable { .. }
            | Error::Copy { .. }
            | Error::File { .. }
            | Error::InvalidRequest { .. } => error,
            _ if self.scope.is_cancelled() => Error::Cancelled,
            _ => error,
        });
        let elapsed = begun.elapsed();
        self.observe(&match &result {
            Ok(reply) => Trace::Reply { reply, elapsed },
            Err(error) => Trace::Failure {
                method,
                path,
                error,
                elapsed,
            },
        });
        result
    }

    fn observe(&self, trace: &Trace<'_>) {
        if let Some(observer) = &self.settings.observer {
            observer.observe(trace);
        }
    }

    /// Sends a request. It is sent again only when a connection from the pool turns out to have died
    /// before a byte was written.
    fn deliver(&self, out: &Outgoing<'_>) -> Result<Response, Error> {
        loop {
            self.scope.check()?;
            let error = match self.attempt(out)? {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let stale = match &error {
                ureq::Error::Other(inner) => inner.downcast_ref::<NothingSent>(),
                _ => None,
            };
            // Each dead connection leaves the pool, so this ends with a fresh one at the latest.
            if stale.is_none_or(|stale| stale.connection == Age::Fresh) {
                return Err(self.explain(out, error));
            }
        }
    }

    fn attempt(&self, out: &Outgoing<'_>) -> Result<Result<Response, ureq::Error>, Error> {
        let (body, length) = open_body(out)?;
        let request = self.head(out, length)?.body(body);
        let request = request.map_err(|error| invalid(out, &error.to_string()))?;
        let agent = self.scope.agent();
        let request = agent.configure_request(request);
        let request = request.timeout_global(out.limit.remaining()).build();
        Ok(agent.run(request))
    }

    /// The method, the URL and the headers.
    fn head(
        &self,
        out: &Outgoing<'_>,
        length: Option<u64>,
    ) -> Result<http::request::Builder, Error> {
        let method = out.request.method();
        let mut head = http::Request::builder().method(method).uri(format!(
            "http://{}{}",
            self.remote.host(),
            out.target
        ));
        let given = out.request.headers();
        let authentication = self.settings.authentication.headers(method, &out.target)?;
        for (name, value) in given.iter().chain(&authentication) {
            head = head.header(name, value);
        }
        let labelled = given
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let label = match &out.request.body {
            _ if labelled => None,
            Body::None => None,
            Body::Json(_) => Some("application/json"),
            Body::Bytes(_) | Body::Upload(_) => Some("application/octet-stream"),
        };
        if let Some(label) = label {
            head = head.header(http::header::CONTENT_TYPE, label);
        }
        if let Some(length) = length {
            head = head.header(http::header::CONTENT_LENGTH, length);
        }
        Ok(head)
    }

    fn explain(&self, out: &Outgoing<'_>, error: ureq::Error) -> Error {
        let inner = match error {
            ureq::Error::Other(inner) => inner,
            error => return explain(out, error),
        };
        let inner = match inner.downcast::<DialError>() {
            Ok(failed) => return self.not_connected(out, *failed),
            Err(inner) => inner,
        };
        match inner.downcast::<NothingSent>() {
            Ok(nothing) => broken(out, Sent::Nothing, nothing.source),
            Err(inner) => broken(out, Sent::Maybe, io::Error::other(inner)),
        }
    }

    /// No connection came about: the limit of the request may have been shorter than that of connecting.
    fn not_connected(&self, out: &Outgoing<'_>, failed: DialError) -> Error {
        match failed {
            DialError::Io(error)
                if error.kind() == io::ErrorKind::TimedOut
                    && out.limit.is_over()
                    && out.limit.name() != CONNECT =>
            {
                Error::Timeout {
                    limit: out.limit.name(),
                    after: out.limit.total(),
                    method: out.request.method().to_owned(),
                    path: out.target.clone(),
                    operation: None,
                    note: Some(error.to_string().into()),
                }
            }
            failed => failed.explain(&self.remote),
        }
    }
}

/// The body as ureq takes it, and its length when there is a body.
fn open_body(out: &Outgoing<'_>) -> Result<(SendBody<'static>, Option<u64>), Error> {
    let in_memory = |bytes: Vec<u8>| {
        let length = bytes.len() as u64;
        (
            SendBody::from_owned_reader(io::Cursor::new(bytes)),
            Some(length),
        )
    };
    match &out.request.body {
        // These methods announce a length even when there is nothing to send.
        Body::None if matches!(out.request.method(), "POST" | "PUT" | "PATCH") => {
            Ok(in_memory(Vec::new()))
        }
        Body::None => Ok((SendBody::none(), None)),
        Body::Json(value) => Ok(in_memory(value.to_string().into_bytes())),
        Body::Bytes(bytes) => Ok(in_memory(bytes.clone())),
        Body::Upload(path) => {
            let failed = |source| Error::File {
                path: path.clone(),
                source,
            };
            let file = source_file::open(path).map_err(failed)?;
            let length = file.metadata().map_err(failed)?.len();
            let upload = Upload {
                path: path.clone(),
                file,
                left: length,
            };
            Ok((SendBody::from_owned_reader(upload), Some(length)))
        }
    }
}

/// A file that must yield as many bytes as were announced: ureq would wait forever for the rest.
struct Upload {
    path: PathBuf,
    file: File,
    left: u64,
}

/// Carries the name of the file through ureq.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
struct UploadFailed {
    path: PathBuf,
    source: io::Error,
}

impl Read for Upload {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = match self.file.read(&mut buffer[..most]) {
            Ok(0) if self.left > 0 && most > 0 => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it became shorter",
            )),
            read => read,
        };
        let read = read.map_err(|source| {
            let path = self.path.clone();
            io::Error::other(UploadFailed { path, source })
        })?;
        self.left -= read as u64;
        Ok(read)
    }
}

fn read(out: &Outgoing<'_>, response: Response, sink: Sink<'_>) -> Result<Reply, Error> {
    let (head, mut body) = response.into_parts();
    let headers = head.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    });
    let headers = Headers::new(headers.collect());
    let mut reader = body.with_config().limit(u64::MAX).reader();
    let writer = match sink {
        Sink::Writer(to) if head.status.is_success() => Some(to),
        Sink::Chosen(by) if head.status.is_success() => by.choose(&headers)?,
        _ => None,
    };
    let content = if let Some(to) = writer {
        stream(out, &mut reader, to)?
    } else {
        let length = headers.get("content-length");
        let length: Option<u64> = length.and_then(|text| text.parse().ok());
        // The answer to HEAD announces a body that does not come.
        let comes = out.request.method() != "HEAD";
        if comes && length.is_some_and(|length| length > LARGEST_IN_MEMORY) {
            return Err(too_large(out));
        }
        let mut bytes = Vec::new();
        let read = reader.take(LARGEST_IN_MEMORY + 1).read_to_end(&mut bytes);
        read.map_err(|error| explain(out, ureq::Error::Io(error)))?;
        decode(out, headers.get("content-type").unwrap_or_default(), bytes)?
    };
    Ok(Reply {
        method: out.request.method().to_owned(),
        path: out.target.clone(),
        status: head.status.as_u16(),
        headers,
        content,
    })
}

fn stream(out: &Outgoing<'_>, from: &mut dyn Read, to: &mut dyn Write) -> Result<Content, Error> {
    let mut buffer = vec![0; 128 << 10];
    let mut bytes = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(amount) => {
                let written = to.write_all(&buffer[..amount]);
                written.map_err(|source| Error::Output { source })?;
                bytes += amount as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(explain(out, ureq::Error::Io(error))),
        }
    }
    to.flush().map_err(|source| Error::Output { source })?;
    Ok(Content::Streamed { bytes })
}

fn decode(out: &Outgoing<'_>, label: &str, bytes: Vec<u8>) -> Result<Content, Error> {
    if bytes.len() as u64 > LARGEST_IN_MEMORY {
        return Err(too_large(out));
    }
    let label = label.split(';').next().unwrap_or_default().trim();
    if bytes.is_empty() {
        // Also labelled as JSON: Incus sends an empty console log that way.
        return Ok(Content::Empty);
    }
    if label.eq_ignore_ascii_case("application/json") {
        let value: Value = serde_json::from_slice(&bytes)
            .map_err(|error| unexpected(out, &format!("its JSON is broken: {error}")))?;
        return Ok(Envelope::from_value(value).map_or_else(Content::Json, Content::Envelope));
    }
    if label.starts_with("text/") {
        return Ok(match String::from_utf8(bytes) {
            Ok(text) => Content::Text(text),
            Err(error) => Content::Bytes(error.into_bytes()),
        });
    }
    Ok(Content::Bytes(bytes))
}

/// What an error of ureq means for this request, once something may have been sent.
fn explain(out: &Outgoing<'_>, error: ureq::Error) -> Error {
    match error {
        ureq::Error::Io(error) => match error.downcast::<UploadFailed>() {
            Ok(UploadFailed { path, source }) => Error::File { path, source },
            Err(error) => match error.downcast::<ureq::Error>() {
                // Reading a body wraps what is no I/O error of its own.
                Ok(inner) => explain(out, inner),
                Err(error) => broken(out, Sent::Maybe, error),
            },
        },
        ureq::Error::Timeout(_) => Error::Timeout {
            limit: out.limit.name(),
            after: out.limit.total(),
            method: out.request.method().to_owned(),
            path: out.target.clone(),
            operation: None,
            note: None,
        },
        ureq::Error::Http(error) => invalid(out, &error.to_string()),
        ureq::Error::BadUri(reason) => invalid(out, &reason),
        error => unexpected(out, &error.to_string()),
    }
}

fn broken(out: &Outgoing<'_>, sent: Sent, source: io::Error) -> Error {
    Error::Interrupted {
        sent,
        method: out.request.method().to_owned(),
        path: out.target.clone(),
        source,
    }
}

fn invalid(out: &Outgoing<'_>, reason: &str) -> Error {
    Error::InvalidRequest {
        method: out.request.method().to_owned(),
        path: out.target.clone(),
        reason: reason.to_owned(),
    }
}

fn too_large(out: &Outgoing<'_>) -> Error {
    let reason = "the body is larger than 64 MiB; Client::download streams it instead";
    unexpected(out, reason)
}

fn unexpected(out: &Outgoing<'_>, reason: &str) -> Error {
    Error::Protocol {
        method: out.request.method().to_owned(),
        path: out.target.clone(),
        reason: reason.to_owned(),
    }
}
