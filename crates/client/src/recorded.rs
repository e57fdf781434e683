use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

use malleus_api::{ApiPath, Meaning, means};

use super::ending::{Ending, with_notes};
use super::exec::{LastOutput, Mode, Started};
use super::{Client, Error, Exec, Exit, Limit, Output, Request, Wait, encode};

/// What the limit of one deletion of a log is called in errors.
pub const DELETING: &str = "deletion";

/// How long deleting a log may take: it must work after the limit of the command has passed.
const DELETION: Duration = Duration::from_secs(10);

/// How long fetching what a command had written may take, once it was ended.
const FETCHING: Duration = Duration::from_secs(10);

/// Bytes kept of each stream of a command that was ended.
const KEPT: usize = 64 << 10;

/// Pause before looking a second time for a command whose start was not seen.
const LATE_START: Duration = Duration::from_millis(300);

/// One of the two output streams of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output, file descriptor 1.
    Stdout,
    /// Standard error, file descriptor 2.
    Stderr,
}

impl Stream {
    fn descriptor(self) -> &'static str {
        match self {
            Self::Stdout => "1",
            Self::Stderr => "2",
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.extension())
    }
}

/// Where the server keeps what a command wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPath {
    /// Which stream it is.
    pub stream: Stream,
    /// The path below the server, such as `/1.0/instances/c1/logs/exec-output/exec_<id>.stdout`. The
    /// server leaves out `project=`; a client scoped to the project adds it.
    pub path: String,
}

/// A command that has ended, with its output still on the server until [`Recorded::delete`].
#[derive(Clone, Debug)]
pub struct Recorded {
    /// How it ended.
    pub exit: Exit,
    client: Client,
    limit: Limit,
    instance: String,
    logs: Vec<LogPath>,
}

impl Recorded {
    /// The two logs, standard output first; none on servers that kept nothing.
    pub fn logs(&self) -> &[LogPath] {
        &self.logs
    }

    /// Fetches both logs whole, at the same time, within the limit of the command.
    pub fn fetch(&self, output: Output<'_>) -> Result<(), Error> {
        let Output { stdout, stderr } = output;
        let (out, err) = thread::scope(|scope| {
            let err = scope.spawn(|| self.fetch_one(Stream::Stderr, stderr));
            let out = self.fetch_one(Stream::Stdout, stdout);
            (out, err.join().unwrap_or_else(|panic| resume_unwind(panic)))
        });
        out.and(err)
    }

    /// Deletes both logs, also on a client that was cancelled meanwhile. Logs that are gone already
    /// are no error.
    pub fn delete(&self) -> Result<(), Error> {
        let client = self.client.for_cleanup();
        match self.logs.as_slice() {
            // What the server did not name may exist all the same.
            [] => client.delete_exec_logs(&self.instance, &self.exit.operation.id),
            logs => client.delete_logs(logs.iter().map(|log| log.path.clone())),
        }
    }

    fn fetch_one(&self, stream: Stream, to: &mut (dyn Write + Send)) -> Result<(), Error> {
        let Some(log) = self.logs.iter().find(|log| log.stream == stream) else {
            return Ok(());
        };
        let request = Request::get(&log.path).limit(self.limit);
        self.client.download(&request, to).map(|_| ())
    }
}

/// The end of what is written to it.
#[derive(Debug, Default)]
struct Tail(VecDeque<u8>);

impl Write for Tail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend(&bytes[bytes.len().saturating_sub(KEPT)..]);
        self.0.drain(..self.0.len().saturating_sub(KEPT));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Client {
    /// Runs a command, fetches what it wrote, and deletes the server's copies, whatever happens.
    ///
    /// Standard input is empty. See [`Client::exec_recorded`] for what a limit does to the command.
    ///
    /// ```no_run
    /// # use malleus_client::{Client, Error, Exec, Output, Wait};
    /// # fn f(client: &Client) -> Result<(), Error> {
    /// let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    /// let output = Output { stdout: &mut stdout, stderr: &mut stderr };
    /// let exit = client.exec(&Exec::new("c1", ["uname", "-r"]), output, &Wait::default())?;
    /// assert_eq!(exit.code, 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Api`] when the instance is not running; any exit code, 126 and 127 included, is no error.
    pub fn exec(&self, exec: &Exec, output: Output<'_>, wait: &Wait<'_>) -> Result<Exit, Error> {
        let recorded = self.exec_recorded(exec, wait)?;
        let fetched = recorded.fetch(output);
        let deleted = recorded.delete();
        fetched.and(deleted).map(|()| recorded.exit)
    }

    /// Runs a command with its output recorded by the server (`record-output`), and waits for its end.
    ///
    /// When the wait ends without the end of the command (its limit passes, the client is cancelled, the
    /// outcome is lost), the command does not go on behind the caller's back. As the API of most servers
    /// cannot end a recorded command, it carries an environment variable `MALLEUS_EXEC` with an identifier of
    /// its own; a second, short command (`sh` and `grep`) then kills every process in the instance that
    /// has it, children included. That and deleting the logs may take a few seconds beyond the limit. Processes
    /// that cleared their environment escape it; where there is no shell, the note of [`Error::Timeout`] says so.
    pub fn exec_recorded(&self, exec: &Exec, wait: &Wait<'_>) -> Result<Recorded, Error> {
        self.run_recorded(exec, wait, None)
    }

    /// The same, and tells what the command had written when it had to be ended, before the server's copies are deleted.
    ///
    /// # Errors
    /// Those of [`Client::exec_recorded`]. `last` stays empty where nothing was written, or the server does not give it.
    pub fn exec_recorded_or_last(
        &self,
        exec: &Exec,
        wait: &Wait<'_>,
        last: &mut LastOutput,
    ) -> Result<Recorded, Error> {
        self.run_recorded(exec, wait, Some(last))
    }

    fn run_recorded(
        &self,
        exec: &Exec,
        wait: &Wait<'_>,
        last: Option<&mut LastOutput>,
    ) -> Result<Recorded, Error> {
        let marker = exec.own_marker();
        let request = exec.request(Mode::Recorded, &marker);
        let ending = || Ending::new(self, &exec.instance, &marker);
        let started = self.start_exec(&request, wait).map_err(|error| {
            if may_run(&error) {
                return end_unseen(&ending(), error);
            }
            error
        })?;
        let ended = self.await_exec(&started, wait).and_then(|exit| {
            let logs = named_logs(&exit, &exec.instance).map_err(|url| Error::Protocol {
                method: started.method.clone(),
                path: started.path.clone(),
                reason: format!("the server names {url:?} as output of the command"),
            })?;
            Ok((exit, logs))
        });
        match ended {
            Ok((exit, logs)) => Ok(Recorded {
                logs,
                exit,
                client: self.clone(),
                limit: wait.limit,
                instance: exec.instance.clone(),
            }),
            Err(error) => Err(end(&ending(), &started, error, last)),
        }
    }

    /// The end of what a command wrote by now, as far as the server gives it.
    pub(super) fn last_output(&self, instance: &str, operation_id: &str) -> LastOutput {
        let limit = Limit::after("fetching the output", FETCHING);
        let fetch = |stream: Stream| {
            let found = self
                .log_paths(instance, operation_id, stream)
                .find_map(|path| {
                    let mut tail = Tail::default();
                    let fetched = self.download(&Request::get(path).limit(limit), &mut tail);
                    (fetched.is_ok() && !tail.0.is_empty()).then_some(tail.0)
                });
            Vec::from(found.unwrap_or_default())
        };
        LastOutput {
            stdout: fetch(Stream::Stdout),
            stderr: fetch(Stream::Stderr),
        }
    }

    /// The paths at which a server of this flavor may keep a stream of a command.
    fn log_paths(
        &self,
        instance: &str,
        operation_id: &str,
        stream: Stream,
    ) -> impl Iterator<Item = String> {
        let instance = ApiPath::of_instance(instance);
        let id = encode(operation_id);
        self.server()
            .flavor
            .log_folders()
            .iter()
            .map(move |folder| format!("{instance}/{folder}/exec_{id}.{}", stream.extension()))
    }

    /// Deletes what a recorded command wrote, by the identifier of its operation: in both places where
    /// servers of this flavor keep it. What is missing is no error.
    pub fn delete_exec_logs(&self, instance: &str, operation_id: &str) -> Result<(), Error> {
        let streams = [Stream::Stdout, Stream::Stderr].into_iter();
        self.delete_logs(streams.flat_map(|stream| self.log_paths(instance, operation_id, stream)))
    }

    /// Deletes logs at the same time.
    fn delete_logs(&self, paths: impl Iterator<Item = String>) -> Result<(), Error> {
        let results: Vec<Result<(), Error>> = thread::scope(|scope| {
            let deletions: Vec<_> = paths
                .map(|path| scope.spawn(move || self.delete_log(path)))
                .collect();
            deletions
                .into_iter()
                .map(|deletion| deletion.join().unwrap_or_else(|panic| resume_unwind(panic)))
                .collect()
        });
        results.into_iter().collect()
    }

    fn delete_log(&self, path: String) -> Result<(), Error> {
        let limit = Limit::after(DELETING, DELETION);
        let request = Request::delete(path).limit(limit).skip_validation();
        let reply = self.request(&request)?;
        match reply.api_error() {
            None => Ok(()),
            Some(error) if error.status == 404 => Ok(()),
            // LXD 5.0 answers 500 with the system's words for a missing file; servers without the old folder call its
            // files invalid names, or the request one that they do not implement.
            Some(error)
                if means(&error.message, Meaning::NoFile)
                    || matches!(error.status, 400 | 405 | 501)
                        && means(&error.message, Meaning::NoLogHere) =>
            {
                Ok(())
            }
            Some(error) => Err(Error::Api(error)),
        }
    }

    /// The client itself, or a copy that still works when this one was cancelled.
    pub(super) fn for_cleanup(&self) -> Self {
        if self.is_cancelled() {
            return self.detached();
        }
        self.clone()
    }
}

/// The URLs in `metadata.output`: none when the command could not be started. They are fetched and deleted, so each has to
/// be that of a log of this command; another one is the error.
fn named_logs(exit: &Exit, instance: &str) -> Result<Vec<LogPath>, String> {
    let output = &exit.operation.metadata["output"];
    let named = [Stream::Stdout, Stream::Stderr].into_iter();
    let named = named.filter_map(|stream| Some((stream, output[stream.descriptor()].as_str()?)));
    named
        .map(|(stream, url)| {
            let path = ApiPath::parse(url).filter(|path| {
                let is_stream = path.name().ends_with(&format!(".{stream}"));
                is_stream && path.recorded_output() == Some((instance, &exit.operation.id))
            });
            let path = path.ok_or_else(|| url.to_owned())?.to_string();
            Ok(LogPath { stream, path })
        })
        .collect()
}

/// Whether the command may have been started although the request failed.
fn may_run(error: &Error) -> bool {
    let refused = matches!(error, Error::Api(_) | Error::Output { .. });
    error.may_have_been_sent() && !refused
}

/// Ends a command whose operation is known.
fn end(ending: &Ending, started: &Started, error: Error, last: Option<&mut LastOutput>) -> Error {
    let has_ended = matches!(error, Error::Operation(_) | Error::Protocol { .. });
    let killed = if has_ended { Ok(()) } else { ending.kill() };
    if !has_ended && killed.is_ok() {
        ending.settle(&started.operation.id);
    }
    if let Some(last) = last {
        *last = ending.last_output(&started.operation.id);
    }
    let deleted = ending.delete_logs(&started.operation.id);
    let notes: Vec<String> = [killed, deleted]
        .into_iter()
        .filter_map(Result::err)
        .collect();
    with_notes(error, &notes)
}

/// Ends a command that may be about to start: nobody knows its operation.
fn end_unseen(ending: &Ending, error: Error) -> Error {
    let _ = ending.kill();
    thread::sleep(LATE_START);
    let notes: Vec<String> = ending.kill().err().into_iter().collect();
    with_notes(error, &notes)
}
