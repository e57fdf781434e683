//! Text with positions: source files, the one renderer of problems, and the YAML reader.

pub mod diagnostic;
mod source;
pub mod yaml;

pub use source::{LineColumn, Place, Source, Span};
