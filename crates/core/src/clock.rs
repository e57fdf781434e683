//! Time: the machine's, or that of a simulated daemon, which can jump.
//!
//! Whoever waits asks a [`Clock`]. The machine's passes by itself. A simulated one is shared by a simulated daemon and its
//! clients; once it [`jumps`](Clock::jump), it moves on to the next moment that somebody waits for as soon as nobody does
//! anything any more, so that minutes of waiting take milliseconds and come in the order in which they would come. While
//! somebody does something it passes like the machine's, and never more slowly.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How long nobody must have done anything before a simulated clock jumps.
const QUIET: Duration = Duration::from_millis(3);

/// How long that must be where a thread of this process computes all the while: it may have nothing to do with the clock.
const LONG_QUIET: Duration = Duration::from_millis(250);

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
        let (wake, woken) = mpsc::channel();
        let end = self.now().checked_add(duration);
        let _alarm = end.map(|end| {
            self.alarm(end, move || {
                // Who is not there any more need not be told.
                let _ = wake.send(());
            })
        });
        // After the alarm: the clock must not jump for this client before it knows until when.
        let _waiting = self.waits();
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
            drop(state);
            let quiet = clock.is_quiet(before);
            state = clock.state();
            if quiet && state.activity == before && state.may_jump() {
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

    /// Waits until nothing has been done for some time, and no thread is about to do something. False as soon as something
    /// has been done, or the clock has ended.
    fn is_quiet(&self, activity: u64) -> bool {
        let began = Instant::now();
        loop {
            let waited = self
                .changed
                .wait_timeout_while(self.state(), QUIET, |state| {
                    state.activity == activity && !state.over
                });
            let (state, quiet) = waited.unwrap_or_else(PoisonError::into_inner);
            drop(state);
            if !quiet.timed_out() {
                return false;
            }
            if began.elapsed() >= LONG_QUIET || !others_compute() {
                return true;
            }
        }
    }
}

/// Whether another thread of this process runs or waits for a processor. On a busy machine a thread that has an answer to
/// read may wait for longer than [`QUIET`]. Only Linux tells; elsewhere the quiet has to do.
fn others_compute() -> bool {
    let Ok(threads) = fs::read_dir("/proc/self/task") else {
        return false;
    };
    let computing = threads.flatten().filter(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state stands behind the name, which may have any characters. `D` waits for a disk.
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
        state.is_some_and(|state| state.starts_with(['R', 'D']))
    });
    // This thread is one of them.
    computing.count() > 1
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
    use std::sync::mpsc;
    use std::thread;
    use std::time::{Duration, Instant};

    const MINUTE: Duration = Duration::from_secs(60);

    /// Ends a clock with its test, also where an assertion fails: `drive` would run on.
    struct Ended(Clock);

    impl Drop for Ended {
        fn drop(&mut self) {
            self.0.end();
        }
    }

    #[test]
    fn alarms_ring_in_the_order_of_their_moments() {
        let clock = Clock::simulated();
        clock.jump();
        let began = clock.now();
        let (rings, rung) = mpsc::channel();
        let alarms = [7, 1, 30, 3].map(|minutes| {
            let rings = rings.clone();
            clock.alarm(began + MINUTE * minutes, move || {
                rings.send(minutes).expect("the test listens");
            })
        });
        thread::scope(|threads| {
            let _ended = Ended(clock);
            threads.spawn(|| clock.drive());
            clock.pause(MINUTE * 30, || false);
        });
        assert_eq!(rung.try_iter().collect::<Vec<_>>(), [1, 3, 7, 30]);
        let passed = clock.elapsed(began);
        assert!(
            (MINUTE * 30..MINUTE * 31).contains(&passed),
            "not one after the other: {passed:?}"
        );
        drop(alarms);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn it_does_not_jump_while_a_thread_computes() {
        let clock = Clock::simulated();
        clock.jump();
        let began = clock.now();
        thread::scope(|threads| {
            let _ended = Ended(clock);
            threads.spawn(|| clock.drive());
            let alarm = clock.alarm(began + MINUTE, || {});
            let waits = clock.waits();
            let computing = Instant::now();
            while computing.elapsed() < super::QUIET * 20 {}
            assert!(clock.elapsed(began) < MINUTE);
            clock.pause(MINUTE, || false);
            assert!(clock.elapsed(began) >= MINUTE);
            drop((alarm, waits));
        });
    }

    #[test]
    fn it_does_not_jump_while_somebody_works_or_nobody_waits() {
        let clock = Clock::simulated();
        clock.jump();
        thread::scope(|threads| {
            let _ended = Ended(clock);
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
