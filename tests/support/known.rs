//! Differences between real daemons and simulated ones, and the list of those that are known.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regex_lite::Regex;

use super::daemon::Flavor;
use super::seen::Seen;

/// Holds what a simulated daemon said against what the real one did.
pub(crate) struct Ledger {
    flavor: Flavor,
    known: Vec<Known>,
    used: BTreeSet<usize>,
    /// What is compared at present, for people.
    title: String,
    /// Requests by what is wrong about them.
    wrong: BTreeMap<String, Vec<String>>,
}

/// An entry of the list of known differences.
struct Known {
    request: Regex,
    place: Regex,
    line: String,
}

impl Ledger {
    /// Reads lines `incus|lxd|both | REQUEST | PLACE | REASON` of a file, the middle two regular expressions.
    pub(crate) fn read(flavor: Flavor, list: &Path) -> Ledger {
        let lines = std::fs::read_to_string(list).expect("the list");
        let lines = lines
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        Ledger {
            flavor,
            known: lines.filter_map(|line| Known::of(flavor, line)).collect(),
            used: BTreeSet::new(),
            title: String::new(),
            wrong: BTreeMap::new(),
        }
    }

    /// What comes next belongs to something of this name.
    pub(crate) fn turn_to(&mut self, title: &str) {
        self.title = format!("{title}: ");
    }

    /// Compares what both said to a request, place by place.
    pub(crate) fn compare(&mut self, request: &str, real: &Seen, simulated: &Seen) {
        let places: BTreeSet<&String> = real.keys().chain(simulated.keys()).collect();
        let nothing = String::from("(nothing)");
        for place in places {
            let is = simulated.get(place).unwrap_or(&nothing);
            let should = real.get(place).unwrap_or(&nothing);
            if is != should {
                self.differ((request, place), should, is);
            }
        }
    }

    /// Enters a difference, unless it is known.
    pub(crate) fn differ(&mut self, (request, place): (&str, &str), real: &str, simulated: &str) {
        let explained = self
            .known
            .iter()
            .position(|known| known.request.is_match(request) && known.place.is_match(place));
        if let Some(at) = explained {
            self.used.insert(at);
            return;
        }
        let what = format!("    {place}\n      real      {real}\n      simulated {simulated}");
        let request = format!("{}{request}", self.title);
        self.wrong.entry(what).or_default().push(request);
    }

    /// The differences that are not known, and the known ones that are not there.
    pub(crate) fn end(self) -> Vec<String> {
        let flavor = self.flavor;
        let wrong = self.wrong.into_iter().map(|(what, requests)| {
            let more = match requests.len() {
                1 => String::new(),
                many => format!(" (and {} more)", many - 1),
            };
            format!("{flavor}: {}{more}\n{what}", requests[0])
        });
        let known = self.known.iter().enumerate();
        let stale = known
            .filter(|(at, _)| !self.used.contains(at))
            .map(|(_, known)| format!("{flavor}: explains nothing any more: {}", known.line));
        wrong.chain(stale).collect()
    }
}

impl Known {
    fn of(flavor: Flavor, line: &str) -> Option<Known> {
        let parts: Vec<&str> = line.split(" | ").collect();
        let [brand, request, place, reason] = parts.as_slice() else {
            panic!("{line}: four parts");
        };
        assert!(!reason.trim().is_empty(), "{line}: no reason");
        let whole = |text: &str| Regex::new(&format!("^(?:{})$", text.trim())).expect("a regex");
        (brand.trim() == "both" || brand.trim() == flavor.name()).then(|| Known {
            request: whole(request),
            place: whole(place),
            line: line.to_owned(),
        })
    }
}
