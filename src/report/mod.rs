//! Turns events into text and files, and plans into text. Knows neither the client nor how steps run.

pub mod annotations;
pub mod files;
mod html;
mod human;
mod json;
mod junit;
mod markup;
pub mod outputs;
pub mod problem;
pub mod record;
mod safe;
pub mod show;
mod table;

pub use files::Report;
pub use human::{Human, Terminal, Verbosity};
pub use record::{Collector, Record};
