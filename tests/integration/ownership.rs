//! What `down` may remove on real daemons: the run's own alone, and all of that.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::daemon::Generation;
use crate::support::ground::{Ground, on_both};
use crate::support::leftovers::SHARED;
use crate::support::program::{Ran, Running, malleus};
use malleus::client::Request;
use serde_json::json;

/// One of each kind that is recognised in another way, and one of a kind that nothing tells apart.
const OF_EACH: &str = r"
playbook: 1
name: lab
steps:
  - request: POST storage-pools/default/volumes/custom
    body: {name: lab-volume}
  - request: POST profiles
    body: {name: lab-profile}
  - request: POST projects
    body: {name: lab-project}
  - request: POST instances
    body: {name: lab-web, source: {type: none}}
  - request: POST instances/shared/snapshots
    body: {name: lab-snapshot}
";

/// What somebody else makes under the same names.
fn anew() -> [(&'static str, &'static str, serde_json::Value); 5] {
    let volumes = "storage-pools/default/volumes/custom";
    [
        (volumes, "lab-volume", json!({})),
        ("profiles", "lab-profile", json!({})),
        ("projects", "lab-project", json!({})),
        (
            "instances",
            "lab-web",
            json!({"source": {"type": "none"}, "config": {"user.owner": "another"}}),
        ),
        ("instances/shared/snapshots", "lab-snapshot", json!({})),
    ]
}

/// The program with the journals of a user, on the ground's daemon.
fn malleus_on(ground: &Ground, arguments: &[&str]) -> Ran {
    let mut program = malleus(ground.folder.path());
    program.env("MALLEUS_REMOTE", &ground.daemon.socket);
    Running::start(program.args(arguments), None).end()
}

fn told(generation: Generation, ran: &Ran) -> String {
    format!("{generation}\n{}\n{}", ran.stdout(), ran.stderr())
}

#[test]
fn what_somebody_else_has_made_anew_stays() {
    on_both(|generation| {
        let ground = Ground::new(generation);
        ground.write("lab.yaml", OF_EACH);
        let up = malleus_on(&ground, &["up", "lab.yaml", "--name", "lab"]);
        assert_eq!(up.code(), Some(0), "{}", told(generation, &up));
        for (collection, name, body) in anew() {
            ground.send(&Request::delete(format!("{collection}/{name}")));
            // LXD gives snapshots whole seconds.
            thread::sleep(Duration::from_millis(1100));
            let mut body = body;
            body["name"] = name.into();
            ground.send(&Request::post(collection).json(body));
        }
        let theirs = ground.left();
        let preview = malleus_on(&ground, &["down", "lab", "--dry-run"]);
        assert_eq!(preview.code(), Some(0), "{}", told(generation, &preview));
        let listed = preview
            .stdout()
            .matches("made anew by somebody else")
            .count();
        assert_eq!(listed, 5, "{}", told(generation, &preview));
        let down = malleus_on(&ground, &["down", "lab"]);
        assert_eq!(down.code(), Some(0), "{}", told(generation, &down));
        let spared = down.stderr().matches("left alone").count();
        assert_eq!(spared, 5, "{}", told(generation, &down));
        assert_eq!(ground.left(), theirs, "{}", told(generation, &down));
        assert!(ground.journals().is_empty());
    });
}

#[test]
fn what_is_moved_renamed_restored_and_replaced_is_still_the_runs_own() {
    on_both(|generation| {
        let ground = Ground::new(generation);
        ground.write(
            "lab.yaml",
            r"
playbook: 1
name: lab
steps:
  - request: POST storage-pools
    body: {name: lab-pool, driver: dir}
  - request: POST storage-pools/default/volumes/custom
    body: {name: lab-volume}
  - request: POST storage-pools/default/volumes/custom/lab-volume
    body: {name: lab-volume, pool: lab-pool}
  - request: POST instances
    body: {name: lab-web, source: {type: image, alias: busybox}}
  - request: POST instances/lab-web/snapshots
    body: {name: s0}
  - request: PUT instances/lab-web
    body: {restore: s0}
  - request: POST instances/lab-web
    body: {name: lab-moved}
  - request: POST instances/lab-moved
    body: {name: lab-moved, pool: lab-pool, migration: true}
  - request: POST profiles
    body: {name: lab-profile}
  - request: PUT profiles/lab-profile
    body: {config: {user.a: '1'}}
",
        );
        let up = malleus_on(&ground, &["up", "lab.yaml", "--name", "lab"]);
        assert_eq!(up.code(), Some(0), "{}", told(generation, &up));
        let down = malleus_on(&ground, &["down", "lab"]);
        assert_eq!(down.code(), Some(0), "{}", told(generation, &down));
        assert_eq!(ground.is_clean(), Ok(()), "{}", told(generation, &down));
    });
}

#[test]
fn commands_that_still_run_for_a_killed_run_are_ended() {
    on_both(|generation| {
        let ground = Ground::new(generation);
        ground.write(
            "sleeper.yaml",
            r#"
playbook: 1
name: sleeper
steps:
  - ensure: instances/own-{{ run.id }}
    body: {source: {type: image, alias: busybox}}
    state: running
  - parallel:
      - exec: {instance: shared, shell: "sleep 4321 & sleep 4321"}
      - exec: {instance: shared, command: [sleep, "4321"], stream: true}
      - exec: {instance: "own-{{ run.id }}", command: [sleep, "4321"]}
"#,
        );
        let mut program = malleus(ground.folder.path());
        program.env("MALLEUS_REMOTE", &ground.daemon.socket);
        let running = Running::start(program.args(["test", "sleeper.yaml"]), None);
        let begun = Instant::now();
        let is_asleep = || {
            let left = ground.left();
            let number = |what: &str| left.iter().filter(|line| line.contains(what)).count();
            number("process") > 0 && number("of shared") > 0 && number("of own-") > 0
        };
        while !is_asleep() {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "{:?}",
                ground.left()
            );
            thread::sleep(Duration::from_millis(200));
        }
        thread::sleep(Duration::from_millis(500));
        running.signal("KILL");
        running.end();
        let start = Instant::now();
        let down = malleus_on(&ground, &["down", "--all", "--cleanup-timeout", "60s"]);
        assert_eq!(down.code(), Some(0), "{}", told(generation, &down));
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{}",
            told(generation, &down)
        );
        assert_eq!(
            ground.is_clean(),
            Ok(()),
            "{} in {SHARED}",
            told(generation, &down)
        );
    });
}

#[test]
fn what_an_older_journal_holds_is_left_until_somebody_insists() {
    on_both(|generation| {
        let ground = Ground::new(generation);
        ground.send(&Request::post("profiles").json(json!({"name": "old"})));
        let socket = ground.daemon.socket.display();
        let line = |entry: serde_json::Value| {
            json!({"at": "2026-01-01T00:00:00Z", "entry": entry}).to_string()
        };
        let header = json!({"run": {"journal": 1, "run": "oldrun", "playbook": "p", "file": "/p.yaml", "started": "2026-01-01T00:00:00Z"}});
        let resource =
            json!({"path": "/1.0/profiles/old", "remote": socket.to_string(), "extent": "itself"});
        let made = json!({"create": {"number": 0, "resource": resource, "state": "made"}});
        fs::create_dir_all(ground.store()).expect("a folder");
        let text = format!("{}\n{}\n", line(header), line(made));
        fs::write(ground.store().join("oldrun.jsonl"), text).expect("a journal");
        let down = malleus_on(&ground, &["down", "--all"]);
        assert_eq!(down.code(), Some(4), "{}", told(generation, &down));
        for words in ["  - profile old\n", "--force-unknown"] {
            assert!(down.stderr().contains(words), "{}", told(generation, &down));
        }
        assert_eq!(ground.left(), ["profile old"]);
        let down = malleus_on(&ground, &["down", "oldrun", "--force-unknown"]);
        assert_eq!(down.code(), Some(0), "{}", told(generation, &down));
        assert_eq!(ground.is_clean(), Ok(()));
        assert!(ground.journals().is_empty());
    });
}
