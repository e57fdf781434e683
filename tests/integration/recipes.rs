//! The recipes of `docs/fixtures.md` do what they say, as users run them.
//!
//! `MALLEUS_PYTEST` names a `pytest` where the one in the path is not meant.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::daemon::{Daemon, Generation, daemons};
use crate::support::leftovers::Inventory;
use crate::support::program::{Ran, Running};
use malleus::source::Source;
use malleus_source::yaml;
use serde_json::Value;

fn recipes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recipes")
}

/// A copy of the recipes in a folder, led to a daemon of one's own.
struct Ground {
    daemon: Daemon,
    inventory: Inventory,
    folder: tempfile::TempDir,
}

impl Ground {
    fn new(generation: Generation) -> Self {
        let daemon = Daemon::start(generation);
        let folder = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(recipes()).unwrap() {
            let path = entry.unwrap().path();
            // Python's own leavings are no recipe.
            if path.is_file() {
                let name = path.file_name().unwrap();
                fs::copy(&path, folder.path().join(name)).unwrap();
            }
        }
        Self {
            inventory: Inventory::of(&daemon),
            daemon,
            folder,
        }
    }

    /// Runs a line of shell with `malleus` in its path, and looks that nothing is left.
    fn shell(&self, line: &str, environment: &[(String, String)]) -> Ran {
        let before = self.inventory.look();
        let program = Path::new(env!("CARGO_BIN_EXE_malleus")).parent().unwrap();
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-ec", line])
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", format!("{}:{path}", program.display()))
            .env("HOME", self.folder.path())
            .envs(environment.iter().cloned())
            .envs(self.daemon.environment());
        let ran = Running::start(&mut command, None).end();
        let now = self.inventory.look();
        let left: Vec<_> = now.difference(&before).map(ToString::to_string).collect();
        assert!(left.is_empty(), "{line}: {left:?}\n{}", ran.stderr());
        ran
    }

    fn holds(&self, line: &str, environment: &[(String, String)]) -> Ran {
        let ran = self.shell(line, environment);
        let told = format!("{line}\n{}{}", ran.stdout(), ran.stderr());
        assert_eq!(ran.code(), Some(0), "{told}");
        ran
    }
}

fn recipe(name: &str) -> Value {
    let source = Source::read(&recipes().join(name)).unwrap();
    let node = yaml::parse(&source).expect("the recipe is YAML");
    node.to_value()
}

fn texts(map: &Value) -> Vec<(String, String)> {
    let entries = map.as_object().into_iter().flatten();
    entries
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
        .collect()
}

#[test]
fn commands_and_scripts() {
    for flavor in daemons() {
        let ground = Ground::new(flavor);
        let ran = ground.holds("malleus with web.yaml -- python3 -m unittest test_web", &[]);
        assert!(ran.stderr().contains("Ran 1 test"), "{}", ran.stderr());
        ground.holds("./check-web", &[]);
        // One whose tests fail fails, and nothing is left of it either.
        for name in ["check-web", "test_web.py"] {
            let file = ground.folder.path().join(name);
            let wrong = fs::read_to_string(&file).unwrap().replace("hello", "hullo");
            fs::write(&file, wrong).unwrap();
        }
        let ran = ground.shell("./check-web", &[]);
        assert_eq!(ran.code(), Some(1), "{}", ran.stderr());
        let ran = ground.shell("malleus with web.yaml -- python3 -m unittest test_web", &[]);
        assert_eq!(ran.code(), Some(1), "{}", ran.stderr());
    }
}

#[test]
fn pytest_with_both_fixtures() {
    let pytest = std::env::var("MALLEUS_PYTEST").unwrap_or_else(|_| "pytest".into());
    let version = Command::new(&pytest).arg("--version").output();
    if !version.is_ok_and(|output| output.status.success()) {
        let text = "\n*** THE RECIPE WITH PYTEST IS LEFT OUT ***\nthere is no pytest; MALLEUS_PYTEST may name one\n";
        let live = std::env::var("MALLEUS_LIVE").unwrap_or_default();
        assert!(live != "required", "{text}");
        // Not eprintln!, whose output the test runner keeps back.
        std::io::stderr().write_all(text.as_bytes()).ok();
        return;
    }
    for flavor in daemons() {
        let ground = Ground::new(flavor);
        let around = ground.holds(
            &format!("malleus with web.yaml -- {pytest} test_greeting.py"),
            &[],
        );
        let inside = ground.holds(&format!("{pytest} test_greeting.py"), &[]);
        for ran in [around, inside] {
            assert!(ran.stdout().contains("1 passed"), "{}", ran.stdout());
        }
    }
}

#[test]
fn jobs_of_github_and_gitlab() {
    let github = &recipe("github.yaml")["jobs"]["web"];
    let gitlab = &recipe("gitlab.yaml")["web"];
    for flavor in daemons() {
        let ground = Ground::new(flavor);
        let mut environment = texts(&github["env"]);
        environment.retain(|(name, _)| name != "WEB_IMAGE");
        let mut lines = Vec::new();
        for step in github["steps"].as_array().unwrap() {
            // What sets up a machine is no business of this one.
            let is_ours = !step["name"]
                .as_str()
                .unwrap_or("Set up")
                .starts_with("Set up");
            lines.extend(step["run"].as_str().filter(|_| is_ours));
        }
        assert_eq!(lines.len(), 3, "{lines:?}");
        for line in lines {
            ground.holds(line, &environment);
        }
        assert!(ground.folder.path().join("playbooks.xml").is_file());

        let project = ground.folder.path().display().to_string();
        let mut environment = texts(&gitlab["variables"]);
        for (_, value) in &mut environment {
            *value = value.replace("$CI_PROJECT_DIR", &project);
        }
        for part in ["script", "after_script"] {
            for line in gitlab[part].as_array().unwrap() {
                ground.holds(line.as_str().unwrap(), &environment);
            }
        }
    }
}

#[test]
fn the_page_shows_the_recipes_as_they_are() {
    let page = recipes().join("../fixtures.md");
    let page = fs::read_to_string(page).unwrap();
    for entry in fs::read_dir(recipes()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).unwrap();
            let begin = format!("[`{name}`](recipes/{name}):\n\n```");
            let shown = page.split_once(&begin).expect(&name).1;
            let (_, shown) = shown.split_once('\n').unwrap();
            assert!(shown.starts_with(&format!("{text}```\n")), "{name}");
        }
    }
}
