use std::time::{Duration, Instant};

use super::listener::{Heard, Listener};
use super::status::{self, Instance, Life, Seen, State};
use super::trials::{Progress, Trials};
use super::{Condition, NotReady, NotReadyCause, Readiness};
use crate::Error;

/// How long an instance that ran may be stopped without an event that says so: it may be rebooting.
const REBOOT: Duration = Duration::from_secs(1);

/// The wait for one instance.
pub(super) struct Watch<'a> {
    trials: Trials<'a>,
    listener: Listener<'a>,
    begun: Instant,
    /// How it was at the last look that showed it.
    last: Option<Instance>,
    /// When it was first seen not to run any more, after it ran.
    ended: Option<Instant>,
}

/// What a look has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Ready,
    NotYet,
}

impl<'a> Watch<'a> {
    /// Begins to listen before anything is looked at, so that nothing happens unseen in between.
    pub(super) fn new(trials: Trials<'a>) -> Result<Self, Error> {
        Ok(Self {
            listener: Listener::new(trials.client, trials.instance, trials.limit)?,
            begun: trials.client.clock().now(),
            trials,
            last: None,
            ended: None,
        })
    }

    /// Looks, and rests, until the instance is ready.
    pub(super) fn run(mut self) -> Result<Readiness, Error> {
        loop {
            let clock = self.trials.client.clock();
            let looking = clock.now();
            if self.look()? == Outcome::Ready {
                break;
            }
            let looked = clock.elapsed(looking);
            let limit = self.trials.limit;
            if limit.is_over() {
                let (limit, after) = (limit.name(), limit.total());
                return Err(self.not_ready(NotReadyCause::Late { limit, after }));
            }
            self.listener.rest(limit, looked)?;
        }
        Ok(Readiness {
            waited: self.waited(),
            addresses: self.trials.addresses,
            observations: self.trials.seen,
        })
    }

    fn look(&mut self) -> Result<Outcome, Error> {
        let before = self.last.as_ref().map(|last| last.state);
        let seen = self.status()?;
        match &seen {
            Seen::There(instance) => {
                if before != Some(instance.state) {
                    self.listener.moved();
                }
                if before == Some(State::Running) && instance.state != State::Running {
                    self.ended = Some(self.trials.client.clock().now());
                }
                // The trials tell more about an instance that runs.
                if instance.state != State::Running || self.wants_end() {
                    self.trials.note(&format!("it is {}", instance.status));
                }
                self.last = Some(instance.clone());
            }
            Seen::Missing => self.trials.note("there is no such instance"),
            Seen::Unclear(why) => self.trials.note(why),
        }
        let wanted = &self.trials.seen;
        if wanted
            .iter()
            .any(|seen| seen.condition == Condition::Stopped)
        {
            self.judge_end(&seen)
        } else {
            self.judge(&seen)
        }
    }

    fn wants_end(&self) -> bool {
        let mut wanted = self.trials.seen.iter();
        wanted.any(|seen| seen.condition == Condition::Stopped)
    }

    fn status(&self) -> Result<Seen, Error> {
        let trials = &self.trials;
        status::look(trials.client, trials.instance, trials.look())
    }

    /// What a look means when the instance is to run.
    fn judge(&mut self, seen: &Seen) -> Result<Outcome, Error> {
        match seen {
            Seen::Unclear(_) => Ok(Outcome::NotYet),
            Seen::Missing if self.last.is_some() => self.does_not_run(NotReadyCause::Deleted),
            Seen::Missing => self.does_not_run(NotReadyCause::Missing),
            Seen::There(instance) => match instance.state {
                State::Running => self.try_all(instance),
                State::Stopped => self.does_not_run(NotReadyCause::Stopped),
                State::Failed => Err(self.not_ready(NotReadyCause::Failed)),
                State::Other => Ok(Outcome::NotYet),
            },
        }
    }

    /// What a look means when the instance is to stop.
    fn judge_end(&mut self, seen: &Seen) -> Result<Outcome, Error> {
        let lasting = |last: &Instance| last.life == Life::Lasting;
        match seen {
            Seen::There(instance) if instance.state == State::Failed => {
                return Err(self.not_ready(NotReadyCause::Failed));
            }
            Seen::There(instance) if instance.state != State::Stopped => {
                return Ok(Outcome::NotYet);
            }
            Seen::Missing if self.last.as_ref().is_some_and(lasting) => {
                return Err(self.not_ready(NotReadyCause::Deleted));
            }
            Seen::Unclear(_) => return Ok(Outcome::NotYet),
            Seen::There(_) | Seen::Missing => self.trials.hold(),
        }
        Ok(Outcome::Ready)
    }

    /// Tries the conditions; when they hold, the instance must be found running once more.
    fn try_all(&mut self, instance: &Instance) -> Result<Outcome, Error> {
        match self.trials.try_all(instance.kind)? {
            Progress::Missing => return Ok(Outcome::NotYet),
            Progress::Impossible(condition, reason) => {
                return Err(self.not_ready(NotReadyCause::Impossible { condition, reason }));
            }
            Progress::Complete => {}
        }
        let mut wanted = self.trials.seen.iter();
        if wanted.all(|seen| seen.condition == Condition::Running) {
            return Ok(Outcome::Ready);
        }
        match self.status()? {
            Seen::There(instance) if instance.state == State::Running => Ok(Outcome::Ready),
            // The next look finds out what is the matter.
            _ => Ok(Outcome::NotYet),
        }
    }

    /// The instance does not run. That is the end, unless it may be rebooting, or an operation is under way on it.
    fn does_not_run(&mut self, cause: NotReadyCause) -> Result<Outcome, Error> {
        let clock = self.trials.client.clock();
        let just_ended = self
            .ended
            .is_some_and(|ended| clock.elapsed(ended) < REBOOT);
        if just_ended && self.listener.heard() == Heard::Nothing {
            return Ok(Outcome::NotYet);
        }
        let trials = &self.trials;
        if status::is_busy(trials.client, trials.instance, trials.look())? {
            return Ok(Outcome::NotYet);
        }
        // The operation may have ended between the two looks.
        match (self.status()?, &cause) {
            (Seen::There(now), NotReadyCause::Stopped) if now.state == State::Stopped => {}
            (Seen::Missing, _) => {}
            _ => return Ok(Outcome::NotYet),
        }
        Err(self.not_ready(cause))
    }

    fn waited(&self) -> Duration {
        self.trials.client.clock().elapsed(self.begun)
    }

    fn not_ready(&mut self, cause: NotReadyCause) -> Error {
        Error::NotReady(Box::new(NotReady {
            instance: self.trials.instance.to_owned(),
            cause,
            waited: self.waited(),
            observations: std::mem::take(&mut self.trials.seen),
        }))
    }
}
