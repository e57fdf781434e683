//! A cluster of three private daemons on this machine's loopback.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malleus::client::{Client, Limit, Remote, Request, Wait};
use serde_json::{Value, json};

use super::container::connect;
use super::daemon::{Daemon, Generation, InNetwork, Seed};
use super::https::free_address;

/// Members of a cluster, the first of them the one that began it.
const NAMES: [&str; 3] = ["n1", "n2", "n3"];

/// A member of a cluster.
pub(crate) struct Member {
    pub(crate) name: &'static str,
    /// `127.0.0.1:PORT`, where it answers over HTTPS, with the cluster's certificate.
    pub(crate) address: String,
    pub(crate) daemon: Daemon,
}

/// A cluster with a pool `default` (dir), a default profile and the image `busybox`. It ends, with all that is in it, when
/// this value is dropped, or with the test process.
pub(crate) struct Cluster {
    pub(crate) members: Vec<Member>,
    /// The certificate by which every member is known, in PEM.
    pub(crate) certificate: String,
}

impl Cluster {
    /// Starts three daemons and makes a cluster of them, by the API alone.
    pub(crate) fn start(generation: Generation) -> Cluster {
        let [first, others @ ..] = NAMES;
        let first = Member::start(first, Daemon::start(generation));
        let others: Vec<Member> = std::thread::scope(|threads| {
            let started: Vec<_> = others
                .map(|name| {
                    // What the others hold is the cluster's once they join.
                    threads.spawn(|| Member::start(name, first.daemon.start_beside(Seed::Nothing)))
                })
                .into_iter()
                .collect();
            let ended = started.into_iter().map(std::thread::ScopedJoinHandle::join);
            ended.map(|member| member.expect("started")).collect()
        });
        let members: Vec<Member> = std::iter::once(first).chain(others).collect();
        let first = members[0].connect();
        let enabled = json!({"server_name": members[0].name, "enabled": true});
        run(&first, &Request::put("cluster").json(enabled));
        // The certificate is the cluster's own now.
        let environment = members[0].connect().server().environment.clone();
        let certificate = text(&environment["certificate"]);
        let cluster = Cluster {
            members,
            certificate,
        };
        for member in &cluster.members[1..] {
            cluster.add(member);
        }
        cluster
    }

    /// Moves the calling thread into the network of the members, see [`Daemon::enter_network`].
    pub(crate) fn enter_network(&self) -> InNetwork {
        self.members[0].daemon.enter_network()
    }

    /// Has a daemon join.
    fn add(&self, member: &Member) {
        let first = &self.members[0];
        let invite = Request::post("cluster/members").json(json!({"server_name": member.name}));
        let reply = first.connect().request(&invite).expect("a token");
        let token = &reply.metadata()["metadata"];
        let token = json!({
            "server_name": member.name,
            "fingerprint": token["fingerprint"],
            "addresses": token["addresses"],
            "secret": token["secret"],
            "expires_at": token["expiresAt"],
        });
        let token = STANDARD.encode(token.to_string());
        let join = json!({
            "server_name": member.name,
            "enabled": true,
            "server_address": member.address,
            "cluster_address": first.address,
            "cluster_certificate": self.certificate,
            "cluster_token": token,
            // The same, as LXD 5.0 calls it.
            "cluster_password": token,
            "member_config": [
                {"entity": "storage-pool", "name": "default", "key": "source", "value": ""},
            ],
        });
        run(&member.connect(), &Request::put("cluster").json(join));
    }
}

impl Drop for Cluster {
    /// All at once: one that is left behind waits for the others.
    fn drop(&mut self) {
        std::thread::scope(|threads| {
            for member in self.members.drain(..) {
                threads.spawn(move || drop(member));
            }
        });
    }
}

impl Member {
    fn start(name: &'static str, daemon: Daemon) -> Member {
        let _network = daemon.enter_network();
        let address = free_address();
        let config = json!({"config": {"core.https_address": address}});
        let client = connect(&daemon);
        run(&client, &Request::patch("/1.0").json(config));
        Member {
            name,
            address,
            daemon,
        }
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(&Remote::Unix(self.daemon.socket.clone())).expect("connected")
    }
}

fn run(client: &Client, request: &Request) {
    let wait = Wait::within(Limit::after("test", Duration::from_secs(120)));
    client.run(request, &wait).expect("done");
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}
