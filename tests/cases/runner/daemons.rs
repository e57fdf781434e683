//! The daemons that cases run on. A real one is started by the first case that needs it, and serves one case after the other:
//! what a case leaves is told by what the daemon holds before and after it. Simulated ones cost nothing: as many as there are
//! cases at a time.

use std::mem;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(feature = "sim")]
use crate::support::daemon::Flavor;
use crate::support::daemon::{Daemon, Generation};
use crate::support::leftovers::Inventory;
use crate::support::proxy::Proxy;

/// A daemon with what a case sees of it.
pub(crate) struct CaseDaemon {
    pub(crate) generation: Generation,
    pub(crate) proxy: Proxy,
    pub(crate) inventory: Inventory,
    /// Ends when this value is dropped.
    _owner: Owner,
}

enum Owner {
    Real {
        _daemon: Daemon,
    },
    #[cfg(feature = "sim")]
    Simulated {
        _daemon: malleus::sim::Sim,
    },
}

impl CaseDaemon {
    fn new(generation: Generation, socket: &Path, owner: Owner) -> Self {
        Self {
            generation,
            proxy: Proxy::before(socket),
            inventory: Inventory::at(socket),
            _owner: owner,
        }
    }

    fn real(generation: Generation) -> Self {
        let daemon = Daemon::start(generation);
        let socket = daemon.socket.clone();
        Self::new(generation, &socket, Owner::Real { _daemon: daemon })
    }

    #[cfg(feature = "sim")]
    fn simulated(flavor: Flavor) -> Self {
        use malleus::sim::{Options, Sim};
        let simulated = match flavor {
            Flavor::Incus => malleus::sim::Flavor::Incus,
            Flavor::Lxd => malleus::sim::Flavor::Lxd,
        };
        let sim = Sim::start(Options::new(simulated)).expect("it starts");
        let socket = sim.socket().to_owned();
        Self::new(flavor.into(), &socket, Owner::Simulated { _daemon: sim })
    }
}

/// The real daemon of a generation.
pub(crate) struct RealDaemon {
    generation: Generation,
    state: Mutex<State>,
}

enum State {
    NotStarted,
    Idle(Box<CaseDaemon>),
    /// A second attempt would fail as the first one did, after a minute.
    CannotStart,
}

impl RealDaemon {
    pub(crate) fn new(generation: Generation) -> Self {
        Self {
            generation,
            state: Mutex::new(State::NotStarted),
        }
    }

    /// Does something on the daemon while nothing else is done there. Where that panics, the next case gets a new daemon.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&CaseDaemon) -> T) -> Result<T, String> {
        let mut state = lock(&self.state);
        let daemon = match mem::replace(&mut *state, State::CannotStart) {
            State::NotStarted => Box::new(CaseDaemon::real(self.generation)),
            State::Idle(daemon) => daemon,
            State::CannotStart => {
                let generation = self.generation;
                return Err(format!(
                    "the {generation} daemon does not start: see stderr"
                ));
            }
        };
        *state = State::NotStarted;
        let done = work(&daemon);
        *state = State::Idle(daemon);
        Ok(done)
    }
}

/// Simulated daemons of a flavor.
#[cfg(feature = "sim")]
pub(crate) struct SimulatedDaemons {
    pub(crate) flavor: Flavor,
    idle: Mutex<Vec<CaseDaemon>>,
}

#[cfg(feature = "sim")]
impl SimulatedDaemons {
    pub(crate) fn new(flavor: Flavor) -> Self {
        Self {
            flavor,
            idle: Mutex::default(),
        }
    }

    /// Does something on a daemon that nothing else is done on. One where that panics is not used again.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&CaseDaemon) -> T) -> T {
        let idle = lock(&self.idle).pop();
        let daemon = idle.unwrap_or_else(|| CaseDaemon::simulated(self.flavor));
        let done = work(&daemon);
        lock(&self.idle).push(daemon);
        done
    }
}

/// Locks what is whole even where a case has panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
