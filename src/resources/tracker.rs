//! What a run made, as it goes.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use malleus_api::ApiPath;
use malleus_api::catalog::{Identity, Marking, Naming};
use serde_json::{Map, Value};

use super::effect::{self, Effect};
use super::journal::{Ending, Header, Origin, State};
use super::marks::{RUN_KEY, is_marked, mark_on};
use super::ownership::{Condition, Owned, Proof, protects};
use super::removal::read;
use super::resource::{Extent, Resource};
use super::resource_table::{
    Journal, Maker, Owner, Past, ResourceTable, Rest, Retention, Tracked, made_nothing,
};
use super::store::{Kept, Store, StoreError};
use crate::client::{Client, Error, Limit, Operation, Reply, Request};

/// What is known of a resource before the request that would make it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Nothing: the server is asked.
    Unknown,
    /// It is not there.
    Absent,
}

/// A point in the order of making; what is made later has a number from here on.
pub type Mark = u32;

/// Follows the requests of one run. Used by many threads.
#[derive(Debug, Default)]
pub struct Tracker {
    table: Mutex<ResourceTable>,
}

/// A resource that the run or the environment has made.
#[derive(Debug, Clone)]
pub struct Own {
    number: u32,
    resource: Resource,
    proof: Option<Proof>,
    /// The image that was asked for.
    pub image: Option<Value>,
}

impl Own {
    /// Whether what the server shows at its path is what the run of this id has made, and not another one of its name.
    pub fn is_at(&self, run: &str, live: &Value) -> bool {
        let condition = Condition::of_run(run, self.proof.clone());
        condition.judge(&self.resource, live) == Owned::Ours
    }
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
    MayMake(Resource, Maker),
    Renames {
        number: u32,
        from: Resource,
        to: Resource,
    },
    Removes(Resource),
    Reads(Resource),
    Changes(Resource, Protects),
}

/// Whether a change protects an instance against removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protects {
    Yes,
    No,
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
            table: Mutex::new(ResourceTable {
                run: Some(header.run.clone()),
                environment: header.environment.clone(),
                journal: Journal::Planned(store.clone(), header),
                ..ResourceTable::default()
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
        let run = Some(header.run.clone());
        let (path, writer) = kept.into_writer(header)?;
        let mut table = ResourceTable {
            journal: Journal::Open(path, writer),
            run,
            environment,
            past: Past::Environment,
            next: known.next,
            ..ResourceTable::default()
        };
        let mut origins = known.origins;
        for (number, noted) in known.open {
            table.insert(Tracked {
                number,
                resource: noted.resource,
                state: noted.state,
                proof: noted.proof,
                owner: Owner::new(),
                fate: Retention::Removed,
                origin: origins.remove(&number).unwrap_or_default(),
                is_wanted: false,
                has_cleanup: false,
                asked: None,
            });
        }
        Ok(Self {
            table: Mutex::new(table),
        })
    }

    /// What `malleus down` calls the run, if not by its id.
    pub fn environment(&self) -> Option<String> {
        self.table().environment.clone()
    }

    /// Whether somebody else can remove what this process leaves.
    pub fn is_journaled(&self) -> bool {
        !matches!(self.table().journal, Journal::None)
    }

    /// Whether this is an environment that is brought to its state again.
    pub fn is_resumed(&self) -> bool {
        self.table().past == Past::Environment
    }

    /// The resource that a request to remove it names, where the run or the environment has made it.
    ///
    /// # Errors
    /// Those of a request that cannot be sent.
    pub fn own(&self, client: &Client, removal: &Request) -> Result<Option<Own>, Error> {
        let Effect::Removes(resource) = Effect::of(client, removal)? else {
            return Ok(None);
        };
        let table = self.table();
        let known = table.find(&resource).filter(|known| known.is_owed());
        Ok(known.map(|known| Own {
            number: known.number,
            resource: known.resource.clone(),
            proof: known.proof.clone(),
            image: known.origin.image.clone(),
        }))
    }

    /// A step makes a resource that is there already: it stays, and goes by this step from now on.
    pub fn want(&self, own: Own, step: &[String]) {
        let origin = Origin {
            step: step.to_vec(),
            image: own.image,
        };
        self.table().want(own.number, origin);
    }

    /// What earlier runs of the environment have made and no step of this one makes, leaving out what belongs to steps
    /// that were skipped: those of these names, and all below them.
    pub fn unwanted(&self, skipped: &[Vec<String>]) -> Vec<Tracked> {
        let is_skipped = |known: &Tracked| {
            let is_of = |name: &Vec<String>| known.origin.is_of(name);
            skipped.iter().any(is_of)
        };
        let mut open = self.open();
        open.retain(|known| !known.is_wanted && !is_skipped(known));
        open
    }

    /// Keeps what the playbook has provided, for `malleus outputs`.
    ///
    /// # Errors
    /// [`StoreError::System`] where the journal cannot be written.
    pub fn keep_outputs(&self, outputs: Map<String, Value>) -> Result<(), StoreError> {
        self.table().keep_outputs(outputs)
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
        maker: Maker,
    ) -> Result<Ticket, Error> {
        let mut there = None;
        let (resource, state) = match Effect::of(client, request)? {
            Effect::Nothing => return Ok(Ticket { act: Act::Nothing }),
            Effect::Removes(resource) => {
                return Ok(Ticket {
                    act: Act::Removes(resource),
                });
            }
            Effect::Reads(resource) => {
                return Ok(Ticket {
                    act: Act::Reads(resource),
                });
            }
            Effect::Changes(resource) => {
                let body = request.json_body().unwrap_or(&Value::Null);
                let protects = if protects(&body["config"]) {
                    Protects::Yes
                } else {
                    Protects::No
                };
                return Ok(Ticket {
                    act: Act::Changes(resource, protects),
                });
            }
            Effect::Renames { from, to } => return Ok(self.rename(from, to)),
            Effect::MayCreate(at) => {
                return Ok(Ticket {
                    act: Act::MayMake(at, maker),
                });
            }
            Effect::CreatesSome(collection) => {
                there = members_before(client, request, &collection)?;
                (collection, State::SomeIntended)
            }
            Effect::Creates(resource) => {
                let state = match known {
                    Before::Absent => State::Intended,
                    Before::Unknown => look(client, &resource, request.deadline()),
                };
                (resource, state)
            }
        };
        let proof = Proof {
            marked: is_marked(request),
            identity: None,
            protected: request
                .json_body()
                .is_some_and(|body| protects(&body["config"])),
        };
        let image = effect::image_of(request);
        let mut table = self.table();
        let made = table.begin(resource, (state, proof), (maker, image));
        let number = made.map_err(|error| unwritable(error, client))?;
        if let Some(there) = there {
            table.there.insert(number, there);
        }
        Ok(Ticket {
            act: Act::Makes(number),
        })
    }

    fn rename(&self, from: Resource, to: Resource) -> Ticket {
        let table = self.table();
        let found = table.find(&from).map(|known| known.number);
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
        let table = self.table();
        let known = table.resources.get(&number)?;
        (known.state == State::Intended).then(|| known.resource.clone())
    }

    /// The request has not left this process.
    pub fn unsent(&self, ticket: &Ticket) {
        if let Act::Makes(number) = ticket.act {
            self.now(number, State::NotOurs);
        }
    }

    /// What the server answered.
    pub fn replied(&self, ticket: &Ticket, reply: &Reply) {
        let is_running = reply.operation().is_some();
        if let Act::Makes(number) = &ticket.act
            && let Some(known) = self.table().resources.get_mut(number)
        {
            known.asked = None;
        }
        match (&ticket.act, reply.api_error()) {
            (Act::Makes(number), None) => self.accepted(*number, reply),
            // A server that failed half-way may have made it all the same.
            (Act::Makes(_), Some(error))
                if error.status >= 500 && !made_nothing(&error.message) => {}
            (Act::Makes(number), Some(_)) => self.now(*number, State::NotOurs),
            (Act::MayMake(at, maker), None) => {
                if let Some(resource) = effect::made(at, reply) {
                    // Without a line in the journal it is removed by this process alone.
                    let made = (State::Made, Proof::default());
                    let _ = self.table().begin(resource, made, (maker.clone(), None));
                }
            }
            (Act::Renames { .. } | Act::Removes(_), None) if !is_running => self.done(ticket),
            (Act::Removes(resource), Some(error)) if error.status == 404 => self.gone(resource),
            (Act::Reads(resource), None) if !is_running => self.saw(resource, reply.metadata()),
            (Act::Changes(resource, Protects::Yes), None) => self.protects(resource),
            _ => {}
        }
    }

    /// How the operation that the request began ended.
    pub fn ended(&self, ticket: &Ticket, operation: &Operation) {
        match (&ticket.act, operation.failed()) {
            (Act::Makes(number), true) => self.table().failed(*number, operation),
            (_, true) => {}
            (Act::Makes(number), false) => self.table().finished(*number, operation),
            (_, false) => self.done(ticket),
        }
    }

    fn accepted(&self, number: u32, reply: &Reply) {
        let mut table = self.table();
        let Some(known) = table.resources.get(&number) else {
            return;
        };
        let is_running = reply.operation().is_some();
        if known.state == State::SomeIntended {
            match effect::made(&known.resource.clone(), reply) {
                // Its name comes with the operation's end.
                None if is_running => {}
                // What an operation makes is ours from here on, however it ends.
                made => table.named(number, made),
            }
        } else if !is_running {
            table.settle(number, None, State::Made);
        }
    }

    fn now(&self, number: u32, state: State) {
        self.table().settle(number, None, state);
    }

    /// A rename or a removal is done.
    fn done(&self, ticket: &Ticket) {
        match &ticket.act {
            Act::Renames { number, from, to } => self.table().moved(*number, from, to),
            Act::Removes(resource) => self.gone(resource),
            _ => {}
        }
    }

    /// What a request has made, where it carries no mark by which it is recognised until it is read.
    pub fn unrecognised(&self, ticket: &Ticket) -> Option<Resource> {
        let Act::Makes(number) = ticket.act else {
            return None;
        };
        let table = self.table();
        let number = table.merged.get(&number).copied().unwrap_or(number);
        let known = table.resources.get(&number)?;
        let is_marked = known.proof.as_ref().is_some_and(|proof| proof.marked);
        (!is_marked && known.is_owed() && lacks_identity(known)).then(|| known.resource.clone())
    }

    /// What is to be removed some day and has an identity that is not known yet.
    pub fn unidentified(&self) -> Vec<Resource> {
        let table = self.table();
        let known = table.resources.values();
        known
            .filter(|known| known.is_owed() && lacks_identity(known))
            .map(|known| known.resource.clone())
            .collect()
    }

    /// A resource was read: what the server calls it by tells it from a later one of its name.
    pub fn saw(&self, resource: &Resource, live: &Value) {
        let mut table = self.table();
        let number = table.by_path.get(&resource.path).copied();
        let known = number.and_then(|number| table.resources.get(&number));
        let Some(known) = known.filter(|known| known.resource.is_same(resource)) else {
            return;
        };
        // Somebody else's that has taken its place already does not become the run's own.
        let mark = mark_on(live, RUN_KEY);
        let shows_mark = mark.is_some() && table.run.as_deref().is_none_or(|run| mark == Some(run));
        let proof = known.proof.as_ref();
        let is_ours =
            lacks_identity(known) && proof.is_some_and(|proof| shows_mark || !proof.marked);
        let identity = known.resource.row().and_then(|kind| kind.identity_of(live));
        let number = known.number;
        let run = table.run.clone().unwrap_or_default();
        let condition = Condition::of_run(&run, known.proof.clone());
        if table.past == Past::Environment
            && matches!(condition.judge(resource, live), Owned::Others(_))
        {
            // An environment must not be brought to its state in somebody else's resource.
            table.settle(number, None, State::NotOurs);
        } else if is_ours {
            table.prove(number, |proof| proof.identity = identity);
        }
    }

    fn protects(&self, resource: &Resource) {
        let mut table = self.table();
        if let Some(number) = table.find(resource).map(|known| known.number) {
            table.prove(number, |proof| proof.protected = true);
        }
    }

    /// Whether the run has made a resource that carries its mark.
    pub fn has_marked(&self, resource: &Resource) -> bool {
        let table = self.table();
        let proof = table.find(resource).and_then(|known| known.proof.as_ref());
        proof.is_some_and(|proof| proof.marked)
    }

    /// A resource is somebody else's by now, made anew under its path.
    pub fn lost(&self, resource: &Resource) {
        let mut table = self.table();
        let lost = table.numbers(|known| known.resource.is_same(resource));
        for number in lost {
            table.settle(number, None, State::NotOurs);
        }
    }

    /// A resource is not there any more, and what belonged to it neither.
    pub fn gone(&self, resource: &Resource) {
        let mut table = self.table();
        let is_gone = |known: &&Tracked| {
            known.resource.is_same(resource) || resource.takes_along(&known.resource)
        };
        let gone = table.numbers(is_gone);
        for number in gone {
            table.settle(number, None, State::Removed);
        }
    }

    /// What a request makes whose operation has ended without naming it, and what the collection held before.
    pub fn nameless(&self, ticket: &Ticket) -> Option<(Tracked, BTreeSet<String>)> {
        let Act::Makes(number) = ticket.act else {
            return None;
        };
        let mut table = self.table();
        let known = table.resources.get(&number)?.clone();
        let is_nameless = known.state == State::SomeIntended && known.asked.is_none();
        let before = is_nameless.then(|| table.there.remove(&number));
        Some((known, before.flatten()?))
    }

    /// What an intention without a name has led to: these resources, or none.
    pub fn found(&self, intention: &Tracked, resources: &[Resource]) -> Vec<(Mark, Resource)> {
        let mut table = self.table();
        let Some((first, rest)) = resources.split_first() else {
            table.settle(intention.number, None, State::NotOurs);
            return Vec::new();
        };
        let marked = Proof {
            marked: true,
            ..Proof::default()
        };
        table.settle(intention.number, Some(first.clone()), State::Made);
        let mut found = vec![(intention.number, first.clone())];
        for resource in rest {
            let made = Maker {
                owner: intention.owner.clone(),
                fate: intention.fate,
                step: intention.origin.step.clone(),
            };
            // Without a line in the journal it is removed by this process alone.
            let proof = (State::Made, marked.clone());
            let number = table.begin(resource.clone(), proof, (made, None));
            found.extend(number.map(|number| (number, resource.clone())));
        }
        found
    }

    /// Adds what was made by other means than a request that [`Tracker::before`] saw, such as recorded output.
    pub fn add(&self, resource: Resource, (owner, fate): (&[u32], Retention)) {
        let maker = Maker {
            owner: owner.to_vec(),
            fate,
            step: Vec::new(),
        };
        // Without a line in the journal it is removed by this process alone.
        let made = (State::Made, Proof::default());
        let _ = self.table().begin(resource, made, (maker, None));
    }

    /// Whether the run made this resource, as far as is known, and has not removed it.
    pub fn has(&self, resource: &Resource) -> bool {
        self.table().find(resource).is_some()
    }

    /// Where the order of making stands.
    pub fn mark(&self) -> Mark {
        self.table().next
    }

    /// What a step made is seen to by its own `cleanup:` from now on.
    pub fn delegate_to_cleanup(&self, step: u32) {
        let mut table = self.table();
        for known in table.resources.values_mut() {
            known.has_cleanup |= known.owner.contains(&step);
        }
    }

    /// What a step made is not seen to by its `cleanup:` after all.
    pub fn reclaim(&self, step: u32) {
        let mut table = self.table();
        for known in table.resources.values_mut() {
            known.has_cleanup &= !known.owner.contains(&step);
        }
    }

    /// What is open and made from `mark` on, leaving out what the playbook's own cleanups see to.
    pub fn open_since(&self, mark: Mark) -> Vec<Tracked> {
        let mut open = self.open();
        open.retain(|known| known.number >= mark && !known.has_cleanup);
        open
    }

    /// What a step has made, or may have made.
    pub fn made_by(&self, step: u32) -> Vec<Tracked> {
        let table = self.table();
        let made = table
            .resources
            .values()
            .filter(|known| known.owner.contains(&step));
        made.cloned().collect()
    }

    /// What may still have to be removed.
    pub fn open(&self) -> Vec<Tracked> {
        let table = self.table();
        let open = table.resources.values().filter(|known| known.is_owed());
        open.cloned().collect()
    }

    /// The resource with this path takes along all that is in it.
    pub fn takes_contents(&self, path: &str) {
        let mut table = self.table();
        let found = table.by_path.get(path).copied();
        let known = found.and_then(|number| table.resources.get(&number));
        if let Some(known) = known {
            let number = known.number;
            let resource = Resource {
                extent: Extent::WithContents,
                ..known.resource.clone()
            };
            table.settle(number, Some(resource), State::Made);
        }
    }

    /// What the playbook's own cleanups have seen to without removing it is meant to stay.
    pub fn release_seen_to(&self) {
        let mut table = self.table();
        let seen_to = table.numbers(|known| known.has_cleanup);
        for number in seen_to {
            table.settle(number, None, State::NotOurs);
        }
    }

    /// Ends the journal: it stays where something is left to remove, and is removed otherwise.
    ///
    /// # Errors
    /// [`StoreError::System`] where the file can be neither written nor removed.
    pub fn end(&self, ending: Ending, rest: Rest) -> Result<(), StoreError> {
        self.table().close(ending, rest)
    }

    fn table(&self) -> MutexGuard<'_, ResourceTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a collection holds before a request whose operation may not tell what it makes there. A server that is to download an
/// image answers with one that it has already as if it had come with the request; LXD 5.0 does not name new snapshots and
/// backups.
fn members_before(
    client: &Client,
    request: &Request,
    collection: &Resource,
) -> Result<Option<BTreeSet<String>>, Error> {
    let source = request.json_body().map(|body| &body["source"]["type"]);
    let path = collection.api_path();
    let Some(kind) = path.kind_of_members() else {
        return Ok(None);
    };
    let is_pull = kind.naming == Naming::Image
        && source.is_some_and(|source| source == "image" || source == "url");
    if !is_pull && kind.marking != Marking::Expiry {
        return Ok(None);
    }
    let longest = Limit::after("look", LOOK);
    let limit = request
        .deadline()
        .map_or(longest, |limit| longest.earlier(limit));
    let reply = match read(client, &collection.request("GET"), limit) {
        // Refused as the request will be, in words that are about it.
        Err(Error::Api(_)) if !is_pull => return Ok(None),
        other => other?,
    };
    let urls = reply.metadata().as_array().cloned().unwrap_or_default();
    let members = urls
        .iter()
        .filter_map(Value::as_str)
        .filter_map(ApiPath::parse);
    let names = members.filter_map(|member| path.name_of_member(&member).map(str::to_owned));
    Ok(Some(names.collect()))
}

/// Whether the server gives resources of this kind an identity that is not known yet.
fn lacks_identity(known: &Tracked) -> bool {
    let is_made = known.state == State::Made;
    let is_unknown = known
        .proof
        .as_ref()
        .is_some_and(|proof| proof.identity.is_none());
    let kind = known.resource.row();
    is_made
        && is_unknown
        && kind
            .is_some_and(|kind| matches!(kind.identity, Identity::ConfigKey(_) | Identity::Time(_)))
}

/// How long a look at a resource may take.
const LOOK: Duration = Duration::from_secs(10);

/// Whether a resource is there before the request that would make it.
fn look(client: &Client, resource: &Resource, limit: Option<Limit>) -> State {
    let longest = Limit::after("look", LOOK);
    let limit = limit.map_or(longest, |limit| longest.earlier(limit));
    match read(client, &resource.request("GET"), limit) {
        Err(error) if error.status() == Some(404) => State::Intended,
        _ => State::Claimed,
    }
}

/// Whether the server says that a resource is not there.
pub fn is_gone(client: &Client, resource: &Resource) -> bool {
    look(client, resource, None) == State::Intended
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
