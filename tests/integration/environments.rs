//! Environments: brought up, looked at, brought up again, used by a command, brought down.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::daemon::{Generation, daemons};
use crate::support::ground::Ground;
use crate::support::program::{LONGEST, Ran, Running, malleus};
use malleus::client::{Limit, Request, Wait};
use serde_json::{Value, json};

const PLAYBOOK: &str = r#"
playbook: 1
name: env
inputs: {memory: 32MiB, fails: false, token: {default: s3cr3t-of-the-env, secret: true}}
steps:
  - request: POST profiles
    body: {name: "p-{{ run.id }}", config: {limits.memory: "{{ memory }}", user.token: "{{ token }}"}, devices: {root: {type: disk, path: /, pool: default}}}
  - request: POST instances
    body: {name: "i-{{ run.id }}", profiles: ["p-{{ run.id }}"], source: {type: image, alias: busybox}}
    cleanup: {absent: "instances/i-{{ run.id }}"}
  - request: PUT instances/i-{{ run.id }}/state
    body: {action: start}
  - check: not fails
outputs:
  instance: "i-{{ run.id }}"
  ports: [80, 443]
  token: "{{ token }}"
"#;

/// The ground with the playbook, and the program on it as a user has it.
struct Site {
    ground: Ground,
}

impl Site {
    fn new(generation: Generation) -> Self {
        let ground = Ground::new(generation);
        ground.write("env.yaml", PLAYBOOK);
        Self { ground }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut program = malleus(self.ground.folder.path());
        program
            .env("MALLEUS_REMOTE", &self.ground.daemon.socket)
            .args(arguments);
        program
    }

    fn malleus(&self, arguments: &[&str]) -> Ran {
        Running::start(&mut self.command(arguments), None).end()
    }

    /// Runs the program, which ends with this code.
    fn ends(&self, code: i32, arguments: &[&str]) -> Ran {
        let ran = self.malleus(arguments);
        let flavor = self.ground.daemon.flavor;
        let told = format!(
            "{flavor}: {arguments:?}\n{}\n{}",
            ran.stdout(),
            ran.stderr()
        );
        assert_eq!(ran.code(), Some(code), "{told}");
        ran
    }

    fn journals(&self) -> Vec<PathBuf> {
        self.ground.journals()
    }

    fn left(&self) -> Vec<String> {
        self.ground.left()
    }

    fn assert_clean(&self) {
        let flavor = self.ground.daemon.flavor;
        assert_eq!(self.left(), Vec::<String>::new(), "{flavor}");
        assert_eq!(self.journals(), Vec::<PathBuf>::new(), "{flavor}");
    }
}

fn on_both(case: fn(Site)) {
    thread::scope(|threads| {
        for flavor in daemons() {
            threads.spawn(move || case(Site::new(flavor)));
        }
    });
}

fn output<'a>(stdout: &'a str, name: &str) -> &'a str {
    let mut lines = stdout.lines();
    lines
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .unwrap_or_else(|| panic!("no {name} in {stdout}"))
}

#[test]
fn an_environment_comes_up_once_and_is_brought_to_its_state_again() {
    on_both(|site| {
        let up = site.ends(0, &["up", "env.yaml", "--name", "web"]);
        let instance = output(&up.stdout(), "MALLEUS_INSTANCE").to_owned();
        assert_eq!(output(&up.stdout(), "MALLEUS_PORTS"), "\"[80,443]\"");
        assert!(
            up.stderr().contains("`malleus down web` removes it"),
            "{}",
            up.stderr()
        );

        let runs = site.ends(0, &["runs", "--format", "json"]);
        let runs: Value = serde_json::from_str(&runs.stdout()).expect("JSON");
        assert_eq!(runs[0]["environment"], "web");
        assert_eq!(runs[0]["state"], "up");
        assert_eq!(
            runs[0]["resources"].as_array().map(Vec::len),
            Some(2),
            "{runs}"
        );

        // Somebody changes what the playbook says, and stops the instance.
        let client = site.ground.client.clone();
        let wait = Wait::within(Limit::after("test", Duration::from_secs(60)));
        let profile = instance.replace("i-", "p-");
        let drift = Request::patch(format!("profiles/{profile}"));
        let drift = drift.json(json!({"config": {"limits.memory": "48MiB"}}));
        client.run(&drift, &wait).expect("changed");
        let stop = Request::put(format!("instances/{instance}/state"));
        let stop = stop.json(json!({"action": "stop", "force": true}));
        client.run(&stop, &wait).expect("stopped");

        let again = site.ends(0, &["up", "env.yaml", "--name", "web"]);
        assert_eq!(output(&again.stdout(), "MALLEUS_INSTANCE"), instance);
        let told = again.stderr();
        assert!(
            told.contains("changed config.limits.memory: \"48MiB\" → \"32MiB\""),
            "{told}"
        );
        assert!(told.contains("POST instances: unchanged"), "{told}");
        let state = client.request(&Request::get(format!("instances/{instance}")));
        assert_eq!(state.expect("there").metadata()["status"], "Running");

        // A second name is a second environment.
        let other = site.ends(0, &["up", "env.yaml", "--name", "other"]);
        assert_ne!(output(&other.stdout(), "MALLEUS_INSTANCE"), instance);
        site.ends(0, &["down", "web"]);
        let table = site.ends(0, &["runs"]).stdout();
        assert!(
            table.contains("other (env)") && !table.contains("web"),
            "{table}"
        );
        site.ends(0, &["down", "--all"]);
        site.ends(0, &["down", "web"]);
        site.assert_clean();
    });
}

#[test]
fn what_does_not_come_up_is_removed_unless_it_is_kept() {
    on_both(|site| {
        site.ends(1, &["up", "env.yaml", "--var", "fails=true"]);
        site.assert_clean();
        let kept = [
            "up",
            "env.yaml",
            "--var",
            "fails=true",
            "--keep",
            "on-failure",
        ];
        let told = site.ends(1, &kept).stderr();
        assert!(
            told.contains("`malleus down env` removes what is there"),
            "{told}"
        );
        assert_eq!(site.left().len(), 2, "{told}");
        site.ends(0, &["down", "env"]);
        site.assert_clean();

        // A living environment is not taken away by an attempt that fails.
        site.ends(0, &["up", "env.yaml"]);
        site.ends(1, &["up", "env.yaml", "--var", "fails=true"]);
        assert_eq!(site.left().len(), 2);
        site.ends(0, &["down", "env"]);

        // A test that fails, kept to be looked at.
        site.ends(
            1,
            &[
                "test",
                "env.yaml",
                "--var",
                "fails=true",
                "--keep",
                "on-failure",
            ],
        );
        assert_eq!(site.left().len(), 2);
        site.ends(0, &["down", "--all"]);
        site.ends(0, &["test", "env.yaml", "--keep", "on-failure"]);
        // `run` removes what it is told to, and what stays after a failure can be brought down.
        let told = site
            .ends(1, &["run", "env.yaml", "--var", "fails=true"])
            .stderr();
        assert!(
            told.contains("1 resource of this run stays for now"),
            "{told}"
        );
        site.ends(0, &["down", "--all"]);
        site.ends(0, &["run", "env.yaml", "--keep", "never"]);
        site.assert_clean();
    });
}

#[test]
fn a_command_has_its_environment_for_as_long_as_it_runs() {
    on_both(|site| {
        let show = "printf '%s %s ' \"$MALLEUS_INSTANCE\" \"$MALLEUS_PORTS\"; stat -c %a \"$MALLEUS_OUTPUTS\"; \
                    cat \"$MALLEUS_OUTPUTS\"; exit 7";
        let ran = site.ends(7, &["with", "env.yaml", "--", "sh", "-c", show]);
        let stdout = ran.stdout();
        assert!(stdout.contains(" [80,443] 600\n"), "{stdout}");
        let object: Value = stdout
            .lines()
            .last()
            .and_then(|line| serde_json::from_str(line).ok())
            .expect("JSON");
        assert_eq!(object["ports"], json!([80, 443]));
        // The command is told; nobody else is.
        assert_eq!(object["token"], "s3cr3t-of-the-env");
        assert!(!ran.stderr().contains("s3cr3t"), "{}", ran.stderr());
        site.assert_clean();

        site.ends(127, &["with", "env.yaml", "--", "no-such-command"]);
        site.ends(126, &["with", "env.yaml", "--", "/etc/passwd"]);
        site.ends(
            137,
            &["with", "env.yaml", "--", "sh", "-c", "kill -KILL $$"],
        );
        site.ends(
            125,
            &["with", "env.yaml", "--var", "fails=true", "--", "true"],
        );
        site.ends(125, &["with", "missing.yaml", "--", "true"]);
        site.assert_clean();
    });
}

#[test]
fn signals_reach_the_command_and_then_all_is_removed() {
    on_both(|site| {
        let flavor = site.ground.daemon.flavor;
        let wait = "trap 'echo caught; exit 9' TERM INT; touch there; while :; do sleep 0.1; done";
        for signal in ["TERM", "INT"] {
            let there = site.ground.folder.path().join("there");
            let mut command = site.command(&["with", "env.yaml", "--", "sh", "-c", wait]);
            let running = Running::start(&mut command, None);
            let start = Instant::now();
            while !there.exists() && start.elapsed() < LONGEST {
                thread::sleep(Duration::from_millis(20));
            }
            running.signal(signal);
            let ran = running.end();
            assert_eq!(ran.code(), Some(9), "{flavor} {signal}: {}", ran.stderr());
            assert_eq!(ran.stdout(), "caught\n", "{flavor} {signal}");
            fs::remove_file(there).expect("removed");
            site.assert_clean();
        }
    });
}

#[test]
fn a_journal_may_end_in_the_middle_of_a_line() {
    on_both(|site| {
        site.ends(0, &["up", "env.yaml"]);
        let [journal] = &site.journals()[..] else {
            panic!("one journal");
        };
        let whole = fs::read_to_string(journal).expect("a journal");
        fs::write(journal, format!("{whole}{{\"at\":\"2026-")).expect("torn");
        let table = site.ends(0, &["runs"]).stdout();
        assert!(table.contains("2 resources"), "{table}");

        // A journal of a newer version is left alone.
        fs::write(journal, whole.replacen("\"journal\":1", "\"journal\":9", 1)).expect("newer");
        let told = site.ends(2, &["down", "--all"]).stderr();
        assert!(told.contains("a newer malleus wrote it"), "{told}");
        fs::write(journal, &whole).expect("mended");
        site.ends(0, &["down", "--all"]);
        site.assert_clean();
    });
}

#[test]
fn a_damaged_line_of_a_journal_takes_no_other_along() {
    on_both(|site| {
        site.ends(0, &["up", "env.yaml"]);
        let journal = site.journals().remove(0);
        let whole = fs::read_to_string(&journal).expect("a journal");
        // As after a disk that was full: a line that was begun, and the next one right behind it.
        let torn = whole.replacen("\n{\"at\"", "\n{\"at\":\"2026-{\"at\"", 1);
        assert_ne!(torn, whole);
        fs::write(&journal, torn).expect("damaged");
        let runs = site.ends(0, &["runs"]);
        assert!(runs.stdout().contains("2 resources"), "{}", runs.stdout());
        let told = runs.stderr();
        assert!(told.contains("line 2 is damaged"), "{told}");
        let told = site.ends(0, &["down", "--all"]).stderr();
        assert!(told.contains("line 2 is damaged"), "{told}");
        site.assert_clean();

        // The line with a name is lost: all else is removed, and the loss is said.
        site.ends(0, &["up", "env.yaml"]);
        let journal = site.journals().remove(0);
        let whole = fs::read_to_string(&journal).expect("a journal");
        fs::write(&journal, whole.replacen("{\"create\"", "{\"creat\"", 1)).expect("damaged");
        let told = site.ends(4, &["down", "--all"]).stderr();
        assert!(told.contains("line 2 is damaged"), "{told}");
        assert!(told.contains("1 resource of run"), "{told}");
        let left = site.left();
        assert!(
            matches!(&left[..], [one] if one.contains("profile")),
            "{left:?}"
        );
        fs::write(&journal, &whole).expect("mended");
        site.ends(0, &["down", "--all"]);
        site.assert_clean();
    });
}

#[test]
fn a_journal_that_others_may_have_written_is_not_obeyed() {
    on_both(|site| {
        site.ends(0, &["up", "env.yaml"]);
        let journal = site.journals().remove(0);
        let runs = journal.parent().expect("a folder").to_owned();
        let state = runs.parent().expect("a folder").to_owned();
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
        };
        for (path, mode, usual) in [
            (&journal, 0o666, 0o600),
            (&journal, 0o620, 0o600),
            (&runs, 0o777, 0o700),
            (&state, 0o777, 0o700),
        ] {
            set(path, mode);
            let told = site.ends(2, &["down", "--all"]).stderr();
            assert!(told.contains("other users may write to it"), "{told}");
            let cure = format!("chmod go-w {}", path.display());
            assert!(told.contains(&cure), "{told}");
            assert!(!site.left().is_empty());
            set(path, usual);
        }
        // Nor is one begun where others may write.
        set(&state, 0o777);
        let told = site
            .ends(2, &["up", "env.yaml", "--name", "other"])
            .stderr();
        assert!(told.contains("other users may write to it"), "{told}");
        set(&state, 0o700);
        // A link, and a file of somebody else, where the user may make one.
        let elsewhere = state.join("elsewhere");
        fs::rename(&journal, &elsewhere).expect("moved");
        symlink(&elsewhere, &journal).expect("a link");
        let told = site.ends(2, &["down", "--all"]).stderr();
        assert!(told.contains("no regular file"), "{told}");
        fs::rename(&elsewhere, &journal).expect("moved");
        if std::os::unix::fs::chown(&journal, Some(65534), None).is_ok() {
            let told = site.ends(2, &["down", "--all"]).stderr();
            assert!(told.contains("it belongs to user 65534"), "{told}");
            std::os::unix::fs::chown(&journal, Some(0), None).expect("root is allowed to");
        }
        site.ends(0, &["down", "--all"]);
        site.assert_clean();
    });
}

#[test]
fn an_unreadable_journal_stops_no_other() {
    on_both(|site| {
        site.ends(0, &["up", "env.yaml"]);
        let stray = site.ground.store().join("aaaaaa.jsonl");
        fs::write(&stray, "no journal\n").expect("written");
        let told = site.ends(1, &["down", "--all"]).stderr();
        assert!(told.contains("aaaaaa.jsonl"), "{told}");
        assert_eq!(site.left(), Vec::<String>::new());
        assert_eq!(site.journals(), std::slice::from_ref(&stray));
        site.ends(2, &["down", "--all"]);
        fs::remove_file(stray).expect("removed");
        site.assert_clean();
    });
}

#[test]
fn two_that_bring_down_the_same_wait_for_each_other() {
    on_both(|site| {
        for name in ["a", "b", "c"] {
            site.ends(0, &["up", "env.yaml", "--name", name]);
        }
        let down = || Running::start(&mut site.command(&["down", "--all"]), None);
        for ran in [down(), down()].map(Running::end) {
            assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
        }
        site.assert_clean();
    });
}

#[test]
fn a_run_in_progress_is_not_brought_down_under_itself() {
    on_both(|site| {
        let there = site.ground.folder.path().join("there");
        let wait = "touch there; while [ -e there ]; do sleep 0.1; done";
        let mut command = site.command(&["with", "env.yaml", "--", "sh", "-c", wait]);
        let running = Running::start(&mut command, None);
        let start = Instant::now();
        while !there.exists() && start.elapsed() < LONGEST {
            thread::sleep(Duration::from_millis(20));
        }
        let table = site.ends(0, &["runs"]).stdout();
        assert!(table.contains("running"), "{table}");
        let told = site.ends(1, &["down", "--all"]).stderr();
        assert!(told.contains("is still in progress"), "{told}");
        fs::remove_file(there).expect("removed");
        assert_eq!(running.end().code(), Some(0));
        site.assert_clean();
    });
}

const CHANGING: &str = r#"
playbook: 1
name: changing
inputs: {names: [a, b], extra: true, fails: false}
steps:
  - for_each: names
    ensure: profiles/{{ item }}-{{ run.id }}
  - when: extra
    request: POST profiles
    body: {name: "extra-{{ run.id }}"}
  - id: deep
    when: extra
    steps:
      - ensure: profiles/deep-{{ run.id }}
  - check: not fails
outputs: {names: "{{ names }}"}
"#;

#[test]
fn what_no_step_makes_any_more_is_removed_by_the_next_up() {
    on_both(|site| {
        site.ground.write("env.yaml", CHANGING);
        let less = [
            "up",
            "env.yaml",
            "--var",
            "names=[\"a\"]",
            "--var",
            "extra=false",
        ];
        let with = |more: &[&'static str]| [&less[..], more].concat();
        site.ends(0, &["up", "env.yaml"]);
        assert_eq!(site.left().len(), 4);

        // Kept and named, and left alone where a step fails.
        let told = site.ends(0, &with(&["--no-prune"])).stderr();
        assert_eq!(site.left().len(), 4, "{told}");
        assert_eq!(
            told.matches("no step makes it any more").count(),
            1,
            "{told}"
        );
        let told = site.ends(1, &with(&["--var", "fails=true"])).stderr();
        assert_eq!(site.left().len(), 4, "{told}");

        // The steps that were skipped keep what is theirs; the item that is gone does not.
        let told = site.ends(0, &less).stderr();
        assert!(told.contains("removed profile b-"), "{told}");
        assert_eq!(site.left().len(), 3, "{told}");
        let outputs = site.ends(0, &["outputs", "changing", "--out", "json"]);
        let outputs: Value = serde_json::from_str(&outputs.stdout()).expect("JSON");
        assert_eq!(outputs, json!({"names": ["a"]}));

        // A step that is gone from the file takes its own along. A line that has moved is no step that is gone.
        let without = CHANGING.replace("  - id: deep\n    when: extra\n    steps:\n      - ensure: profiles/deep-{{ run.id }}\n", "");
        site.ground.write(
            "env.yaml",
            &without.replace("steps:\n", "# moved\nsteps:\n"),
        );
        let told = site.ends(0, &less).stderr();
        assert!(told.contains("removed profile deep-"), "{told}");
        assert_eq!(site.left().len(), 2, "{told}");
        site.ends(0, &["down", "changing"]);
        site.assert_clean();
    });
}

#[test]
fn what_a_run_keeps_is_named_and_can_be_removed() {
    on_both(|site| {
        site.ground.write("env.yaml", CHANGING);
        let told = site.ends(0, &["run", "env.yaml"]).stderr();
        assert!(told.contains("  - profile extra-"), "{told}");
        assert!(told.contains("  names  [\"a\",\"b\"]"), "{told}");
        let runs = site.ends(0, &["runs", "--format", "json"]);
        let runs: Value = serde_json::from_str(&runs.stdout()).expect("JSON");
        assert_eq!(runs[0]["state"], "kept");
        assert_eq!(runs[0]["resources"].as_array().map(Vec::len), Some(4));
        let run = runs[0]["run"].as_str().expect("an id").to_owned();
        site.ends(0, &["run", "env.yaml"]);
        assert_eq!(site.left().len(), 8);

        site.ends(0, &["down", "--all"]);
        assert_eq!(site.left().len(), 8);
        site.ends(0, &["down", &run]);
        assert_eq!(site.left().len(), 4);
        site.ends(0, &["down", "--all", "--kept"]);
        site.assert_clean();
    });
}

#[test]
fn a_name_that_nothing_has_is_told_with_those_that_there_are() {
    on_both(|site| {
        site.ground.write("env.yaml", CHANGING);
        site.ends(0, &["up", "env.yaml"]);
        let told = site.ends(0, &["down", "chaning"]).stderr();
        assert!(told.contains("did you mean `changing`?"), "{told}");
        let told = site.ends(1, &["outputs", "chaning"]).stderr();
        assert!(told.contains("did you mean `changing`?"), "{told}");
        site.ends(0, &["down", "changing"]);
        site.assert_clean();
    });
}
