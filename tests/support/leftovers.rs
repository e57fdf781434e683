//! What a daemon holds, so that a test can say what it left.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use malleus::client::{Client, Exec, Limit, Remote, Request, Stdio, Wait};
use serde_json::{Value, json};

use super::daemon::Daemon;

/// The running instance that cases may use: none of them may leave anything in it.
pub(crate) const SHARED: &str = "shared";

/// Something in a daemon.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Thing {
    /// What it is. In the order of removal: a project goes last.
    kind: Kind,
    project: String,
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Process,
    Operation,
    Log,
    Instance,
    Stopped,
    Alias,
    Image,
    Profile,
    Volume,
    Network,
    Acl,
    Zone,
    Pool,
    Project,
}

impl std::fmt::Display for Thing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            Kind::Process => "process",
            Kind::Operation => "operation",
            Kind::Log => "recorded output",
            Kind::Instance => "running instance",
            Kind::Stopped => "stopped instance",
            Kind::Alias => "image alias",
            Kind::Image => "image",
            Kind::Profile => "profile",
            Kind::Volume => "volume",
            Kind::Network => "network",
            Kind::Acl => "network ACL",
            Kind::Zone => "network zone",
            Kind::Pool => "storage pool",
            Kind::Project => "project",
        };
        write!(f, "{kind} {}", self.name)?;
        if self.project != "default" {
            write!(f, " in project {}", self.project)?;
        }
        Ok(())
    }
}

fn wait() -> Wait<'static> {
    Wait::within(Limit::after("test", Duration::from_secs(60)))
}

/// A daemon as a test sees it, past the program.
pub(crate) struct Inventory {
    client: Client,
}

/// Work that daemons begin by themselves, after their start above all.
const OWN_TASKS: [&str; 7] = [
    "Cleaning up expired",
    "Expiring log files",
    "Pruning",
    "Renewing server certificate",
    "Synchronizing",
    "Updating images",
    "Updating instance types",
];

impl Inventory {
    /// Connects, and starts the instance that cases share.
    pub(crate) fn of(daemon: &Daemon) -> Inventory {
        Self::at(&daemon.socket)
    }

    /// The same for whatever listens on a socket.
    pub(crate) fn at(socket: &Path) -> Inventory {
        let client = Client::connect(&Remote::Unix(socket.to_owned())).expect("connected");
        let inventory = Inventory { client };
        let create = Request::post("instances").json(json!({
            "name": SHARED,
            "source": {"type": "image", "alias": "busybox"},
        }));
        inventory.client.run(&create, &wait()).expect("created");
        Self::change_state(&inventory.client, SHARED, "start");
        inventory
    }

    fn change_state(client: &Client, instance: &str, action: &str) {
        let state = Request::put(format!("instances/{instance}/state"))
            .json(json!({"action": action, "force": true, "timeout": 30}));
        client.run(&state, &wait()).ok();
    }

    fn list(client: &Client, path: &str) -> Vec<Value> {
        let reply = client.send(&Request::get(path)).expect("a reply");
        reply.metadata().as_array().cloned().unwrap_or_default()
    }

    /// Everything that a run could leave.
    pub(crate) fn look(&self) -> BTreeSet<Thing> {
        let mut things = BTreeSet::new();
        let pools: Vec<String> = Self::list(&self.client, "storage-pools?recursion=1")
            .iter()
            .map(|pool| text(&pool["name"]))
            .collect();
        for pool in &pools {
            things.insert(Thing {
                kind: Kind::Pool,
                project: "default".into(),
                name: pool.clone(),
            });
        }
        for described in Self::list(&self.client, "projects?recursion=1") {
            let project = text(&described["name"]);
            let client = self.client.with_project(&project);
            // Without the feature a project shows what is in `default`.
            let has_own = |what: &str| described["config"][format!("features.{what}")] == "true";
            let mut note = |kind: Kind, name: String| {
                things.insert(Thing {
                    kind,
                    project: project.clone(),
                    name,
                });
            };
            for instance in Self::list(&client, "instances?recursion=1") {
                let name = text(&instance["name"]);
                let running = instance["status"] == "Running";
                for log in Self::logs(&client, &name) {
                    note(Kind::Log, format!("{log} of {name}"));
                }
                note(
                    if running {
                        Kind::Instance
                    } else {
                        Kind::Stopped
                    },
                    name,
                );
            }
            for (feature, kind, path, key) in [
                ("images", Kind::Alias, "images/aliases", "name"),
                ("images", Kind::Image, "images", "fingerprint"),
                ("profiles", Kind::Profile, "profiles", "name"),
                ("networks", Kind::Network, "networks", "name"),
                ("networks", Kind::Acl, "network-acls", "name"),
                ("networks", Kind::Zone, "network-zones", "name"),
            ] {
                if has_own(feature) {
                    for object in Self::list(&client, &format!("{path}?recursion=1")) {
                        // Interfaces that are merely there are listed as networks too.
                        if kind != Kind::Network || object["managed"] == true {
                            note(kind, text(&object[key]));
                        }
                    }
                }
            }
            for pool in pools.iter().filter(|_| has_own("storage.volumes")) {
                let custom = format!("storage-pools/{pool}/volumes/custom");
                for volume in Self::list(&client, &format!("{custom}?recursion=1")) {
                    note(Kind::Volume, format!("{pool}/{}", text(&volume["name"])));
                }
            }
            let operations = client
                .send(&Request::get("operations?recursion=1"))
                .expect("a reply");
            for operation in operations.metadata()["running"]
                .as_array()
                .into_iter()
                .flatten()
            {
                let description = text(&operation["description"]);
                if !OWN_TASKS.iter().any(|task| description.starts_with(task)) {
                    note(Kind::Operation, description);
                }
            }
            note(Kind::Project, project.clone());
        }
        for process in self.processes() {
            things.insert(Thing {
                kind: Kind::Process,
                project: "default".into(),
                name: process,
            });
        }
        things
    }

    fn logs(client: &Client, instance: &str) -> Vec<String> {
        let folders = ["logs", "logs/exec-output"];
        let listed = folders
            .iter()
            .flat_map(|folder| Self::list(client, &format!("instances/{instance}/{folder}")));
        let files = listed.map(|path| {
            text(&path)
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned()
        });
        files.filter(|file| file.starts_with("exec_")).collect()
    }

    /// Commands in the shared instance beside its own.
    fn processes(&self) -> Vec<String> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let io = Stdio {
            stdin: None,
            stdout: &mut stdout,
            stderr: &mut stderr,
            signals: None,
        };
        let exec = Exec::new(SHARED, ["ps", "-o", "args"]);
        if let Err(error) = self.client.exec_stream(&exec, io, &wait()) {
            return vec![format!("cannot be told: {error}")];
        }
        let listed = String::from_utf8_lossy(&stdout).into_owned();
        let own = ["COMMAND", "init", "sleep 86400", "ps -o args"];
        let lines = listed.lines().map(str::trim);
        lines
            .filter(|line| !own.iter().any(|own| line.contains(own)))
            .map(str::to_owned)
            .collect()
    }

    /// Removes what a case left, so that the next one does not find it.
    #[allow(
        dead_code,
        reason = "cases remove what others left; tests have daemons of their own"
    )]
    pub(crate) fn remove(&self, things: &BTreeSet<Thing>) {
        for thing in things {
            let client = self.client.with_project(&thing.project);
            let name = malleus::client::encode(&thing.name);
            let path = match thing.kind {
                Kind::Instance => {
                    Self::change_state(&client, &name, "stop");
                    format!("instances/{name}")
                }
                Kind::Stopped => format!("instances/{name}"),
                Kind::Alias => format!("images/aliases/{name}"),
                Kind::Image => format!("images/{name}"),
                Kind::Profile => format!("profiles/{name}"),
                Kind::Volume => {
                    let (pool, volume) = thing.name.split_once('/').unwrap_or_default();
                    let volume = malleus::client::encode(volume);
                    format!("storage-pools/{pool}/volumes/custom/{volume}")
                }
                Kind::Network => format!("networks/{name}"),
                Kind::Acl => format!("network-acls/{name}"),
                Kind::Zone => format!("network-zones/{name}"),
                Kind::Pool => format!("storage-pools/{name}"),
                Kind::Project => format!("projects/{name}"),
                Kind::Process | Kind::Operation | Kind::Log => continue,
            };
            let delete = Request::delete(path);
            let passes = |error: &malleus::client::Error| error.is_transient();
            for _ in 0..20 {
                if !client.run(&delete, &wait()).is_err_and(|e| passes(&e)) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        let now = self.look();
        let ends_itself =
            |thing: &Thing| matches!(thing.kind, Kind::Process | Kind::Operation | Kind::Log);
        let rest: Vec<&Thing> = things
            .intersection(&now)
            .filter(|thing| !ends_itself(thing))
            .collect();
        assert!(rest.is_empty(), "cannot be removed: {rest:?}");
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
