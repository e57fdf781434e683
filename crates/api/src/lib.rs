//! What the REST APIs of LXD and Incus are, without I/O: used by the client, the language and the runner.

pub mod bodies;
pub mod endpoints;
mod servers;

pub use servers::Servers;
