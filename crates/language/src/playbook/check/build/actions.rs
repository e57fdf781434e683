//! Actions that have keys of their own.

use std::path::Path;

use super::bodies::scalars;
use super::files::instead_of;
use super::{Builder, entries, flag, text};
use crate::playbook::document::{has_template, is_one_template, misspelt};
use crate::playbook::endpoints;
use crate::playbook::grammar::{EXEC, METHODS};
use crate::playbook::plan::{
    Absent, Body, Command, Ensure, Exec, Io, Replacement, Request, Scalars, Waiting,
};
use crate::template::Template;
use malleus_api::path::INSTANCES;
use malleus_source::Place;
use malleus_source::diagnostic::{Diagnostic, Severity, did_you_mean};
use malleus_source::yaml::{self, Kind, Node};

/// What a request looks like.
const FORM: &str = "a request is `METHOD path`, such as `GET instances`";

/// A common slip in a path, and what to do about it.
struct Slip {
    message: String,
    help: String,
}

fn slip_in_path(path: &str) -> Option<Slip> {
    if let Some((_, behind)) = path.split_once("://") {
        let rest = behind.split_once('/').map_or("", |(_, rest)| rest);
        let rest = rest.strip_prefix("1.0/").unwrap_or(rest);
        let rest = if rest.is_empty() { INSTANCES } else { rest };
        return Some(Slip {
            message: format!("`{path}` is a URL; a path of the API is needed here"),
            help: format!(
                "write `{rest}`; the server is chosen by `--remote`, or by `remote:` of the playbook"
            ),
        });
    }
    let (first, rest) = path.split_once(' ')?;
    if METHODS.contains(&first) {
        return Some(Slip {
            message: "a path without a method is needed here".into(),
            help: format!("write `{}`", rest.trim()),
        });
    }
    let inside = path.split_once("{ ")?.1.split_once(" }")?.0;
    Some(Slip {
        message: format!("`{{ {inside} }}` is no template"),
        help: format!("write `{{{{ {inside} }}}}`, with two braces on each side"),
    })
}

impl Builder<'_> {
    pub(super) fn request(&mut self, step: &Node, value: &Node) -> Option<Request> {
        let line = value.as_text()?;
        let method = line.split(' ').next().unwrap_or_default();
        let offset = line.len() - line[method.len()..].trim_start().len();
        if !METHODS.contains(&method) {
            // Built all the same, so that the rest of the step is checked too.
            self.bad_method(value, method);
        }
        if line[offset..].trim().is_empty() {
            if METHODS.contains(&method) {
                self.problem(value.span, "the path of the request is missing")
                    .help = Some(format!("write `{method} instances`, for example"));
            }
            return None;
        }
        let path = self.path(value, line.trim_end(), offset);
        self.endpoint(method, value, offset);
        if let (Some(_), Some(upload)) = (step.get("body"), step.get("upload")) {
            self.problem(
                upload.span,
                "a request has either `body` or `upload`, not both",
            );
        }
        let body = match (step.get("body"), step.get("upload")) {
            (_, Some(file)) => Body::Upload(self.upload(file)),
            (Some(node), None) => {
                let schema = endpoints::body(method, &line[offset..]);
                Body::Json(self.body(step, node, &schema))
            }
            (None, None) => {
                self.missing_body(step, value, (method, offset));
                Body::None
            }
        };
        if matches!(method, "GET" | "HEAD" | "OPTIONS") {
            self.body_of_reading(step, method);
        }
        let save = step.get("save").map(|file| self.save(file));
        Some(Request {
            method: method.to_owned(),
            path,
            query: self.pairs(step.get("query")),
            headers: self.pairs(step.get("headers")),
            body,
            scalars: scalars(step),
            save,
            waiting: if flag(step, "background") {
                Waiting::Later
            } else {
                Waiting::Here
            },
        })
    }

    /// What only reads sends nothing.
    fn body_of_reading(&mut self, step: &Node, method: &str) {
        for (key, _) in entries(Some(step)) {
            if matches!(key.text.as_str(), "body" | "upload") {
                self.problem(
                    key.span,
                    format!("servers ignore what a {method} request sends"),
                )
                .help = Some(
                    "leave it out; parameters of the query stand under `query`, what the reply must be under `expect`"
                        .into(),
                );
            }
        }
    }

    /// A request that is known to need a body.
    fn missing_body(&mut self, step: &Node, value: &Node, (method, offset): (&str, usize)) {
        let line = value.as_text().unwrap_or_default();
        let schema = endpoints::body(method, &line[offset..]);
        if !matches!(method, "POST" | "PUT" | "PATCH")
            || !schema.is_known()
            || scalars(step) == Scalars::AsWritten
        {
            return;
        }
        let may_fail = text(step, "on_error").as_deref() == Some("continue");
        let problem = self.problem(value.span, format!("`{}` needs a `body`", line.trim_end()));
        problem.help = Some("write what is sent below `body:`; an empty body is `{}`".into());
        if may_fail {
            problem.severity = Severity::Warning;
        }
    }

    pub(super) fn ensure(&mut self, step: &Node, value: &Node) -> Option<Ensure> {
        let path = value.as_text()?;
        if endpoints::is_collection(path) {
            self.problem(
                value.span,
                format!("`{path}` holds many resources; `ensure` is of one"),
            )
            .help = Some(format!("write its name: `{path}/…`"));
        } else {
            self.endpoint("PATCH", value, 0);
        }
        for (key, what) in [("state", "have a state"), ("replace", "can be replaced")] {
            if let Some(node) = step.get(key)
                && endpoints::is_of_another_kind(path, INSTANCES)
            {
                self.problem(
                    node.span,
                    format!("only instances {what}; `{path}` is none"),
                )
                .help = Some(format!(
                    "leave `{key}` out, or name a resource below `instances/`"
                ));
            }
        }
        Some(Ensure {
            path: self.path(value, value.as_text()?, 0),
            query: self.pairs(step.get("query")),
            body: step.get("body").map(|body| {
                let schema = endpoints::body_of_resource(path);
                self.body(step, body, &schema)
            }),
            state: step.get("state").map(|state| self.template(state)),
            replace: if flag(step, "replace") {
                Replacement::Allowed
            } else {
                Replacement::Never
            },
            scalars: scalars(step),
        })
    }

    pub(super) fn absent(&mut self, step: &Node, value: &Node) -> Option<Absent> {
        self.endpoint("DELETE", value, 0);
        Some(Absent {
            path: self.path(value, value.as_text()?, 0),
            query: self.pairs(step.get("query")),
        })
    }

    /// What stands behind the method.
    fn path(&mut self, value: &Node, line: &str, offset: usize) -> Template {
        let mut problems = Vec::new();
        let path = Template::read_part(self.source, (line, offset), value.span, &mut problems);
        let literal = path.literal().and_then(serde_json::Value::as_str);
        if let (true, Some(literal)) = (problems.is_empty(), literal)
            && let Err(message) = crate::template::judge_path(literal)
        {
            let span = yaml::within(self.source, value.span, line, offset..line.len());
            let slip = slip_in_path(literal);
            let message = slip.as_ref().map_or(message, |slip| slip.message.clone());
            self.problem(span, message).help = slip.map(|slip| slip.help);
        }
        self.template_problems(problems);
        path
    }

    /// Warns of a path that servers are not known to have, and of a method that they are not known to take for it.
    pub(super) fn endpoint(&mut self, method: &str, value: &Node, offset: usize) {
        let line = value.as_text().unwrap_or_default().trim_end();
        let path = &line[offset..];
        self.servers = self.servers.and(endpoints::servers(method, path));
        if let Some(finding) = endpoints::judge(method, path) {
            let end = offset + endpoints::before_query(path).len();
            let span = yaml::within(self.source, value.span, line, offset..end);
            self.problems.push(
                Diagnostic::warning(finding.message)
                    .at(Place::new(self.source, span), "")
                    .help(finding.help.unwrap_or_default()),
            );
        }
    }

    fn bad_method(&mut self, value: &Node, method: &str) {
        let upper = method.to_uppercase();
        let help = if METHODS.contains(&upper.as_str()) {
            format!("write it in capitals: `{upper}`")
        } else if method.contains('/') || !method.chars().all(|c| c.is_ascii_alphabetic()) {
            FORM.into()
        } else {
            match did_you_mean(&upper, METHODS.iter().copied()) {
                help if help.is_empty() => FORM.into(),
                help => help,
            }
        };
        let line = value.as_text().unwrap_or_default();
        let span = yaml::within(self.source, value.span, line, 0..method.len());
        self.problem(span, format!("`{method}` is not a method of the API"))
            .help = Some(help);
    }

    /// A file that is there before the run, unless its name is worked out or an earlier step writes it.
    fn upload(&mut self, node: &Node) -> Template {
        if let Some(name) = node.as_text().filter(|name| !has_template(name)) {
            let path = self.source.folder().join(Path::new(name));
            if !self.saved.iter().any(|saved| saved == name) && !path.is_file() {
                self.problem(node.span, format!("there is no file `{}`", path.display()))
                    .help = Some(instead_of(name, &path));
            }
        }
        self.template(node)
    }

    fn save(&mut self, node: &Node) -> Template {
        self.saved.extend(node.as_text().map(str::to_owned));
        self.template(node)
    }

    pub(super) fn exec(&mut self, node: &Node) -> Option<Exec> {
        node.as_map()?;
        let command = match (node.get("command"), node.get("shell")) {
            (Some(command), None) => self.command(command)?,
            (None, Some(line)) => Command::Shell(self.long_text(line)),
            (Some(_), Some(shell)) => {
                self.problem(
                    shell.span,
                    "`exec` has either `command` or `shell`, not both",
                );
                return None;
            }
            (None, None) if misspelt(node, &EXEC, "command") || misspelt(node, &EXEC, "shell") => {
                Command::Arguments(Vec::new())
            }
            (None, None) => {
                self.problem(node.span, "`exec` needs `command` or `shell`").help =
                    Some("`command: [cat, /etc/hostname]` runs a program, `shell: \"cat /etc/hostname\"` a line for `sh -c`".into());
                return None;
            }
        };
        let stdin = node.get("stdin").map(|stdin| self.long_text(stdin));
        let io = if stdin.is_some() || flag(node, "stream") {
            Io::Streamed(stdin)
        } else {
            Io::Recorded
        };
        Some(Exec {
            instance: self.template(node.get("instance")?),
            command,
            creates: node.get("creates").map(|path| self.absolute(path)),
            environment: self.texts(node.get("environment")),
            cwd: node.get("cwd").map(|cwd| self.template(cwd)),
            user: node.get("user").map(|user| self.number_of_account(user)),
            group: node.get("group").map(|group| self.number_of_account(group)),
            io,
            timeout: self.limit(node),
        })
    }

    /// The words of a command, or a template that gives them.
    pub(super) fn command(&mut self, node: &Node) -> Option<Command> {
        if node.as_text().is_some_and(is_one_template) {
            return Some(Command::List(self.template(node)));
        }
        let words = node.as_list()?;
        if words.is_empty() {
            self.problem(node.span, "the command is empty");
        }
        Some(Command::Arguments(
            words.iter().map(|word| self.template(word)).collect(),
        ))
    }

    /// The id of a user or a group.
    fn number_of_account(&mut self, node: &Node) -> Template {
        if let Kind::Number(number) = &node.kind
            && number.as_i64().is_some_and(|id| u32::try_from(id).is_err())
        {
            self.problem(node.span, "an id must be an integer from 0 to 4294967295");
        }
        self.template(node)
    }
}
