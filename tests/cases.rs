//! Behaviour as data: every folder below `tests/cases` is run and compared; see `support/case.rs` for what is in one.
//! `MALLEUS_BLESS=1` writes what is seen as what is expected; the difference is for review.
#![allow(clippy::expect_used, reason = "helpers of tests may end them")]

mod support;

use std::io::Write;
use std::sync::Mutex;
use std::thread;

use support::case::{Case, Outcome, Stage, blessing, cases};
use support::daemon::{Daemon, Flavor, daemons};

/// Areas whose cases need no daemon, and those that run on each brand.
const OFFLINE: [&str; 3] = ["check", "show", "usage"];
const LIVE: [&str; 4] = ["run", "request", "exec", "test"];

#[test]
fn every_folder_is_in_an_area() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    for entry in std::fs::read_dir(root).expect("a folder") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_string_lossy();
        assert!(
            OFFLINE.iter().chain(&LIVE).any(|area| *area == name),
            "nothing runs {name}"
        );
    }
}

#[test]
fn offline() {
    let all: Vec<Case> = OFFLINE.into_iter().flat_map(cases).collect();
    let next = Mutex::new(all.iter());
    let failures = Mutex::new(Vec::new());
    thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                while let Some(case) = { next.lock().expect("no panic").next() } {
                    let outcome = case.run(None);
                    if blessing() {
                        case.bless(&outcome, None);
                    } else if let Some(wrong) = case.judge(&outcome, None) {
                        failures.lock().expect("no panic").push(wrong);
                    }
                }
            });
        }
    });
    report(all.len(), failures.into_inner().expect("no panic"));
}

#[test]
fn live() {
    let all: Vec<Case> = LIVE.into_iter().flat_map(cases).collect();
    let brands = daemons();
    if all.is_empty() || brands.is_empty() {
        return;
    }
    assert!(
        !blessing() || brands == Flavor::ALL,
        "expected files are written where both brands are there"
    );
    let outcomes: Vec<(Flavor, Vec<Outcome>)> = thread::scope(|threads| {
        let runs: Vec<_> = brands
            .iter()
            .map(|&flavor| {
                (
                    flavor,
                    threads.spawn({
                        let all = &all;
                        move || on(flavor, all)
                    }),
                )
            })
            .collect();
        runs.into_iter()
            .map(|(flavor, run)| (flavor, run.join().expect("no panic")))
            .collect()
    });
    if let (true, [(_, incus), (_, lxd)]) = (blessing(), outcomes.as_slice()) {
        for (case, (common, own)) in all.iter().zip(incus.iter().zip(lxd)) {
            case.bless(common, Some(own));
        }
        return;
    }
    let judged = outcomes.iter().flat_map(|(flavor, outcomes)| {
        let pairs = all.iter().zip(outcomes);
        pairs.filter_map(|(case, outcome)| case.judge(outcome, Some(*flavor)))
    });
    report(all.len() * outcomes.len(), judged.collect());
}

/// One case after the other: what a case leaves can be told from what the next one does.
fn on(flavor: Flavor, all: &[Case]) -> Vec<Outcome> {
    let stage = Stage::on(Daemon::shared(flavor));
    all.iter().map(|case| case.run(Some(&stage))).collect()
}

/// The cases of live daemons on simulated ones. What cannot hold there is listed with the reason, and must not hold.
#[cfg(feature = "sim")]
#[test]
fn simulated() {
    let exceptions = exceptions();
    let all: Vec<Case> = LIVE.into_iter().flat_map(cases).collect();
    let brands = [Flavor::Incus, Flavor::Lxd];
    let wrong: Vec<String> = thread::scope(|threads| {
        let runs: Vec<_> = brands
            .iter()
            .flat_map(|flavor| {
                all.chunks(all.len().div_ceil(3).max(1))
                    .map(|part| (*flavor, part))
            })
            .map(|(flavor, part)| threads.spawn(move || on_simulated(flavor, part)))
            .collect();
        let judged = runs
            .into_iter()
            .flat_map(|run| run.join().expect("no panic"));
        judged
            .filter_map(|(name, flavor, wrong)| {
                let listed = exceptions
                    .iter()
                    .any(|(case, brand)| *case == name && brand.is_none_or(|brand| brand == flavor));
                match (wrong, listed) {
                    (Some(wrong), false) => Some(wrong),
                    (None, true) => Some(format!(
                        "{name} holds on the simulated {flavor}: take it out of tests/sim/exceptions\n"
                    )),
                    _ => None,
                }
            })
            .collect()
    });
    report(all.len() * 2, wrong);
}

#[cfg(feature = "sim")]
fn on_simulated(flavor: Flavor, part: &[Case]) -> Vec<(String, Flavor, Option<String>)> {
    use malleus::sim::{Flavor as SimFlavor, Options, Sim};
    let brand = match flavor {
        Flavor::Incus => SimFlavor::Incus,
        Flavor::Lxd => SimFlavor::Lxd,
    };
    let sim = Sim::start(Options::new(brand)).expect("it starts");
    let stage = Stage::at(flavor, sim.socket());
    let judge = |case: &Case| {
        let outcome = case.run(Some(&stage));
        (
            case.name.clone(),
            flavor,
            case.judge(&outcome, Some(flavor)),
        )
    };
    part.iter().map(judge).collect()
}

/// Lines `CASE [incus|lxd]: REASON`.
#[cfg(feature = "sim")]
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

fn report(count: usize, mut failures: Vec<String>) {
    failures.sort();
    if !failures.is_empty() {
        let text = format!(
            "\n{}\n{} of {count} cases failed\n",
            failures.join("\n"),
            failures.len()
        );
        std::io::stderr().write_all(text.as_bytes()).ok();
        panic!("{} of {count} cases failed: see above", failures.len());
    }
}
