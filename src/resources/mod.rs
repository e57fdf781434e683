//! Which resources a run made, its journal on disk, and how they are removed again. Knows the client, no playbooks.
//!
//! ```text
//! request ──effect──▶ Tracker ──intent, synced──▶ Journal      before it is sent
//!   reply ───────────▶ Tracker ──outcome─────────▶ Journal      after
//! Journal ──read──▶ Resources ──settle──▶ remove, in waves      at the end, or by whoever finds the journal
//! ```
//!
//! A resource is only ever removed where it is known that it was not there before the request that made it, and where it
//! is still the one that the request made, as far as its kind tells.

mod effect;
mod emptying;
mod gc;
mod journal;
mod marks;
mod ownership;
mod reconcile;
mod removal;
mod renewal;
mod resource;
mod resource_table;
mod stamp;
mod store;
mod tracker;

pub use effect::named_image;
pub use gc::{Claimed, Clock, RunLeftovers, Standing, claim, release, survey};
pub use journal::{Ending, Header, Noted, Origin, Recorded, State, VERSION, step_by_place};
pub use malleus_api::Wave;
pub use marks::{ISOLATED_KEY, RUN_KEY, hide_mark};
pub use ownership::{Condition, Proof};
pub use reconcile::{await_quiet, newcomers, settle, unnamed};
pub use removal::{Connect, Fate, Preview, Removal, Target, preview, remove_all};
pub use renewal::Renewal;
pub use resource::{Extent, Resource};
pub use resource_table::{Maker, Owner, Rest, Retention, Tracked};
pub use stamp::{Lease, Stamp};
pub use store::{Kept, Life, Listed, Store, StoreError};
pub use tracker::{Before, Mark, Own, Ticket, Tracker, is_gone};
