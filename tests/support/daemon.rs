//! Private LXD and Incus daemons for live tests: a holder of the script `tests/private-daemon`.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::marker::PhantomData;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

/// The brand of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavor {
    Incus,
    Lxd,
}

impl Flavor {
    pub(crate) const ALL: [Flavor; 2] = [Flavor::Incus, Flavor::Lxd];

    /// The brand as the server reports it to playbooks.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Flavor::Incus => "incus",
            Flavor::Lxd => "lxd",
        }
    }

    /// The variables that lead a client to this daemon: its directory and its socket.
    pub(crate) fn variables(self) -> [&'static str; 2] {
        match self {
            Flavor::Incus => ["INCUS_DIR", "INCUS_SOCKET"],
            Flavor::Lxd => ["LXD_DIR", "LXD_SOCKET"],
        }
    }
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A daemon that `tests/private-daemon` can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Generation {
    /// The Incus that is installed on this machine.
    Incus,
    /// The LXD that is installed on this machine.
    Lxd,
    /// Incus 7, in a Debian root of its own.
    Incus7,
}

impl Generation {
    pub(crate) const ALL: [Generation; 3] =
        [Generation::Incus, Generation::Lxd, Generation::Incus7];

    /// The name that the scripts know it by.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Generation::Incus => "incus",
            Generation::Lxd => "lxd",
            Generation::Incus7 => "incus7",
        }
    }

    pub(crate) fn flavor(self) -> Flavor {
        match self {
            Generation::Incus | Generation::Incus7 => Flavor::Incus,
            Generation::Lxd => Flavor::Lxd,
        }
    }
}

/// The generation that simulated daemons answer as.
impl From<Flavor> for Generation {
    fn from(flavor: Flavor) -> Self {
        match flavor {
            Flavor::Incus => Generation::Incus,
            Flavor::Lxd => Generation::Lxd,
        }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The daemons that live tests run on here.
///
/// A daemon that is not installed, or a test run without root, is said on stderr, past the test
/// runner's capture, once per process.
///
/// # Panics
/// Where live tests must not be left out: `CI` is set, or `MALLEUS_LIVE=required`.
pub(crate) fn daemons() -> Vec<Generation> {
    static AVAILABLE: OnceLock<Vec<Generation>> = OnceLock::new();
    AVAILABLE
        .get_or_init(|| {
            let (available, missing): (Vec<_>, Vec<_>) = Generation::ALL
                .into_iter()
                .map(|generation| (generation, why_not(generation)))
                .partition(|(_, why)| why.is_none());
            for (generation, why) in missing {
                let why = why.unwrap_or_default();
                let text = format!("\n*** LIVE TESTS ON {generation} ARE LEFT OUT ***\n{why}\n");
                assert!(!live_is_required(), "{text}");
                // Not eprintln!, whose output the test runner keeps back.
                io::stderr().write_all(text.as_bytes()).ok();
            }
            available
                .into_iter()
                .map(|(generation, _)| generation)
                .collect()
        })
        .clone()
}

pub(crate) fn why_not(generation: Generation) -> Option<String> {
    if std::env::var_os("MALLEUS_LIVE").is_some_and(|live| live == "never") {
        return Some("MALLEUS_LIVE is `never`".to_owned());
    }
    let check = Command::new(script("install-daemons"))
        .args(["--check", generation.name()])
        .output()
        .expect("tests/install-daemons runs");
    (!check.status.success()).then(|| String::from_utf8_lossy(&check.stderr).trim().to_owned())
}

pub(crate) fn live_is_required() -> bool {
    std::env::var_os("CI").is_some_and(|ci| !ci.is_empty())
        || std::env::var_os("MALLEUS_LIVE").is_some_and(|live| live == "required")
}

pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name)
}

/// What a private daemon begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seed {
    /// A pool, a default profile with a root disk, and the image `busybox`.
    Image,
    /// Nothing of these.
    Nothing,
}

impl Seed {
    fn option(self) -> Option<&'static str> {
        match self {
            Seed::Image => None,
            Seed::Nothing => Some("--bare"),
        }
    }
}

/// A private daemon with a pool, a default profile and the image `busybox`.
///
/// It ends, with its instances and its directory, when this value is dropped, or with the test
/// process, however that ends.
pub(crate) struct Daemon {
    pub(crate) generation: Generation,
    pub(crate) flavor: Flavor,
    /// `INCUS_DIR` or `LXD_DIR`.
    pub(crate) dir: PathBuf,
    pub(crate) socket: PathBuf,
    /// Its network namespace: a file below `/proc`.
    network: PathBuf,
    pid: u32,
    holder: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Daemon {
    /// The daemon that the tests of this process share; tests use names of their own in it.
    pub(crate) fn shared(generation: Generation) -> &'static Daemon {
        static SHARED: [OnceLock<Daemon>; 3] = [const { OnceLock::new() }; 3];
        let shared = &SHARED[generation as usize];
        shared.get_or_init(|| Daemon::start(generation))
    }

    /// A daemon of one's own, for tests that kill it, or look at all there is.
    pub(crate) fn start(generation: Generation) -> Daemon {
        Self::start_with(generation, Seed::Image)
    }

    /// As [`Daemon::start`], with less in it.
    pub(crate) fn start_with(generation: Generation, seed: Seed) -> Daemon {
        Self::start_in(generation, seed, None)
    }

    /// A daemon of the same generation in the same network, so that both reach each other.
    pub(crate) fn start_beside(&self, seed: Seed) -> Daemon {
        Self::start_in(self.generation, seed, Some(&self.network))
    }

    fn start_in(generation: Generation, seed: Seed, network: Option<&Path>) -> Daemon {
        let mut command = Command::new(script("private-daemon"));
        command.arg(generation.name()).args(seed.option());
        if let Some(network) = network {
            command.arg("--network").arg(network);
        }
        let mut holder = command
            .arg("--hold")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/private-daemon runs");
        let orders = holder.stdin.take();
        let answers = BufReader::new(holder.stdout.take().expect("stdout is piped"));
        let mut daemon = Daemon {
            generation,
            flavor: generation.flavor(),
            dir: PathBuf::new(),
            socket: PathBuf::new(),
            network: PathBuf::new(),
            pid: 0,
            holder,
            orders,
            answers,
        };
        daemon.read_description();
        daemon
    }

    /// Moves the calling thread, and what it starts from now on, into the daemon's network: only there its addresses can be
    /// reached. Its unix socket can from everywhere.
    pub(crate) fn enter_network(&self) -> InNetwork {
        InNetwork::enter(&self.network)
    }

    /// The daemon's own process; another one after [`Daemon::restart`].
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Kills the daemon by SIGKILL. Its instances go on.
    pub(crate) fn kill(&mut self) {
        self.order("kill");
        let answer = self.answer();
        assert_eq!(answer["killed"], true, "{answer}");
    }

    /// Starts the daemon again after [`Daemon::kill`], in the same place.
    pub(crate) fn restart(&mut self) {
        self.order("start");
        self.read_description();
    }

    /// The variables that lead a client to this daemon.
    pub(crate) fn environment(&self) -> [(&'static str, &Path); 2] {
        let [dir, socket] = self.flavor.variables();
        [(dir, &self.dir), (socket, &self.socket)]
    }

    fn read_description(&mut self) {
        let answer = self.answer();
        let text = |key: &str| answer[key].as_str().map(PathBuf::from);
        self.dir = text("dir").expect("the description has a dir");
        self.socket = text("socket").expect("the description has a socket");
        self.network = text("network").expect("the description has a network");
        self.pid = answer["pid"]
            .as_u64()
            .and_then(|pid| pid.try_into().ok())
            .expect("the description has a pid");
    }

    fn order(&mut self, order: &str) {
        let orders = self.orders.as_mut().expect("open until dropped");
        writeln!(orders, "{order}").expect("the holder reads its orders");
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.answers
            .read_line(&mut line)
            .expect("the holder answers");
        assert!(
            !line.is_empty(),
            "the {} daemon did not start: see stderr",
            self.generation
        );
        serde_json::from_str(&line).expect("the holder answers in JSON")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.orders.take());
        self.holder.wait().ok();
    }
}

/// The calling thread is in the network of a daemon; where it was before, once this is dropped.
pub(crate) struct InNetwork {
    before: File,
    /// Another thread would be moved into the network of this one.
    _not_send: PhantomData<*const ()>,
}

impl InNetwork {
    fn enter(network: &Path) -> InNetwork {
        let before = File::open("/proc/thread-self/ns/net").expect("the thread's network");
        move_into(&File::open(network).expect("the daemon's network"));
        InNetwork {
            before,
            _not_send: PhantomData,
        }
    }
}

impl Drop for InNetwork {
    fn drop(&mut self) {
        move_into(&self.before);
    }
}

fn move_into(network: &File) {
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
        .expect("root may enter networks");
}
