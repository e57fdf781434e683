//! Lists the instances of the local daemon: `cargo run -p malleus-client --example list_instances`.
#![allow(clippy::print_stdout, reason = "an example shows what it found")]

use malleus_client::{Client, Error, Remote, Request};

fn main() -> Result<(), Error> {
    let remote = Remote::discover(&|name| std::env::var(name).ok())?;
    let client = Client::connect(&remote)?;

    let reply = client.request(&Request::get("instances").query("recursion", "1"))?;
    for instance in reply.metadata().as_array().into_iter().flatten() {
        let text = |key: &str| instance[key].as_str().unwrap_or("?");
        println!(
            "{:<24} {:<10} {}",
            text("name"),
            text("status"),
            text("type")
        );
    }
    Ok(())
}
