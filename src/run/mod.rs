//! Carries out a plan with a client and says what happens. Knows neither the terminal nor the command line.

mod action;
mod attempts;
mod closing;
mod command;
mod composite;
mod ensure;
pub mod event;
mod executor;
mod expect;
mod failure;
mod files;
mod gate;
mod isolate;
mod ledger;
mod logs;
mod outlet;
mod parallel;
mod renewal;
mod resource;
mod servers;
mod shown;
mod standing;
mod step;
mod subset;
mod sweep;
mod title;
mod transient;
mod unanswered;
mod used;

pub use event::{Event, Sink, Summary};
pub use executor::{
    Examination, Interlude, Provided, Scene, Session, Verdict, new_id, run, usual_width,
};
pub use servers::Remotes;
pub use sweep::{Sweep, Sweeps};
pub use title::title;
