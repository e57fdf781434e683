//! `malleus doctor`: whether playbooks can run on a server, and how to mend what is missing.

use std::time::Duration;

use anyhow::{Context, Result};
use malleus::client::{
    Client, Error, Flavor, Https, Remote, Request, encode, presented_certificate,
};
use malleus::diagnostic::Diagnostic;
use malleus_remotes::{Catalog, Entry, Place, Resolved};
use serde_json::{Value, json};

use super::Code;
use super::args::{Common, Doctor, ListFormat};
use super::connect::{open, resolve, unreachable, unresolved, untrusted, variable};
use super::console::Console;

/// How long an image server has to show itself.
const REACH: Duration = Duration::from_secs(3);

/// What playbooks use that old servers do not have.
const EXTENSIONS: [(&str, &str); 5] = [
    ("instances", "any playbook"),
    ("projects", "`isolate: true`"),
    ("container_exec_recording", "`exec:` with recorded output"),
    ("event_lifecycle", "waiting by events"),
    ("resources", "the number of operations at a time"),
];

/// Image servers where no client knows one.
const IMAGE_SERVERS: [(Flavor, &str); 2] = [
    (Flavor::Incus, "images.linuxcontainers.org"),
    (Flavor::Lxd, "cloud-images.ubuntu.com"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    /// Playbooks run, but not all of them.
    Poor,
    Bad,
    /// As bad, and nothing else can be looked at.
    Shut,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Poor => "warning",
            Self::Bad | Self::Shut => "error",
        }
    }

    fn mark(self) -> char {
        match self {
            Self::Good => '✓',
            Self::Poor => '!',
            Self::Bad | Self::Shut => '✗',
        }
    }
}

/// One thing that was looked at.
struct Check {
    name: &'static str,
    state: State,
    found: String,
    /// What mends it.
    mend: Option<String>,
}

impl Check {
    fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self::new(name, State::Good, found)
    }

    fn new(name: &'static str, state: State, found: impl Into<String>) -> Self {
        Self {
            name,
            state,
            found: found.into(),
            mend: None,
        }
    }

    fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = Some(mend.into());
        self
    }

    fn of(name: &'static str, problem: &Diagnostic) -> Self {
        let mut check = Self::new(name, State::Shut, problem.message.clone());
        check.mend.clone_from(&problem.help);
        check
    }
}

pub(crate) fn main(common: &Common, args: &Doctor, console: &Console) -> Result<Code> {
    let catalog = Catalog::read(&variable);
    let mut names: Vec<Option<String>> = args.names.iter().cloned().map(Some).collect();
    if let (true, Ok(catalog)) = (args.all, &catalog) {
        let usable = |entry: &&Entry| !matches!(entry.place, Place::Images(_));
        names.extend(
            catalog
                .entries()
                .iter()
                .filter(usable)
                .map(|entry| Some(entry.label())),
        );
    }
    if names.is_empty() {
        names.push(common.remote.clone());
    }
    let images = image_servers(catalog.as_ref().ok());
    let mut code = Code::Fine;
    let mut all = Vec::new();
    for name in names {
        let name = name.as_deref();
        let (shown, checks) = examine(name, common, &images, console);
        code = graver(code, &checks);
        match args.format {
            ListFormat::Human => tell(&shown, &checks, console),
            ListFormat::Json => all.push(as_json(&shown, &checks)),
        }
    }
    if args.format == ListFormat::Json {
        let text = format!("{:#}\n", Value::from(all));
        Console::data(text.as_bytes()).context("cannot write to stdout")?;
    }
    Ok(code)
}

fn graver(code: Code, checks: &[Check]) -> Code {
    let worst = |state| checks.iter().any(|check| check.state == state);
    if worst(State::Shut) {
        Code::Unreachable
    } else if worst(State::Bad) && code == Code::Fine {
        Code::Failed
    } else {
        code
    }
}

fn tell(shown: &str, checks: &[Check], console: &Console) {
    console.human.line(shown);
    for check in checks {
        console.human.line(&format!(
            "  {} {:<11} {}",
            check.state.mark(),
            check.name,
            check.found
        ));
        if let Some(mend) = &check.mend {
            console.human.line(&format!("      {mend}"));
        }
    }
}

fn as_json(shown: &str, checks: &[Check]) -> Value {
    let checks: Vec<Value> = checks
        .iter()
        .map(|check| json!({"check": check.name, "state": check.state.name(), "found": check.found, "mend": check.mend}))
        .collect();
    json!({"remote": shown, "checks": checks})
}

/// Looks at one server; how it is called, and what was found.
fn examine(
    name: Option<&str>,
    common: &Common,
    images: &[String],
    console: &Console,
) -> (String, Vec<Check>) {
    let called = || name.unwrap_or("this machine").to_owned();
    let resolved = match resolve(name, common.remote.as_deref()) {
        Ok(resolved) => resolved,
        Err(error) => return (called(), vec![Check::of("remote", &unresolved(&error).1)]),
    };
    let shown = resolved.remote.to_string();
    let client = match open(&resolved, common.clock(), console) {
        Ok(client) => client,
        Err(error) => {
            let what = match error {
                Error::Unverified { .. } | Error::InvalidIdentity { .. } => "verified",
                Error::Api(_) => "trusted",
                _ => "reachable",
            };
            return (shown, vec![Check::of(what, &unreachable(&error))]);
        }
    };
    let client = match &common.project {
        Some(project) => client.with_project(project),
        None => client,
    };
    let mut checks = vec![Check::good("reachable", &shown), verified(&resolved)];
    let server = client.server();
    if !server.is_trusted() {
        checks.push(Check::of("trusted", &untrusted(&client, &resolved)));
        return (shown, checks);
    }
    let whom = server.metadata["auth_user_name"]
        .as_str()
        .map(|name| name.chars().take(12).collect::<String>());
    let method = server.metadata["auth_user_method"]
        .as_str()
        .unwrap_or("unix");
    checks.push(Check::good(
        "trusted",
        match whom.filter(|name| !name.is_empty()) {
            Some(name) => format!("as {name} ({method})"),
            None => "yes".to_owned(),
        },
    ));
    let cluster = if server.clustered {
        ", member of a cluster"
    } else {
        ""
    };
    checks.push(Check::good(
        "server",
        format!("{} {}{cluster}", server.flavor.title(), server.version),
    ));
    checks.extend([
        extensions(&client),
        project(&client),
        pool(&client),
        root_disk(&client),
        local_images(&client, images),
    ]);
    (shown, checks)
}

fn verified(resolved: &Resolved) -> Check {
    use malleus::client::Trust;
    match &resolved.remote {
        Remote::Https(server) => Check::good(
            "verified",
            match &server.trust {
                Trust::Pinned(pin) => format!("TLS 1.3, certificate {pin} (pinned)"),
                _ => "TLS 1.3, certificate vouched for by an authority".to_owned(),
            },
        ),
        _ => Check::good("verified", "a socket of this machine"),
    }
}

fn extensions(client: &Client) -> Check {
    let server = client.server();
    let missing: Vec<String> = EXTENSIONS
        .iter()
        .filter(|(name, _)| !server.has_extension(name))
        .map(|(name, used)| format!("{name} ({used})"))
        .collect();
    if missing.is_empty() {
        return Check::good(
            "extensions",
            format!("{} of the API, none is missing", server.extensions.len()),
        );
    }
    let found = format!("missing: {}", missing.join(", "));
    Check::new("extensions", State::Poor, found)
        .mend("a newer version of the server has them: at least LXD 4.0, or any Incus")
}

/// The command of the flavor's client for this server.
fn tool(client: &Client) -> &'static str {
    match client.server().flavor {
        Flavor::Incus => "incus",
        Flavor::Lxd => "lxc",
    }
}

fn failed(name: &'static str, error: &Error) -> Check {
    Check::new(name, State::Bad, error.to_string())
}

fn project(client: &Client) -> Check {
    let name = client.project().unwrap_or("default");
    match client.request(&Request::get(format!("projects/{}", encode(name)))) {
        Ok(_) => Check::good("project", name),
        Err(error) if error.status() == Some(404) => Check::new(
            "project",
            State::Bad,
            format!("there is no project {name}, or we may not use it"),
        )
        .mend(format!("{} project create {name}", tool(client))),
        Err(error) => failed("project", &error)
            .mend("this client may be restricted to projects: name one with `--project`"),
    }
}

fn pool(client: &Client) -> Check {
    match client.request(&Request::get("storage-pools?recursion=1")) {
        Ok(reply) => {
            let pools: Vec<String> = list(reply.metadata())
                .map(|pool| format!("{} ({})", text(&pool["name"]), text(&pool["driver"])))
                .collect();
            if pools.is_empty() {
                return Check::new(
                    "pool",
                    State::Bad,
                    "there is no storage pool: no instance can be created",
                )
                .mend(format!("{} storage create default dir", tool(client)));
            }
            Check::good("pool", pools.join(", "))
        }
        Err(error) => failed("pool", &error),
    }
}

fn root_disk(client: &Client) -> Check {
    match client.request(&Request::get("profiles/default")) {
        Ok(reply) => {
            let devices = reply.metadata()["devices"].as_object();
            let has_root = devices
                .into_iter()
                .flatten()
                .any(|(_, device)| device["type"] == "disk" && device["path"] == "/");
            if has_root {
                return Check::good("profile", "default, with a root disk");
            }
            Check::new("profile", State::Poor, "the default profile has no root disk: playbooks must name a pool for each instance")
                .mend(format!("{} profile device add default root disk path=/ pool=default", tool(client)))
        }
        Err(error) => failed("profile", &error),
    }
}

fn local_images(client: &Client, servers: &[String]) -> Check {
    let local = match client.request(&Request::get("images")) {
        Ok(reply) => list(reply.metadata()).count(),
        Err(error) => return failed("images", &error),
    };
    let own = IMAGE_SERVERS
        .iter()
        .filter(|(flavor, _)| *flavor == client.server().flavor);
    let mut hosts: Vec<&str> = servers.iter().map(String::as_str).collect();
    if hosts.is_empty() {
        hosts.extend(own.map(|(_, host)| *host));
    }
    let (reached, away): (Vec<&str>, Vec<&str>) = hosts.into_iter().partition(|host| answers(host));
    let found = format!(
        "{} on the server",
        malleus::diagnostic::count(local, "image")
    );
    match (local, reached.is_empty()) {
        (_, false) => Check::good(
            "images",
            format!("{found}; {} can be reached from here", reached.join(", ")),
        ),
        (0, true) => Check::new(
            "images",
            State::Poor,
            format!("{found}; {} cannot be reached from here", away.join(", ")),
        )
        .mend(format!(
            "{} image import FILE --alias NAME, or let the server reach an image server",
            tool(client)
        )),
        (_, true) => Check::good(
            "images",
            format!("{found}; {} cannot be reached from here", away.join(", ")),
        ),
    }
}

/// Whether a server of images is there: it shows its certificate.
fn answers(host: &str) -> bool {
    let Ok(address) = format!("{host}:443").parse() else {
        return false;
    };
    let proxy = malleus::client::Proxy::of_environment(&variable, &address)
        .ok()
        .flatten();
    let server = Https {
        proxy,
        ..Https::at(address)
    };
    presented_certificate(&server, REACH).is_ok()
}

/// The hosts of the image servers that the clients know, each once.
fn image_servers(catalog: Option<&Catalog>) -> Vec<String> {
    let entries = catalog.map(Catalog::entries).unwrap_or_default();
    let mut hosts: Vec<String> = entries
        .iter()
        .filter_map(|entry| match &entry.place {
            Place::Images(address) => address
                .strip_prefix("https://")?
                .split('/')
                .next()
                .map(str::to_owned),
            _ => None,
        })
        .collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
