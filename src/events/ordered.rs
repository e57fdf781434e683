//! Events in order though things happen side by side: a lane's events wait until the ordered before it have ended.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Event, Sink};

/// Where a step's events go.
#[derive(Clone)]
pub(crate) enum EventSink<'a> {
    /// To whoever listens to the run.
    Sink(&'a dyn Sink),
    /// Into one of several ordered.
    Lane(Arc<OrderedEvents<'a>>, usize),
}

impl EventSink<'_> {
    pub(crate) fn send(&self, event: Event) {
        match self {
            Self::Sink(sink) => sink.event(event),
            Self::Lane(ordered, lane) => ordered.send(*lane, event),
        }
    }
}

/// Events of work side by side, in order. The events of the first that has not ended pass at once; the others' are kept.
pub(crate) struct OrderedEvents<'a> {
    to: EventSink<'a>,
    state: Mutex<State>,
}

struct State {
    /// The lane whose events pass.
    current: usize,
    kept: Vec<Vec<Event>>,
    ended: Vec<bool>,
}

impl<'a> OrderedEvents<'a> {
    /// `count` ordered in front of `to`.
    pub(crate) fn new(to: EventSink<'a>, count: usize) -> Arc<Self> {
        Arc::new(Self {
            to,
            state: Mutex::new(State {
                current: 0,
                kept: (0..count).map(|_| Vec::new()).collect(),
                ended: vec![false; count],
            }),
        })
    }

    fn send(&self, lane: usize, event: Event) {
        // Held while the event passes, so that nothing overtakes it.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if lane == state.current {
            self.to.send(event);
        } else if let Some(kept) = state.kept.get_mut(lane) {
            kept.push(event);
        }
    }

    /// Nothing more comes from a lane: the next ones get their turn.
    pub(crate) fn end(&self, lane: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ended) = state.ended.get_mut(lane) {
            *ended = true;
        }
        while state.ended.get(state.current) == Some(&true) {
            state.current += 1;
            let next = state.current;
            let kept = state.kept.get_mut(next).map(std::mem::take);
            kept.into_iter()
                .flatten()
                .for_each(|event| self.to.send(event));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::diagnostic::Diagnostic;
    use crate::events::Kind;

    #[derive(Default)]
    struct Seen(Mutex<Vec<String>>);

    impl Sink for Seen {
        fn event(&self, event: Event) {
            if let Kind::Warning(problem) = event.kind {
                self.0.lock().unwrap().push(problem.message);
            }
        }
    }

    #[test]
    fn lanes_pass_in_order() {
        let seen = Seen::default();
        let ordered = OrderedEvents::new(EventSink::Sink(&seen), 3);
        let say = |lane: usize, text: &str| {
            EventSink::Lane(Arc::clone(&ordered), lane).send(Event {
                elapsed: Duration::ZERO,
                kind: Kind::Warning(Diagnostic::error(text)),
            });
        };
        say(1, "b1");
        say(0, "a1");
        say(2, "c1");
        ordered.end(1);
        say(0, "a2");
        ordered.end(0);
        say(2, "c2");
        ordered.end(2);
        assert_eq!(*seen.0.lock().unwrap(), ["a1", "a2", "b1", "c1", "c2"]);
    }
}
