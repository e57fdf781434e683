//! What must be done whatever happened to the steps.

use std::time::Duration;

use malleus_api::messages;

use super::action::{Attempt, DRAIN};
use super::cleanup_policy::CleanupPolicy;
use super::executor::{Frame, Run, Stop, caught};
use super::failure;
use super::pending_work::{Pending, Work};
use super::servers::RemoteClients;
use crate::client::{Client, Error, Limit, Operation, Wait};
use crate::diagnostic::Diagnostic;
use crate::events::{Kind, Phase, StepOutcome, StepShape};
use crate::playbook::plan::Step;
use crate::resources::{
    self, Condition, Ending, Extent, Fate, Mark, Proof, Removal, Resource, Rest, Retention, Target,
    Ticket, Tracked,
};

/// How long looking at what stays behind may take.
const LOOK: Duration = Duration::from_secs(10);

impl<'a> Run<'a> {
    /// A frame for what must be done whatever happened: connections and time of its own.
    pub(super) fn cleanup_frame(&self, frame: &Frame<'a>, phase: Phase) -> Frame<'a> {
        let limit = frame.client.limit("cleanup", self.session.cleanup);
        Frame {
            // Also where nothing is cancelled yet: it may be while cleanup is under way.
            client: frame.client.detached(),
            abroad: RemoteClients::default(),
            phase,
            // Of all that cleans up there is one limit.
            limit: match frame.phase {
                Phase::Steps => limit,
                Phase::Cleanup | Phase::Finally => limit.earlier(frame.limit),
            },
            ..frame.clone()
        }
    }

    /// Waits for operations that no step has waited for.
    pub(super) fn join_rest(&self, frame: &Frame<'a>) -> Result<(), Stop> {
        let pending = std::mem::take(&mut self.pending_work().pending);
        let mut ended = Ok(());
        for operation in pending {
            let info = self.begin(
                format!("wait for {}", operation.what),
                frame,
                StepShape::Single,
            );
            let start = self.now();
            let attempt = Attempt {
                run: self,
                frame,
                limit: frame.limit,
                owner: frame.owned_by(info.number),
                fate: frame.fate,
                progress: &|running| self.progress(&info, frame, running),
            };
            let failures = match attempt.finish(&operation) {
                Ok(seen) => seen
                    .error
                    .map(|words| failed_in_background(words, &operation))
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
            self.finish(info, frame, outcome, self.elapsed(start));
        }
        ended
    }

    /// Ends operations that nobody waits for any more: what cleans up behind them must not come before their end.
    fn drain(&self, limit: Limit) {
        let pending = std::mem::take(&mut self.pending_work().pending);
        let limit = self.session.client.limit("drain", DRAIN).earlier(limit);
        // All at once: each may take until the limit.
        std::thread::scope(|threads| {
            for begun in &pending {
                let Work::Operation { id, watch } = &begun.work else {
                    continue;
                };
                if let Some(ended) = watch.ended() {
                    self.session.tracker.ended(&begun.ticket, &ended);
                    continue;
                }
                threads.spawn(move || {
                    self.drained((id, &begun.ticket), &begun.client, limit);
                });
            }
        });
    }

    /// Ends an operation that nobody waits for any more.
    pub(super) fn drained(
        &self,
        (operation, ticket): (&str, &Ticket),
        client: &Client,
        limit: Limit,
    ) {
        let client = client.detached();
        // Most servers refuse to cancel most operations; then waiting is all there is. LXD from 6.7 on waits by itself.
        let _ = client.cancel_operation(operation, limit);
        match client.wait(operation, &Wait::within(limit)) {
            Ok(ended) => self.note_end(&client, (ticket, &ended), limit),
            Err(_) if ticket.makes() => {
                let undrained = (client, operation.to_owned(), ticket.clone());
                self.pending_work().undrained.push(undrained);
            }
            Err(_) => {}
        }
    }

    /// Waits for what is still being made, so that it can be removed.
    fn await_undrained(&self, limit: Limit) {
        let undrained = std::mem::take(&mut self.pending_work().undrained);
        for (client, operation, ticket) in undrained {
            if let Ok(ended) = client.wait(&operation, &Wait::within(limit)) {
                self.note_end(&client, (&ticket, &ended), limit);
            }
        }
    }

    /// Takes note of how an operation ended. What it has made and does not name is looked for among what is new.
    pub(super) fn note_end(
        &self,
        client: &Client,
        (ticket, ended): (&Ticket, &Operation),
        limit: Limit,
    ) {
        let tracker = self.session.tracker;
        tracker.ended(ticket, ended);
        if ended.failed() {
            return;
        }
        if let Some((known, before)) = tracker.nameless(ticket) {
            // Where the server does not tell, it stays an intention.
            if let Ok(made) = resources::newcomers(client, &known.resource, (&before, ended), limit)
            {
                tracker.found(&known, &made);
            }
        }
    }

    /// Registered cleanups and what is tracked, newest first; then `finally`; then recorded logs.
    pub(super) fn clean_up(&self, frame: &Frame<'a>, ending: Ending) {
        let sweep = self.session.cleanup_policies.at(ending);
        let cleanup = self.cleanup_frame(frame, Phase::Cleanup);
        self.drain(cleanup.limit);
        if sweep == CleanupPolicy::Nothing {
            // Whoever removes the rest later knows no steps, only what is tracked.
            for dropped in std::mem::take(&mut self.pending_work().cleanups) {
                self.session.tracker.reclaim(dropped.step);
            }
        }
        loop {
            // Taken one by one: a cleanup may register another.
            let Some(next) = self.pending_work().cleanups.pop() else {
                break;
            };
            if sweep == CleanupPolicy::Everything {
                self.remove(self.session.tracker.open_since(next.mark), &cleanup);
            }
            let own = Frame {
                client: next.frame.client.detached(),
                abroad: RemoteClients::default(),
                phase: cleanup.phase,
                limit: cleanup.limit,
                depth: 0,
                events: cleanup.events.clone(),
                ..next.frame
            };
            self.let_settle(&self.session.tracker.made_by(next.step), cleanup.limit);
            let before = self.pending_work().summary.failed;
            self.each_caught(next.steps, &own);
            if self.pending_work().summary.failed > before {
                // What its own cleanup could not remove is tracked as any other.
                self.session.tracker.reclaim(next.step);
            }
        }
        if ending == Ending::Passed {
            self.prune(&cleanup);
        }
        self.remove_owed(sweep, &cleanup);
        let finally = Frame {
            limit: cleanup.limit,
            ..self.cleanup_frame(frame, Phase::Finally)
        };
        self.each_caught(&frame.plan.finally, &finally);
        self.delete_logs(frame);
        if sweep == CleanupPolicy::Everything {
            self.await_undrained(finally.limit);
        }
        // What `finally` has made, what was in its way before, and what took long to be made. A `cleanup:` that did not
        // fail may have removed something else: what its step made is removed as well, where it is still there.
        if sweep == CleanupPolicy::Everything {
            self.remove(self.session.tracker.open(), &finally);
        } else {
            self.remove_owed(sweep, &finally);
        }
        self.settle_accounts(frame, (sweep, ending));
    }

    /// Removes what an environment has from earlier runs and no step makes any more, or says that it stays.
    fn prune(&self, frame: &Frame<'a>) {
        let tracker = self.session.tracker;
        let has_failed = {
            let work = self.pending_work();
            work.summary.failed + work.summary.tolerated > 0
        };
        if !tracker.is_resumed() || has_failed {
            return;
        }
        let skipped = std::mem::take(&mut self.pending_work().skipped);
        let unwanted = tracker.unwanted(&skipped);
        if self.session.prune {
            self.remove(unwanted, frame);
            return;
        }
        for known in unwanted {
            let what = &known.resource;
            let problem =
                Diagnostic::warning(format!("{what} stays, though no step makes it any more"));
            let problem = problem.help("`malleus up` without `--no-prune` removes it");
            self.emit(&frame.events, Kind::Warning(problem));
        }
    }

    fn remove_owed(&self, sweep: CleanupPolicy, frame: &Frame<'a>) {
        let mut open = self.session.tracker.open_since(Mark::MIN);
        match sweep {
            CleanupPolicy::Everything => {}
            // What a `cleanup:` should have removed; a project made for this run alone is of no use to anyone, and neither
            // is what was made by way of it.
            CleanupPolicy::Explicit => {
                let projects: Vec<String> = open
                    .iter()
                    .filter(|known| known.resource.extent == Extent::WithContents)
                    .map(|known| known.resource.name())
                    .collect();
                open.retain(|known| {
                    let project = known.resource.project.as_ref();
                    known.goes_at_end() || project.is_some_and(|name| projects.contains(name))
                });
            }
            CleanupPolicy::Nothing => open.clear(),
        }
        self.remove(open, frame);
    }

    /// Waits for what the server may still do for requests whose answers have not come: only after that it shows whether they
    /// have made something.
    fn let_settle(&self, made: &[Tracked], limit: Limit) {
        let unsettled = || {
            made.iter()
                .filter_map(|known| Some((known, known.unsettled()?)))
        };
        let Some(longest) = unsettled().map(|(_, left)| left).max() else {
            return;
        };
        let left = limit.remaining();
        std::thread::sleep(left.map_or(longest, |left| left.min(longest)));
        for (known, _) in unsettled() {
            let resource = &known.resource;
            // A server that cannot be asked now says so when the resource is removed.
            let _ = self
                .cleaner(&resource.remote)
                .and_then(|client| resources::await_quiet(&client, resource, limit));
        }
    }

    /// Removes what the run made, as the kind of each resource needs it.
    fn remove(&self, open: Vec<Tracked>, frame: &Frame<'a>) {
        self.let_settle(&open, frame.limit);
        // Resources bring their own projects and members.
        let home = self.session.client.detached();
        let name = home.remote().to_string();
        let connect = |remote: &str| {
            if remote == name {
                Ok(home.clone())
            } else {
                self.cleaner(remote)
            }
        };
        let target = |key: u32, resource: Resource, proof: Option<Proof>| Target {
            key,
            resource,
            condition: Condition::of_run(&self.session.id, proof),
        };
        let mut targets: Vec<Target<u32>> = Vec::new();
        for known in open {
            if known.state == resources::State::SomeIntended {
                let found = self.unnamed(&known, &connect, frame.limit).into_iter();
                targets.extend(
                    found.map(|(number, resource)| target(number, resource, known.proof.clone())),
                );
            } else {
                targets.push(target(known.number, known.resource, known.proof));
            }
        }
        resources::remove_all(&targets, &connect, frame.limit, &|removal| {
            self.removed(removal, frame);
        });
    }

    /// What was made without a known name: by a request whose answer has not come. Where the server cannot be asked it stays
    /// an intention.
    fn unnamed(
        &self,
        known: &Tracked,
        connect: resources::Connect<'_>,
        limit: Limit,
    ) -> Vec<(u32, Resource)> {
        let found = connect(&known.resource.remote).and_then(|client| {
            resources::unnamed(&client, &known.resource, &self.session.id, limit)
        });
        found.map_or_else(
            |_| Vec::new(),
            |found| self.session.tracker.found(known, &found),
        )
    }

    fn removed(&self, removal: Removal<'_, u32>, frame: &Frame<'a>) {
        let tracker = self.session.tracker;
        let resource = removal.resource.to_string();
        let failure = match removal.result {
            Ok(fate @ (Fate::NotOurs(_) | Fate::Unknown)) => {
                if matches!(fate, Fate::NotOurs(_)) {
                    tracker.lost(removal.resource);
                }
                if let Some(why) = fate.left_alone() {
                    let remark = Diagnostic::warning(format!("{resource}: {why}"));
                    self.emit(&frame.events, Kind::Warning(remark));
                }
                return;
            }
            Ok(fate) => {
                tracker.gone(removal.resource);
                if fate != Fate::Removed {
                    return;
                }
                let mut pending_work = self.pending_work();
                pending_work.summary.removed += 1;
                pending_work.summary.left.retain(|left| *left != resource);
                None
            }
            Err(error) => {
                let mut pending_work = self.pending_work();
                if pending_work.summary.left.contains(&resource) {
                    return;
                }
                pending_work.summary.left.push(resource.clone());
                Some(still_there(&resource, &error))
            }
        };
        self.emit(
            &frame.events,
            Kind::Removed {
                resource,
                failure,
                duration: removal.duration,
            },
        );
    }

    /// Carries out steps of the cleanup. A panic in one ends them, not the cleanup.
    fn each_caught(&self, steps: &'a [Step], frame: &Frame<'a>) {
        if let Err(problem) = caught(|| self.each(steps, frame)) {
            self.pending_work().summary.failed += 1;
            self.emit(&frame.events, Kind::Warning(problem));
        }
    }

    fn delete_logs(&self, frame: &Frame<'a>) {
        self.log_deleter.drain();
        let logs = std::mem::take(&mut self.pending_work().logs);
        for log in logs {
            let client = if log.client.is_cancelled() {
                log.client.detached()
            } else {
                log.client.clone()
            };
            let deleted = client.delete_exec_logs(&log.instance, &log.operation);
            if let Err(error) = deleted {
                let resource = log.resource();
                let what = resource.to_string();
                if !self.session.tracker.has(&resource) {
                    self.session
                        .tracker
                        .add(resource, (&[], Retention::Removed));
                }
                self.emit(&frame.events, Kind::Warning(still_there(&what, &error)));
                self.pending_work().summary.left.push(what);
            } else {
                self.log_is_gone(&log);
            }
        }
    }

    /// Says what stays, and has the journal keep what is still to be removed.
    fn settle_accounts(&self, frame: &Frame<'a>, (sweep, ending): (CleanupPolicy, Ending)) {
        let tracker = self.session.tracker;
        if let Some(lease_renewer) = &self.lease_renewer {
            // What stays behind has to have all its marks.
            lease_renewer.tend();
        }
        let is_clean = self.pending_work().summary.left.is_empty();
        let ending = match ending {
            Ending::Passed | Ending::Failed | Ending::Left if !is_clean => Ending::Left,
            Ending::Passed if self.pending_work().summary.failed > 0 => Ending::Failed,
            ending => ending,
        };
        if is_clean {
            tracker.release_seen_to();
        }
        let ending = match (sweep, ending) {
            (CleanupPolicy::Explicit, Ending::Passed) => Ending::Kept,
            (_, ending) => ending,
        };
        for known in tracker.open() {
            if known.state == resources::State::SomeIntended {
                let connect = |remote: &str| self.cleaner(remote);
                self.unnamed(&known, &connect, frame.limit);
            }
        }
        self.identify_rest();
        let mut owed = tracker.open();
        owed.retain(|known| self.may_be_there(known));
        if ending == Ending::Kept && !tracker.is_journaled() {
            // It ends with the daemon of this command.
            owed.clear();
        }
        let mut pending_work = self.pending_work();
        for known in &owed {
            let words = match known.state {
                resources::State::SomeIntended => {
                    format!("something in {}, if it was made", known.resource.path)
                }
                _ => known.resource.to_string(),
            };
            if !pending_work.summary.left.contains(&words) {
                pending_work.summary.owed.push(words);
            }
        }
        pending_work.summary.recoverable = if tracker.is_journaled() {
            owed.len()
        } else {
            0
        };
        drop(pending_work);
        if let Err(error) = tracker.end(ending, Rest::Owed) {
            self.emit(
                &frame.events,
                Kind::Warning(Diagnostic::error(error.to_string())),
            );
        }
    }

    /// Learns what tells the resources that stay behind from later ones of their names.
    fn identify_rest(&self) {
        let tracker = self.session.tracker;
        let limit = self.session.client.limit("look", LOOK);
        for resource in tracker.unidentified() {
            let read = self
                .cleaner(&resource.remote)
                .and_then(|client| client.request(&resource.look().limit(limit)));
            // Without an answer the run's mark tells.
            if let Ok(reply) = read {
                tracker.saw(&resource, reply.metadata());
            }
        }
    }

    /// What was intended and never came about needs no removal.
    fn may_be_there(&self, known: &Tracked) -> bool {
        let is_gone = known.state == resources::State::Intended
            && self
                .cleaner(&known.resource.remote)
                .is_ok_and(|client| resources::is_gone(&client, &known.resource));
        if is_gone {
            self.session.tracker.gone(&known.resource);
        }
        !is_gone
    }
}

fn failed_in_background(words: String, operation: &Pending) -> Diagnostic {
    let help = messages::explain(&words);
    let mut failure = Diagnostic::error(words).at(operation.place.clone(), "begun here");
    failure.help = help.map(str::to_owned);
    failure
}

fn still_there(what: &str, error: &Error) -> Diagnostic {
    Diagnostic::error(format!("{what} is still there")).note(error.to_string())
}
