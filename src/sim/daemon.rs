//! The parts of one simulated daemon, held together.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Options;
use super::brand::Traits;
use super::clock::Clock;
use super::events::Hub;
use super::fault::Faults;
use super::operations::Operations;
use super::state::World;
use super::tls::Certificate;

#[derive(Debug)]
pub(super) struct Daemon {
    pub(super) traits: &'static Traits,
    pub(super) clock: Clock,
    pub(super) operations: Operations,
    pub(super) events: Hub,
    pub(super) faults: Faults,
    pub(super) certificate: Certificate,
    /// `HOST:PORT` where it is reached over HTTPS.
    pub(super) address: Option<String>,
    world: Mutex<World>,
}

impl Daemon {
    /// One that is reached at this address too.
    pub(super) fn new(options: Options, address: Option<String>) -> io::Result<Arc<Self>> {
        let traits = options.brand.traits();
        let clock = Clock::new(options.skew, options.time);
        let mut world = World::new(traits, &clock);
        if let Some(address) = &address {
            let key = "core.https_address".to_owned();
            world.config.insert(key, address.as_str().into());
        }
        Ok(Arc::new(Self {
            traits,
            clock,
            operations: Operations::default(),
            events: Hub::default(),
            faults: Faults::new(options.rules, options.seed),
            certificate: Certificate::new(traits.title)?,
            address,
            world: Mutex::new(world),
        }))
    }

    /// A daemon that starts again knows no operations, and nothing is busy with one.
    pub(super) fn forget_operations(&self) {
        self.operations.forget();
        for instance in self.world().instances.values_mut() {
            instance.busy = None;
        }
    }

    /// All there is. Never held across a wait.
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
