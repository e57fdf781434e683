//! `{file: PATH}` in the place of a text.

use std::path::Path;

use super::files::instead_of;
use super::{Builder, entries, flag};
use crate::playbook::document::has_template;
use crate::playbook::grammar::FILE;
use crate::template::{FileText, Rendering, Template, read_text};
use malleus_api::bodies::Schema;
use malleus_source::diagnostic::{Diagnostic, did_you_mean};
use malleus_source::yaml::{Kind, Node};
use malleus_source::{Place, Source, Span};

/// Whether a mapping stands for the content of a file.
pub(super) fn is_file(node: &Node) -> bool {
    node.get("file").is_some()
}

impl Builder<'_> {
    /// A text, or the content of a file.
    pub(super) fn long_text(&mut self, node: &Node) -> Template {
        if is_file(node) {
            self.file(node)
        } else {
            self.template(node)
        }
    }

    /// Names with texts.
    pub(super) fn texts(&mut self, node: Option<&Node>) -> Vec<(String, Template)> {
        entries(node)
            .iter()
            .map(|(key, value)| (key.text.clone(), self.long_text(value)))
            .collect()
    }

    /// Puts files in the places of a body where the API has text.
    pub(super) fn files_in(
        &mut self,
        node: &Node,
        template: &mut Template,
        (schema, place): (&Schema, &mut Vec<String>),
    ) {
        match (&node.kind, template) {
            (Kind::Map(_), template) if is_file(node) && schema.is_text(place) => {
                self.judge_file(node);
                *template = self.file(node);
            }
            (Kind::Map(entries), Template::Map(templates, _)) => {
                for ((key, value), (_, template)) in entries.iter().zip(templates) {
                    place.push(key.text.clone());
                    self.files_in(value, template, (schema, place));
                    place.pop();
                }
            }
            (Kind::List(items), Template::List(templates, _)) => {
                for (index, (item, template)) in items.iter().zip(templates).enumerate() {
                    place.push(index.to_string());
                    self.files_in(item, template, (schema, place));
                    place.pop();
                }
            }
            _ => {}
        }
    }

    /// What the grammar judges elsewhere: a body has no grammar.
    fn judge_file(&mut self, node: &Node) {
        for (key, value) in entries(Some(node)) {
            let problem = match (key.text.as_str(), &value.kind) {
                ("file", Kind::Text(_)) | ("template", Kind::Bool(_)) => continue,
                ("file", _) => self.problem(value.span, "`file` must be text"),
                ("template", _) => self.problem(value.span, "`template` must be `true` or `false`"),
                (name, _) => {
                    let help = did_you_mean(name, FILE.keys.iter().map(|key| key.name));
                    let problem =
                        self.problem(key.span, format!("unknown key `{name}` in {}", FILE.what));
                    problem.help = Some(help).filter(|help| !help.is_empty());
                    problem
                }
            };
            problem
                .notes
                .push("a mapping with `file` is the content of that file here".into());
        }
    }

    /// The content of a file. One that is there before the run is looked at here.
    fn file(&mut self, node: &Node) -> Template {
        let rendering = if flag(node, "template") {
            Rendering::Templates
        } else {
            Rendering::AsWritten
        };
        let name = node.get("file").unwrap_or(node);
        let mut file = FileText {
            path: self.template(name),
            rendering,
            content: None,
            span: name.span,
        };
        if let Some(written) = name.as_text().filter(|written| !has_template(written)) {
            let path = self.source.folder().join(written);
            // An earlier step may make it.
            let is_made = self
                .saved
                .iter()
                .any(|saved| written.starts_with(saved.as_str()));
            match read_text(&path) {
                Ok(text) if rendering == Rendering::Templates => {
                    self.file_with_templates(&mut file, (&path, text), name.span);
                }
                Err(message) if !is_made => {
                    self.problem(name.span, message).help = Some(instead_of(written, &path));
                }
                _ => {}
            }
        }
        Template::File(Box::new(file))
    }

    fn file_with_templates(
        &mut self,
        file: &mut FileText,
        (path, text): (&Path, String),
        span: Span,
    ) {
        let source = Source::new(path, text);
        match FileText::templates(&source, span) {
            Ok(text) => file.content = Some(text),
            Err(error) => {
                let whole = Span::new(0, 0);
                let inside = error
                    .range
                    .map_or(whole, |range| Span::new(range.start, range.end));
                self.problems.push(
                    Diagnostic::error(error.message)
                        .at(Place::new(&source, inside), "")
                        .at(Place::new(self.source, span), "rendered because of this")
                        .help(super::BRACES),
                );
            }
        }
    }
}
