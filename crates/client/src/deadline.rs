use std::time::{Duration, Instant};

use ureq::unversioned::transport::NextTimeout;

/// ureq's relative timeout, pinned to the moment it was handed over.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    at: Option<Instant>,
    reason: ureq::Timeout,
}

impl Deadline {
    pub(super) fn of(timeout: NextTimeout) -> Self {
        let after = (!timeout.after.is_not_happening()).then(|| *timeout.after);
        Self {
            at: after.and_then(|after| Instant::now().checked_add(after)),
            reason: timeout.reason,
        }
    }

    /// The time left, as a socket wants it: never zero.
    pub(super) fn left(&self) -> Result<Option<Duration>, ureq::Error> {
        let Some(at) = self.at else {
            return Ok(None);
        };
        match at.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(self.passed()),
            left => Ok(Some(left)),
        }
    }

    pub(super) fn passed(&self) -> ureq::Error {
        ureq::Error::Timeout(self.reason)
    }
}
