//! What runs with a lease leave is removed by anyone, once the lease has ended.

use std::fs;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::support::ground::{Ground, on_both};
use crate::support::leftovers::Thing;
use crate::support::program::{Running, malleus};
use crate::support::proxy::Proxy;
use malleus::client::Request;
use serde_json::{Value, json};

/// Something of everything that can carry marks, and some that goes along.
const EVERYTHING: &str = r#"
playbook: 1
name: everything
lease: 1h
vars: {id: "{{ run.id }}"}
steps:
  - request: POST profiles
    body: {name: "p-{{ id }}", devices: {root: {type: disk, path: /, pool: default}}}
  - request: POST network-acls
    body: {name: "a-{{ id }}"}
  - request: POST network-zones
    body: {name: "{{ id }}.example"}
  - request: POST networks
    body: {name: "mg{{ id }}", type: bridge, config: {ipv4.address: 10.79.1.1/24, ipv4.nat: "false", ipv6.address: none}}
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

#[test]
fn expired_runs_are_removed_by_anyone_and_living_ones_are_not() {
    on_both(|flavor| {
        let ground = Ground::new(flavor);
        let dead = ground.leave(EVERYTHING, &[]);
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
            ran.stderr().contains("somebody else began to remove it 3"),
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
