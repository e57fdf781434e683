use std::time::{Duration, Instant};

use super::network::{self, Family, Network};
use super::probe::{self, Tried};
use super::status::Kind;
use super::{Addresses, Condition, Observation, cloud_init};
use crate::{Client, Error, Limit};

/// How long one look may take: a cluster may need ten seconds to notice that a member is gone.
const LOOK: Duration = Duration::from_secs(15);

/// How long addresses are good for trying ports.
const FRESH: Duration = Duration::from_secs(2);

/// The shortest pause between two questions to cloud-init, which is not quick to start.
const CLOUD_INIT: Duration = Duration::from_millis(500);

/// What is known of a condition before the first look.
const UNSEEN: &str = "not looked at";

/// The state of an instance, or why the server did not tell it.
type Told = Result<Network, String>;

/// The conditions, what was seen of each, and the means to try them.
pub(super) struct Trials<'a> {
    pub(super) client: &'a Client,
    pub(super) instance: &'a str,
    pub(super) limit: Limit,
    pub(super) seen: Vec<Observation>,
    pub(super) addresses: Addresses,
    addresses_read: Option<Instant>,
    cloud_init_asked: Option<Instant>,
}

/// What trying the conditions has led to.
pub(super) enum Progress {
    /// All hold, or held.
    Complete,
    /// Some are missing.
    Missing,
    /// This one will never hold.
    Impossible(Condition, String),
}

impl<'a> Trials<'a> {
    pub(super) fn new(client: &'a Client, instance: &'a str, conditions: &[Condition]) -> Self {
        let unseen = conditions.iter().map(|condition| Observation {
            condition: condition.clone(),
            held: false,
            seen: UNSEEN.to_owned(),
        });
        Self {
            client,
            instance,
            limit: Limit::never(),
            seen: unseen.collect(),
            addresses: Addresses::default(),
            addresses_read: None,
            cloud_init_asked: None,
        }
    }

    pub(super) fn within(mut self, limit: Limit) -> Self {
        self.limit = limit;
        self
    }

    /// The limit of one look.
    pub(super) fn look(&self) -> Limit {
        Limit::after("look", LOOK).earlier(self.limit)
    }

    /// The same is seen of all conditions that have not held.
    pub(super) fn note(&mut self, what: &str) {
        for at in 0..self.seen.len() {
            self.see(at, what.to_owned());
        }
    }

    /// All conditions hold at once.
    pub(super) fn hold(&mut self) {
        self.seen.iter_mut().for_each(|seen| seen.held = true);
    }

    /// What was seen of a condition that does not hold. A look that was cut short by the limit shows less than
    /// the one before it.
    fn see(&mut self, at: usize, what: String) {
        let seen = &mut self.seen[at];
        let cut = self.limit.is_over() && seen.seen != UNSEEN;
        if !seen.held && !cut {
            seen.seen = what;
        }
    }

    /// Tries each condition that has not held yet, on an instance that runs.
    pub(super) fn try_all(&mut self, kind: Kind) -> Result<Progress, Error> {
        let told = self.read_network(kind)?;
        for at in 0..self.seen.len() {
            if self.seen[at].held {
                continue;
            }
            if self.limit.is_over() {
                break;
            }
            let condition = self.seen[at].condition.clone();
            match self.try_one(&condition, kind, told.as_ref())? {
                Some(Tried::Held(seen)) => {
                    self.seen[at].seen = seen;
                    self.seen[at].held = true;
                }
                Some(Tried::NotYet(seen)) => self.see(at, seen),
                Some(Tried::Impossible(reason)) => {
                    self.seen[at].seen.clone_from(&reason);
                    return Ok(Progress::Impossible(condition, reason));
                }
                None => {}
            }
        }
        if self.seen.iter().all(|seen| seen.held) {
            Ok(Progress::Complete)
        } else {
            Ok(Progress::Missing)
        }
    }

    /// Tries one condition; `None` when it is not its turn.
    fn try_one(
        &mut self,
        condition: &Condition,
        kind: Kind,
        told: Option<&Told>,
    ) -> Result<Option<Tried>, Error> {
        let (client, instance, limit) = (self.client, self.instance, self.look());
        let runs = || Tried::Held("it runs".to_owned());
        Ok(match condition {
            Condition::Running | Condition::Stopped => Some(runs()),
            Condition::Agent if kind == Kind::Container => Some(runs()),
            Condition::Agent => told.map(agent),
            Condition::Ipv4 => told.map(|told| address(told, Family::V4)),
            Condition::Ipv6 => told.map(|told| address(told, Family::V6)),
            Condition::Tcp(port)
                if client.server().simulated && self.addresses != Addresses::default() =>
            {
                // Its addresses are not on any network: nobody may be asked for them but itself.
                let port = port.to_string();
                let command = ["nc", "-z", "localhost", &port].map(str::to_owned);
                Some(probe::exec(client, instance, &command, limit)?)
            }
            Condition::Tcp(port) if self.addresses != Addresses::default() => {
                Some(probe::tcp(&self.addresses, *port, limit))
            }
            Condition::Tcp(_) => told.map(no_address),
            Condition::Exec(command) => Some(probe::exec(client, instance, command, limit)?),
            Condition::File(path) => Some(probe::file(client, instance, path, limit)?),
            Condition::CloudInit => self.ask_cloud_init()?,
        })
    }

    fn ask_cloud_init(&mut self) -> Result<Option<Tried>, Error> {
        let clock = self.client.clock();
        let early = |asked: Instant| clock.elapsed(asked) < CLOUD_INIT;
        if self.cloud_init_asked.is_some_and(early) {
            return Ok(None);
        }
        let answer = cloud_init::ask(self.client, self.instance, self.look())?;
        self.cloud_init_asked = Some(clock.now());
        Ok(Some(answer))
    }

    /// Reads the state that some conditions need, if one of those has not held yet.
    fn read_network(&mut self, kind: Kind) -> Result<Option<Told>, Error> {
        let unknown = self.addresses == Addresses::default();
        let clock = self.client.clock();
        let old = self
            .addresses_read
            .is_none_or(|read| clock.elapsed(read) > FRESH);
        let needs = |condition: &Condition| match condition {
            Condition::Ipv4 | Condition::Ipv6 => true,
            Condition::Agent => kind == Kind::Machine,
            Condition::Tcp(_) => unknown || old,
            _ => false,
        };
        let mut missing = self.seen.iter().filter(|seen| !seen.held);
        if !missing.any(|seen| needs(&seen.condition)) {
            return Ok(None);
        }
        let told = network::read(self.client, self.instance, self.look())?;
        if let Ok(network) = &told {
            self.addresses = network.addresses();
            self.addresses_read = Some(clock.now());
        }
        Ok(Some(told))
    }
}

fn agent(told: &Told) -> Tried {
    match told {
        Ok(network) if network.processes > -1 => Tried::Held("it answers".to_owned()),
        Ok(_) => Tried::NotYet("it does not answer".to_owned()),
        Err(why) => Tried::NotYet(why.clone()),
    }
}

fn address(told: &Told, family: Family) -> Tried {
    match told {
        Err(why) => Tried::NotYet(why.clone()),
        Ok(network) => match network.global(family) {
            found if found.is_empty() => Tried::NotYet(network.describe()),
            found => Tried::Held(found.join(", ")),
        },
    }
}

fn no_address(told: &Told) -> Tried {
    Tried::NotYet(match told {
        Err(why) => why.clone(),
        Ok(network) => format!("no global address to try: {}", network.describe()),
    })
}
