//! What all packages of malleus share, without knowledge of servers and playbooks.

pub mod atomic_file;
pub mod clock;
pub mod duration;
pub mod fault;
pub mod percent;
pub mod private;
pub mod secret;
pub mod source_file;
pub mod text_file;
