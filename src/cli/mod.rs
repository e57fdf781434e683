//! Arguments, environment, signals, exit codes: the only place of clap and of anyhow.

mod args;
mod check;
mod console;
mod exec;
mod inputs;
mod request;
mod run;
mod show;
mod signals;
#[cfg(feature = "sim")]
mod sim;
mod trace;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use malleus::client::{self, Client, Remote, Settings};
use malleus::diagnostic::Diagnostic;

use args::{Cli, Command};
use console::Console;
#[cfg(feature = "sim")]
use sim::Daemon;
use trace::Tracer;

/// What the process's exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// All held, nothing is left that should not be.
    Fine,
    /// A step, an expectation or a request failed.
    Failed,
    /// Usage error or invalid playbook; nothing was sent.
    Invalid,
    /// The daemon cannot be reached, or refuses us; nothing was changed.
    Unreachable,
    /// Cleanup is incomplete.
    Left,
    /// Interrupted by this signal; cleanup is complete.
    Signal(u8),
    /// A command's own exit code.
    Command(u8),
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(match code {
            Code::Fine => 0,
            Code::Failed => 1,
            Code::Invalid => 2,
            Code::Unreachable => 3,
            Code::Left => 4,
            Code::Signal(number) => 128 + number,
            Code::Command(code) => code,
        })
    }
}

pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let console = Console::new(&cli.common);
    let ended = match cli.command {
        Command::Run(args) => run::main(&cli.common, &args, &console),
        Command::Check(args) => check::main(&args, &console),
        Command::Show(args) => show::main(&cli.common, &args, &console),
        Command::Request(args) => request::main(&cli.common, &args, &console),
        Command::Exec(args) => exec::main(&cli.common, &args, &console),
        #[cfg(feature = "sim")]
        Command::Sim(args) => sim::main(&cli.common, &args, &console),
        Command::Schema => Console::data(format!("{:#}\n", malleus::playbook::schema()).as_bytes())
            .map(|()| Code::Fine)
            .map_err(Into::into),
    };
    ended
        .unwrap_or_else(|error| {
            console.problem(&Diagnostic::error(words(&error)));
            code_of(&error)
        })
        .into()
}

/// An error with its causes; the client names them in its own message already.
fn words(error: &anyhow::Error) -> String {
    if error.is::<client::Error>() {
        error.to_string()
    } else {
        format!("{error:#}")
    }
}

/// What an error that ended a command means. Errors that are not the client's come from files and arguments.
fn code_of(error: &anyhow::Error) -> Code {
    match error.downcast_ref::<client::Error>() {
        Some(
            client::Error::InvalidRequest { .. }
            | client::Error::InvalidRemote { .. }
            | client::Error::File { .. },
        )
        | None => Code::Invalid,
        Some(client::Error::NoDaemon { .. } | client::Error::Connect { .. }) => Code::Unreachable,
        Some(_) => Code::Failed,
    }
}

/// Connects to the remote that the arguments, the playbook or the environment name.
pub(crate) fn connect(
    common: &args::Common,
    playbook: Option<&str>,
    console: &Console,
) -> Result<Client, Code> {
    let settings = Settings {
        observer: Tracer::observer(console).map(|tracer| Arc::new(tracer) as _),
        ..Settings::default()
    };
    let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let remote = match common.remote.as_deref().or(playbook) {
        Some(named) => Remote::parse(named),
        None => Remote::discover(&environment),
    };
    let client = remote.and_then(|remote| Client::connect_with(&remote, settings));
    if client
        .as_ref()
        .is_ok_and(|client| client.server().simulated)
    {
        console.simulated();
    }
    match client {
        Ok(client) => Ok(match &common.project {
            Some(project) => client.with_project(project),
            None => client,
        }),
        Err(error) => {
            let code = if matches!(error, client::Error::InvalidRemote { .. }) {
                Code::Invalid
            } else {
                Code::Unreachable
            };
            console.problem(&unreachable(&error));
            Err(code)
        }
    }
}

/// Without the feature there is no simulated daemon.
#[cfg(not(feature = "sim"))]
struct Daemon;

#[cfg(not(feature = "sim"))]
impl Daemon {
    fn start(_: &args::Common, _: Vec<std::convert::Infallible>) -> anyhow::Result<Self> {
        Ok(Self)
    }

    fn remote(&self) -> Option<&str> {
        None
    }
}

/// The ways on for somebody without a daemon.
const HELP: &str = if cfg!(feature = "sim") {
    "install LXD or Incus and start it, name its socket with `--remote /path/to/unix.socket`, or try without one: `--sim`"
} else {
    "install LXD or Incus and start it, or name its socket with `--remote /path/to/unix.socket`"
};

fn unreachable(error: &client::Error) -> Diagnostic {
    let client::Error::NoDaemon { tried } = error else {
        return Diagnostic::error(error.to_string());
    };
    let mut problem = Diagnostic::error("no LXD or Incus daemon found");
    for place in tried {
        problem = problem.note(format!("tried {}: {}", place.place, place.why));
    }
    problem.help(HELP)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        super::Cli::command().debug_assert();
    }
}
