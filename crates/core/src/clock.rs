//! Time: the machine's, or that of a simulated daemon, which can jump.
//!
//! Whoever waits asks a [`Clock`]. The machine's passes by itself. A simulated one is shared by a simulated daemon and its
//! clients; once it [`jumps`](Clock::jump), it moves on to the next moment that somebody waits for as soon as nobody does
//! anything any more, so that minutes of waiting take milliseconds and come in the order in which they would come. While
//! somebody does something it passes like the machine's, and never more slowly.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How long nobody must have done anything before a simulated clock jumps.
const QUIET: Duration = Duration::from_millis(3);

/// How often a pause looks whether it is to be cut short.
const GLANCE: Duration = Duration::from_millis(20);

/// Where time comes from. Copies are the same clock.
#[derive(Clone, Copy, Default)]
pub struct Clock(Option<&'static Simulated>);

/// A clock that can be ahead of the machine's.
#[derive(Default)]
struct Simulated {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ahead: Duration,
    /// Who is to be told when which moment has come.
    sleepers: BTreeMap<(Instant, u64), Box<dyn FnOnce() + Send>>,
    next: u64,
    /// Clients that wait: for an answer, or for time to pass. Without any, nobody could tell that time has passed.
    waiting: usize,
    /// Those who compute, less those of them who sleep.
    busy: isize,
    /// Counts what is done.
    activity: u64,
    jumps: bool,
    over: bool,
}

impl State {
    fn may_jump(&self) -> bool {
        self.jumps && self.waiting > 0 && self.busy <= 0 && !self.sleepers.is_empty()
    }

    /// Moves on to the first moment that is waited for; the result are those who wait for it.
    fn jump(&mut self) -> Vec<Box<dyn FnOnce() + Send>> {
        let now = Instant::now() + self.ahead;
        let Some(((first, _), _)) = self.sleepers.first_key_value() else {
            return Vec::new();
        };
        let first = now.max(*first);
        self.ahead += first - now;
        let later = self.sleepers.split_off(&(first, u64::MAX));
        let woken = std::mem::replace(&mut self.sleepers, later);
        self.activity += 1;
        woken.into_values().collect()
    }
}

impl Clock {
    /// The machine's clock.
    pub fn machine() -> Self {
        Self(None)
    }

    /// A simulated clock, which goes with the machine's until it [`jumps`](Self::jump). Limits are copied freely and refer
    /// to it, so it stays for as long as the process does (some 200 bytes).
    pub fn simulated() -> Self {
        Self(Some(Box::leak(Box::default())))
    }

    /// From now on a simulated clock jumps.
    pub fn jump(self) {
        self.change(|state| state.jumps = true);
    }

    /// From now on a simulated clock goes with the machine's, from where it is.
    pub fn walk(self) {
        self.change(|state| state.jumps = false);
    }

    /// What time it is.
    pub fn now(self) -> Instant {
        Instant::now() + self.ahead()
    }

    /// What time it is, as it is told to people.
    pub fn time_of_day(self) -> SystemTime {
        SystemTime::now() + self.ahead()
    }

    /// How far it is ahead of the machine's clock.
    fn ahead(self) -> Duration {
        self.0.map_or(Duration::ZERO, |clock| clock.state().ahead)
    }

    /// The time that has gone by since a moment that this clock told.
    pub fn elapsed(self, since: Instant) -> Duration {
        self.now().saturating_duration_since(since)
    }

    /// Lets that much time go by, or less where `cut` says so meanwhile: for the threads of clients.
    pub fn pause(self, duration: Duration, cut: impl Fn() -> bool) {
        let _waiting = self.waits();
        let (wake, woken) = mpsc::channel();
        let end = self.now().checked_add(duration);
        let _alarm = end.map(|end| {
            self.alarm(end, move || {
                // Who is not there any more need not be told.
                let _ = wake.send(());
            })
        });
        loop {
            let left = end.map_or(Duration::MAX, |end| {
                end.saturating_duration_since(self.now())
            });
            if left.is_zero() || cut() {
                return;
            }
            match woken.recv_timeout(left.min(GLANCE)) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) => return,
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(left.min(GLANCE)),
            }
        }
    }

    /// Has `wake` called when a simulated clock jumps to this moment or past it. Who waits looks at the machine's clock
    /// beside it, as time passes there too.
    pub fn alarm(self, at: Instant, wake: impl FnOnce() + Send + 'static) -> Alarm {
        let key = self.change(|state| {
            let key = (at, state.next);
            state.next += 1;
            state.sleepers.insert(key, Box::new(wake));
            key
        });
        Alarm { clock: self, key }
    }

    /// A client waits for as long as the result lives.
    pub fn waits(self) -> Waits {
        self.change(|state| state.waiting += 1);
        Waits(self)
    }

    /// Somebody computes for as long as the result lives, so that a simulated clock does not jump.
    pub fn works(self) -> Works {
        self.change(|state| state.busy += 1);
        Works(self, -1)
    }

    /// Somebody who [works](Self::works) sleeps for as long as the result lives.
    pub fn rests(self) -> Works {
        self.change(|state| state.busy -= 1);
        Works(self, 1)
    }

    /// Something has been done.
    fn change<T>(self, change: impl FnOnce(&mut State) -> T) -> Option<T> {
        let clock = self.0?;
        let mut state = clock.state();
        state.activity += 1;
        let changed = change(&mut state);
        drop(state);
        clock.changed.notify_all();
        Some(changed)
    }

    /// Makes a simulated clock jump where it may, until it is [ended](Self::end). Takes a thread.
    pub fn drive(self) {
        let Some(clock) = self.0 else { return };
        let mut state = clock.state();
        while !state.over {
            if !state.may_jump() {
                let waited = clock.changed.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let before = state.activity;
            let quiet = clock.changed.wait_timeout_while(state, QUIET, |state| {
                state.activity == before && !state.over
            });
            let (after, quiet) = quiet.unwrap_or_else(PoisonError::into_inner);
            state = after;
            if quiet.timed_out() && state.may_jump() {
                let woken = state.jump();
                drop(state);
                for wake in woken {
                    wake();
                }
                state = clock.state();
            }
        }
    }

    /// Has [`drive`](Self::drive) return.
    pub fn end(self) {
        self.change(|state| state.over = true);
    }
}

impl Simulated {
    fn state(&self) -> MutexGuard<'_, State> {
        // Whole after every statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartialEq for Clock {
    fn eq(&self, other: &Self) -> bool {
        match (self.0, other.0) {
            (Some(one), Some(other)) => std::ptr::eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}

impl Eq for Clock {}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.0.is_some() {
            "Clock::simulated"
        } else {
            "Clock::machine"
        };
        f.write_str(name)
    }
}

/// Somebody is to be told of a moment; not any more once this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Alarm {
    clock: Clock,
    key: Option<(Instant, u64)>,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            drop(self.clock.change(|state| state.sleepers.remove(&key)));
        }
    }
}

/// A client waits.
#[derive(Debug)]
#[must_use]
pub struct Waits(Clock);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.change(|state| state.waiting -= 1);
    }
}

/// Somebody computes, or sleeps meanwhile.
#[derive(Debug)]
#[must_use]
pub struct Works(Clock, isize);

impl Drop for Works {
    fn drop(&mut self) {
        let by = self.1;
        self.0.change(|state| state.busy += by);
    }
}

#[cfg(test)]
mod tests {
    use super::Clock;
    use std::sync::Mutex;
    use std::thread;
    use std::time::Duration;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn pauses_end_in_the_order_of_their_lengths() {
        let clock = Clock::simulated();
        clock.jump();
        let began = clock.now();
        let ended = Mutex::new(Vec::new());
        thread::scope(|threads| {
            let driver = threads.spawn(|| clock.drive());
            let pauses = [7, 1, 30, 3].map(|minutes| {
                let ended = &ended;
                threads.spawn(move || {
                    clock.pause(MINUTE * minutes, || false);
                    ended.lock().expect("no panic").push(minutes);
                })
            });
            for pause in pauses {
                pause.join().expect("no panic");
            }
            clock.end();
            driver.join().expect("no panic");
        });
        assert_eq!(ended.into_inner().expect("no panic"), [1, 3, 7, 30]);
        let passed = clock.elapsed(began);
        assert!(
            (MINUTE * 30..MINUTE * 31).contains(&passed),
            "not one after the other: {passed:?}"
        );
    }

    #[test]
    fn it_does_not_jump_while_somebody_works_or_nobody_waits() {
        let clock = Clock::simulated();
        clock.jump();
        thread::scope(|threads| {
            threads.spawn(|| clock.drive());
            let began = clock.now();
            let alarm = clock.alarm(began + MINUTE, || {});
            thread::sleep(super::QUIET * 5);
            let works = clock.works();
            let waits = clock.waits();
            thread::sleep(super::QUIET * 5);
            assert!(clock.elapsed(began) < MINUTE);
            drop(works);
            clock.pause(MINUTE, || false);
            assert!(clock.elapsed(began) >= MINUTE);
            drop((alarm, waits));
            clock.end();
        });
    }

    #[test]
    fn a_pause_is_cut_short() {
        let clock = Clock::simulated();
        let began = clock.now();
        clock.pause(MINUTE, || true);
        assert!(clock.elapsed(began) < MINUTE);
    }
}
