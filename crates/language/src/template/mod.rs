//! Templates and expressions: one language for paths, bodies, conditions, captures and expectations.
//!
//! The only room that names minijinja. A string that is exactly one `{{ … }}` becomes the value itself; anything
//! else is text. What was rendered is never parsed again.

mod bounds;
mod engine;
mod file;
mod filters;
mod length;
mod names;
mod path;
mod pattern;
mod preview;
mod scope;
mod strict;
mod taint;
mod tree;

pub use engine::{Engine, Error, Renderer, TemplateError, describe};
pub use file::read_text;
pub use names::{Compared, FUNCTIONS, NameUse, Usage, filter_names};
pub use path::judge as judge_path;
pub use pattern::Pattern;
pub use preview::{Preview, Previewer};
pub use scope::Scope;
pub use tree::{Expr, FileText, Rendering, Template, Text};
