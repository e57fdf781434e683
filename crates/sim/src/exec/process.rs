//! The processes of an instance.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// A command as it is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) argv: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) cwd: String,
    pub(crate) user: u32,
    pub(crate) group: u32,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Code(i32),
    NotFound,
    NotExecutable,
    /// There was no command.
    Nothing,
}

/// One of the two output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Stdout => 0,
            Self::Stderr => 1,
        }
    }
}

type Write = dyn Fn(Stream, &[u8]) + Send + Sync;

/// Where output goes; nowhere by default.
#[derive(Clone, Default)]
pub(crate) struct Sink(Option<Arc<Write>>);

impl Sink {
    pub(crate) fn new(write: impl Fn(Stream, &[u8]) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(write)))
    }

    pub(crate) fn write(&self, stream: Stream, bytes: &[u8]) {
        if let (Some(write), false) = (&self.0, bytes.is_empty()) {
            write(stream, bytes);
        }
    }
}

/// A command that runs.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) id: u32,
    pub(crate) command: Command,
    /// The one that ended it.
    signal: watch::Sender<Option<i32>>,
    /// What is to be done about others.
    traps: Mutex<BTreeMap<i32, String>>,
    /// Signals that were caught and wait for the shell.
    caught: watch::Sender<VecDeque<i32>>,
    /// The exit code of its script, where that is over and jobs of it are not.
    ended: watch::Sender<Option<i32>>,
    jobs: AtomicBool,
    /// Ends the shell between two commands.
    pub(crate) stop: Mutex<Option<Arc<AtomicBool>>>,
}

impl Process {
    fn traps(&self) -> MutexGuard<'_, BTreeMap<i32, String>> {
        self.traps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on a signal is caught; it is not where there is no action.
    pub(crate) fn trap(&self, signal: i32, action: Option<&str>) {
        match action {
            Some(action) => self.traps().insert(signal, action.to_owned()),
            None => self.traps().remove(&signal),
        };
    }

    /// Sends it a signal: it is caught, does nothing by its nature, or ends the command.
    pub(crate) fn signal(&self, signal: i32) {
        let action = self.traps().get(&signal).cloned();
        match action {
            Some(action) if signal != KILL => {
                if !action.is_empty() {
                    self.caught.send_modify(|caught| caught.push_back(signal));
                }
            }
            _ if HARMLESS.contains(&signal) => {}
            _ => self.kill(signal),
        }
    }

    /// What to do about the first signal that was caught.
    pub(crate) fn take_caught(&self) -> Option<String> {
        let mut signal = None;
        self.caught.send_if_modified(|caught| {
            signal = caught.pop_front();
            signal.is_some()
        });
        self.traps().get(&signal?).cloned()
    }

    /// Whether something is to be done at the end of the script.
    pub(crate) fn catches_exit(&self) -> bool {
        self.traps().contains_key(&EXIT)
    }

    /// Waits for a signal that is caught.
    pub(crate) async fn catches(&self) -> i32 {
        let mut caught = self.caught.subscribe();
        let some = caught.wait_for(|caught| !caught.is_empty()).await;
        some.ok()
            .and_then(|caught| caught.front().copied())
            .unwrap_or(KILL)
    }

    /// Its script is over.
    pub(crate) fn end(&self, code: i32) {
        self.ended.send_replace(Some(code));
    }

    /// Waits for the end of its script.
    pub(crate) async fn ended(&self) -> i32 {
        let mut ended = self.ended.subscribe();
        let some = ended.wait_for(Option::is_some).await;
        some.ok().and_then(|code| *code).unwrap_or_default()
    }

    /// Its script is over, but not all that it began.
    pub(crate) fn leave_jobs(&self) {
        self.jobs.store(true, Ordering::SeqCst);
    }

    pub(crate) fn has_jobs(&self) -> bool {
        self.jobs.load(Ordering::SeqCst)
    }

    /// The signal that ended it.
    pub(crate) fn ended_by(&self) -> Option<i32> {
        *self.signal.borrow()
    }

    /// Ends it by a signal.
    pub(crate) fn kill(&self, signal: i32) {
        self.signal.send_if_modified(|there| {
            let first = there.is_none();
            *there = there.or(Some(signal));
            first
        });
        let stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stop) = stop.as_ref() {
            stop.store(true, Ordering::Relaxed);
        }
    }

    /// Waits for the signal that ends it.
    pub(crate) async fn killed(&self) -> i32 {
        let mut signal = self.signal.subscribe();
        let killed = signal.wait_for(Option::is_some).await;
        killed.ok().and_then(|signal| *signal).unwrap_or(9)
    }
}

const KILL: i32 = 9;

/// What shells call the end of a script where signals are meant.
pub(crate) const EXIT: i32 = 0;

/// Signals that end nothing: of children, to go on, of urgent data, of another size of the window.
const HARMLESS: [i32; 4] = [17, 18, 23, 28];

/// The first identifier of a command: those before it the shell gives to its own jobs.
const FIRST: u32 = 20_001;

/// All commands that run in an instance.
#[derive(Debug)]
pub(crate) struct Processes {
    all: Mutex<BTreeMap<u32, Arc<Process>>>,
    next: Mutex<u32>,
    count: watch::Sender<usize>,
}

impl Default for Processes {
    fn default() -> Self {
        Self {
            all: Mutex::default(),
            next: Mutex::new(FIRST),
            count: watch::channel(0).0,
        }
    }
}

impl Processes {
    fn all(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<Process>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, command: &Command) -> Arc<Process> {
        let id = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            *next += 1;
            *next - 1
        };
        let process = Arc::new(Process {
            id,
            command: command.clone(),
            signal: watch::channel(None).0,
            traps: Mutex::default(),
            caught: watch::channel(VecDeque::new()).0,
            ended: watch::channel(None).0,
            jobs: AtomicBool::new(false),
            stop: Mutex::new(None),
        });
        self.all().insert(id, process.clone());
        self.count.send_modify(|count| *count += 1);
        process
    }

    pub(crate) fn remove(&self, id: u32) {
        if self.all().remove(&id).is_some() {
            self.count.send_modify(|count| *count -= 1);
        }
    }

    pub(crate) fn get(&self, id: u32) -> Option<Arc<Process>> {
        self.all().get(&id).cloned()
    }

    pub(crate) fn list(&self) -> Vec<Arc<Process>> {
        self.all().values().cloned().collect()
    }

    pub(crate) fn count(&self) -> usize {
        *self.count.borrow()
    }

    pub(crate) fn kill_all(&self) {
        for process in self.list() {
            process.kill(9);
        }
    }

    /// Waits until none runs.
    pub(crate) async fn gone(&self, limit: Duration) {
        let mut count = self.count.subscribe();
        let none = count.wait_for(|count| *count == 0);
        // Those that take longer are dead all the same.
        let _ = tokio::time::timeout(limit, none).await;
    }
}
