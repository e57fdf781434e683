//! Websockets of operations and of events, over connections as those below ureq.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use malleus_api::ApiPath;
use tungstenite::client::{IntoClientRequest, client_with_config};
use tungstenite::handshake::HandshakeError;
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};
use ureq::http::{HeaderName, HeaderValue};

use super::dial::{Caller, DialError};
use super::link::Link;
use super::scope::Scope;
use super::{ApiError, Client, Error, Limit, Sent, encode};

/// Servers give up on an operation whose websockets have not come after five seconds.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// A connection that one thread reads and another writes. Both ends of a websocket write, the reader
/// to answer pings, so that whole buffers are written under a lock.
#[derive(Clone, Debug)]
pub(super) struct Duplex {
    stream: Arc<Link>,
    writing: Arc<Mutex<()>>,
    lost: Lost,
    /// How long this end reads, however little comes at a time.
    limit: Limit,
}

/// What it means that the other side reads no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    /// An error.
    Error,
    /// Nothing: a pong that nobody wants must not keep the rest from being read.
    Nothing,
}

impl Duplex {
    fn new(stream: Arc<Link>) -> Self {
        Self {
            stream,
            writing: Arc::default(),
            lost: Lost::Error,
            limit: Limit::never(),
        }
    }

    pub(super) fn set_limit(&mut self, limit: Limit) {
        self.limit = limit;
    }

    /// Closes both directions: whoever reads or writes gets an end or an error at once.
    pub(super) fn close(&self) {
        self.stream.close();
    }
}

impl Read for Duplex {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let left = self.limit.remaining();
            if left == Some(Duration::ZERO) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.stream.set_read_timeout(left)?;
            match self.stream.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

impl Write for Duplex {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(left) = self.limit.remaining() {
            let left = left.max(Duration::from_millis(1));
            self.stream.set_write_timeout(Some(left))?;
        }
        match self.stream.write_all(bytes) {
            Err(error) if self.lost == Lost::Error => Err(error),
            _ => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One websocket, to be read by one thread.
pub(super) struct Socket {
    reader: WebSocket<Duplex>,
    duplex: Duplex,
}

/// What a read from a websocket brought.
pub(super) enum Frame {
    /// Data.
    Data(tungstenite::Bytes),
    /// An empty text frame: the sender's mark that a stream has ended.
    End,
    /// The connection is over, with or without a farewell: servers never send one.
    Closed,
    /// Nothing came within the limit.
    Late,
}

impl Socket {
    pub(super) fn duplex(&self) -> &Duplex {
        &self.duplex
    }

    /// A second, writing end.
    pub(super) fn writer(&self) -> SocketWriter {
        let duplex = self.duplex.clone();
        SocketWriter(WebSocket::from_raw_socket(duplex, Role::Client, None))
    }

    /// The next frame that means something; pings are answered on the way.
    pub(super) fn read(&mut self) -> Frame {
        self.read_within(Limit::never())
    }

    /// Like [`Socket::read`], until a limit passes. What has come of a frame by then is not lost.
    pub(super) fn read_within(&mut self, limit: Limit) -> Frame {
        self.reader.get_mut().limit = limit;
        loop {
            // Also between frames: pings may come without end.
            if limit.is_over() {
                return Frame::Late;
            }
            match self.reader.read() {
                Err(tungstenite::Error::Io(error)) if out_of_time(&error) => {}
                Ok(Message::Binary(data)) => return Frame::Data(data),
                Ok(Message::Text(text)) if text.is_empty() => return Frame::End,
                Ok(Message::Text(text)) => return Frame::Data(text.into()),
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                Ok(Message::Close(_)) | Err(_) => return Frame::Closed,
            }
        }
    }
}

/// The writing end of a websocket.
pub(super) struct SocketWriter(WebSocket<Duplex>);

impl SocketWriter {
    /// # Errors
    /// When the connection is over; that is how a server ends a stream nobody reads any more.
    pub(super) fn data(&mut self, bytes: &[u8]) -> Result<(), tungstenite::Error> {
        self.0.send(Message::binary(bytes.to_vec()))
    }

    pub(super) fn text(&mut self, text: &str) -> Result<(), tungstenite::Error> {
        self.0.send(Message::text(text.to_owned()))
    }
}

impl Caller for Scope {
    fn has_left(&self) -> bool {
        self.is_cancelled()
    }

    fn watch(&self, link: &Arc<Link>) -> Result<(), DialError> {
        self.register(link).map_err(|_| DialError::Cancelled)
    }
}

impl Client {
    /// Opens the websocket of an operation that goes by this secret.
    pub(super) fn open_operation(
        &self,
        operation: &str,
        secret: &str,
        limit: Limit,
    ) -> Result<Socket, Error> {
        let shown = ApiPath::of_operation(operation)
            .member("websocket")
            .to_string();
        let path = format!("{shown}?secret={}", encode(secret));
        self.open_websocket(&path, &shown, limit)
    }

    /// A connection of its own, until a limit passes.
    pub(super) fn open_duplex(&self, limit: Limit) -> Result<Duplex, Error> {
        self.scope().check()?;
        let link = self.wire.dialer.dial(limit.remaining(), self.scope());
        let mut duplex = Duplex::new(link.map_err(|error| error.explain(self.remote()))?);
        duplex.limit = limit;
        Ok(duplex)
    }

    /// Opens a websocket at a path with its query; errors show another one, which holds no secret.
    pub(super) fn open_websocket(
        &self,
        path: &str,
        shown: &str,
        limit: Limit,
    ) -> Result<Socket, Error> {
        let limit = Limit::after("websocket", HANDSHAKE).earlier(limit);
        let mut duplex = self.open_duplex(limit)?;
        let broken = |source: io::Error| self.socket_broken(shown, source);
        let mut reader =
            self.handshake(path, shown, duplex.clone())
                .map_err(|error| match error {
                    Error::Interrupted { source, .. } if out_of_time(&source) => Error::Timeout {
                        limit: limit.name(),
                        after: limit.total(),
                        method: "GET".to_owned(),
                        path: shown.to_owned(),
                        operation: None,
                        note: None,
                    },
                    error => error,
                })?;
        reader.get_mut().lost = Lost::Nothing;
        reader.get_mut().limit = Limit::never();
        duplex.limit = Limit::never();
        duplex.stream.set_write_timeout(None).map_err(broken)?;
        Ok(Socket { reader, duplex })
    }

    pub(super) fn authentication(
        &self,
        method: &str,
        path: &str,
    ) -> Result<Vec<(String, String)>, Error> {
        self.wire.settings.authentication.headers(method, path)
    }

    fn handshake(
        &self,
        path: &str,
        shown: &str,
        duplex: Duplex,
    ) -> Result<WebSocket<Duplex>, Error> {
        let unexpected = |reason: String| Error::Protocol {
            method: "GET".to_owned(),
            path: shown.to_owned(),
            reason,
        };
        let request = format!("ws://{}{path}", self.remote().host()).into_client_request();
        let mut request = request.map_err(|error| unexpected(error.to_string()))?;
        for (name, value) in self.authentication("GET", path)? {
            let header = HeaderName::try_from(name).ok();
            let (Some(name), Ok(value)) = (header, HeaderValue::try_from(value)) else {
                return Err(unexpected(
                    "the authentication gave an invalid header".to_owned(),
                ));
            };
            request.headers_mut().insert(name, value);
        }
        match client_with_config(request, duplex, None) {
            Ok((websocket, _)) => Ok(websocket),
            Err(HandshakeError::Failure(tungstenite::Error::Http(answer))) => Err(Error::Api(
                refusal(shown, answer.status().as_u16(), answer.body().as_deref()),
            )),
            Err(HandshakeError::Failure(tungstenite::Error::Io(source))) => {
                Err(self.socket_broken(shown, source))
            }
            Err(HandshakeError::Failure(error)) => Err(unexpected(error.to_string())),
            Err(HandshakeError::Interrupted(_)) => {
                Err(self.socket_broken(shown, io::ErrorKind::TimedOut.into()))
            }
        }
    }

    pub(super) fn socket_broken(&self, path: &str, source: io::Error) -> Error {
        if self.is_cancelled() {
            return Error::Cancelled;
        }
        Error::Interrupted {
            sent: Sent::Maybe,
            method: "GET".to_owned(),
            path: path.to_owned(),
            source,
        }
    }
}

pub(super) fn out_of_time(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// What a server says instead of opening a websocket.
pub(super) fn refusal(path: &str, status: u16, body: Option<&[u8]>) -> ApiError {
    let body = body.unwrap_or_default();
    let envelope: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let message = match envelope["error"].as_str() {
        Some(message) => message.trim().to_owned(),
        None => String::from_utf8_lossy(body).trim().to_owned(),
    };
    ApiError {
        status,
        message,
        method: "GET".to_owned(),
        path: path.to_owned(),
    }
}
