//! Behaviour as data: every case below this folder is run and compared, as a test of its own; `runner/case.rs` says what is in
//! one. `check/exec/is-text` needs no daemon; `incus::run/exec/exit-0` is a case on a real daemon, `sim-incus::run/exec/exit-0`
//! the same on a simulated one.
//!
//! `MALLEUS_CASES` names the cases that are wanted, by a part of their names. `MALLEUS_BLESS=1` writes what is seen as what is
//! expected; the difference is for review.
#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "helpers of tests may end them, and say what is left out"
)]

mod runner;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "the other test program needs more of it")]
mod support;

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use libtest_mimic::{Arguments, Failed, Trial};

use runner::case::{Case, blessing, cases, folders};
use runner::daemons::RealDaemon;
use support::daemon::{Generation, live_is_required, why_not};

/// Areas whose cases need no daemon, and those that run on each flavor.
const OFFLINE: [&str; 3] = ["check", "show", "usage"];
const LIVE: [&str; 4] = ["run", "request", "exec", "test"];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Cases wait most of the time, for their daemons above all.
    let processors = thread::available_parallelism().map_or(1, Into::into);
    arguments.test_threads.get_or_insert(2 * processors);

    let mut groups = vec![vec![areas(), reasons()], offline()];
    if blessing() {
        groups.push(bless());
    } else {
        groups.extend(Generation::ALL.map(live));
        #[cfg(feature = "sim")]
        groups.extend(simulated::groups());
    }
    // The daemons end with the last trial that has one.
    libtest_mimic::run(&arguments, in_turn(groups)).exit_code()
}

/// One trial of each group after the other, so that all daemons have something to do.
fn in_turn(groups: Vec<Vec<Trial>>) -> Vec<Trial> {
    let mut groups: Vec<_> = groups.into_iter().map(Vec::into_iter).collect();
    let mut all = Vec::new();
    loop {
        let before = all.len();
        all.extend(groups.iter_mut().filter_map(Iterator::next));
        if all.len() == before {
            return all;
        }
    }
}

fn areas() -> Trial {
    Trial::test("every_folder_is_in_an_area", || {
        let known = |folder: &String| OFFLINE.iter().chain(&LIVE).any(|area| area == folder);
        let stray = folders().into_iter().find(|folder| !known(folder));
        stray.map_or(
            Ok(()),
            |folder| Err(format!("nothing runs {folder}").into()),
        )
    })
}

fn reasons() -> Trial {
    Trial::test("every_difference_of_a_generation_has_a_reason", || {
        let wrong: Vec<_> = all(&LIVE)
            .iter()
            .filter(|case| !case.is_explained())
            .map(|case| case.name.clone())
            .collect();
        if wrong.is_empty() {
            return Ok(());
        }
        let wrong = wrong.join(", ");
        Err(format!("expected files of incus7 and why.incus7 come together: {wrong}").into())
    })
}

fn all(areas: &[&str]) -> Vec<Arc<Case>> {
    areas
        .iter()
        .flat_map(|area| cases(area))
        .map(Arc::new)
        .collect()
}

fn offline() -> Vec<Trial> {
    let trial = |case: Arc<Case>| {
        Trial::test(case.name.clone(), move || {
            let outcome = case.run(None);
            if blessing() {
                case.bless(&outcome, &[]);
                return Ok(());
            }
            passed(case.judge(&outcome, None))
        })
    };
    all(&OFFLINE).into_iter().map(trial).collect()
}

/// The cases on a real daemon: ignored where it cannot be had, unless live tests are required.
fn live(generation: Generation) -> Vec<Trial> {
    let missing = why_not(generation);
    if let Some(why) = &missing
        && !live_is_required()
    {
        eprintln!("\n*** CASES ON {generation} ARE LEFT OUT ***\n{why}\n");
    }
    let daemon = Arc::new(RealDaemon::new(generation));
    let trial = |case: Arc<Case>| {
        let (daemon, missing) = (Arc::clone(&daemon), missing.clone());
        let ignored = missing.is_some() && !live_is_required();
        let trial = Trial::test(format!("{generation}::{}", case.name), move || {
            if let Some(why) = missing {
                return Err(why.into());
            }
            let judged = daemon.with(|daemon| {
                let outcome = case.run(Some(daemon));
                case.judge(&outcome, Some(daemon.generation))
            });
            passed(judged?)
        });
        trial.with_ignored_flag(ignored)
    };
    all(&LIVE).into_iter().map(trial).collect()
}

/// Expected files are common to the daemons, with others beside them where a daemon differs: a case is run on all of them before
/// they are written.
fn bless() -> Vec<Trial> {
    let daemons = Arc::new(Generation::ALL.map(RealDaemon::new));
    let trial = |case: Arc<Case>| {
        let daemons = Arc::clone(&daemons);
        Trial::test(format!("bless::{}", case.name), move || {
            if let Some(why) = Generation::ALL.into_iter().find_map(why_not) {
                return Err(format!(
                    "expected files are written where all daemons can be had: {why}"
                )
                .into());
            }
            let on = |daemon: &RealDaemon| daemon.with(|daemon| case.run(Some(daemon)));
            let [incus, lxd, incus7] = &*daemons;
            let common = on(incus)?;
            case.bless(&common, &[("lxd", on(lxd)?), ("incus7", on(incus7)?)]);
            Ok(())
        })
    };
    all(&LIVE).into_iter().map(trial).collect()
}

fn passed(wrong: Option<String>) -> Result<(), Failed> {
    wrong.map_or(Ok(()), |wrong| Err(wrong.into()))
}

/// The cases of live daemons on simulated ones. What cannot hold there is listed with the reason, and must not hold.
#[cfg(feature = "sim")]
mod simulated {
    use std::sync::Arc;

    use libtest_mimic::Trial;

    use super::runner::case::Case;
    use super::runner::daemons::SimulatedDaemons;
    use super::support::daemon::Flavor;
    use super::{LIVE, all, passed};

    pub(crate) fn groups() -> Vec<Vec<Trial>> {
        let exceptions = exceptions();
        let listed = |case: &Case, flavor| {
            let of = |(name, on): &(String, Option<Flavor>)| {
                *name == case.name && on.is_none_or(|on| on == flavor)
            };
            exceptions.iter().any(of)
        };
        let group = |flavor| {
            let daemons = Arc::new(SimulatedDaemons::new(flavor));
            let cases = all(&LIVE).into_iter();
            cases
                .map(|case| {
                    let listed = listed(&case, flavor);
                    trial(case, Arc::clone(&daemons), listed)
                })
                .collect()
        };
        Flavor::ALL.map(group).into()
    }

    fn trial(case: Arc<Case>, daemons: Arc<SimulatedDaemons>, listed: bool) -> Trial {
        let flavor = daemons.flavor;
        Trial::test(format!("sim-{flavor}::{}", case.name), move || {
            let wrong = daemons.with(|daemon| {
                let outcome = case.run(Some(daemon));
                case.judge(&outcome, Some(daemon.generation))
            });
            match (wrong, listed) {
                (Some(_), true) => Ok(()),
                (None, true) => Err("it holds: take it out of tests/sim/exceptions".into()),
                (wrong, false) => passed(wrong),
            }
        })
    }

    /// Lines `CASE [incus|lxd]: REASON`.
    fn exceptions() -> Vec<(String, Option<Flavor>)> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sim/exceptions");
        let text = std::fs::read_to_string(path).expect("the list");
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines
            .map(|line| {
                let (case, reason) = line.split_once(": ").expect("CASE: REASON");
                assert!(!reason.is_empty(), "{case} has no reason");
                match case.split_once(' ') {
                    Some((case, "incus")) => (case.to_owned(), Some(Flavor::Incus)),
                    Some((case, _)) => (case.to_owned(), Some(Flavor::Lxd)),
                    None => (case.to_owned(), None),
                }
            })
            .collect()
    }
}
