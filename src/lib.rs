//! malleus runs declarative playbooks against the REST APIs of LXD and Incus.

pub mod client;
pub mod diagnostic;
pub mod duration;
pub mod playbook;
pub mod report;
pub mod run;
pub mod secret;
pub mod source;
pub mod template;
pub mod yaml;
