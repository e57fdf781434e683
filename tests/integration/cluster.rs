//! Real clusters: three members of each brand on this machine.

use std::path::Path;

use crate::support::cluster::Cluster;
use crate::support::daemon::daemons;
use crate::support::program::malleus;
use malleus::client::Request;

#[test]
fn real_clusters_run_the_scenario_and_answer_as_simulated_ones_do() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut wrong: Vec<String> = Vec::new();
    for flavor in daemons() {
        println!("--- {flavor}");
        let cluster = Cluster::start(flavor);
        let _network = cluster.enter_network();
        for member in &cluster.members {
            std::net::TcpStream::connect(&member.address).expect("it listens");
        }
        // Any member will do: the last one is not the one that began.
        for member in [&cluster.members[0], &cluster.members[2]] {
            let ran = malleus(root)
                .args(["run", "scenarios/cluster.yaml", "--remote"])
                .arg(&member.daemon.socket)
                .output()
                .expect("malleus runs");
            let said = String::from_utf8_lossy(&ran.stderr).into_owned();
            assert!(ran.status.success(), "{flavor} {}: {said}", member.name);
            for step in ["One instance on each", "Each is where it should be"] {
                let last = format!("✓ {step} [3/3]");
                assert!(said.contains(&last), "{flavor} {}: {said}", member.name);
            }
            assert!(said.contains("3 cleaned up"), "{flavor}: {said}");
        }
        let left = cluster.members[1]
            .connect()
            .request(&Request::get("instances"))
            .expect("a list");
        assert_eq!(left.metadata(), &serde_json::json!([]), "{flavor}");
        if flavor == flavor.flavor().into() {
            wrong.extend(compare(&cluster, flavor.flavor()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Without the simulated daemon there is nothing to hold against it.
#[cfg(not(feature = "sim"))]
fn compare(_: &Cluster, _: crate::support::daemon::Flavor) -> Vec<String> {
    Vec::new()
}

/// Holds a simulated cluster against a real one.
#[cfg(feature = "sim")]
fn compare(cluster: &Cluster, flavor: crate::support::daemon::Flavor) -> Vec<String> {
    use crate::support::fields::{Cast, differences};
    use malleus::client::{Client, Remote};
    use malleus::sim::{Flavor, Options, Sim};

    let brand = match flavor {
        crate::support::daemon::Flavor::Incus => Flavor::Incus,
        crate::support::daemon::Flavor::Lxd => Flavor::Lxd,
    };
    let sim = Sim::start(Options {
        members: 3,
        https: Some(([127, 0, 0, 1], 0).into()),
        ..Options::new(brand)
    });
    let sim = sim.expect("it starts");
    let client = Client::connect(&Remote::Unix(sim.socket().to_owned())).expect("connected");
    for (at, member) in cluster.members.iter().enumerate() {
        let path = format!("cluster/members/member{}", at + 1);
        let name = serde_json::json!({"server_name": member.name});
        client
            .request(&Request::post(path).json(name))
            .expect("another name");
    }
    let play = |client: Client| {
        let cast = Cast {
            clients: vec![("root", client)],
            words: Vec::new(),
        };
        cast.play("cluster")
    };
    let (real, simulated) = (play(cluster.members[0].connect()), play(client));
    differences((flavor, "known-of-clusters"), (&real, &simulated))
}
