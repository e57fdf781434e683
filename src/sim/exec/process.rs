//! The processes of an instance.

use std::collections::BTreeMap;
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
    signal: watch::Sender<Option<i32>>,
    /// Ends the shell between two commands.
    pub(crate) stop: Mutex<Option<Arc<AtomicBool>>>,
}

impl Process {
    /// Ends it by a signal. No command can catch one here.
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

/// The first identifier of a command: the instance's own processes are before it.
const FIRST: u32 = 1001;

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
