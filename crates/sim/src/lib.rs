//! A simulated daemon: the API of LXD or Incus on a unix socket, and over HTTPS where it is asked for, with nothing
//! behind it; alone, or as a cluster.
//!
//! Instances, images and all else are plain data in memory; commands run in an embedded shell on an in-memory file
//! tree ([`Options`] says what a daemon begins with). Nothing on the machine is created and no command runs on it. What a
//! real daemon does only rarely can be ordered: see [`Fault`].
//!
//! The room knows nothing of playbooks and of the client.
//!
//! | part | its one job |
//! | --- | --- |
//! | `flavor` | the table of what differs between Incus and LXD |
//! | `listen`, `server` | connections; HTTP, and the faults that a connection shows |
//! | `tls` | the daemon's certificate, and the handshake |
//! | `access` | who sends a request, and what it may do |
//! | `call` | a request as the API sees it, and its answer |
//! | `routes` | which part answers which path |
//! | `api` | one file per kind of resource: what its requests do |
//! | `state` | what there is, as plain data |
//! | `operations`, `events`, `lifecycle` | work that outlives its request, what happens, and who is told |
//! | `exec` | commands: processes, the shell, their file tree and their websockets |
//! | `fault`, `clock` | failures on order, time that costs nothing |
//!
//! ```no_run
//! use malleus_sim::{Flavor, Options, Sim};
//!
//! let sim = Sim::start(Options::new(Flavor::Incus))?;
//! println!("serves on {}", sim.socket().display());
//! # Ok::<(), std::io::Error>(())
//! ```

mod access;
mod api;
mod call;
mod clock;
mod daemon;
mod events;
mod exec;
mod fault;
mod flavor;
mod lifecycle;
mod listen;
mod operations;
mod routes;
mod server;
mod state;
mod tls;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use malleus_core::clock::Clock;
use tokio::sync::oneshot;

pub use flavor::Flavor;
pub use malleus_core::fault::{BadRule, Fault, Rule};

/// What a simulated daemon begins with and how it behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which product it plays.
    pub flavor: Flavor,
    /// Where it listens; in a temporary folder of its own without one.
    pub socket: Option<PathBuf>,
    /// Where it listens for HTTPS as well; port 0 takes one that is free. As with a real daemon, clients need a certificate that
    /// it trusts. Its own certificate is new each time, and its trust ends with it.
    pub https: Option<SocketAddr>,
    /// How many members it has as a cluster, `member1` and so on, of which the first answers; none for a daemon that is alone.
    pub members: u8,
    /// Failures on order.
    pub rules: Vec<Rule>,
    /// Random failures from this seed, the same ones for the same requests in the same order.
    pub seed: Option<u64>,
    /// Added to what the daemon says about time, in seconds: a clock that is off.
    pub skew: i64,
    /// Whether waiting takes time.
    pub time: Time,
}

/// How the daemon waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Time {
    /// As long as it says.
    #[default]
    Real,
    /// Hardly at all: the [clock](malleus_core::clock) jumps instead.
    Virtual,
}

impl Options {
    /// A daemon without failures, on a socket of its own.
    pub fn new(flavor: Flavor) -> Self {
        Self {
            flavor,
            socket: None,
            https: None,
            members: 0,
            rules: Vec::new(),
            seed: None,
            skew: 0,
            time: Time::Real,
        }
    }
}

/// A simulated daemon that runs until this value is dropped.
#[derive(Debug)]
pub struct Sim {
    daemon: Arc<daemon::Daemon>,
    socket: PathBuf,
    address: Option<SocketAddr>,
    /// The folder that is removed with it.
    folder: Option<PathBuf>,
    stop: Option<oneshot::Sender<()>>,
    /// The one that answers, and the one that has the clock jump.
    threads: Vec<JoinHandle<()>>,
}

impl Sim {
    /// Starts one in a thread of its own; it answers when this returns.
    ///
    /// # Errors
    /// When the socket cannot be made, such as one that is in use.
    pub fn start(options: Options) -> io::Result<Self> {
        let (socket, folder) = if let Some(socket) = &options.socket {
            (socket.clone(), None)
        } else {
            let folder = own_folder()?;
            (folder.join(SOCKET), Some(folder))
        };
        match serve(options, &socket) {
            Ok((daemon, address, (stop, threads))) => Ok(Self {
                daemon,
                socket,
                address,
                folder,
                stop: Some(stop),
                threads,
            }),
            Err(error) => {
                if let Some(folder) = folder {
                    // Empty, and of no use to anybody.
                    let _ = std::fs::remove_dir(folder);
                }
                Err(error)
            }
        }
    }

    /// By what more failures can be ordered while it runs.
    pub fn orders(&self) -> SimControl {
        SimControl(self.daemon.clone())
    }

    /// From now on nothing goes wrong any more, so that what is left can be looked at.
    pub fn end_faults(&self) {
        self.daemon.faults.end();
    }

    /// Its clock, for clients in this process: see `Settings::clock` of the client.
    pub fn clock(&self) -> Clock {
        self.daemon.clock.source()
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where it listens for HTTPS, with the port that it has got.
    pub fn https(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The SHA-256 of the certificate that it shows over HTTPS, by which clients know it.
    pub fn fingerprint(&self) -> &str {
        &self.daemon.certificate.fingerprint
    }
}

/// Changes how a simulated daemon that runs behaves, beside what it began with.
#[derive(Clone, Debug)]
pub struct SimControl(Arc<daemon::Daemon>);

impl SimControl {
    /// What goes wrong from now on, in the place of what was ordered before. A seed has no effect where it began with one.
    pub fn faults(&self, rules: impl IntoIterator<Item = Rule>, seed: Option<u64>) {
        self.0.faults.order(rules, seed);
    }

    /// How it waits from now on; one that began with [`Time::Virtual`] goes on with it.
    pub fn time(&self, time: Time) {
        self.0.clock.wait_by(time);
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.clock().end();
        for thread in self.threads.drain(..) {
            // It has nothing left to say.
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.socket);
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_dir(folder);
        }
    }
}

type Threads = (oneshot::Sender<()>, Vec<JoinHandle<()>>);

fn serve(
    options: Options,
    socket: &Path,
) -> io::Result<(Arc<daemon::Daemon>, Option<SocketAddr>, Threads)> {
    let tcp = options.https.map(listen::https).transpose()?;
    let bound = tcp.as_ref().map(TcpListener::local_addr).transpose()?;
    let daemon = daemon::Daemon::new(options, bound.map(tls::reachable))?;
    let https = match tcp {
        Some(listener) => Some((listener, daemon.certificate.acceptor()?)),
        None => None,
    };
    let unix = listen::unix(socket)?;
    let listeners = listen::Listeners { unix, https };
    let threads = start(listeners, daemon.clone())?;
    Ok((daemon, bound, threads))
}

fn start(listeners: listen::Listeners, daemon: Arc<daemon::Daemon>) -> io::Result<Threads> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (stop, stopped) = oneshot::channel();
    let clock = daemon.clock.source();
    let thread = std::thread::Builder::new()
        .name("sim".to_owned())
        .spawn(move || {
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async {
                tokio::select! {
                    () = listen::run(listeners, daemon) => {}
                    _ = stopped => {}
                }
            });
            // Commands that still run are threads of their own and end by themselves.
            runtime.shutdown_timeout(Duration::from_millis(10));
        })?;
    let driver = std::thread::Builder::new().name("sim-clock".to_owned());
    let driver = driver.spawn(move || clock.drive())?;
    Ok((stop, vec![thread, driver]))
}

/// A folder that only its owner may enter, with a short path: a socket's has 108 bytes at the most.
///
/// # Errors
/// Those of the file system, with the folder's name.
fn own_folder() -> io::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let folders = std::env::temp_dir();
    sweep(&folders);
    let folder = folders.join(format!("{OWN}{:08x}", fastrand::u32(..)));
    let made = std::fs::DirBuilder::new().mode(0o700).create(&folder);
    made.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", folder.display())))?;
    Ok(folder)
}

/// What the names of such folders begin with.
const OWN: &str = "malleus-sim.";

/// The name of the socket in such a folder.
const SOCKET: &str = "unix.socket";

/// Removes folders whose daemons were killed: nobody answers at their sockets any more.
fn sweep(folders: &Path) {
    let entries = std::fs::read_dir(folders).into_iter().flatten().flatten();
    for entry in entries {
        if !entry.file_name().to_string_lossy().starts_with(OWN) {
            continue;
        }
        let socket = entry.path().join(SOCKET);
        let refused = std::os::unix::net::UnixStream::connect(&socket)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        // Somebody else's folder stays, and so does what somebody else was quicker with.
        if refused && std::fs::remove_file(socket).is_ok() {
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}
