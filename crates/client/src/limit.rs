use std::time::{Duration, Instant};

use malleus_core::clock::Clock;

/// A named point in time after which something stops waiting.
///
/// Every wait in this library has one, and an error says which limit it was: the name is a noun that
/// reads well in "the … limit of 30s", such as `"request"`, `"step"` or `"cleanup"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    name: &'static str,
    after: Duration,
    at: Option<Instant>,
    clock: Clock,
}

impl Limit {
    /// A limit that passes when `after` has gone by on the machine's clock, counted from now.
    ///
    /// ```
    /// use malleus_client::Limit;
    /// use std::time::Duration;
    ///
    /// let step = Limit::after("step", Duration::from_secs(30));
    /// let playbook = Limit::after("playbook", Duration::from_secs(600));
    /// assert_eq!(step.earlier(playbook).name(), "step");
    /// ```
    pub fn after(name: &'static str, after: Duration) -> Self {
        Self::by(Clock::machine(), name, after)
    }

    /// A limit that passes when `after` has gone by on a clock, counted from now.
    pub fn by(clock: Clock, name: &'static str, after: Duration) -> Self {
        Self {
            name,
            after,
            // An instant too far away to be told is one that never comes.
            at: clock.now().checked_add(after),
            clock,
        }
    }

    /// A limit that never passes.
    pub fn never() -> Self {
        Self {
            name: "no",
            after: Duration::MAX,
            at: None,
            clock: Clock::machine(),
        }
    }

    /// What the limit is called in errors.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How long the limit was when it was made.
    pub fn total(&self) -> Duration {
        self.after
    }

    /// The time left: zero when it has passed, `None` when it never passes.
    pub fn remaining(&self) -> Option<Duration> {
        self.at
            .map(|at| at.saturating_duration_since(self.clock.now()))
    }

    /// Whether the limit has passed.
    pub fn is_over(&self) -> bool {
        self.remaining() == Some(Duration::ZERO)
    }

    /// Whichever of the two passes first.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        // The time left, and not the moment: they may be of two clocks.
        match (self.remaining(), other.remaining()) {
            (Some(mine), Some(theirs)) if mine <= theirs => self,
            (Some(_), None) => self,
            _ => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Limit;
    use std::time::Duration;

    #[test]
    fn the_earlier_limit_wins_and_keeps_its_name() {
        let short = Limit::after("short", Duration::from_secs(1));
        let long = Limit::after("long", Duration::from_secs(100));
        let endless = Limit::after("endless", Duration::MAX);
        for (one, other, expected) in [
            (short, long, "short"),
            (long, short, "short"),
            (short, Limit::never(), "short"),
            (Limit::never(), short, "short"),
            (endless, short, "short"),
            (Limit::never(), Limit::never(), "no"),
        ] {
            assert_eq!(one.earlier(other).name(), expected);
        }
    }

    #[test]
    fn a_limit_passes() {
        assert!(Limit::after("now", Duration::ZERO).is_over());
        assert!(!Limit::after("later", Duration::from_secs(60)).is_over());
        assert!(!Limit::never().is_over());
        assert_eq!(Limit::never().remaining(), None);
    }
}
