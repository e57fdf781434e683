//! What the integration tests share.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a broken harness ends the test, with the reason"
)]

use std::time::Duration;

/// The longest that something may take that happens at once. A busy machine needs less, and where it has to be waited for
/// instead, the tests' own limits and pauses are longer.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(5);

pub(crate) mod cluster;
pub(crate) mod container;
pub(crate) mod daemon;
#[cfg(feature = "sim")]
pub(crate) mod fields;
pub(crate) mod folder;
pub(crate) mod ground;
pub(crate) mod https;
pub(crate) mod impostor;
#[cfg(feature = "sim")]
pub(crate) mod known;
pub(crate) mod leftovers;
#[cfg(feature = "sim")]
pub(crate) mod played;
pub(crate) mod program;
#[cfg_attr(
    not(feature = "sim"),
    allow(dead_code, reason = "the tests of fidelity read it")
)]
pub(crate) mod proxy;
pub(crate) mod ready;
pub(crate) mod scripted;
#[cfg(feature = "sim")]
pub(crate) mod seen;
#[cfg_attr(
    not(feature = "sim"),
    allow(dead_code, reason = "the tests of fidelity read it")
)]
pub(crate) mod transcript;
