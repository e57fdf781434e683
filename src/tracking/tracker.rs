//! What a run made, as it goes.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::effect::{self, Effect};
use super::journal::{Ending, Entry, Header, State, Writer};
use super::resource::{Extent, Resource};
use super::store::{Kept, Store, StoreError, discard};
use crate::client::{Client, Error, Limit, Operation, Reply, Request};

/// Numbers that tell whose a resource is: the step that made it, and the steps around that one.
pub type Owner = Vec<u32>;

/// Whether a resource is to be removed some day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is.
    Removed,
    /// The playbook says that it stays.
    Stays,
}

/// What is known of a resource before the request that would make it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Nothing: the server is asked.
    Unknown,
    /// It is not there.
    Absent,
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
    owner: Owner,
    fate: Fate,
    /// Whether the playbook's own `cleanup:` sees to it.
    is_seen_to: bool,
    /// Since when the server owes an answer to the request that makes it.
    asked: Option<Instant>,
}

/// A point in the order of making; what is made later has a number from here on.
pub type Mark = u32;

/// Follows the requests of one run. Used by many threads.
#[derive(Debug, Default)]
pub struct Tracker {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    journal: Journal,
    /// The environment's name.
    environment: Option<String>,
    past: Past,
    /// What is open, or not yet known to be ours, by number.
    resources: BTreeMap<u32, Tracked>,
    /// The number of the newest resource with a path.
    by_path: HashMap<String, u32>,
    next: u32,
}

/// Whether there was a run of this id before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Past {
    /// There was none.
    #[default]
    None,
    /// It provided the environment that this one brings to its state again.
    Environment,
}

/// The journal, which is made when the first line is written.
#[derive(Debug, Default)]
enum Journal {
    /// The run leaves no trace on this machine.
    #[default]
    None,
    Planned(Store, Header),
    Open(PathBuf, Writer),
}

/// A request on its way, and what it does.
#[derive(Debug, Clone)]
pub struct Ticket {
    act: Act,
}

#[derive(Debug, Clone)]
enum Act {
    Nothing,
    Makes(u32),
    /// The reply's `Location` may name something that it made.
    MayMake(Resource, Owner, Fate),
    Renames {
        number: u32,
        from: Resource,
        to: Resource,
    },
    Removes(Resource),
}

impl Ticket {
    /// Whether the request makes a resource.
    pub fn makes(&self) -> bool {
        matches!(self.act, Act::Makes(_))
    }
}

impl Tracker {
    /// One that keeps a journal, as soon as there is something to write.
    pub fn journaled(store: &Store, header: Header) -> Self {
        Self {
            inner: Mutex::new(Inner {
                environment: header.environment.clone(),
                journal: Journal::Planned(store.clone(), header),
                ..Inner::default()
            }),
        }
    }

    /// One that goes on with the journal of an environment.
    ///
    /// # Errors
    /// [`StoreError::System`] where the journal cannot be written.
    pub fn resumed(kept: Kept, header: Header) -> Result<Self, StoreError> {
        let known = kept.recorded.clone();
        let environment = header.environment.clone();
        let (path, writer) = kept.into_writer(header)?;
        let mut inner = Inner {
            journal: Journal::Open(path, writer),
            environment,
            past: Past::Environment,
            next: known.next,
            ..Inner::default()
        };
        for (number, (resource, state)) in known.open {
            inner.insert(Tracked {
                number,
                resource,
                state,
                owner: Owner::new(),
                fate: Fate::Removed,
                is_seen_to: false,
                asked: None,
            });
        }
        Ok(Self {
            inner: Mutex::new(inner),
        })
    }

    /// What `malleus down` calls the run, if not by its id.
    pub fn environment(&self) -> Option<String> {
        self.inner().environment.clone()
    }

    /// Whether somebody else can remove what this process leaves.
    pub fn is_journaled(&self) -> bool {
        !matches!(self.inner().journal, Journal::None)
    }

    /// Whether this is an environment that is brought to its state again.
    pub fn is_resumed(&self) -> bool {
        self.inner().past == Past::Environment
    }

    /// The resource that a request would make, where the environment has it already.
    ///
    /// # Errors
    /// Those of a request that cannot be sent.
    pub fn standing(&self, client: &Client, request: &Request) -> Result<Option<Resource>, Error> {
        if !self.is_resumed() {
            return Ok(None);
        }
        Ok(match Effect::of(client, request)? {
            Effect::Creates(resource) => Some(resource).filter(|resource| self.has(resource)),
            _ => None,
        })
    }

    /// What a request is about to do. The intention is on the disk when this returns.
    ///
    /// # Errors
    /// Those of the client, where it looks whether the resource is there already; an error of the journal as
    /// [`Error::Unwritable`]: nothing is sent then.
    pub fn before(
        &self,
        (client, request): (&Client, &Request),
        known: Before,
        (owner, fate): (&[u32], Fate),
    ) -> Result<Ticket, Error> {
        let (resource, state) = match Effect::of(client, request)? {
            Effect::Nothing => return Ok(Ticket { act: Act::Nothing }),
            Effect::Removes(resource) => {
                return Ok(Ticket {
                    act: Act::Removes(resource),
                });
            }
            Effect::Renames { from, to } => return Ok(self.rename(from, to)),
            Effect::MayCreate(at) => {
                return Ok(Ticket {
                    act: Act::MayMake(at, owner.to_vec(), fate),
                });
            }
            Effect::CreatesSome(collection) => (collection, State::SomeIntended),
            Effect::Creates(resource) if self.has(&resource) => {
                // A network of a cluster, say, which is posted once per member.
                return Ok(Ticket { act: Act::Nothing });
            }
            Effect::Creates(resource) => {
                let state = match known {
                    Before::Absent => State::Intended,
                    Before::Unknown => look(client, &resource, request.deadline()),
                };
                (resource, state)
            }
        };
        let made = self.inner().begin(resource, state, (owner, fate));
        let number = made.map_err(|error| unwritable(error, client))?;
        Ok(Ticket {
            act: Act::Makes(number),
        })
    }

    fn rename(&self, from: Resource, to: Resource) -> Ticket {
        let inner = self.inner();
        let found = inner.find(&from).map(|known| known.number);
        let Some(number) = found else {
            return Ticket { act: Act::Nothing };
        };
        Ticket {
            act: Act::Renames { number, from, to },
        }
    }

    /// The resource that a request on its way makes, where it was not there before.
    pub fn expected(&self, ticket: &Ticket) -> Option<Resource> {
        let Act::Makes(number) = ticket.act else {
            return None;
        };
        let inner = self.inner();
        let known = inner.resources.get(&number)?;
        (known.state == State::Intended).then(|| known.resource.clone())
    }

    /// What the server answered.
    pub fn replied(&self, ticket: &Ticket, reply: &Reply) {
        let is_running = reply.operation().is_some();
        if let Act::Makes(number) = &ticket.act
            && let Some(known) = self.inner().resources.get_mut(number)
        {
            known.asked = None;
        }
        match (&ticket.act, reply.api_error()) {
            (Act::Makes(number), None) => self.accepted(*number, reply),
            // A server that failed half-way may have made it all the same.
            (Act::Makes(_), Some(error)) if error.status >= 500 && !is_taken(&error.message) => {}
            (Act::Makes(number), Some(_)) => self.now(*number, State::NotOurs),
            (Act::MayMake(at, owner, fate), None) => {
                if let Some(resource) = effect::made(at, reply) {
                    // Without a line in the journal it is removed by this process alone.
                    let _ = self.inner().begin(resource, State::Made, (owner, *fate));
                }
            }
            (Act::Renames { .. } | Act::Removes(_), None) if !is_running => self.done(ticket),
            (Act::Removes(resource), Some(error)) if error.status == 404 => self.gone(resource),
            (Act::Nothing | Act::MayMake(..) | Act::Renames { .. } | Act::Removes(_), _) => {}
        }
    }

    /// How the operation that the request began ended.
    pub fn ended(&self, ticket: &Ticket, operation: &Operation) {
        match (&ticket.act, operation.failed()) {
            (Act::Makes(number), true) => self.inner().failed(*number, operation),
            (_, true) => {}
            (Act::Makes(number), false) => self.inner().finished(*number, operation),
            (_, false) => self.done(ticket),
        }
    }

    fn accepted(&self, number: u32, reply: &Reply) {
        let mut inner = self.inner();
        let Some(known) = inner.resources.get(&number) else {
            return;
        };
        let is_running = reply.operation().is_some();
        if known.state == State::SomeIntended {
            match effect::made(&known.resource.clone(), reply) {
                // What an operation makes is ours from here on, however it ends.
                Some(resource) => inner.settle(number, Some(resource), State::Made),
                // Its name comes with the operation's end.
                None if is_running => {}
                None => inner.settle(number, None, State::NotOurs),
            }
        } else if !is_running {
            inner.settle(number, None, State::Made);
        }
    }

    fn now(&self, number: u32, state: State) {
        self.inner().settle(number, None, state);
    }

    /// A rename or a removal is done.
    fn done(&self, ticket: &Ticket) {
        match &ticket.act {
            Act::Renames { number, from, to } => self.inner().moved(*number, from, to),
            Act::Removes(resource) => self.gone(resource),
            Act::Nothing | Act::Makes(_) | Act::MayMake(..) => {}
        }
    }

    /// A resource is not there any more, and what belonged to it neither.
    pub fn gone(&self, resource: &Resource) {
        let mut inner = self.inner();
        let is_gone = |known: &&Tracked| {
            known.resource.is_same(resource) || resource.takes_along(&known.resource)
        };
        let gone = inner.numbers(is_gone);
        for number in gone {
            inner.settle(number, None, State::Removed);
        }
    }

    /// Adds what was made by other means than a request that [`Tracker::before`] saw, such as recorded output.
    pub fn add(&self, resource: Resource, owner: &[u32]) {
        // Without a line in the journal it is removed by this process alone.
        let _ = self
            .inner()
            .begin(resource, State::Made, (owner, Fate::Removed));
    }

    /// Whether the run made this resource, as far as is known, and has not removed it.
    pub fn has(&self, resource: &Resource) -> bool {
        self.inner().find(resource).is_some()
    }

    /// Where the order of making stands.
    pub fn mark(&self) -> Mark {
        self.inner().next
    }

    /// What a step made is seen to by its own `cleanup:` from now on.
    pub fn see_to(&self, step: u32) {
        let mut inner = self.inner();
        for known in inner.resources.values_mut() {
            known.is_seen_to |= known.owner.contains(&step);
        }
    }

    /// What a step made is not seen to by its `cleanup:` after all.
    pub fn take_back(&self, step: u32) {
        let mut inner = self.inner();
        for known in inner.resources.values_mut() {
            known.is_seen_to &= !known.owner.contains(&step);
        }
    }

    /// What is open and made from `mark` on, leaving out what the playbook's own cleanups see to.
    pub fn open_since(&self, mark: Mark) -> Vec<Tracked> {
        let mut open = self.open();
        open.retain(|known| known.number >= mark && !known.is_seen_to);
        open
    }

    /// What may still have to be removed.
    pub fn open(&self) -> Vec<Tracked> {
        let inner = self.inner();
        let open = inner.resources.values().filter(|known| known.is_owed());
        open.cloned().collect()
    }

    /// The resource with this path takes along all that is in it.
    pub fn takes_contents(&self, path: &str) {
        let mut inner = self.inner();
        let found = inner.by_path.get(path).copied();
        let known = found.and_then(|number| inner.resources.get(&number));
        if let Some(known) = known {
            let number = known.number;
            let resource = Resource {
                extent: Extent::WithContents,
                ..known.resource.clone()
            };
            inner.settle(number, Some(resource), State::Made);
        }
    }

    /// What nobody sees to is meant to stay.
    pub fn release_rest(&self) {
        let mut inner = self.inner();
        let is_meant =
            |known: &&Tracked| !known.is_seen_to && known.resource.extent == Extent::Itself;
        for number in inner.numbers(is_meant) {
            inner.settle(number, None, State::NotOurs);
        }
    }

    /// What the playbook's own cleanups have seen to without removing it is meant to stay.
    pub fn release_seen_to(&self) {
        let mut inner = self.inner();
        let seen_to = inner.numbers(|known| known.is_seen_to);
        for number in seen_to {
            inner.settle(number, None, State::NotOurs);
        }
    }

    /// Ends the journal: it stays where something is left to remove, and is removed otherwise.
    ///
    /// # Errors
    /// [`StoreError::System`] where the file can be neither written nor removed.
    pub fn end(&self, ending: Ending, rest: Rest) -> Result<(), StoreError> {
        let mut inner = self.inner();
        let is_needed = rest == Rest::Owed && inner.resources.values().any(Tracked::is_owed);
        match std::mem::take(&mut inner.journal) {
            Journal::Open(path, mut writer) if is_needed => writer
                .promise(Entry::Ended(ending))
                .map_err(|source| StoreError::System { path, source }),
            Journal::Open(path, _locked) => discard(&path),
            Journal::None | Journal::Planned(..) => Ok(()),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What becomes of resources that are there when a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// They are to be removed some day: the journal keeps them.
    Owed,
    /// They are meant to stay.
    Meant,
}

impl Inner {
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

    /// Begins to track a resource: the intention is on the disk when this returns, unless it is made already.
    fn begin(
        &mut self,
        resource: Resource,
        state: State,
        (owner, fate): (&[u32], Fate),
    ) -> Result<u32, StoreError> {
        let number = self.next;
        self.next += 1;
        let line = Entry::Create {
            number,
            resource: resource.clone(),
            state,
        };
        match (fate, state) {
            (Fate::Stays, _) => {}
            (Fate::Removed, State::Made) => self.note(line)?,
            (Fate::Removed, _) => self.write(line)?,
        }
        self.insert(Tracked {
            number,
            resource,
            state,
            owner: owner.to_vec(),
            fate,
            is_seen_to: false,
            asked: (state != State::Made).then(Instant::now),
        });
        Ok(number)
    }

    fn insert(&mut self, tracked: Tracked) {
        self.by_path
            .insert(tracked.resource.path.clone(), tracked.number);
        self.resources.insert(tracked.number, tracked);
    }

    fn find(&self, resource: &Resource) -> Option<&Tracked> {
        let newest = self.resources.get(self.by_path.get(&resource.path)?);
        let fits = |known: &&Tracked| known.state.is_open() && known.resource.is_same(resource);
        // The same path may be in several projects.
        newest
            .filter(fits)
            .or_else(|| self.resources.values().rfind(fits))
    }

    fn numbers(&self, wanted: impl Fn(&&Tracked) -> bool) -> Vec<u32> {
        let open = self
            .resources
            .values()
            .filter(|known| known.state.is_open());
        open.filter(wanted).map(|known| known.number).collect()
    }

    fn settle(&mut self, number: u32, resource: Option<Resource>, state: State) {
        let Some(known) = self.resources.get_mut(&number) else {
            return;
        };
        let is_journaled = known.fate == Fate::Removed;
        let is_new = resource.is_some() || known.state != state;
        known.state = state;
        if let Some(resource) = &resource {
            known.resource.clone_from(resource);
            self.by_path.insert(resource.path.clone(), number);
        }
        if matches!(state, State::NotOurs | State::Removed)
            && let Some(known) = self.resources.remove(&number)
        {
            self.by_path.remove(&known.resource.path);
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
    fn finished(&mut self, number: u32, operation: &Operation) {
        let Some(known) = self.resources.get(&number) else {
            return;
        };
        if known.state != State::SomeIntended {
            self.settle(number, None, State::Made);
            return;
        }
        match effect::made_by(&known.resource.clone(), operation) {
            Some(resource) => self.settle(number, Some(resource), State::Made),
            None => self.settle(number, None, State::NotOurs),
        }
    }

    /// The operation that makes a resource has failed. What it leaves half done is looked for when it is removed, unless
    /// it was somebody else's, or has not even a name.
    fn failed(&mut self, number: u32, operation: &Operation) {
        let state = self.resources.get(&number).map(|known| known.state);
        if is_taken(&operation.err) || state == Some(State::SomeIntended) {
            self.settle(number, None, State::NotOurs);
        }
    }

    /// A resource has another path, and what belongs to it as well.
    fn moved(&mut self, number: u32, from: &Resource, to: &Resource) {
        let parts = self.numbers(|known| from.takes_along(&known.resource));
        self.settle(number, Some(to.clone()), State::Made);
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
    /// How long the server may still need until a request that it has not answered shows an effect.
    pub fn unsettled(&self) -> Duration {
        let asked = self.asked.filter(|_| self.state.is_open());
        asked.map_or(Duration::ZERO, |asked| {
            TAKES_EFFECT.saturating_sub(asked.elapsed())
        })
    }

    /// One that the run made, for tests of what is done about it.
    #[cfg(test)]
    pub(super) fn made(number: u32, resource: Resource) -> Self {
        Self {
            number,
            resource,
            state: State::Made,
            owner: Owner::new(),
            fate: Fate::Removed,
            is_seen_to: false,
            asked: None,
        }
    }

    /// Whether it has to be removed some day.
    fn is_owed(&self) -> bool {
        self.state.is_open() && self.fate == Fate::Removed
    }
}

/// After this time a request that a server has read shows an effect: networks and pools are made within the request.
pub(super) const TAKES_EFFECT: Duration = Duration::from_secs(5);

/// How long a look at a resource may take.
const LOOK: Duration = Duration::from_secs(10);

/// Whether a resource is there before the request that would make it.
fn look(client: &Client, resource: &Resource, limit: Option<Limit>) -> State {
    let limit = limit.unwrap_or_else(|| Limit::after("look", LOOK));
    match client.send(&resource.request("GET").limit(limit)) {
        Ok(reply) if reply.status == 404 => State::Intended,
        _ => State::Claimed,
    }
}

/// Whether the server says that a resource is not there.
pub fn is_gone(client: &Client, resource: &Resource) -> bool {
    look(client, resource, None) == State::Intended
}

/// Whether a refusal says that the name is somebody else's. LXD and Incus have several words for it.
fn is_taken(message: &str) -> bool {
    let message = message.to_lowercase();
    ["already exists", "unique constraint", "already in use by"]
        .iter()
        .any(|words| message.contains(words))
}

fn unwritable(error: StoreError, client: &Client) -> Error {
    match error {
        StoreError::System { path, source } => Error::Unwritable { path, source },
        other => Error::Protocol {
            method: "POST".into(),
            path: client.remote().to_string(),
            reason: other.to_string(),
        },
    }
}
