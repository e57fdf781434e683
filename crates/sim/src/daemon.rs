//! The parts of one simulated daemon, held together.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Options;
use super::api::pending;
use super::clock::Clock;
use super::events::EventBus;
use super::fault::Faults;
use super::flavor::FlavorProfile;
use super::operations::Operations;
use super::state::World;
use super::tls::Certificate;

#[derive(Debug)]
pub(super) struct Daemon {
    pub(super) profile: &'static FlavorProfile,
    pub(super) clock: Clock,
    pub(super) operations: Operations,
    pub(super) events: EventBus,
    pub(super) faults: Faults,
    pub(super) certificate: Certificate,
    /// `HOST:PORT` where it is reached over HTTPS.
    pub(super) address: Option<String>,
    /// The name of the member of a cluster that this is; `none` where there is no cluster.
    here: Mutex<String>,
    world: Mutex<World>,
}

impl Daemon {
    /// One that is reached at this address too.
    pub(super) fn new(options: Options, address: Option<String>) -> io::Result<Arc<Self>> {
        let profile = options.flavor.profile();
        let clock = Clock::new(options.skew, options.time);
        let mut world = World::new(profile, &clock);
        if let Some(address) = &address {
            let key = "core.https_address".to_owned();
            world.config.insert(key, address.as_str().into());
        }
        let daemon = Arc::new(Self {
            profile,
            clock,
            operations: Operations::default(),
            events: EventBus::default(),
            faults: Faults::new(options.rules, options.seed),
            certificate: Certificate::new(profile.title)?,
            address,
            here: Mutex::new("none".to_owned()),
            world: Mutex::new(world),
        });
        if options.members > 0 {
            daemon.found_cluster(&members(options.members, daemon.address.as_deref()));
        }
        Ok(daemon)
    }

    /// Makes a cluster of these members, by name and address; the first is this daemon.
    pub(super) fn found_cluster(&self, members: &[(String, String)]) {
        let Some((here, address)) = members.first() else {
            return;
        };
        let mut world = self.world();
        for (name, address) in members {
            world.cluster.join(name, address.clone());
        }
        for key in ["core.https_address", "cluster.https_address"] {
            world.config.insert(key.to_owned(), address.as_str().into());
        }
        world.config.sort_keys();
        world.relocate("none", here);
        pending::share(&mut world);
        self.set_here(here.clone());
    }

    /// The name of the member of a cluster that this is.
    pub(super) fn here(&self) -> String {
        let here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        here.clone()
    }

    /// It has another name now.
    pub(super) fn set_here(&self, name: String) {
        *self.here.lock().unwrap_or_else(PoisonError::into_inner) = name;
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

/// `member1` and so on. None but the first can be reached, so the others have addresses that are nobody's.
fn members(count: u8, first: Option<&str>) -> Vec<(String, String)> {
    let named = (1..=count).map(|number| {
        let address = match first {
            Some(first) if number == 1 => first.to_owned(),
            _ => format!("192.0.2.{number}:8443"),
        };
        (format!("member{number}"), address)
    });
    named.collect()
}
