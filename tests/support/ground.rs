//! A private daemon of a test's own, with what it held at first.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use malleus::client::{Client, Limit, Remote, Request, Wait};
use serde_json::{Value, json};

use super::daemon::{Daemon, Generation, daemons};
use super::leftovers::{Inventory, Thing};
use super::program::{Ran, Running, malleus};

pub(crate) fn on_both(case: fn(Generation)) {
    thread::scope(|threads| {
        for generation in daemons() {
            threads.spawn(move || case(generation));
        }
    });
}

/// A private daemon, what it held at first, and a folder for the program.
pub(crate) struct Ground {
    pub(crate) daemon: Daemon,
    pub(crate) client: Client,
    pub(crate) inventory: Inventory,
    pub(crate) before: BTreeSet<Thing>,
    pub(crate) folder: tempfile::TempDir,
}

impl Ground {
    pub(crate) fn new(generation: Generation) -> Self {
        let daemon = Daemon::start(generation);
        let inventory = Inventory::of(&daemon);
        let before = inventory.look();
        let client = Client::connect(&Remote::Unix(daemon.socket.clone())).expect("connected");
        Self {
            daemon,
            client,
            inventory,
            before,
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    /// The program, as on a machine that nothing has run on before.
    pub(crate) fn start(&self, socket: &Path, arguments: &[&str]) -> Running {
        let elsewhere = tempfile::tempdir_in(self.folder.path())
            .expect("a folder")
            .keep();
        let mut program = malleus(self.folder.path());
        program.env("MALLEUS_STATE_DIR", elsewhere);
        program.args(arguments).arg("--remote").arg(socket);
        Running::start(&mut program, None)
    }

    pub(crate) fn malleus(&self, arguments: &[&str]) -> Ran {
        self.start(&self.daemon.socket, arguments).end()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).expect("written");
    }

    /// Runs a playbook, and leaves what it made.
    pub(crate) fn leave(&self, text: &str, arguments: &[&str]) -> BTreeSet<Thing> {
        let before = self.inventory.look();
        self.write("playbook.yaml", text);
        let mut whole = vec!["run", "playbook.yaml"];
        whole.extend(arguments);
        let ran = self.malleus(&whole);
        assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
        self.inventory.look().difference(&before).cloned().collect()
    }

    pub(crate) fn send(&self, request: &Request) -> Value {
        let wait = Wait::within(Limit::after("test", Duration::from_secs(60)));
        let done = self.client.run(request, &wait).expect("accepted");
        done.reply.metadata().clone()
    }

    /// What carries marks: path, project and the run.
    pub(crate) fn marked(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for project in self
            .send(&Request::get("projects?recursion=1"))
            .as_array()
            .expect("a list")
        {
            let name = project["name"].as_str().expect("a name");
            let mut look = |collection: &str, key: &str| {
                let list = Request::get(format!("{collection}?recursion=1")).query("project", name);
                for member in self.send(&list).as_array().cloned().unwrap_or_default() {
                    let marks = if key == "fingerprint" {
                        &member["properties"]
                    } else {
                        &member["config"]
                    };
                    if marks["user.malleus.run"].is_string() {
                        let path = format!(
                            "/1.0/{collection}/{}",
                            member[key].as_str().expect("a name")
                        );
                        found.push((path, name.to_owned()));
                    }
                }
            };
            for collection in [
                "instances",
                "profiles",
                "networks",
                "network-acls",
                "network-zones",
                "projects",
                "storage-pools",
            ] {
                look(collection, "name");
            }
            look("images", "fingerprint");
            for pool in self
                .send(&Request::get("storage-pools"))
                .as_array()
                .expect("a list")
            {
                let pool = pool.as_str().expect("a path").trim_start_matches("/1.0/");
                look(&format!("{pool}/volumes/custom"), "name");
            }
        }
        found.retain(|(path, _)| !path.contains("/s0"));
        found
    }

    /// Has every mark on the server say that the lease ended long ago.
    pub(crate) fn expire(&self) {
        for (path, project) in self.marked() {
            let place = if path.starts_with("/1.0/images/") {
                "properties"
            } else {
                "config"
            };
            let live = self.send(&Request::get(path.as_str()).query("project", &project));
            // All of it: a PATCH of a project replaces its config.
            let mut marks = live[place].clone();
            marks["user.malleus.expires"] = "2020-01-01T00:00:00Z".into();
            let change = Request::patch(path).query("project", project);
            self.send(&change.json(json!({ place: marks })));
        }
    }

    /// What is there beyond what was at first.
    pub(crate) fn left(&self) -> Vec<String> {
        let now = self.inventory.look();
        now.difference(&self.before)
            .map(ToString::to_string)
            .collect()
    }

    pub(crate) fn is_clean(&self) -> Result<(), Vec<String>> {
        let left = self.left();
        if left.is_empty() { Ok(()) } else { Err(left) }
    }

    /// Where the program keeps journals, unless it is told otherwise.
    pub(crate) fn store(&self) -> PathBuf {
        self.folder.path().join(".local/state/malleus/runs")
    }

    pub(crate) fn journals(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.store()).into_iter().flatten();
        entries
            .map(|entry| entry.expect("an entry").path())
            .collect()
    }
}
