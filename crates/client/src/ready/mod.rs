//! Waiting until an instance is ready for what comes next.

mod cloud_init;
mod listener;
mod network;
mod probe;
mod status;
mod trials;
mod watch;

use std::fmt;
use std::time::Duration;

use humantime::format_duration;

use super::{Client, Error, Wait};
use trials::Trials;
use watch::Watch;

/// Something that is to hold before an instance counts as ready.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// It runs.
    Running,
    /// It is stopped, or gone: an ephemeral instance is deleted when it stops.
    Stopped,
    /// A virtual machine's agent answers (`processes` of its state is not -1). A container needs none: it
    /// runs.
    Agent,
    /// It has an IPv4 address of scope `global` on an interface other than the loopback.
    Ipv4,
    /// It has an IPv6 address of scope `global` on an interface other than the loopback. Link-local ones do not
    /// count.
    Ipv6,
    /// `cloud-init status` says that it is done, with warnings (exit code 2) or without, or that it is
    /// disabled. That it failed or is not installed ends the wait.
    CloudInit,
    /// A TCP port accepts connections from this machine, at one of the instance's global addresses. Only those
    /// are tried: an instance without one does not listen at 127.0.0.1 of this machine. A connection is
    /// opened and closed, nothing is sent.
    Tcp(u16),
    /// A command in the instance ends with exit code 0. It is run again and again, for ten seconds at most.
    Exec(Vec<String>),
    /// There is something at this absolute path in the instance, be it a link that leads nowhere.
    File(String),
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("running"),
            Self::Stopped => f.write_str("stopped"),
            Self::Agent => f.write_str("agent"),
            Self::Ipv4 => f.write_str("ipv4"),
            Self::Ipv6 => f.write_str("ipv6"),
            Self::CloudInit => f.write_str("cloud-init"),
            Self::Tcp(port) => write!(f, "tcp {port}"),
            Self::Exec(command) => write!(f, "exec {}", command.join(" ")),
            Self::File(path) => write!(f, "file {path}"),
        }
    }
}

/// What was seen last of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The condition.
    pub condition: Condition,
    /// Whether it held. Once it did it is not looked at again, but that the instance runs.
    pub held: bool,
    /// What was seen, such as `"eth0 has only fe80::1 (link)"`.
    pub seen: String,
}

impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.condition, self.seen)
    }
}

/// The global addresses of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Those of IPv4, such as `"10.1.2.3"`.
    pub ipv4: Vec<String>,
    /// Those of IPv6, such as `"fd42::3"`.
    pub ipv6: Vec<String>,
}

/// An instance that is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// How long that took.
    pub waited: Duration,
    /// Its addresses when they were last read; none when no condition needed them.
    pub addresses: Addresses,
    /// What was seen of each condition, in the order they were given.
    pub observations: Vec<Observation>,
}

/// An instance that is not ready, and why the wait for it has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotReady {
    /// Its name.
    pub instance: String,
    /// Why nobody waits any longer.
    pub cause: NotReadyCause,
    /// How long it was waited for.
    pub waited: Duration,
    /// What was last seen of each condition, in the order they were given.
    pub observations: Vec<Observation>,
}

/// What ends the wait for an instance before it is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotReadyCause {
    /// A limit passed.
    Late {
        /// The limit's name.
        limit: &'static str,
        /// How long the limit was.
        after: Duration,
    },
    /// It is stopped.
    Stopped,
    /// The server says that it is in error (`status_code` 112).
    Failed,
    /// It was deleted.
    Deleted,
    /// There is no such instance.
    Missing,
    /// A condition can no longer come to hold.
    Impossible {
        /// Which one.
        condition: Condition,
        /// Why.
        reason: String,
    },
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.instance;
        match &self.cause {
            NotReadyCause::Late { limit, after } => {
                let after = format_duration(*after);
                write!(
                    f,
                    "{name} was not ready within the {limit} limit of {after}"
                )?;
                let mut separator = ": ";
                for missing in self.observations.iter().filter(|seen| !seen.held) {
                    write!(f, "{separator}{missing}")?;
                    separator = "; ";
                }
                Ok(())
            }
            NotReadyCause::Stopped => write!(f, "{name} does not become ready: it is stopped"),
            NotReadyCause::Failed => write!(f, "{name} does not become ready: it is in error"),
            NotReadyCause::Deleted => write!(f, "{name} does not become ready: it was deleted"),
            NotReadyCause::Missing => {
                write!(f, "{name} does not become ready: there is no such instance")
            }
            NotReadyCause::Impossible { condition, reason } => {
                write!(f, "{name} does not become ready: {condition}: {reason}")
            }
        }
    }
}

impl Client {
    /// Waits until all conditions hold. One that held once is not looked at again, save that the instance is
    /// found running at the end.
    ///
    /// The server's events wake the wait; where they are refused or break, it goes on without them. As nothing
    /// tells of addresses, ports and files, it also looks by itself: every 50 ms for five seconds after the instance
    /// last changed its state, then less and less often, and every 500 ms in the long run. Between two looks it
    /// rests at least as long as the server took for the last one, half a second at the most.
    ///
    /// The wait ends at once when the instance is stopped, in error or gone and no operation is under way on it
    /// that may start it; a stop that the server does not announce as one gets a second, as it may be a reboot.
    /// With [`Condition::Stopped`], which excludes all others, an instance that is gone is a stopped one, unless
    /// it was seen and is not ephemeral.
    ///
    /// ```no_run
    /// # use malleus_client::{Client, Condition, Error, Limit, Wait};
    /// # fn f(client: &Client) -> Result<(), Error> {
    /// let wait = Wait::within(Limit::after("start", std::time::Duration::from_secs(60)));
    /// let ready = client.wait_ready("web", &[Condition::Ipv4, Condition::Tcp(80)], &wait)?;
    /// println!("{:?} after {:?}", ready.addresses.ipv4, ready.waited);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NotReady`] when it does not become ready, with what was seen of each condition;
    /// [`Error::Unfit`] for conditions that exclude each other or are none; [`Error::Api`] when the server refuses
    /// to tell about the instance, [`Error::Cancelled`].
    pub fn wait_ready(
        &self,
        instance: &str,
        conditions: &[Condition],
        wait: &Wait<'_>,
    ) -> Result<Readiness, Error> {
        check(conditions)?;
        let trials = Trials::new(self, instance, conditions).within(wait.limit);
        Watch::new(trials)?.run()
    }
}

/// Refuses what cannot be waited for.
fn check(conditions: &[Condition]) -> Result<(), Error> {
    let unfit = |condition: &Condition, reason: &str| Error::Unfit {
        condition: condition.to_string(),
        reason: reason.to_owned(),
    };
    let stopped = conditions.contains(&Condition::Stopped);
    for condition in conditions {
        match condition {
            Condition::Stopped => {}
            _ if stopped => return Err(unfit(condition, "a stopped instance cannot fulfil it")),
            Condition::Exec(command) if command.is_empty() => {
                return Err(unfit(condition, "the command is empty"));
            }
            Condition::File(path) if !path.starts_with('/') => {
                return Err(unfit(condition, "a path in an instance begins with `/`"));
            }
            _ => {}
        }
    }
    Ok(())
}
