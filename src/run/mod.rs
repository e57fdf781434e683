//! Carries out a plan with a client and says what happens. Knows neither the terminal nor the command line.

mod action;
mod attempts;
mod claims;
mod cleanup_policy;
mod closing;
mod command;
mod composite;
mod concurrency_limit;
mod ensure;
mod executor;
mod expect;
mod failure;
mod files;
mod isolate;
mod lease_renewer;
mod logs;
mod lost_reply;
mod one_path;
mod origin;
mod parallel;
mod pending_work;
mod replace;
mod retry;
mod servers;
mod shown;
mod standing;
mod step;
mod subset;
mod used;

pub use cleanup_policy::{CleanupPolicies, CleanupPolicy};
pub use executor::{
    BeforeCleanup, FailedRun, OnFailure, RunOutputs, Session, Verdict, new_id, run, usual_width,
};
pub use servers::Remotes;
