//! Carries out a plan with a client and says what happens. Knows neither the terminal nor the command line.

mod action;
pub mod event;
mod executor;
mod expect;
mod failure;
mod ledger;
mod step;
mod transient;
mod used;

pub use event::{Event, Sink, Summary};
pub use executor::{Session, new_id, run};
