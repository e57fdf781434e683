//! What playbooks say that run side by side: that of each is written whole, in their order.

use std::io::Stderr;
use std::sync::{Arc, Mutex, PoisonError};

use malleus::diagnostic::Diagnostic;
use malleus::events::{Event, Kind, Sink};
use malleus::report::Human;

/// Something to write.
pub(crate) enum Said {
    Event(Event),
    Line(String),
    Problem(Diagnostic),
}

impl Said {
    pub(crate) fn write(self, human: &Human<Stderr>) {
        match self {
            Self::Event(event) => human.event(event),
            Self::Line(line) => human.line(&line),
            Self::Problem(problem) => human.problem(&problem),
        }
    }

    /// Whether it is of use only in the moment.
    fn passes_by(&self) -> bool {
        matches!(self, Self::Event(event) if matches!(event.kind, Kind::Progress { .. }))
    }
}

/// The lane whose turn it is writes at once; what the others say is kept.
pub(crate) struct Lanes {
    human: Arc<Human<Stderr>>,
    state: Mutex<State>,
}

struct State {
    current: usize,
    kept: Vec<Vec<Said>>,
    ended: Vec<bool>,
}

/// One of the lanes.
#[derive(Clone)]
pub(crate) struct Lane {
    lanes: Arc<Lanes>,
    index: usize,
}

impl Lanes {
    pub(crate) fn new(human: &Arc<Human<Stderr>>, count: usize) -> Arc<Self> {
        Arc::new(Self {
            human: Arc::clone(human),
            state: Mutex::new(State {
                current: 0,
                kept: (0..count).map(|_| Vec::new()).collect(),
                ended: vec![false; count],
            }),
        })
    }

    pub(crate) fn lane(self: &Arc<Self>, index: usize) -> Lane {
        Lane {
            lanes: Arc::clone(self),
            index,
        }
    }
}

impl Lane {
    pub(crate) fn say(&self, said: Said) {
        // Held while it is written, so that nothing overtakes it.
        let mut state = self.lock();
        if self.index == state.current {
            said.write(&self.lanes.human);
        } else if !said.passes_by() {
            state.kept[self.index].push(said);
        }
    }

    /// Nothing more comes: the next lanes get their turn.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ended[self.index] = true;
        while state.ended.get(state.current) == Some(&true) {
            state.current += 1;
            let current = state.current;
            let kept = state.kept.get_mut(current).map(std::mem::take);
            kept.into_iter()
                .flatten()
                .for_each(|said| said.write(&self.lanes.human));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        let state = &self.lanes.state;
        state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
