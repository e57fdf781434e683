//! TLS below HTTP and websockets: who the server must be, who we are, and the encrypted connection.
//!
//! Nothing but the handshake leaves this machine before the server is verified. TLS 1.3 only, as servers of LXD and Incus do.

mod config;
mod fingerprint;
mod identity;
mod link;
mod verifier;

pub use fingerprint::Fingerprint;
pub use identity::{Certificate, Identity};
pub use verifier::{TlsError, Trust};

pub(super) use config::{client_config, server_name};
pub(super) use link::{HandshakeError, TlsLink};
pub(super) use verifier::{Recorder, Rule};
