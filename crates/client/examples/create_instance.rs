//! Creates an instance from an image, waits until it exists, and starts it:
//! `cargo run -p malleus-client --example create_instance -- NAME IMAGE-ALIAS`.
#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use std::time::Duration;

use malleus_client::{Client, Error, Limit, Operation, Remote, Request, Wait, encode};
use serde_json::json;

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "example".to_owned());
    let image = arguments.next().unwrap_or_else(|| "busybox".to_owned());
    let remote = Remote::discover(&|name| std::env::var(name).ok())?;
    let client = Client::connect(&remote)?;

    // The server answers at once and works in the background; `run` waits for that work.
    let show = |operation: &Operation| {
        if let Some(progress) = operation.progress() {
            println!("{progress}");
        }
    };
    let wait = Wait {
        limit: Limit::after("creation", Duration::from_secs(300)),
        progress: Some(&show),
        started: None,
    };
    let create = Request::post("instances").json(json!({
        "name": name,
        "profiles": ["default"],
        "source": {"type": "image", "alias": image},
    }));
    client.run(&create, &wait)?;
    println!("created {name}");

    let start = Request::put(format!("instances/{}/state", encode(&name)))
        .json(json!({"action": "start", "timeout": 30}));
    let minute = Limit::after("start", Duration::from_secs(60));
    client.run(&start, &Wait::within(minute))?;
    println!("started {name}");
    Ok(())
}
