//! Which names mean which servers: malleus's own remotes, and those of the `incus` and `lxc` clients as they are.
//!
//! The clients' configuration is only read. A name is looked for among malleus's own remotes first; `incus:NAME` and
//! `lxc:NAME` are the clients' own. What a remote is called in journals ([`Remote`](malleus_client::Remote)'s text) finds the
//! same certificate and pin again.

mod catalog;
mod detect_flavor;
mod enrol;
mod entry;
mod error;
mod own;
mod resolve;

pub use catalog::Catalog;
pub use enrol::{Added, Addition, Way, enrol};
pub use entry::{Entry, Origin, Pin, Place};
pub use error::RemotesError;
pub use own::Own;
pub use resolve::{Resolved, resolve};

/// Reads a variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;
