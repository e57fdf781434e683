//! Servers by name and over HTTPS, from the command line.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::AT_ONCE;
use crate::support::container::connect;
use crate::support::daemon::{Daemon, Flavor, Seed, daemons};
use crate::support::https::{Pair, free_address, listen, trust};
use crate::support::impostor::{Impostor, Manner};
use crate::support::program::{Ran, Running, malleus};
use malleus::client::{Certificate, Client, Request, Token};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder as home, and what all commands in it have said.
struct Home {
    folder: TempDir,
    said: std::cell::RefCell<String>,
}

impl Home {
    fn new() -> Home {
        Home {
            folder: tempfile::tempdir().unwrap(),
            said: std::cell::RefCell::default(),
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, &[])
    }

    fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        let mut command = malleus(self.path());
        command.args(arguments).envs(variables.iter().copied());
        let ran = Running::start(&mut command, None).end();
        self.said
            .borrow_mut()
            .push_str(&format!("{}{}", ran.stdout(), ran.stderr()));
        ran
    }

    /// Runs what must end well; what it wrote.
    fn good(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code(), Some(0), "{arguments:?}: {}", ran.stderr());
        format!("{}{}", ran.stdout(), ran.stderr())
    }

    /// Runs what must not end well; what it wrote to stderr.
    fn bad(&self, code: i32, arguments: &[&str], variables: &[(&str, &str)]) -> String {
        let ran = self.run_with(arguments, variables);
        assert_eq!(
            ran.code(),
            Some(code),
            "{arguments:?}: {}{}",
            ran.stdout(),
            ran.stderr()
        );
        ran.stderr()
    }

    fn never_said(&self, secret: &str) {
        assert!(secret.len() > 20);
        for line in secret
            .lines()
            .filter(|line| line.len() > 20 && !line.starts_with("---"))
        {
            assert!(!self.said.borrow().contains(line), "a secret was said");
        }
    }
}

fn token(client: &Client) -> String {
    let ask = Request::post("certificates")
        .json(json!({"name": "test", "type": "client", "token": true}));
    let reply = client.request(&ask).expect("a token");
    let operation = malleus::client::Operation::from_value(reply.metadata()).expect("an operation");
    Token::of(&operation).expect("whole").joined()
}

fn quickstart() -> String {
    format!("{}/scenarios/quickstart.yaml", env!("CARGO_MANIFEST_DIR"))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A command of a brand's own client, with its configuration in a folder.
fn brand(flavor: Flavor, config: &Path, arguments: &[&str]) {
    let (program, variable) = match flavor {
        Flavor::Incus => ("incus", "INCUS_CONF"),
        Flavor::Lxd => ("lxc", "LXD_CONF"),
    };
    let ran = Command::new(program)
        .args(arguments)
        .env(variable, config)
        .env("HOME", config)
        .env_remove("INCUS_DIR")
        .env_remove("LXD_DIR")
        .output()
        .expect("the brand's client is installed");
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

#[test]
fn from_nothing_to_a_run_over_https_by_a_token() {
    for flavor in daemons() {
        println!("--- {flavor}");
        let daemon = Daemon::start(flavor);
        let _network = daemon.enter_network();
        let local = connect(&daemon);
        let (address, certificate) = listen(&local);
        let home = Home::new();
        let secret = token(&local);

        let said = home.good(&["-vv", "remote", "add", "srv", &secret]);
        assert!(
            said.contains(&certificate.fingerprint().to_string()),
            "{said}"
        );
        assert!(
            said.contains("trusted; use it with `--remote srv`"),
            "{said}"
        );
        let config = home.path().join(".config/malleus");
        let key = config.join("remotes/srv.key");
        for (path, expected) in [
            (&config, 0o700),
            (&config.join("remotes"), 0o700),
            (&key, 0o600),
            (&config.join("remotes.yaml"), 0o600),
        ] {
            assert_eq!(mode(path), expected, "{}", path.display());
        }
        let listed = json_of(&home.run(&["remote", "list", "--format", "json"]).stdout());
        assert_eq!(listed[0]["name"], "srv");
        assert_eq!(
            listed[0]["addresses"],
            json!([format!("https://{address}")])
        );
        assert_eq!(
            listed[0]["fingerprint"],
            certificate.fingerprint().to_string()
        );

        let said = home.good(&["-vv", "run", &quickstart(), "--remote", "srv"]);
        assert!(said.contains("passed"), "{said}");
        // By its address too.
        home.good(&[
            "request",
            "GET",
            "instances",
            "--remote",
            &format!("https://{address}"),
        ]);

        // The token was good for one use.
        let said = home.bad(3, &["remote", "add", "again", &secret], &[]);
        assert!(
            said.contains("the server does not take the token")
                && said.contains("ask for a new one"),
            "{said}"
        );
        assert!(!config.join("remotes/again.key").exists());
        assert_eq!(
            json_of(&home.run(&["remote", "list", "--format", "json"]).stdout())
                .as_array()
                .unwrap()
                .len(),
            1
        );

        for own in [
            &secret,
            &Token::parse(&secret).unwrap().secret().to_owned(),
            &fs::read_to_string(&key).unwrap(),
        ] {
            home.never_said(own);
        }
        home.good(&["remote", "remove", "srv"]);
        assert!(!key.exists());
        let said = home.bad(2, &["request", "GET", "instances", "--remote", "srv"], &[]);
        assert!(said.contains("there is no remote \"srv\""), "{said}");
    }
}

#[test]
fn a_token_from_the_environment_and_a_certificate_by_hand() {
    for flavor in daemons() {
        println!("--- {flavor}");
        let daemon = Daemon::start(flavor);
        let _network = daemon.enter_network();
        let local = connect(&daemon);
        let (address, certificate) = listen(&local);
        let home = Home::new();
        let config = home.path().join(".config/malleus");
        let other = token(&local);
        let ran = home.run_with(&["remote", "add", "two"], &[("MALLEUS_TOKEN", &other)]);
        assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
        let said = home.bad(
            3,
            &["remote", "add", "three", &format!("https://{address}")],
            &[],
        );
        let fingerprint = certificate.fingerprint().to_string();
        assert!(
            said.contains(&format!("--fingerprint {fingerprint}")),
            "{said}"
        );
        let said = home.good(&[
            "remote",
            "add",
            "three",
            &address,
            "--fingerprint",
            &fingerprint,
        ]);
        assert!(said.contains("not trusted yet: copy"), "{said}");
        let said = home.bad(3, &["run", &quickstart(), "--remote", "three"], &[]);
        assert!(said.contains("three does not trust this client"), "{said}");
        let pem = fs::read_to_string(config.join("remotes/three.crt")).unwrap();
        let der = Certificate::from_pem(&pem).unwrap();
        let add = json!({"name": "three", "type": "client", "certificate": base64(der.der())});
        local
            .request(&Request::post("certificates").json(add))
            .unwrap();
        home.good(&["request", "GET", "instances", "--remote", "three"]);

        home.never_said(&other);
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn remotes_of_the_brands_clients_are_used_as_they_are() {
    for flavor in daemons() {
        println!("--- {flavor}");
        let daemon = Daemon::start(flavor);
        let _network = daemon.enter_network();
        let local = connect(&daemon);
        let (address, _) = listen(&local);
        let home = Home::new();
        let (folder, label) = match daemon.flavor {
            Flavor::Incus => (".config/incus", "incus:srv"),
            Flavor::Lxd => (".config/lxc", "lxc:srv"),
        };
        let config = home.path().join(folder);
        fs::create_dir_all(&config).unwrap();
        brand(
            daemon.flavor,
            &config,
            &["remote", "add", "srv", &token(&local)],
        );
        let before = tree(&config);

        for name in ["srv", label] {
            let said = home.good(&["run", &quickstart(), "--remote", name]);
            assert!(said.contains("passed"), "{said}");
        }
        assert!(tree(&config) == before, "the configuration is only read");
        // Not the default: there, this machine's own daemon is.
        home.bad(3, &["request", "GET", "instances"], &[("PATH", "/nowhere")]);
        brand(daemon.flavor, &config, &["remote", "switch", "srv"]);
        home.good(&["request", "GET", "instances"]);
        let listed = home.good(&["remote", "list"]);
        assert!(
            listed.contains(&format!("{label} (default)")) && listed.contains(&address),
            "{listed}"
        );
        assert!(
            !listed.contains("simplestreams") && !listed.contains("images.linux"),
            "{listed}"
        );
        let said = home.bad(
            2,
            &["request", "GET", "instances", "--remote", "images"],
            &[],
        );
        assert!(said.contains("a server of images"), "{said}");
        // What it has made is found again by its journal.
        let playbook = home.path().join("environment.yaml");
        fs::write(&playbook, ENVIRONMENT).unwrap();
        home.good(&["up", "environment.yaml", "--remote", "srv"]);
        assert_eq!(instances(&local), json!(["/1.0/instances/kept"]));
        home.good(&["down", "environment"]);
        assert_eq!(instances(&local), json!([]));

        // A server with another certificate is refused, and gets nothing.
        let impostor = Impostor::start(Manner::Tls(Pair::new()));
        let file = config.join("config.yml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace(&address, &impostor.address)).unwrap();
        let said = home.bad(3, &["run", &quickstart(), "--remote", "srv"], &[]);
        assert!(
            said.contains("its certificate is not the one that is stored: expected"),
            "{said}"
        );
        assert!(
            said.contains("nothing was sent") && said.contains("remote remove srv"),
            "{said}"
        );
        assert_eq!(impostor.got(), "");
    }
}

const ENVIRONMENT: &str = "
playbook: 1
name: environment
steps:
  - name: An instance
    request: POST /1.0/instances
    body:
      name: kept
      source: {type: image, alias: busybox}
";

fn instances(client: &Client) -> Value {
    let reply = client.request(&Request::get("instances")).unwrap();
    let mut all = reply.metadata().as_array().unwrap().clone();
    all.sort_by_key(Value::to_string);
    all.into()
}

/// All files below a folder with their content.
fn tree(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(tree(&path));
        } else {
            let content = fs::read(&path).unwrap();
            all.push((path, content));
        }
    }
    all.sort();
    all
}

#[test]
fn a_server_of_an_automatic_job_is_in_variables() {
    for flavor in daemons() {
        println!("--- {flavor}");
        let daemon = Daemon::start(flavor);
        let _network = daemon.enter_network();
        let local = connect(&daemon);
        let (address, certificate) = listen(&local);
        let pair = Pair::new();
        trust(&local, &pair.identity());
        let home = Home::new();
        let url = format!("https://{address}");
        let pin = certificate.fingerprint().to_string();
        let key_file = home.path().join("key.pem");
        fs::write(&key_file, &pair.key).unwrap();
        let key_file = key_file.to_str().unwrap();
        for (key, server) in [(pair.key.as_str(), pin.as_str()), (key_file, pin.as_str())] {
            let variables = [
                ("MALLEUS_REMOTE", url.as_str()),
                ("MALLEUS_CLIENT_CERT", pair.certificate.as_str()),
                ("MALLEUS_CLIENT_KEY", key),
                ("MALLEUS_SERVER_CERT", server),
            ];
            let ran = home.run_with(&["-vv", "run", &quickstart()], &variables);
            assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
        }
        let pem = Pair::new();
        let wrong = [
            ("MALLEUS_REMOTE", url.as_str()),
            ("MALLEUS_CLIENT_CERT", pair.certificate.as_str()),
            ("MALLEUS_CLIENT_KEY", pem.key.as_str()),
        ];
        let said = home.bad(2, &["run", &quickstart()], &wrong);
        assert!(
            said.contains("MALLEUS_CLIENT_KEY: the private key does not belong"),
            "{said}"
        );
        home.never_said(&pair.key);
        home.never_said(&pem.key);
    }
}

#[test]
fn servers_that_must_not_be_talked_to() {
    let home = Home::new();
    let pin = "0".repeat(64);
    for (manner, expected) in [
        (Manner::Plain, "does not speak TLS"),
        (Manner::Old, "does not speak TLS 1.3"),
        (
            Manner::Silent,
            "the TLS handshake did not end within the connect limit of 10s",
        ),
        (Manner::Tls(Pair::new()), "expected 0000"),
    ] {
        let impostor = Impostor::start(manner);
        let variables = [
            ("MALLEUS_REMOTE", &*format!("https://{}", impostor.address)),
            ("MALLEUS_SERVER_CERT", &pin),
            ("MALLEUS_BEARER_TOKEN", "a-bearer-token-that-is-secret"),
        ];
        let begun = Instant::now();
        let said = home.bad(3, &["run", &quickstart()], &variables);
        assert!(said.contains(expected), "{said}");
        assert!(
            begun.elapsed() < Duration::from_secs(10) + AT_ONCE,
            "{:?}",
            begun.elapsed()
        );
        assert!(!impostor.got().contains("bearer"), "{}", impostor.got());
    }
    let nobody = format!("https://{}", free_address());
    let said = home.bad(3, &["run", &quickstart(), "--remote", &nobody], &[]);
    assert!(said.contains("nothing listens at"), "{said}");
    let said = home.bad(
        2,
        &["run", &quickstart(), "--remote", "http://127.0.0.1:1"],
        &[],
    );
    assert!(said.contains("over https:// alone"), "{said}");
    // The variables are for the server that was chosen, not for one that a playbook names.
    let stranger = Pair::new();
    let pin = Certificate::from_pem(&stranger.certificate)
        .unwrap()
        .fingerprint()
        .to_string();
    let impostor = Impostor::start(Manner::Tls(stranger));
    let text = format!(
        "playbook: 1\nname: p\nremote: https://{}\nsteps:\n  - request: GET /1.0\n",
        impostor.address
    );
    fs::write(home.path().join("p.yaml"), text).unwrap();
    let variables = [
        ("MALLEUS_SERVER_CERT", &*pin),
        ("MALLEUS_BEARER_TOKEN", "a-bearer-token-that-is-secret"),
    ];
    home.bad(3, &["run", "p.yaml"], &variables);
    assert_eq!(impostor.got(), "");
    home.never_said("a-bearer-token-that-is-secret");
}

#[test]
fn tokens_that_cannot_be_used() {
    let home = Home::new();
    for (text, expected) in [
        (
            "c29tZXRoaW5nIGVsc2U".repeat(4),
            "neither a token nor an address",
        ),
        (
            base64(old_token("2001-01-01T00:00:00Z").as_bytes()),
            "the token has expired at 2001",
        ),
    ] {
        let ran = home.run(&["remote", "add", "srv", &text]);
        assert!(matches!(ran.code(), Some(2 | 3)), "{ran:?}");
        assert!(ran.stderr().contains(expected), "{}", ran.stderr());
        home.never_said(&text);
    }
    for name in ["local", "a/b", "-x", ""] {
        let ran = home.run(&["remote", "add", "--", name, "https://127.0.0.1:1"]);
        assert_eq!(ran.code(), Some(2), "{}", ran.stderr());
    }
}

fn old_token(expires: &str) -> String {
    json!({
        "client_name": "x",
        "fingerprint": "0".repeat(64),
        "addresses": ["127.0.0.1:1"],
        "secret": "abcdefabcdefabcdefabcdef",
        "expires_at": expires,
    })
    .to_string()
}

/// The states of what was looked at, by name.
fn examined(report: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let checks = report["checks"].as_array().unwrap();
    checks
        .iter()
        .map(|check| (text(&check["check"]), text(&check["state"])))
        .collect()
}

#[test]
fn the_doctor_says_what_is_missing_and_how_to_mend_it() {
    for flavor in daemons() {
        println!("--- {flavor}");
        let daemon = Daemon::start_with(flavor, Seed::Nothing);
        let _network = daemon.enter_network();
        let local = connect(&daemon);
        let (address, certificate) = listen(&local);
        let home = Home::new();
        home.good(&["remote", "add", "srv", &token(&local)]);
        let ran = home.run(&["doctor", "srv", "--format", "json"]);
        assert_eq!(ran.code(), Some(1), "{}", ran.stderr());
        let report = json_of(&ran.stdout());
        assert_eq!(report[0]["remote"], "srv");
        let examined_now = examined(&report[0]);
        for (name, state) in [
            ("reachable", "ok"),
            ("verified", "ok"),
            ("trusted", "ok"),
            ("server", "ok"),
            ("extensions", "ok"),
            ("project", "ok"),
            ("pool", "error"),
            ("profile", "warning"),
        ] {
            assert!(
                examined_now.contains(&(name.to_owned(), state.to_owned())),
                "{name}: {report:#}"
            );
        }
        // What it says to do mends it.
        let tool = match daemon.flavor {
            Flavor::Incus => "incus",
            Flavor::Lxd => "lxc",
        };
        let scratch = tempfile::tempdir().unwrap();
        for check in ["pool", "profile"] {
            let found = report[0]["checks"]
                .as_array()
                .unwrap()
                .iter()
                .find(|one| one["check"] == check)
                .unwrap();
            let mut words = found["mend"].as_str().unwrap().split(' ');
            assert_eq!(words.next(), Some(tool));
            let mended = Command::new(tool)
                .args(words)
                .envs(daemon.environment())
                .env("HOME", scratch.path())
                .output()
                .unwrap();
            assert!(
                mended.status.success(),
                "{}",
                String::from_utf8_lossy(&mended.stderr)
            );
        }
        let said = home.good(&["doctor", "--remote", "srv"]);
        assert!(
            said.contains("✓ pool        default (dir)")
                && said.contains(&certificate.fingerprint().to_string()),
            "{said}"
        );
        let said = home.bad(1, &["doctor", "srv", "--project", "nowhere"], &[]);
        assert!(said.contains("project create nowhere"), "{said}");

        // One that does not trust us, one that is away, and one that is somebody else.
        let fingerprint = certificate.fingerprint().to_string();
        home.good(&[
            "remote",
            "add",
            "stranger",
            &address,
            "--fingerprint",
            &fingerprint,
        ]);
        let said = home.bad(3, &["doctor", "stranger"], &[]);
        assert!(
            said.contains("✗ trusted") && said.contains("config trust add"),
            "{said}"
        );
        let said = home.bad(3, &["doctor", &format!("https://{}", free_address())], &[]);
        assert!(
            said.contains("✗ reachable") && said.contains("core.https_address"),
            "{said}"
        );
        let impostor = Impostor::start(Manner::Tls(Pair::new()));
        let list = home.path().join(".config/malleus/remotes.yaml");
        let text = fs::read_to_string(&list).unwrap();
        fs::write(&list, text.replace(&address, &impostor.address)).unwrap();
        let ran = home.run(&["doctor", "--all", "--format", "json"]);
        assert_eq!(ran.code(), Some(3));
        let report = json_of(&ran.stdout());
        assert_eq!(report.as_array().unwrap().len(), 2, "{report:#}");
        assert_eq!(
            examined(&report[0]),
            [("verified".to_owned(), "error".to_owned())]
        );
        assert_eq!(impostor.got(), "");
    }
}

#[test]
fn a_bearer_token_proves_who_is_asking() {
    for flavor in daemons() {
        println!("--- {flavor}");
        let daemon = Daemon::start(flavor);
        let _network = daemon.enter_network();
        let pair = Pair::new();
        let certificate = Certificate::from_pem(&pair.certificate).unwrap();
        let good = "eyJhbGciOiJIUzI1NiJ9.a-token-of-the-test.0123456789";
        let front = Impostor::start(Manner::Front(pair, good.to_owned(), daemon.socket.clone()));
        let home = Home::new();
        let fingerprint = certificate.fingerprint().to_string();
        let file = home.path().join("token");
        fs::write(&file, format!("{good}\n")).unwrap();

        let said = home.good(&[
            "-vv",
            "remote",
            "add",
            "srv",
            &front.address,
            "--fingerprint",
            &fingerprint,
            "--bearer-file",
            "token",
        ]);
        assert!(said.contains("trusted; use it"), "{said}");
        assert!(!home.path().join(".config/malleus/remotes/srv.key").exists());
        home.good(&["-vv", "run", &quickstart(), "--remote", "srv"]);
        // Read anew, and from the file of a client.
        let oidc = json!({"access_token": good, "refresh_token": "not-this-one-not-this-one"});
        fs::write(&file, oidc.to_string()).unwrap();
        home.good(&["request", "GET", "instances", "--remote", "srv"]);

        let url = format!("https://{}", front.address);
        let by = |token: &str| {
            let variables = [
                ("MALLEUS_REMOTE", url.as_str()),
                ("MALLEUS_SERVER_CERT", fingerprint.as_str()),
                ("MALLEUS_BEARER_TOKEN", token),
            ];
            let ran = home.run_with(&["-vv", "request", "GET", "instances"], &variables);
            (ran.code(), ran.stderr())
        };
        assert_eq!(by(good).0, Some(0));
        let (code, said) = by("a-token-that-is-over-0123456789");
        assert_eq!(code, Some(3), "{said}");
        assert!(
            said.contains("not authorized") && said.contains("a token that is over"),
            "{said}"
        );
        let (code, said) = by("no token\tat all");
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("characters that no token has"), "{said}");
        for secret in [good, "a-token-that-is-over-0123456789"] {
            home.never_said(secret);
        }
    }
}

#[test]
fn a_playbook_makes_tokens_that_work_and_does_not_wait_for_them() {
    for flavor in daemons() {
        println!("--- {flavor}");
        let daemon = Daemon::start(flavor);
        let _network = daemon.enter_network();
        listen(&connect(&daemon));
        let home = Home::new();
        fs::write(home.path().join("invite.yaml"), INVITE).unwrap();
        let socket = daemon.socket.to_str().unwrap();
        let begun = Instant::now();
        // Outputs are masked wherever they are written; only the command gets them as they are, while they are good.
        let script = "MALLEUS_TOKEN=$MALLEUS_FIRST $0 -vv remote add first
            MALLEUS_TOKEN=$MALLEUS_SECOND $0 -vv remote add second
            printf %s $MALLEUS_FIRST >first; printf %s $MALLEUS_SECOND >second";
        let program = env!("CARGO_BIN_EXE_malleus");
        home.good(&[
            "-vv",
            "with",
            "invite.yaml",
            "--remote",
            socket,
            "--",
            "sh",
            "-ec",
            script,
            program,
        ]);
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{:?}",
            begun.elapsed()
        );
        for name in ["first", "second"] {
            home.good(&["request", "GET", "instances", "--remote", name]);
            let token = fs::read_to_string(home.path().join(name)).unwrap();
            home.never_said(&token);
            home.never_said(Token::parse(&token).unwrap().secret());
        }
    }
}

const INVITE: &str = "
playbook: 1
name: invite
steps:
  - request: POST /1.0/certificates
    body: {name: first, type: client, token: true}
    capture: {first: metadata.token}
  - id: later
    request: POST /1.0/certificates
    body: {name: second, type: client, token: true}
    background: true
outputs:
  first: '{{ first }}'
  second: '{{ later.metadata.token }}'
";

#[test]
fn one_playbook_acts_on_two_servers_and_each_is_cleaned_up() {
    for flavor in daemons() {
        println!("--- {flavor}");
        let here = Daemon::start(flavor);
        let there = here.start_beside(Seed::Image);
        let _network = here.enter_network();
        let (local, other) = (connect(&here), connect(&there));
        let (address, _) = listen(&local);
        listen(&other);
        let home = Home::new();
        home.good(&["remote", "add", "there", &token(&other)]);
        let alias = other
            .request(&Request::get("images/aliases/busybox"))
            .unwrap();
        let fingerprint = alias.metadata()["target"].as_str().unwrap().to_owned();
        let wait = malleus::client::Wait::within(crate::support::container::within(60));
        other
            .run(&Request::delete(format!("images/{fingerprint}")), &wait)
            .unwrap();
        fs::write(home.path().join("move.yaml"), MOVE).unwrap();
        let socket = here.socket.to_str().unwrap();
        let at = format!("address={address}");
        home.good(&["check", "move.yaml"]);
        let said = home.good(&[
            "up",
            "move.yaml",
            "--remote",
            socket,
            "--var",
            &at,
            "--out",
            "json=out.json",
        ]);
        assert_eq!(instances(&local), json!(["/1.0/instances/moved"]), "{said}");
        assert_eq!(
            instances(&other),
            json!(["/1.0/instances/beside", "/1.0/instances/moved"]),
            "{said}"
        );
        let outputs = json_of(&fs::read_to_string(home.path().join("out.json")).unwrap());
        let name = |client: &Client| client.server().environment["server_pid"].clone();
        assert_eq!(outputs["here"], name(&local));
        assert_eq!(outputs["there"], name(&other));
        assert_eq!(outputs["again"], name(&local));
        home.good(&["down", "move"]);
        assert_eq!(
            (instances(&local), instances(&other)),
            (json!([]), json!([]))
        );
        let gone = other.request(&Request::get(format!("images/{fingerprint}")));
        assert_eq!(gone.unwrap_err().status(), Some(404));
        // As a test, all is gone at its end, also where it fails there.
        let failing = MOVE.replace("name == where_it_is", "name == 'nobody'");
        assert_ne!(failing, MOVE);
        fs::write(home.path().join("fails.yaml"), failing).unwrap();
        let said = home.bad(
            1,
            &["test", "fails.yaml", "--remote", socket, "--var", &at],
            &[],
        );
        assert_eq!(
            (instances(&local), instances(&other)),
            (json!([]), json!([])),
            "{said}"
        );
        let said = home.bad(
            1,
            &[
                "test",
                "fails.yaml",
                "--remote",
                socket,
                "--var",
                &at,
                "--var",
                "there=nowhere",
            ],
            &[],
        );
        assert!(said.contains("there is no remote \"nowhere\""), "{said}");
    }
}

const MOVE: &str = "
playbook: 1
name: move
inputs:
  address: {type: string, required: true}
  there: there
vars:
  certificate: '{{ server.environment.certificate }}'
  here: '{{ server.environment.server_pid }}'
steps:
  - id: image
    request: GET /1.0/images/aliases/busybox
  - id: secret
    request: POST /1.0/images/{{ image.metadata.target }}/secret
  - name: The image there
    remote: '{{ there }}'
    request: POST /1.0/images
    body:
      source:
        type: image
        mode: pull
        server: 'https://{{ address }}'
        protocol: '{{ server.flavor }}'
        certificate: '{{ certificate }}'
        fingerprint: '{{ image.metadata.target }}'
        secret: '{{ secret.metadata.secret }}'
  - request: POST /1.0/instances
    body:
      name: moved
      source: {type: image, alias: busybox}
  - id: offer
    request: POST /1.0/instances/moved
    body: {name: moved, migration: true}
  - remote: '{{ there }}'
    steps:
      - request: POST /1.0/instances
        body:
          name: moved
          architecture: '{{ server.environment.kernel_architecture }}'
          source:
            type: migration
            mode: pull
            operation: 'https://{{ address }}/1.0/operations/{{ offer.operation.id }}'
            certificate: '{{ certificate }}'
            secrets: '{{ offer.metadata }}'
      - remote: '{{ run.id and there }}'
        parallel:
          - request: POST /1.0/instances
            body:
              name: beside
              source: {type: image, fingerprint: '{{ image.metadata.target }}'}
          - id: look
            request: GET /1.0/instances/moved
      - set: {where_it_is: '{{ look.metadata.name }}'}
      - request: GET /1.0/instances/moved
        until: metadata.name == where_it_is
        within: 5s
  - remote: '{{ there }}'
    request: GET /1.0
    capture: {away: metadata.environment.server_pid}
  - remote: '{{ there }}'
    check: server.environment.server_pid == away
  - check: server.environment.server_pid == here
outputs:
  here: '{{ here }}'
  there: '{{ away }}'
  again: '{{ server.environment.server_pid }}'
";

#[test]
fn a_certificate_that_is_restricted_to_projects_is_told_what_it_lacks() {
    for flavor in daemons() {
        println!("--- {flavor}");
        let daemon = Daemon::start(flavor);
        let _network = daemon.enter_network();
        let local = connect(&daemon);
        let (address, certificate) = listen(&local);
        let project = json!({"name": "ci", "config": {"features.images": "false"}});
        local
            .request(&Request::post("projects").json(project))
            .unwrap();
        let pair = Pair::new();
        let body = json!({
            "name": "restricted",
            "type": "client",
            "restricted": true,
            "projects": ["ci"],
            "certificate": base64(pair.identity().certificate().der()),
        });
        local
            .request(&Request::post("certificates").json(body))
            .unwrap();
        let home = Home::new();
        fs::write(home.path().join("p.yaml"), CHANGE).unwrap();
        let url = format!("https://{address}");
        let pin = certificate.fingerprint().to_string();
        let variables = [
            ("MALLEUS_REMOTE", url.as_str()),
            ("MALLEUS_CLIENT_CERT", pair.certificate.as_str()),
            ("MALLEUS_CLIENT_KEY", pair.key.as_str()),
            ("MALLEUS_SERVER_CERT", pin.as_str()),
        ];
        for arguments in [
            ["run", "p.yaml"].as_slice(),
            &["request", "POST", "profiles", "--body", r#"{"name": "p"}"#],
        ] {
            let said = home.bad(1, arguments, &variables);
            assert!(
                said.contains("a certificate that is restricted to projects must name one"),
                "{said}"
            );
            let with_project = [arguments, &["--project", "ci"]].concat();
            let ran = home.run_with(&with_project, &variables);
            assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
        }
    }
}

/// Lists would not do: Incus 7 leaves out what a certificate may not see.
const CHANGE: &str = "
playbook: 1
name: change
steps:
  - request: POST /1.0/profiles
    body: {name: p}
    cleanup: {request: DELETE /1.0/profiles/p}
";
