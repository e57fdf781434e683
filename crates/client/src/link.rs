//! One connection to a server, whatever it goes through.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ureq::unversioned::transport::ShutdownHandle;

use super::tls::TlsLink;

/// A connection. One thread may read while another writes.
#[derive(Debug)]
pub(super) enum Link {
    Unix(UnixStream),
    Tls(Box<TlsLink>),
}

impl Link {
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => (&mut &*stream).read(buffer),
            Self::Tls(link) => link.read(buffer),
        }
    }

    /// Writes some of the bytes, of TLS whole records: those that fail have not arrived.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => (&mut &*stream).write(bytes),
            Self::Tls(link) => link.write(bytes),
        }
    }

    pub(super) fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn set_read_timeout(&self, after: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.set_read_timeout(after),
            Self::Tls(link) => link.tcp().set_read_timeout(after),
        }
    }

    pub(super) fn set_write_timeout(&self, after: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.set_write_timeout(after),
            Self::Tls(link) => link.tcp().set_write_timeout(after),
        }
    }

    /// What can be read without waiting; [`io::ErrorKind::WouldBlock`] where nothing has come.
    pub(super) fn read_at_once(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.set_nonblocking(true)?;
        let read = loop {
            match self.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.set_nonblocking(false)?;
        read
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.set_nonblocking(nonblocking),
            Self::Tls(link) => link.tcp().set_nonblocking(nonblocking),
        }
    }

    /// Closes both directions: whoever reads or writes gets an end or an error at once.
    pub(super) fn close(&self) {
        // Fails when the other side has gone already, which is as good.
        let _ = match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
            Self::Tls(link) => link.tcp().shutdown(Shutdown::Both),
        };
    }
}

impl ShutdownHandle for Link {
    fn shutdown(&self) {
        self.close();
    }
}
