//! Regular expressions with a bound on the time that a match takes.

use regex_lite::{Regex, RegexBuilder};

/// How large a pattern may be once it is compiled.
const MOST_BYTES: usize = 10 << 20;
/// What a state of a compiled pattern takes.
const STATE: usize = 24;
/// How many states may be tried at how many letters: some seconds.
pub(super) const MOST_STEPS: u64 = 1_000_000_000;

/// A regular expression.
#[derive(Debug, Clone)]
pub struct Pattern {
    pub(super) regex: Regex,
    /// How many states it has, at the most.
    states: u64,
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// Why it is none.
    pub fn new(pattern: &str) -> Result<Self, String> {
        // The crate does not say how large a compiled pattern is; it refuses those that are larger than a limit.
        let mut limit = 1 << 10;
        loop {
            match RegexBuilder::new(pattern).size_limit(limit).build() {
                Ok(regex) => {
                    let states = (limit / STATE) as u64;
                    return Ok(Self { regex, states });
                }
                Err(error) if limit >= MOST_BYTES => return Err(error.to_string()),
                Err(_) => limit = (2 * limit).min(MOST_BYTES),
            }
        }
    }

    /// Whether it matches somewhere in a text.
    ///
    /// # Errors
    /// Where that could take too long.
    pub fn is_match(&self, text: &str) -> Result<bool, String> {
        if self.steps(text) > MOST_STEPS {
            return Err(too_long(text));
        }
        Ok(self.regex.is_match(text))
    }

    /// How many steps a search may take.
    pub(super) fn steps(&self, text: &str) -> u64 {
        self.states.saturating_mul(text.len() as u64)
    }
}

/// Why a text is not searched.
pub(super) fn too_long(text: &str) -> String {
    format!(
        "this regular expression is too large for a text of {} bytes: to match them could take minutes",
        text.len()
    )
}
