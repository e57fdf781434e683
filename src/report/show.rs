//! A playbook explained, as text: what it takes, what it does in which order, what it gives. Nothing is sent for it.

mod known;
mod requests;

use serde_json::Value;

use crate::playbook::plan::{
    Action, Binding, ForEach, Include, Input, Need, OnError, Plan, Step, Visibility, Waiting,
};
use crate::playbook::title;
use crate::template::{Engine, Preview, Previewer, Scope, Template};
pub use known::Known;
use malleus_core::duration;
use requests::Requests;

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Inputs, variables, steps and outputs, as written.
    Steps,
    /// The requests of each step as well, with the values that are known.
    Requests,
}

/// Explains a plan. Secrets are left out: of what is made of a secret input, `***` is shown.
pub fn text(plan: &Plan, known: &Known<'_>, engine: &Engine, detail: Detail) -> String {
    let preview = match detail {
        Detail::Steps => Preview::default(),
        Detail::Requests => known::of_run(plan, known, engine),
    };
    let previewer = preview.with(engine, &plan.source);
    let requests = match detail {
        Detail::Steps => None,
        Detail::Requests => Some(Requests::new(known.project).inside(plan, previewer)),
    };
    let nothing = Scope::default();
    let mut page = Page {
        plan,
        previewer,
        engine,
        nothing: &nothing,
        requests,
        text: String::new(),
    };
    page.head(known);
    page.inputs(known);
    page.bindings("vars", &plan.vars);
    page.heading("steps");
    page.steps(&plan.steps, "", 1);
    if !plan.finally.is_empty() {
        page.heading("finally");
        page.steps(&plan.finally, "", 1);
    }
    page.bindings("outputs", &plan.outputs);
    page.text
}

/// Which of the known servers have all that a playbook uses.
fn servers(plan: &Plan) -> String {
    let servers = plan.servers();
    if servers.is_empty() {
        "none that is known has all that is used".to_owned()
    } else {
        servers.to_string()
    }
}

struct Page<'a> {
    plan: &'a Plan,
    previewer: Previewer<'a>,
    engine: &'a Engine,
    /// No names at all: for titles as they are written.
    nothing: &'a Scope,
    requests: Option<Requests>,
    text: String,
}

impl Page<'_> {
    /// A line, indented by so many steps of two spaces.
    fn line(&mut self, depth: usize, line: &str) {
        if line.is_empty() {
            self.text.push('\n');
            return;
        }
        self.text
            .extend(std::iter::repeat_n("  ", depth).chain([line, "\n"]));
    }

    fn heading(&mut self, name: &str) {
        self.line(0, "");
        self.line(0, &format!("{name}:"));
    }

    /// Lines of a name and what is said of it, in two columns.
    fn table(&mut self, rows: &[(String, String)]) {
        let width = rows.iter().map(|(name, _)| name.chars().count()).max();
        for (name, said) in rows {
            let width = width.unwrap_or(0);
            self.line(1, &format!("{name:width$}  {said}"));
        }
    }

    fn head(&mut self, known: &Known<'_>) {
        let plan = self.plan;
        let summary = plan
            .summary
            .as_deref()
            .map(|summary| format!(": {}", one_line(summary)));
        self.line(0, &format!("{}{}", plan.name, summary.unwrap_or_default()));
        let project = match &plan.project {
            Some(project) => Some(self.previewer.text(project)),
            None => known.project.map(str::to_owned),
        };
        let rows: Vec<(String, String)> = [
            ("remote", plan.remote.clone()),
            ("project", project),
            ("timeout", plan.timeout.map(duration::compact)),
            ("servers", Some(servers(plan))),
        ]
        .into_iter()
        .filter_map(|(name, said)| Some((name.to_owned(), said?)))
        .collect();
        self.line(0, "");
        self.table(&rows);
    }

    fn inputs(&mut self, known: &Known<'_>) {
        let plan = self.plan;
        if plan.inputs.is_empty() {
            return;
        }
        self.heading("inputs");
        let rows: Vec<(String, String)> = plan
            .inputs
            .iter()
            .map(|input| {
                let value = known.inputs.get(&input.name.text);
                (input.name.text.clone(), about(input, value))
            })
            .collect();
        self.table(&rows);
    }

    fn bindings(&mut self, heading: &str, bindings: &[Binding<Template>]) {
        if bindings.is_empty() {
            return;
        }
        self.heading(heading);
        let rows: Vec<(String, String)> = bindings
            .iter()
            .map(|binding| {
                let value = self.previewer.value(&binding.value);
                (binding.name.text.clone(), value.to_string())
            })
            .collect();
        self.table(&rows);
    }

    /// Steps, numbered below the number of the step that holds them.
    fn steps(&mut self, steps: &[Step], above: &str, depth: usize) {
        for (index, step) in steps.iter().enumerate() {
            self.step(step, &format!("{above}{}.", index + 1), depth);
        }
    }

    fn step(&mut self, step: &Step, number: &str, depth: usize) {
        let source = &self.plan.source;
        let line = source.position(step.span.start).line;
        let title = self.title(step);
        self.line(
            depth,
            &format!("{number} {title}  ({}:{line})", source.name()),
        );
        let depth = depth + 1;
        for (name, said) in self.marks(step) {
            self.line(depth, &format!("{name}: {said}"));
        }
        if let Some(requests) = &self.requests {
            for line in requests.of(&step.action, self.previewer) {
                self.line(depth, &format!("> {line}"));
            }
        }
        match &step.action {
            Action::Steps(group) => {
                self.steps(&group.steps, number, depth);
                self.titled("finally", &group.finally, depth);
            }
            Action::Parallel(parallel) => self.steps(&parallel.steps, number, depth),
            Action::Include(include) => self.included(include, number, depth),
            _ => {}
        }
        self.titled("cleanup", &step.cleanup, depth);
    }

    /// The steps of an included playbook, with its own names and places.
    fn included(&mut self, include: &Include, number: &str, depth: usize) {
        let plan = &include.plan;
        let preview = match self.requests {
            Some(_) => known::of_include(include, self.previewer, self.engine),
            None => Preview::default(),
        };
        let previewer = preview.with(self.engine, &plan.source);
        let mut page = Page {
            plan,
            previewer,
            engine: self.engine,
            nothing: self.nothing,
            requests: self
                .requests
                .as_ref()
                .map(|requests| requests.inside(plan, previewer)),
            text: std::mem::take(&mut self.text),
        };
        page.steps(&plan.steps, number, depth);
        page.titled("finally", &plan.finally, depth);
        self.text = page.text;
    }

    /// A step's title as written.
    fn title(&self, step: &Step) -> String {
        one_line(&title(
            step,
            self.engine.with(&self.plan.source, self.nothing),
        ))
    }

    fn titled(&mut self, heading: &str, steps: &[Step], depth: usize) {
        if !steps.is_empty() {
            self.line(depth, &format!("{heading}:"));
            self.steps(steps, "", depth + 1);
        }
    }

    /// What is special about a step.
    fn marks(&self, step: &Step) -> Vec<(&'static str, String)> {
        let mut marks = Vec::new();
        if step.name.is_some() {
            let nameless = Step {
                name: None,
                ..step.clone()
            };
            marks.push(("action", self.title(&nameless)));
        }
        if let Some(when) = &step.when {
            marks.push(("when", one_line(when.code())));
        }
        match &step.for_each {
            Some(ForEach::Expression(list)) => marks.push(("for each", one_line(list.code()))),
            Some(ForEach::List(list)) => {
                marks.push(("for each", self.previewer.value(list).to_string()));
            }
            None => {}
        }
        if let Some(width) = width(step) {
            marks.push(("at once", width.to_string()));
        }
        marks.extend(repetition(step));
        if let Some(timeout) = step.timeout {
            marks.push(("timeout", duration::compact(timeout)));
        }
        if let Action::Request(request) = &step.action
            && request.waiting == Waiting::Later
        {
            marks.push((
                "background",
                "waited for by a join, or at the end of the steps".to_owned(),
            ));
        }
        let (word, bindings) = match &step.action {
            Action::Set(bindings) => ("sets", bindings.as_slice()),
            Action::Include(include) => ("with", include.with.as_slice()),
            _ => ("", &[][..]),
        };
        for binding in bindings {
            let value = match step.visibility {
                Visibility::Shown => self.previewer.value(&binding.value).to_string(),
                Visibility::Secret => "***".to_owned(),
            };
            marks.push((word, format!("{} = {value}", binding.name.text)));
        }
        let captures = step.capture.iter().map(|capture| &capture.name);
        let names: Vec<&str> = step
            .id
            .iter()
            .chain(captures)
            .map(|name| name.text.as_str())
            .collect();
        if !names.is_empty() {
            marks.push(("binds", names.join(", ")));
        }
        if step.on_error == OnError::Continue {
            marks.push(("on error", "continue".to_owned()));
        }
        marks
    }
}

/// How many of a loop's turns, or of parallel steps, at a time, where that is said.
fn width(step: &Step) -> Option<usize> {
    match &step.action {
        Action::Parallel(parallel) if step.for_each.is_none() => parallel.concurrency,
        _ => Some(step.concurrency).filter(|&width| width > 1),
    }
}

/// When a step is done again.
fn repetition(step: &Step) -> Vec<(&'static str, String)> {
    let mut marks = Vec::new();
    if let Some(until) = &step.until {
        let every = duration::compact(until.every);
        let within = duration::compact(until.within);
        let condition = one_line(until.condition.code());
        marks.push((
            "until",
            format!("{condition}  (every {every}, within {within})"),
        ));
        if let Some(fail) = &until.fail_when {
            marks.push(("fail when", one_line(fail.code())));
        }
    }
    if let Some(retry) = &step.retry {
        let delay = duration::compact(retry.delay);
        let said = format!(
            "{} attempts; the first pause is {delay}, each further one {} times as long",
            retry.attempts, retry.backoff
        );
        marks.push(("retry", said));
    }
    marks
}

/// Type, default and so on of an input, and the value it has been given.
fn about(input: &Input, value: Option<&Value>) -> String {
    let is_secret = input.visibility == Visibility::Secret;
    let show = |value: &Value| match input.visibility {
        Visibility::Shown => value.to_string(),
        Visibility::Secret => "***".to_owned(),
    };
    let mut facts = vec![input.kind.map_or("any type", |kind| kind.word()).to_owned()];
    if input.need == Need::Required {
        facts.push("required".to_owned());
    }
    if is_secret {
        facts.push("secret".to_owned());
    }
    if let Some(default) = &input.default {
        facts.push(format!("default {}", show(default)));
    }
    if let Some(variable) = &input.env {
        facts.push(format!("from the environment variable {variable}"));
    }
    if let Some(value) =
        value.filter(|value| input.default.as_ref().unwrap_or(&Value::Null) != *value)
    {
        facts.push(format!("set to {}", show(value)));
    }
    let facts = facts.join(", ");
    match &input.description {
        Some(description) => format!("{facts}: {}", one_line(description)),
        None => facts,
    }
}

fn one_line(code: &str) -> String {
    code.split_whitespace().collect::<Vec<_>>().join(" ")
}
