//! The table of a run: its resources and what is known of them, each change with its line in the journal.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use malleus_api::catalog::Identity;
use malleus_api::{Meaning, means};
use serde_json::{Map, Value};

use super::effect;
use super::journal::{Ending, Entry, Header, Origin, State, Writer};
use super::ownership::Proof;
use super::resource::{Extent, Resource};
use super::store::{Store, StoreError, discard};
use crate::client::Operation;

/// Numbers that tell whose a resource is: the step that made it, and the steps around that one.
pub type Owner = Vec<u32>;

/// Who makes a resource.
#[derive(Debug, Clone)]
pub struct Maker {
    /// The number of the step, after those around it.
    pub owner: Owner,
    /// What becomes of what it makes.
    pub fate: Retention,
    /// The step as the next run of an environment knows it.
    pub step: Vec<String>,
}

/// Whether a resource is to be removed some day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// It is.
    Removed,
    /// It is, at the end of the run at the latest: its step has a `cleanup:`, which may not come to its turn.
    RemovedAtEnd,
    /// The playbook says that it stays.
    Stays,
}

/// A resource of the run.
#[derive(Debug, Clone)]
pub struct Tracked {
    /// Its number, in the order of making.
    pub number: u32,
    /// The resource.
    pub resource: Resource,
    /// What is known of it.
    pub state: State,
    /// What tells it from another one of its name; nothing where an older journal does not say.
    pub proof: Option<Proof>,
    pub(super) owner: Owner,
    pub(super) fate: Retention,
    /// What it was made by, and from.
    pub origin: Origin,
    /// Whether a step of this run makes it, be it that it was there already.
    pub(super) is_wanted: bool,
    /// Whether the playbook's own `cleanup:` sees to it.
    pub(super) has_cleanup: bool,
    /// Since when the server owes an answer to the request that makes it.
    pub(super) asked: Option<Instant>,
}

/// What becomes of resources that are there when a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// They are to be removed some day: the journal keeps them.
    Owed,
    /// They are meant to stay.
    Meant,
}

/// After this time a request that a server has read shows an effect: networks and pools are made within the request.
pub(super) const TAKES_EFFECT: Duration = Duration::from_secs(5);

/// All that is known.
#[derive(Debug, Default)]
pub(super) struct ResourceTable {
    pub(super) journal: Journal,
    /// The run's id, where a journal is kept.
    pub(super) run: Option<String>,
    /// The environment's name.
    pub(super) environment: Option<String>,
    pub(super) past: Past,
    /// What is open, or not yet known to be ours, by number.
    pub(super) resources: BTreeMap<u32, Tracked>,
    /// The number of the newest resource with a path.
    pub(super) by_path: HashMap<String, u32>,
    pub(super) next: u32,
    /// What a collection held before a request that may be answered with one of its members, by the number of what the
    /// request makes.
    pub(super) there: HashMap<u32, BTreeSet<String>>,
    /// Requests that have made what the record of another one holds.
    pub(super) merged: HashMap<u32, u32>,
}

/// Whether there was a run of this id before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Past {
    /// There was none.
    #[default]
    None,
    /// It provided the environment that this one brings to its state again.
    Environment,
}

/// The journal, which is made when the first line is written.
#[derive(Debug, Default)]
pub(super) enum Journal {
    /// The run leaves no trace on this machine.
    #[default]
    None,
    Planned(Store, Header),
    Open(PathBuf, Writer),
}

impl ResourceTable {
    /// Appends a line and has it on the disk; nothing where no journal is kept.
    fn write(&mut self, entry: Entry) -> Result<(), StoreError> {
        if let Journal::Planned(store, header) = &self.journal {
            let (path, writer) = store.begin(header)?;
            self.journal = Journal::Open(path, writer);
        }
        match &mut self.journal {
            Journal::Open(path, writer) => {
                writer.promise(entry).map_err(|source| StoreError::System {
                    path: path.clone(),
                    source,
                })
            }
            Journal::None | Journal::Planned(..) => Ok(()),
        }
    }

    /// Appends a line that need not survive the power.
    fn note(&mut self, entry: Entry) -> Result<(), StoreError> {
        match &mut self.journal {
            Journal::Open(path, writer) => {
                writer.note(entry).map_err(|source| StoreError::System {
                    path: path.clone(),
                    source,
                })
            }
            Journal::Planned(..) => self.write(entry),
            Journal::None => Ok(()),
        }
    }

    /// Ends the journal.
    pub(super) fn close(&mut self, ending: Ending, rest: Rest) -> Result<(), StoreError> {
        let is_needed = rest == Rest::Owed && self.resources.values().any(Tracked::is_owed);
        match std::mem::take(&mut self.journal) {
            Journal::Open(path, mut writer) if is_needed => writer
                .promise(Entry::Ended(ending))
                .map_err(|source| StoreError::System { path, source }),
            Journal::Open(path, _locked) => discard(&path),
            Journal::None | Journal::Planned(..) => Ok(()),
        }
    }

    /// Begins to track a resource: the intention is on the disk when this returns, unless it is made already.
    pub(super) fn begin(
        &mut self,
        resource: Resource,
        (state, proof): (State, Proof),
        (maker, image): (Maker, Option<Value>),
    ) -> Result<u32, StoreError> {
        let number = self.next;
        self.next += 1;
        let origin = Origin {
            step: maker.step,
            image,
        };
        let line = Entry::Create {
            number,
            resource: resource.clone(),
            state,
            proof: Some(proof.clone()),
            origin: origin.clone(),
        };
        match (maker.fate, state) {
            (Retention::Stays, _) => {}
            (_, State::Made) => self.note(line)?,
            (_, _) => self.write(line)?,
        }
        self.insert(Tracked {
            number,
            resource,
            state,
            proof: Some(proof),
            owner: maker.owner,
            fate: maker.fate,
            origin,
            is_wanted: true,
            has_cleanup: false,
            asked: (state != State::Made).then(Instant::now),
        });
        Ok(number)
    }

    pub(super) fn insert(&mut self, tracked: Tracked) {
        self.by_path
            .insert(tracked.resource.path.clone(), tracked.number);
        self.resources.insert(tracked.number, tracked);
    }

    /// A step of this run makes a resource that is there already.
    pub(super) fn want(&mut self, number: u32, origin: Origin) {
        let Some(known) = self.resources.get_mut(&number) else {
            return;
        };
        known.is_wanted = true;
        if known.origin != origin {
            known.origin = origin.clone();
            // Without the line the next run of the environment takes it for another step's.
            let _ = self.note(Entry::From { number, origin });
        }
    }

    /// Keeps what the playbook has provided.
    pub(super) fn keep_outputs(&mut self, outputs: Map<String, Value>) -> Result<(), StoreError> {
        self.note(Entry::Outputs { outputs })
    }

    pub(super) fn find(&self, resource: &Resource) -> Option<&Tracked> {
        let newest = self.by_path.get(&resource.path);
        let newest = newest.and_then(|number| self.resources.get(number));
        let fits = |known: &&Tracked| {
            known.state.is_open()
                && known.resource.path == resource.path
                && known.resource.is_same(resource)
        };
        // The same path may be in several projects.
        newest
            .filter(fits)
            .or_else(|| self.resources.values().rfind(fits))
    }

    pub(super) fn numbers(&self, wanted: impl Fn(&&Tracked) -> bool) -> Vec<u32> {
        let open = self
            .resources
            .values()
            .filter(|known| known.state.is_open());
        open.filter(wanted).map(|known| known.number).collect()
    }

    /// A record that makes a resource which another record has made already adds nothing to it: a network of a cluster,
    /// say, is posted once per member.
    fn other_maker(&self, number: u32) -> Option<u32> {
        let known = self.resources.get(&number)?;
        if known.state == State::Made {
            return None;
        }
        let mut others = self.resources.values();
        others
            .find(|other| {
                other.number != number
                    && other.state == State::Made
                    // Paths are spelled in one way; most are told apart by that alone.
                    && other.resource.path == known.resource.path
                    && other.resource.goes_with(&known.resource)
            })
            .map(|other| other.number)
    }

    /// Changes what tells a resource from another one of its name. What an older journal does not say is not guessed.
    pub(super) fn prove(&mut self, number: u32, change: impl FnOnce(&mut Proof)) {
        let Some(known) = self.resources.get_mut(&number) else {
            return;
        };
        let Some(proof) = &mut known.proof else {
            return;
        };
        let before = proof.clone();
        change(proof);
        if *proof == before || known.fate == Retention::Stays {
            return;
        }
        let proof = proof.clone();
        // Without the line the run's mark tells.
        let _ = self.note(Entry::Proof { number, proof });
    }

    pub(super) fn settle(&mut self, number: u32, resource: Option<Resource>, state: State) {
        let is_double = state == State::Made && resource.is_none();
        let other = self.other_maker(number).filter(|_| is_double);
        let state = if other.is_some() {
            State::NotOurs
        } else {
            state
        };
        if let Some(other) = other {
            // The server would have refused it if the one that was made before were still there.
            let proof = self
                .resources
                .get(&number)
                .and_then(|known| known.proof.clone());
            self.prove(other, |known| *known = proof.unwrap_or_default());
            self.merged.insert(number, other);
        }
        let Some(known) = self.resources.get_mut(&number) else {
            return;
        };
        let is_journaled = known.fate != Retention::Stays;
        let is_new = resource.is_some() || known.state != state;
        known.state = state;
        if let Some(resource) = &resource {
            known.resource.clone_from(resource);
            self.by_path.insert(resource.path.clone(), number);
        }
        if matches!(state, State::NotOurs | State::Removed)
            && let Some(known) = self.resources.remove(&number)
        {
            // Another request for the same name has a record of its own.
            let path = &known.resource.path;
            if self.by_path.get(path) == Some(&number) {
                self.by_path.remove(path);
            }
        }
        if !is_journaled || !is_new {
            return;
        }
        // A line that cannot be written leaves the intention, which is looked up on the server.
        if let Some(resource) = resource {
            let _ = self.note(Entry::Moved { number, resource });
        }
        let _ = self.note(Entry::Now { number, state });
    }

    /// The operation that makes a resource has ended well.
    pub(super) fn finished(&mut self, number: u32, operation: &Operation) {
        let Some(known) = self.resources.get(&number) else {
            return;
        };
        if known.state != State::SomeIntended {
            self.settle(number, None, State::Made);
            return;
        }
        let made = effect::made_by(&known.resource.clone(), operation);
        if made.is_some() || !self.there.contains_key(&number) {
            self.named(number, made);
        }
    }

    /// Which resource a request without a name has led to, if any; what was there before is not the run's.
    pub(super) fn named(&mut self, number: u32, resource: Option<Resource>) {
        let before = self.there.remove(&number).unwrap_or_default();
        match resource.filter(|resource| !before.contains(&resource.name())) {
            Some(resource) => self.settle(number, Some(resource), State::Made),
            None => self.settle(number, None, State::NotOurs),
        }
    }

    /// The operation that makes a resource has failed. What it leaves half done is looked for when it is removed, unless
    /// it was somebody else's.
    pub(super) fn failed(&mut self, number: u32, operation: &Operation) {
        if made_nothing(&operation.err) {
            self.settle(number, None, State::NotOurs);
        }
    }

    /// What is moved to another pool may have another time of making there.
    fn forget_time(&mut self, number: u32) {
        let kind = self.resources.get(&number);
        let kind = kind.and_then(|known| known.resource.row());
        if kind.is_some_and(|kind| matches!(kind.identity, Identity::Time(_))) {
            self.prove(number, |proof| proof.identity = None);
        }
    }

    /// A resource has another path, and what belongs to it as well.
    pub(super) fn moved(&mut self, number: u32, from: &Resource, to: &Resource) {
        let parts = self.numbers(|known| from.takes_along(&known.resource));
        self.settle(number, Some(to.clone()), State::Made);
        for &moved in [number].iter().chain(&parts) {
            self.forget_time(moved);
        }
        for part in parts {
            let rest = self
                .resources
                .get(&part)
                .and_then(|known| known.resource.path.strip_prefix(&from.path));
            let Some(rest) = rest else { continue };
            let moved = Resource {
                path: format!("{}{rest}", to.path),
                ..to.clone()
            };
            self.settle(part, Some(moved), State::Made);
        }
    }
}

impl Tracked {
    /// Whether it goes at the end of the run whatever the command, as its step says.
    pub fn goes_at_end(&self) -> bool {
        self.fate == Retention::RemovedAtEnd || self.resource.extent == Extent::WithContents
    }

    /// How long the server may still need until a request that it has not answered shows an effect; nothing where it has
    /// answered.
    pub fn unsettled(&self) -> Option<Duration> {
        let asked = self.asked.filter(|_| self.state.is_open())?;
        Some(TAKES_EFFECT.saturating_sub(asked.elapsed()))
    }

    /// One that the run made, for tests of what is done about it.
    #[cfg(test)]
    pub(super) fn made(number: u32, resource: Resource) -> Self {
        Self {
            number,
            resource,
            state: State::Made,
            proof: Some(Proof::default()),
            owner: Owner::new(),
            fate: Retention::Removed,
            origin: Origin::default(),
            is_wanted: true,
            has_cleanup: false,
            asked: None,
        }
    }

    /// Whether it has to be removed some day.
    pub(super) fn is_owed(&self) -> bool {
        self.state.is_open() && self.fate != Retention::Stays
    }
}

/// Whether a refusal says that the request has made nothing: the name is somebody else's, or the same request may well
/// succeed later.
pub(super) fn made_nothing(message: &str) -> bool {
    means(message, Meaning::Taken) || means(message, Meaning::Transient)
}
