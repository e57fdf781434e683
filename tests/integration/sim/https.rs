//! The simulated daemons over HTTPS: who is trusted, and how one becomes it.

use std::path::Path;

use crate::support::container::connect;
use crate::support::daemon::{Daemon, Flavor, daemons};
use crate::support::fields::{Cast, Played, differences};
use crate::support::https::{Pair, listen, trust};
use crate::support::program::{Ran, Running, malleus};
use malleus::client::{
    Certificate, Client, Https, Identity, Operation, Remote, Request, Token, Trust,
};
use malleus::sim::{Flavor as SimFlavor, Options, Sim};
use serde_json::{Value, json};

const FLAVORS: [SimFlavor; 2] = [SimFlavor::Incus, SimFlavor::Lxd];

fn start(brand: SimFlavor) -> Sim {
    Sim::start(Options {
        https: Some(([127, 0, 0, 1], 0).into()),
        ..Options::new(brand)
    })
    .expect("it starts")
}

fn local(sim: &Sim) -> Client {
    Client::connect(&Remote::Unix(sim.socket().to_owned())).expect("connected")
}

fn address(sim: &Sim) -> String {
    sim.https().expect("it listens").to_string()
}

/// A client over HTTPS.
fn remote(sim: &Sim, identity: Option<Identity>) -> Client {
    let pin = sim.fingerprint().parse().expect("a fingerprint");
    over_https((&address(sim), Trust::Pinned(pin)), identity)
}

fn over_https((address, trust): (&str, Trust), identity: Option<Identity>) -> Client {
    let server = Https {
        trust,
        identity,
        ..Https::at(address.parse().expect("an address"))
    };
    Client::connect(&Remote::Https(Box::new(server))).expect("connected")
}

fn token(sim: &Sim, wanted: &Value) -> String {
    let ask = Request::post("certificates").json(wanted.clone());
    let reply = local(sim).request(&ask).expect("a token");
    let operation = Operation::from_value(reply.metadata()).expect("an operation");
    Token::of(&operation).expect("whole").joined()
}

/// The status of a request that need not be granted.
fn status(client: &Client, request: &Request) -> u16 {
    client.send(request).expect("an answer").status
}

fn run(home: &Path, arguments: &[&str]) -> Ran {
    let mut command = malleus(home);
    Running::start(command.args(arguments), None).end()
}

fn good(home: &Path, arguments: &[&str]) -> String {
    let ran = run(home, arguments);
    assert_eq!(ran.code(), Some(0), "{arguments:?}: {}", ran.stderr());
    format!("{}{}", ran.stdout(), ran.stderr())
}

fn quickstart() -> String {
    format!("{}/scenarios/quickstart.yaml", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_token_enrols_once_and_the_quickstart_runs_over_https() {
    for brand in FLAVORS {
        let sim = start(brand);
        let folder = tempfile::tempdir().expect("a folder");
        let home = folder.path();
        let token = token(
            &sim,
            &json!({"name": "test", "type": "client", "token": true}),
        );
        let said = good(home, &["remote", "add", "sim", &token]);
        assert!(said.contains("trusted; use it with"), "{brand}: {said}");
        let said = good(home, &["run", &quickstart(), "--remote", "sim"]);
        assert!(said.contains("passed"), "{brand}: {said}");

        let again = run(home, &["remote", "add", "again", &token]);
        assert_eq!(again.code(), Some(3), "{brand}");
        let said = again.stderr();
        assert!(said.contains("does not take the token"), "{brand}: {said}");
    }
}

#[test]
fn who_is_not_trusted_sees_what_is_public() {
    for brand in FLAVORS {
        let sim = start(brand);
        let unknown = Pair::new().identity();
        for client in [remote(&sim, None), remote(&sim, Some(unknown))] {
            assert!(!client.server().is_trusted(), "{brand}");
            let root = client.request(&Request::get("/1.0")).expect("itself");
            assert_eq!(root.metadata()["auth"], "untrusted", "{brand}");
            assert_eq!(root.metadata()["environment"], Value::Null, "{brand}");
            let images = client.request(&Request::get("images")).expect("a list");
            assert_eq!(images.metadata(), &json!([]), "{brand}");
            for request in [
                Request::get("instances"),
                Request::get("certificates"),
                Request::post("instances").json(json!({"name": "c1"})),
                Request::post("certificates").json(json!({"type": "client"})),
                Request::patch("/1.0").json(json!({})),
            ] {
                assert_eq!(status(&client, &request), 403, "{brand} {request:?}");
            }
        }
        let open = json!({"public": true});
        let images = local(&sim).request(&Request::get("images")).expect("some");
        let image = images.metadata()[0].as_str().expect("a path").to_owned();
        let publish = Request::patch(image.as_str()).json(open);
        local(&sim).request(&publish).expect("published");
        let client = remote(&sim, None);
        assert_eq!(status(&client, &Request::get(image.as_str())), 200);
        assert_eq!(
            status(&client, &Request::get("images/aliases/busybox")),
            200
        );
    }
}

#[test]
fn a_certificate_that_is_known_may_all_and_a_restricted_one_its_projects() {
    for brand in FLAVORS {
        let sim = start(brand);
        let admin = Pair::new().identity();
        trust(&local(&sim), &admin);
        let client = remote(&sim, Some(admin));
        let root = client.request(&Request::get("/1.0")).expect("itself");
        assert_eq!(root.metadata()["auth"], "trusted", "{brand}");
        let listens = &root.metadata()["config"]["core.https_address"];
        assert_eq!(listens, &json!(address(&sim)), "{brand}");
        let environment = &root.metadata()["environment"];
        assert_eq!(environment["addresses"], json!([address(&sim)]), "{brand}");
        let pem = environment["certificate"].as_str().expect("a certificate");
        let print = Certificate::from_pem(pem).expect("PEM").fingerprint();
        assert_eq!(print.to_string(), sim.fingerprint(), "{brand}");
        assert_eq!(environment["certificate_fingerprint"], sim.fingerprint());

        let project = json!({"name": "ci", "config": {"features.images": "false", "features.profiles": "false"}});
        client
            .request(&Request::post("projects").json(project))
            .expect("a project");
        let folder = tempfile::tempdir().expect("a folder");
        let home = folder.path();
        let wanted = json!({"name": "ci", "type": "client", "token": true, "restricted": true, "projects": ["ci"]});
        good(home, &["remote", "add", "ci", &token(&sim, &wanted)]);
        let instances = ["request", "GET", "instances", "--remote", "ci"];
        let refused = run(home, &instances);
        assert_eq!(refused.code(), Some(1), "{brand}");
        let said = refused.stderr();
        assert!(
            said.contains("a certificate that is restricted to projects must name one"),
            "{brand}: {said}"
        );
        good(home, &[&instances[..], &["--project", "ci"]].concat());
        let in_project = ["run", &quickstart(), "--remote", "ci", "--project", "ci"];
        good(home, &in_project);
        let projects = ["request", "GET", "projects", "--remote", "ci"];
        let said = good(home, &projects);
        assert!(said.contains("projects/ci") && !said.contains("projects/default"));
        let server = ["request", "PATCH", "/1.0", "--remote", "ci", "--body", "{}"];
        assert_ne!(run(home, &server).code(), Some(0), "{brand}");

        // Trust ends with the certificate.
        let all = client
            .request(&Request::get("certificates"))
            .expect("a list");
        for path in all.metadata().as_array().expect("a list") {
            let path = path.as_str().expect("a path");
            local(&sim)
                .request(&Request::delete(path))
                .expect("removed");
        }
        assert_eq!(status(&client, &Request::get("instances")), 403, "{brand}");
    }
}

#[test]
fn what_does_not_speak_tls_gets_no_answer() {
    let sim = start(SimFlavor::Incus);
    let mut plain = std::net::TcpStream::connect(address(&sim)).expect("it listens");
    std::io::Write::write_all(&mut plain, b"GET /1.0 HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    let _ = std::io::Read::read_to_end(&mut plain, &mut answer);
    // An alert of TLS, not an answer of HTTP.
    assert_eq!(answer.first(), Some(&21), "{answer:?}");
    // Those who speak TLS are served all the while.
    assert_eq!(status(&remote(&sim, None), &Request::get("/1.0")), 200);
}

#[test]
fn simulated_daemons_answer_over_https_as_real_ones_do() {
    for generation in daemons() {
        let flavor = generation.flavor();
        if generation != flavor.into() {
            continue;
        }
        let brand = match flavor {
            Flavor::Incus => SimFlavor::Incus,
            Flavor::Lxd => SimFlavor::Lxd,
        };
        let sim = start(brand);
        let simulated = play(local(&sim), |identity| remote(&sim, identity));
        let daemon = Daemon::start(generation);
        let _network = daemon.enter_network();
        let (address, certificate) = listen(&connect(&daemon));
        let real = play(connect(&daemon), |identity| {
            let pin = Trust::Pinned(certificate.fingerprint());
            over_https((&address, pin), identity)
        });
        let wrong = differences((flavor, "known-over-https"), (&real, &simulated));
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

fn play(root: Client, remote: impl Fn(Option<Identity>) -> Client) -> Played {
    use base64::Engine as _;
    let guest = Pair::new().identity();
    let print = guest.fingerprint().to_string();
    let base64 = base64::engine::general_purpose::STANDARD.encode(guest.certificate().der());
    let cast = Cast {
        clients: vec![
            ("root", root),
            ("nobody", remote(None)),
            ("stranger", remote(Some(Pair::new().identity()))),
            ("guest", remote(Some(guest))),
        ],
        words: vec![("{guest}", &base64), ("{print}", &print)],
    };
    cast.play("https")
}
