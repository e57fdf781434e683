//! Real clusters: three members of each brand on this machine.
#![allow(clippy::print_stdout, reason = "tells which brand a test failed on")]

mod support;

use std::path::Path;

use malleus::client::Request;
use support::cluster::Cluster;
use support::daemon::daemons;
use support::program::malleus;

#[test]
fn the_scenario_places_an_instance_on_each_member_and_removes_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for flavor in daemons() {
        println!("--- {flavor}");
        let cluster = Cluster::start(flavor);
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
    }
}
