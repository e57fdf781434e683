//! Ending a command that outlived its limit.

use std::time::Duration;

use malleus_api::{Meaning, means};

use super::exec::{MARKER, Mode};
use super::wait::Waiter;
use super::{Client, Error, Exec, Exit, LastOutput, Limit, Wait};

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
