//! `malleus exec`.

use std::io::{self, Write};

use anyhow::{Context, Result};
use malleus::client::{self, Client, Exit, Limit, Output, Stdio, Wait};
use malleus::diagnostic::Diagnostic;

use super::args::{Common, Exec};
use super::console::Console;
use super::signals::Signals;
use super::{Code, connect};

pub(crate) fn main(common: &Common, args: &Exec, console: &Console) -> Result<Code> {
    let client = match connect(common, None, console) {
        Ok(client) => client,
        Err(code) => return Ok(code),
    };
    let signals = Signals::listen().context("cannot listen for signals")?;
    let exec = command(args);
    let wait = Wait::within(
        args.timeout
            .map_or_else(Limit::never, |after| client.limit("command", after)),
    );
    let ran = if args.record {
        signals.cancels(&client);
        recorded(&client, &exec, &wait)
    } else {
        streamed(&client, &exec, &wait, &signals)
    };
    match ran {
        Ok(exit) => {
            if let Some(message) = &exit.message {
                console.problem(&Diagnostic::error(message.trim()));
            }
            // The API's codes are those of a shell: 0 to 255.
            Ok(Code::Command(u8::try_from(exit.code).unwrap_or(u8::MAX)))
        }
        Err(client::Error::Cancelled) => Ok(signals.received().map_or(Code::Failed, Code::Signal)),
        Err(error) => Err(error.into()),
    }
}

fn command(args: &Exec) -> client::Exec {
    let mut exec = client::Exec::new(
        args.instance.as_str(),
        args.command.iter().map(String::as_str),
    );
    for (name, value) in &args.env {
        exec = exec.env(name, value);
    }
    exec.cwd.clone_from(&args.cwd);
    exec.user = args.user;
    exec.group = args.group;
    exec
}

fn recorded(client: &Client, exec: &client::Exec, wait: &Wait<'_>) -> Result<Exit, client::Error> {
    let (mut stdout, mut stderr) = (io::stdout(), io::stderr());
    let output = Output {
        stdout: &mut stdout,
        stderr: &mut stderr,
    };
    let exit = client.exec(exec, output, wait)?;
    stdout
        .flush()
        .map_err(|source| client::Error::Output { source })?;
    Ok(exit)
}

/// Over websockets: input and output as they come. Signals go to the command; it decides what they mean.
fn streamed(
    client: &Client,
    exec: &client::Exec,
    wait: &Wait<'_>,
    signals: &Signals,
) -> Result<Exit, client::Error> {
    let (mut stdout, mut stderr) = (io::stdout(), io::stderr());
    let handle = client::Signals::new();
    let pass_on = handle.clone();
    signals.reacts(move |number| pass_on.send(number));
    let io = Stdio {
        stdin: Some(Box::new(io::stdin())),
        stdout: &mut stdout,
        stderr: &mut stderr,
        signals: Some(handle),
    };
    let exit = client.exec_stream(exec, io, wait)?;
    stdout
        .flush()
        .map_err(|source| client::Error::Output { source })?;
    Ok(exit)
}
