//! What the integration tests share.
#![allow(dead_code, reason = "each test program uses its own part")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a broken harness ends the test, with the reason"
)]

use std::time::Duration;

/// The longest that something may take that happens at once. A busy machine needs less, and where it has to be waited for
/// instead, the tests' own limits and pauses are longer.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(5);

pub(crate) mod case;
pub(crate) mod cluster;
pub(crate) mod container;
pub(crate) mod daemon;
pub(crate) mod fields;
pub(crate) mod folder;
pub(crate) mod ground;
pub(crate) mod https;
pub(crate) mod impostor;
pub(crate) mod known;
pub(crate) mod leftovers;
pub(crate) mod played;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod ready;
pub(crate) mod redact;
pub(crate) mod scripted;
pub(crate) mod seen;
pub(crate) mod transcript;
