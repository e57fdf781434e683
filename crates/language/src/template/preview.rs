//! What can be rendered before a run: the parts whose names are known, the others as they are written.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{Engine, Renderer, Scope, Template, Usage, engine};
use malleus_source::Source;

/// Stands where a secret would.
const HIDDEN: &str = "***";

/// Renders what is known. A part that uses a hidden name is `***`, known or not.
#[derive(Debug, Default)]
pub struct Preview {
    scope: Scope,
    hidden: HashSet<String>,
}

impl Preview {
    /// Makes a name's value known.
    pub fn bind(&self, name: &str, value: &Value) {
        self.scope.bind(name, value);
    }

    /// Hides what is made of a name.
    pub fn hide(&mut self, name: &str) {
        self.hidden.insert(name.to_owned());
    }

    /// The names that are known, with an engine and a file to render with.
    pub fn with<'a>(&'a self, engine: &'a Engine, source: &'a Source) -> Previewer<'a> {
        Previewer {
            preview: self,
            renderer: engine.with(source, &self.scope),
        }
    }

    fn state(&self, usage: &Usage) -> State {
        let mut names = usage.names.iter().map(|used| used.name.as_str());
        if names.clone().any(|name| self.hidden.contains(name)) {
            State::Hidden
        } else if names.all(|name| self.scope.get(name).is_some()) {
            State::Known
        } else {
            State::Unknown
        }
    }
}

/// What is to be shown of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Known,
    Unknown,
    Hidden,
}

/// A [`Preview`] of one file's templates.
#[derive(Debug, Clone, Copy)]
pub struct Previewer<'a> {
    preview: &'a Preview,
    renderer: Renderer<'a>,
}

impl Previewer<'_> {
    /// Whether something hidden is part of a value.
    pub fn hides(&self, template: &Template) -> bool {
        match template {
            Template::Literal(..) => false,
            Template::Value(expr) => {
                self.preview.state(&Usage::of_expression(expr.code())) == State::Hidden
            }
            Template::Text(text) => {
                self.preview.state(&Usage::of_text(text.code())) == State::Hidden
            }
            Template::List(items, _) => items.iter().any(|item| self.hides(item)),
            Template::Map(entries, _) => entries
                .iter()
                .any(|(key, value)| self.hides(key) || self.hides(value)),
            Template::File(file) => {
                let content = file.content.as_ref();
                self.hides(&file.path)
                    || content.is_some_and(|text| {
                        self.preview.state(&Usage::of_text(text.code())) == State::Hidden
                    })
            }
        }
    }

    /// The value as it will be, if all of it is known.
    pub fn known(&self, template: &Template) -> Option<Value> {
        let is_known = match template {
            Template::Literal(..) => true,
            Template::Value(expr) => {
                self.preview.state(&Usage::of_expression(expr.code())) == State::Known
            }
            Template::Text(text) => {
                self.preview.state(&Usage::of_text(text.code())) == State::Known
            }
            Template::List(items, _) => items.iter().all(|item| self.known(item).is_some()),
            Template::Map(entries, _) => entries
                .iter()
                .all(|(key, value)| self.known(key).is_some() && self.known(value).is_some()),
            // It may be written by the run.
            Template::File(_) => false,
        };
        if is_known {
            self.renderer.value(template).ok()
        } else {
            None
        }
    }

    /// A value.
    pub fn value(&self, template: &Template) -> Value {
        match template {
            Template::Literal(value, _) => value.clone(),
            Template::Value(expr) => match self.preview.state(&Usage::of_expression(expr.code())) {
                State::Hidden => HIDDEN.into(),
                State::Known => self
                    .renderer
                    .eval(expr)
                    .unwrap_or_else(|_| template.written().into()),
                State::Unknown => template.written().into(),
            },
            Template::Text(text) => self.pieces(engine::TEXT, text.code()).into(),
            Template::List(items, _) => items.iter().map(|item| self.value(item)).collect(),
            Template::Map(entries, _) => entries
                .iter()
                .map(|(key, value)| (self.text(key), self.value(value)))
                .collect::<Map<_, _>>()
                .into(),
            Template::File(file) => format!("{{file: {}}}", self.text(&file.path)).into(),
        }
    }

    /// A value as text.
    pub fn text(&self, template: &Template) -> String {
        match self.value(template) {
            Value::String(text) => text,
            value => value.to_string(),
        }
    }

    /// The path of a request: what is known is percent-encoded.
    pub fn path(&self, template: &Template) -> String {
        match template {
            Template::Text(text) => self.pieces(engine::PATH, text.code()),
            whole => self.text(whole),
        }
    }

    /// Text with templates in it, each on its own.
    fn pieces(&self, kind: &'static str, code: &str) -> String {
        // Statements, and what eats the space around it, mean something together only.
        let whole = ["{%", "{#", "{{-", "-}}"];
        if whole.iter().any(|sign| code.contains(sign)) {
            return self.piece(kind, code, &Usage::of_text(code));
        }
        let mut shown = String::new();
        let mut rest = code;
        while let Some(start) = rest.find("{{") {
            let Some(end) = end_of_expression(&rest[start + 2..]) else {
                break;
            };
            let end = start + 2 + end;
            shown.push_str(&rest[..start]);
            let usage = Usage::of_expression(&rest[start + 2..end]);
            shown.push_str(&self.piece(kind, &rest[start..end + 2], &usage));
            rest = &rest[end + 2..];
        }
        shown + rest
    }

    fn piece(&self, kind: &'static str, code: &str, usage: &Usage) -> String {
        match self.preview.state(usage) {
            State::Hidden => HIDDEN.to_owned(),
            State::Known => self
                .renderer
                .piece(kind, code)
                .unwrap_or_else(|| code.to_owned()),
            State::Unknown => code.to_owned(),
        }
    }
}

/// Where the braces are that end an expression: the first ones that leave one that parses.
fn end_of_expression(text: &str) -> Option<usize> {
    text.match_indices("}}")
        .map(|(at, _)| at)
        .find(|&at| engine::parse_expression(&text[..at]).is_ok())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use malleus_source::yaml;

    fn template(source: &Source, node: &yaml::Node) -> Template {
        let mut problems = Vec::new();
        let template = Template::read(source, node, &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        template
    }

    #[test]
    fn known_parts_are_rendered_and_others_stay() {
        let mut preview = Preview::default();
        preview.bind("size", &json!(64));
        preview.bind("name", &json!("a/b"));
        preview.bind("nothing", &json!(null));
        preview.bind("token", &json!("abc"));
        preview.hide("token");
        let engine = Engine::new();
        for (yaml, value) in [
            ("\"{{ size }}\"", json!(64)),
            (
                "\"{{ size }}MiB of {{ web.size }}\"",
                json!("64MiB of {{ web.size }}"),
            ),
            (
                "{a: [\"{{ nothing }}\", \"{{ web }}\"]}",
                json!({"a": [null, "{{ web }}"]}),
            ),
            (
                "{\"user.{{ name }}\": \"{{ '}}' ~ size }}.\"}",
                json!({"user.a/b": "}}64."}),
            ),
            // A default is no answer while the name may still be bound.
            (
                "\"{{ web|default('x') }}\"",
                json!("{{ web|default('x') }}"),
            ),
            ("\"{{ range(2)|list }}\"", json!([0, 1])),
            (
                "\"{% if size %}{{ web }}{% endif %}\"",
                json!("{% if size %}{{ web }}{% endif %}"),
            ),
            ("\"{% if size %}{{ name }}{% endif %}\"", json!("a/b")),
            ("\"{{ token }}\"", json!("***")),
            (
                "\"Bearer {{ token|upper }} {{ size }}\"",
                json!("Bearer *** 64"),
            ),
            ("\"{{ size / web }}\"", json!("{{ size / web }}")),
        ] {
            let source = Source::new(Path::new("p"), yaml);
            let node = yaml::parse(&source).expect("YAML");
            let shown = preview
                .with(&engine, &source)
                .value(&template(&source, &node));
            assert_eq!(shown, value, "{yaml}");
        }
    }

    #[test]
    fn paths_are_encoded_where_they_are_known() {
        let preview = Preview::default();
        preview.bind("name", &json!("a/b"));
        preview.bind("log", &json!("/1.0/instances/web/logs/x"));
        preview.bind("empty", &json!(""));
        let engine = Engine::new();
        for (path, shown) in [
            (
                "instances/{{ name }}/{{ what }}",
                "instances/a%2Fb/{{ what }}",
            ),
            ("{{ log }}", "/1.0/instances/web/logs/x"),
            ("{{ log|path }}/x", "/1.0/instances/web/logs/x/x"),
            ("{{ other }}", "{{ other }}"),
            ("instances/{{ empty }}/x", "instances/{{ empty }}/x"),
        ] {
            let line = format!("GET {path}");
            let source = Source::new(Path::new("p"), line.clone());
            let span = malleus_source::Span::new(0, line.len());
            let template = Template::read_part(&source, (&line, 4), span, &mut Vec::new());
            assert_eq!(preview.with(&engine, &source).path(&template), shown);
        }
    }
}
