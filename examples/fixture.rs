//! Provides the playbook beside this file as a test would, uses it, and removes it.
//!
//! ```sh
//! cargo run --example fixture
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it found")]

use malleus::Fixture;
use malleus::client::{Exec, Output, Wait};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let playbook = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/fixture.yaml");
    let fixture = Fixture::of(playbook).var("image", "busybox").up()?;

    let instance = fixture.text("instance")?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let output = Output {
        stdout: &mut stdout,
        stderr: &mut stderr,
    };
    let exec = Exec::new(instance, ["cat", "/greeting"]);
    fixture.client().exec(&exec, output, &Wait::default())?;
    println!("{}", String::from_utf8(stdout)?);

    // Dropping it does the same, but cannot say that something is left.
    fixture.down()?;
    Ok(())
}
