use std::fmt;
use std::io::{self, Read, Write};
use std::panic::resume_unwind;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::ending::{Ending, with_notes};
use super::exec::{Mode, Started};
use super::websocket::{Frame, Socket, SocketWriter};
use super::{Client, Error, Exec, Exit, Limit, Signals, Stream, Wait};

/// How long the last of the output may take to arrive once the command has ended, when there is no
/// limit: it is on its way already.
const LAST_OUTPUT: Duration = Duration::from_secs(60);

/// SIGKILL.
const KILL: i32 = 9;

/// What a command that runs over websockets is connected to.
pub struct Stdio<'a> {
    /// Its standard input; at once at its end when `None`. Read on a thread of its own, which is left
    /// behind when the command ends while it waits for input.
    pub stdin: Option<Box<dyn Read + Send>>,
    /// Where its standard output goes, as it comes.
    pub stdout: &'a mut (dyn Write + Send),
    /// Where its standard error goes, as it comes.
    pub stderr: &'a mut (dyn Write + Send),
    /// A handle to send it signals; `None` when nobody will.
    pub signals: Option<Signals>,
}

impl fmt::Debug for Stdio<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stdio").finish_non_exhaustive()
    }
}

/// The four websockets of a command.
struct Sockets {
    stdin: Socket,
    stdout: Socket,
    stderr: Socket,
    control: Socket,
}

impl Sockets {
    /// Opens all four: the server waits five seconds for them, and starts the command when the first three are
    /// there. Hence control before them: a short command would have ended before it came.
    fn open(client: &Client, started: &Started, limit: Limit) -> Result<Self, Error> {
        let fds = &started.operation.metadata["fds"];
        let open = |name: &'static str| {
            let secret = fds[name].as_str().ok_or_else(|| Error::Protocol {
                method: started.method.clone(),
                path: started.path.clone(),
                reason: format!("the operation has no websocket {name:?}"),
            })?;
            client.open_operation(&started.operation.id, secret, limit)
        };
        let control = open("control")?;
        let [stdin, stdout, stderr] = thread::scope(|scope| {
            let opening = ["0", "1", "2"].map(|name| scope.spawn(move || open(name)));
            opening.map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
        });
        Ok(Self {
            stdin: stdin?,
            stdout: stdout?,
            stderr: stderr?,
            control,
        })
    }
}

/// How one of the two output streams ended.
enum Ended {
    /// By the server's mark: it is complete.
    Whole,
    /// With its connection.
    Cut(Stream),
    /// It could not be written where it should go.
    Unwritable(io::Error),
}

impl Client {
    /// Runs a command over websockets: input, output and signals flow while it runs, and nothing is kept
    /// on the server.
    ///
    /// A process that the command leaves in the background with its output still open may hold up the end: LXD
    /// 5.0 waits for it, Incus for a second. [`Client::exec_recorded`] does not wait for such processes.
    ///
    /// When the wait ends without the end of the command, the command gets signal 9 over the control
    /// websocket, and its children are searched for and killed as by [`Client::exec_recorded`].
    ///
    /// ```no_run
    /// # use malleus_client::{Client, Error, Exec, Stdio, Wait};
    /// # fn f(client: &Client) -> Result<(), Error> {
    /// let stdio = Stdio {
    ///     stdin: Some(Box::new("hello".as_bytes())),
    ///     stdout: &mut std::io::stdout(),
    ///     stderr: &mut std::io::stderr(),
    ///     signals: None,
    /// };
    /// let exit = client.exec_stream(&Exec::new("c1", ["cat"]), stdio, &Wait::default())?;
    /// assert_eq!(exit.code, 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Output`] when a writer fails and [`Error::Input`] when the reader does: the command is
    /// ended then. Any exit code, 126 and 127 included, is no error.
    pub fn exec_stream(&self, exec: &Exec, io: Stdio<'_>, wait: &Wait<'_>) -> Result<Exit, Error> {
        let marker = exec.own_marker();
        let request = exec.request(Mode::Websockets, &marker);
        // Without its websockets the command does not begin, so there is nothing to end yet.
        let started = self.start_exec(&request, wait)?;
        let sockets = Sockets::open(self, &started, wait.limit)?;
        let ending = Ending::new(self, &exec.instance, &marker);
        let outcome = self.attend(&started, sockets, io, wait);
        outcome.map_err(|error| match error {
            Error::Operation(_) | Error::Protocol { .. } => error,
            Error::Output { .. } | Error::Input { .. } => {
                let _ = ending.kill();
                error
            }
            error => {
                let notes: Vec<String> = ending.kill().err().into_iter().collect();
                ending.settle(&started.operation.id);
                with_notes(error, &notes)
            }
        })
    }

    /// Moves input and output until the command and its output have ended.
    fn attend(
        &self,
        started: &Started,
        sockets: Sockets,
        io: Stdio<'_>,
        wait: &Wait<'_>,
    ) -> Result<Exit, Error> {
        let Sockets {
            mut stdin,
            mut stdout,
            mut stderr,
            mut control,
        } = sockets;
        let signals = io.signals.unwrap_or_default();
        signals.attach(control.writer());
        let connections = [&stdin, &stdout, &stderr, &control].map(|s| s.duplex().clone());
        let unread = feed(io.stdin, stdin.writer(), signals.clone());
        let (ended, ends) = mpsc::channel();
        thread::scope(|scope| {
            let (also_ended, signals) = (ended.clone(), &signals);
            scope.spawn(move || copy(&mut stdout, io.stdout, Stream::Stdout, &ended, signals));
            scope.spawn(move || copy(&mut stderr, io.stderr, Stream::Stderr, &also_ended, signals));
            scope.spawn(move || drain(&mut stdin));
            scope.spawn(move || drain(&mut control));
            let exit = match self.await_exec(started, wait) {
                // Streams of a command that was never started are not ended properly.
                Ok(exit) if exit.message.is_some() => Ok(exit),
                Ok(exit) => self.collect(started, &ends, wait).map(|()| exit),
                Err(error) => {
                    signals.send(KILL);
                    Err(error)
                }
            };
            signals.detach();
            // Ends the threads, and the command should it still run.
            for connection in connections {
                connection.close();
            }
            match unread.lock().unwrap_or_else(PoisonError::into_inner).take() {
                Some(source) => Err(Error::Input { source }),
                None => exit,
            }
        })
    }

    /// Waits for the two output streams, once the command has ended.
    fn collect(
        &self,
        started: &Started,
        ends: &Receiver<Ended>,
        wait: &Wait<'_>,
    ) -> Result<(), Error> {
        for _ in 0..2 {
            let left = wait.limit.remaining().unwrap_or(LAST_OUTPUT);
            let end = ends.recv_timeout(left.max(Duration::from_millis(1)));
            self.scope().check()?;
            let broken = |reason: String| Error::Protocol {
                method: started.method.clone(),
                path: started.path.clone(),
                reason,
            };
            match end {
                Ok(Ended::Whole) => {}
                Ok(Ended::Cut(stream)) => {
                    return Err(broken(format!("{stream} ended before it was complete")));
                }
                Ok(Ended::Unwritable(source)) => return Err(Error::Output { source }),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(broken("the output ended without a word".to_owned()));
                }
                Err(RecvTimeoutError::Timeout) => return Err(late(started, wait)),
            }
        }
        Ok(())
    }
}

/// The output did not arrive within the limit.
fn late(started: &Started, wait: &Wait<'_>) -> Error {
    let limit = match wait.limit.remaining() {
        Some(_) => wait.limit,
        None => Limit::after("output", LAST_OUTPUT),
    };
    Error::Timeout {
        limit: limit.name(),
        after: limit.total(),
        method: started.method.clone(),
        path: started.path.clone(),
        operation: Some(started.operation.id.clone()),
        note: Some("the command has ended, its output did not arrive".into()),
    }
}

/// Reads the input on a thread of its own, which nobody waits for: it may be stuck in a terminal.
/// When the input cannot be read, the command is ended and the reason left behind.
fn feed(
    input: Option<Box<dyn Read + Send>>,
    mut to: SocketWriter,
    signals: Signals,
) -> Arc<Mutex<Option<io::Error>>> {
    let unread = Arc::new(Mutex::new(None));
    let reason = Arc::clone(&unread);
    thread::spawn(move || {
        let mut buffer = vec![0; 32 << 10];
        let mut input = input.unwrap_or_else(|| Box::new(io::empty()));
        loop {
            match input.read(&mut buffer) {
                Ok(0) => break,
                // The command has ended or closed its input.
                Ok(amount) if to.data(&buffer[..amount]).is_err() => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    *reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    signals.send(KILL);
                    return;
                }
            }
        }
        // An empty text frame is the end of the input.
        let _ = to.text("");
    });
    unread
}

/// Copies one output stream, and ends the command when it cannot be written.
fn copy(
    from: &mut Socket,
    to: &mut (dyn Write + Send),
    stream: Stream,
    ended: &Sender<Ended>,
    signals: &Signals,
) {
    let end = loop {
        match from.read() {
            Frame::Data(data) => {
                if let Err(error) = to.write_all(&data) {
                    signals.send(KILL);
                    break Ended::Unwritable(error);
                }
            }
            Frame::End => break to.flush().map_or_else(Ended::Unwritable, |()| Ended::Whole),
            Frame::Closed | Frame::Late => break Ended::Cut(stream),
        }
    };
    let unwritable = matches!(end, Ended::Unwritable(_));
    // Nobody listens once the wait has failed.
    let _ = ended.send(end);
    if unwritable {
        drain(from);
    }
}

/// Reads until the end, so that pings are answered and nothing is held up.
fn drain(socket: &mut Socket) {
    while !matches!(socket.read(), Frame::Closed) {}
}
