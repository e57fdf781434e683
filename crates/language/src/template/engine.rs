//! Parses and renders.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use minijinja::machinery::{self, ast};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Output, State, UndefinedBehavior};
use serde_json::{Map, Value};

use super::file::read_text;
use super::path::{self, PathText};
use super::taint::{self, Watch};
use super::{Expr, FileText, Rendering, Scope, Template, Text, bounds, filters, length, strict};
use malleus_source::{Source, Span};

/// The name under which path templates are rendered; it switches the escaping on.
pub(super) const PATH: &str = "path";
/// The name under which other text is rendered.
pub(super) const TEXT: &str = "text";

/// Why a template does not parse or render.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What is wrong, in one line.
    pub message: String,
    /// Bytes in the template's or expression's text, where known.
    pub range: Option<Range<usize>>,
}

impl Error {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            range: None,
        }
    }

    pub(super) fn at(message: impl Into<String>, range: Range<usize>) -> Self {
        Self {
            message: message.into(),
            range: Some(range),
        }
    }

    fn from_engine(error: &minijinja::Error) -> Self {
        let detail = error.detail().map(str::to_owned);
        let message = match (error.kind(), detail) {
            (minijinja::ErrorKind::SyntaxError, Some(detail)) => {
                format!("the template does not parse: {}", plain(&detail))
            }
            (minijinja::ErrorKind::OutOfFuel, _) => {
                "the template takes too long to evaluate".into()
            }
            (
                minijinja::ErrorKind::UndefinedError | minijinja::ErrorKind::InvalidOperation,
                Some(detail),
            ) => detail,
            (kind, Some(detail)) => format!("{kind}: {detail}"),
            (kind, None) => kind.to_string(),
        };
        Self {
            message,
            range: error.range(),
        }
    }
}

/// The parser's words in those of an author.
fn plain(detail: &str) -> String {
    let detail = detail
        .replace("variable block", "`}}`")
        .replace("end of `}}`", "`}}`")
        .replace("end of block", "`{% end… %}`");
    if let Some(missing) = detail.strip_prefix("unexpected end of input, expected ") {
        return match missing {
            "expression" => "something is missing at its end".into(),
            "`,`" => "`,` or a closing bracket is missing at its end".into(),
            missing => format!("{missing} is missing at its end"),
        };
    }
    match detail.as_str() {
        "unexpected `}}`" | "unexpected end of `}}`" => "something is missing before `}}`".into(),
        "unexpected input after expression" => "it could end before this".into(),
        _ => detail,
    }
}

/// What a string is before it is rendered.
pub(super) enum Shape {
    /// No template in it.
    Plain,
    /// Exactly one `{{ … }}`; the bytes of the expression.
    Single(Range<usize>),
    /// Text and templates.
    Mixed,
}

pub(super) fn syntax() -> SyntaxConfig {
    let mut config = SyntaxConfig::builder();
    config.keep_trailing_newline(true);
    // `${#name}` in a script is no comment: nothing is taken out of a text in silence. No text can have these marks,
    // since YAML has no NUL.
    config.comment_delimiters("{#\0", "\0#}");
    config.build().unwrap_or_default()
}

/// Parses a string and says what it is.
pub(super) fn shape(text: &str) -> Result<Shape, Error> {
    if !text.contains("{{") && !text.contains("{%") {
        return Ok(Shape::Plain);
    }
    length::judge_text(text, syntax())?;
    let parsed =
        machinery::parse(text, "template", syntax()).map_err(|error| Error::from_engine(&error))?;
    let ast::Stmt::Template(template) = parsed else {
        return Ok(Shape::Mixed);
    };
    match template.children.as_slice() {
        [ast::Stmt::EmitExpr(_)] if text.starts_with("{{") && text.ends_with("}}") => {
            let inner = &text[2..text.len() - 2];
            let open = usize::from(inner.starts_with(['-', '+']));
            let close = usize::from(inner.len() > open && inner.ends_with(['-', '+']));
            Ok(Shape::Single(2 + open..text.len() - 2 - close))
        }
        _ => Ok(Shape::Mixed),
    }
}

/// Parses an expression.
pub(super) fn parse_expression(text: &str) -> Result<(), Error> {
    length::judge(text, syntax())?;
    machinery::parse_expr(text)
        .map(drop)
        .map_err(|error| Error::from_engine(&error))
}

/// Renders templates and evaluates expressions. One serves all threads.
pub struct Engine {
    environment: Environment<'static>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self::new()
    }
}

impl Engine {
    /// An engine with all filters, tests and functions of the language.
    pub fn new() -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_syntax(syntax());
        environment.set_debug(true);
        environment.set_fuel(Some(bounds::FUEL));
        environment.set_recursion_limit(64);
        environment.set_auto_escape_callback(escaping);
        environment.set_formatter(format_value);
        filters::add_to(&mut environment);
        strict::add_to(&mut environment);
        bounds::add_to(&mut environment);
        Self { environment }
    }

    /// Whether the language has a filter of this name.
    pub fn has_filter(&self, name: &str) -> bool {
        self.is(name, "filter")
    }

    /// Whether the language has a test of this name.
    pub fn has_test(&self, name: &str) -> bool {
        self.is(name, "test")
    }

    fn is(&self, name: &str, what: &str) -> bool {
        let scope = Scope::default();
        scope.bind("name", &name.into());
        self.environment
            .compile_expression(if what == "filter" {
                "name is filter"
            } else {
                "name is test"
            })
            .and_then(|expression| expression.eval(scope.context()))
            .is_ok_and(|found| found.is_true())
    }

    /// This engine with the names and the file that an evaluation needs.
    pub fn with<'a>(&'a self, source: &'a Source, scope: &'a Scope) -> Renderer<'a> {
        Renderer {
            engine: self,
            source,
            scope,
        }
    }

    fn eval(&self, code: &str, scope: &Scope) -> Result<minijinja::Value, Error> {
        let watch = scope.watch(code);
        let value = evaluate(&self.environment, code, context(scope, watch.as_ref()))
            .map_err(|error| Error::from_engine(&error))?;
        if let Some(watch) = watch {
            watch.learn(&value);
        }
        Ok(value)
    }

    #[cfg(test)]
    pub(super) fn value_of(&self, code: &str, scope: &Scope) -> Result<Value, Error> {
        self.eval(code, scope).and_then(|value| to_json(&value))
    }
}

/// The value of an expression, by the language's own operators.
fn evaluate<'e>(
    environment: &'e Environment<'e>,
    code: &'e str,
    names: minijinja::Value,
) -> Result<minijinja::Value, minijinja::Error> {
    let expression = machinery::parse_expr(code)?;
    let mut generator = machinery::CodeGenerator::new("expression", code);
    generator.compile_expr(&expression);
    let (mut instructions, _) = generator.finish();
    own_instructions(&mut instructions);
    let mut unused = String::new();
    let mut output = machinery::make_string_output(&mut unused);
    let blocks = BTreeMap::new();
    let (value, state) = machinery::eval(
        environment,
        &instructions,
        names,
        &blocks,
        &mut output,
        AutoEscape::None,
    )?;
    let value = value.unwrap_or_default();
    if bounds::is_lookup(&instructions) {
        return Ok(value);
    }
    bounds::judge(&state, value)
}

/// Replaces what means something else in the language, and what is bounded in it.
fn own_instructions(instructions: &mut machinery::Instructions<'_>) {
    strict::replace_operators(instructions);
    bounds::replace_builders(instructions, strict::UNCACHED);
}

/// A text with its templates rendered, by the language's own operators.
fn render<'e>(
    environment: &'e Environment<'e>,
    name: &'static str,
    code: &'e str,
    names: minijinja::Value,
) -> Result<String, minijinja::Error> {
    let template = machinery::parse(code, name, syntax())?;
    let mut generator = machinery::CodeGenerator::new(name, code);
    generator.compile_stmt(&template);
    let (mut instructions, mut blocks) = generator.finish();
    own_instructions(&mut instructions);
    blocks.values_mut().for_each(own_instructions);
    let mut text = String::new();
    let mut output = machinery::make_string_output(&mut text);
    machinery::eval(
        environment,
        &instructions,
        names,
        &blocks,
        &mut output,
        escaping(name),
    )
    .map(drop)?;
    drop(output);
    Ok(text)
}

/// Paths alone are escaped.
fn escaping(name: &str) -> AutoEscape {
    match name {
        PATH => AutoEscape::Custom(PATH.into()),
        _ => AutoEscape::None,
    }
}

fn context(scope: &Scope, watch: Option<&Arc<Watch>>) -> minijinja::Value {
    watch.map_or_else(
        || scope.context(),
        |watch| minijinja::Value::from_dyn_object(Arc::clone(watch)),
    )
}

/// Why an evaluation failed, and where in the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// What is wrong, in one line.
    pub message: String,
    /// Where.
    pub span: Span,
}

/// Renders one file's templates with the names of one scope.
#[derive(Debug, Clone, Copy)]
pub struct Renderer<'a> {
    engine: &'a Engine,
    source: &'a Source,
    scope: &'a Scope,
}

impl Renderer<'_> {
    /// The value of an expression.
    ///
    /// # Errors
    /// When a name or an attribute in it is undefined, or a filter fails.
    pub fn eval(&self, expr: &Expr) -> Result<Value, TemplateError> {
        let value = self
            .engine
            .eval(expr.code(), self.scope)
            .map_err(|error| self.fault(expr, error))?;
        if value.is_undefined() {
            let message = format!("`{}` is undefined", expr.code().trim());
            return Err(self.fault(expr, Error::new(message)));
        }
        to_json(&value).map_err(|error| self.fault(expr, error))
    }

    /// Whether a condition holds.
    ///
    /// # Errors
    /// As [`eval`](Self::eval), and where the value is no boolean.
    pub fn holds(&self, expr: &Expr) -> Result<bool, TemplateError> {
        let code = expr.code().trim();
        let value = self
            .engine
            .eval(expr.code(), self.scope)
            .map_err(|error| self.fault(expr, error))?;
        if value.is_undefined() {
            let message = format!("`{code}` is undefined");
            return Err(self.fault(expr, Error::new(message)));
        }
        if value.kind() != minijinja::value::ValueKind::Bool {
            let message = strict::no_condition(code, &value);
            return Err(self.fault(expr, Error::new(message)));
        }
        Ok(value.is_true())
    }

    /// Whether a part of an expression, such as `web.status`, begins with a name of whose value nothing may be shown.
    pub fn is_secret(&self, code: &str) -> bool {
        let end = code.find(|c: char| !c.is_alphanumeric() && c != '_');
        self.scope.is_secret(&code[..end.unwrap_or(code.len())])
    }

    /// The value of a part of an expression such as `web.status`, or nothing where it has none. For messages.
    pub fn probe(&self, code: &str) -> Option<Value> {
        let value = self.engine.eval(code, self.scope).ok()?;
        (!value.is_undefined()).then(|| to_json(&value).ok())?
    }

    /// Whether a part of an expression is output that is not text, so that its use fails for a reason of its own.
    pub fn is_unreadable(&self, code: &str) -> bool {
        let value = self.engine.eval(code, self.scope);
        value.is_err_and(|error| error.message.contains("is not UTF-8 text"))
    }

    /// Renders a value.
    ///
    /// # Errors
    /// What is wrong with which part.
    pub fn value(&self, template: &Template) -> Result<Value, TemplateError> {
        match template {
            Template::Literal(value, _) => Ok(value.clone()),
            Template::Value(expr) => self.eval(expr),
            Template::Text(text) => self.run(TEXT, text).map(Value::String),
            Template::File(file) => self.file(file).map(Value::String),
            Template::List(items, _) => items.iter().map(|item| self.value(item)).collect(),
            Template::Map(entries, _) => {
                let mut map = Map::new();
                for (key, value) in entries {
                    let name = self.text(key)?;
                    if map.insert(name.clone(), self.value(value)?).is_some() {
                        return Err(TemplateError {
                            message: format!(
                                "the key `{name}` is there twice once its templates are rendered"
                            ),
                            span: key.span(),
                        });
                    }
                }
                Ok(map.into())
            }
        }
    }

    /// Renders a value that must be text. Numbers and booleans are written out.
    ///
    /// # Errors
    /// As [`value`](Self::value), and for lists, mappings and null.
    pub fn text(&self, template: &Template) -> Result<String, TemplateError> {
        match self.value(template)? {
            Value::String(text) => Ok(text),
            value @ (Value::Number(_) | Value::Bool(_)) => Ok(value.to_string()),
            value => Err(TemplateError {
                message: format!("text is needed here, but the value is {}", describe(&value)),
                span: template.span(),
            }),
        }
    }

    /// Renders the path of a request: every `{{ }}` is percent-encoded as one segment or query value, so that no
    /// value can reach another resource. A path that is exactly one `{{ }}` must begin with `/1.0/` and is taken whole.
    ///
    /// # Errors
    /// As [`text`](Self::text), and where a value cannot be a segment (empty, `.` or `..`).
    pub fn path(&self, template: &Template) -> Result<String, TemplateError> {
        let span = match template {
            Template::Value(expr) => expr.place(self.source, None),
            other => other.span(),
        };
        let rendered = match template {
            Template::Literal(..) => self.text(template)?,
            Template::Value(_) => path::whole(&self.text(template)?)
                .map_err(|message| TemplateError { message, span })?,
            Template::Text(text) => self.run(PATH, text)?,
            Template::List(..) | Template::Map(..) | Template::File(_) => {
                return Err(TemplateError {
                    message: "a path must be text".into(),
                    span,
                });
            }
        };
        path::judge(&rendered).map_err(|message| TemplateError { message, span })?;
        Ok(rendered)
    }

    /// A part of a text or a path; nothing where it does not render.
    pub(super) fn piece(&self, name: &'static str, code: &str) -> Option<String> {
        render(&self.engine.environment, name, code, self.scope.context()).ok()
    }

    /// The content of a file, as it is now.
    fn file(&self, file: &FileText) -> Result<String, TemplateError> {
        let fault = |message: String| TemplateError {
            message,
            span: file.span,
        };
        let name = self.text(&file.path)?;
        let path = self.source.folder().join(&name);
        let text = read_text(&path).map_err(fault)?;
        if file.rendering == Rendering::AsWritten {
            return Ok(text);
        }
        let source = Source::new(&path, text);
        match FileText::templates(&source, file.span) {
            Ok(text) => self.run(TEXT, &text),
            Err(error) => Err(fault(in_file(&source, &error))),
        }
    }

    fn run(&self, name: &'static str, text: &Text) -> Result<String, TemplateError> {
        let watch = self.scope.watch(text.code());
        let names = context(self.scope, watch.as_ref());
        let rendered = render(&self.engine.environment, name, text.code(), names);
        if let (Ok(rendered), Some(watch)) = (&rendered, &watch) {
            watch.learn_loop(rendered);
        }
        rendered.map_err(|error| {
            let error = Error::from_engine(&error);
            let message = match text.file() {
                Some(file) => in_file(file, &error),
                None => error.message,
            };
            let range = error.range.map(|range| widened(text.code(), range));
            TemplateError {
                span: text.place(self.source, range),
                message,
            }
        })
    }

    fn fault(&self, expr: &Expr, error: Error) -> TemplateError {
        let range = error.range.map(|range| widened(expr.code(), range));
        TemplateError {
            span: expr.place(self.source, range),
            message: error.message,
        }
    }
}

/// What is wrong in a file that is not the playbook, with its place.
fn in_file(file: &Source, error: &Error) -> String {
    let place = error.range.as_ref().map_or_else(String::new, |range| {
        format!(":{}", file.position(range.start))
    });
    format!("{} (in {}{place})", error.message, file.name())
}

/// The engine's place of an attribute begins at its dot: the names before it belong to it.
fn widened(code: &str, range: Range<usize>) -> Range<usize> {
    let belongs = |c: char| c.is_alphanumeric() || "_.[]'\"".contains(c);
    let (Some(before), true) = (
        code.get(..range.start),
        code[range.start..].starts_with(['.', '[']),
    ) else {
        return range;
    };
    before.trim_end_matches(belongs).len()..range.end
}

fn to_json(value: &minijinja::Value) -> Result<Value, Error> {
    serde_json::to_value(value)
        .map_err(|error| Error::new(format!("the value cannot be written as JSON: {error}")))
}

/// What a value is, for messages.
pub fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a number",
        Value::Number(_) => "an integer",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Writes a value into text: JSON's words for booleans and null, JSON for lists and objects.
fn format_value(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &minijinja::Value,
) -> Result<(), minijinja::Error> {
    use minijinja::{Error, ErrorKind};
    let invalid = |message: String| Error::new(ErrorKind::InvalidOperation, message);
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    taint::written(state, value);
    let in_path = matches!(state.auto_escape(), AutoEscape::Custom(_));
    if in_path && let Some(text) = value.downcast_object_ref::<PathText>() {
        return out.write_str(&text.0).map_err(Error::from);
    }
    let value = bounds::judge(state, value.clone())?;
    let json = serde_json::to_value(value).map_err(|error| invalid(error.to_string()))?;
    let text = match json {
        Value::String(text) => text,
        Value::Array(_) | Value::Object(_) | Value::Null if in_path => {
            return Err(invalid(format!(
                "{} cannot be part of a path",
                describe(&json)
            )));
        }
        Value::Null => return Err(strict::null_in_text()),
        other => other.to_string(),
    };
    let text = if in_path {
        path::encode(&text).map_err(invalid)?
    } else {
        text
    };
    out.write_str(&text).map_err(Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_of_shells_are_text() {
        let engine = Engine::new();
        let scope = Scope::default();
        scope.bind("a", &"b".into());
        for (text, rendered) in [
            ("n=${#LIST} {{ a }} ${x%#}", "n=${#LIST} b ${x%#}"),
            ("{# kept #} {{ a }}", "{# kept #} b"),
            ("{% raw %}{{ ds }}{% endraw %}", "{{ ds }}"),
        ] {
            assert_eq!(
                render(&engine.environment, TEXT, text, scope.context())
                    .ok()
                    .as_deref(),
                Some(rendered)
            );
        }
    }
}
