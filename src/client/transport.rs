//! The unix socket below ureq: a connector that opens it, and a transport that tells what was sent.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, ShutdownHandle, Transport,
};

/// No connection came about.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect: {0}")]
pub(super) struct ConnectFailed(pub(super) io::Error);

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

/// Opens the same unix socket whatever the URL says.
#[derive(Debug)]
pub(super) struct UnixConnector {
    socket: PathBuf,
}

impl UnixConnector {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }
}

impl Connector for UnixConnector {
    type Out = UnixTransport;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _chained: Option<()>,
    ) -> Result<Option<UnixTransport>, ureq::Error> {
        let stream = UnixStream::connect(&self.socket)
            .map_err(|error| ureq::Error::Other(Box::new(ConnectFailed(error))))?;
        let socket = Arc::new(Socket(stream));
        let handle: Arc<dyn ShutdownHandle> = Arc::<Socket>::clone(&socket);
        (details.register_shutdown)(Arc::downgrade(&handle))?;
        let config = details.config;
        Ok(Some(UnixTransport {
            socket,
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

struct Socket(UnixStream);

impl ShutdownHandle for Socket {
    fn shutdown(&self) {
        // Fails when the other side has gone already, which is as good.
        let _ = self.0.shutdown(Shutdown::Both);
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
pub(super) struct UnixTransport {
    socket: Arc<Socket>,
    buffers: LazyBuffers,
    /// Bytes of the current request written so far.
    sent: usize,
    state: State,
}

impl UnixTransport {
    fn write(&mut self, amount: usize, deadline: Deadline) -> Result<(), ureq::Error> {
        let mut from = 0;
        while from < amount {
            self.socket.0.set_write_timeout(deadline.left()?)?;
            let output = self.buffers.output();
            match (&self.socket.0).write(&output[from..amount]) {
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
        self.socket.0.set_nonblocking(true)?;
        let answer = (&self.socket.0).read(self.buffers.input_append_buf());
        self.socket.0.set_nonblocking(false)?;
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

impl Transport for UnixTransport {
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
            self.socket.0.set_read_timeout(deadline.left()?)?;
            match (&self.socket.0).read(self.buffers.input_append_buf()) {
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
        let quiet = |stream: &UnixStream| {
            stream.set_nonblocking(true)?;
            let seen = (&mut &*stream).read(&mut [0]);
            stream.set_nonblocking(false)?;
            seen
        };
        self.state != State::Refused
            && quiet(&self.socket.0).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl fmt::Debug for UnixTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnixTransport")
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

/// ureq's relative timeout, pinned to the moment it was handed over.
#[derive(Clone, Copy)]
struct Deadline {
    at: Option<Instant>,
    reason: ureq::Timeout,
}

impl Deadline {
    fn of(timeout: NextTimeout) -> Self {
        let after = (!timeout.after.is_not_happening()).then(|| *timeout.after);
        Self {
            at: after.and_then(|after| Instant::now().checked_add(after)),
            reason: timeout.reason,
        }
    }

    /// The time left, as a socket wants it: never zero.
    fn left(&self) -> Result<Option<Duration>, ureq::Error> {
        let Some(at) = self.at else {
            return Ok(None);
        };
        match at.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(self.passed()),
            left => Ok(Some(left)),
        }
    }

    fn passed(&self) -> ureq::Error {
        ureq::Error::Timeout(self.reason)
    }
}
