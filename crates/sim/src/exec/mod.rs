//! Commands in instances: found in the instance's file tree, run by an embedded shell in a thread of their own.

pub(super) mod commands;
mod filesystem;
pub(super) mod process;
mod shell;
mod signals;
pub(super) mod sockets;

use std::sync::Arc;

use tokio::sync::oneshot;

use super::daemon::Daemon;
use super::state::instance::Instance;
use super::state::tree::SharedTree;
use process::{Command, Exit, Process, Processes, Sink};

/// The instance that a command runs in.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) daemon: Arc<Daemon>,
    pub(super) project: String,
    pub(super) instance: String,
    pub(super) tree: SharedTree,
    pub(super) processes: Arc<Processes>,
}

impl Place {
    pub(super) fn new(daemon: Arc<Daemon>, instance: &Instance) -> Self {
        Self {
            daemon,
            project: instance.project.clone(),
            instance: instance.name.clone(),
            tree: instance.tree.clone(),
            processes: instance.processes.clone(),
        }
    }
}

/// A command that has been found and has its place among the processes.
#[derive(Debug)]
pub(super) struct Ready {
    place: Place,
    command: Command,
    task: shell::Task,
    pub(super) process: Arc<Process>,
}

/// Finds a command; the error says how it ended before it began.
pub(super) fn prepare(place: Place, command: Command) -> Result<Ready, Exit> {
    let task = shell::find(&place, &command)?;
    let process = place.processes.add(&command);
    Ok(Ready {
        place,
        command,
        task,
        process,
    })
}

/// Runs a command to its end, or to the signal that ends it.
pub(super) async fn run((place, command): (Place, Command), stdin: Vec<u8>, sink: Sink) -> Exit {
    match prepare(place, command) {
        Ok(ready) => carry_on(ready, stdin, sink).await,
        Err(exit) => exit,
    }
}

pub(super) async fn carry_on(ready: Ready, stdin: Vec<u8>, sink: Sink) -> Exit {
    let process = ready.process.clone();
    let processes = ready.place.processes.clone();
    let (done, ended) = oneshot::channel();
    let works = ready.place.daemon.clock.works();
    // A script that computes without end must not keep the daemon from answering, hence the thread.
    let thread = std::thread::Builder::new()
        .name("sim-exec".to_owned())
        .stack_size(8 << 20)
        .spawn(move || {
            shell::run(ready, (stdin, &sink), done);
            drop(works);
        });
    let exit = if thread.is_ok() {
        tokio::select! {
            biased;
            signal = process.killed() => Exit::Code(128 + signal),
            code = ended => {
                let code = code.unwrap_or(134);
                // A signal may have come as it ended.
                Exit::Code(process.ended_by().map_or(code, |signal| 128 + signal))
            }
        }
    } else {
        Exit::Nothing
    };
    // Jobs of it may run on.
    if thread.is_err() || !process.has_jobs() {
        processes.remove(process.id);
    }
    exit
}
