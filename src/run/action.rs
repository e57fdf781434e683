//! Carries out one action once: render, send, wait.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::executor::{Frame, Run};
use super::ledger::{ExecLog, Pending};
use crate::client::{self, Client, Content, Exec, Limit, Operation, Output, Reply, Stdio, Wait};
use crate::playbook::plan::{self, Action, Body, Command, Io, Name, Waiting};
use crate::template::{Fault, Renderer, Template};

/// What an action showed, before anyone judges it.
#[derive(Debug, Default)]
pub(super) struct Observed {
    pub(super) status: Option<u16>,
    pub(super) headers: Map<String, Value>,
    pub(super) etag: Option<String>,
    pub(super) metadata: Value,
    pub(super) operation: Value,
    pub(super) body: Value,
    pub(super) command: Option<CommandOutput>,
    /// The refusal of the API, or the failure of the operation: the daemon's own words.
    pub(super) error: Option<String>,
    /// The request or the command, for messages.
    pub(super) what: String,
}

/// What a command left.
#[derive(Debug)]
pub(super) struct CommandOutput {
    pub(super) exit_code: i32,
    pub(super) message: Option<String>,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// Why an action showed nothing.
#[derive(Debug)]
pub(super) enum Trouble {
    /// A template in it failed.
    Fault(Fault),
    /// The client failed, other than by a refusal.
    Client(Box<client::Error>, String),
}

impl Trouble {
    fn client(error: client::Error, what: String) -> Self {
        Self::Client(Box::new(error), what)
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Observed {
    /// The fields of the step's result.
    pub(super) fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        put("status", self.status.into());
        put("headers", Value::Object(self.headers.clone()));
        put("etag", self.etag.clone().into());
        put("metadata", self.metadata.clone());
        put("operation", self.operation.clone());
        put("body", self.body.clone());
        put("failed", self.error.is_some().into());
        put("error", self.error.clone().into());
        put("skipped", false.into());
        if let Some(command) = &self.command {
            put("exit_code", command.exit_code.into());
            for (name, bytes) in [("stdout", &command.stdout), ("stderr", &command.stderr)] {
                let (text, encoded) = match std::str::from_utf8(bytes) {
                    Ok(text) => (Value::from(text), Value::Null),
                    Err(_) => (Value::Null, STANDARD.encode(bytes).into()),
                };
                put(name, text);
                put(&format!("{name}_base64"), encoded);
            }
        }
        fields
    }

    fn from_reply(reply: &Reply) -> Self {
        Self {
            status: Some(reply.status),
            headers: reply
                .headers
                .iter()
                .map(|(name, value)| (name.to_ascii_lowercase(), value.into()))
                .collect(),
            etag: reply.etag().map(str::to_owned),
            metadata: reply.metadata().clone(),
            body: match &reply.content {
                Content::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned().into(),
                _ => reply.body(),
            },
            error: reply.api_error().map(|error| error.message),
            what: format!("{} {}", reply.method, reply.path),
            ..Self::default()
        }
    }

    fn with_operation(mut self, operation: &Operation) -> Self {
        self.operation = operation.raw.clone();
        self.metadata = operation.metadata.clone();
        if operation.failed() {
            let words = if operation.err.is_empty() {
                &operation.status
            } else {
                &operation.err
            };
            self.error = Some(words.clone());
        }
        self
    }
}

/// One attempt at a step's action.
pub(super) struct Attempt<'t, 'plan> {
    pub(super) run: &'t Run<'plan>,
    pub(super) frame: &'t Frame,
    pub(super) limit: Limit,
    /// Is told what the operation says of its progress.
    pub(super) progress: &'t (dyn Fn(&Operation) + Sync),
}

impl Attempt<'_, '_> {
    pub(super) fn act(&self, step: &plan::Step) -> Result<Observed, Trouble> {
        match &step.action {
            Action::Request(request) => self.request(step, request),
            Action::Exec(exec) => self.exec(exec),
            Action::Join(name) => self.join(name),
            // These talk to nobody: the executor carries them out itself.
            Action::Set(_) | Action::Check(_) | Action::Steps(_) => Ok(Observed::default()),
        }
    }

    fn renderer(&self) -> Renderer<'_> {
        self.run.renderer(&self.frame.scope)
    }

    fn wait(&self) -> Wait<'_> {
        Wait {
            limit: self.limit,
            progress: Some(self.progress),
            started: None,
        }
    }

    fn request(&self, step: &plan::Step, action: &plan::Request) -> Result<Observed, Trouble> {
        let request = self.render_request(action)?;
        let what = format!("{} {}", request.method(), request.path());
        if request.method() != "GET" {
            // A log that is still being deleted keeps its instance's volume in use.
            self.run.janitor.drain();
        }
        if let Some(file) = &action.save {
            let file = self.path(file)?;
            return self
                .save(&request, &file)
                .map_err(|error| Trouble::client(error, what));
        }
        let client = &self.frame.client;
        let failed = |error: client::Error| Trouble::client(error, what.clone());
        let reply = client.send(&request).map_err(failed)?;
        let seen = Observed::from_reply(&reply);
        let Some(begun) = reply.operation() else {
            return Ok(seen);
        };
        self.note_recorded_logs(&request, &reply, &begun);
        if action.waiting == Waiting::Later {
            self.run.ledger().pending.push(Pending {
                id: step.id.as_ref().map(|id| id.text.clone()),
                operation: begun.id.clone(),
                what: what.clone(),
                span: step.span,
                client: client.clone(),
            });
            return Ok(seen.with_operation(&begun));
        }
        if begun.class != client::Class::Task {
            return Ok(seen.with_operation(&begun));
        }
        let ended = client.wait(&begun.id, &self.wait()).map_err(failed)?;
        Ok(seen.with_operation(&ended))
    }

    fn render_request(&self, action: &plan::Request) -> Result<client::Request, Fault> {
        let renderer = self.renderer();
        let path = renderer.path(&action.path)?;
        let mut request = client::Request::new(&action.method, path).limit(self.limit);
        for (name, value) in &action.query {
            request = request.query(name, renderer.text(value)?);
        }
        for (name, value) in &action.headers {
            request = request.header(name, renderer.text(value)?);
        }
        Ok(match &action.body {
            Body::None => request,
            Body::Json(body) => request.json(renderer.value(body)?),
            Body::Upload(file) => request.upload(self.path(file)?),
        })
    }

    /// A file's path, relative to the playbook.
    fn path(&self, template: &Template) -> Result<PathBuf, Fault> {
        let name = self.renderer().text(template)?;
        Ok(self.run.plan.source.folder().join(Path::new(&name)))
    }

    /// Streams the reply into a file.
    fn save(&self, request: &client::Request, file: &Path) -> Result<Observed, client::Error> {
        let reply = match self.frame.client.save(request, file) {
            Err(client::Error::Api(refusal)) => {
                return Ok(Observed {
                    status: Some(refusal.status),
                    error: Some(refusal.message),
                    what: format!("{} {}", refusal.method, refusal.path),
                    ..Observed::default()
                });
            }
            other => other?,
        };
        let mut seen = Observed::from_reply(&reply);
        if let Content::Streamed { bytes } = reply.content {
            seen.metadata = json!({"file": file.display().to_string(), "bytes": bytes});
        }
        Ok(seen)
    }

    /// A plain request that has the daemon record a command's output leaves logs, as `exec` does.
    fn note_recorded_logs(&self, request: &client::Request, reply: &Reply, begun: &Operation) {
        let path = reply.path.split('?').next().unwrap_or_default();
        let instance = path
            .strip_prefix("/1.0/instances/")
            .and_then(|rest| rest.strip_suffix("/exec"))
            .filter(|name| !name.contains('/'));
        let records = request
            .json_body()
            .is_some_and(|body| body["record-output"] == true);
        if let (Some(instance), "POST", true) = (instance, request.method(), records) {
            let project = reply
                .path
                .split(['?', '&'])
                .find_map(|pair| pair.strip_prefix("project="));
            let decode = |text: &str| {
                percent_encoding::percent_decode_str(text)
                    .decode_utf8_lossy()
                    .into_owned()
            };
            let client = match project {
                Some(project) => self.frame.client.with_project(&decode(project)),
                None => self.frame.client.clone(),
            };
            self.run.ledger().logs.push(ExecLog {
                client,
                instance: decode(instance),
                operation: begun.id.clone(),
            });
        }
    }

    fn exec(&self, action: &plan::Exec) -> Result<Observed, Trouble> {
        let (exec, stdin) = self.render_exec(action)?;
        let limit = action.timeout.map_or(self.limit, |after| {
            Limit::after("command", after).earlier(self.limit)
        });
        let wait = Wait {
            limit,
            ..self.wait()
        };
        let what = format!(
            "exec in {}: {}",
            exec.instance,
            shown_command(&exec.command)
        );
        let client = &self.frame.client;
        let ran = match &action.io {
            Io::Recorded => self.recorded(client, &exec, &wait),
            Io::Streamed(_) => streamed(client, &exec, stdin, &wait),
        };
        match ran {
            Ok((exit, stdout, stderr)) => Ok(Observed {
                metadata: exit.operation.metadata.clone(),
                operation: exit.operation.raw.clone(),
                command: Some(CommandOutput {
                    exit_code: exit.code,
                    message: exit.message,
                    stdout,
                    stderr,
                }),
                what,
                ..Observed::default()
            }),
            Err(client::Error::Api(refusal)) => Ok(Observed {
                status: Some(refusal.status),
                error: Some(refusal.message),
                what,
                ..Observed::default()
            }),
            Err(client::Error::Operation(failure)) => Ok(Observed {
                what,
                ..Observed::default().with_operation(&failure.operation)
            }),
            Err(error) => Err(Trouble::client(error, what)),
        }
    }

    fn recorded(
        &self,
        client: &Client,
        exec: &Exec,
        wait: &Wait<'_>,
    ) -> Result<Ran, client::Error> {
        let recorded = client.exec_recorded(exec, wait)?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let fetched = recorded.fetch(Output {
            stdout: &mut stdout,
            stderr: &mut stderr,
        });
        let exit = recorded.exit.clone();
        // Off the step's own time, but never lost: what the janitor cannot delete is tried again at the end.
        self.run.janitor.delete(
            recorded,
            ExecLog {
                client: client.clone(),
                instance: exec.instance.clone(),
                operation: exit.operation.id.clone(),
            },
        );
        fetched.map(|()| (exit, stdout, stderr))
    }

    fn render_exec(&self, action: &plan::Exec) -> Result<(Exec, Option<String>), Fault> {
        let renderer = self.renderer();
        let command = match &action.command {
            Command::Arguments(arguments) => arguments
                .iter()
                .map(|argument| renderer.text(argument))
                .collect::<Result<_, _>>()?,
            Command::Shell(line) => vec!["sh".to_owned(), "-c".to_owned(), renderer.text(line)?],
        };
        let mut exec = Exec::new(renderer.text(&action.instance)?, command);
        for (name, value) in &action.environment {
            exec = exec.env(name, renderer.text(value)?);
        }
        exec.cwd = action
            .cwd
            .as_ref()
            .map(|cwd| renderer.text(cwd))
            .transpose()?;
        exec.user = action
            .user
            .as_ref()
            .map(|id| number(&renderer, id))
            .transpose()?;
        exec.group = action
            .group
            .as_ref()
            .map(|id| number(&renderer, id))
            .transpose()?;
        let stdin = match &action.io {
            Io::Streamed(Some(stdin)) => Some(renderer.text(stdin)?),
            _ => None,
        };
        Ok((exec, stdin))
    }

    fn join(&self, name: &Name) -> Result<Observed, Trouble> {
        let mut ledger = self.run.ledger();
        let found = ledger
            .pending
            .iter()
            .rposition(|pending| pending.id.as_deref() == Some(&name.text));
        let pending = found.map(|at| ledger.pending.remove(at));
        drop(ledger);
        // Nothing pending: the step was skipped, its reply was final already, or it was joined before.
        let Some(pending) = pending else {
            return Ok(Observed {
                what: format!("join {}", name.text),
                ..Observed::default()
            });
        };
        self.finish(&pending)
    }

    /// Waits for what was begun in the background.
    pub(super) fn finish(&self, pending: &Pending) -> Result<Observed, Trouble> {
        let ended = pending
            .client
            .wait(&pending.operation, &self.wait())
            .map_err(|error| Trouble::client(error, pending.what.clone()))?;
        Ok(Observed {
            what: pending.what.clone(),
            ..Observed::default().with_operation(&ended)
        })
    }
}

type Ran = (client::Exit, Vec<u8>, Vec<u8>);

fn streamed(
    client: &Client,
    exec: &Exec,
    stdin: Option<String>,
    wait: &Wait<'_>,
) -> Result<Ran, client::Error> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let io = Stdio {
        stdin: stdin
            .map(|text| Box::new(std::io::Cursor::new(text)) as Box<dyn std::io::Read + Send>),
        stdout: &mut stdout,
        stderr: &mut stderr,
        signals: None,
    };
    let exit = client.exec_stream(exec, io, wait)?;
    Ok((exit, stdout, stderr))
}

fn number(renderer: &Renderer<'_>, template: &Template) -> Result<u32, Fault> {
    let value = renderer.value(template)?;
    value
        .as_u64()
        .and_then(|id| u32::try_from(id).ok())
        .ok_or_else(|| Fault {
            message: format!("an id must be an integer from 0, not {value}"),
            span: template.span(),
        })
}

/// A command as a person would type it.
fn shown_command(command: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    let words: Vec<String> = command
        .iter()
        .map(|word| {
            if !word.is_empty() && word.chars().all(plain) {
                word.clone()
            } else {
                format!("'{}'", word.replace('\'', "'\\''"))
            }
        })
        .collect();
    words.join(" ")
}
