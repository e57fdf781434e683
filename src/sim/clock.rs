//! Time as the daemon tells it and waits for it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use super::Time;

/// The daemon's clock. Only what it says and how long it works go by it; what ends a finished operation does not, as clients
/// have real time for that.
#[derive(Debug)]
pub(super) struct Clock {
    /// Ahead of the machine's clock, in milliseconds.
    ahead: AtomicI64,
    time: Time,
}

impl Clock {
    pub(super) fn new(skew: i64, time: Time) -> Self {
        Self {
            ahead: AtomicI64::new(skew.saturating_mul(1000)),
            time,
        }
    }

    pub(super) fn now(&self) -> SystemTime {
        let ahead = self.ahead.load(Ordering::Relaxed);
        let by = Duration::from_millis(ahead.unsigned_abs());
        let now = SystemTime::now();
        let moved = if ahead < 0 {
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

    /// Waits, or moves the clock.
    pub(super) async fn sleep(&self, duration: Duration) {
        match self.time {
            Time::Real => tokio::time::sleep(duration).await,
            Time::Virtual => {
                let by = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2);
                self.ahead.fetch_add(by, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        }
    }
}
