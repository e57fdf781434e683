//! Several things side by side: the first failure stops what has not begun, cancels and drains what is in flight, and
//! only then travels on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::executor::{Frame, Stop};
use super::servers::RemoteClients;
use crate::events::{EventSink, OrderedEvents};

/// Threads at the most, whatever a playbook asks for.
const WIDEST: usize = 256;

/// What came of each piece of work, in order; nothing for those that never began.
pub(super) struct ParallelResults<T> {
    pub(super) results: Vec<Option<T>>,
    pub(super) stop: Option<Stop>,
    /// How many pieces of work were begun.
    pub(super) begun: usize,
}

/// Does `count` pieces of work, `width` at a time, each with a frame of its own.
pub(super) fn run_parallel<'a, T: Send>(
    (count, width): (usize, usize),
    frame: &Frame<'a>,
    work: impl Fn(usize, Frame<'a>) -> Result<T, Stop> + Sync,
) -> ParallelResults<T> {
    let client = frame.client.fork();
    let abroad = RemoteClients::default();
    let ordered = OrderedEvents::new(frame.events.clone(), count);
    let next = AtomicUsize::new(0);
    let begun = AtomicUsize::new(0);
    let stop = Mutex::new(None);
    let results: Mutex<Vec<Option<T>>> = Mutex::new((0..count).map(|_| None).collect());
    let worker = || {
        loop {
            let at = next.fetch_add(1, Ordering::SeqCst);
            if at >= count {
                return;
            }
            if !client.is_cancelled() {
                begun.fetch_add(1, Ordering::SeqCst);
                let own = Frame {
                    client: client.clone(),
                    abroad: abroad.clone(),
                    events: EventSink::Lane(Arc::clone(&ordered), at),
                    ..frame.clone()
                };
                match work(at, own) {
                    Ok(result) => {
                        results.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(result);
                    }
                    Err(why) => {
                        let mut stop = stop.lock().unwrap_or_else(PoisonError::into_inner);
                        // The failure, not the cancellations that follow it.
                        if stop.is_none() || why == Stop::Failed {
                            *stop = Some(why);
                        }
                        client.cancel();
                    }
                }
            }
            ordered.end(at);
        }
    };
    std::thread::scope(|threads| {
        for _ in 1..width.min(count).clamp(1, WIDEST) {
            threads.spawn(worker);
        }
        worker();
    });
    let stop = stop.into_inner().unwrap_or_else(PoisonError::into_inner);
    ParallelResults {
        begun: begun.into_inner(),
        results: results.into_inner().unwrap_or_else(PoisonError::into_inner),
        stop: if frame.client.is_cancelled() {
            Some(Stop::Cancelled)
        } else {
            stop
        },
    }
}
