//! Turns events into text, and plans. Knows neither the client nor how steps run.

mod human;
pub mod outputs;
pub mod show;

pub use human::{Human, Terminal, Verbosity};
