//! Containers for the tests of the client.
#![allow(clippy::print_stdout, reason = "tells which brand a test failed on")]

use std::time::Duration;

use malleus::client::{Client, Exec, Limit, Output, Remote, Request, Wait};
use serde_json::{Value, json};

use super::daemon::{Daemon, daemons};

pub(crate) fn connect(daemon: &Daemon) -> Client {
    Client::connect(&Remote::Unix(daemon.socket.clone())).expect("connected")
}

/// Runs a case on every brand, with the shared daemon of that brand.
pub(crate) fn on_both(case: impl Fn(&Client)) {
    for flavor in daemons() {
        println!("--- {flavor}");
        let daemon = Daemon::shared(flavor);
        // The addresses of its instances can be reached there alone.
        let _network = daemon.enter_network();
        case(&connect(daemon));
    }
}

pub(crate) fn within(seconds: u64) -> Limit {
    Limit::after("test", Duration::from_secs(seconds))
}

/// A container, removed at the end of the test.
pub(crate) struct Container {
    pub(crate) client: Client,
    pub(crate) name: String,
}

impl Container {
    /// A container that runs.
    pub(crate) fn start(client: &Client, name: &str) -> Self {
        let container = Self::create(client, name, &json!({}));
        container.change("start");
        container
    }

    /// A container that is stopped, with these keys on top of what it needs.
    pub(crate) fn create(client: &Client, name: &str, more: &Value) -> Self {
        let mut body = json!({
            "name": name,
            "profiles": ["default"],
            "source": {"type": "image", "alias": "busybox"},
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        let create = Request::post("instances").json(body);
        client
            .run(&create, &Wait::within(within(60)))
            .expect("created");
        Self {
            client: client.clone(),
            name: name.to_owned(),
        }
    }

    pub(crate) fn change(&self, action: &str) {
        let changed = self
            .client
            .run(&self.state(action), &Wait::within(within(60)));
        changed.unwrap_or_else(|error| panic!("{action}: {error}"));
    }

    /// The request that changes the state.
    pub(crate) fn state(&self, action: &str) -> Request {
        Request::put(format!("instances/{}/state", self.name))
            .json(json!({"action": action, "force": true, "timeout": 30}))
    }

    /// The command that runs a script.
    pub(crate) fn command(&self, script: &str) -> Exec {
        Exec::new(&self.name, ["sh", "-c", script])
    }

    /// Runs a script that must succeed, and gives what it printed.
    pub(crate) fn shell(&self, script: &str) -> String {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let output = Output {
            stdout: &mut stdout,
            stderr: &mut stderr,
        };
        let wait = Wait::within(within(60));
        let exit = self.client.exec(&self.command(script), output, &wait);
        let stderr = String::from_utf8_lossy(&stderr);
        assert_eq!(exit.expect("run").code, 0, "{script}: {stderr}");
        String::from_utf8(stdout).expect("text")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let client = self.client.detached();
        let wait = Wait::within(within(60));
        client.run(&self.state("stop"), &wait).ok();
        let delete = Request::delete(format!("instances/{}", self.name));
        client.run(&delete, &wait).ok();
    }
}
