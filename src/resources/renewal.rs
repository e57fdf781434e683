//! Renewing a lease. One resource for each project is enough, since the latest end that any of a run's resources shows
//! counts for all; and where it goes, another one takes over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::journal::State;
use super::marks::{EXPIRES_KEY, Seen, write_cost};
use super::resource_table::Tracked;
use super::stamp::Lease;
use crate::client::{Client, Error, Limit};

/// A lease is renewed this often before it would end.
const TIMES: u32 = 3;
/// The longest time between two renewals.
const MAX_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// How long one renewal may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a write is tried that comes too late because the resource has just changed.
const ATTEMPTS: usize = 5;

/// Renews the lease of one run.
#[derive(Debug)]
pub struct Renewal {
    run: String,
    lease: Lease,
    /// What bears the lease, by project.
    bearers: BTreeMap<Option<String>, Bearer>,
    /// Images that have the end of the lease written to them: those that are published cannot have it from the start.
    images: BTreeSet<u32>,
}

#[derive(Debug)]
struct Bearer {
    /// The number of the resource; nothing before the first renewal.
    number: Option<u32>,
    /// When the next renewal is due.
    due: Instant,
}

impl Renewal {
    /// For a run that has these resources already: their lease may be about to end, and is renewed at once.
    pub fn new(run: &str, lease: Lease, (open, now): (&[Tracked], Instant)) -> Self {
        let due = |known: &Tracked| {
            let lease_holder = Bearer {
                number: None,
                due: now,
            };
            (known.resource.project.clone(), lease_holder)
        };
        Self {
            run: run.to_owned(),
            lease,
            bearers: open.iter().map(due).collect(),
            images: BTreeSet::new(),
        }
    }

    /// Renews where that is due, and where what bore the lease is gone; to be called every second or so. A renewal that
    /// fails is tried again long before the lease ends.
    pub fn tend(&mut self, client: &Client, open: &[Tracked]) {
        let limit = Limit::after("renewal", PATIENCE.min(self.every()));
        let (run, lease) = (self.run.clone(), self.lease);
        self.tend_by((open, Instant::now()), &mut |known| {
            extend(client, known, (&run, lease), limit)
        });
    }

    /// The same with the writing left to `write`, which says whether the resource bears the lease now.
    fn tend_by(
        &mut self,
        (open, now): (&[Tracked], Instant),
        write: &mut dyn FnMut(&Tracked) -> Result<bool, Error>,
    ) {
        let every = self.every();
        let is_image =
            |known: &&Tracked| known.state == State::Made && known.resource.kind() == "image";
        for image in open.iter().filter(is_image) {
            if !self.images.contains(&image.number) && write(image).is_ok() {
                self.images.insert(image.number);
            }
        }
        let mut projects: BTreeMap<Option<String>, Vec<&Tracked>> = BTreeMap::new();
        for known in open.iter().filter(|known| can_bear(known)) {
            let project = known.resource.project.clone();
            projects.entry(project).or_default().push(known);
        }
        for (project, mut candidates) in projects {
            // What is there for the first time was made just now, with a lease of its own.
            let lease_holder = self.bearers.entry(project).or_insert(Bearer {
                number: None,
                due: now + every,
            });
            let is_there = |number| candidates.iter().any(|known| known.number == number);
            if now < lease_holder.due && lease_holder.number.is_none_or(is_there) {
                continue;
            }
            candidates.sort_by_key(|known| {
                let is_another = lease_holder.number != Some(known.number);
                (is_another, write_cost(&known.resource), known.number)
            });
            let new = candidates
                .into_iter()
                .find(|known| matches!(write(known), Ok(true)));
            lease_holder.number = new.map(|known| known.number);
            lease_holder.due = now + if new.is_some() { every } else { every / 4 };
        }
    }

    fn every(&self) -> Duration {
        (self.lease.lasts / TIMES).min(MAX_INTERVAL)
    }
}

/// Whether a resource may be on the server and carry marks.
fn can_bear(known: &Tracked) -> bool {
    known.state.is_open() && known.state != State::SomeIntended
}

/// Whether the resource carries the run's lease, and has now a later end.
fn extend(
    client: &Client,
    known: &Tracked,
    (run, lease): (&str, Lease),
    limit: Limit,
) -> Result<bool, Error> {
    let mut attempt = 1;
    loop {
        let Some(seen) = Seen::look(client, &known.resource, limit)? else {
            return Ok(false);
        };
        if seen.marks.run != run {
            return Ok(false);
        }
        match seen.write(client, (EXPIRES_KEY, &lease.expires()), limit) {
            // The daemon itself writes to an instance that starts or stops.
            Err(error) if error.status() == Some(412) && attempt < ATTEMPTS => attempt += 1,
            other => return other.map(|()| true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::resource::{Extent, Resource};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn tracked(number: u32, path: &str) -> Tracked {
        let resource = Resource {
            path: format!("/1.0/{path}"),
            remote: "/s".into(),
            project: None,
            target: None,
            extent: Extent::Itself,
        };
        Tracked::made(number, resource)
    }

    /// A renewal of a lease of a minute, and what it has written to.
    struct Bench {
        renewal: Renewal,
        start: Instant,
        refusing: Vec<u32>,
    }

    impl Bench {
        fn new(before: &[Tracked]) -> Self {
            let lease = Lease {
                lasts: 60 * SECOND,
                ahead: 0,
            };
            let start = Instant::now();
            Self {
                renewal: Renewal::new("abc", lease, (before, start)),
                start,
                refusing: Vec::new(),
            }
        }

        /// What is written to after so many seconds.
        fn at(&mut self, seconds: u32, open: &[Tracked]) -> Vec<u32> {
            let mut written = Vec::new();
            let refusing = &self.refusing;
            self.renewal
                .tend_by((open, self.start + seconds * SECOND), &mut |known| {
                    written.push(known.number);
                    Ok(!refusing.contains(&known.number))
                });
            written
        }
    }

    #[test]
    fn a_lease_is_renewed_long_before_it_ends_on_what_is_disturbed_least() {
        let open = [
            tracked(0, "networks/n"),
            tracked(1, "instances/i"),
            tracked(2, "instances/j"),
        ];
        let mut bench = Bench::new(&[]);
        assert_eq!(bench.at(0, &open), [0; 0]);
        assert_eq!(bench.at(19, &open), [0; 0]);
        assert_eq!(bench.at(20, &open), [1]);
        assert_eq!(bench.at(39, &open), [0; 0]);
        assert_eq!(bench.at(40, &open), [1]);
    }

    #[test]
    fn what_is_gone_hands_over_at_once() {
        let open = [tracked(0, "instances/i"), tracked(1, "profiles/p")];
        let mut bench = Bench::new(&[]);
        bench.at(0, &open);
        assert_eq!(bench.at(20, &open), [0]);
        assert_eq!(bench.at(21, &open[1..]), [1]);
        assert_eq!(bench.at(22, &open[1..]), [0; 0]);
        assert_eq!(bench.at(41, &open[1..]), [1]);
    }

    #[test]
    fn a_refusal_goes_on_to_the_next_and_is_tried_again_soon() {
        let open = [tracked(0, "instances/i"), tracked(1, "profiles/p")];
        let mut bench = Bench::new(&[]);
        bench.at(0, &open);
        bench.refusing = vec![0];
        assert_eq!(bench.at(20, &open), [0, 1]);
        assert_eq!(bench.at(40, &open), [1]);
        bench.refusing = vec![0, 1];
        assert_eq!(bench.at(60, &open), [1, 0]);
        assert_eq!(bench.at(62, &open), [0; 0]);
        assert_eq!(bench.at(65, &open), [0, 1]);
    }

    #[test]
    fn what_was_there_before_is_renewed_at_once() {
        let open = [tracked(0, "instances/i")];
        assert_eq!(Bench::new(&open).at(0, &open), [0]);
    }

    #[test]
    fn an_image_gets_the_end_of_the_lease_once_it_is_there() {
        let mut image = tracked(1, "images/abc");
        image.state = State::Intended;
        let open = [tracked(0, "instances/i"), image.clone()];
        let mut bench = Bench::new(&[]);
        assert_eq!(bench.at(0, &open), [0; 0]);
        image.state = State::Made;
        let open = [tracked(0, "instances/i"), image];
        assert_eq!(bench.at(1, &open), [1]);
        assert_eq!(bench.at(2, &open), [0; 0]);
    }

    #[test]
    fn each_project_has_a_bearer() {
        let mut open = [tracked(0, "instances/i"), tracked(1, "instances/j")];
        open[1].resource.project = Some("p".into());
        let mut bench = Bench::new(&open);
        assert_eq!(bench.at(0, &open), [0, 1]);
        assert_eq!(bench.at(1, &open[..1]), [0; 0]);
    }
}
