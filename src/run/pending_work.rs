//! What a run must still see to: operations nobody has waited for, recorded logs, cleanups; and the counts.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::client::{Client, Operation, Recorded, Wait};
use crate::playbook::plan::Step;
use crate::resources::{Mark, Ticket};
use crate::source::Place;

use super::executor::Frame;
use crate::events::Summary;

/// An operation begun in the background.
#[derive(Debug)]
pub(super) struct Pending {
    /// The id of the step that began it.
    pub(super) id: Option<String>,
    pub(super) work: Work,
    /// The request, for messages.
    pub(super) what: String,
    /// Where it was begun.
    pub(super) place: Place,
    pub(super) client: Client,
    pub(super) ticket: Ticket,
}

/// Waits for an operation beside the steps: servers forget one a few seconds after its end.
#[derive(Debug)]
pub(super) struct OperationWatch {
    news: Mutex<Receiver<Operation>>,
}

/// How soon somebody who waits for the end learns that the limit has passed, or the client was cancelled.
const LOOK: Duration = Duration::from_millis(50);

impl OperationWatch {
    /// Begins to wait.
    pub(super) fn begin(client: &Client, operation: &str) -> Self {
        let (sender, news) = mpsc::channel();
        let (client, operation) = (client.clone(), operation.to_owned());
        // It ends with the operation, or with the client.
        thread::spawn(move || {
            // Nobody listens where the run has ended meanwhile.
            let tell = |seen: &Operation| sender.send(seen.clone()).unwrap_or_default();
            let wait = Wait {
                progress: Some(&tell),
                ..Wait::default()
            };
            if let Ok(ended) = client.wait(&operation, &wait) {
                tell(&ended);
            }
        });
        Self {
            news: Mutex::new(news),
        }
    }

    /// The operation, once it has ended; nothing where that was not seen before the limit passed or the client was
    /// cancelled, or not at all.
    pub(super) fn end(&self, client: &Client, wait: &Wait<'_>) -> Option<Operation> {
        let news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match news.recv_timeout(LOOK) {
                Ok(seen) if seen.is_final() => return Some(seen),
                Ok(seen) => {
                    if let Some(progress) = wait.progress {
                        progress(&seen);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {
                    if client.is_cancelled() || wait.limit.is_over() {
                        return None;
                    }
                }
            }
        }
    }

    /// The operation, where it has ended already.
    pub(super) fn ended(&self) -> Option<Operation> {
        let news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        news.try_iter().find(Operation::is_final)
    }
}

/// What a request in the background came to.
#[derive(Debug)]
pub(super) enum Work {
    /// This operation, and what learns of its end when it comes.
    Operation { id: String, watch: OperationWatch },
    /// A refusal, with its status and words, that is told where the operation would be waited for.
    Refused(Option<u16>, String),
}

/// The logs of one recorded command on the server.
#[derive(Debug, Clone)]
pub(super) struct ExecLog {
    pub(super) client: Client,
    pub(super) instance: String,
    pub(super) operation: String,
}

/// Cleanup steps with the names they need.
pub(super) struct Cleanup<'a> {
    pub(super) steps: &'a [Step],
    pub(super) frame: Frame<'a>,
    /// What is made from here on is newer, and goes first.
    pub(super) mark: Mark,
    /// The number of the step that it belongs to.
    pub(super) step: u32,
}

/// The open ends of a run.
#[derive(Default)]
pub(super) struct PendingWork<'a> {
    pub(super) pending: Vec<Pending>,
    /// Operations that make something and did not end when they were cancelled.
    pub(super) undrained: Vec<(Client, String, Ticket)>,
    pub(super) logs: Vec<ExecLog>,
    pub(super) cleanups: Vec<Cleanup<'a>>,
    /// Steps that were not carried out, as [`Frame::origin`] names them.
    pub(super) skipped: Vec<Vec<String>>,
    pub(super) summary: Summary,
}

/// Work for the log deleter.
enum Job {
    Delete(Box<(Recorded, ExecLog)>),
    /// Answered once everything before it is done.
    Drain(Sender<()>),
}

/// Deletes recorded logs beside the steps. Lives on a thread of its own until it retires.
pub(super) struct LogDeleter {
    /// Nothing once the log deleter has retired.
    jobs: Mutex<Option<Sender<Job>>>,
}

/// The log deleter's own side.
pub(super) struct LogDeleterWorker {
    jobs: Receiver<Job>,
}

impl LogDeleter {
    pub(super) fn new() -> (Self, LogDeleterWorker) {
        let (sender, jobs) = mpsc::channel();
        (
            Self {
                jobs: Mutex::new(Some(sender)),
            },
            LogDeleterWorker { jobs },
        )
    }

    /// Deletes a command's logs.
    pub(super) fn delete(&self, recorded: Recorded, log: ExecLog) {
        self.send(Job::Delete(Box::new((recorded, log))));
    }

    /// Waits until all logs handed over so far are deleted.
    pub(super) fn drain(&self) {
        let (done, answer) = mpsc::channel();
        self.send(Job::Drain(done));
        // An error means that the log deleter is gone, and with it all work.
        let _ = answer.recv();
    }

    /// Lets the log deleter's thread end once its work is done.
    pub(super) fn retire(&self) {
        self.jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    fn send(&self, job: Job) {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody listens only where the log deleter panicked; then the scope of its thread passes the panic on.
        if let Some(jobs) = jobs.as_ref() {
            let _ = jobs.send(job);
        }
    }
}

impl LogDeleterWorker {
    /// Works until the log deleter retires. `done` takes the logs that are deleted, `failed` those that could not be.
    pub(super) fn serve(self, done: impl Fn(&ExecLog), failed: impl Fn(ExecLog)) {
        for job in self.jobs {
            match job {
                Job::Delete(job) => {
                    let (recorded, log) = *job;
                    match recorded.delete() {
                        Ok(()) => done(&log),
                        Err(_) => failed(log),
                    }
                }
                Job::Drain(done) => {
                    let _ = done.send(());
                }
            }
        }
    }
}
