//! What must be done whatever happened to the steps.

use std::time::{Duration, Instant};

use super::action::{Attempt, DRAIN};
use super::event::{Kind, Phase, StepOutcome, StepShape};
use super::executor::{Frame, Run, Stop};
use super::failure;
use crate::client::{Limit, Wait};
use crate::diagnostic::Diagnostic;

/// How long cleanup may take as a whole. It does not count towards the playbook's own deadline.
const CLEANUP: Duration = Duration::from_secs(300);

impl<'a> Run<'a> {
    /// A frame for what must be done whatever happened: connections and time of its own.
    pub(super) fn cleanup_frame(frame: &Frame<'a>, phase: Phase) -> Frame<'a> {
        Frame {
            // Also where nothing is cancelled yet: it may be while cleanup is under way.
            client: frame.client.detached(),
            phase,
            limit: Limit::after("cleanup", CLEANUP),
            ..frame.clone()
        }
    }

    /// Waits for operations that no step has waited for.
    pub(super) fn join_rest(&self, frame: &Frame<'a>) -> Result<(), Stop> {
        let pending = std::mem::take(&mut self.ledger().pending);
        let mut ended = Ok(());
        for operation in pending {
            let info = self.begin(
                format!("wait for {}", operation.what),
                frame,
                StepShape::Single,
            );
            let start = Instant::now();
            let attempt = Attempt {
                run: self,
                frame,
                limit: frame.limit,
                progress: &|running| self.progress(&info, frame, running),
            };
            let failures = match attempt.finish(&operation) {
                Ok(seen) => seen
                    .error
                    .map(|words| Diagnostic::error(words).at(operation.place.clone(), "begun here"))
                    .into_iter()
                    .collect(),
                Err(trouble) => vec![failure::of_trouble(
                    frame.plan,
                    operation.place.span,
                    trouble,
                )],
            };
            if !failures.is_empty() {
                ended = Err(if frame.client.is_cancelled() {
                    Stop::Cancelled
                } else {
                    Stop::Failed
                });
            }
            let outcome = if failures.is_empty() {
                StepOutcome::Passed(String::new())
            } else {
                StepOutcome::Failed(failures)
            };
            self.finish(info, frame, outcome, start.elapsed());
        }
        ended
    }

    /// Ends operations that nobody waits for any more: what cleans up behind them must not come before their end.
    fn drain(&self) {
        let pending = std::mem::take(&mut self.ledger().pending);
        let limit = Limit::after("drain", DRAIN);
        for operation in &pending {
            let client = operation.client.detached();
            // Most operations refuse to be cancelled; then waiting is all there is.
            let _ = client.cancel_operation(&operation.operation);
            let _ = client.wait(&operation.operation, &Wait::within(limit));
        }
    }

    /// Registered cleanups, newest first; then `finally`; then recorded logs.
    pub(super) fn clean_up(&self, frame: &Frame<'a>) {
        self.drain();
        let cleanup = Self::cleanup_frame(frame, Phase::Cleanup);
        loop {
            // Taken one by one: a cleanup may register another.
            let Some(next) = self.ledger().cleanups.pop() else {
                break;
            };
            let own = Frame {
                client: next.frame.client.detached(),
                phase: cleanup.phase,
                limit: cleanup.limit,
                depth: 0,
                outlet: cleanup.outlet.clone(),
                ..next.frame
            };
            self.each(next.steps, &own);
        }
        self.each(
            &frame.plan.finally,
            &Self::cleanup_frame(frame, Phase::Finally),
        );
        self.janitor.drain();
        let logs = std::mem::take(&mut self.ledger().logs);
        for log in logs {
            let client = if log.client.is_cancelled() {
                log.client.detached()
            } else {
                log.client
            };
            if let Err(error) = client.delete_exec_logs(&log.instance, &log.operation) {
                let what = format!(
                    "the recorded output exec_{}.* of instance {}",
                    log.operation, log.instance
                );
                self.emit(
                    &frame.outlet,
                    Kind::Warning(
                        Diagnostic::error(format!("{what} is left on the server"))
                            .note(error.to_string()),
                    ),
                );
                self.ledger().summary.left.push(what);
            }
        }
    }
}
