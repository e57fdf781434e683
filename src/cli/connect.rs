//! From what people name to connected clients, and what to do where that does not succeed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use malleus::client::{self, Client, Flavor, Remote, Settings, TlsError};
use malleus::diagnostic::{Diagnostic, did_you_mean};
use malleus_core::clock::Clock;
use malleus_remotes::{RemotesError, Resolved};

use super::args::Common;
use super::console::Console;
use super::signals::Signals;
use super::{Code, settings};

/// The ways on for somebody without a daemon.
const NO_DAEMON: &str = if cfg!(feature = "sim") {
    "install LXD or Incus and start it, name a server with `--remote`, or try without one: `--sim`"
} else {
    "install LXD or Incus and start it, or name a server with `--remote`"
};

/// A variable of the process; none where it is empty.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The server that is meant, or the default one; see [`malleus_remotes::resolve`].
pub(crate) fn resolve(named: Option<&str>, chosen: Option<&str>) -> Result<Resolved, RemotesError> {
    malleus_remotes::resolve(named, chosen, &variable)
}

/// Connects to what was resolved.
pub(crate) fn open(
    resolved: &Resolved,
    clock: Clock,
    console: &Console,
) -> Result<Client, client::Error> {
    resolved.connect(Settings {
        clock,
        ..settings(console)
    })
}

/// Connects to the remote that the arguments, the playbook or the environment name, or says why not.
pub(crate) fn connect(
    common: &Common,
    playbook: Option<&str>,
    console: &Console,
) -> Result<Client, Code> {
    try_connect(common, playbook, console).map_err(|(code, problem)| {
        console.problem(&problem);
        code
    })
}

/// Connects as [`connect`], and leaves it to the caller to say what is wrong.
pub(crate) fn try_connect(
    common: &Common,
    playbook: Option<&str>,
    console: &Console,
) -> Result<Client, (Code, Diagnostic)> {
    let chosen = common.remote.as_deref();
    let named = chosen.or(playbook);
    let resolved = resolve(named, chosen).map_err(|error| unresolved(&error))?;
    let client = open(&resolved, common.clock(), console).map_err(|error| match error {
        client::Error::InvalidRemote { .. } => {
            (Code::Invalid, Diagnostic::error(error.to_string()))
        }
        error => (Code::Unreachable, unreachable(&error)),
    })?;
    if client.server().simulated {
        console.simulated();
    }
    if !client.server().is_trusted() {
        return Err((Code::Unreachable, untrusted(&client, &resolved)));
    }
    Ok(match &common.project {
        Some(project) => client.with_project(project),
        None => client,
    })
}

/// Why a name means no server.
pub(crate) fn unresolved(error: &RemotesError) -> (Code, Diagnostic) {
    let problem = Diagnostic::error(error.to_string());
    match error {
        RemotesError::Client(inner @ client::Error::InvalidRemote { .. }) => {
            (Code::Invalid, Diagnostic::error(inner.to_string()))
        }
        RemotesError::Client(inner) => (Code::Unreachable, unreachable(inner)),
        RemotesError::Unknown { name, known } => {
            let guess = did_you_mean(name, known.iter().map(String::as_str));
            let problem = Diagnostic::error(format!("{error}{guess}"));
            let help = if known.is_empty() {
                "`malleus remote add NAME TOKEN` adds one; a socket is written as a path, a server as https://HOST:PORT"
                    .to_owned()
            } else {
                format!("there are: {}; `malleus remote add` adds one", known.join(", "))
            };
            (Code::Invalid, problem.help(help))
        }
        RemotesError::Unconfirmed { address, fingerprint } => (
            Code::Unreachable,
            problem.help(format!(
                "compare it with the one on the server, as `incus info` and `lxc info` show it there; if it is the same, repeat \
                 the command with `--fingerprint {fingerprint}` (nothing was sent to {address})"
            )),
        ),
        RemotesError::Token(_) | RemotesError::Refused(_) => (
            Code::Unreachable,
            problem.help(
                "a token is good for one use and a limited time; ask for a new one: `incus config trust add NAME` or \
                 `lxc config trust add --name NAME` on the server",
            ),
        ),
        _ => (Code::Invalid, problem),
    }
}

/// Why there is no connection, and what to do.
pub(crate) fn unreachable(error: &client::Error) -> Diagnostic {
    let problem = Diagnostic::error(error.to_string());
    match error {
        client::Error::NoDaemon { tried } => {
            let mut problem = Diagnostic::error("no LXD or Incus daemon found");
            for place in tried {
                problem = problem.note(format!("tried {}: {}", place.place, place.why));
            }
            problem.help(NO_DAEMON)
        }
        client::Error::Unverified { remote, reason, .. } => mend(problem, remote, reason),
        client::Error::Api(refusal) if matches!(refusal.status, 401 | 403) => problem.help(
            "the server refuses what proves who is asking: a certificate it does not know, or a token that is over",
        ),
        _ => problem,
    }
}

fn mend(problem: Diagnostic, remote: &str, reason: &TlsError) -> Diagnostic {
    let problem = problem.note("nothing was sent to it");
    let again = match remote.split_once(':') {
        Some((client @ ("incus" | "lxc"), name)) => {
            format!("`{client} remote remove {name}` and `{client} remote add {name} …`")
        }
        _ if remote.starts_with("https://") => {
            "the fingerprint or MALLEUS_SERVER_CERT that was given".to_owned()
        }
        _ => format!("`malleus remote remove {remote}` and `malleus remote add {remote} …`"),
    };
    match reason {
        TlsError::Changed { .. } => problem.help(format!(
            "a server that was set up anew, or has joined a cluster, has another certificate. Compare with the fingerprint that \
             `incus info` or `lxc info` shows on the server; only if it is the same, renew what is stored: {again}"
        )),
        TlsError::OutOfDate { .. } => problem.help(format!(
            "the server needs a new certificate, or one of the two clocks is wrong; after that renew what is stored: {again}"
        )),
        TlsError::Unknown { presented, .. } => problem.help(format!(
            "compare with the fingerprint that `incus info` or `lxc info` shows on the server; if it is the same, store it: \
             `malleus remote add NAME {} --fingerprint {presented}`",
            if remote.starts_with("https://") { remote } else { "ADDRESS" }
        )),
        TlsError::NoTls => problem.help("is this the address of the API (`core.https_address` of the server)?"),
        TlsError::OldTls => problem.help("LXD and Incus speak TLS 1.3; is this the address of the API, and what is between us?"),
        _ => problem,
    }
}

/// The server does not know us.
pub(crate) fn untrusted(client: &Client, resolved: &Resolved) -> Diagnostic {
    let remote = client.remote();
    let problem = Diagnostic::error(format!("{remote} does not trust this client"));
    let tool = match client.server().flavor {
        Flavor::Incus => "incus",
        Flavor::Lxd => "lxc",
    };
    let (certificate, has_token) = match remote {
        Remote::Https(server) => (server.identity.as_ref(), resolved.authentication.is_some()),
        _ => (None, false),
    };
    match certificate {
        Some(identity) => problem
            .note(format!("our certificate is {}", identity.fingerprint()))
            .help(format!("have it added on the server: {}", how_to_trust(tool, "FILE.crt"))),
        None if has_token => problem.help("the bearer token is over, or is not this server's"),
        None => problem.help(format!(
            "ask for a token (`{tool} config trust add` on the server) and give it to `malleus remote add NAME TOKEN`; or set \
             MALLEUS_CLIENT_CERT and MALLEUS_CLIENT_KEY"
        )),
    }
}

/// The command that has a server trust a certificate.
pub(crate) fn how_to_trust(tool: &str, file: &str) -> String {
    match tool {
        "incus" => format!("`incus config trust add-certificate {file}`"),
        _ => format!("`lxc config trust add {file}`"),
    }
}

/// One client for each server that was named.
pub(crate) struct Clients<'a> {
    console: &'a Console,
    chosen: Option<&'a str>,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    clients: Vec<(String, Client)>,
    /// Whether a signal has ended what they do, and what later ones would do.
    is_over: bool,
}

impl Known {
    fn find(&self, remote: &str) -> Option<Client> {
        let mut clients = self.clients.iter();
        let (_, client) = clients.find(|(name, _)| name == remote)?;
        Some(client.clone())
    }
}

impl<'a> Clients<'a> {
    pub(crate) fn new(chosen: Option<&'a str>, console: &'a Console) -> Self {
        Self {
            console,
            chosen,
            known: Arc::default(),
        }
    }

    /// The client for what a journal or a playbook calls a remote.
    pub(crate) fn get(&self, remote: &str) -> Result<Client, client::Error> {
        if let Some(client) = lock(&self.known).find(remote) {
            return Ok(client);
        }
        let resolved =
            resolve(Some(remote), self.chosen).map_err(|error| error.into_client(remote))?;
        // Only the server of the command itself can be a simulated one of this process.
        let client = open(&resolved, Clock::machine(), self.console)?;
        if !client.server().is_trusted() {
            return Err(client::Error::InvalidRemote {
                remote: remote.to_owned(),
                reason: format!(
                    "the server does not trust this client; `malleus doctor {remote}` says what to do"
                ),
            });
        }
        let mut known = lock(&self.known);
        // Somebody else may have been quicker.
        if let Some(client) = known.find(remote) {
            return Ok(client);
        }
        if known.is_over {
            client.cancel();
        }
        known.clients.push((remote.to_owned(), client.clone()));
        Ok(client)
    }

    /// The first signal ends what they do, those included that are not connected yet.
    pub(crate) fn obey(&self, signals: &Signals) {
        let known = self.known.clone();
        signals.reacts(move |_| {
            let mut known = lock(&known);
            known.is_over = true;
            for (_, client) in &known.clients {
                client.cancel();
            }
        });
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}
