//! Trying a port, a command or a file of an instance once.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use super::Addresses;
use super::status::unclear;
use crate::ending::Ending;
use crate::exec::{Mode, new_marker};
use crate::{Client, Error, Exec, Exit, Limit, Wait};

/// How long one address may take to accept a connection.
const CONNECT: Duration = Duration::from_millis(500);

/// How long one run of a command may take.
pub(super) const COMMAND: Duration = Duration::from_secs(10);

/// What came of a try.
pub(super) enum Tried {
    /// The condition holds.
    Held(String),
    /// It does not yet.
    NotYet(String),
    /// It never will.
    Impossible(String),
}

/// Connects to a port at each address in turn, until one accepts.
pub(super) fn tcp(addresses: &Addresses, port: u16, limit: Limit) -> Tried {
    let mut refused = Vec::new();
    let all = addresses.ipv4.iter().chain(&addresses.ipv6);
    for address in all.filter_map(|text| text.parse::<IpAddr>().ok()) {
        let address = SocketAddr::new(address, port);
        let left = limit.remaining().unwrap_or(CONNECT);
        let time = left.clamp(Duration::from_millis(1), CONNECT);
        match TcpStream::connect_timeout(&address, time) {
            Ok(_) => return Tried::Held(format!("accepts at {address}")),
            Err(error) => refused.push(format!("{} at {address}", in_words(&error))),
        }
    }
    Tried::NotYet(refused.join("; "))
}

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "no answer".to_owned(),
        io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        _ => error.to_string(),
    }
}

/// Runs a command whose output nobody reads.
pub(super) fn exec(
    client: &Client,
    instance: &str,
    command: &[String],
    limit: Limit,
) -> Result<Tried, Error> {
    let exec = Exec::new(instance, command);
    match run(client, &exec, limit) {
        Ok(exit) if exit.success() => Ok(Tried::Held("exit code 0".to_owned())),
        Ok(exit) => Ok(Tried::NotYet(exit_in_words(&exit))),
        Err(error) => not_yet(error),
    }
}

fn run(client: &Client, exec: &Exec, limit: Limit) -> Result<Exit, Error> {
    let marker = new_marker();
    let wait = Wait::within(Limit::after("try", COMMAND).earlier(limit));
    let started = client.start_exec(&exec.request(Mode::Discarded, &marker), &wait)?;
    client.await_exec(&started, &wait).map_err(|error| {
        if !matches!(error, Error::Operation(_) | Error::Protocol { .. }) {
            // One that hangs must not be there twice. That it cannot be killed is no news.
            let _ = Ending::new(client, &exec.instance, &marker).kill();
        }
        error
    })
}

fn exit_in_words(exit: &Exit) -> String {
    match &exit.message {
        Some(message) => format!("exit code {} ({message})", exit.code),
        None => format!("exit code {}", exit.code),
    }
}

/// Looks for a file.
pub(super) fn file(
    client: &Client,
    instance: &str,
    path: &str,
    limit: Limit,
) -> Result<Tried, Error> {
    match client.files(instance, limit).stat(Path::new(path)) {
        Ok(Some(_)) => Ok(Tried::Held("it is there".to_owned())),
        Ok(None) => Ok(Tried::NotYet("it is not there".to_owned())),
        Err(error) => not_yet(error),
    }
}

/// What a failed try says about the condition.
///
/// # Errors
/// The error itself when trying again will not help.
pub(super) fn not_yet(error: Error) -> Result<Tried, Error> {
    match error {
        // Refused because the instance does not run, its agent does not answer, and the like.
        Error::Api(error) if error.status != 403 => {
            Ok(Tried::NotYet(match error.message.as_str() {
                "" => format!("refused with status {}", error.status),
                message => message.to_owned(),
            }))
        }
        Error::Operation(error) => Ok(Tried::NotYet(error.err.clone())),
        Error::Lost { reason, .. } => Ok(Tried::NotYet(reason)),
        Error::Timeout {
            operation: Some(_), ..
        } => Ok(Tried::NotYet("it did not end in time".to_owned())),
        error => unclear(error).map(Tried::NotYet),
    }
}
