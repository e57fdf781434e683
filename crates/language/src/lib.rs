//! The language of playbooks: templates, documents, the static check, and the plans that a run carries out.
//!
//! Whether a playbook is valid is decided here alone. Nothing here sends a request or starts a thread.

pub mod playbook;
pub mod template;
