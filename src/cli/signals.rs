//! SIGINT, SIGTERM, SIGHUP: the first ends the work in order, the second at once.

use std::io;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use malleus::client::Client;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals as Incoming;

/// What a signal does.
type Reaction = Box<dyn Fn(i32) + Send>;

/// Listens on a thread of its own until the process ends.
pub(crate) struct Signals {
    received: Arc<AtomicI32>,
    reaction: Arc<Mutex<Option<Reaction>>>,
}

impl Signals {
    pub(crate) fn listen() -> io::Result<Self> {
        let mut incoming = Incoming::new([SIGINT, SIGTERM, SIGHUP])?;
        let received = Arc::new(AtomicI32::new(0));
        let reaction: Arc<Mutex<Option<Reaction>>> = Arc::default();
        let signals = Self {
            received: Arc::clone(&received),
            reaction: Arc::clone(&reaction),
        };
        std::thread::spawn(move || {
            for number in incoming.forever() {
                if received.swap(number, Ordering::SeqCst) != 0 {
                    std::process::exit(128 + number);
                }
                if let Some(react) = reaction
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .as_ref()
                {
                    react(number);
                }
            }
        });
        Ok(signals)
    }

    /// The first signal cancels the client.
    pub(crate) fn cancels(&self, client: &Client) {
        let client = client.clone();
        self.reacts(move |_| client.cancel());
    }

    /// What the first signal does; at once where it has come already.
    pub(crate) fn reacts(&self, react: impl Fn(i32) + Send + 'static) {
        let mut reaction = self.reaction.lock().unwrap_or_else(PoisonError::into_inner);
        let already = self.received.load(Ordering::SeqCst);
        if already != 0 {
            react(already);
        }
        *reaction = Some(Box::new(react));
    }

    /// The first signal's number.
    pub(crate) fn received(&self) -> Option<u8> {
        u8::try_from(self.received.load(Ordering::SeqCst))
            .ok()
            .filter(|number| *number != 0)
    }
}
