//! What is removed as a run ends.

use crate::resources::Ending;

/// What is removed as a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CleanupPolicy {
    /// Whatever the run created, by the steps of `cleanup:` where there are some, and otherwise as it is tracked.
    Everything,
    /// What steps of `cleanup:` remove; the rest is meant to stay.
    Explicit,
    /// Nothing: all stays until somebody asks for its removal.
    Nothing,
}

/// What is removed, by how a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanupPolicies {
    /// When all steps held.
    pub passed: CleanupPolicy,
    /// When one failed.
    pub failed: CleanupPolicy,
    /// When a signal ended them.
    pub interrupted: CleanupPolicy,
}

impl CleanupPolicies {
    /// The same, however it ends.
    pub fn always(sweep: CleanupPolicy) -> Self {
        Self {
            passed: sweep,
            failed: sweep,
            interrupted: sweep,
        }
    }

    pub(super) fn at(self, ending: Ending) -> CleanupPolicy {
        match ending {
            Ending::Passed | Ending::Kept => self.passed,
            Ending::Failed | Ending::Left => self.failed,
            Ending::Interrupted => self.interrupted,
        }
    }
}
