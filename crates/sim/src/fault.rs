//! Which requests go wrong: rules on order, and random ones.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use malleus_core::fault::{Fault, Rule};
use sha2::{Digest, Sha256};

/// Faults that a seed may bring: all but `never`, which only a limit of time can tell from `slow`.
const RANDOM: [Fault; 11] = [
    Fault::Fail,
    Fault::FailLate,
    Fault::Slow(Duration::from_millis(30)),
    Fault::ResetBefore,
    Fault::ResetAfter,
    Fault::Unavailable,
    Fault::Locked,
    Fault::Malformed,
    Fault::Truncated,
    Fault::Trickle,
    Fault::Restart,
];

/// One request in so many has a random fault.
const ONE_IN: u32 = 12;

/// What goes wrong with an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OperationFault {
    Fail,
    FailLate,
    Slow(Duration),
    Never,
}

/// What goes wrong with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EdgeFault {
    ResetBefore,
    ResetAfter,
    Unavailable,
    Locked,
    Malformed,
    Truncated,
    Trickle,
    Restart,
}

/// What goes wrong with one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) edge: Option<EdgeFault>,
    pub(super) operation: Option<OperationFault>,
}

impl Plan {
    fn of(fault: &Fault) -> Self {
        let edge = |edge| Self {
            edge: Some(edge),
            operation: None,
        };
        let operation = |operation| Self {
            edge: None,
            operation: Some(operation),
        };
        match fault {
            Fault::Fail => operation(OperationFault::Fail),
            Fault::FailLate => operation(OperationFault::FailLate),
            Fault::Slow(duration) => operation(OperationFault::Slow(*duration)),
            Fault::Never => operation(OperationFault::Never),
            Fault::ResetBefore => edge(EdgeFault::ResetBefore),
            Fault::ResetAfter => edge(EdgeFault::ResetAfter),
            Fault::Unavailable => edge(EdgeFault::Unavailable),
            Fault::Locked => edge(EdgeFault::Locked),
            Fault::Malformed => edge(EdgeFault::Malformed),
            Fault::Truncated => edge(EdgeFault::Truncated),
            Fault::Trickle => edge(EdgeFault::Trickle),
            Fault::Restart => edge(EdgeFault::Restart),
        }
    }
}

/// The rules of a daemon and how often each has matched.
#[derive(Debug)]
pub(super) struct Faults(Mutex<Counted>);

#[derive(Debug)]
struct Counted {
    rules: Vec<(Rule, u32)>,
    random: Option<Random>,
    /// How many of the rules it began with.
    own: usize,
    /// Whether it began with a seed.
    own_seed: bool,
}

impl Faults {
    pub(super) fn new(rules: Vec<Rule>, seed: Option<u64>) -> Self {
        Self(Mutex::new(Counted {
            own: rules.len(),
            rules: rules.into_iter().map(|rule| (rule, 0)).collect(),
            random: seed.map(Random::new),
            own_seed: seed.is_some(),
        }))
    }

    /// What goes wrong beside what it began with, in the place of what was ordered before.
    pub(super) fn order(&self, rules: impl IntoIterator<Item = Rule>, seed: Option<u64>) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = counted.own;
        counted.rules.truncate(own);
        let rules = rules.into_iter().map(|rule| (rule, 0));
        counted.rules.extend(rules);
        if !counted.own_seed {
            counted.random = seed.map(Random::new);
        }
    }

    /// Nothing goes wrong any more.
    pub(super) fn end(&self) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.rules.clear();
        counted.random = None;
    }

    /// What is to go wrong with a request: the first rule that holds, else what the seed brings.
    pub(super) fn plan(&self, method: &str, path: &[String]) -> Plan {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fault = None;
        for (rule, seen) in &mut counted.rules {
            if rule.matches(method, path) {
                *seen += 1;
                if rule.nth().is_none_or(|nth| nth == *seen) {
                    fault = fault.or_else(|| Some(rule.fault().clone()));
                }
            }
        }
        let random = counted
            .random
            .as_mut()
            .and_then(|random| random.draw(method, path));
        fault
            .or(random)
            .map(|fault| Plan::of(&fault))
            .unwrap_or_default()
    }
}

/// Failures by chance. What a request meets depends on the seed, on what it does, and on how many have done the same before; not
/// on names, which differ from run to run, nor on what else happens at the same time.
#[derive(Debug)]
struct Random {
    seed: u64,
    seen: BTreeMap<String, u64>,
}

/// Parts of paths that are no names.
const WORDS_OF_PATHS: [&str; 24] = [
    "aliases",
    "backups",
    "console",
    "custom",
    "exec",
    "exec-output",
    "export",
    "files",
    "forwards",
    "leases",
    "logs",
    "members",
    "metadata",
    "records",
    "resources",
    "secret",
    "sftp",
    "snapshots",
    "state",
    "templates",
    "volumes",
    "wait",
    "websocket",
    "default",
];

impl Random {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            seen: BTreeMap::new(),
        }
    }

    fn draw(&mut self, method: &str, path: &[String]) -> Option<Fault> {
        let part = |(at, part): (usize, &String)| {
            let is_word = at == 0 || WORDS_OF_PATHS.contains(&part.as_str());
            if is_word {
                part.clone()
            } else {
                "*".to_owned()
            }
        };
        let parts: Vec<String> = path.iter().enumerate().map(part).collect();
        let kind = format!("{method} {}", parts.join("/"));
        let count = self.seen.entry(kind.clone()).or_default();
        *count += 1;
        let digest = Sha256::digest(format!("{} {count} {kind}", self.seed));
        let (number, _) = digest.split_first_chunk::<8>()?;
        let mut chance = fastrand::Rng::with_seed(u64::from_be_bytes(*number));
        let hit = chance.u32(..ONE_IN) == 0;
        hit.then(|| RANDOM[chance.usize(..RANDOM.len())].clone())
    }
}
