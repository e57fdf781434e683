//! Time as the daemon tells it and waits for it.

use std::future::Future;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use super::Time;
use malleus_core::clock::{Clock as Source, Waits, Works};

/// The daemon's clock. What it says, how long it works and how long it waits go by it; how long a finished operation is kept
/// does not, as clients have real time for that.
#[derive(Debug)]
pub(super) struct Clock {
    source: Source,
    /// Added to what it tells, in seconds.
    skew: i64,
    /// How it waits unless it is told otherwise.
    time: Time,
}

/// The longest that can be waited for: some years.
const LONGEST: Duration = Duration::from_secs(1 << 28);

impl Clock {
    pub(super) fn new(skew: i64, time: Time) -> Self {
        let clock = Self {
            source: Source::simulated(),
            skew,
            time,
        };
        clock.wait_by(time);
        clock
    }

    /// Waits like this from now on, where it does not do so anyway.
    pub(super) fn wait_by(&self, time: Time) {
        if [self.time, time].contains(&Time::Virtual) {
            self.source.jump();
        } else {
            self.source.walk();
        }
    }

    /// What it goes by, for clients in the same process.
    pub(super) fn source(&self) -> Source {
        self.source
    }

    pub(super) fn now(&self) -> SystemTime {
        let now = self.source.time_of_day();
        let by = Duration::from_secs(self.skew.unsigned_abs());
        let moved = if self.skew < 0 {
            now.checked_sub(by)
        } else {
            now.checked_add(by)
        };
        moved.unwrap_or(now)
    }

    /// RFC 3339 with nanoseconds, as the daemons write it.
    pub(super) fn text(&self) -> String {
        humantime::format_rfc3339_nanos(self.now()).to_string()
    }

    /// Waits until that much time has gone by, or the clock has jumped as far.
    pub(super) async fn sleep(&self, duration: Duration) {
        let end = self.source.now() + duration.min(LONGEST);
        let (wake, woken) = oneshot::channel();
        let _alarm = self.source.alarm(end, move || {
            // Who is not there any more need not be told.
            let _ = wake.send(());
        });
        let left = end.saturating_duration_since(self.source.now());
        tokio::select! {
            () = tokio::time::sleep(left) => {}
            _ = woken => {}
        }
    }

    /// What comes of some work, unless more than that much time goes by first.
    pub(super) async fn within<T>(
        &self,
        duration: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.sleep(duration) => None,
        }
    }

    /// A client waits for its answer while the result lives.
    pub(super) fn asked(&self) -> Waits {
        self.source.waits()
    }

    /// A command computes while the result lives.
    pub(super) fn works(&self) -> Works {
        self.source.works()
    }

    /// A command that computes sleeps while the result lives.
    pub(super) fn rests(&self) -> Works {
        self.source.rests()
    }
}
