//! Waiting for addresses and ports, on LXD and on Incus, and on a scripted server without events.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::support::AT_ONCE;
use crate::support::container::{Container, on_both, within};
use crate::support::ready::{not_ready, ready};
use crate::support::scripted::{Scripted, error, sync};
use malleus::client::{Client, Condition, Limit, Remote, Request, Wait};
use serde_json::{Value, json};

/// A bridge of its own, removed at the end of the test.
struct Bridge {
    client: Client,
    name: String,
    /// The first three numbers of its addresses.
    net: String,
}

impl Bridge {
    fn create(client: &Client) -> Self {
        let name = format!("mtr{:06x}", fastrand::u32(..1 << 24));
        let net = format!("10.{}.{}", fastrand::u8(100..250), fastrand::u8(..));
        let body = json!({"name": name, "type": "bridge", "config": {
            "ipv4.address": format!("{net}.1/24"), "ipv4.nat": "false", "ipv6.address": "none"}});
        client
            .request(&Request::post("networks").json(body))
            .expect("a network");
        Self {
            client: client.detached(),
            name,
            net,
        }
    }

    /// A container at this bridge, stopped.
    fn container(&self, client: &Client, name: &str) -> Container {
        let eth0 = json!({"type": "nic", "network": self.name, "name": "eth0"});
        Container::create(client, name, &json!({"devices": {"eth0": eth0}}))
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let delete = Request::delete(format!("networks/{}", self.name));
        self.client.request(&delete).ok();
    }
}

/// Seconds since this machine was started, which containers see too.
fn uptime(text: &str) -> f64 {
    text.split_whitespace().next().unwrap().parse().unwrap()
}

fn uptime_now() -> f64 {
    uptime(&fs::read_to_string("/proc/uptime").unwrap())
}

#[test]
fn an_address_and_a_port_are_noticed_soon() {
    on_both(|client| {
        let bridge = Bridge::create(client);
        let container = bridge.container(client, "ready-net");
        container.change("start");
        let address = format!("{}.7", bridge.net);
        let conditions = [Condition::Ipv4, Condition::Tcp(8080)];
        let late = || Limit::after("step", Duration::from_secs(2));
        let why = not_ready(client, &container.name, &conditions, late()).to_string();
        println!("{why}");
        let expected = "ready-net was not ready within the step limit of 2s: ipv4: eth0 has ";
        assert!(why.starts_with(expected), "{why}");
        assert!(
            why.contains("; tcp 8080: no global address to try: eth0 has "),
            "{why}"
        );

        let mut delays = Vec::new();
        for pause in [0, 300, 600, 900, 1500, 4000] {
            container.shell("ip addr flush dev eth0");
            let appear = format!(
                "ip addr add {address}/24 dev eth0 && ip link set eth0 up && cat /proc/uptime"
            );
            thread::scope(|scope| {
                let adding = scope.spawn(|| {
                    thread::sleep(Duration::from_millis(pause));
                    uptime(&container.shell(&appear))
                });
                let ready = ready(&container, &[Condition::Running, Condition::Ipv4]);
                let noticed = uptime_now();
                assert_eq!(ready.addresses.ipv4.join(","), address);
                assert_eq!(ready.observations[1].seen, address);
                delays.push(1000.0 * (noticed - adding.join().unwrap()));
            });
        }
        let mean = delays.iter().sum::<f64>() / 6.0;
        println!("an address is noticed after {mean:.0} ms in the mean of {delays:.0?}");
        assert!(mean < 2000.0, "{mean}");

        let why = not_ready(client, &container.name, &conditions, late());
        assert!(why.observations[0].held);
        let why = why.to_string();
        let expected = format!("2s: tcp 8080: connection refused at {address}:8080");
        assert!(why.ends_with(&expected), "{why}");
        thread::scope(|scope| {
            let serving = scope.spawn(|| {
                thread::sleep(Duration::from_millis(500));
                uptime(&container.shell("httpd -p 8080 && cat /proc/uptime"))
            });
            let ready = ready(&container, &[Condition::Tcp(8080)]);
            let delay = 1000.0 * (uptime_now() - serving.join().unwrap());
            println!("a port is noticed after {delay:.0} ms");
            assert_eq!(
                ready.observations[0].seen,
                format!("accepts at {address}:8080")
            );
            assert_eq!(ready.addresses.ipv4.join(","), address);
        });
    });
}

#[test]
fn without_events_it_looks_by_itself() {
    let instance = |status: &str, code: u16| {
        sync(
            &json!({"type": "container", "ephemeral": false, "status": status, "status_code": code}),
        )
    };
    let state = |addresses: Value| {
        sync(
            &json!({"processes": 3, "network": {"lo": {"addresses": []}, "eth0": {"addresses": addresses}}}),
        )
    };
    let link = json!([{"family": "inet6", "address": "fe80::1", "scope": "link"}]);
    let global = json!([{"family": "inet6", "address": "fd42::1", "scope": "global"}]);
    let server = Scripted::serve(&[
        (
            "GET /1.0/instances/c",
            &[
                instance("Frozen", 110),
                error(500, 500, "database is locked"),
                instance("Running", 103),
            ],
        ),
        (
            "GET /1.0/instances/c/state",
            &[state(json!([])), state(link.clone()), state(global)],
        ),
    ]);
    let client = Client::connect(&Remote::Unix(server.socket.clone())).unwrap();
    let ready = client
        .wait_ready("c", &[Condition::Ipv6], &Wait::within(within(20)))
        .unwrap();
    assert_eq!(ready.addresses.ipv6, ["fd42::1"]);
    assert!(ready.waited < AT_ONCE, "{:?}", ready.waited);
    let lines = server.lines();
    assert_eq!(lines[0], "GET /1.0/events?type=lifecycle");
    assert_eq!(lines.len(), 10, "{lines:?}");

    let server = Scripted::serve(&[
        ("GET /1.0/instances/c", &[instance("Running", 103)]),
        ("GET /1.0/instances/c/state", &[state(link)]),
    ]);
    let client = Client::connect(&Remote::Unix(server.socket.clone())).unwrap();
    let why = not_ready(
        &client,
        "c",
        &[Condition::Ipv4, Condition::Running],
        Limit::after("step", Duration::from_secs(1)),
    );
    assert_eq!(
        why.to_string(),
        "c was not ready within the step limit of 1s: ipv4: eth0 has only fe80::1 (link)"
    );
}

#[test]
fn a_virtual_machine_has_an_agent() {
    let machine = sync(&json!({"type": "virtual-machine", "ephemeral": false,
        "status": "Running", "status_code": 103}));
    let state = |processes: i64| sync(&json!({"processes": processes, "network": null}));
    // More looks without an agent than fit into the first wait.
    let mut states = vec![state(-1); 22];
    states.push(state(7));
    let server = Scripted::serve(&[
        ("GET /1.0/instances/v", &[machine]),
        ("GET /1.0/instances/v/state", &states),
    ]);
    let client = Client::connect(&Remote::Unix(server.socket.clone())).unwrap();
    let limit = Limit::after("step", Duration::from_secs(1));
    let why = not_ready(&client, "v", &[Condition::Agent], limit).to_string();
    assert!(why.ends_with("1s: agent: it does not answer"), "{why}");
    let wait = Wait::within(Limit::after("test", Duration::from_secs(20)));
    let ready = client.wait_ready("v", &[Condition::Agent], &wait).unwrap();
    assert_eq!(ready.observations[0].seen, "it answers");
}
