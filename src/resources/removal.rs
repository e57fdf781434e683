//! Removing resources: each as its kind needs it, all of them in an order that dependencies allow.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use malleus_api::{Kind, Meaning, Wave, means};
use serde_json::{Value, json};

use super::emptying::empty;
use super::ownership::{Condition, Owned, PROTECTION_KEY, protects};
use super::resource::{Extent, Place, Resource};
use crate::client::{Backoff, Client, DELETING, Error, Limit, Reply, Request, Wait};

/// How long a resource may be busy before its removal is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a resource may be in use by something that is itself being removed.
const IN_USE: Duration = Duration::from_secs(5);
/// The first pause before trying again; each further one is twice as long, up to `LONGEST`.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(2);
/// How long a look may take whether a resource is there at all.
const LOOK: Duration = Duration::from_secs(10);
/// How many are removed at a time: stopping an instance is nearly all waiting.
const WIDTH: usize = 16;

/// Gives the client for a remote.
pub type Connect<'a> = &'a (dyn Fn(&str) -> Result<Client, Error> + Sync);

/// What is to be removed.
#[derive(Debug, Clone)]
pub struct Target<K> {
    /// What the caller calls it.
    pub key: K,
    /// The resource.
    pub resource: Resource,
    /// What it must show to be removed.
    pub condition: Condition,
}

impl<K> Target<K> {
    /// Has the resource go even where nothing tells whether the run made it.
    pub fn force_unknown(&mut self) {
        if let Condition::OfRun { run, proof: None } = &self.condition {
            self.condition = Condition::Forced(run.clone());
        }
    }

    /// Whether the resource shows nothing that tells it from another one of its name.
    pub fn is_interchangeable(&self) -> bool {
        let is_known = || self.resource.row().is_none_or(Kind::is_interchangeable);
        self.resource.as_command().is_none() && is_known()
    }
}

/// What became of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It was removed.
    Removed,
    /// It was not there.
    Already,
    /// It went with the resource that it belonged to.
    Along,
    /// It is there, and somebody else has made it under the same name, at this time where the server says so.
    NotOurs(Option<String>),
    /// It is there, and nothing tells whether the run made it: the journal is one of an older version.
    Unknown,
}

impl Fate {
    /// Why a resource was left alone; nothing where it is gone.
    pub fn left_alone(&self) -> Option<String> {
        match self {
            Self::Removed | Self::Already | Self::Along => None,
            Self::NotOurs(Some(time)) => {
                Some(format!("made anew by somebody else at {time}, left alone"))
            }
            Self::NotOurs(None) => Some("made anew by somebody else, left alone".to_owned()),
            Self::Unknown => Some(
                "the journal does not say what tells it from another one of its name".to_owned(),
            ),
        }
    }
}

/// What came of one resource.
#[derive(Debug)]
pub struct Removal<'a, K> {
    /// What the caller calls it.
    pub key: &'a K,
    /// The resource.
    pub resource: &'a Resource,
    /// What became of it, or why it is still there.
    pub result: Result<Fate, Error>,
    /// How long it took.
    pub duration: Duration,
}

/// Removes resources, given in the order of their making: in waves, what uses others first, newest first, side by side
/// within a wave. A failure does not stop the others. `done` is told of each as it ends.
pub fn remove_all<K: Sync>(
    targets: &[Target<K>],
    connect: Connect<'_>,
    limit: Limit,
    done: &(dyn Fn(Removal<'_, K>) + Sync),
) {
    // Two requests for one name have a record each.
    let mut records: HashMap<Place, Vec<&Target<K>>> = HashMap::new();
    for target in targets {
        let place = target.resource.place();
        records.entry(place).or_default().push(target);
    }
    let is_double = |target: &Target<K>| {
        let same = records.get(&target.resource.place());
        same.is_some_and(|same| !std::ptr::eq(same[0], target))
    };
    let goes_along = |resource: &Resource| {
        let mut all = targets.iter();
        all.any(|other| other.resource.takes_along(resource))
    };
    let (mut parts, mut own) = (Vec::new(), Vec::new());
    for target in targets {
        if is_double(target) || goes_along(&target.resource) {
            parts.push(target);
        } else {
            own.push(target);
        }
    }
    let went: Mutex<Vec<(&Resource, Fate)>> = Mutex::default();
    // The newest first; the sort by waves is stable.
    own.reverse();
    own.sort_by_key(|target| target.resource.wave());
    for wave in own.chunk_by(|one, other| one.resource.wave() == other.resource.wave()) {
        let wave: VecDeque<&Target<K>> = wave.iter().copied().collect();
        abreast(wave, |target| {
            let start = Instant::now();
            let resource = &target.resource;
            // One record is enough to recognise it.
            let same = records.get(&resource.place()).into_iter().flatten();
            let task = Task {
                resource,
                conditions: same.map(|other| &other.condition).collect(),
                owners: owners_of(target, targets),
                is_protected_by_profile: protecting(targets, resource),
                connect,
                limit,
            };
            let result = connect(&resource.remote).and_then(|client| task.remove(&client));
            if let Ok(fate) = &result {
                went.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((resource, fate.clone()));
            }
            done(Removal {
                key: &target.key,
                resource,
                result,
                duration: start.elapsed(),
            });
        });
    }
    let went = went.into_inner().unwrap_or_else(PoisonError::into_inner);
    for Target { key, resource, .. } in parts {
        // What belongs to a resource that could not be removed is that one's to report.
        let double = went.iter().find(|(other, _)| other.goes_with(resource));
        let owner = went.iter().find(|(owner, _)| owner.takes_along(resource));
        let fate = match (double, owner) {
            (Some((_, Fate::NotOurs(_))), _) | (None, Some((_, Fate::NotOurs(_)))) => {
                // What stands there now came with the other one.
                Fate::Already
            }
            (Some((_, Fate::Unknown)), _) | (None, Some((_, Fate::Unknown)) | None) => continue,
            (Some(_), _) => Fate::Already,
            (None, Some(_)) => Fate::Along,
        };
        done(Removal {
            key,
            resource,
            result: Ok(fate),
            duration: Duration::ZERO,
        });
    }
}

/// What [`remove_all`] would do about a resource, as things are now.
#[derive(Debug)]
pub struct Preview<'t, K> {
    /// The resource.
    pub target: &'t Target<K>,
    /// Why it would be left alone, or that it is gone; nothing where it would be removed.
    pub spared: Option<Fate>,
}

/// What [`remove_all`] would do about each of these.
///
/// # Errors
/// Those of the client.
pub fn preview<'t, K>(
    targets: &'t [Target<K>],
    connect: Connect<'_>,
    limit: Limit,
) -> Result<Vec<Preview<'t, K>>, Error> {
    let task = |target: &'t Target<K>| {
        let task = Task {
            resource: &target.resource,
            conditions: vec![&target.condition],
            owners: owners_of(target, targets),
            is_protected_by_profile: false,
            connect,
            limit,
        };
        let spared = task.spared(&connect(&target.resource.remote)?)?;
        Ok(Preview { target, spared })
    };
    targets.iter().map(task).collect()
}

/// Whether the run has made a profile that protects the instances of a project.
fn protecting<K>(targets: &[Target<K>], instance: &Resource) -> bool {
    targets.iter().any(|target| {
        let profile = &target.resource;
        profile.kind() == "profile"
            && profile.remote == instance.remote
            && target.condition.may_unprotect()
    })
}

/// What a resource without any identity is in: where that was made anew, so was the resource.
fn owners_of<'t, K>(
    target: &Target<K>,
    targets: &'t [Target<K>],
) -> Vec<(&'t Resource, &'t Condition)> {
    if target.condition.needs_look(&target.resource) {
        return Vec::new();
    }
    targets
        .iter()
        .filter(|other| other.condition.needs_look(&other.resource))
        .filter(|other| other.resource.contains(&target.resource))
        .map(|other| (&other.resource, &other.condition))
        .collect()
}

fn abreast<T: Send>(work: VecDeque<T>, act: impl Fn(T) + Sync) {
    let width = WIDTH.min(work.len());
    let work = Mutex::new(work);
    let worker = || {
        loop {
            let next = work
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
            match next {
                Some(item) => act(item),
                None => return,
            }
        }
    };
    std::thread::scope(|threads| {
        for _ in 1..width {
            threads.spawn(worker);
        }
        worker();
    });
}

/// The removal of one resource.
struct Task<'t> {
    resource: &'t Resource,
    /// One of them is enough.
    conditions: Vec<&'t Condition>,
    /// What it is in, and what that must show.
    owners: Vec<(&'t Resource, &'t Condition)>,
    /// Whether a profile that the run made protects instances.
    is_protected_by_profile: bool,
    connect: Connect<'t>,
    limit: Limit,
}

impl Task<'_> {
    /// Removes the resource, again and again while it is busy.
    fn remove(&self, client: &Client) -> Result<Fate, Error> {
        // A command that cannot be ended now holds up nothing.
        let is_command = self.resource.as_command().is_some();
        let patience = if is_command { IN_USE } else { PATIENCE };
        let busy = client.limit("removal", patience).earlier(self.limit);
        let in_use = client.limit("removal", IN_USE).earlier(self.limit);
        let mut backoff = Backoff::new(FIRST, LONGEST);
        loop {
            let error = match self.once(client) {
                Ok(fate) => return Ok(fate),
                Err(error) => error,
            };
            let patience = if passes_by(&error) {
                busy
            } else if says(&error, Meaning::InUse) {
                in_use
            } else {
                return self.gone_meanwhile(client, error);
            };
            match backoff.next(patience) {
                None => return self.gone_meanwhile(client, error),
                Some(pause) => client.pause(pause)?,
            }
        }
    }

    /// A removal that failed because somebody else was quicker has not failed.
    fn gone_meanwhile(&self, client: &Client, error: Error) -> Result<Fate, Error> {
        let is_answer = matches!(error, Error::Api(_) | Error::Operation(_));
        if !is_answer || self.resource.as_command().is_some() {
            return Err(error);
        }
        let look = self
            .resource
            .request("GET")
            .limit(Limit::after("look", LOOK));
        match client.request(&look) {
            Err(other) if other.status() == Some(404) => Ok(Fate::Already),
            _ => Err(error),
        }
    }

    fn once(&self, client: &Client) -> Result<Fate, Error> {
        let (resource, limit) = (self.resource, self.limit);
        let in_project = || match &resource.project {
            Some(project) => client.with_project(project),
            None => client.clone(),
        };
        if let Some((instance, marker)) = resource.as_command() {
            // It may have ended by itself long ago.
            return in_project()
                .end_commands(&instance, &marker)
                .map(|()| Fate::Already);
        }
        if let Some((instance, operation)) = resource.as_recorded_output() {
            return match in_project().delete_exec_logs(&instance, &operation) {
                Err(error) if error.status() == Some(404) => Ok(Fate::Already),
                other => other.map(|()| Fate::Removed),
            };
        }
        if let Some(fate) = self.spared(client)? {
            return Ok(fate);
        }
        let (mut is_stopped, mut is_unprotected, mut is_emptied) = (false, false, false);
        loop {
            let error = match carry_out(client, resource.request("DELETE"), limit) {
                Ok(()) => return Ok(Fate::Removed),
                Err(error) => error,
            };
            if error.status() == Some(404) {
                // An ephemeral instance is gone as soon as it has stopped.
                return Ok(if is_stopped {
                    Fate::Removed
                } else {
                    Fate::Already
                });
            }
            let is_instance = resource.wave() == Wave::Instances;
            if is_instance && !is_stopped && says(&error, Meaning::Running) {
                stop(client, resource, limit)?;
                is_stopped = true;
            } else if is_instance
                && !is_unprotected
                && says(&error, Meaning::Protected)
                && self.may_unprotect(client)
            {
                unprotect(client, resource, limit)?;
                is_unprotected = true;
            } else if resource.extent == Extent::WithContents
                && !is_emptied
                // No other refusal is a reason to touch what is in it.
                && says(&error, Meaning::NotEmpty)
            {
                let run = self
                    .conditions
                    .first()
                    .map_or("", |condition| condition.run());
                if empty(client, (resource, run), self.connect, limit)? == 0 {
                    return Err(error);
                }
                is_emptied = true;
            } else {
                return Err(error);
            }
        }
    }

    /// Whether the run itself has protected the instance: in its own config, or by a profile of the run.
    fn may_unprotect(&self, client: &Client) -> bool {
        let mut conditions = self.conditions.iter();
        if conditions.any(|condition| condition.may_unprotect()) {
            return true;
        }
        let look = self.resource.look().limit(self.limit);
        self.is_protected_by_profile
            && client
                .request(&look)
                .is_ok_and(|reply| !protects(&reply.metadata()["config"]))
    }

    /// Why the resource is not to be removed, if it is not.
    fn spared(&self, client: &Client) -> Result<Option<Fate>, Error> {
        for (owner, condition) in &self.owners {
            match self.look(client, owner, &[condition])? {
                None | Some(Owned::Others(_)) => return Ok(Some(Fate::Already)),
                Some(Owned::Ours) => {}
                Some(Owned::Unknown) => return Ok(Some(Fate::Unknown)),
            }
        }
        let needs_look = |condition: &&Condition| condition.needs_look(self.resource);
        if !self.conditions.iter().all(needs_look) {
            return Ok(None);
        }
        Ok(match self.look(client, self.resource, &self.conditions)? {
            // The answer to the DELETE says the same.
            None | Some(Owned::Ours) => None,
            Some(Owned::Others(time)) => Some(Fate::NotOurs(time)),
            Some(Owned::Unknown) => Some(Fate::Unknown),
        })
    }

    /// Whose a resource is; nothing where it is not there.
    fn look(
        &self,
        client: &Client,
        resource: &Resource,
        conditions: &[&Condition],
    ) -> Result<Option<Owned>, Error> {
        let patience = client.limit("look", LOOK).earlier(self.limit);
        let reply = match client.request(&resource.look().limit(patience)) {
            Err(error) if error.status() == Some(404) => return Ok(None),
            other => other?,
        };
        let mut all = conditions
            .iter()
            .map(|condition| condition.judge(resource, reply.metadata()));
        let mut owner = all.next().unwrap_or(Owned::Ours);
        for other in all {
            owner = match (owner, other) {
                (Owned::Ours, _) | (_, Owned::Ours) => Owned::Ours,
                (Owned::Unknown, _) | (_, Owned::Unknown) => Owned::Unknown,
                (others @ Owned::Others(_), Owned::Others(_)) => others,
            };
        }
        Ok(Some(owner))
    }
}

/// Takes the protection off an instance that the run itself has put there.
fn unprotect(client: &Client, instance: &Resource, limit: Limit) -> Result<(), Error> {
    // Not left out: a profile may protect it as well.
    let patch = instance
        .request("PATCH")
        .json(json!({"config": {PROTECTION_KEY: "false"}}));
    carry_out(client, patch, limit)
}

/// Stops an instance by force. That it has stopped already is as good.
fn stop(client: &Client, instance: &Resource, limit: Limit) -> Result<(), Error> {
    let stop = instance
        .request_at("PUT", "/state")
        .json(json!({"action": "stop", "force": true}));
    match carry_out(client, stop, limit) {
        Err(error) if error.status() == Some(404) || says(&error, Meaning::Stopped) => Ok(()),
        other => other,
    }
}

fn carry_out(client: &Client, request: Request, limit: Limit) -> Result<(), Error> {
    client
        .run(&request.limit(limit), &Wait::within(limit))
        .map(|_| ())
}

/// Whether the same request may well succeed a little later.
fn passes_by(error: &Error) -> bool {
    error.is_transient()
        || matches!(
            error,
            Error::Interrupted { .. } | Error::Lost { .. } | Error::Protocol { .. }
        )
        // Of one part, not of the whole: such as a file on a member of a cluster that is just coming back.
        || matches!(error, Error::Timeout { limit, .. } if *limit == DELETING)
        || says(error, Meaning::Transient)
        || says(error, Meaning::Busy)
}

fn says(error: &Error, meaning: Meaning) -> bool {
    said(error).is_some_and(|message| means(message, meaning))
}

/// What the server said.
pub(super) fn said(error: &Error) -> Option<&str> {
    match error {
        Error::Api(refusal) => Some(&refusal.message),
        Error::Operation(failure) => Some(&failure.err),
        _ => None,
    }
}

/// Reads something; again where the answer does not come, or not whole, so that a server that falters keeps nobody from
/// cleaning up.
pub(super) fn read(client: &Client, request: &Request, limit: Limit) -> Result<Reply, Error> {
    let patience = client.limit("removal", PATIENCE).earlier(limit);
    let request = request.clone().limit(patience);
    let mut backoff = Backoff::new(FIRST, LONGEST);
    loop {
        match client.request(&request) {
            Err(error) if error.is_transient() || matches!(error, Error::Protocol { .. }) => {
                let pause = backoff.next(patience).ok_or(error)?;
                client.pause(pause)?;
            }
            other => return other,
        }
    }
}

/// Text of a JSON value's field, for the modules beside this one.
pub(super) fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}
