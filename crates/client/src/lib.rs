//! A client for the REST APIs of LXD and Incus, worth using without playbooks.
//!
//! A [`Client`] is connected to a [`Remote`] and has a few verbs over one decoder of the API's envelope:
//!
//! | verb | sends | gives |
//! | --- | --- | --- |
//! | [`Client::send`] | one request | the [`Reply`], also when it is a refusal |
//! | [`Client::request`] | one request | the reply, once [`Validation`] has found it good |
//! | [`Client::run`] | one request, then waits for its operation | [`Completed`] |
//! | [`Client::wait`] | nothing but looks | the [`Operation`] as it ended |
//! | [`Client::download`] | one request | its body, streamed into a writer |
//! | [`Client::exec`] | a command, its output recorded | the [`Exit`] |
//! | [`Client::exec_stream`] | a command over websockets | the [`Exit`] |
//! | [`Client::push`] | a file or a folder | [`Pushed`] |
//! | [`Client::pull`] | one request per file | [`Pulled`], files in a folder of this machine |
//! | [`Client::wait_ready`] | looks, commands and connections | [`Readiness`] |
//! | [`Client::events`] | one request | the server's [`Events`] as they come |
//!
//! Projects and cluster members are chosen by a re-scoped copy ([`Client::with_project`],
//! [`Client::with_target`]). What differs between the two products is behind [`Flavor`].
//!
//! Every call blocks; copies of a client may be used by many threads at once and share their
//! connections. [`Client::cancel`] ends whatever is in flight, from any thread.
//!
//! ```no_run
//! use malleus_client::{Client, Limit, Remote, Request, Wait};
//! use serde_json::json;
//! use std::time::Duration;
//!
//! let remote = Remote::discover(&|name| std::env::var(name).ok())?;
//! let client = Client::connect(&remote)?;
//! println!("{} {}", client.server().flavor, client.server().version);
//!
//! let create = Request::post("instances").json(json!({
//!     "name": "c1",
//!     "source": {"type": "image", "alias": "busybox"},
//! }));
//! let minute = Limit::after("creation", Duration::from_secs(60));
//! client.run(&create, &Wait::within(minute))?;
//! # Ok::<(), malleus_client::Error>(())
//! ```

mod backoff;
mod bearer;
mod deadline;
mod dial;
mod ending;
mod error;
mod events;
mod exchange;
mod exec;
mod file;
mod https;
mod limit;
mod link;
mod members;
mod operation;
mod own_folder;
mod proxy;
mod ready;
mod recorded;
mod refusal;
mod remote;
mod reply;
mod request;
mod save;
mod scope;
mod server;
mod settings;
mod signals;
mod stream;
mod tls;
mod token;
mod transport;
mod verbs;
mod wait;
mod websocket;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use backoff::Backoff;
pub use bearer::Bearer;
pub use dial::presented_certificate;
pub use error::{Error, Sent, Tried};
pub use events::{EventType, Events, ServerEvent};
pub use exec::{Exec, Exit, LastOutput, Output, new_marker};
pub use file::{FileContent, FileInfo, FileKind, Pull, Pulled, Push, Pushed, Skipped, Source};
pub use https::{Address, Https};
pub use limit::Limit;
pub use malleus_api::Flavor;
pub use malleus_core::percent::encode;
pub use members::Member;
pub use operation::{Class, Operation};
pub use proxy::Proxy;
pub use ready::{Addresses, Condition, NotReady, NotReadyCause, Observation, Readiness};
pub use recorded::DELETING;
pub use recorded::{LogPath, Recorded, Stream};
pub use refusal::{ApiError, OperationError};
pub use remote::Remote;
pub use reply::{Content, Envelope, EnvelopeKind, Headers, Reply};
pub use request::Request;
pub use server::Server;
pub use settings::{
    ApiErrors, Authentication, NoAuthentication, Observer, Settings, Trace, Validation,
};
pub use signals::Signals;
pub use stream::Stdio;
pub use tls::{Certificate, Fingerprint, Identity, TlsError, Trust};
pub use token::{Token, secrets_in, secrets_of};
pub use verbs::Completed;
pub use wait::Wait;

use dial::Dialer;
use exchange::{CONNECT, Outgoing, Sink, Wire};
use malleus_core::clock::Clock;
use scope::Scope;
use settings::HiddenReplies;

/// A connection to a server, cheap to clone. Clones share connections and cancellation.
#[derive(Clone)]
pub struct Client {
    wire: Wire,
    server: Arc<Server>,
    project: Option<Arc<str>>,
    target: Option<Arc<str>>,
}

impl Client {
    /// Connects and reads `GET /1.0`, with the default [`Settings`].
    ///
    /// # Errors
    /// [`Error::Connect`] when nothing listens or the user may not use the socket, [`Error::Unverified`] when the server is
    /// not the one it should be, [`Error::Timeout`] after ten seconds, [`Error::Protocol`] when what answers is neither LXD
    /// nor Incus.
    pub fn connect(remote: &Remote) -> Result<Self, Error> {
        Self::connect_with(remote, Settings::default())
    }

    /// Connects like [`Client::connect`], with settings of your own.
    pub fn connect_with(remote: &Remote, settings: Settings) -> Result<Self, Error> {
        let dialer = Arc::new(Dialer::new(remote, settings.connect_timeout)?);
        let scope = Scope::new(&dialer, &settings);
        let wire = Wire {
            dialer,
            remote: remote.clone(),
            settings: Arc::new(settings),
            scope,
        };
        let request = Request::get("/1.0");
        let out = Outgoing {
            request: &request,
            target: request.target(&[])?,
            limit: Limit::after(CONNECT, wire.settings.connect_timeout),
        };
        let reply = first_reply(&wire, &out)?;
        let server = Server::from_metadata(reply.metadata().clone());
        let server = server.ok_or_else(|| Error::Protocol {
            method: reply.method.clone(),
            path: reply.path.clone(),
            reason: format!("what answers at {remote} is neither LXD nor Incus"),
        })?;
        let server = server.at(reply.headers.get("Date"));
        Ok(Self {
            wire,
            server: Arc::new(server),
            project: None,
            target: None,
        })
    }

    /// What the server said about itself when the client connected.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The remote the client is connected to.
    pub fn remote(&self) -> &Remote {
        &self.wire.remote
    }

    /// A copy that adds `project=` to every query below `/1.0/` that names none, also to URLs the
    /// server handed out without it. It does not check whether the project exists.
    #[must_use]
    pub fn with_project(&self, project: &str) -> Self {
        Self {
            project: Some(Arc::from(project)),
            ..self.clone()
        }
    }

    /// A copy that adds `target=`, a cluster member, to every query below `/1.0/` that names none.
    #[must_use]
    pub fn with_target(&self, member: &str) -> Self {
        Self {
            target: Some(Arc::from(member)),
            ..self.clone()
        }
    }

    /// The project the client is scoped to.
    pub fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }

    /// The cluster member the client is scoped to.
    pub fn target(&self) -> Option<&str> {
        self.target.as_deref()
    }

    /// A copy whose requests and replies another observer sees.
    #[must_use]
    pub fn with_observer(&self, observer: Arc<dyn Observer>) -> Self {
        let mut copy = self.clone();
        Arc::make_mut(&mut copy.wire.settings).observer = Some(observer);
        copy
    }

    /// A copy whose observer sees how long the body of a reply is, and nothing of what it says.
    #[must_use]
    pub fn with_hidden_replies(&self) -> Self {
        match &self.wire.settings.observer {
            Some(observer) => self.with_observer(Arc::new(HiddenReplies(Arc::clone(observer)))),
            None => self.clone(),
        }
    }

    /// A copy with connections of its own: it can be cancelled alone, and is cancelled with this one.
    #[must_use]
    pub fn fork(&self) -> Self {
        let fork = self.detached();
        self.scope().adopt(&fork.wire.scope);
        fork
    }

    /// A copy with connections of its own that nobody else cancels: for cleaning up.
    #[must_use]
    pub fn detached(&self) -> Self {
        let mut detached = self.clone();
        detached.wire.scope = Scope::new(&self.wire.dialer, &self.wire.settings);
        detached
    }

    /// A copy of another client, of any server, with connections of its own that are cancelled with this one.
    #[must_use]
    pub fn child_of(&self, other: &Self) -> Self {
        let child_of = other.detached();
        self.scope().adopt(&child_of.wire.scope);
        child_of
    }

    /// A copy that a cancellation of this one ends only after ten seconds: for a request whose outcome must be known, as
    /// the server carries it out whether or not anybody waits for the answer.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when this one is cancelled already.
    pub fn with_grace(&self) -> Result<Self, Error> {
        self.scope().check()?;
        let mut with_grace = self.clone();
        let make = || Scope::new(&self.wire.dialer, &self.wire.settings);
        with_grace.wire.scope = self.scope().with_grace(make);
        Ok(with_grace)
    }

    /// Ends every request, wait and websocket in flight on this client, its clones and its forks with
    /// [`Error::Cancelled`], within milliseconds and from any thread. They refuse new requests too.
    ///
    /// The server is not told: an operation that was awaited goes on, see [`Client::cancel_operation`].
    pub fn cancel(&self) {
        self.scope().cancel();
    }

    /// Whether [`Client::cancel`] was called on this client, a clone, or one it was forked from.
    pub fn is_cancelled(&self) -> bool {
        self.scope().is_cancelled()
    }

    /// Sleeps, but not through a cancellation.
    ///
    /// # Errors
    /// [`Error::Cancelled`], as soon as the client is.
    pub fn pause(&self, duration: Duration) -> Result<(), Error> {
        self.scope().pause(duration)
    }

    /// By what its limits and pauses go.
    pub fn clock(&self) -> Clock {
        self.wire.settings.clock
    }

    /// A limit by this client's clock, counted from now.
    pub fn limit(&self, name: &'static str, after: Duration) -> Limit {
        Limit::by(self.clock(), name, after)
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.wire.scope
    }
}

/// The server's answer to the first request. One that is starting or restarting is asked again; one that is not there is not
/// waited for. An answer that is broken may be so by accident; what gives it three times is no server of this API.
fn first_reply(wire: &Wire, out: &Outgoing<'_>) -> Result<Reply, Error> {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    let mut broken = 0;
    loop {
        let reply = wire.exchange(out, Sink::Memory).and_then(|reply| {
            wire.settings.validation.validate(&reply)?;
            Ok(reply)
        });
        let may_pass = match &reply {
            Ok(_) | Err(Error::Connect { .. }) => false,
            Err(Error::Protocol { .. }) => {
                broken += 1;
                broken < 3
            }
            Err(error) => error.is_transient(),
        };
        let pause = may_pass.then(|| backoff.next(out.limit)).flatten();
        let Some(pause) = pause else { return reply };
        wire.scope.pause(pause)?;
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("remote", &self.wire.remote)
            .field("project", &self.project)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// Compiles the README's Rust.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
