//! What the REST APIs of LXD and Incus are, without I/O: used by the client, the language and the runner.
//!
//! | module | knows |
//! | --- | --- |
//! | [`path`] | what a path addresses |
//! | [`catalog`] | kinds of resources: how each is named, changed, marked, told apart, removed |
//! | [`compare`], [`write`](mod@write) | where a resource is not as it should be, and the request that changes it |
//! | [`endpoints`], [`bodies`] | which paths, methods and keys which servers take |
//! | [`messages`] | what daemons say, by meaning |
//! | [`operation`] | what an operation acts on, whether it ends by itself |
//! | [`flavor`] | what differs between LXD and Incus |
//!
//! The simulated daemon does not use it: it is the independent witness, with a catalogue of its own.

pub mod bodies;
pub mod catalog;
pub mod compare;
pub mod endpoints;
pub mod flavor;
pub mod messages;
pub mod operation;
pub mod path;
mod servers;
pub mod write;

pub use catalog::{Kind, Wave};
pub use flavor::Flavor;
pub use messages::{Meaning, means};
pub use path::ApiPath;
pub use servers::Servers;
