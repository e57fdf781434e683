//! The parts of one simulated daemon, held together.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Options;
use super::brand::Traits;
use super::clock::Clock;
use super::events::Hub;
use super::fault::Faults;
use super::operations::Operations;
use super::state::World;

#[derive(Debug)]
pub(super) struct Daemon {
    pub(super) traits: &'static Traits,
    pub(super) clock: Clock,
    pub(super) operations: Operations,
    pub(super) events: Hub,
    pub(super) faults: Faults,
    world: Mutex<World>,
}

impl Daemon {
    pub(super) fn new(options: Options) -> Arc<Self> {
        let traits = options.brand.traits();
        let clock = Clock::new(options.skew, options.time);
        let world = World::new(traits, &clock);
        Arc::new(Self {
            traits,
            clock,
            operations: Operations::default(),
            events: Hub::default(),
            faults: Faults::new(options.rules, options.seed),
            world: Mutex::new(world),
        })
    }

    /// All there is. Never held across a wait.
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
