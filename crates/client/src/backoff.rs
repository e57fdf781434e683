use std::time::Duration;

use super::Limit;

/// Growing pauses between tries: each twice as long as the one before.
///
/// ```
/// use malleus_client::{Backoff, Limit};
/// use std::time::Duration;
///
/// let second = Limit::after("patience", Duration::from_secs(1));
/// let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(300));
/// assert!(backoff.next(second).is_some_and(|pause| pause <= Duration::from_millis(125)));
/// let over = Limit::after("patience", Duration::ZERO);
/// assert_eq!(backoff.next(over), None);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    pause: Duration,
    longest: Duration,
}

impl Backoff {
    /// The first pause, and the longest.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            pause: first,
            longest,
        }
    }

    /// The next pause, which ends with the limit at the latest; none when that has passed. It is up to a quarter longer or
    /// shorter by chance, so that several that wait for the same thing do not come back at once.
    pub fn next(&mut self, limit: Limit) -> Option<Duration> {
        let left = limit.remaining().unwrap_or(Duration::MAX);
        if left.is_zero() {
            return None;
        }
        let pause = self.pause.mul_f64(0.75 + fastrand::f64() / 2.0);
        self.pause = (self.pause * 2).min(self.longest);
        Some(pause.min(left))
    }
}
