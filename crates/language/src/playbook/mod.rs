//! The playbook language: what was written, whether it holds, what will run. Knows neither HTTP nor threads.

mod check;
pub mod document;
mod endpoints;
pub mod grammar;
pub mod input;
pub mod plan;
mod schema;
mod templates;
mod words;

pub use check::{Checked, check};
pub use document::Document;
pub use input::Given;
pub use plan::Plan;
pub use schema::schema;
