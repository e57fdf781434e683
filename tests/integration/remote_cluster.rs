//! Clusters over HTTPS: a fleet over the members, and members that die.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::cluster::Cluster;
use crate::support::daemon::daemons;
use crate::support::program::{LONGEST, Ran, Running, malleus};
use malleus::client::{Operation, Request, Token};
use serde_json::{Value, json};

const FLEET: &str = "
playbook: 1
name: fleet
steps:
  - for_each: server.members
    concurrency: 3
    request: POST /1.0/instances
    query: {target: '{{ item }}'}
    body:
      name: 'on-{{ item }}'
      source: {type: image, alias: busybox}
  - for_each: server.members
    concurrency: 3
    steps:
      - request: PUT /1.0/instances/on-{{ item }}/state
        body: {action: start}
      - exec: {instance: 'on-{{ item }}', command: [echo, hello]}
        expect: {stdout: \"hello\\n\"}
      - request: GET /1.0/instances/on-{{ item }}
        expect: {metadata: {location: '{{ item }}'}}
outputs:
  members: '{{ server.members }}'
";

/// Commands that are there while a member dies; the second part is on another member than the first.
const LONG: &str = "
playbook: 1
name: long
steps:
  - parallel:
      - exec: {instance: on-n2, command: [sh, -c, 'touch /tmp/begun; sleep 8; echo done']}
        expect: {stdout: \"done\\n\"}
      - exec: {instance: on-n3, command: [sh, -c, 'sleep 8; echo done']}
        expect: {stdout: \"done\\n\"}
  - request: GET /1.0/instances/on-n2
";

fn run(home: &Path, arguments: &[&str]) -> Ran {
    let mut command = malleus(home);
    command.args(arguments);
    let ran = Running::start(&mut command, None).end_within(LONGEST * 2);
    ran.unwrap_or_else(|ran| panic!("{arguments:?} hangs: {}", ran.stderr()))
}

fn good(home: &Path, arguments: &[&str]) -> String {
    let ran = run(home, arguments);
    assert_eq!(ran.code(), Some(0), "{arguments:?}: {}", ran.stderr());
    format!("{}{}", ran.stdout(), ran.stderr())
}

/// The instances, asked for through a member.
fn instances(cluster: &Cluster, member: usize) -> Vec<String> {
    let reply = cluster.members[member]
        .connect()
        .request(&Request::get("instances?recursion=1"))
        .expect("a list");
    let mut all: Vec<String> = reply
        .metadata()
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["name"].as_str().expect("a name").to_owned())
        .collect();
    all.sort();
    all
}

/// Waits until the other members have heard of one. Incus 7 asks nothing of it before.
fn wait_until_online(cluster: &Cluster, member: usize) {
    let ask = Request::get(format!("cluster/members/{}", cluster.members[member].name));
    let begun = Instant::now();
    loop {
        let reply = cluster.members[0].connect().request(&ask).unwrap();
        if reply.metadata()["status"] == "Online" {
            return;
        }
        assert!(begun.elapsed() < LONGEST, "{}", reply.metadata());
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_fleet_lives_on_all_members_and_outlives_some_of_them() {
    for flavor in daemons() {
        println!("--- {flavor}");
        let mut cluster = Cluster::start(flavor);
        let _network = cluster.enter_network();
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path();
        let ask = json!({"name": "test", "type": "client", "token": true});
        let reply = cluster.members[0]
            .connect()
            .request(&Request::post("certificates").json(ask))
            .unwrap();
        let token = Token::of(&Operation::from_value(reply.metadata()).unwrap()).unwrap();
        good(home, &["remote", "add", "cl", &token.joined()]);
        let listed: Value =
            serde_json::from_str(&run(home, &["remote", "list", "--format", "json"]).stdout())
                .unwrap();
        assert_eq!(
            listed[0]["addresses"].as_array().unwrap().len(),
            3,
            "{listed:#}"
        );
        let doctor = good(home, &["doctor", "cl"]);
        assert!(doctor.contains("member of a cluster"), "{doctor}");

        fs::write(home.join("fleet.yaml"), FLEET).unwrap();
        fs::write(home.join("long.yaml"), LONG).unwrap();
        let begun = Instant::now();
        let said = good(home, &["up", "fleet.yaml", "--remote", "cl"]);
        println!("up: {:?}", begun.elapsed());
        assert!(said.contains("n1") && said.contains("n3"), "{said}");
        assert_eq!(instances(&cluster, 1), ["on-n1", "on-n2", "on-n3"]);

        // The leader, which is also the member that we talk to, dies while commands run on the others.
        let mut command = malleus(home);
        command.args(["run", "long.yaml", "--remote", "cl"]);
        let running = Running::start(&mut command, None);
        std::thread::sleep(Duration::from_secs(3));
        let begun = Instant::now();
        cluster.members[0].daemon.kill();
        let ran = running.end_within(LONGEST).expect("it ends");
        println!("leader killed: {:?}\n{}", begun.elapsed(), ran.stderr());
        assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
        cluster.members[0].daemon.restart();

        // A member dies while a command runs on it.
        let mut command = malleus(home);
        command.args(["run", "long.yaml", "--remote", "cl"]);
        let running = Running::start(&mut command, None);
        std::thread::sleep(Duration::from_secs(3));
        let begun = Instant::now();
        cluster.members[2].daemon.kill();
        let ran = running
            .end_within(LONGEST)
            .unwrap_or_else(|ran| panic!("{}", ran.stderr()));
        println!("member killed: {:?}\n{}", begun.elapsed(), ran.stderr());
        // What the command printed is on the dead member too.
        assert_eq!(ran.code(), Some(4), "{}", ran.stderr());
        assert!(
            begun.elapsed() < Duration::from_secs(110),
            "{:?}",
            begun.elapsed()
        );
        assert!(
            ran.stderr().contains("a member of the cluster is away"),
            "{}",
            ran.stderr()
        );

        // What is on the others is removed, what is on the dead one is named, and removed once it is back.
        let begun = Instant::now();
        let ran = run(home, &["down", "fleet", "--cleanup-timeout", "60s"]);
        println!("down: {:?}\n{}", begun.elapsed(), ran.stderr());
        assert_eq!(ran.code(), Some(4), "{}", ran.stderr());
        assert!(
            ran.stderr().contains("- instance on-n3"),
            "{}",
            ran.stderr()
        );
        assert_eq!(instances(&cluster, 0), ["on-n3"]);
        cluster.members[2].daemon.restart();
        wait_until_online(&cluster, 2);
        // The member is online a while before it answers for its instances: what could not be looked at is tried again.
        let mut said = String::new();
        for _ in 0..5 {
            let ran = run(home, &["down", "--all", "--cleanup-timeout", "60s"]);
            said.push_str(&ran.stderr());
            if ran.code() == Some(0) {
                break;
            }
        }
        assert!(said.contains("fleet") && said.contains("long"), "{said}");
        let again = good(home, &["down", "--all"]);
        assert!(again.contains("nothing is left"), "{again}");
        assert!(instances(&cluster, 0).is_empty());
    }
}
