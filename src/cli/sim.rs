//! `--sim` and `malleus sim`: a simulated daemon in this process, for oneself or for any other client.

use std::path::PathBuf;
use std::sync::mpsc;

use anyhow::{Context, Result};
use clap::Args;
use malleus::diagnostic::Diagnostic;
use malleus::playbook::plan::Simulation;
use malleus::report::Verbosity;
use malleus::sim::{Flavor, Options, Rule, Sim, SimControl, Time};
use malleus_core::clock::Clock;

use super::Code;
use super::args::Common;
use super::console::Console;
use super::signals::Signals;

/// A simulated daemon for this command alone.
#[derive(Debug, Args)]
pub(crate) struct SimOptions {
    /// Use a simulated daemon, of incus or lxd, instead of a real one; nothing on the machine is changed.
    // The variable is read by hand: an option goes before the other one's variable.
    #[arg(
        long,
        global = true,
        help = "Use a simulated daemon, of incus or lxd, instead of a real one; nothing on the machine is changed [env: MALLEUS_SIM=]",
        value_name = "FLAVOR",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "incus"
    )]
    pub(crate) sim: Option<Flavor>,
    #[command(flatten)]
    faults: FaultOptions,
    /// By what playbooks order their own failures, once it runs.
    #[arg(skip)]
    orders: Option<SimControl>,
    /// By what its clients go, once it runs.
    #[arg(skip)]
    pub(crate) clock: Clock,
}

/// What is to be simulated, if anything is. `--sim` goes before `MALLEUS_REMOTE`, and `--remote` before `MALLEUS_SIM`.
///
/// # Errors
/// The problem, where two of the same rank ask for different things.
fn chosen(common: &Common) -> Result<Option<Flavor>, Diagnostic> {
    let variable = |name| {
        let value = std::env::var(name).ok();
        value.filter(|value| !value.is_empty())
    };
    let is_named = common.remote.is_some() && common.remote != variable("MALLEUS_REMOTE");
    let two = |what: &str| {
        let problem = Diagnostic::error(format!("{what} name two servers"));
        Err(problem.help("leave one of them out"))
    };
    match (common.sim.sim, is_named, variable("MALLEUS_SIM")) {
        (Some(_), true, _) => two("`--sim` and `--remote`"),
        (Some(flavor), false, _) => Ok(Some(flavor)),
        (None, true, _) | (None, _, None) => Ok(None),
        (None, false, Some(_)) if common.remote.is_some() => {
            two("the variables MALLEUS_SIM and MALLEUS_REMOTE")
        }
        (None, false, Some(flavor)) => flavor
            .parse()
            .map(Some)
            .map_err(|why| Diagnostic::error(format!("MALLEUS_SIM: {why}"))),
    }
}

impl SimOptions {
    /// Has the daemon of `--sim` behave as a playbook asks for.
    pub(crate) fn order(&self, wanted: &Simulation) {
        let Some(orders) = &self.orders else {
            return;
        };
        // The check has refused rules that cannot be read.
        let rules = wanted.rules.iter();
        let rules = rules.filter_map(|rule| Rule::new(&rule.on, rule.nth, &rule.fault).ok());
        orders.faults(rules, wanted.seed);
        orders.time(if wanted.virtual_time {
            Time::Virtual
        } else {
            Time::Real
        });
    }
}

/// How a simulated daemon fails.
#[derive(Debug, Args)]
pub(crate) struct FaultOptions {
    /// With the simulated daemon, a failure on order, such as "POST instances#2=slow:5s"
    #[arg(
        long = "sim-fault",
        global = true,
        value_name = "METHOD PATH[#N]=FAULT"
    )]
    faults: Vec<Rule>,
    /// With the simulated daemon, random failures, the same ones for the same seed
    #[arg(long = "sim-seed", global = true, value_name = "NUMBER")]
    seed: Option<u64>,
    /// With the simulated daemon, a clock that is off by so many seconds
    #[arg(
        long = "sim-skew",
        global = true,
        value_name = "SECONDS",
        default_value_t = 0,
        allow_hyphen_values = true,
        hide_default_value = true,
        value_parser = clap::value_parser!(i64).range(-FARTHEST..=FARTHEST)
    )]
    skew: i64,
    /// With the simulated daemon, a cluster of so many members: member1, member2 and so on
    #[arg(
        long = "sim-members",
        global = true,
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u8).range(1..=50)
    )]
    members: Option<u8>,
    /// With the simulated daemon, jump over waiting, the daemon's and that of malleus
    #[arg(long = "sim-virtual-time", global = true)]
    virtual_time: bool,
}

/// How far a clock can be off, in seconds: some thirty years.
const FARTHEST: i64 = 1_000_000_000;

impl FaultOptions {
    /// The first of these options that was given.
    fn given(&self) -> Option<&'static str> {
        [
            (!self.faults.is_empty(), "--sim-fault"),
            (self.seed.is_some(), "--sim-seed"),
            (self.skew != 0, "--sim-skew"),
            (self.members.is_some(), "--sim-members"),
            (self.virtual_time, "--sim-virtual-time"),
        ]
        .into_iter()
        .find_map(|(is_given, name)| is_given.then_some(name))
    }

    fn options(&self, flavor: Flavor) -> Options {
        Options {
            rules: self.faults.clone(),
            seed: self.seed,
            skew: self.skew,
            members: self.members.unwrap_or_default(),
            time: if self.virtual_time {
                Time::Virtual
            } else {
                Time::Real
            },
            ..Options::new(flavor)
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Path of the unix socket to serve on
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Address to serve on as well, over HTTPS, such as 127.0.0.1:8443; port 0 takes a free one. Clients enrol by a token; the
    /// server's certificate and its trust in others end with it
    #[arg(long, value_name = "ADDRESS:PORT")]
    https: Option<std::net::SocketAddr>,
    /// Which daemon to play: incus or lxd; incus unless `--sim` says another
    #[arg(long, value_name = "FLAVOR", alias = "brand")]
    flavor: Option<Flavor>,
}

/// The daemon that `--sim` asks for, until it is dropped.
pub(crate) struct Daemon {
    /// Held for its end.
    _sim: Option<Sim>,
}

impl Daemon {
    /// Starts it with the command line's failures, and makes it the remote.
    ///
    /// # Errors
    /// The problem, where an option asks for something of a daemon that is not there.
    pub(crate) fn start(common: &mut Common) -> Result<Result<Self, Diagnostic>> {
        let chosen = match chosen(common) {
            Ok(chosen) => chosen,
            Err(problem) => return Ok(Err(problem)),
        };
        let Some(flavor) = chosen else {
            return Ok(match common.sim.faults.given() {
                None => Ok(Self { _sim: None }),
                Some(option) => Err(Diagnostic::error(format!(
                    "`{option}` is for a simulated daemon, and there is none"
                ))
                .help("add `--sim`; nothing was sent to any server")),
            });
        };
        let options = common.sim.faults.options(flavor);
        let sim = Sim::start(options).context("cannot start the simulated daemon")?;
        common.remote = Some(sim.socket().display().to_string());
        common.sim.sim = Some(flavor);
        common.sim.orders = Some(sim.orders());
        common.sim.clock = sim.clock();
        Ok(Ok(Self { _sim: Some(sim) }))
    }
}

/// `malleus sim`.
pub(crate) fn main(common: &Common, args: &Serve, console: &Console) -> Result<Code> {
    let signals = Signals::listen().context("cannot listen for signals")?;
    let flavor = match (args.flavor, chosen(common)) {
        (Some(flavor), _) => flavor,
        (None, Ok(flavor)) => flavor.unwrap_or_default(),
        (None, Err(problem)) => {
            console.problem(&problem);
            return Ok(Code::Invalid);
        }
    };
    let options = Options {
        socket: Some(args.socket.clone()),
        https: args.https,
        ..common.sim.faults.options(flavor)
    };
    let at = |https: Option<std::net::SocketAddr>| {
        let socket = args.socket.display();
        https.map_or(socket.to_string(), |address| {
            format!("{socket} and https://{address}")
        })
    };
    let sim = Sim::start(options).with_context(|| format!("cannot serve on {}", at(args.https)))?;
    if console.human.says(Verbosity::Normal) {
        console.human.line(&format!(
            "a simulated {} serves on {} until it is interrupted; nothing it says is real",
            flavor,
            at(sim.https())
        ));
        if sim.https().is_some() {
            let fingerprint = sim.fingerprint();
            console.human.line(&format!(
                "the fingerprint of its certificate: {fingerprint}"
            ));
        }
    }
    let (stop, stopped) = mpsc::channel();
    signals.reacts(move |_| {
        // Whoever waits has it already.
        let _ = stop.send(());
    });
    let _ = stopped.recv();
    drop(sim);
    Ok(Code::Fine)
}
