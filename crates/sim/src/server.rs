//! HTTP, and the faults that a connection shows.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::{Request, Response, header};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use tokio::sync::watch;

use super::access::{Access, Peer};
use super::call::{Call, Raw, Refusal, Reply, Upgrade, async_envelope, envelope, error_envelope};
use super::daemon::Daemon;
use super::fault::EdgeFault;
use super::routes;

/// The largest body that is taken.
const LARGEST: usize = 4 << 30;

/// Ends the connection without an answer.
#[derive(Debug)]
pub(super) struct Reset;

impl std::fmt::Display for Reset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("connection reset on order")
    }
}

impl std::error::Error for Reset {}

/// One request and its answer.
pub(super) async fn exchange(
    daemon: &Arc<Daemon>,
    (request, peer): (Request<Incoming>, Peer),
    generation: &watch::Sender<u64>,
) -> Result<Response<Sent>, Reset> {
    let head = request.method() == hyper::Method::HEAD;
    let Some(mut call) = read(request, peer).await else {
        return Err(Reset);
    };
    let plan = daemon
        .faults
        .plan(&call.method, &call.path[call.path.len().min(1)..]);
    call.fault = plan.operation;
    match plan.edge {
        Some(EdgeFault::ResetBefore) => return Err(Reset),
        Some(EdgeFault::Restart) => {
            daemon.forget_operations();
            generation.send_modify(|generation| *generation += 1);
            return Err(Reset);
        }
        Some(EdgeFault::Unavailable) => {
            return Ok(refused(&Refusal::new(
                503,
                "Server is starting or shutting down",
            )));
        }
        Some(EdgeFault::Locked) => return Ok(refused(&Refusal::new(500, "database is locked"))),
        _ => {}
    }
    let asked = daemon.clock.asked();
    let range = call.header("range").map(str::to_owned);
    let answer = routes::answer(daemon, call).await;
    drop(asked);
    let mut response = match answer {
        Ok(reply) => respond(reply, range.as_deref()),
        Err(refusal) => refused(&refusal),
    };
    if head {
        response.body_mut().left = Bytes::new();
    }
    Ok(match plan.edge {
        Some(EdgeFault::ResetAfter) => return Err(Reset),
        Some(EdgeFault::Malformed) => {
            let mut response = response.map(|_| Sent::whole("{\"type\": \"sync\", <html>"));
            response.headers_mut().remove(header::CONTENT_LENGTH);
            response
        }
        Some(EdgeFault::Truncated) => response.map(Sent::truncated),
        Some(EdgeFault::Trickle) => response.map(Sent::trickle),
        _ => response,
    })
}

/// The request as the API sees it; nothing where the client broke off.
async fn read(request: Request<Incoming>, peer: Peer) -> Option<Call> {
    let (mut parts, body) = request.into_parts();
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let header = |name: &str| {
        let value = parts.headers.get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let key = header("sec-websocket-key");
    let wanted = header("upgrade").unwrap_or_default().to_lowercase();
    let connection = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
    let upgrade = match (wanted.as_str(), key, connection) {
        ("websocket", Some(key), Some(connection)) => Some(Upgrade { connection, key }),
        ("sftp", _, Some(connection)) => Some(Upgrade {
            connection,
            key: String::new(),
        }),
        _ => None,
    };
    let headers = parts.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    });
    let query = parts.uri.query().unwrap_or_default();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let query = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let plain = |text: &str| decode(&text.replace('+', " "));
        (plain(name), plain(value))
    });
    Some(Call {
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path()[1..].split('/').map(decode).collect(),
        query: query.collect(),
        headers: headers.collect(),
        body: Limited::new(body, LARGEST).collect().await.ok()?.to_bytes(),
        upgrade,
        fault: None,
        peer,
        // Looked up when the request is carried out.
        access: Access::Public,
        location: String::new(),
    })
}

fn refused(refusal: &Refusal) -> Response<Sent> {
    let mut text = error_envelope(refusal).to_string();
    // As the daemons do: their error texts end in two line ends.
    text.push_str("\n\n");
    let mut response = json_response(refusal.code, text);
    let headers = response.headers_mut();
    headers.insert(
        "x-content-type-options",
        header::HeaderValue::from_static("nosniff"),
    );
    response
}

fn json_response(status: u16, text: String) -> Response<Sent> {
    let mut response = plain_response(status, text.into());
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn plain_response(status: u16, body: Bytes) -> Response<Sent> {
    let mut response = Response::new(Sent::whole(body));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    response
}

fn set(response: &mut Response<Sent>, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (
        header::HeaderName::from_bytes(name.as_bytes()),
        header::HeaderValue::from_str(value),
    ) {
        response.headers_mut().insert(name, value);
    }
}

fn respond(reply: Reply, range: Option<&str>) -> Response<Sent> {
    let line = |value: &Value| format!("{value}\n");
    match reply {
        Reply::Sync(metadata) => json_response(200, line(&envelope(&metadata))),
        Reply::Early(envelope) => {
            let mut response = json_response(200, line(&envelope));
            set(&mut response, "connection", "keep-alive");
            set(&mut response, "x-content-type-options", "nosniff");
            response
        }
        Reply::Tagged(metadata, etag) => {
            let mut response = json_response(200, line(&envelope(&metadata)));
            set(&mut response, "etag", &format!("\"{etag}\""));
            response
        }
        Reply::Described(metadata, headers) => {
            let mut response = json_response(200, line(&envelope(&metadata)));
            for (name, value) in headers {
                set(&mut response, &name, &value);
            }
            response
        }
        Reply::Created(location) => {
            let mut response = json_response(201, line(&envelope(&Value::Null)));
            set(&mut response, "location", &location);
            response
        }
        Reply::Async(operation) => begun(&async_envelope(&operation, None)),
        Reply::Forwarded(operation, project) => begun(&async_envelope(&operation, Some(&project))),
        Reply::Raw(raw) => raw_response(raw, range),
        Reply::Websocket(accept) => {
            let mut response = plain_response(101, Bytes::new());
            set(&mut response, "connection", "Upgrade");
            set(&mut response, "upgrade", "websocket");
            set(&mut response, "sec-websocket-accept", &accept);
            response
        }
        Reply::Switched(protocol) => {
            let mut response = plain_response(101, Bytes::new());
            set(&mut response, "connection", "Upgrade");
            set(&mut response, "upgrade", protocol);
            response
        }
        Reply::Plain(status, text) => {
            let mut response = plain_response(status, Bytes::from_static(text.as_bytes()));
            set(&mut response, "content-type", "text/plain; charset=utf-8");
            response
        }
    }
}

fn begun(envelope: &Value) -> Response<Sent> {
    let mut response = json_response(202, format!("{envelope}\n"));
    let location = envelope["operation"].as_str().unwrap_or_default();
    set(&mut response, "location", location);
    response
}

/// A file, or the part of it that `Range: bytes=FROM-[TO]` asks for.
fn raw_response(raw: Raw, range: Option<&str>) -> Response<Sent> {
    let length = raw.body.len();
    let wanted = range.and_then(|range| {
        let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
        let to = to.parse().unwrap_or(usize::MAX);
        Some((from.parse::<usize>().ok()?, to))
    });
    let mut response = match wanted {
        Some((from, _)) if from >= length => plain_response(416, Bytes::new()),
        Some((from, to)) => {
            let to = to.min(length - 1);
            let mut response = plain_response(206, raw.body.slice(from..=to.max(from)));
            set(
                &mut response,
                "content-range",
                &format!("bytes {from}-{to}/{length}"),
            );
            response
        }
        None => plain_response(200, raw.body),
    };
    for (name, value) in raw.headers {
        set(&mut response, &name, &value);
    }
    if let Some(name) = raw.filename {
        set(&mut response, "content-type", "application/octet-stream");
        set(&mut response, "accept-ranges", "bytes");
        set(
            &mut response,
            "content-disposition",
            &format!("inline;filename={name}"),
        );
    }
    response
}

/// A body with the way it is sent.
#[derive(Debug)]
pub(super) struct Sent {
    left: Bytes,
    /// Bytes a frame.
    pace: usize,
    /// The connection breaks when so many are left.
    breaks: Option<usize>,
}

impl Sent {
    fn whole(body: impl Into<Bytes>) -> Self {
        Self {
            left: body.into(),
            pace: usize::MAX,
            breaks: None,
        }
    }

    fn truncated(self) -> Self {
        let half = self.left.len() / 2;
        Self {
            pace: half.max(1),
            breaks: Some(self.left.len() - half),
            ..self
        }
    }

    fn trickle(self) -> Self {
        Self { pace: 1, ..self }
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Reset;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Reset>>> {
        if self.breaks == Some(self.left.len()) {
            return Poll::Ready(Some(Err(Reset)));
        }
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let amount = self.pace.min(self.left.len());
        let frame = Frame::data(self.left.split_to(amount));
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty() && self.breaks.is_none()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(self.left.len() as u64)
    }
}
