//! Opens connections: to a socket, or to the first address of a server that accepts one.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use super::link::Link;
use super::tls::{
    Certificate, HandshakeError, Recorder, Rule, TlsError, TlsLink, client_config, server_name,
};
use super::{Address, Error, Https, Remote};

/// How long one of several addresses is tried before the next one is.
const TURN: Duration = Duration::from_secs(3);

/// How often a connection that comes about slowly looks whether it is still wanted.
const GLANCE: Duration = Duration::from_millis(20);

/// Knows how to open a connection to one remote. Nothing of a request has left before that has succeeded, hence trying
/// another address repeats nothing.
#[derive(Debug)]
pub(super) struct Dialer {
    remote: Remote,
    tls: Option<Arc<ClientConfig>>,
    limit: Duration,
    /// The address that answered last.
    preferred: AtomicUsize,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("{0}")]
    Io(io::Error),
    #[error("{1}")]
    TlsError(Address, TlsError),
    #[error("cancelled")]
    Cancelled,
}

/// Who wants the connection.
pub(super) trait Caller {
    /// Whether it is wanted no more.
    fn has_left(&self) -> bool;

    /// Has a connection that is not ready yet closed when it is wanted no more.
    fn watch(&self, link: &Arc<Link>) -> Result<(), DialError>;
}

impl DialError {
    pub(super) fn explain(self, remote: &Remote) -> Error {
        match self {
            Self::Io(source) => Error::Connect {
                remote: remote.to_string(),
                source,
            },
            Self::TlsError(address, reason) => Error::Unverified {
                remote: remote.to_string(),
                address: address.authority(),
                reason: Box::new(reason),
            },
            Self::Cancelled => Error::Cancelled,
        }
    }
}

impl Dialer {
    pub(super) fn new(remote: &Remote, limit: Duration) -> Result<Self, Error> {
        let tls = match remote {
            Remote::Unix(_) => None,
            Remote::Https(server) => Some(client_config(
                server.trust.rule()?,
                server.identity.as_ref(),
            )?),
        };
        Ok(Self {
            remote: remote.clone(),
            tls,
            limit,
            preferred: AtomicUsize::new(0),
        })
    }

    /// Opens a connection, within the time that connecting has, or that is left if this is less.
    pub(super) fn dial(
        &self,
        left: Option<Duration>,
        caller: &dyn Caller,
    ) -> Result<Arc<Link>, DialError> {
        let limit = left.map_or(self.limit, |left| left.min(self.limit));
        match (&self.remote, &self.tls) {
            (Remote::Unix(socket), _) => {
                let stream = UnixStream::connect(socket).map_err(DialError::Io)?;
                let link = Arc::new(Link::Unix(stream));
                caller.watch(&link)?;
                Ok(link)
            }
            (Remote::Https(server), Some(tls)) => self.try_all(server, tls, limit, caller),
            (Remote::Https(_), None) => Err(DialError::Io(io::ErrorKind::Unsupported.into())),
        }
    }

    fn try_all(
        &self,
        server: &Https,
        tls: &Arc<ClientConfig>,
        limit: Duration,
        caller: &dyn Caller,
    ) -> Result<Arc<Link>, DialError> {
        let until = Instant::now() + limit;
        let first = self.preferred.load(Ordering::Relaxed);
        let number = server.addresses.len();
        let mut failures: Vec<(String, io::Error)> = Vec::new();
        for at in (0..number).map(|offset| (first + offset) % number) {
            let address = &server.addresses[at];
            let until = match number {
                1 => until,
                _ => until.min(Instant::now() + TURN),
            };
            let attempt = Attempt {
                server,
                address,
                until,
                limit: self.limit,
            };
            match attempt.run(tls, caller) {
                Ok(link) => {
                    self.preferred.store(at, Ordering::Relaxed);
                    return Ok(link);
                }
                Err(DialError::Io(error)) => failures.push((address.authority(), error)),
                Err(error) => return Err(error),
            }
        }
        Err(DialError::Io(all_of(failures)))
    }
}

/// One address is tried.
struct Attempt<'a> {
    server: &'a Https,
    address: &'a Address,
    until: Instant,
    limit: Duration,
}

impl Attempt<'_> {
    fn run(&self, tls: &Arc<ClientConfig>, caller: &dyn Caller) -> Result<Arc<Link>, DialError> {
        let distrust = |reason| DialError::TlsError(self.address.clone(), reason);
        let tcp = self.connect(caller)?;
        tcp.set_nodelay(true).map_err(DialError::Io)?;
        let name = server_name(&self.address.host)
            .ok_or_else(|| DialError::Io(io::ErrorKind::InvalidInput.into()))?;
        let link = TlsLink::new(tcp, Arc::clone(tls), name).map_err(distrust)?;
        let link = Arc::new(Link::Tls(Box::new(link)));
        caller.watch(&link)?;
        let Link::Tls(connection) = &*link else {
            return Err(DialError::Io(io::ErrorKind::Unsupported.into()));
        };
        if let Some(proxy) = &self.server.proxy {
            let limit = || connection.limit(self.until);
            proxy
                .pass_on(connection.tcp(), self.address, &limit)
                .map_err(|error| DialError::Io(self.late(error, "the proxy did not answer")))?;
        }
        match connection.handshake(self.until) {
            Ok(()) => Ok(link),
            Err(_) if caller.has_left() => Err(DialError::Cancelled),
            Err(HandshakeError::TlsError(reason)) => Err(distrust(reason)),
            Err(HandshakeError::Io(error)) if is_closed(&error) => {
                let words = "it closed the connection in the TLS handshake";
                let error = io::Error::new(io::ErrorKind::ConnectionReset, words);
                Err(DialError::Io(error))
            }
            Err(HandshakeError::Io(error)) => Err(DialError::Io(
                self.late(error, "the TLS handshake did not end"),
            )),
        }
    }

    /// Resolves and connects on a thread of its own: neither can be interrupted.
    fn connect(&self, caller: &dyn Caller) -> Result<TcpStream, DialError> {
        let via = self
            .server
            .proxy
            .as_ref()
            .map_or(self.address, super::Proxy::address);
        let target = (via.host.clone(), via.port);
        let (sender, connected) = mpsc::channel();
        let until = self.until;
        thread::spawn(move || {
            // Nobody listens any more where it took too long.
            let _ = sender.send(connect(&target, until));
        });
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match connected.recv_timeout(left.min(GLANCE)) {
                Ok(connected) => {
                    return connected.map_err(|error| {
                        DialError::Io(self.late(error, "no connection came about"))
                    });
                }
                Err(_) if caller.has_left() => return Err(DialError::Cancelled),
                Err(RecvTimeoutError::Timeout) if left > Duration::ZERO => {}
                Err(_) => {
                    let late = io::ErrorKind::TimedOut.into();
                    return Err(DialError::Io(self.late(late, "no connection came about")));
                }
            }
        }
    }

    /// An error that says what did not end in time; others as they are.
    fn late(&self, error: io::Error, what: &str) -> io::Error {
        match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
                let limit = if self.server.addresses.len() > 1 {
                    self.limit.min(TURN)
                } else {
                    self.limit
                };
                let limit = humantime::format_duration(limit);
                let words = format!("{what} within the connect limit of {limit}");
                io::Error::new(io::ErrorKind::TimedOut, words)
            }
            _ => error,
        }
    }
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        error.kind(),
        UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe
    )
}

fn connect(target: &(String, u16), until: Instant) -> io::Result<TcpStream> {
    let resolved = (target.0.as_str(), target.1).to_socket_addrs();
    let resolved = resolved.map_err(|error| {
        io::Error::new(
            io::ErrorKind::HostUnreachable,
            format!("the name {} is not known: {error}", target.0),
        )
    })?;
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in resolved {
        let left = until.saturating_duration_since(Instant::now());
        if left == Duration::ZERO {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(tcp) => return Ok(tcp),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// One error for all addresses.
fn all_of(mut failures: Vec<(String, io::Error)>) -> io::Error {
    if failures.len() == 1 {
        let (address, error) = failures.remove(0);
        return match error.kind() {
            io::ErrorKind::ConnectionRefused => io::Error::new(
                error.kind(),
                format!(
                    "nothing listens at {address}; is the server running, and its `core.https_address` set?"
                ),
            ),
            _ => error,
        };
    }
    let kind = failures
        .last()
        .map_or(io::ErrorKind::AddrNotAvailable, |(_, error)| error.kind());
    let each: Vec<String> = failures
        .iter()
        .map(|(address, error)| match error.kind() {
            io::ErrorKind::ConnectionRefused => format!("{address}: nothing listens there"),
            _ => format!("{address}: {error}"),
        })
        .collect();
    io::Error::new(kind, format!("no address answers: {}", each.join("; ")))
}

/// A caller who stays.
struct Patient;

impl Caller for Patient {
    fn has_left(&self) -> bool {
        false
    }

    fn watch(&self, _link: &Arc<Link>) -> Result<(), DialError> {
        Ok(())
    }
}

/// The certificate that a server shows, without trusting it: nothing but the beginning of a handshake is sent.
///
/// # Errors
/// [`Error::Connect`] and [`Error::Unverified`] where there is no such server.
pub fn presented_certificate(server: &Https, limit: Duration) -> Result<Certificate, Error> {
    let recorder = Recorder::default();
    let remote = Remote::Https(Box::new(server.clone()));
    let dialer = Dialer {
        tls: Some(client_config(Rule::Nobody(recorder.clone()), None)?),
        remote,
        limit,
        preferred: AtomicUsize::new(0),
    };
    let refused = dialer.dial(None, &Patient);
    match (recorder.seen(), refused) {
        (Some(certificate), _) => Ok(certificate),
        (None, Err(error)) => Err(error.explain(&dialer.remote)),
        (None, Ok(_)) => {
            Err(DialError::Io(io::ErrorKind::InvalidData.into()).explain(&dialer.remote))
        }
    }
}
