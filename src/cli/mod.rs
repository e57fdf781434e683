//! Arguments, environment, signals, exit codes: the only place of clap and of anyhow.

mod about;
mod args;
mod check;
mod connect;
mod console;
mod doctor;
mod down;
mod exec;
mod gc;
mod inputs;
mod lanes;
mod named;
mod outputs;
mod playbooks;
mod remote;
mod reports;
mod request;
mod run;
mod runs;
mod show;
mod signals;
#[cfg(feature = "sim")]
mod sim;
mod table;
mod test;
mod trace;
mod up;
mod variables;
mod with;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use malleus::client::{self, Settings};
use malleus::diagnostic::Diagnostic;

use args::{Cli, Command};
pub(crate) use connect::{connect, try_connect};
use console::Console;
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
    ended(cli, &console)
        .unwrap_or_else(|error| {
            console.problem(&explained(&error));
            code_of(&error)
        })
        .into()
}

#[cfg_attr(not(feature = "sim"), allow(unused_mut))]
fn ended(mut cli: Cli, console: &Console) -> anyhow::Result<Code> {
    // Until the command has ended, whatever it is: from here on the daemon is a remote as any other.
    #[cfg(feature = "sim")]
    let _daemon = match &cli.command {
        // It is one itself.
        Command::Sim(_) => None,
        _ => match sim::Daemon::start(&mut cli.common)? {
            Ok(daemon) => Some(daemon),
            Err(problem) => {
                console.problem(&problem);
                return Ok(Code::Invalid);
            }
        },
    };
    match cli.command {
        Command::Run(args) => run::main(&cli.common, &args, console),
        Command::Test(args) => test::main(&cli.common, &args, console),
        Command::Up(args) => up::main(&cli.common, &args, console),
        Command::Down(args) => down::main(&cli.common, &args, console),
        Command::Outputs(args) => outputs::main(&args, console),
        Command::With(args) => Ok(with::main(&cli.common, &args, console)),
        Command::Runs(args) => runs::main(&args, console),
        Command::Gc(args) => gc::main(&cli.common, &args, console),
        Command::Check(args) => check::main(&cli.common, &args, console),
        Command::Show(args) => show::main(&cli.common, &args, console),
        Command::Request(args) => request::main(&cli.common, &args, console),
        Command::Exec(args) => exec::main(&cli.common, &args, console),
        Command::Doctor(args) => doctor::main(&cli.common, &args, console),
        Command::Remote(args) => remote::main(cli.common.project.as_deref(), &args, console),
        #[cfg(feature = "sim")]
        Command::Sim(args) => sim::main(&cli.common, &args, console),
        Command::Schema => Console::data(format!("{:#}\n", malleus::playbook::schema()).as_bytes())
            .map(|()| Code::Fine)
            .map_err(Into::into),
        Command::Completions { shell } => about::completions(shell),
        Command::Man => about::man(),
    }
}

/// An error with what it means where the server does not say it.
fn explained(error: &anyhow::Error) -> Diagnostic {
    let problem = Diagnostic::error(words(error));
    let refusal = error.downcast_ref::<client::Error>();
    let refusal = refusal.filter(|error| error.status().is_some());
    match refusal.and_then(|error| malleus_api::messages::explain(&error.to_string())) {
        Some(meaning) => problem.help(meaning),
        None => problem,
    }
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
    error
        .downcast_ref::<client::Error>()
        .map_or(Code::Invalid, code_of_client)
}

/// What an error of the client means.
pub(crate) fn code_of_client(error: &client::Error) -> Code {
    match error {
        client::Error::InvalidRequest { .. }
        | client::Error::InvalidRemote { .. }
        | client::Error::File { .. } => Code::Invalid,
        client::Error::NoDaemon { .. }
        | client::Error::Connect { .. }
        | client::Error::Unverified { .. }
        | client::Error::InvalidIdentity { .. } => Code::Unreachable,
        _ => Code::Failed,
    }
}

/// How clients behave.
pub(crate) fn settings(console: &Console) -> Settings {
    Settings {
        observer: Tracer::observer(console).map(|tracer| Arc::new(tracer) as _),
        ..Settings::default()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        super::Cli::command().debug_assert();
    }
}
