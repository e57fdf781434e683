//! A playbook as it was written, with positions, and whether it follows the [`grammar`](super::grammar).

use std::fmt::Arguments;
use std::sync::Arc;

use super::grammar::{ACTIONS, FILE, Key, Kind, Need, STEP, Shape, Type};
use super::{foreign, words};
use crate::template;
use malleus_core::duration;
use malleus_source::diagnostic::{Diagnostic, did_you_mean, nearest};
use malleus_source::yaml::{self, Node};
use malleus_source::{Place, Source, Span};

pub use super::words::is_name;

/// A file's content, as written.
#[derive(Debug)]
pub struct Document {
    /// The file.
    pub source: Arc<Source>,
    /// Its content.
    pub root: Node,
}

impl Document {
    /// Reads a file's text.
    ///
    /// # Errors
    /// Where the text is not YAML that means what it says.
    pub fn parse(source: &Arc<Source>) -> Result<Self, Vec<Diagnostic>> {
        yaml::parse(source).map(|root| Self {
            source: Arc::clone(source),
            root,
        })
    }

    /// All places where the document does not follow the grammar.
    pub fn judge(&self) -> Vec<Diagnostic> {
        let mut judge = Judge {
            source: &self.source,
            problems: Vec::new(),
        };
        let playbook = &super::grammar::PLAYBOOK;
        let entries = self.root.as_map().unwrap_or_default();
        let is_known = |key: &yaml::Key| playbook.keys.iter().any(|known| known.name == key.text);
        if !entries.is_empty() && !entries.iter().any(|(key, _)| is_known(key)) {
            judge
                .problem(self.root.span, "this is no playbook", "")
                .help = Some(
                "a playbook is a mapping that begins with `playbook: 1`, and has a `name` and `steps`".into(),
            );
            return judge.problems;
        }
        judge.shape(&self.root, playbook);
        judge.problems
    }
}

struct Judge<'a> {
    source: &'a Arc<Source>,
    problems: Vec<Diagnostic>,
}

impl Judge<'_> {
    fn place(&self, span: Span) -> Place {
        Place::new(self.source, span)
    }

    fn problem(
        &mut self,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> &mut Diagnostic {
        let problem = Diagnostic::error(message).at(self.place(span), label);
        self.problems.push(problem);
        let last = self.problems.len() - 1;
        &mut self.problems[last]
    }

    /// Whether a node could be of a kind, by a look from outside: enough to choose between alternatives.
    fn fits(node: &Node, kind: &Kind) -> bool {
        match kind {
            Kind::Fixed(Type::Expression) => {
                matches!(node.kind, yaml::Kind::Text(_) | yaml::Kind::Bool(_))
            }
            Kind::Fixed(_) | Kind::Dynamic(_) => {
                node.as_list().is_none() && node.as_map().is_none()
            }
            Kind::Free => true,
            Kind::List(_) | Kind::Steps => node.as_list().is_some(),
            Kind::ListOrTemplate(_) => {
                node.as_list().is_some() || node.as_text().is_some_and(is_one_template)
            }
            Kind::OneOrMore(of) => node.as_list().is_some() || Self::fits(node, of),
            // Any other mapping in the place of a text is no misspelt file.
            Kind::Shape(shape) if shape.what == FILE.what => node.get("file").is_some(),
            Kind::Entries(_) | Kind::Names(_) | Kind::Shape(_) => node.as_map().is_some(),
            Kind::Either(kinds) => kinds.iter().any(|kind| Self::fits(node, kind)),
            Kind::OneOrMoreSteps => node.as_list().is_some() || node.as_map().is_some(),
        }
    }

    fn kind(&mut self, node: &Node, kind: &Kind, what: Arguments<'_>) {
        if !Self::fits(node, kind) {
            self.wrong_kind(node, kind, what);
            return;
        }
        match kind {
            Kind::Fixed(wanted) => self.fixed(node, *wanted, what),
            Kind::Dynamic(wanted) => {
                if !node.as_text().is_some_and(has_template) {
                    self.fixed(node, *wanted, what);
                }
            }
            Kind::Free => {}
            Kind::List(of) | Kind::ListOrTemplate(of) => node
                .as_list()
                .unwrap_or_default()
                .iter()
                .for_each(|item| self.kind(item, of, format_args!("each item of {what}"))),
            Kind::OneOrMore(of) => match node.as_list() {
                Some(items) => items
                    .iter()
                    .for_each(|item| self.kind(item, of, format_args!("each item of {what}"))),
                None => self.kind(node, of, what),
            },
            Kind::Entries(of) => {
                for (key, value) in node.as_map().unwrap_or_default() {
                    self.kind(value, of, format_args!("`{}`", key.text));
                }
            }
            Kind::Names(of) => {
                for (key, value) in node.as_map().unwrap_or_default() {
                    if !is_name(&key.text) {
                        let label = if words::is_keyword(&key.text) {
                            "a word of the expression language"
                        } else {
                            "a name has letters, digits and `_`, and begins with a letter"
                        };
                        let message = format!("`{}` cannot be a name in expressions", key.text);
                        self.problem(key.span, message, label).help = words::name_for(&key.text);
                    }
                    self.kind(value, of, format_args!("`{}`", key.text));
                }
            }
            Kind::Shape(shape) => self.shape(node, shape),
            Kind::Either(kinds) => {
                if let Some(kind) = kinds.iter().find(|kind| Self::fits(node, kind)) {
                    self.kind(node, kind, what);
                }
            }
            Kind::Steps => self.steps(node),
            Kind::OneOrMoreSteps => match node.as_list() {
                Some(_) => self.steps(node),
                None => self.shape(node, &STEP),
            },
        }
    }

    fn steps(&mut self, node: &Node) {
        for item in node.as_list().unwrap_or_default() {
            if item.as_map().is_some() {
                self.shape(item, &STEP);
            } else {
                let line = item
                    .as_text()
                    .filter(|line| words::begins_with_method(line));
                let help = line.map(|line| format!("write `- request: {line}`"));
                self.problem(
                    item.span,
                    format!("a step is a mapping{}", words::instead(item)),
                    "",
                )
                .help = help;
            }
        }
    }

    fn wrong_kind(&mut self, node: &Node, kind: &Kind, what: Arguments<'_>) {
        let message = format!(
            "{what} must be {}{}",
            words::describe(kind),
            words::instead(node)
        );
        let help = match (kind, &node.kind) {
            (Kind::List(_) | Kind::ListOrTemplate(_), yaml::Kind::Text(text))
                if has_template(text) =>
            {
                Some("write a list, or exactly one template that gives a list".to_owned())
            }
            (Kind::List(_) | Kind::ListOrTemplate(_), yaml::Kind::Text(text)) => {
                let words: Vec<&str> = text.split_whitespace().collect();
                Some(format!("write it as a list: [{}]", words.join(", ")))
            }
            (Kind::Steps, yaml::Kind::Map(_)) => Some("begin each step with `- `".to_owned()),
            _ => None,
        };
        self.problem(node.span, message, "").help = help;
    }

    fn fixed(&mut self, node: &Node, wanted: Type, what: Arguments<'_>) {
        let is_prose = matches!(wanted, Type::Text | Type::Scalar | Type::Expression);
        if !is_prose && node.as_text().is_some_and(has_template) {
            let message =
                format!("{what} must be known before the run; templates are not rendered here");
            self.problem(node.span, message, "");
            return;
        }
        let found = match (wanted, &node.kind) {
            // A fraction would be rewritten as text: `1.10` and `1.1` are one number but two texts.
            (Type::Integer | Type::Scalar, yaml::Kind::Number(number)) => !number.is_f64(),
            (Type::Boolean | Type::Expression | Type::Scalar, yaml::Kind::Bool(_))
            | (Type::Text | Type::Scalar, yaml::Kind::Text(_)) => true,
            (Type::Duration, yaml::Kind::Text(text)) => return self.duration(text, node.span),
            (Type::Duration, yaml::Kind::Number(number)) => {
                self.problem(node.span, format!("{what} must have a unit of time"), "")
                    .help = Some(format!(
                    "write `{number}s` for seconds or `{number}ms` for milliseconds"
                ));
                return;
            }
            (Type::Name, yaml::Kind::Text(text)) => is_name(text),
            (Type::Slug, yaml::Kind::Text(text)) => words::is_slug(text),
            (Type::Expression, yaml::Kind::Text(text)) => return self.expression(text, node.span),
            (Type::Word(words), yaml::Kind::Text(text)) => {
                if !words.contains(&text.as_str()) {
                    let help = did_you_mean(text, words.iter().copied());
                    let message = format!(
                        "{what} must be {}, not `{text}`",
                        words::describe_type(wanted)
                    );
                    self.problem(node.span, message, "").help =
                        Some(help).filter(|help| !help.is_empty());
                }
                return;
            }
            _ => false,
        };
        if !found {
            let is = node
                .as_text()
                .map_or_else(|| words::instead(node), |text| format!(", not `{text}`"));
            let message = format!("{what} must be {}{is}", words::describe_type(wanted));
            let help = match (what.to_string().as_str(), &node.kind) {
                ("`mode`", yaml::Kind::Number(_)) => {
                    Some(words::mode(self.source.slice(node.span)))
                }
                ("`error`", yaml::Kind::Bool(_)) => {
                    Some("write a part of the error's text, or \"\" for any error".into())
                }
                _ => words::mend(self.source, node, wanted),
            };
            self.problem(node.span, message, "").help = help;
        }
    }

    fn duration(&mut self, text: &str, span: Span) {
        if let Err(message) = duration::parse(text) {
            self.problem(span, message, "");
        }
    }

    fn expression(&mut self, text: &str, span: Span) {
        let trimmed = text.trim();
        if let Some(inner) = trimmed
            .strip_prefix("{{")
            .and_then(|rest| rest.strip_suffix("}}"))
        {
            let inner = inner.replace("{{", "").replace("}}", "");
            self.problem(span, "an expression stands here, without braces", "")
                .help = Some(format!("write `{}`", inner.trim()));
            return;
        }
        if text.contains("{{") && text.contains("}}") && template::Expr::new(text, span).is_err() {
            let bare = text.replace("{{ ", "").replace(" }}", "");
            let bare = bare.replace("{{", "").replace("}}", "");
            self.problem(span, "an expression stands here, without braces", "")
                .help = Some(format!("write `{}`", bare.trim()));
            return;
        }
        if let Err(error) = template::Expr::new(text, span) {
            let span = error
                .range
                .map_or(span, |range| yaml::within(self.source, span, text, range));
            let message = error.message.replace(
                "the template does not parse",
                "the expression does not parse",
            );
            let help = words::operator(self.source.text(), span.start);
            self.problem(span, message, "").help = help;
        }
    }

    fn shape(&mut self, node: &Node, shape: &Shape) {
        let Some(entries) = node.as_map() else {
            let message = format!("{} is a mapping{}", shape.what, words::instead(node));
            self.problem(node.span, message, "");
            return;
        };
        if shape.what == STEP.what {
            self.empty_body(entries);
        }
        for (key, value) in entries {
            match shape.keys.iter().find(|known| known.name == key.text) {
                Some(known) => self.kind(value, &known.kind, format_args!("`{}`", key.text)),
                None => self.unknown(node, key, shape),
            }
        }
        for missing in shape
            .keys
            .iter()
            .filter(|key| key.need == Need::Required && node.get(key.name).is_none())
            .filter(|key| !misspelt(node, shape, key.name))
        {
            self.missing(node, shape, missing);
        }
    }

    /// `body:` with nothing below it, and its content in the columns of the step.
    fn empty_body(&mut self, entries: &[(yaml::Key, Node)]) {
        for (at, (key, value)) in entries.iter().enumerate() {
            let is_empty = value.kind == yaml::Kind::Null && value.span.start == value.span.end;
            if key.text == "body" && is_empty {
                let help = match entries.get(at + 1) {
                    Some((next, _)) => format!(
                        "indent what belongs to it deeper than `body`, as `{}` if that is meant; an empty body is `{{}}`",
                        next.text
                    ),
                    None => "write what is sent below it; an empty body is `{}`".into(),
                };
                self.problem(key.span, "`body` is empty", "").help = Some(help);
            }
        }
    }

    fn missing(&mut self, node: &Node, shape: &Shape, missing: &Key) {
        let message = format!("{} needs `{}`", shape.what, missing.name);
        self.problem(node.span, message, "").help = Some(missing.doc.into());
    }

    fn unknown(&mut self, node: &Node, key: &yaml::Key, shape: &Shape) {
        let known = || shape.keys.iter().map(|known| known.name);
        let message = format!("unknown key `{}` in {}", key.text, shape.what);
        let help = empty_before(node, key)
            .map(|empty| format!("`{empty}` above is empty: indent what belongs to it"))
            .or_else(|| foreign::cure(&key.text, shape).map(str::to_owned))
            .or_else(|| Some(did_you_mean(&key.text, known())).filter(|help| !help.is_empty()))
            .unwrap_or_else(|| {
                let is_step = shape.what == STEP.what;
                let has_action = is_step && node.as_map().is_some_and(has_action);
                let names: Vec<String> = if is_step && !has_action {
                    ACTIONS
                        .iter()
                        .map(|action| format!("`{}`", action.name))
                        .collect()
                } else {
                    known()
                        .filter(|name| !is_step || is_of_every_step(name))
                        .map(|name| format!("`{name}`"))
                        .collect()
                };
                match (is_step, has_action) {
                    (true, false) => format!("the actions are {}", names.join(", ")),
                    (true, true) => format!("the keys of every step are {}", names.join(", ")),
                    _ => format!("known here: {}", names.join(", ")),
                }
            });
        self.problem(key.span, message, "").help = Some(help);
    }
}

/// The key before this one, if it has no value: this one may have been meant to be in it.
fn empty_before<'a>(node: &'a Node, key: &yaml::Key) -> Option<&'a str> {
    let entries = node.as_map()?;
    let at = entries.iter().position(|(known, _)| known == key)?;
    let (before, value) = entries[..at]
        .iter()
        .rev()
        .find(|(_, value)| value.kind == yaml::Kind::Null && value.span.start == value.span.end)?;
    (value.kind == yaml::Kind::Null).then_some(before.text.as_str())
}

fn has_action(entries: &[(yaml::Key, Node)]) -> bool {
    entries
        .iter()
        .any(|(key, _)| ACTIONS.iter().any(|action| action.name == key.text))
}

/// Whether a key means something for each action.
fn is_of_every_step(name: &str) -> bool {
    ACTIONS
        .iter()
        .all(|action| action.name != name && !action.companions.contains(&name))
}

/// Whether an unknown key of a mapping is meant to be `wanted`: that it is missing need not be said then.
pub fn misspelt(node: &Node, shape: &Shape, wanted: &str) -> bool {
    let known = || shape.keys.iter().map(|known| known.name);
    node.as_map().unwrap_or_default().iter().any(|(key, _)| {
        known().all(|name| name != key.text) && nearest(&key.text, known()) == Some(wanted)
    })
}

/// The mode that octal digits such as `0644` mean.
pub fn octal(text: &str) -> Option<u32> {
    let fits = (1..=5).contains(&text.len());
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| fits && *mode <= 0o7777)
}

/// Whether text is exactly one `{{ … }}`, whose value may be a list.
pub fn is_one_template(text: &str) -> bool {
    text.starts_with("{{") && text.ends_with("}}") && text.matches("{{").count() == 1
}

/// Whether text has something to render in it.
pub fn has_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}
