//! Runs a command in an instance and shows its exit code and its output:
//! `cargo run -p malleus-client --example run_command -- INSTANCE COMMAND…`.
//!
//! The server records the output in two logs. This fetches both and deletes the server's copies, step
//! by step; `Client::exec` does the same in one call.
#![allow(clippy::print_stdout, reason = "an example shows what it found")]

use std::time::Duration;

use malleus_client::{Client, Error, Exec, Limit, Output, Remote, Wait};

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let instance = arguments.next().unwrap_or_else(|| "example".to_owned());
    let mut command: Vec<String> = arguments.collect();
    if command.is_empty() {
        command = ["sh", "-c", "echo to stdout; echo to stderr >&2; exit 3"]
            .map(str::to_owned)
            .to_vec();
    }
    let remote = Remote::discover(&|name| std::env::var(name).ok())?;
    let client = Client::connect(&remote)?;

    // When the limit passes, the command is ended before the error comes back.
    let limit = Limit::after("command", Duration::from_secs(60));
    let recorded = client.exec_recorded(&Exec::new(instance, command), &Wait::within(limit))?;
    println!("exit code: {}", recorded.exit.code);
    if let Some(message) = &recorded.exit.message {
        println!("message: {message}");
    }

    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let fetched = recorded.fetch(Output {
        stdout: &mut stdout,
        stderr: &mut stderr,
    });
    // Also when the logs could not be fetched: the server keeps them until somebody deletes them.
    recorded.delete()?;
    fetched?;
    print!("stdout:\n{}", String::from_utf8_lossy(&stdout));
    print!("stderr:\n{}", String::from_utf8_lossy(&stderr));
    Ok(())
}
