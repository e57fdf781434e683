//! Text that is the content of a file: `{file: PATH}`.

use std::path::Path;
use std::sync::Arc;

use super::tree::{Template, Text};
use super::{Error, engine};
use malleus_source::{Source, Span};

/// The content of a file beside the playbook, in the place of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct FileText {
    /// Its path, relative to the playbook.
    pub path: Template,
    /// Whether templates in it are rendered.
    pub rendering: Rendering,
    /// What stands in it, where it is known before the run and has templates.
    pub content: Option<Text>,
    /// Where the playbook names it.
    pub span: Span,
}

/// What becomes of templates in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rendering {
    /// They are text like any other.
    AsWritten,
    /// They are rendered.
    Templates,
}

/// The text of a file.
///
/// # Errors
/// Why it cannot be read, for a message.
pub fn read_text(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("there is no file `{shown}`"),
        _ => format!("cannot read `{shown}`: {error}"),
    })?;
    String::from_utf8(bytes).map_err(|_| format!("`{shown}` is not UTF-8 text"))
}

impl FileText {
    /// The templates in a file's text.
    ///
    /// # Errors
    /// Where they do not parse; the range is that in the file.
    pub fn templates(file: &Arc<Source>, span: Span) -> Result<Text, Error> {
        engine::shape(file.text())?;
        Ok(Text::of_file(file, span))
    }
}
