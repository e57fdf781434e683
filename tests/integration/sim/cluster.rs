//! Simulated clusters: where instances are, and how they get elsewhere.

use std::path::Path;
use std::time::Duration;

use crate::support::program::malleus;
use malleus::client::{Client, Limit, Remote, Request, Wait};
use malleus::sim::{Flavor, Options, Sim};
use serde_json::{Value, json};

const FLAVORS: [Flavor; 2] = [Flavor::Incus, Flavor::Lxd];

fn start(brand: Flavor, members: u8) -> (Sim, Client) {
    let sim = Sim::start(Options {
        members,
        ..Options::new(brand)
    });
    let sim = sim.expect("it starts");
    let client = Client::connect(&Remote::Unix(sim.socket().to_owned())).expect("connected");
    (sim, client)
}

fn run(client: &Client, request: &Request) {
    let wait = Wait::within(Limit::after("test", Duration::from_secs(30)));
    client.run(request, &wait).expect("done");
}

fn post(path: &str, body: Value) -> Request {
    Request::post(path).json(body)
}

fn create(client: &Client, path: &str, name: &str) {
    let source = json!({"type": "image", "alias": "busybox"});
    run(client, &post(path, json!({"name": name, "source": source})));
}

fn get(client: &Client, path: &str) -> Value {
    let reply = client.request(&Request::get(path)).expect("it is there");
    reply.metadata().clone()
}

/// Status and location of an instance.
fn place(client: &Client, name: &str) -> (String, String) {
    let instance = get(client, &format!("instances/{name}"));
    let text = |key: &str| instance[key].as_str().expect("text").to_owned();
    (text("status"), text("location"))
}

fn at(status: &str, member: &str) -> (String, String) {
    (status.to_owned(), member.to_owned())
}

#[test]
fn the_scenario_places_an_instance_on_each_member_and_removes_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for brand in FLAVORS {
        let sim = format!("--sim={brand}");
        let ran = malleus(root)
            .args(["run", "scenarios/cluster.yaml", &sim, "--sim-members", "3"])
            .output()
            .expect("malleus runs");
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success(), "{brand}: {said}");
        for step in ["One instance on each", "Each is where it should be"] {
            let last = format!("✓ {step} [3/3]");
            assert!(said.contains(&last), "{brand}: {said}");
        }
        assert!(said.contains("3 cleaned up"), "{brand}: {said}");
    }
}

#[test]
fn instances_go_where_the_fewest_are_or_where_they_are_sent() {
    for brand in FLAVORS {
        let (_sim, client) = start(brand, 3);
        for number in 0..6 {
            create(&client, "instances", &format!("c{number}"));
        }
        let all = get(&client, "instances?recursion=1");
        for member in ["member1", "member2", "member3"] {
            let all = all.as_array().expect("a list").iter();
            let held = all.filter(|instance| instance["location"] == member);
            assert_eq!(held.count(), 2, "{brand} {member}");
        }
        create(&client, "instances?target=member3", "sent");
        assert_eq!(place(&client, "sent"), at("Stopped", "member3"), "{brand}");
        let move_to = |member: &str| {
            let path = format!("instances/sent?target={member}");
            post(&path, json!({"name": "sent", "migration": true}))
        };
        run(&client, &move_to("member2"));
        assert_eq!(place(&client, "sent"), at("Stopped", "member2"), "{brand}");
        assert!(client.request(&move_to("member9")).is_err(), "{brand}");
        assert_eq!(place(&client, "sent"), at("Stopped", "member2"), "{brand}");
    }
}

#[test]
fn a_member_that_is_evacuated_has_nothing_until_it_is_restored() {
    for brand in FLAVORS {
        let (_sim, client) = start(brand, 3);
        create(&client, "instances?target=member2", "runs");
        create(&client, "instances?target=member2", "rests");
        let start = Request::put("instances/runs/state").json(json!({"action": "start"}));
        run(&client, &start);
        let order = |action: &str| post("cluster/members/member2/state", json!({"action": action}));
        run(&client, &order("evacuate"));
        let member = get(&client, "cluster/members/member2");
        assert_eq!(member["status"], "Evacuated", "{brand}");
        let (runs, rests) = (place(&client, "runs"), place(&client, "rests"));
        assert_eq!((runs.0.as_str(), rests.0.as_str()), ("Running", "Stopped"));
        assert!(runs.1 != "member2" && rests.1 != "member2", "{brand}");
        let to = post(
            "instances?target=member2",
            json!({"name": "late", "source": {"type": "image", "alias": "busybox"}}),
        );
        let refused = client.send(&to.skip_validation()).expect("an answer");
        assert_eq!(refused.status, 403, "{brand}");
        run(&client, &order("restore"));
        assert_eq!(place(&client, "runs"), at("Running", "member2"), "{brand}");
        assert_eq!(place(&client, "rests"), at("Stopped", "member2"), "{brand}");
    }
}

#[test]
fn a_network_is_there_once_it_is_made_on_every_member() {
    for brand in FLAVORS {
        let (_sim, client) = start(brand, 2);
        let network = json!({"name": "br0"});
        let status = || get(&client, "networks/br0")["status"].clone();
        for member in ["member1", "member2"] {
            let whole = client.request(&post("networks", network.clone()));
            assert!(whole.is_err(), "{brand}: {whole:?}");
            let path = format!("networks?target={member}");
            run(&client, &post(&path, network.clone()));
            assert_eq!(status(), "Pending", "{brand}");
        }
        run(&client, &post("networks", network.clone()));
        assert_eq!(status(), "Created", "{brand}");
        let locations = get(&client, "networks/br0")["locations"].clone();
        assert_eq!(locations, json!(["member1", "member2"]), "{brand}");
    }
}

#[test]
fn one_that_is_alone_becomes_a_cluster() {
    for brand in FLAVORS {
        let (_sim, client) = start(brand, 0);
        create(&client, "instances", "before");
        assert_eq!(place(&client, "before"), at("Stopped", "none"), "{brand}");
        let enable = || Request::put("cluster").json(json!({"server_name": "n1", "enabled": true}));
        assert!(client.request(&enable()).is_err(), "{brand}");
        let address = json!({"config": {"core.https_address": "127.0.0.1:8443"}});
        run(&client, &Request::patch("/1.0").json(address));
        run(&client, &enable());
        let environment = &get(&client, "/1.0")["environment"];
        assert_eq!(environment["server_clustered"], true, "{brand}");
        assert_eq!(environment["server_name"], "n1", "{brand}");
        assert_eq!(place(&client, "before"), at("Stopped", "n1"), "{brand}");
        let members = get(&client, "cluster/members");
        assert_eq!(members, json!(["/1.0/cluster/members/n1"]), "{brand}");
    }
}
