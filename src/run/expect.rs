//! Expectations: what was expected, what was there, and where in the file it says so.

use serde_json::Value;

use super::action::{ActionResult, CommandOutput};
use super::executor::Frame;
use super::shown::{INLINE, difference, hidden, hidden_value, shown, tail, values_of};
use super::subset::{differences, span_of};
use crate::diagnostic::Diagnostic;
use crate::playbook::plan::{Action, Expect, Matcher, Plan, Step, Visibility};
use crate::secret::Masker;
use crate::source::Span;
use crate::template::{Expr, Pattern, Renderer, Template, TemplateError};
use malleus_api::messages;

/// Judges all of a step's expectations. Every failed one becomes a diagnostic.
pub(super) struct Judge<'a> {
    pub(super) plan: &'a Plan,
    masker: &'a Masker,
    /// Knows the names in scope alone: a `check` is about them, not about its own result.
    outer: Renderer<'a>,
    /// Knows the step's result on top of the names in scope.
    pub(super) renderer: Renderer<'a>,
    pub(super) seen: &'a ActionResult,
    /// Whether a failure may show what was seen.
    visibility: Visibility,
    failures: Vec<Diagnostic>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(
        frame: &'a Frame<'_>,
        masker: &'a Masker,
        (outer, renderer): (Renderer<'a>, Renderer<'a>),
        seen: &'a ActionResult,
    ) -> Self {
        Self {
            plan: frame.plan,
            masker,
            outer,
            renderer,
            seen,
            visibility: frame.visibility,
            failures: Vec::new(),
        }
    }

    /// The end of a text that was seen.
    fn tail(&self, name: &str, bytes: &[u8]) -> String {
        match self.visibility {
            Visibility::Shown => tail(self.masker, name, bytes),
            Visibility::Secret => format!("{name}: {}", hidden(bytes.len())),
        }
    }

    pub(super) fn judge(mut self, step: &Step) -> Vec<Diagnostic> {
        let expect = &step.expect;
        self.success(step);
        if let Some(wanted) = &expect.status {
            let seen = self.seen.status.map(i64::from);
            self.one_of("status", wanted, seen);
        }
        if let Some(command) = &self.seen.command {
            self.exit_code(step, command);
            self.text("stdout", &expect.stdout, &command.stdout);
            self.text("stderr", &expect.stderr, &command.stderr);
        } else if self.failures.is_empty() {
            // Refused, and that was expected: then nothing else of a command can have been.
            self.without_command(expect);
        }
        if let Some(wanted) = &expect.metadata {
            self.subset("metadata", wanted, &self.seen.metadata);
        }
        for condition in checks(step) {
            self.holds(self.outer, condition);
        }
        for condition in &expect.that {
            self.holds(self.renderer, condition);
        }
        self.failures
    }

    fn fail(
        &mut self,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> &mut Diagnostic {
        let failure = Diagnostic::error(message).at(self.plan.place(span), label);
        self.failures.push(failure);
        let last = self.failures.len() - 1;
        &mut self.failures[last]
    }

    fn fault(&mut self, fault: TemplateError) {
        self.fail(fault.span, fault.message, "");
    }

    /// Success as the API defines it, unless something else is expected.
    fn success(&mut self, step: &Step) {
        let Expect { status, error, .. } = &step.expect;
        match (&self.seen.error, error) {
            (None, None) => {}
            (Some(words), None) => {
                if status.is_none() {
                    let title = if words.is_empty() {
                        "the request was refused without a word".to_owned()
                    } else {
                        words.clone()
                    };
                    let status = self.seen.status.filter(|status| *status >= 400);
                    let label = match status {
                        Some(status) => format!("the daemon answered {status}"),
                        None if self.seen.change.is_some() => {
                            "it is not as it should be".to_owned()
                        }
                        None => "the operation failed".to_owned(),
                    };
                    let meaning = messages::explain(words).map(str::to_owned);
                    self.fail(step.span, title, label).help = meaning;
                }
            }
            (seen, Some(wanted)) => match self.renderer.text(wanted) {
                Err(fault) => self.fault(fault),
                Ok(part) => match seen.clone().or_else(|| self.seen.words()) {
                    // Servers write one thing in capitals here and there.
                    Some(words) if says(&words, &part) => {}
                    Some(words) => {
                        let label = format!("expected text with {part:?}, the error is {words:?}");
                        self.fail(wanted.span(), "the error is not the expected one", label);
                    }
                    None => {
                        self.fail(
                            wanted.span(),
                            "an error was expected, but the step succeeded",
                            format!("expected an error with {part:?}"),
                        );
                    }
                },
            },
        }
    }

    fn exit_code(&mut self, step: &Step, command: &CommandOutput) {
        let seen = i64::from(command.exit_code);
        if let Some(wanted) = &step.expect.exit_code {
            self.one_of("exit code", wanted, Some(seen));
        } else if let (Some(message), None) = (command.failure(), &step.expect.error) {
            self.fail(step.span, message, "");
        } else {
            return;
        }
        // What the command said is why it failed: shown wherever its exit code is the trouble.
        let output = [("stderr", &command.stderr), ("stdout", &command.stdout)];
        let said = output.into_iter().filter(|(_, bytes)| !bytes.is_empty());
        let said: Vec<(&str, String)> = said
            .map(|(name, bytes)| (name, self.tail(name, bytes)))
            .collect();
        if let Some(failure) = self.failures.last_mut() {
            for (name, note) in said {
                if failure.notes.iter().all(|note| !note.starts_with(name)) {
                    failure.notes.push(note);
                }
            }
        }
    }

    fn without_command(&mut self, expect: &Expect) {
        if let Some(wanted) = &expect.exit_code {
            self.one_of("exit code", wanted, None);
        }
        for (what, matchers) in [("stdout", &expect.stdout), ("stderr", &expect.stderr)] {
            if let Some(first) = matchers.first() {
                let message = format!("{what} is not what was expected");
                self.fail(first.span(), message, "there is none: no command ran");
            }
        }
    }

    fn one_of(&mut self, what: &str, wanted: &[Template], seen: Option<i64>) {
        let mut codes = Vec::new();
        for template in wanted {
            match self.renderer.value(template) {
                Ok(Value::Array(several)) => codes.extend(several),
                Ok(value) => codes.push(value),
                Err(fault) => return self.fault(fault),
            }
        }
        if seen.is_some_and(|seen| codes.iter().any(|code| code.as_i64() == Some(seen))) {
            return;
        }
        let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else {
            return;
        };
        let span = Span::new(first.span().start, last.span().end);
        let expected: Vec<String> = codes.iter().map(Value::to_string).collect();
        let was = seen.map_or_else(
            || "there was none".to_owned(),
            |seen| format!("it was {seen}"),
        );
        let words = self.seen.error.clone().filter(|words| !words.is_empty());
        let failure = self.fail(
            span,
            format!("the {what} is not what was expected"),
            format!("expected {}, {was}", expected.join(" or ")),
        );
        failure
            .notes
            .extend(words.map(|words| format!("the daemon said: {words}")));
    }

    fn text(&mut self, what: &str, matchers: &[Matcher], seen: &[u8]) {
        if matchers.is_empty() {
            return;
        }
        let Ok(seen) = std::str::from_utf8(seen) else {
            let span = matchers[0].span();
            self.fail(span, format!("{what} is not UTF-8 text"), "")
                .help = Some(format!("`{what}_base64` has its bytes"));
            return;
        };
        for matcher in matchers {
            match matcher {
                Matcher::Exact(wanted) => self.exact(what, wanted, seen),
                Matcher::Contains(wanted) => self.contains(what, wanted, seen),
                Matcher::Matches(wanted) => self.matches(what, wanted, seen),
                Matcher::Json(wanted) => match serde_json::from_str::<Value>(seen) {
                    Ok(value) => self.subset(what, wanted, &value),
                    Err(error) => {
                        let span = wanted.span();
                        let note = self.tail(what, seen.as_bytes());
                        self.fail(span, format!("{what} is not JSON: {error}"), "")
                            .notes
                            .push(note);
                    }
                },
            }
        }
    }

    fn exact(&mut self, what: &str, wanted: &Template, seen: &str) {
        match self.renderer.text(wanted) {
            Err(fault) => self.fault(fault),
            Ok(text) if text == seen => {}
            Ok(text) => {
                let message = format!("{what} is not what was expected");
                if self.visibility == Visibility::Secret {
                    let note = self.tail(what, seen.as_bytes());
                    self.fail(wanted.span(), message, "").notes.push(note);
                } else if text.len() <= INLINE && seen.len() <= INLINE {
                    self.fail(
                        wanted.span(),
                        message,
                        format!("expected {text:?}, the command printed {seen:?}"),
                    );
                } else {
                    let difference = difference(self.masker, &text, seen);
                    self.fail(wanted.span(), message, "").notes.push(difference);
                }
            }
        }
    }

    fn contains(&mut self, what: &str, wanted: &Template, seen: &str) {
        match self.renderer.text(wanted) {
            Err(fault) => self.fault(fault),
            Ok(part) if seen.contains(&part) => {}
            Ok(part) => {
                let note = self.tail(what, seen.as_bytes());
                self.fail(
                    wanted.span(),
                    format!("{what} does not contain what was expected"),
                    format!("expected {part:?} in it"),
                )
                .notes
                .push(note);
            }
        }
    }

    fn matches(&mut self, what: &str, wanted: &Template, seen: &str) {
        let pattern = match self.renderer.text(wanted) {
            Ok(pattern) => pattern,
            Err(fault) => return self.fault(fault),
        };
        let found = match Pattern::new(&pattern) {
            Ok(regex) => regex.is_match(seen),
            Err(error) => Err(format!("this is not a regular expression: {error}")),
        };
        match found {
            Ok(true) => {}
            Ok(false) => {
                let note = self.tail(what, seen.as_bytes());
                self.fail(
                    wanted.span(),
                    format!("{what} does not match"),
                    format!("nothing in it matches {pattern:?}"),
                )
                .notes
                .push(note);
            }
            Err(error) => {
                self.fail(wanted.span(), error, "");
            }
        }
    }

    fn subset(&mut self, what: &str, wanted: &Template, seen: &Value) {
        match self.renderer.value(wanted) {
            Err(fault) => self.fault(fault),
            Ok(value) => {
                for difference in differences(&value, seen) {
                    let path = difference
                        .path
                        .iter()
                        .fold(what.to_owned(), |path, part| format!("{path}{part}"));
                    let span = span_of(wanted, &difference.path);
                    let label = match difference.actual {
                        Some(actual) => {
                            let actual = match self.visibility {
                                Visibility::Shown => shown(self.masker, &actual),
                                Visibility::Secret => hidden_value(&actual),
                            };
                            let expected = shown(self.masker, &difference.expected);
                            format!("expected {expected}, it is {actual}")
                        }
                        None => format!(
                            "expected {}, there is none",
                            shown(self.masker, &difference.expected)
                        ),
                    };
                    self.fail(span, format!("{path} is not what was expected"), label);
                }
            }
        }
    }

    fn holds(&mut self, renderer: Renderer<'_>, condition: &Expr) {
        match renderer.holds(condition) {
            Ok(true) => {}
            Err(fault) => {
                let notes = values_of(self.masker, renderer, condition);
                self.fail(fault.span, fault.message, "").notes.extend(notes);
            }
            Ok(false) => {
                let span = condition.place(&self.plan.source, None);
                let notes = values_of(self.masker, renderer, condition);
                self.fail(
                    span,
                    format!("`{}` does not hold", condition.code().trim()),
                    "",
                )
                .notes
                .extend(notes);
            }
        }
    }
}

/// `stdout: text`; text of several lines begins on a line of its own.
/// Whether the words of an error, or those of malleus for it, have a part, whatever the capitals.
fn says(words: &str, part: &str) -> bool {
    let part = part.to_lowercase();
    let summary = messages::summary(words).unwrap_or_default();
    [words, summary]
        .iter()
        .any(|words| words.to_lowercase().contains(&part))
}

fn checks(step: &Step) -> &[Expr] {
    match &step.action {
        Action::Check(conditions) => conditions,
        _ => &[],
    }
}
