//! Turns events into text. Knows neither the client nor how steps run.

mod human;
pub mod outputs;

pub use human::{Human, Terminal, Verbosity};
