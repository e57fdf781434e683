use std::fmt;
use std::io::Write;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use malleus_api::{ApiPath, Meaning, means};

use super::operation::small;
use super::wait::Waiter;
use super::{Client, Error, Operation, Request, Wait};

/// The environment variable that every command started by this library carries, with an identifier of
/// its own: by it the command and its children are found again when they have to be ended.
pub(super) const MARKER: &str = "MALLEUS_EXEC";

/// A command to run in an instance. No shell is involved unless the command names one.
///
/// ```
/// use malleus_client::Exec;
///
/// let exec = Exec::new("c1", ["sh", "-c", "echo $GREETING"])
///     .env("GREETING", "hello")
///     .user(1000)
///     .cwd("/tmp");
/// # assert_eq!(exec.command.len(), 3);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// The name of the instance.
    pub instance: String,
    /// The program, looked up in `PATH`, and its arguments.
    pub command: Vec<String>,
    /// Variables on top of the instance's `environment.*` configuration and the server's few defaults.
    pub environment: IndexMap<String, String>,
    /// The numeric user to run as; root when not given.
    pub user: Option<u32>,
    /// The numeric group to run as; root's when not given.
    pub group: Option<u32>,
    /// The working directory; the server silently takes `/` for one that does not exist.
    pub cwd: Option<String>,
    /// What the command is found by when it has to be ended; one of its own when not given.
    pub marker: Option<String>,
}

impl Exec {
    /// A command with nothing but its arguments, run as root.
    pub fn new<I>(instance: impl Into<String>, command: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        Self {
            instance: instance.into(),
            command: command.into_iter().map(Into::into).collect(),
            environment: IndexMap::new(),
            user: None,
            group: None,
            cwd: None,
            marker: None,
        }
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// Runs as this user.
    #[must_use]
    pub fn user(mut self, user: u32) -> Self {
        self.user = Some(user);
        self
    }

    /// Runs as this group.
    #[must_use]
    pub fn group(mut self, group: u32) -> Self {
        self.group = Some(group);
        self
    }

    /// Runs in this directory.
    #[must_use]
    pub fn cwd(mut self, directory: impl Into<String>) -> Self {
        self.cwd = Some(directory.into());
        self
    }

    /// Has the command be found by this identifier, as [`new_marker`] gives one, so that
    /// [`Client::end_commands`] can end it when this process is gone.
    #[must_use]
    pub fn marked(mut self, marker: impl Into<String>) -> Self {
        self.marker = Some(marker.into());
        self
    }

    /// The identifier that the command is found by.
    pub(super) fn own_marker(&self) -> String {
        self.marker.clone().unwrap_or_else(new_marker)
    }

    pub(super) fn path(&self) -> String {
        ApiPath::of_instance_part(&self.instance, "exec").to_string()
    }

    /// The request that starts the command, with the marker to find it by.
    pub(super) fn request(&self, mode: Mode, marker: &str) -> Request {
        self.clone().env(MARKER, marker).unmarked_request(mode)
    }

    /// The request that starts the command as it stands.
    pub(super) fn unmarked_request(&self, mode: Mode) -> Request {
        let environment: Map<String, Value> = self
            .environment
            .iter()
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect();
        let mut body = json!({
            "command": self.command,
            "environment": environment,
            "interactive": false,
            "record-output": mode == Mode::Recorded,
            "wait-for-websocket": mode == Mode::Websockets,
        });
        for (key, id) in [("user", self.user), ("group", self.group)] {
            if let Some(id) = id {
                body[key] = json!(id);
            }
        }
        if let Some(cwd) = &self.cwd {
            body["cwd"] = json!(cwd);
        }
        Request::post(self.path()).json(body)
    }
}

/// What happens to the output of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Recorded,
    Websockets,
    Discarded,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Exit {
    /// The exit code; 128 + N when signal N ended the command, 127 when there is no such command and 126
    /// when it cannot be executed.
    pub code: i32,
    /// What the server says about a command that could not be started, such as `"Command not found"`.
    pub message: Option<String>,
    /// The operation that ran the command.
    pub operation: Operation,
}

impl Exit {
    /// Whether the exit code is 0.
    pub fn success(&self) -> bool {
        self.code == 0
    }

    /// Reads the end of an exec operation. A command that could not be started is an exit too: the
    /// API reports it as a failed operation with `return` 126 or 127.
    pub(super) fn from_operation(operation: Operation, started: &Started) -> Result<Self, Error> {
        let code = operation.metadata["return"].as_i64();
        let code = code.and_then(|code| i32::try_from(code).ok());
        if !operation.failed() {
            return match code {
                Some(code) => Ok(Self {
                    code,
                    message: None,
                    operation,
                }),
                None => Err(Error::Protocol {
                    method: started.method.clone(),
                    path: started.path.clone(),
                    reason: "the operation ended without an exit code".to_owned(),
                }),
            };
        }
        // The text alone is left when the record was gone before it could be read.
        let code = match (code, operation.err.as_str()) {
            (Some(code @ (126 | 127)), _) => code,
            (_, err) if means(err, Meaning::CommandNotFound) => 127,
            (_, err) if means(err, Meaning::CommandNotExecutable) => 126,
            _ => return Err(Error::failed(operation, &started.method, &started.path)),
        };
        Ok(Self {
            code,
            message: Some(operation.err.clone()),
            operation,
        })
    }
}

/// What a command had written when it had to be ended: the last 64 KiB of each stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastOutput {
    /// The end of standard output.
    pub stdout: Vec<u8>,
    /// The end of standard error.
    pub stderr: Vec<u8>,
}

/// Where the output of a command goes.
pub struct Output<'a> {
    /// Its standard output.
    pub stdout: &'a mut (dyn Write + Send),
    /// Its standard error.
    pub stderr: &'a mut (dyn Write + Send),
}

impl fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").finish_non_exhaustive()
    }
}

/// A command that the server has taken on.
pub(super) struct Started {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) operation: Operation,
}

impl Client {
    /// Sends the request that starts a command, and tells who wants to know.
    pub(super) fn start_exec(&self, request: &Request, wait: &Wait<'_>) -> Result<Started, Error> {
        let limit = self.request_limit(request).earlier(wait.limit);
        let reply = self.request(&request.clone().limit(limit))?;
        let Some(operation) = reply.operation() else {
            let code = small(&reply.metadata()["status_code"]).unwrap_or(reply.status);
            return Err(Error::Protocol {
                method: reply.method,
                path: reply.path,
                reason: format!("no operation was begun (status {code})"),
            });
        };
        if let Some(started) = wait.started {
            started(&operation);
        }
        Ok(Started {
            method: reply.method,
            path: reply.path,
            operation,
        })
    }

    /// Waits for a started command to end.
    pub(super) fn await_exec(&self, started: &Started, wait: &Wait<'_>) -> Result<Exit, Error> {
        let cause = (started.method.as_str(), started.path.as_str());
        let operation = Waiter::new(self, &started.operation.id, wait, cause)?.run()?;
        Exit::from_operation(operation, started)
    }
}

/// An identifier that no other command carries.
pub fn new_marker() -> String {
    format!("{:032x}", fastrand::u128(..))
}
