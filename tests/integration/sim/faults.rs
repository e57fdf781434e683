//! The program on simulated daemons that fail: on order, at random, and under load.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::program::{Ran, Running, malleus};
use malleus::client::{Client, Remote, Request};
use malleus::sim::{Flavor, Options, Sim, Time};

/// How many seeds are tried, unless `MALLEUS_SEEDS` says another number, or `FIRST..LAST`.
const SEEDS: u64 = 100;

/// Longer than a run may take whatever goes wrong.
const HANGS: Duration = Duration::from_secs(60);

fn file(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join(name).display().to_string()
}

fn run(arguments: &[&str]) -> Ran {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = malleus(folder.path());
    Running::start(command.args(arguments), None)
        .end_within(HANGS)
        .unwrap_or_else(|ran| panic!("{arguments:?} hangs: {}", ran.stderr()))
}

/// What a simulated daemon holds.
fn held(sim: &Sim) -> BTreeSet<String> {
    let client = Client::connect(&Remote::Unix(sim.socket().to_owned())).expect("connected");
    let lists = [
        "instances",
        "profiles",
        "projects",
        "networks",
        "storage-pools",
        "storage-pools/default/volumes/custom",
        "images",
        "images/aliases",
    ];
    let all = lists.iter().flat_map(|list| {
        let reply = client.request(&Request::get(*list)).expect("a list");
        reply.metadata().as_array().cloned().unwrap_or_default()
    });
    all.filter_map(|path| path.as_str().map(str::to_owned))
        .collect()
}

/// What it holds beyond what it began with.
fn left(sim: &Sim, brand: Flavor) -> Vec<String> {
    sim.end_faults();
    let began = held(&Sim::start(Options::new(brand)).expect("it starts"));
    held(sim).difference(&began).cloned().collect()
}

#[test]
fn the_quickstart_needs_no_daemon_and_no_image() {
    // Alone, as in a fresh checkout: nobody has made an image there.
    let folder = tempfile::tempdir().expect("a folder");
    let quickstart = folder.path().join("quickstart.yaml");
    std::fs::copy(file("scenarios/quickstart.yaml"), &quickstart).expect("copied");
    let quickstart = quickstart.display().to_string();
    let start = Instant::now();
    let ran = run(&["run", &quickstart, "--sim"]);
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    assert!(
        ran.stderr().starts_with("a simulated daemon: "),
        "{}",
        ran.stderr()
    );
    // Generous: it takes a tenth of this where the machine has nothing else to do.
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn every_scenario_ends_well_on_both_brands() {
    let folder = tempfile::tempdir().expect("a folder");
    let built = Command::new(file("scenarios/images/build")).output();
    let built = built.is_ok_and(|built| built.status.success());
    for entry in std::fs::read_dir(file("scenarios")).expect("a folder") {
        let path = entry.expect("an entry").path();
        // Its tarball is made by a script, which not every machine can run.
        let importing = path.ends_with("image.yaml");
        if path.extension().is_none_or(|extension| extension != "yaml") || (importing && !built) {
            continue;
        }
        let path = path.display().to_string();
        for brand in [Flavor::Incus, Flavor::Lxd] {
            let sim = format!("--sim={brand}");
            let to = format!("to={}", folder.path().display());
            let mut arguments = vec!["run", path.as_str(), sim.as_str()];
            if path.ends_with("files.yaml") {
                arguments.extend(["--var", to.as_str()]);
            }
            let ran = run(&arguments);
            assert_eq!(ran.code(), Some(0), "{path} on {brand}: {}", ran.stderr());
        }
    }
}

#[test]
fn under_random_faults_nothing_is_left_unsaid() {
    let wanted = std::env::var("MALLEUS_SEEDS").unwrap_or_default();
    let number = |text: &str| text.parse::<u64>().ok();
    let next = Mutex::new(match wanted.split_once("..") {
        Some((first, last)) => number(first).expect("a seed")..=number(last).expect("a seed"),
        None => 1..=number(&wanted).unwrap_or(SEEDS),
    });
    let wrong = Mutex::new(Vec::new());
    thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| {
                while let Some(seed) = { next.lock().expect("no panic").next() } {
                    if let Err(why) = under_seed(seed) {
                        wrong
                            .lock()
                            .expect("no panic")
                            .push(format!("seed {seed}: {why}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no panic");
    assert!(
        wrong.is_empty(),
        "{} seeds:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn under_seed(seed: u64) -> Result<(), String> {
    let brand = if seed.is_multiple_of(2) {
        Flavor::Incus
    } else {
        Flavor::Lxd
    };
    let sim = Sim::start(Options {
        seed: Some(seed),
        time: Time::Virtual,
        ..Options::new(brand)
    });
    let sim = sim.expect("it starts");
    let socket = sim.socket().display().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let playbook = file("tests/sim/faults.yaml");
    let does = |arguments: &[&str]| {
        let mut command = malleus(folder.path());
        let command = command.args(arguments).args(["--remote", &socket]);
        Running::start(command, None)
            .end_within(HANGS)
            .map_err(|ran| format!("{arguments:?} hangs\n{}", ran.stderr()))
    };
    // Each way of running a playbook has an end of its own.
    let (ran, before) = match seed / 2 % 3 {
        0 => (does(&["run", &playbook])?, String::new()),
        1 => (does(&["test", &playbook])?, String::new()),
        _ => {
            let up = does(&["up", &playbook])?;
            let told = format!("exit code {:?} of up\n{}", up.code(), up.stderr());
            if !matches!(up.code(), Some(0 | 1 | 3 | 4)) {
                return Err(told);
            }
            (does(&["down", "--all"])?, told)
        }
    };
    let stderr = ran.stderr();
    let left = left(&sim, brand);
    match ran.code() {
        Some(0 | 1 | 3) if left.is_empty() => Ok(()),
        Some(4) => {
            let unsaid = left.iter().find(|path| {
                let name = path.rsplit('/').next().unwrap_or_default();
                !stderr.contains(name)
            });
            unsaid.map_or(Ok(()), |path| {
                Err(format!("{path} is left and not named\n{before}{stderr}"))
            })
        }
        code => Err(format!(
            "exit code {code:?}, left {left:?}\n{before}{stderr}"
        )),
    }
}

#[test]
fn an_hour_of_waiting_passes_in_the_order_in_which_it_would() {
    // Longer than this test may take.
    let ran = run(&["run", &file("tests/sim/minutes.yaml"), "--sim"]);
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    let stderr = ran.stderr();
    for said in [
        "did not hold within 5m",
        // 4 minutes, the longest of three commands side by side, an hour, and 5 minutes.
        "1 failed and tolerated, 1 cleaned up in 1h10m2",
    ] {
        assert!(stderr.contains(said), "{said}: {stderr}");
    }
}

#[test]
fn a_limit_passes_where_it_would() {
    let minutes = file("tests/sim/minutes.yaml");
    let ran = run(&["run", &minutes, "--sim", "--var", "third=100"]);
    assert_eq!(ran.code(), Some(1), "{}", ran.stderr());
    let stderr = ran.stderr();
    for said in ["✗ exec in c1: sleep 100", "the step limit of 1m30s passed"] {
        assert!(stderr.contains(said), "{said}: {stderr}");
    }
    assert!(!stderr.contains("✗ exec in c1: sleep 6"), "{stderr}");
}

#[test]
fn two_thousand_instances_are_built_side_by_side() {
    let sim = Sim::start(Options::new(Flavor::Incus)).expect("it starts");
    let socket = sim.socket().display().to_string();
    let many = file("tests/sim/many.yaml");
    let ran = run(&[
        "run",
        &many,
        "--remote",
        &socket,
        "--parallel",
        "64",
        "--quiet",
    ]);
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    assert_eq!(left(&sim, Flavor::Incus).len(), 2000);
}

#[test]
fn a_signal_ends_down_before_the_next_environment() {
    const PLAYBOOK: &str = "playbook: 1\nname: env\nsteps:\n\
        - request: POST instances\n  body: {name: 'i-{{ run.id }}', source: {type: image, alias: busybox}}\n";
    let sim = Sim::start(Options {
        rules: vec!["DELETE instances/*=slow:3s".parse().expect("a rule")],
        ..Options::new(Flavor::Incus)
    });
    let sim = sim.expect("it starts");
    let socket = sim.socket().display().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("env.yaml"), PLAYBOOK).expect("written");
    let start = |arguments: &[&str]| {
        let mut command = malleus(folder.path());
        Running::start(command.args(arguments).args(["--remote", &socket]), None)
    };
    for name in ["earlier", "later"] {
        let ran = start(&["up", "env.yaml", "--name", name]).end();
        assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    }
    let client = Client::connect(&Remote::Unix(sim.socket().to_owned())).expect("connected");
    let down = start(&["down", "--all"]);
    let begun = Instant::now();
    loop {
        let operations = client.request(&Request::get("operations")).expect("a list");
        if operations.metadata()["running"].is_array() {
            break;
        }
        assert!(begun.elapsed() < HANGS, "nothing is removed");
        thread::sleep(Duration::from_millis(10));
    }
    down.signal("INT");
    let ran = down.end();
    assert_eq!(ran.code(), Some(130), "{}", ran.stderr());
    let runs = start(&["runs"]).end();
    assert!(runs.stdout().contains("earlier"), "{}", runs.stdout());
    let ran = start(&["down", "--all"]).end();
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    assert_eq!(left(&sim, Flavor::Incus), Vec::<String>::new());
}

#[test]
fn a_file_in_the_place_of_the_socket_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("data");
    std::fs::write(&file, "precious").expect("written");
    let socket = file.display().to_string();
    let ran = run(&["sim", "--socket", &socket]);
    assert_eq!(ran.code(), Some(2), "{}", ran.stderr());
    assert_eq!(std::fs::read(&file).expect("it is there"), b"precious");
}

#[test]
fn a_seed_brings_the_same_again() {
    let quickstart = file("scenarios/quickstart.yaml");
    let marks = |seed: &str| {
        let ran = run(&[
            "run",
            &quickstart,
            "--sim",
            "--sim-virtual-time",
            "--sim-seed",
            seed,
        ]);
        let stderr = ran.stderr();
        let marks = stderr.lines().filter_map(|line| {
            let mark = line.trim_start().chars().next()?;
            "✓✗!×".contains(mark).then_some(mark)
        });
        (ran.code(), marks.collect::<String>())
    };
    let seeds = ["1", "4", "5", "12", "17", "39"];
    let first: Vec<_> = seeds.iter().map(|seed| marks(seed)).collect();
    let again: Vec<_> = seeds.iter().map(|seed| marks(seed)).collect();
    assert_eq!(first, again);
    assert!(first.iter().any(|(code, _)| *code != Some(0)), "{first:?}");
}

#[test]
fn options_go_before_variables() {
    let sim = Sim::start(Options::new(Flavor::Lxd)).expect("it starts");
    let socket = sim.socket().display().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let asked = |variables: &[(&str, &str)], options: &[&str]| {
        let mut command = malleus(folder.path());
        command.args(["request", "GET", "/1.0"]).args(options);
        command.envs(variables.iter().copied());
        Running::start(&mut command, None).end()
    };
    let remote = ["--remote", socket.as_str()];
    for (variables, options, server) in [
        (vec![("MALLEUS_REMOTE", "/none")], vec!["--sim"], "incus"),
        (vec![("MALLEUS_SIM", "incus")], remote.to_vec(), "lxd"),
        (vec![("MALLEUS_SIM", "incus")], vec![], "incus"),
        (vec![("MALLEUS_SIM", "")], remote.to_vec(), "lxd"),
    ] {
        let ran = asked(&variables, &options);
        assert_eq!(ran.code(), Some(0), "{variables:?}: {}", ran.stderr());
        let said = format!("\"server\": \"{server}\"");
        assert!(ran.stdout().contains(&said), "{variables:?} {options:?}");
    }
    let both = [("MALLEUS_SIM", "lxd"), ("MALLEUS_REMOTE", socket.as_str())];
    let ran = asked(&both, &[]);
    assert_eq!(ran.code(), Some(2), "{}", ran.stderr());
}

#[test]
fn each_playbook_has_the_faults_that_it_ordered() {
    let folder = tempfile::tempdir().expect("a folder");
    let playbook = |name: &str, sim: &str| {
        let file = folder.path().join(name);
        let text = format!(
            "playbook: 1\nname: {name}\n{sim}steps:\n  - request: GET profiles/default\n    timeout: 2s\n"
        );
        std::fs::write(&file, text).expect("written");
        file.display().to_string()
    };
    let faults = "sim:\n  faults: [{on: GET profiles/default, fault: malformed}]\n";
    let first = playbook("first", faults);
    let second = playbook("second", "");
    let ran = run(&["test", &first, &second, "--sim"]);
    assert_eq!(ran.code(), Some(1), "{}", ran.stderr());
    let told = ran.stderr();
    assert!(told.contains("2 playbooks: 1 failed, 1 passed"), "{told}");
}

#[test]
fn faults_happen_on_order() {
    let cases = [
        ("GET instances#1=unavailable", 0),
        ("GET instances#1=locked", 0),
        ("GET instances=trickle", 0),
        ("GET instances#1=reset-before", 0),
        ("GET instances=malformed", 1),
        ("GET instances=truncated", 1),
    ];
    for (fault, code) in cases {
        let arguments = ["request", "GET", "instances", "--sim", "--sim-fault", fault];
        let ran = run(&arguments);
        let seen = ran.code();
        if code == 1 {
            assert_eq!(seen, Some(1), "{fault}: {}", ran.stderr());
        } else {
            assert!(matches!(seen, Some(0 | 1)), "{fault}: {}", ran.stderr());
        }
    }
}

#[test]
fn cleanup_and_finally_have_one_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("playbook.yaml");
    let playbook = "playbook: 1\nname: limit\nsteps:\n  - ensure: instances/x1\n    \
        body: {source: {type: image, alias: busybox}}\n    cleanup: {absent: instances/x1}\n\
        finally:\n  - absent: instances/x1\n";
    std::fs::write(&file, playbook).expect("a file");
    let file = file.display().to_string();
    let fault = "DELETE instances/*=never";
    for command in ["run", "test"] {
        let start = Instant::now();
        let arguments = [
            command,
            &file,
            "--sim",
            "--sim-fault",
            fault,
            "--cleanup-timeout",
            "10s",
        ];
        let ran = run(&arguments);
        let took = start.elapsed();
        assert_eq!(ran.code(), Some(4), "{}", ran.stderr());
        assert!(
            took < Duration::from_secs(18),
            "{command}: {took:?}\n{}",
            ran.stderr()
        );
    }
}

#[test]
fn an_upload_of_no_file_is_refused_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
    assert!(made.success());
    for (source, said) in [
        ("pipe", "it is a pipe"),
        ("/dev/zero", "it is a device"),
        ("/proc/version", "it is a file of /proc"),
        (".", "it is a folder"),
    ] {
        // By a template: the static check sees no name.
        let playbook = format!(
            "playbook: 1\nname: upload\nvars: {{file: \"{source}\"}}\nsteps:\n  \
            - request: POST profiles\n    body: {{name: p}}\n    cleanup: [request: DELETE profiles/p]\n  \
            - request: POST images\n    upload: \"{{{{ file }}}}\"\n    timeout: 30s\n"
        );
        std::fs::write(folder.path().join("playbook.yaml"), playbook).expect("a file");
        let mut command = malleus(folder.path());
        let start = Instant::now();
        let ran = Running::start(command.args(["run", "playbook.yaml", "--sim"]), None).end();
        assert_eq!(ran.code(), Some(1), "{source}: {}", ran.stderr());
        assert!(ran.stderr().contains(said), "{source}: {}", ran.stderr());
        assert!(start.elapsed() < Duration::from_secs(25), "{source}");
    }
}
