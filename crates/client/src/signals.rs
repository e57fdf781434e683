use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use super::websocket::SocketWriter;

/// A handle to send signals to a command that runs over websockets, from any thread.
///
/// ```
/// use malleus_client::Signals;
///
/// let signals = Signals::new();
/// let handle = signals.clone();
/// // Given to `Stdio`, the command gets this one as soon as it runs.
/// handle.send(15);
/// ```
#[derive(Clone, Default)]
pub struct Signals {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    control: Option<SocketWriter>,
    /// Signals sent before the command runs.
    early: VecDeque<i32>,
}

impl Signals {
    /// A handle that no command has yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends a signal by its number on Linux, such as 15. Before the command runs it is kept until
    /// then; after the command has ended it goes nowhere. Only the command itself gets it, not its children.
    pub fn send(&self, signal: i32) {
        let mut state = self.state();
        let Some(control) = &mut state.control else {
            state.early.push_back(signal);
            return;
        };
        let message = json!({"command": "signal", "signal": signal}).to_string();
        // Fails when the command has ended.
        let _ = control.text(&message);
    }

    pub(super) fn attach(&self, control: SocketWriter) {
        let early = {
            let mut state = self.state();
            state.control = Some(control);
            std::mem::take(&mut state.early)
        };
        for signal in early {
            self.send(signal);
        }
    }

    /// The command has ended; the handle is as new, and may be given to another one.
    pub(super) fn detach(&self) {
        *self.state() = State::default();
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signals").finish_non_exhaustive()
    }
}
