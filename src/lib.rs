//! malleus runs declarative playbooks against the REST APIs of LXD and Incus.

pub mod client;
