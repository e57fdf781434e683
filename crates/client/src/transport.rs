//! The connection below ureq: a connector that opens it, and a transport that tells what was sent.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, ShutdownHandle, Transport,
};

use super::deadline::Deadline;
use super::dial::{Caller, DialError, Dialer};
use super::link::Link;

/// The connection was dead before the first byte of a request was written.
#[derive(Debug, thiserror::Error)]
#[error("nothing was sent: {source}")]
pub(super) struct NothingSent {
    pub(super) source: io::Error,
    pub(super) connection: Age,
}

/// Whether a connection has carried a request before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    Fresh,
    Pooled,
}

/// Opens connections to the same remote whatever the URL says.
#[derive(Debug)]
pub(super) struct LinkConnector {
    pub(super) dialer: Arc<Dialer>,
    pub(super) cancelled: Arc<AtomicBool>,
}

/// A request that waits for its connection.
struct Waiting<'a> {
    details: &'a ConnectionDetails<'a>,
    cancelled: &'a AtomicBool,
}

impl Caller for Waiting<'_> {
    fn has_left(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    fn watch(&self, link: &Arc<Link>) -> Result<(), DialError> {
        let handle: Arc<dyn ShutdownHandle> = Arc::<Link>::clone(link);
        let registered = (self.details.register_shutdown)(Arc::downgrade(&handle));
        registered.map_err(|_| DialError::Cancelled)
    }
}

impl Connector for LinkConnector {
    type Out = LinkTransport;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _chained: Option<()>,
    ) -> Result<Option<LinkTransport>, ureq::Error> {
        let left = Deadline::of(details.timeout).left()?;
        let caller = Waiting {
            details,
            cancelled: &self.cancelled,
        };
        let link = self.dialer.dial(left, &caller);
        let link = link.map_err(|error| ureq::Error::Other(Box::new(error)))?;
        let config = details.config;
        Ok(Some(LinkTransport {
            link,
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
            sent: 0,
            state: State::Sending(Age::Fresh),
        }))
    }
}

/// There is nothing to resolve; ureq wants an address all the same.
#[derive(Debug)]
pub(super) struct NoResolver;

impl Resolver for NoResolver {
    fn resolve(
        &self,
        _uri: &Uri,
        _config: &ureq::config::Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        addresses.push(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        Ok(addresses)
    }
}

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A request is being written.
    Sending(Age),
    /// Something was read since the last write: the next write begins another request.
    Answering,
    /// The server answered and closed before it had read the whole request. The rest of the request is
    /// thrown away, so that ureq gets to read the answer.
    Refused,
}

/// One connection. See ureq's `TcpTransport`, which this follows.
pub(super) struct LinkTransport {
    link: Arc<Link>,
    buffers: LazyBuffers,
    /// Bytes of the current request written so far.
    sent: usize,
    state: State,
}

impl LinkTransport {
    fn write(&mut self, amount: usize, deadline: Deadline) -> Result<(), ureq::Error> {
        let mut from = 0;
        while from < amount {
            self.link.set_write_timeout(deadline.left()?)?;
            let output = self.buffers.output();
            match self.link.write(&output[from..amount]) {
                Ok(0) => return self.broken(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    from += written;
                    self.sent += written;
                }
                Err(error) if interrupted(&error) => {}
                Err(error) if timed_out(&error) => return Err(deadline.passed()),
                Err(error) => return self.broken(error),
            }
        }
        Ok(())
    }

    /// What a failed write means: nothing was sent, or the server may have left an answer.
    fn broken(&mut self, source: io::Error) -> Result<(), ureq::Error> {
        if let (0, State::Sending(connection)) = (self.sent, self.state) {
            return Err(ureq::Error::Other(Box::new(NothingSent {
                source,
                connection,
            })));
        }
        let answer = self.link.read_at_once(self.buffers.input_append_buf());
        match answer {
            Ok(amount) if amount > 0 => {
                self.buffers.input_appended(amount);
                self.state = State::Refused;
                Ok(())
            }
            _ => Err(source.into()),
        }
    }
}

impl Transport for LinkTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        match self.state {
            State::Refused => return Ok(()),
            State::Answering => {
                self.sent = 0;
                self.state = State::Sending(Age::Pooled);
            }
            State::Sending(_) => {}
        }
        self.write(amount, Deadline::of(timeout.for_write()))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        if self.state != State::Refused {
            self.state = State::Answering;
        }
        let deadline = Deadline::of(timeout.for_read());
        loop {
            self.link.set_read_timeout(deadline.left()?)?;
            match self.link.read(self.buffers.input_append_buf()) {
                Ok(amount) => {
                    self.buffers.input_appended(amount);
                    return Ok(amount > 0);
                }
                Err(error) if interrupted(&error) => {}
                Err(error) if timed_out(&error) => return Err(deadline.passed()),
                // The answer is in the buffer already; the rest of the connection is an error.
                Err(_) if self.state == State::Refused => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Looks for the end that an idle connection may have come to, without waiting.
    fn is_open(&mut self) -> bool {
        let seen = || self.link.read_at_once(&mut [0]);
        self.state != State::Refused
            && seen().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl fmt::Debug for LinkTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkTransport")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// A signal handler ran: not an error, and not retried by the system where a timeout is set.
fn interrupted(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted
}

fn timed_out(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}
