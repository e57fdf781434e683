//! Commands in instances.

use std::io::{Cursor, Read};
use std::sync::OnceLock;

use super::action::{ActionError, ActionResult, Attempt, CommandOutput, refusal};
use super::pending_work::ExecLog;
use super::shown::{hidden, tail};
use crate::client::{self, Client, Exec, Exit, LastOutput, Operation, Output, Stdio, Wait};
use crate::playbook::plan::{self, Command, Io, Visibility};
use crate::resources::{Resource, Retention};
use crate::secret::{MASK, Masker};
use crate::template::{Renderer, Template, TemplateError, describe};
use serde_json::Value;

/// What a command wrote.
#[derive(Default)]
struct Written {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Attempt<'_, '_> {
    pub(super) fn exec(&self, action: &plan::Exec) -> Result<ActionResult, ActionError> {
        let (exec, stdin) = self.render_exec(action)?;
        if let Some(creates) = &action.creates {
            let path = self.renderer().text(creates)?;
            let found = self.frame.client.stat_file(&exec.instance, &path);
            let what = format!("{path} in {}", exec.instance);
            if found
                .map_err(|error| ActionError::client(error, what))?
                .is_some()
            {
                return Ok(ActionResult {
                    already_there: Some(path),
                    ..ActionResult::default()
                });
            }
        }
        let limit = action.timeout.map_or(self.limit, |after| {
            let client = &self.frame.client;
            client.limit("command", after).earlier(self.limit)
        });
        let wait = Wait {
            limit,
            ..self.wait()
        };
        let what = format!(
            "exec in {}: {}",
            exec.instance,
            shown_command(self.run.masker, &exec.command)
        );
        let client = &self.frame.client;
        let marker = client::new_marker();
        let exec = exec.marked(&marker);
        let command = self.note_command(Resource::command(client, &exec.instance, &marker), &exec);
        let mut written = Written::default();
        let ran = match &action.io {
            Io::Recorded => self.recorded(client, &exec, &wait, &mut written),
            Io::Streamed(_) => streamed(client, &exec, stdin, &wait, &mut written),
        };
        if let Some(command) = command
            && has_ended(&ran)
        {
            self.run.session.tracker.gone(&command);
        }
        match ran {
            Ok(exit) => Ok(ActionResult {
                metadata: exit.operation.metadata.clone(),
                operation: exit.operation.raw.clone(),
                command: Some(CommandOutput {
                    exit_code: exit.code,
                    message: exit.message,
                    stdout: written.stdout,
                    stderr: written.stderr,
                }),
                what,
                ..ActionResult::default()
            }),
            Err(error) => {
                refusal(error, &what).map_err(|error| error.with_notes(self.so_far(&written)))
            }
        }
    }

    /// A command is about to begin: in an instance that is not the run's own it may outlive this process.
    fn note_command(&self, command: Resource, exec: &Exec) -> Option<Resource> {
        let tracker = self.run.session.tracker;
        let instance = Resource::instance(&self.frame.client, &exec.instance);
        if tracker.has(&instance) {
            return None;
        }
        tracker.add(command.clone(), (&self.owner, Retention::RemovedAtEnd));
        Some(command)
    }

    /// What a command has written that was ended before its own end: why it did not end is often there.
    fn so_far(&self, written: &Written) -> Vec<String> {
        [("stderr", &written.stderr), ("stdout", &written.stdout)]
            .into_iter()
            .filter(|(_, bytes)| !bytes.is_empty())
            .map(|(name, bytes)| {
                let name = format!("{name} so far");
                match self.frame.visibility {
                    Visibility::Secret => format!("{name}: {}", hidden(bytes.len())),
                    Visibility::Shown => tail(self.run.masker, &name, bytes),
                }
            })
            .collect()
    }

    /// Runs a command with its output recorded by the server. `written` gets what it wrote, also where it is ended early.
    fn recorded(
        &self,
        client: &Client,
        exec: &Exec,
        wait: &Wait<'_>,
        written: &mut Written,
    ) -> Result<Exit, client::Error> {
        let log = |operation: &Operation| ExecLog {
            client: client.clone(),
            instance: exec.instance.clone(),
            operation: operation.id.clone(),
        };
        let begun = OnceLock::new();
        let started = |operation: &Operation| {
            let log = begun.get_or_init(|| log(operation));
            self.note_log(log);
        };
        let wait = Wait {
            started: Some(&started),
            ..*wait
        };
        let mut last = LastOutput::default();
        let ran = client.exec_recorded_or_last(exec, &wait, &mut last);
        let recorded = ran.inspect_err(|_| {
            // The client has ended the command and deleted its logs, as far as it could: the end of the run makes sure.
            self.run.pending_work().logs.extend(begun.get().cloned());
            (written.stdout, written.stderr) = (last.stdout, last.stderr);
        })?;
        let fetched = recorded.fetch(Output {
            stdout: &mut written.stdout,
            stderr: &mut written.stderr,
        });
        let exit = recorded.exit.clone();
        // Off the step's own time, but never lost: what the log deleter cannot delete is tried again at the end.
        self.run.log_deleter.delete(recorded, log(&exit.operation));
        fetched.map(|()| exit)
    }

    fn render_exec(&self, action: &plan::Exec) -> Result<(Exec, Option<String>), TemplateError> {
        let renderer = self.renderer();
        let command = words(&renderer, &action.command)?;
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
}

/// Whether nothing of a command runs any more, as far as the client knows, which ends what it does not wait for any
/// longer; otherwise the end of the run makes sure.
fn has_ended(ran: &Result<Exit, client::Error>) -> bool {
    match ran {
        Err(client::Error::Timeout { note, .. }) => note.is_none(),
        Err(
            client::Error::Lost { .. }
            | client::Error::Interrupted { .. }
            | client::Error::Protocol { .. },
        ) => false,
        Ok(_) | Err(_) => true,
    }
}

fn streamed(
    client: &Client,
    exec: &Exec,
    stdin: Option<String>,
    wait: &Wait<'_>,
    written: &mut Written,
) -> Result<Exit, client::Error> {
    let io = Stdio {
        stdin: stdin.map(|text| Box::new(Cursor::new(text)) as Box<dyn Read + Send>),
        stdout: &mut written.stdout,
        stderr: &mut written.stderr,
        signals: None,
    };
    client.exec_stream(exec, io, wait)
}

/// The words of a command.
pub(super) fn words(
    renderer: &Renderer<'_>,
    command: &Command,
) -> Result<Vec<String>, TemplateError> {
    match command {
        Command::Arguments(arguments) => arguments
            .iter()
            .map(|argument| renderer.text(argument))
            .collect(),
        Command::List(list) => listed(renderer, list),
        Command::Shell(line) => Ok(vec!["sh".to_owned(), "-c".to_owned(), renderer.text(line)?]),
    }
}

/// The words of a command that a template gives as a list.
fn listed(renderer: &Renderer<'_>, template: &Template) -> Result<Vec<String>, TemplateError> {
    let fault = |message: String| TemplateError {
        message,
        span: template.span(),
    };
    let value = renderer.value(template)?;
    let Value::Array(items) = value else {
        return Err(fault(format!(
            "a command is a list of words, this is {}",
            describe(&value)
        )));
    };
    if items.is_empty() {
        return Err(fault("the command is empty".into()));
    }
    items
        .into_iter()
        .map(|item| match item {
            Value::String(word) => Ok(word),
            Value::Number(_) | Value::Bool(_) => Ok(item.to_string()),
            other => Err(fault(format!(
                "each word of a command is text, this one is {}",
                describe(&other)
            ))),
        })
        .collect()
}

pub(super) fn number(renderer: &Renderer<'_>, template: &Template) -> Result<u32, TemplateError> {
    let value = renderer.value(template)?;
    value
        .as_u64()
        .and_then(|id| u32::try_from(id).ok())
        .ok_or_else(|| TemplateError {
            message: format!("an id must be an integer from 0, not {value}"),
            span: template.span(),
        })
}

/// A command as a person would type it. Masked before it is quoted.
fn shown_command(masker: &Masker, command: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    let words: Vec<String> = command
        .iter()
        .map(|word| masker.mask(word))
        .map(|word| {
            if !word.is_empty() && word.replace(MASK, "").chars().all(plain) {
                word
            } else {
                format!("'{}'", word.replace('\'', "'\\''"))
            }
        })
        .collect();
    words.join(" ")
}
