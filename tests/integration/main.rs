//! The integration tests, all in one program: to link the library takes longer than to compile them. The cases of
//! `tests/cases` are beside it, in a program whose tests are found when it runs.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test ends by a panic, and says on which flavor"
)]

#[path = "../support/mod.rs"]
mod support;

mod artifacts;
mod client;
mod cluster;
mod docs;
mod ensure_pairs;
mod environments;
mod faults;
mod fixture;
mod gc;
mod gc_scripted;
mod harness;
mod isolation;
mod lease;
mod limits_scripted;
mod mutation;
mod newer_servers;
mod nothing_left;
mod ownership;
mod ownership_scripted;
mod recipes;
mod remote_cluster;
mod remotes;
mod replies_scripted;
#[cfg(feature = "sim")]
mod sim;
mod walls;
