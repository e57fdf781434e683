//! Files for instances and from them, and what is waited for.

use std::path::Path;

use super::{Builder, entries, one_or_more, span_of_time, text};
use crate::playbook::document::{has_template, misspelt};
use crate::playbook::grammar::PUSH;
use crate::playbook::plan::{Pull, Push, PushSource, Ready, WaitFor};
use crate::template::Template;
use malleus_source::diagnostic::nearest;
use malleus_source::yaml::Node;

/// What to do about a file that cannot be read: the one of nearly its name, or where names are looked for.
pub(super) fn instead_of(written: &str, path: &Path) -> String {
    if path.is_dir() {
        return format!("`{written}` is a folder; name a file in it");
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let entries = folder.read_dir().into_iter().flatten();
    let names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let name = path.file_name().and_then(|name| name.to_str());
    let known = names.iter().map(String::as_str);
    match name.and_then(|name| nearest(name, known)) {
        Some(near) if !path.exists() => {
            let near = Path::new(written).with_file_name(near);
            format!("did you mean `{}`?", near.display())
        }
        _ => "a path is relative to the folder of the playbook".into(),
    }
}

impl Builder<'_> {
    pub(super) fn push(&mut self, node: &Node) -> Option<Push> {
        node.as_map()?;
        let source = match (node.get("content"), node.get("source")) {
            (Some(content), None) => PushSource::Content(self.long_text(content)),
            (None, Some(source)) => PushSource::Local(self.local(source)),
            (Some(_), Some(source)) => {
                self.problem(
                    source.span,
                    "`push` has either `content` or `source`, not both",
                );
                return None;
            }
            (None, None) => {
                if !misspelt(node, &PUSH, "content") && !misspelt(node, &PUSH, "source") {
                    self.problem(node.span, "`push` needs `content` or `source`")
                        .help = Some(
                        "`content` is a file's text, `source` a file or folder beside the playbook"
                            .into(),
                    );
                }
                return None;
            }
        };
        if let Some(mode) = node.get("mode") {
            self.mode(mode);
        }
        Some(Push {
            instance: self.template(node.get("instance")?),
            path: self.absolute(node.get("path")?),
            source,
            mode: node.get("mode").map(|mode| self.template(mode)),
            uid: node.get("uid").map(|uid| self.template(uid)),
            gid: node.get("gid").map(|gid| self.template(gid)),
        })
    }

    pub(super) fn pull(&mut self, node: &Node) -> Option<Pull> {
        self.saved.extend(text(node, "to"));
        Some(Pull {
            instance: self.template(node.get("instance")?),
            path: self.absolute(node.get("path")?),
            to: self.template(node.get("to")?),
        })
    }

    pub(super) fn wait_for(&mut self, node: &Node) -> Option<WaitFor> {
        let ready = node.get("ready")?;
        let conditions = one_or_more(ready);
        if conditions.is_empty() {
            self.problem(ready.span, "there is nothing to wait for");
        }
        Some(WaitFor {
            instance: self.template(node.get("instance")?),
            ready: conditions
                .iter()
                .filter_map(|condition| self.ready(condition))
                .collect(),
            within: span_of_time(node, "within"),
        })
    }

    fn ready(&mut self, node: &Node) -> Option<Ready> {
        if let Some(word) = node.as_text() {
            return Some(Ready::Word(word.to_owned()));
        }
        let [(key, value)] = entries(Some(node)) else {
            if node.as_map().is_some() {
                self.problem(
                    node.span,
                    "a condition is one word, or one of `tcp`, `exec` and `file`",
                );
            }
            return None;
        };
        match key.text.as_str() {
            "tcp" => Some(Ready::Tcp(self.template(value))),
            "file" => Some(Ready::File(self.absolute(value))),
            "exec" => self.command(value).map(Ready::Exec),
            _ => None,
        }
    }

    /// A file or folder that is there before the run, unless an earlier step makes it or its name is worked out.
    fn local(&mut self, node: &Node) -> Template {
        if let Some(name) = node.as_text().filter(|name| !has_template(name)) {
            let path = self.source.folder().join(name);
            if !self
                .saved
                .iter()
                .any(|saved| name.starts_with(saved.as_str()))
                && !path.exists()
            {
                self.problem(
                    node.span,
                    format!("there is no file or folder `{}`", path.display()),
                )
                .help = Some(instead_of(name, &path));
            }
        }
        self.template(node)
    }

    /// A path inside an instance.
    pub(super) fn absolute(&mut self, node: &Node) -> Template {
        if let Some(path) = node
            .as_text()
            .filter(|path| !path.starts_with("{{") && !path.starts_with('/'))
        {
            self.problem(node.span, format!("`{path}` is not an absolute path"))
                .help = Some("paths in an instance begin with a slash".into());
        }
        self.template(node)
    }

    fn mode(&mut self, node: &Node) {
        let Some(mode) = node.as_text().filter(|mode| !has_template(mode)) else {
            return;
        };
        match crate::playbook::document::octal(mode) {
            None => {
                self.problem(node.span, format!("`{mode}` is not a mode"))
                    .help =
                    Some("a mode is up to four octal digits in quotes, such as \"0644\"".into());
            }
            Some(bits) if bits > 0o777 => {
                self.problem(
                    node.span,
                    format!("the API cannot set the mode `{mode}`, only up to 0777"),
                )
                .help = Some("set the other bits by a command: `exec` with `chmod`".into());
            }
            Some(_) => {}
        }
    }
}
