use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use ureq::Agent;
use ureq::config::Config;

use super::dial::Dialer;
use super::link::Link;
use super::transport::{LinkConnector, NoResolver};
use super::{Error, Settings};
use malleus_core::clock::Clock;

/// More connections than a runner has jobs: an idle one costs a file descriptor.
const IDLE_CONNECTIONS: usize = 64;

/// What is cancelled together: a pool of connections, the websockets, and the scopes forked off.
pub(super) struct Scope {
    agent: Agent,
    cancelled: Arc<AtomicBool>,
    members: Mutex<Members>,
    woken: Condvar,
    clock: Clock,
    /// What outlives a cancellation of this scope for a while; made when it is first needed.
    with_grace: OnceLock<Arc<Scope>>,
}

/// How much longer a scope with grace lives than its own.
const LINGERS: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Members {
    sockets: Vec<Weak<Link>>,
    forks: Vec<Weak<Scope>>,
}

impl Scope {
    pub(super) fn new(dialer: &Arc<Dialer>, settings: &Settings) -> Arc<Self> {
        let cancelled = Arc::new(AtomicBool::new(false));
        let connector = LinkConnector {
            dialer: Arc::clone(dialer),
            cancelled: Arc::clone(&cancelled),
        };
        Arc::new(Self {
            agent: agent(connector, settings),
            cancelled,
            members: Mutex::default(),
            woken: Condvar::new(),
            clock: settings.clock,
            with_grace: OnceLock::new(),
        })
    }

    pub(super) fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Has `fork` cancelled together with this scope, at once if this one is cancelled already.
    pub(super) fn adopt(&self, fork: &Arc<Self>) {
        let mut members = self.members();
        if self.is_cancelled() {
            drop(members);
            fork.cancel();
            return;
        }
        members.forks.retain(|fork| fork.strong_count() > 0);
        members.forks.push(Arc::downgrade(fork));
    }

    /// A scope that is cancelled some seconds after this one.
    pub(super) fn with_grace(&self, make: impl FnOnce() -> Arc<Self>) -> Arc<Self> {
        Arc::clone(self.with_grace.get_or_init(make))
    }

    /// Has a websocket's connection shut down when the scope is cancelled.
    pub(super) fn register(&self, socket: &Arc<Link>) -> Result<(), Error> {
        // Checked under the lock, so that no socket slips past a cancellation that is under way.
        let mut members = self.members();
        self.check()?;
        members.sockets.retain(|socket| socket.strong_count() > 0);
        members.sockets.push(Arc::downgrade(socket));
        Ok(())
    }

    pub(super) fn cancel(&self) {
        let Members { sockets, forks } = {
            let mut members = self.members();
            self.cancelled.store(true, Ordering::SeqCst);
            std::mem::take(&mut *members)
        };
        self.woken.notify_all();
        self.agent.clone().shutdown();
        for socket in sockets.iter().filter_map(Weak::upgrade) {
            socket.close();
        }
        for fork in forks.iter().filter_map(Weak::upgrade) {
            fork.cancel();
        }
        if let Some(with_grace) = self.with_grace.get() {
            let with_grace = Arc::downgrade(with_grace);
            std::thread::spawn(move || {
                std::thread::sleep(LINGERS);
                if let Some(scope) = with_grace.upgrade() {
                    scope.cancel();
                }
            });
        }
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        if self.is_cancelled() {
            return Err(Error::Cancelled);
        }
        Ok(())
    }

    /// Sleeps, but not through a cancellation.
    pub(super) fn pause(&self, duration: Duration) -> Result<(), Error> {
        if self.clock == Clock::machine() {
            let members = self.members();
            let waited = self
                .woken
                .wait_timeout_while(members, duration, |_| !self.is_cancelled());
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        } else {
            self.clock.pause(duration, || self.is_cancelled());
        }
        self.check()
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        // The lists are whole after every statement, so a panic elsewhere does not spoil them.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn agent(connector: LinkConnector, settings: &Settings) -> Agent {
    let config = Config::builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent(&settings.user_agent)
        .max_idle_connections(IDLE_CONNECTIONS)
        .max_idle_connections_per_host(IDLE_CONNECTIONS)
        .max_idle_age(settings.idle_timeout)
        .build();
    Agent::with_parts(config, connector, NoResolver)
}
