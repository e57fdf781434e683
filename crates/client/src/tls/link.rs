use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::TlsError;

/// The most of one record.
const RECORD: usize = 16 << 10;

/// A TLS connection that one thread reads and another writes. Whoever waits for the network holds no lock that the other
/// needs: a server that does not read must not keep us from reading what it says.
pub(crate) struct TlsLink {
    tcp: TcpStream,
    state: Mutex<ClientConnection>,
    /// What has come from the network and is not decrypted yet. Held by whoever reads.
    incoming: Mutex<Incoming>,
    /// Held while records are written, so that they leave in order.
    writing: Mutex<()>,
}

#[derive(Default)]
struct Incoming {
    bytes: Vec<u8>,
    taken: usize,
}

/// Why a handshake did not end well.
pub(crate) enum HandshakeError {
    Io(io::Error),
    TlsError(TlsError),
}

impl TlsLink {
    /// Nothing is sent before [`TlsLink::handshake`].
    pub(crate) fn new(
        tcp: TcpStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, TlsError> {
        let state = ClientConnection::new(config, name).map_err(|error| TlsError::of(&error))?;
        Ok(Self {
            tcp,
            state: Mutex::new(state),
            incoming: Mutex::default(),
            writing: Mutex::default(),
        })
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    fn state(&self) -> MutexGuard<'_, ClientConnection> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes sure of the server, until a moment.
    pub(crate) fn handshake(&self, until: Instant) -> Result<(), HandshakeError> {
        let mut state = self.state();
        loop {
            self.limit(until).map_err(HandshakeError::Io)?;
            while state.wants_write() {
                state
                    .write_tls(&mut &self.tcp)
                    .map_err(HandshakeError::Io)?;
            }
            if !state.is_handshaking() {
                break;
            }
            match state.read_tls(&mut &self.tcp) {
                Ok(0) => return Err(HandshakeError::Io(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(HandshakeError::Io(error)),
            }
            if let Err(error) = state.process_new_packets() {
                // Tells the server why; it does not matter whether it listens.
                let _ = state.write_tls(&mut &self.tcp);
                return Err(HandshakeError::TlsError(TlsError::of(&error)));
            }
        }
        drop(state);
        let endless = self.tcp.set_read_timeout(None);
        endless
            .and_then(|()| self.tcp.set_write_timeout(None))
            .map_err(HandshakeError::Io)
    }

    /// Lets reads and writes wait until then at most.
    pub(crate) fn limit(&self, until: Instant) -> io::Result<()> {
        let left = until.saturating_duration_since(Instant::now());
        if left == Duration::ZERO {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.tcp.set_read_timeout(Some(left))?;
        self.tcp.set_write_timeout(Some(left))
    }

    /// Reads what has been decrypted, or waits once for the network. Where that brings no more than a part of a record, the
    /// read is interrupted: the caller has to look at its limit, which a record that comes byte by byte must not outlast.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        let mut has_waited = false;
        loop {
            match self.state().reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            if incoming.taken == incoming.bytes.len() {
                if has_waited {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                has_waited = true;
                incoming.receive(&self.tcp)?;
            }
            self.decrypt(&mut incoming)?;
        }
    }

    /// Decrypts some of what has come: never more than was read before, which has room for one record.
    fn decrypt(&self, incoming: &mut Incoming) -> io::Result<()> {
        let mut state = self.state();
        incoming.taken += state.read_tls(&mut &incoming.bytes[incoming.taken..])?;
        let processed = state.process_new_packets();
        processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let answers = state.wants_write();
        drop(state);
        if answers { self.flush() } else { Ok(()) }
    }

    /// Writes one record. One that did not leave as a whole is worthless to the server.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let turn = self.turn();
        let amount = bytes.len().min(RECORD);
        self.state().writer().write_all(&bytes[..amount])?;
        self.flush_in(&turn)?;
        Ok(amount)
    }

    fn flush(&self) -> io::Result<()> {
        let turn = self.turn();
        self.flush_in(&turn)
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush_in(&self, _turn: &MutexGuard<'_, ()>) -> io::Result<()> {
        let mut records = Vec::new();
        let mut state = self.state();
        while state.wants_write() {
            state.write_tls(&mut records)?;
        }
        drop(state);
        (&mut &self.tcp).write_all(&records)
    }
}

impl Incoming {
    /// Waits for more; nothing at all is the end.
    fn receive(&mut self, mut tcp: &TcpStream) -> io::Result<()> {
        self.taken = 0;
        self.bytes.resize(RECORD, 0);
        let read = tcp.read(&mut self.bytes);
        self.bytes.truncate(*read.as_ref().unwrap_or(&0));
        read.map(|_| ())
    }
}

impl fmt::Debug for TlsLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsLink")
            .field("tcp", &self.tcp)
            .finish_non_exhaustive()
    }
}

impl Drop for TlsLink {
    /// Says farewell, so that the server does not take the end for a fault.
    fn drop(&mut self) {
        self.state().send_close_notify();
        let _ = self.tcp.set_nonblocking(true);
        let _ = self.flush();
    }
}
