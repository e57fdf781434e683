//! Ending a command that outlived its limit.

use std::time::Duration;

use malleus_api::{ApiPath, Meaning, means, operation};
use serde_json::Value;

use super::exec::{LastOutput, MARKER, Mode};
use super::wait::Waiter;
use super::{Client, Error, Exec, Exit, Limit, Request, Wait};

/// How long finding and killing the processes may take.
const SWEEP: Duration = Duration::from_secs(5);

/// How long the operation may take to notice that its command is gone.
const NOTICE: Duration = Duration::from_secs(3);

/// Kills every process whose environment carries `$1`, until a look finds none: a process may
/// fork while the others are being killed. The kernel shows the environment a process began with, and
/// children inherit it. Our own shell does not carry the marker, only its arguments do.
const SCRIPT: &str = r#"
round=0
while [ "$round" -lt 20 ]; do
    found=
    for environment in /proc/[0-9]*/environ; do
        if grep -qs "$1" "$environment" 2>/dev/null; then
            process=${environment#/proc/}
            kill -9 "${process%/environ}" 2>/dev/null && found=yes
        fi
    done
    [ -n "$found" ] || exit 0
    round=$((round + 1))
done
exit 1
"#;

/// A command that must not go on, on a client of its own: the one that started it may be cancelled.
pub(super) struct Ending {
    client: Client,
    instance: String,
    marker: String,
}

impl Ending {
    pub(super) fn new(client: &Client, instance: &str, marker: &str) -> Self {
        Self {
            client: client.detached(),
            instance: instance.to_owned(),
            marker: marker.to_owned(),
        }
    }

    /// Kills the command and all its children by a second, short command inside the instance: the
    /// API of most servers has no way to end a command whose output is recorded.
    ///
    /// # Errors
    /// Why the command could not be ended, ready to be appended to an error.
    pub(super) fn kill(&self) -> Result<(), String> {
        let pattern = format!("{MARKER}={}", self.marker);
        let sweep = Exec::new(&self.instance, ["sh", "-c", SCRIPT, "sh", &pattern]);
        let wait = Wait::within(Limit::after("sweep", SWEEP));
        let outcome = self.sweep(&sweep, &wait);
        let reason = match outcome {
            Ok(exit) if exit.code == 0 => return Ok(()),
            Ok(exit) if exit.message.is_some() => "there is no shell in the instance".to_owned(),
            Ok(exit) => format!("the search for its processes ended with {}", exit.code),
            // A stopped instance has no processes left to kill.
            Err(Error::Api(error)) if means(&error.message, Meaning::Stopped) => return Ok(()),
            Err(error) => error.to_string(),
        };
        Err(format!("the command may still be running: {reason}"))
    }

    fn sweep(&self, sweep: &Exec, wait: &Wait<'_>) -> Result<Exit, Error> {
        // Started without a marker, or it would find itself.
        let request = sweep.unmarked_request(Mode::Discarded);
        let started = self.client.start_exec(&request, wait)?;
        self.client.await_exec(&started, wait)
    }

    /// Waits briefly for the operation of a killed command, so that its logs are not written anew
    /// after they were deleted.
    pub(super) fn settle(&self, operation: &str) {
        let wait = Wait::within(Limit::after("end of the command", NOTICE));
        let waiter = Waiter::new(&self.client, operation, &wait, ("GET", operation));
        // How it ended no longer matters.
        let _ = waiter.and_then(Waiter::run);
    }

    pub(super) fn last_output(&self, operation: &str) -> LastOutput {
        self.client.last_output(&self.instance, operation)
    }

    pub(super) fn delete_logs(&self, operation: &str) -> Result<(), String> {
        let deleted = self.client.delete_exec_logs(&self.instance, operation);
        deleted.map_err(|error| format!("its logs may be left: {error}"))
    }
}

impl Client {
    /// Ends the commands in an instance that carry this identifier, children included, as well as it can be done from
    /// outside: see [`Client::exec_recorded`]. Where the instance is gone or stopped there is nothing to end.
    ///
    /// # Errors
    /// [`Error::StillRunning`] where a command of the instance runs and cannot be searched for.
    pub fn end_commands(&self, instance: &str, marker: &str) -> Result<(), Error> {
        let limit = Limit::after("sweep", SWEEP);
        let path = ApiPath::of_instance(instance).to_string();
        match self.request(&Request::get(path).limit(limit)) {
            Err(error) if error.status() == Some(404) => return Ok(()),
            Err(error) => return Err(error),
            Ok(reply) if reply.metadata()["status"] == "Stopped" => return Ok(()),
            Ok(_) => {}
        }
        let Err(reason) = Ending::new(self, instance, marker).kill() else {
            return Ok(());
        };
        let list = Request::get("operations").query("recursion", "1");
        let reply = self.request(&list.limit(limit))?;
        let instance_path = ApiPath::of_instance(instance);
        let groups = reply.metadata().as_object();
        let mut all = groups
            .into_iter()
            .flat_map(|groups| groups.values())
            .filter_map(Value::as_array)
            .flatten();
        let runs = all.any(|record| {
            operation::is_command(record)
                && operation::is_running(record)
                && operation::paths(record).contains(&instance_path)
        });
        if runs {
            return Err(Error::StillRunning {
                instance: instance.to_owned(),
                reason,
            });
        }
        Ok(())
    }
}

/// Adds a remark to an error that has room for one.
pub(super) fn with_notes(error: Error, notes: &[String]) -> Error {
    match error {
        Error::Timeout {
            limit,
            after,
            method,
            path,
            operation,
            note,
        } => {
            let notes: Vec<&str> = note
                .as_deref()
                .into_iter()
                .chain(notes.iter().map(String::as_str))
                .collect();
            Error::Timeout {
                limit,
                after,
                method,
                path,
                operation,
                note: (!notes.is_empty()).then(|| notes.join("; ").into()),
            }
        }
        error => error,
    }
}
