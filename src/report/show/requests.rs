//! The requests of a step, with the values that are known before a run.

use malleus_api::ApiPath;
use malleus_api::path::INSTANCES;
use serde_json::{Map, Value, json};

use crate::playbook::plan::{Absent, Action, Body, Command, Ensure, Exec, Io, Plan, Request};
use crate::template::{Previewer, Template};
use malleus_core::percent::encode;

/// Writes down requests.
pub(super) struct Requests {
    /// The project that is added to requests, fit for a query.
    project: Option<String>,
}

impl Requests {
    /// With the project of requests where no playbook names one.
    pub(super) fn new(project: Option<&str>) -> Self {
        Self {
            project: project.map(encode),
        }
    }

    /// Those of a playbook, inside of what has been before.
    pub(super) fn inside(&self, plan: &Plan, previewer: Previewer<'_>) -> Self {
        let own = plan.project.as_ref();
        Self {
            project: own
                .map(|project| escaped(project, previewer))
                .or_else(|| self.project.clone()),
        }
    }

    /// The lines of an action's requests; none for an action that sends nothing itself.
    pub(super) fn of(&self, action: &Action, previewer: Previewer<'_>) -> Vec<String> {
        match action {
            Action::Request(request) => self.request(request, previewer),
            Action::Exec(exec) => self.exec(exec, previewer),
            Action::Ensure(ensure) => self.ensure(ensure, previewer),
            Action::Absent(absent) => self.absent(absent, previewer),
            _ => Vec::new(),
        }
    }

    fn request(&self, request: &Request, previewer: Previewer<'_>) -> Vec<String> {
        let path = below_version(previewer.path(&request.path));
        let target = self.target(path, &request.query, previewer);
        let mut lines = vec![format!("{} {target}", request.method)];
        for (name, value) in &request.headers {
            lines.push(format!("{name}: {}", previewer.text(value)));
        }
        match &request.body {
            Body::None => {}
            Body::Json(body) => lines.extend(json_lines(&previewer.value(body))),
            Body::Upload(file) => lines.push(format!("(the file {})", previewer.text(file))),
        }
        if let Some(file) = &request.save {
            lines.push(format!(
                "(the reply goes to the file {})",
                previewer.text(file)
            ));
        }
        lines
    }

    fn exec(&self, exec: &Exec, previewer: Previewer<'_>) -> Vec<String> {
        let instance = escaped(&exec.instance, previewer);
        let target = self.target(
            format!("{}/exec", below_version(format!("{INSTANCES}/{instance}"))),
            &[],
            previewer,
        );
        let command: Vec<String> = match &exec.command {
            Command::Arguments(arguments) => {
                arguments.iter().map(|part| previewer.text(part)).collect()
            }
            Command::List(list) => match previewer.value(list) {
                Value::Array(words) => words.iter().map(crate::report::outputs::text).collect(),
                word => vec![crate::report::outputs::text(&word)],
            },
            Command::Shell(line) => vec!["sh".into(), "-c".into(), previewer.text(line)],
        };
        let environment: Map<String, Value> = exec
            .environment
            .iter()
            .map(|(name, value)| (name.clone(), previewer.text(value).into()))
            .collect();
        let is_recorded = matches!(exec.io, Io::Recorded);
        let mut body = json!({
            "command": command,
            "environment": environment,
            "interactive": false,
            "record-output": is_recorded,
            "wait-for-websocket": !is_recorded,
        });
        let rest = [
            ("user", &exec.user),
            ("group", &exec.group),
            ("cwd", &exec.cwd),
        ];
        for (key, value) in rest {
            if let Some(value) = value {
                body[key] = previewer.value(value);
            }
        }
        let mut lines = vec![format!("POST {target}")];
        lines.extend(json_lines(&body));
        lines.push(match exec.io {
            Io::Recorded => "(then its recorded output is fetched and deleted)".to_owned(),
            Io::Streamed(_) => "(then its input and output go over websockets)".to_owned(),
        });
        lines
    }

    fn ensure(&self, ensure: &Ensure, previewer: Previewer<'_>) -> Vec<String> {
        let path = below_version(previewer.path(&ensure.path));
        let target = self.target(path.clone(), &ensure.query, previewer);
        let collection = path
            .rsplit_once('/')
            .map_or(path.as_str(), |(collection, _)| collection);
        let collection = self.target(collection.to_owned(), &ensure.query, previewer);
        let mut lines = vec![
            format!("GET {target}"),
            format!("(where it is not there, POST {collection}; where it differs, PATCH)"),
        ];
        if let Some(body) = &ensure.body {
            lines.extend(json_lines(&previewer.value(body)));
        }
        if let Some(state) = &ensure.state {
            lines.push(format!("(then its state: {})", previewer.text(state)));
        }
        lines
    }

    fn absent(&self, absent: &Absent, previewer: Previewer<'_>) -> Vec<String> {
        let path = below_version(previewer.path(&absent.path));
        let is_instance = ApiPath::parse(&path).is_some_and(|path| path.is_instance());
        let target = self.target(path, &absent.query, previewer);
        let mut lines = vec![format!("DELETE {target}")];
        if is_instance {
            lines.push("(stopped by force first, where it runs)".to_owned());
        }
        lines
    }

    /// A path with its query, and the project where one is added.
    fn target(
        &self,
        path: String,
        query: &[(String, Template)],
        previewer: Previewer<'_>,
    ) -> String {
        let mut pairs: Vec<(String, String)> = query
            .iter()
            .map(|(name, value)| (name.clone(), escaped(value, previewer)))
            .collect();
        if let Some(project) = &self.project
            && (malleus_api::path::is_scoped(&path) || path.starts_with("{{"))
            && !has(&path, &pairs, "project")
            && !has(&path, &pairs, "all-projects")
        {
            pairs.push(("project".to_owned(), project.clone()));
        }
        pairs.into_iter().fold(path, |target, (name, value)| {
            let sign = if target.contains('?') { '&' } else { '?' };
            format!("{target}{sign}{}={value}", encode(&name))
        })
    }
}

fn below_version(path: String) -> String {
    if path.starts_with("{{") {
        path
    } else {
        malleus_api::path::absolute(&path)
    }
}

/// One segment or query value, encoded where it is known.
fn escaped(value: &Template, previewer: Previewer<'_>) -> String {
    let text = previewer.text(value);
    match previewer.known(value) {
        Some(_) => encode(&text),
        None => text,
    }
}

fn has(path: &str, pairs: &[(String, String)], name: &str) -> bool {
    let in_path = path.split_once('?').is_some_and(|(_, query)| {
        query
            .split('&')
            .any(|pair| pair.split('=').next() == Some(name))
    });
    in_path || pairs.iter().any(|(other, _)| other == name)
}

fn json_lines(value: &Value) -> Vec<String> {
    format!("{value:#}").lines().map(str::to_owned).collect()
}
