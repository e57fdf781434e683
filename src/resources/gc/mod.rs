//! What runs have left on a server, found by their marks alone: no journal is needed.

mod claim;
mod survey;

use std::time::{Duration, SystemTime};

pub use claim::{Claimed, claim, release};
pub use survey::survey;

use super::marks::Claim;
use super::ownership::Condition;
use super::removal::Target;
use super::resource::Resource;
use super::stamp::server_time;
use crate::client::Server;

/// How long after its end a lease still counts: clocks differ.
const SKEW: Duration = Duration::from_secs(60);

/// What one run has left on a server.
#[derive(Debug, Clone)]
pub struct RunLeftovers {
    /// The run's id.
    pub run: String,
    /// The resources with the run's marks.
    resources: Vec<Leftover>,
    /// What goes with the projects that it made for itself alone.
    contents: Vec<Resource>,
    /// When the run's lease ends, which is when the last of its resources expires; nothing without a lease.
    pub expires: Option<SystemTime>,
    /// The resources in the order in which renewals and claims are written to them.
    bearers: Vec<Resource>,
    /// Who is removing them already.
    claim: Option<Claim>,
}

/// One resource that a run has left.
#[derive(Debug, Clone)]
struct Leftover {
    resource: Resource,
    condition: Condition,
}

/// What a lease says about what a run has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has ended: the run has gone without removing what it made.
    Expired(SystemTime),
    /// It holds until then, if it is not renewed.
    Leased(SystemTime),
    /// There is none: the resources never expire.
    Unleased,
}

/// The clock of a server.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    ahead: i64,
}

impl Clock {
    /// The clock as it was when the client connected.
    pub fn of(server: &Server) -> Self {
        Self {
            ahead: server.ahead,
        }
    }

    /// The time there.
    pub fn now(self) -> SystemTime {
        server_time(self.ahead)
    }

    /// What an end of a lease means now.
    fn standing(self, expires: Option<SystemTime>) -> Standing {
        match expires {
            None => Standing::Unleased,
            Some(end) if end + SKEW < self.now() => Standing::Expired(end),
            Some(end) => Standing::Leased(end),
        }
    }
}

impl RunLeftovers {
    /// Whether the run's lease has ended.
    pub fn standing(&self, clock: Clock) -> Standing {
        clock.standing(self.expires)
    }

    /// The resources with the run's marks.
    fn marked(&self) -> impl Iterator<Item = &Resource> {
        self.resources.iter().map(|leftover| &leftover.resource)
    }

    /// All that is to be removed.
    pub fn resources(&self) -> Vec<Resource> {
        self.marked().chain(&self.contents).cloned().collect()
    }

    /// What goes with a project that the run made for itself alone.
    pub fn contents_of(&self, project: &Resource) -> impl Iterator<Item = &Resource> {
        let name = project.name();
        let is_in = move |resource: &&Resource| resource.project.as_deref() == Some(name.as_str());
        self.contents.iter().filter(is_in)
    }

    /// What is to be removed by itself.
    pub fn targets(&self) -> Vec<Target<String>> {
        let target = |leftover: &Leftover| Target {
            key: self.run.clone(),
            resource: leftover.resource.clone(),
            condition: leftover.condition.clone(),
        };
        self.resources.iter().map(target).collect()
    }
}
