//! What runs with a lease leave is removed by anyone, once the lease has ended; and leases, and projects of a run's own.
#![allow(clippy::expect_used, reason = "helpers of tests may end them")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use malleus::client::{Client, Limit, Remote, Request, Wait};
use malleus::playbook::check;
use malleus::run::{Event, Provided, Session, Sink, Sweep, Sweeps, Verdict, new_id, run};
use malleus::secret::Masker;
use malleus::source::Source;
use malleus::template::Engine;
use malleus::tracking::Tracker;
use serde_json::{Value, json};
use support::daemon::{Daemon, Flavor, daemons};
use support::leftovers::{Inventory, Thing};
use support::program::{Ran, Running, malleus};
use support::proxy::Proxy;
use support::scripted::{Scripted, error, introduction, sync};

/// Something of everything that can carry marks, and some that goes along.
const EVERYTHING: &str = r#"
playbook: 1
name: everything
lease: 1h
inputs: {subnet: 10.79.1.1/24}
vars: {id: "{{ run.id }}"}
steps:
  - request: POST profiles
    body: {name: "p-{{ id }}", devices: {root: {type: disk, path: /, pool: default}}}
  - request: POST network-acls
    body: {name: "a-{{ id }}"}
  - request: POST network-zones
    body: {name: "{{ id }}.example"}
  - request: POST networks
    body: {name: "mg{{ id }}", type: bridge, config: {ipv4.address: "{{ subnet }}", ipv4.nat: "false", ipv6.address: none}}
  - request: POST storage-pools
    body: {name: "s-{{ id }}", driver: dir}
  - request: POST storage-pools/s-{{ id }}/volumes/custom
    body: {name: "v-{{ id }}"}
  - request: POST storage-pools/s-{{ id }}/volumes/custom/v-{{ id }}/snapshots
    body: {name: s0}
  - request: POST projects
    body: {name: "own-{{ id }}", config: {features.profiles: "true", features.images: "true"}}
  - request: POST profiles
    query: {project: "own-{{ id }}"}
    body: {name: inside}
  - request: POST projects
    body: {name: "shared-{{ id }}", config: {features.profiles: "false", features.images: "false"}}
  - request: POST profiles
    query: {project: "shared-{{ id }}"}
    body: {name: "q-{{ id }}"}
  - request: POST instances
    body: {name: "i-{{ id }}", profiles: ["p-{{ id }}"], source: {type: image, alias: busybox}}
  - request: PUT instances/i-{{ id }}/state
    body: {action: start}
  - request: POST instances/i-{{ id }}/snapshots
    body: {name: s0}
  - request: POST instances
    query: {project: "shared-{{ id }}"}
    body: {name: "i-{{ id }}", source: {type: image, alias: busybox}}
  - request: POST images
    body: {source: {type: snapshot, name: "i-{{ id }}/s0"}, compression_algorithm: none, aliases: [{name: "alias-{{ id }}"}]}
"#;

/// A run that a person may want to look at again.
const SMALL: &str = r#"
playbook: 1
name: small
lease: 1h
vars: {id: "{{ run.id }}"}
steps:
  - request: POST profiles
    body: {name: "p-{{ id }}", devices: {root: {type: disk, path: /, pool: default}}}
  - request: POST storage-pools/default/volumes/custom
    body: {name: "v-{{ id }}"}
outputs: {id: "{{ run.id }}"}
"#;

fn on_both(case: fn(Flavor)) {
    thread::scope(|threads| {
        for flavor in daemons() {
            threads.spawn(move || case(flavor));
        }
    });
}

/// A private daemon, what it held at first, and a folder for the program.
struct Ground {
    daemon: Daemon,
    client: Client,
    inventory: Inventory,
    before: BTreeSet<Thing>,
    folder: tempfile::TempDir,
}

impl Ground {
    fn new(flavor: Flavor) -> Self {
        let daemon = Daemon::start(flavor);
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
    fn start(&self, socket: &Path, arguments: &[&str]) -> Running {
        let elsewhere = tempfile::tempdir_in(self.folder.path())
            .expect("a folder")
            .keep();
        let mut program = malleus(self.folder.path());
        program.env("MALLEUS_STATE_DIR", elsewhere);
        program.args(arguments).arg("--remote").arg(socket);
        Running::start(&mut program, None)
    }

    fn malleus(&self, arguments: &[&str]) -> Ran {
        self.start(&self.daemon.socket, arguments).end()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).expect("written");
    }

    /// Runs a playbook, and leaves what it made.
    fn leave(&self, text: &str, arguments: &[&str]) -> BTreeSet<Thing> {
        let before = self.inventory.look();
        self.write("playbook.yaml", text);
        let mut whole = vec!["run", "playbook.yaml"];
        whole.extend(arguments);
        let ran = self.malleus(&whole);
        assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
        self.inventory.look().difference(&before).cloned().collect()
    }

    fn send(&self, request: &Request) -> Value {
        let wait = Wait::within(Limit::after("test", Duration::from_secs(60)));
        let done = self.client.run(request, &wait).expect("accepted");
        done.reply.metadata().clone()
    }

    /// What carries marks: path, project and the run.
    fn marked(&self) -> Vec<(String, String)> {
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
    fn expire(&self) {
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

    fn is_clean(&self) -> Result<(), Vec<String>> {
        let left: Vec<String> = self
            .inventory
            .look()
            .difference(&self.before)
            .map(ToString::to_string)
            .collect();
        if left.is_empty() { Ok(()) } else { Err(left) }
    }
}

#[test]
fn expired_runs_are_removed_by_anyone_and_living_ones_are_not() {
    on_both(|flavor| {
        let ground = Ground::new(flavor);
        let subnet = match flavor {
            Flavor::Incus => "subnet=10.79.1.1/24",
            Flavor::Lxd => "subnet=10.79.2.1/24",
        };
        let dead = ground.leave(EVERYTHING, &["--var", subnet]);
        assert!(dead.len() >= 12, "{dead:?}");
        let all = ground.malleus(&["gc"]);
        assert_eq!(all.code(), Some(0), "{}", all.stderr());
        assert!(
            all.stderr().contains("1 run with a lease that holds"),
            "{}",
            all.stderr()
        );
        ground.expire();
        let alive = ground.leave(SMALL, &[]);
        let with_both = ground.inventory.look();

        // A look changes nothing, and sends nothing that could.
        let proxy = Proxy::before(&ground.daemon.socket);
        let look = ground
            .start(&proxy.socket, &["gc", "--dry-run", "--format", "json"])
            .end();
        assert_eq!(look.code(), Some(0), "{}", look.stderr());
        let sent = proxy.requests();
        assert!(sent.iter().all(|line| line.starts_with("GET ")), "{sent:?}");
        assert_eq!(ground.inventory.look(), with_both);
        let listed: Value = serde_json::from_str(&look.stdout()).expect("JSON");
        assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
        assert_eq!(listed[0]["outcome"], "would_remove");
        assert_eq!(listed[0]["lease"], "ended");
        let table = ground.malleus(&["gc", "--dry-run"]).stdout();
        assert!(table.starts_with("RUN     LEASE"), "{table}");
        assert_eq!(
            table.lines().count() - 1,
            listed[0]["resources"].as_array().map_or(0, Vec::len),
            "{table}"
        );

        // Two at once do not get into each other's way.
        let both = [(), ()].map(|()| ground.start(&ground.daemon.socket, &["gc"]));
        for one in both.map(Running::end) {
            assert_eq!(one.code(), Some(0), "{flavor}: {}", one.stderr());
        }
        let left = ground.inventory.look();
        let wrong: Vec<&Thing> = left.intersection(&dead).collect();
        assert!(wrong.is_empty(), "{flavor}: {wrong:?}");
        assert!(alive.is_subset(&left), "{flavor}: {left:?}");
        assert!(ground.before.is_subset(&left), "{flavor}: {left:?}");

        // The one that lives ends by name.
        let id = ground.marked()[0]
            .0
            .rsplit('-')
            .next()
            .expect("an id")
            .to_owned();
        let named = ground.malleus(&["gc", "--run", &id]);
        assert_eq!(named.code(), Some(0), "{}", named.stderr());
        assert_eq!(ground.is_clean(), Ok(()), "{flavor}");
        let again = ground.malleus(&["gc", "--run", &id]);
        assert_eq!(again.code(), Some(0));
        assert!(
            again.stderr().contains("carries the mark"),
            "{}",
            again.stderr()
        );
    });
}

#[test]
fn what_is_in_use_is_named_and_removed_later() {
    on_both(|flavor| {
        let ground = Ground::new(flavor);
        ground.leave(SMALL, &[]);
        ground.expire();
        let profile = ground
            .marked()
            .into_iter()
            .find(|(path, _)| path.contains("/profiles/"));
        let profile = profile
            .expect("a profile")
            .0
            .rsplit('/')
            .next()
            .expect("a name")
            .to_owned();
        ground.send(&Request::post("instances").json(json!({
            "name": "foreign",
            "profiles": [profile],
            "source": {"type": "image", "alias": "busybox"},
        })));
        let ran = ground.malleus(&["gc", "--format", "json"]);
        assert_eq!(ran.code(), Some(4), "{}", ran.stderr());
        assert!(
            ran.stderr().contains(&format!("  - profile {profile}\n")),
            "{}",
            ran.stderr()
        );
        let outcome: Value = serde_json::from_str(&ran.stdout()).expect("JSON");
        assert_eq!(outcome[0]["outcome"], "left", "{outcome}");
        ground.send(&Request::delete("instances/foreign"));
        // At once: the claim was taken back.
        let again = ground.malleus(&["gc"]);
        assert_eq!(again.code(), Some(0), "{}", again.stderr());
        assert!(
            again.stderr().contains("1 resource of 1 run removed"),
            "{}",
            again.stderr()
        );
        assert_eq!(ground.is_clean(), Ok(()), "{flavor}");
    });
}

#[test]
fn a_claim_of_somebody_else_is_left_alone_until_it_is_stale() {
    on_both(|flavor| {
        let ground = Ground::new(flavor);
        ground.leave(SMALL, &[]);
        ground.expire();
        let volume = ground
            .marked()
            .into_iter()
            .find(|(path, _)| path.contains("/volumes/"));
        let volume = volume.expect("a volume").0;
        let claim = |age: u64| {
            let since = SystemTime::now() - Duration::from_secs(age);
            let text = format!("{} other", humantime::format_rfc3339_seconds(since));
            let body = json!({"config": {"user.malleus.gc": text}});
            ground.send(&Request::patch(volume.as_str()).json(body));
        };
        claim(30);
        let held = ground.inventory.look();
        let ran = ground.malleus(&["gc"]);
        assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
        assert!(
            ran.stderr().contains("somebody else began to remove it 30"),
            "{}",
            ran.stderr()
        );
        assert_eq!(ground.inventory.look(), held);
        claim(200);
        let ran = ground.malleus(&["gc"]);
        assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
        assert_eq!(ground.is_clean(), Ok(()), "{flavor}");
    });
}

#[test]
fn a_run_in_progress_here_is_not_removed() {
    on_both(|flavor| {
        let ground = Ground::new(flavor);
        ground.write("playbook.yaml", SMALL);
        let state = ground.folder.path().join("state");
        let start = |arguments: &[&str]| {
            let mut program = malleus(ground.folder.path());
            program
                .env("MALLEUS_STATE_DIR", &state)
                .args(["--remote"])
                .arg(&ground.daemon.socket);
            Running::start(program.args(arguments), None)
        };
        let living = start(&[
            "with",
            "playbook.yaml",
            "--",
            "sh",
            "-c",
            "echo $MALLEUS_ID > id; while [ ! -e end ]; do sleep 0.1; done",
        ]);
        let file = ground.folder.path().join("id");
        let patience = Instant::now();
        let id = loop {
            let text = fs::read_to_string(&file).unwrap_or_default();
            if text.ends_with('\n') {
                break text.trim().to_owned();
            }
            assert!(
                patience.elapsed() < Duration::from_secs(60),
                "it does not begin"
            );
            thread::sleep(Duration::from_millis(20));
        };
        let held = ground.inventory.look();
        ground.expire();
        for (arguments, code) in [(&["gc", "--run", &id][..], 1), (&["gc"], 0)] {
            let ran = start(arguments).end();
            assert_eq!(ran.code(), Some(code), "{}", ran.stderr());
            let said = format!("run {id}: it is still in progress on this machine");
            assert!(ran.stderr().contains(&said), "{}", ran.stderr());
        }
        assert_eq!(ground.inventory.look(), held);
        ground.write("end", "");
        let ended = living.end();
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr());
        assert_eq!(ground.is_clean(), Ok(()), "{flavor}");
    });
}

#[test]
fn a_server_that_cannot_be_reached_is_said_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut program = malleus(folder.path());
    let ran = Running::start(
        program.args(["gc", "--remote", "/nowhere/unix.socket"]),
        None,
    )
    .end();
    assert_eq!(ran.code(), Some(3), "{}", ran.stderr());
}

/// Tells nobody.
struct Silent;

impl Sink for Silent {
    fn event(&self, _: Event) {}
}

#[test]
fn a_lease_is_renewed_also_where_its_bearer_goes() {
    const LONG: &str = r#"
playbook: 1
name: long
lease: 1h
vars: {id: "{{ run.id }}"}
steps:
  - request: POST profiles
    body: {name: "p-{{ id }}"}
  - request: POST storage-pools/default/volumes/custom
    body: {name: "v-{{ id }}"}
  - request: GET profiles/p-{{ id }}
    capture: {at_first: metadata.config}
  - exec: {instance: shared, command: [sleep, "4.5"]}
  - request: GET storage-pools/default/volumes/custom/v-{{ id }}
    capture: {on_volume: metadata.config}
  - request: GET profiles/p-{{ id }}
    capture: {still: metadata.config}
  - request: DELETE storage-pools/default/volumes/custom/v-{{ id }}
  - exec: {instance: shared, command: [sleep, "4.5"]}
  - request: GET profiles/p-{{ id }}
    capture: {on_profile: metadata.config}
outputs:
  first: "{{ at_first['user.malleus.expires'] }}"
  volume: "{{ on_volume['user.malleus.expires'] }}"
  still: "{{ still['user.malleus.expires'] }}"
  profile: "{{ on_profile['user.malleus.expires'] }}"
"#;
    on_both(|flavor| {
        let ground = Ground::new(flavor);
        let engine = Engine::new();
        let source = Source::new(Path::new("long.yaml"), LONG);
        let mut plan = check(&source, &engine).plan.expect("a plan");
        plan.lease = Some(Duration::from_secs(6));
        let tracker = Tracker::default();
        let outputs = std::sync::Mutex::new(None);
        let session = Session {
            client: ground.client.clone(),
            remotes: &|name| Client::connect(&Remote::parse(name)?),
            inputs: indexmap::IndexMap::new(),
            environment: &|_| None,
            engine: &engine,
            masker: &Masker::default(),
            id: new_id(),
            started: SystemTime::now(),
            width: 2,
            tracker: &tracker,
            sweeps: Sweeps::always(Sweep::Everything),
            cleanup: Duration::from_secs(60),
            interlude: Some(&|given: &Provided<'_>| {
                *outputs.lock().expect("no panic") = Some(given.outputs.clone());
                Verdict::Fine
            }),
            examination: None,
        };
        let summary = run(&plan, &session, &Silent);
        assert_eq!(
            (summary.failed, summary.left.len()),
            (0, 0),
            "{flavor}: {summary:?}"
        );
        let outputs = outputs.into_inner().expect("no panic").expect("outputs");
        let at = |name: &str| outputs[name].as_str().expect("a time").to_owned();
        assert!(at("volume") > at("first"), "{flavor}: {outputs:?}");
        assert_eq!(at("still"), at("first"), "one bears it: {outputs:?}");
        assert!(at("profile") > at("volume"), "{flavor}: {outputs:?}");
        assert_eq!(ground.is_clean(), Ok(()), "{flavor}");
    });
}

#[test]
fn a_renewal_that_fails_does_not_break_the_run() {
    let text = "playbook: 1\nname: refused\nlease: 1h\nsteps:\n  - request: POST profiles\n    body: {name: p}\n  - request: GET slow\n  - request: GET slow\n";
    let none = error(404, 404, "not found");
    let refused = error(500, 500, "no");
    let slow = support::scripted::Answer::Slow(Duration::from_secs(2), Box::new(sync(&json!({}))));
    let server = Scripted::serve(&[
        ("GET /1.0/profiles/p", &[none, refused]),
        ("POST /1.0/profiles", &[sync(&json!({}))]),
        ("DELETE /1.0/profiles/p", &[sync(&json!({}))]),
        ("GET /1.0/slow", &[slow]),
    ]);
    let engine = Engine::new();
    let source = Source::new(Path::new("refused.yaml"), text);
    let mut plan = check(&source, &engine).plan.expect("a plan");
    plan.lease = Some(Duration::from_secs(3));
    let tracker = Tracker::default();
    let session = Session {
        client: Client::connect(&Remote::Unix(server.socket.clone())).expect("connected"),
        remotes: &|name| Client::connect(&Remote::parse(name)?),
        inputs: indexmap::IndexMap::new(),
        environment: &|_| None,
        engine: &engine,
        masker: &Masker::default(),
        id: new_id(),
        started: SystemTime::now(),
        width: 2,
        tracker: &tracker,
        sweeps: Sweeps::always(Sweep::Everything),
        cleanup: Duration::from_secs(60),
        interlude: None,
        examination: None,
    };
    let summary = run(&plan, &session, &Silent);
    assert_eq!((summary.failed, summary.left.len()), (0, 0), "{summary:?}");
    let looks = server
        .lines()
        .iter()
        .filter(|line| *line == "GET /1.0/profiles/p")
        .count();
    assert!(looks > 2, "it was tried again: {:?}", server.lines());
}

#[test]
fn who_may_not_make_a_project_is_told_what_to_do_instead() {
    let text =
        "playbook: 1\nname: isolated\nisolate: project\nsteps:\n  - request: GET instances\n";
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("playbook.yaml"), text).expect("written");
    for (brand, code, words) in [
        ("lxd", 403, "not authorized"),
        ("lxd", 403, "Certificate is restricted"),
        (
            "incus",
            500,
            "User does not have permissions for project \"isolated\"",
        ),
    ] {
        let greeting = match introduction() {
            support::scripted::Answer::Json(status, mut body) => {
                body["metadata"]["environment"]["server"] = brand.into();
                support::scripted::Answer::Json(status, body)
            }
            other => other,
        };
        let server = Scripted::serve(&[
            ("GET /1.0", &[greeting]),
            ("POST /1.0/projects", &[error(code, code, words)]),
        ]);
        let mut program = malleus(folder.path());
        program
            .args(["test", "playbook.yaml", "--remote"])
            .arg(&server.socket);
        let ran = Running::start(&mut program, None).end();
        assert_eq!(ran.code(), Some(1), "{}", ran.stderr());
        let said = ran.stderr();
        assert!(said.contains(words), "{said}");
        assert!(
            said.contains("leave `isolate` away and name one of its projects"),
            "{said}"
        );
        assert!(
            !server
                .lines()
                .iter()
                .any(|line| line.contains("/instances")),
            "{said}"
        );
    }
}

#[test]
fn two_isolated_runs_with_fixed_names_do_not_meet() {
    const FIXED: &str = r#"
playbook: 1
name: fixed
isolate: project
steps:
  - request: POST storage-pools/default/volumes/custom
    body: {name: data}
  - request: POST instances
    body: {name: web, profiles: [default], source: {type: image, alias: busybox}}
  - request: PUT instances/web/state
    body: {action: start}
  - exec: {instance: web, command: [hostname]}
    expect: {stdout: "web\n"}
"#;
    on_both(|flavor| {
        let ground = Ground::new(flavor);
        ground.write("fixed.yaml", FIXED);
        let both = [(), ()].map(|()| ground.start(&ground.daemon.socket, &["test", "fixed.yaml"]));
        for one in both.map(Running::end) {
            assert_eq!(one.code(), Some(0), "{flavor}: {}", one.stderr());
        }
        assert_eq!(ground.is_clean(), Ok(()), "{flavor}");
    });
}
