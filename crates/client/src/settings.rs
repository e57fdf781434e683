use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{Content, Error, Headers, Reply};
use malleus_core::clock::Clock;

/// How a client behaves; see [`Client::connect_with`](super::Client::connect_with).
///
/// ```
/// use malleus_client::Settings;
/// use std::time::Duration;
///
/// let settings = Settings {
///     request_timeout: Duration::from_secs(30),
///     ..Settings::default()
/// };
/// # assert_eq!(settings.connect_timeout, Duration::from_secs(10));
/// ```
#[derive(Clone)]
pub struct Settings {
    /// What proves to the server who is asking. Default: nothing, as a unix socket needs nothing.
    pub authentication: Arc<dyn Authentication>,
    /// What decides whether a reply is good. Default: [`ApiErrors`].
    pub validation: Arc<dyn Validation>,
    /// How long connecting and the first `GET /1.0` may take together. Default: 10 s.
    pub connect_timeout: Duration,
    /// How long a request without a limit of its own may take. Default: 10 min.
    pub request_timeout: Duration,
    /// How long an idle connection is kept. Default: 20 s, as servers close theirs after 30 s.
    pub idle_timeout: Duration,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// By what limits and pauses go. Default: the machine's clock; that of a simulated daemon where the server is one in
    /// this process.
    pub clock: Clock,
    /// Who is told about every exchange. Default: nobody.
    pub observer: Option<Arc<dyn Observer>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            authentication: Arc::new(NoAuthentication),
            validation: Arc::new(ApiErrors),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(600),
            idle_timeout: Duration::from_secs(20),
            user_agent: concat!("malleus/", env!("CARGO_PKG_VERSION")).to_owned(),
            clock: Clock::machine(),
            observer: None,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("connect_timeout", &self.connect_timeout)
            .field("request_timeout", &self.request_timeout)
            .field("idle_timeout", &self.idle_timeout)
            .field("user_agent", &self.user_agent)
            .finish_non_exhaustive()
    }
}

/// Proves to the server who is asking, by headers on every request and websocket.
pub trait Authentication: Send + Sync {
    /// The headers for a request with this method and path (with its query). Asked anew for every
    /// request, so that tokens can be renewed.
    fn headers(&self, method: &str, path: &str) -> Result<Vec<(String, String)>, Error>;
}

/// No headers: the unix socket's permissions are the authentication.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoAuthentication;

impl Authentication for NoAuthentication {
    fn headers(&self, _method: &str, _path: &str) -> Result<Vec<(String, String)>, Error> {
        Ok(Vec::new())
    }
}

/// Decides whether a reply is good.
pub trait Validation: Send + Sync {
    /// Judges a reply. An error ends the call that asked; [`Error::Api`] and [`Error::Invalid`] are the
    /// kinds made for it.
    fn validate(&self, reply: &Reply) -> Result<(), Error>;
}

/// The default validation: error envelopes, and statuses outside 2xx, become [`Error::Api`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ApiErrors;

impl Validation for ApiErrors {
    fn validate(&self, reply: &Reply) -> Result<(), Error> {
        reply
            .api_error()
            .map_or(Ok(()), |error| Err(Error::Api(error)))
    }
}

/// Is told about every exchange, for tracing. Called on the thread that sends.
pub trait Observer: Send + Sync {
    /// One thing that happened.
    fn observe(&self, trace: &Trace<'_>);
}

/// Passes on what happens without the bodies of replies.
pub(super) struct HiddenReplies(pub(super) Arc<dyn Observer>);

impl Observer for HiddenReplies {
    fn observe(&self, trace: &Trace<'_>) {
        let Trace::Reply { reply, elapsed } = trace else {
            return self.0.observe(trace);
        };
        let bytes = match &reply.content {
            Content::Empty | Content::Streamed { .. } => return self.0.observe(trace),
            Content::Bytes(bytes) => bytes.len(),
            Content::Text(text) => text.len(),
            Content::Envelope(_) | Content::Json(_) => reply.body().to_string().len(),
        };
        let reply = Reply {
            method: reply.method.clone(),
            path: reply.path.clone(),
            status: reply.status,
            headers: Headers::default(),
            content: Content::Text(format!("*** {bytes} bytes")),
        };
        let elapsed = *elapsed;
        self.0.observe(&Trace::Reply {
            reply: &reply,
            elapsed,
        });
    }
}

/// What an [`Observer`] is told. Nothing is masked here: bodies may hold secrets.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Trace<'a> {
    /// A request is about to be sent.
    Request {
        /// Its method.
        method: &'a str,
        /// Its path with the query.
        path: &'a str,
        /// Its body, when that is JSON.
        body: Option<&'a Value>,
    },
    /// The reply has come, its body read.
    Reply {
        /// The reply; it names the request.
        reply: &'a Reply,
        /// The time since the request was begun.
        elapsed: Duration,
    },
    /// There was no reply.
    Failure {
        /// The method of the request.
        method: &'a str,
        /// Its path with the query.
        path: &'a str,
        /// What happened instead.
        error: &'a Error,
        /// The time since the request was begun.
        elapsed: Duration,
    },
}
