//! What runs the cases.

pub(crate) mod case;
pub(crate) mod daemons;
pub(crate) mod redact;
