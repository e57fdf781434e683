//! `malleus with`: an environment for as long as one command runs.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use indexmap::IndexMap;
use malleus::client::Client;
use malleus::diagnostic::Diagnostic;
use malleus::report::outputs::{text, variables};
use malleus::report::record::Outcome;
use malleus::run::{RunOutputs, Verdict};
use malleus::template::Engine;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::Code;
use super::args::{Common, With};
use super::console::Console;
use super::playbooks::{self, RunOptions, code_of};
use super::reports::Reports;
use super::signals::Signals;
use super::variables::is_own;

/// Exit code where malleus itself failed, before the command or after it.
const OURS: u8 = 125;
/// Exit code where the command is not a program.
const NOT_EXECUTABLE: u8 = 126;
/// Exit code where there is no such command.
const NOT_FOUND: u8 = 127;

/// What keeps malleus itself from its work ends in a code that no command's own is taken for.
pub(crate) fn main(common: &Common, args: &With, console: &Console) -> Code {
    provide(common, args, console).unwrap_or_else(|error| {
        console.problem(&Diagnostic::error(super::words(&error)));
        Code::Command(OURS)
    })
}

fn provide(common: &Common, args: &With, console: &Console) -> Result<Code> {
    let reports = Reports::prepare(&args.playing.reporting, console)?;
    let engine = Engine::new();
    let ready = match playbooks::one(&args.file, &args.playing, &engine, console)? {
        Ok(ready) => ready,
        Err(refused) => {
            reports.close(&refused.records, refused.code);
            return Ok(Code::Command(OURS));
        }
    };
    let guest = Guest::new(common, args, console);
    let before_cleanup = |provided: &RunOutputs<'_>| {
        guest.run(provided.outputs);
        match guest.ended() {
            Some(0) => Verdict::Fine,
            _ => Verdict::Failed,
        }
    };
    let mut way = RunOptions::new(
        (common, &args.playing),
        &engine,
        args.playing.keep.after_test(),
    )?;
    way.before_cleanup = Some(&before_cleanup);
    let signals = Signals::listen().context("cannot listen for signals")?;
    let client = match playbooks::server(common, &ready, console) {
        Ok(client) => client,
        Err(refused) => {
            reports.close(&refused.records, refused.code);
            return Ok(Code::Command(OURS));
        }
    };
    guest.obey(&signals, &client);
    let record = playbooks::play(&ready, client, &way, console);
    let records = [record];
    let code = reports.close(&records, code_of(&records, &signals));
    let [record] = records;
    Ok(match (record.outcome(), guest.ended()) {
        // What is left is the graver news, and so is a fixture that did not come about.
        (Outcome::Left, _) => Code::Command(OURS),
        (_, Some(code)) => Code::Command(code),
        (Outcome::Interrupted, None) => code,
        (_, None) => Code::Command(OURS),
    })
}

/// The command.
struct Guest<'a> {
    args: &'a With,
    console: &'a Console,
    /// The socket of a simulated daemon, which the command would not find by itself.
    simulated: Option<&'a str>,
    /// The running process, which signals go to.
    child: Arc<Mutex<Option<Pid>>>,
    code: Mutex<Option<u8>>,
}

impl<'a> Guest<'a> {
    fn new(common: &'a Common, args: &'a With, console: &'a Console) -> Self {
        let remote = common.remote.as_deref();
        Self {
            args,
            console,
            simulated: remote.filter(|_| common.is_simulated()),
            child: Arc::default(),
            code: Mutex::default(),
        }
    }

    /// A signal goes to the command where there is one, and ends the steps where there is none yet. On a terminal the
    /// command has had its Ctrl-C already.
    fn obey(&self, signals: &Signals, client: &Client) {
        let child = Arc::clone(&self.child);
        let client = client.clone();
        signals.reacts(move |number| {
            let child = *child.lock().unwrap_or_else(PoisonError::into_inner);
            match (child, Signal::from_named_raw(number)) {
                (Some(_), Some(Signal::INT))
                    if std::io::IsTerminal::is_terminal(&std::io::stdin()) => {}
                (Some(child), Some(signal)) => {
                    // It may have ended in this moment.
                    let _ = kill_process(child, signal);
                }
                _ => client.cancel(),
            }
        });
    }

    /// Runs the command with the outputs in its environment, and waits for its end.
    fn run(&self, outputs: &IndexMap<String, Value>) {
        let code = self.run_to_end(outputs).unwrap_or_else(|(code, problem)| {
            self.console.problem(&problem);
            code
        });
        *self.code.lock().unwrap_or_else(PoisonError::into_inner) = Some(code);
    }

    fn run_to_end(&self, outputs: &IndexMap<String, Value>) -> Result<u8, (u8, Diagnostic)> {
        let ours = |error: &dyn std::fmt::Display, what: &str| {
            (OURS, Diagnostic::error(format!("{what}: {error}")))
        };
        let (program, arguments) = self
            .args
            .command
            .split_first()
            .ok_or_else(|| ours(&"it is missing", "no command"))?;
        if let Some(problem) = outputs
            .iter()
            .find_map(|(name, value)| unfit(name, &text(value)))
        {
            return Err((OURS, problem));
        }
        // The file is there as long as the command runs, and for its user alone.
        let file = tempfile::Builder::new()
            .prefix("malleus-outputs-")
            .suffix(".json")
            .tempfile()
            .map_err(|error| ours(&error, "cannot write the outputs"))?;
        let object: serde_json::Map<String, Value> = outputs.clone().into_iter().collect();
        serde_json::to_writer(&file, &object)
            .map_err(|error| ours(&error, "cannot write the outputs"))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .envs(outputs.iter().flat_map(|(name, value)| {
                let value = text(value);
                variables(name, &is_own)
                    .into_iter()
                    .map(move |variable| (variable, value.clone()))
            }))
            .env("MALLEUS_OUTPUTS", file.path());
        if let Some(socket) = self.simulated {
            command.env("MALLEUS_REMOTE", socket);
            command.env_remove("MALLEUS_SIM");
        }
        let child = command.spawn().map_err(|error| {
            let code = match error.kind() {
                std::io::ErrorKind::NotFound => NOT_FOUND,
                _ => NOT_EXECUTABLE,
            };
            let message = format!("cannot run `{program}`: {error}");
            (code, Diagnostic::error(message))
        })?;
        self.follow(child)
            .map_err(|error| ours(&error, "cannot wait for the command"))
    }

    fn follow(&self, mut child: Child) -> std::io::Result<u8> {
        *self.child.lock().unwrap_or_else(PoisonError::into_inner) = Some(Pid::from_child(&child));
        let status = child.wait();
        *self.child.lock().unwrap_or_else(PoisonError::into_inner) = None;
        status.map(code)
    }

    /// The code with which the command ended; nothing where it was never run.
    fn ended(&self) -> Option<u8> {
        *self.code.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The longest text of one variable with its name that Linux gives to a program.
const LONGEST_VARIABLE: usize = 128 << 10;

/// Why an output cannot be a variable of the command's environment.
fn unfit(name: &str, text: &str) -> Option<Diagnostic> {
    let variable = variables(name, &is_own).swap_remove(0);
    // With `=` and a NUL at its end.
    let length = variable.len() + text.len() + 2;
    let why = if text.contains('\0') {
        "it holds a NUL character".to_owned()
    } else if length > LONGEST_VARIABLE {
        format!("it is longer than {LONGEST_VARIABLE} bytes")
    } else {
        return None;
    };
    let problem = format!("the output `{name}` cannot be the variable {variable}: {why}");
    Some(
        Diagnostic::error(problem)
            .help("the command was not run; make the output shorter, or have the command fetch it"),
    )
}

/// A command's exit code as shells have it.
fn code(status: ExitStatus) -> u8 {
    let number = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    number
        .and_then(|number| u8::try_from(number).ok())
        .unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_variable_can_be_is_named() {
        assert!(unfit("a", "text").is_none());
        // `MALLEUS_OUTPUT_A=` and a NUL.
        let longest = "x".repeat(LONGEST_VARIABLE - 18);
        assert!(unfit("a", &longest).is_none());
        for text in [format!("{longest}x"), "a\0b".to_owned()] {
            let problem = unfit("a", &text).unwrap();
            assert!(problem.message.contains("`a`"), "{problem:?}");
        }
        // What the system takes.
        let echo = |text: &str| {
            let mut command = Command::new("true");
            command.env("MALLEUS_OUTPUT_A", text).status()
        };
        assert!(echo(&longest).is_ok());
        assert!(echo(&format!("{longest}x")).is_err());
    }
}
