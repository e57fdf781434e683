//! Builds the plan. Tolerant: what does not follow the grammar has been reported already and is left out here, so
//! that everything else can still be checked.

mod actions;
mod bodies;
mod expect;
mod files;
mod include;
mod sim;
mod text_file;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::Files;
use crate::playbook::document::{Document, has_template, is_name, misspelt};
use crate::playbook::foreign;
use crate::playbook::grammar::{ACTIONS, STEP};
use crate::playbook::input::{boolean, looks_boolean};
use crate::playbook::plan::{
    Action, Binding, ForEach, Group, Input, InputType, Isolate, Keep, Name, Need, OnError,
    Parallel, Plan, Retry, Scalars, Step, Typing, Until, Visibility,
};
use crate::template::{Error, Expr, Template};
use malleus_api::Servers;
use malleus_api::bodies::Schema;
use malleus_core::duration;
use malleus_core::secret::{self, Masker};
use malleus_source::diagnostic::{Diagnostic, Severity};
use malleus_source::yaml::{Key, Kind, Node};
use malleus_source::{Place, Source, Span};

/// Pause between two attempts of an `until`.
const EVERY: Duration = Duration::from_secs(1);
/// How long an `until` goes on.
const WITHIN: Duration = Duration::from_secs(300);
/// Pause before the second attempt of a `retry`.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// How much longer each further pause of a `retry` is.
const BACKOFF: u32 = 2;

/// A lease is renewed several times before it ends.
const SHORTEST_LEASE: Duration = Duration::from_secs(60);

/// What to do about braces that are no template.
pub(super) const BRACES: &str = "`{{` and `{%` begin a template; where another program is to see them, write `{% raw %}` before and `{% endraw %}` behind the text, or put the text into a file and write `{file: PATH}`";

/// The version of the format that this program reads.
const VERSION: u64 = 1;

/// What could be read of a playbook.
pub(super) struct Built {
    pub(super) plan: Plan,
    /// The names that are bound by what could not be read.
    pub(super) unread: HashSet<String>,
}

pub(super) fn plan(
    document: &Document,
    files: &Files<'_>,
    problems: &mut Vec<Diagnostic>,
) -> Built {
    let mut builder = Builder {
        source: &document.source,
        files,
        problems,
        saved: Vec::new(),
        servers: Servers::ALL,
        unread: HashSet::new(),
        includes: 0,
    };
    let plan = builder.plan(&document.root);
    Built {
        plan,
        unread: builder.unread,
    }
}

struct Builder<'a> {
    source: &'a Arc<Source>,
    files: &'a Files<'a>,
    problems: &'a mut Vec<Diagnostic>,
    /// Files that earlier steps save: a later step may upload them though they are not there yet.
    saved: Vec<String>,
    /// The known servers that have what the step at hand uses.
    servers: Servers,
    /// The names that are bound by what cannot be read.
    unread: HashSet<String>,
    /// How many includes there were so far.
    includes: usize,
}

impl Builder<'_> {
    fn problem(&mut self, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        self.problems
            .push(Diagnostic::error(message).at(Place::new(self.source, span), ""));
        let last = self.problems.len() - 1;
        &mut self.problems[last]
    }

    fn plan(&mut self, root: &Node) -> Plan {
        if let Some(version) = root.get("playbook")
            && let Kind::Number(number) = &version.kind
            && number.as_u64() != Some(VERSION)
        {
            self.problem(
                version.span,
                format!(
                    "this is a playbook of format {number}; this malleus reads format {VERSION}"
                ),
            )
            .help = Some("use a newer malleus, or write `playbook: 1`".into());
        }
        Plan {
            source: Arc::clone(self.source),
            name: text(root, "name").unwrap_or_default(),
            summary: text(root, "summary"),
            remote: self.remote(root),
            remote_span: root.get("remote").map(|node| node.span),
            project: root.get("project").map(|node| self.template(node)),
            inputs: entries(root.get("inputs"))
                .iter()
                .map(|(key, node)| self.input(key, node))
                .collect(),
            vars: self.bindings(root.get("vars")),
            isolate: self.isolate(root),
            lease: self.lease(root),
            timeout: self.limit(root),
            sim: self.sim(root.get("sim")),
            steps: self.steps(root.get("steps")),
            finally: self.steps(root.get("finally")),
            outputs: self.bindings(root.get("outputs")),
        }
    }

    fn remote(&mut self, root: &Node) -> Option<String> {
        let remote = text(root, "remote")?;
        if has_template(&remote) {
            let span = root.get("remote").map(|node| node.span).unwrap_or_default();
            self.problem(
                span,
                "`remote` must be known before the run; templates are not rendered here",
            )
            .help = Some("leave it away and give `--remote`".into());
        }
        Some(remote)
    }

    /// `isolate: project`, or a mapping with the project's config.
    fn isolate(&mut self, root: &Node) -> Option<Isolate> {
        let node = root.get("isolate")?;
        if let Some(project) = root.get("project") {
            let places = [node.span, project.span].map(|span| Place::new(self.source, span));
            let [isolate, project] = places;
            self.problems.push(
                Diagnostic::error("`isolate` makes a project of its own; `project` names another")
                    .at(isolate, "")
                    .at(project, "the other one")
                    .help("leave one of the two away"),
            );
        }
        let project = node.get("project");
        let config = project.and_then(|project| project.get("config"));
        if let (Some(project), true) = (project, config.is_some()) {
            self.judge_body(
                project,
                &Schema::of_request("POST", "projects"),
                Severity::Error,
            );
        }
        Some(Isolate {
            span: node.span,
            config: self.texts(config),
        })
    }

    /// The `lease`; one that is too short for a renewal in time would let a living run be removed.
    fn lease(&mut self, root: &Node) -> Option<Duration> {
        let lease = span_of_time(root, "lease")?;
        if let (true, Some(written)) = (lease < SHORTEST_LEASE, root.get("lease")) {
            self.problem(
                written.span,
                "a lease shorter than a minute cannot be renewed in time",
            )
            .help = Some("give it an hour or two: a living run renews it".into());
        }
        Some(lease)
    }

    /// The `timeout` of a mapping.
    fn limit(&mut self, node: &Node) -> Option<Duration> {
        let limit = span_of_time(node, "timeout")?;
        if let (true, Some(written)) = (limit.is_zero(), node.get("timeout")) {
            self.problem(
                written.span,
                "a limit of nothing passes before anything is done",
            );
        }
        Some(limit)
    }

    fn input(&mut self, key: &Key, node: &Node) -> Input {
        let name = name_of(key);
        let is_long = node.as_map().is_some();
        let default = if is_long {
            node.get("default")
        } else {
            Some(node)
        };
        // `name:` with nothing behind it declares an input of any type without a default.
        let default = default.filter(|node| node.kind != Kind::Null);
        let default_value = default.map(Node::to_value);
        if let Some(default) = default {
            self.judge_spelling(default);
        }
        if let Some(found) = default.and_then(template_in) {
            self.problem(
                found,
                "a default is a plain value; templates are not rendered here",
            )
            .help = Some("derive the value under `vars`".into());
        }
        let inferred = default_value.as_ref().and_then(InputType::of);
        let declared = text(node, "type").and_then(|word| InputType::from_word(&word));
        if let (Some(kind), Some(value), Some(default)) = (declared, &default_value, default)
            && !kind.admits(value)
        {
            self.problem(
                default.span,
                format!(
                    "the default of `{}` is {}, but its type is {}",
                    name.text,
                    default.describe(),
                    kind.word()
                ),
            );
        }
        if declared.is_none()
            && let (Some(default), Some(word)) = (default, default.and_then(Node::as_text))
            && looks_boolean(word)
        {
            let is_true = boolean(word);
            let place = Place::new(self.source, default.span);
            self.problems.push(
                Diagnostic::warning(format!("the default of `{}` is the text \"{word}\", no boolean", name.text))
                    .at(place, "")
                    .help(format!(
                        "write `{is_true}`, without quotes; `{{type: string, default: \"{word}\"}}` says that text is meant"
                    )),
            );
        }
        let need = if flag(node, "required") {
            Need::Required
        } else {
            Need::Optional
        };
        if need == Need::Required && default.is_some() {
            self.problem(
                key.span,
                format!(
                    "`{}` is required and has a default; one of the two is of no use",
                    name.text
                ),
            );
        }
        Input {
            name,
            kind: declared.or(inferred),
            typing: if declared.is_some() {
                Typing::Declared
            } else {
                Typing::ByDefault
            },
            default: default_value,
            need,
            visibility: self.visibility_of_input(node),
            env: text(node, "env"),
            description: text(node, "description"),
        }
    }

    /// A secret that is too short to be masked is none.
    fn visibility_of_input(&mut self, node: &Node) -> Visibility {
        let visibility = visibility(node);
        if let (Visibility::Secret, Some(default)) = (visibility, node.get("default"))
            && Masker::is_too_short(&default.to_value())
        {
            let place = Place::new(self.source, default.span);
            self.problems.push(
                Diagnostic::warning(format!(
                    "a secret of less than {} characters is not masked",
                    secret::SHORTEST
                ))
                .at(place, "")
                .help("take a longer one"),
            );
        }
        visibility
    }

    fn steps(&mut self, node: Option<&Node>) -> Vec<Step> {
        let Some(node) = node else { return Vec::new() };
        match &node.kind {
            Kind::List(items) => items.iter().filter_map(|item| self.step(item)).collect(),
            Kind::Map(_) => self.step(node).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// A step, if it can be read; what it binds is known all the same, so that one mistake is one message.
    fn step(&mut self, node: &Node) -> Option<Step> {
        let step = self.read_step(node);
        if step.is_none() {
            bound_in(node, &mut self.unread);
        }
        step
    }

    fn read_step(&mut self, node: &Node) -> Option<Step> {
        let entries = node.as_map()?;
        let actions: Vec<&(Key, Node)> = entries
            .iter()
            .filter(|(key, _)| ACTIONS.iter().any(|action| action.name == key.text))
            .collect();
        let (key, value) = match actions.as_slice() {
            [one] => one,
            [] if ACTIONS
                .iter()
                .any(|action| misspelt(node, &STEP, action.name))
                || entries
                    .iter()
                    .any(|(key, _)| foreign::cure(&key.text, &STEP).is_some()) =>
            {
                return None;
            }
            [] => {
                let names: Vec<String> = ACTIONS
                    .iter()
                    .map(|action| format!("`{}`", action.name))
                    .collect();
                self.problem(node.span, "this step has no action").help =
                    Some(format!("add one of {}", names.join(", ")));
                return None;
            }
            [first, second, ..] => {
                let place = Place::new(self.source, first.0.span);
                let problem = self.problem(
                    second.0.span,
                    format!(
                        "this step has two actions, `{}` and `{}`",
                        first.0.text, second.0.text
                    ),
                );
                problem.labels.push(malleus_source::diagnostic::Label {
                    place,
                    text: "the first one".into(),
                });
                problem.help = Some("make them two steps".into());
                first
            }
        };
        self.companions(entries, &key.text);
        let around = std::mem::replace(&mut self.servers, Servers::ALL);
        let action = self.action(node, &key.text, value);
        let servers = std::mem::replace(&mut self.servers, around);
        let action = action?;
        Some(Step {
            span: key.span,
            servers: match bodies::scalars(node) {
                Scalars::AsText => servers,
                Scalars::AsWritten => Servers::ALL,
            },
            name: node.get("name").map(|name| self.template(name)),
            remote: node.get("remote").map(|remote| self.template(remote)),
            id: node.get("id").and_then(name_in),
            when: node.get("when").and_then(expr),
            for_each: node.get("for_each").map(|list| self.for_each(list)),
            item: self.item(node),
            concurrency: if node.get("for_each").is_some() {
                self.concurrency(node).unwrap_or(1)
            } else {
                1
            },
            expect: self.expect(node, &action),
            capture: self.captures(node),
            visibility: visibility(node),
            until: self.until(node),
            retry: self.retry(node),
            timeout: self.limit(node),
            cleanup: self.steps(node.get("cleanup")),
            keep: if flag(node, "keep") {
                Keep::Yes
            } else {
                Keep::No
            },
            on_error: match text(node, "on_error").as_deref() {
                Some("continue") => OnError::Continue,
                _ => OnError::Fail,
            },
            action,
        })
    }

    /// Keys that mean something for other actions only.
    fn companions(&mut self, entries: &[(Key, Node)], action: &str) {
        let is_loop = entries.iter().any(|(key, _)| key.text == "for_each");
        for (key, _) in entries {
            let name = key.text.as_str();
            let owners: Vec<&str> = ACTIONS
                .iter()
                .filter(|owner| owner.companions.contains(&name))
                .map(|owner| owner.name)
                .collect();
            if owners.is_empty() || owners.contains(&action) {
                continue;
            }
            if name == "concurrency" {
                if !is_loop {
                    self.problem(
                        key.span,
                        "`concurrency` means nothing without `for_each` or `parallel`",
                    );
                }
                continue;
            }
            let owners: Vec<String> = owners.iter().map(|owner| format!("`{owner}`")).collect();
            let message = format!(
                "`{name}` goes with {}; this step is `{action}`",
                owners.join(" or ")
            );
            self.problem(key.span, message);
        }
        if matches!(action, "steps" | "parallel" | "include") {
            for (key, _) in entries {
                if matches!(
                    key.text.as_str(),
                    "until" | "fail_when" | "every" | "within" | "retry"
                ) {
                    let message = format!(
                        "`{}` repeats one action; `{action}` holds several",
                        key.text
                    );
                    let inside = match action {
                        "include" => "the included playbook",
                        _ => "it",
                    };
                    self.problem(key.span, message).help = Some(format!(
                        "give it to the step inside {inside} that is to be repeated"
                    ));
                }
            }
        }
    }

    fn action(&mut self, step: &Node, name: &str, value: &Node) -> Option<Action> {
        match name {
            "request" => self
                .request(step, value)
                .map(|request| Action::Request(Box::new(request))),
            "exec" => self.exec(value).map(|exec| Action::Exec(Box::new(exec))),
            "set" => {
                self.not_empty(value, "there is nothing to set");
                Some(Action::Set(self.bindings(Some(value))))
            }
            "check" => {
                self.not_empty(value, "there is nothing to check");
                Some(Action::Check(
                    one_or_more(value).iter().filter_map(expr).collect(),
                ))
            }
            "steps" => Some(Action::Steps(Group {
                steps: self.steps(Some(value)),
                finally: self.steps(step.get("finally")),
            })),
            "join" => name_in(value).map(Action::Join),
            "parallel" => Some(Action::Parallel(Parallel {
                steps: self.steps(Some(value)),
                concurrency: self.concurrency(step),
            })),
            "include" => self
                .include(step, value)
                .map(|include| Action::Include(Box::new(include))),
            "push" => self.push(value).map(|push| Action::Push(Box::new(push))),
            "pull" => self.pull(value).map(|pull| Action::Pull(Box::new(pull))),
            "wait_for" => self
                .wait_for(value)
                .map(|wait| Action::WaitFor(Box::new(wait))),
            "ensure" => self
                .ensure(step, value)
                .map(|ensure| Action::Ensure(Box::new(ensure))),
            "absent" => self
                .absent(step, value)
                .map(|absent| Action::Absent(Box::new(absent))),
            _ => None,
        }
    }

    /// An empty list or mapping where it would hold whatever happens.
    fn not_empty(&mut self, node: &Node, message: &str) {
        let is_empty = match &node.kind {
            Kind::List(items) => items.is_empty(),
            Kind::Map(entries) => entries.is_empty(),
            _ => false,
        };
        if is_empty {
            self.problem(node.span, message).help = Some("leave it out, or say what".into());
        }
    }

    fn concurrency(&mut self, step: &Node) -> Option<usize> {
        let node = step.get("concurrency")?;
        let Kind::Number(number) = &node.kind else {
            return None;
        };
        let width = number
            .as_u64()
            .and_then(|width| usize::try_from(width).ok());
        if width.is_none_or(|width| width == 0) && !number.is_f64() {
            self.problem(node.span, "`concurrency` is 1 or more");
        }
        width
    }

    fn captures(&mut self, step: &Node) -> Vec<Binding<Expr>> {
        let mut captures = Vec::new();
        for (key, value) in entries(step.get("capture")) {
            let name = name_of(key);
            match expr(value) {
                Some(value) => captures.push(Binding { name, value }),
                None => {
                    self.unread.insert(name.text);
                }
            }
        }
        captures
    }

    fn until(&mut self, step: &Node) -> Option<Until> {
        let Some(condition) = step.get("until") else {
            for key in ["fail_when", "every", "within"] {
                if let Some((found, _)) = entries(Some(step))
                    .iter()
                    .find(|(found, _)| found.text == key)
                {
                    self.problem(found.span, format!("`{key}` means nothing without `until`"));
                }
            }
            return None;
        };
        Some(Until {
            condition: expr(condition)?,
            fail_when: step.get("fail_when").and_then(expr),
            every: span_of_time(step, "every").unwrap_or(EVERY),
            within: span_of_time(step, "within").unwrap_or(WITHIN),
        })
    }

    fn retry(&mut self, step: &Node) -> Option<Retry> {
        let node = step.get("retry")?;
        let number = |key: &str| match &node.get(key)?.kind {
            Kind::Number(number) => number
                .as_u64()
                .and_then(|number| u32::try_from(number).ok()),
            _ => None,
        };
        let attempts = number("attempts");
        if let Some(written) = node.get("attempts")
            && matches!(written.kind, Kind::Number(_))
            && attempts.is_none_or(|attempts| attempts == 0)
        {
            let message = match &written.kind {
                Kind::Number(number) if number.as_u64().is_some_and(|number| number > 0) => {
                    format!("`attempts` is at most {}", u32::MAX)
                }
                _ => "`attempts` counts the first time too: 1 or more".into(),
            };
            self.problem(written.span, message);
        }
        if let Some(written) = node.get("backoff")
            && matches!(written.kind, Kind::Number(_))
            && number("backoff").is_none_or(|factor| factor == 0)
        {
            self.problem(
                written.span,
                format!("`backoff` is a factor from 1 to {}", u32::MAX),
            )
            .help = Some("1 keeps the pause as it is, 2 doubles it each time".into());
        }
        Some(Retry {
            attempts: attempts.unwrap_or(1),
            delay: span_of_time(node, "delay").unwrap_or(RETRY_DELAY),
            backoff: number("backoff").unwrap_or(BACKOFF).max(1),
        })
    }

    fn for_each(&mut self, node: &Node) -> ForEach {
        match expr(node) {
            Some(expression) if node.as_list().is_none() => ForEach::Expression(expression),
            _ if node.as_list().is_some() => {
                self.judge_spelling(node);
                ForEach::List(self.template(node))
            }
            // Reported already; a loop all the same, so that `item` is known in it.
            _ => ForEach::List(Template::List(Vec::new(), node.span)),
        }
    }

    /// The name of the items of a loop.
    fn item(&mut self, step: &Node) -> Option<Name> {
        let node = step.get("as")?;
        if step.get("for_each").is_none() {
            self.problem(node.span, "`as` means nothing without `for_each`");
            return None;
        }
        name_in(node).filter(|name| is_name(&name.text))
    }

    fn bindings(&mut self, node: Option<&Node>) -> Vec<Binding<Template>> {
        entries(node)
            .iter()
            .map(|(key, value)| {
                self.judge_spelling(value);
                Binding {
                    name: name_of(key),
                    value: self.template(value),
                }
            })
            .collect()
    }

    /// Warns of a number whose spelling is lost where it becomes text: `24.10` is 24.1.
    fn judge_spelling(&mut self, node: &Node) {
        match &node.kind {
            Kind::Number(number) => {
                let written = self.source.slice(node.span);
                let read = number.to_string();
                let is_cut = written.contains('.') && written.ends_with('0') && written != read;
                if is_cut && written.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
                    let place = Place::new(self.source, node.span);
                    self.problems.push(
                        Diagnostic::warning(format!("`{written}` is the number {read}"))
                            .at(place, "")
                            .help(format!(
                                "quote it where a text such as a version is meant: \"{written}\""
                            )),
                    );
                }
            }
            Kind::List(items) => items.iter().for_each(|item| self.judge_spelling(item)),
            Kind::Map(entries) => entries
                .iter()
                .for_each(|(_, value)| self.judge_spelling(value)),
            _ => {}
        }
    }

    fn pairs(&mut self, node: Option<&Node>) -> Vec<(String, Template)> {
        entries(node)
            .iter()
            .map(|(key, value)| (key.text.clone(), self.template(value)))
            .collect()
    }

    fn template(&mut self, node: &Node) -> Template {
        let mut problems = Vec::new();
        let template = Template::read(self.source, node, &mut problems);
        // Scripts and the like have several lines or statements, and braces of their own.
        let help = (!problems.is_empty() && is_script(node)).then_some(BRACES);
        for (span, error) in problems {
            self.problem(span, error.message).help = help.map(str::to_owned);
        }
        template
    }

    fn template_problems(&mut self, problems: Vec<(Span, Error)>) {
        for (span, error) in problems {
            self.problem(span, error.message);
        }
    }
}

/// An expression; what does not parse has been reported with the grammar.
fn expr(node: &Node) -> Option<Expr> {
    match &node.kind {
        Kind::Text(text) => Expr::new(text, node.span).ok(),
        Kind::Bool(yes) => Expr::new(if *yes { "true" } else { "false" }, node.span).ok(),
        _ => None,
    }
}

fn entries(node: Option<&Node>) -> &[(Key, Node)] {
    node.and_then(Node::as_map).unwrap_or_default()
}

fn one_or_more(node: &Node) -> &[Node] {
    node.as_list().unwrap_or(std::slice::from_ref(node))
}

fn text(node: &Node, key: &str) -> Option<String> {
    node.get(key)?.as_text().map(str::to_owned)
}

fn flag(node: &Node, key: &str) -> bool {
    node.get(key)
        .is_some_and(|node| node.kind == Kind::Bool(true))
}

fn visibility(node: &Node) -> Visibility {
    if flag(node, "secret") {
        Visibility::Secret
    } else {
        Visibility::Shown
    }
}

fn span_of_time(node: &Node, key: &str) -> Option<Duration> {
    duration::parse(node.get(key)?.as_text()?).ok()
}

fn name_of(key: &Key) -> Name {
    Name {
        text: key.text.clone(),
        span: key.span,
    }
}

fn name_in(node: &Node) -> Option<Name> {
    Some(Name {
        text: node.as_text()?.to_owned(),
        span: node.span,
    })
}

/// The names that a step binds which cannot be read, and steps in it.
fn bound_in(node: &Node, names: &mut HashSet<String>) {
    match &node.kind {
        Kind::List(items) => items.iter().for_each(|item| bound_in(item, names)),
        Kind::Map(entries) => {
            for (key, value) in entries {
                match key.text.as_str() {
                    "id" => names.extend(value.as_text().map(str::to_owned)),
                    "capture" | "set" => {
                        let bound = value.as_map().unwrap_or_default();
                        names.extend(bound.iter().map(|(key, _)| key.text.clone()));
                    }
                    _ => bound_in(value, names),
                }
            }
        }
        _ => {}
    }
}

/// Whether a text in a value has several lines, or braces as other programs have them.
fn is_script(node: &Node) -> bool {
    match &node.kind {
        Kind::Text(text) => {
            text.trim_end().contains('\n') || text.contains("{%") || text.contains("{{.")
        }
        Kind::List(items) => items.iter().any(is_script),
        Kind::Map(entries) => entries.iter().any(|(_, value)| is_script(value)),
        _ => false,
    }
}

/// The first text in a value that has a template in it.
fn template_in(node: &Node) -> Option<Span> {
    match &node.kind {
        Kind::Text(text) => has_template(text).then_some(node.span),
        Kind::List(items) => items.iter().find_map(template_in),
        Kind::Map(entries) => entries.iter().find_map(|(_, value)| template_in(value)),
        _ => None,
    }
}
