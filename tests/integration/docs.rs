//! What the project's own files say is true: the README, the scenarios, the schema.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::daemon::{Daemon, daemons};
use malleus::playbook::{check, schema};
use malleus::source::Source;
use malleus::template::Engine;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn scenarios() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("scenarios")).expect("scenarios");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    assert!(files.len() >= 4, "{files:?}");
    files
}

/// The fenced blocks of a Markdown text in one language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    text.split("\n```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.split_once('\n'))
        .filter(|(name, _)| *name == language)
        .map(|(_, block)| block)
        .collect()
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("the README")
}

fn malleus(daemon: &Daemon, folder: &Path, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_malleus"));
    command.current_dir(folder).args(arguments);
    command.arg("--remote").arg(&daemon.socket);
    command.output().expect("malleus runs")
}

#[test]
fn the_schema_file_is_what_the_program_prints() {
    let written = fs::read_to_string(root().join("schemas/playbook.schema.json"));
    let wanted = format!("{:#}\n", schema());
    assert_eq!(
        written.expect("the schema"),
        wanted,
        "run `cargo run -- schema > schemas/playbook.schema.json`"
    );
}

#[test]
fn every_scenario_is_clean_and_says_what_it_does() {
    // Made by the private daemons; without it the quickstart's upload is missing.
    let image = root().join("scenarios/images/build");
    let built = Command::new(image).output().expect("the image's script");
    let engine = Engine::new();
    for file in scenarios() {
        let source = Source::read(&file).expect("a scenario");
        let checked = check(&source, &engine);
        let problems: Vec<String> = checked
            .problems
            .iter()
            .map(|problem| problem.message.clone())
            .filter(|message| built.status.success() || !message.starts_with("there is no file"))
            .collect();
        assert!(problems.is_empty(), "{}: {problems:?}", file.display());
        if let Some(plan) = checked.plan {
            assert!(plan.summary.is_some(), "{}", file.display());
        }
        let first = source.text().lines().next().unwrap_or_default();
        assert!(
            first.starts_with("# yaml-language-server: $schema="),
            "{}",
            file.display()
        );
    }
}

/// Every playbook below a folder, by its path from the root.
fn playbooks(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            playbooks(&path, found);
        } else if path.extension().is_some_and(|end| end == "yaml") {
            found.push(path);
        }
    }
}

/// What the check says about bodies.
fn is_about_a_body(message: &str) -> bool {
    [
        "is known to take the key",
        "is known to have the key",
        "is known to take `",
        "in their replies and ignore it",
        "must be a list",
        "must be a mapping",
        "must be a boolean",
        "must be an integer",
        "must be text",
    ]
    .iter()
    .any(|words| message.contains(words))
}

#[test]
fn bodies_that_servers_take_are_never_doubted() {
    let mut files = Vec::new();
    for folder in ["scenarios", "examples", "benches", "docs/recipes"] {
        playbooks(&root().join(folder), &mut files);
    }
    for area in ["run", "exec", "test", "request"] {
        playbooks(&root().join("tests/cases").join(area), &mut files);
    }
    assert!(files.len() > 200, "{}", files.len());
    let mut sources: Vec<_> = files
        .iter()
        .filter_map(|file| Source::read(file).ok())
        .collect();
    for document in ["docs/playbook.md", "docs/remotes.md", "docs/sim.md"] {
        for (name, text) in files_of(document) {
            sources.push(Source::new(&root().join("docs").join(name), text));
        }
    }
    let engine = Engine::new();
    let mut found = Vec::new();
    for source in &sources {
        for problem in check(source, &engine).problems {
            if is_about_a_body(&problem.message) {
                let name = source.name().rsplit('/').nth(1).unwrap_or_default();
                found.push(format!("{name}: {}", problem.message));
            }
        }
    }
    found.sort();
    // These send what is refused or ignored, on purpose.
    let wanted = [
        "canary-failure: neither LXD nor Incus is known to have the key `no.such` in the configuration of an instance",
        "canary-failure: neither LXD nor Incus is known to take the key `config` here; they ignore keys that they do not know",
        "not-taken: neither LXD nor Incus is known to take the key `confg` here; they ignore keys that they do not know",
        "not-taken: neither LXD nor Incus is known to take the key `confg` here; they ignore keys that they do not know",
        "refused: neither LXD nor Incus is known to have the key `no.such.key` in the configuration of an instance",
    ];
    assert_eq!(found, wanted);
}

#[test]
fn the_first_playbook_of_the_readme_runs() {
    let readme = readme();
    let playbooks = blocks(&readme, "yaml");
    let hello = playbooks.first().expect("a playbook in the README");
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("hello.yaml"), hello).expect("written");
    for flavor in daemons() {
        let daemon = Daemon::shared(flavor);
        let ran = malleus(
            daemon,
            folder.path(),
            &["run", "hello.yaml", "--out", "json"],
        );
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success(), "{flavor:?}: {said}");
        assert!(String::from_utf8_lossy(&ran.stdout).contains("\"hostname\": \"hello-"));
    }
}

#[test]
fn the_error_in_the_readme_is_what_the_program_says() {
    let readme = readme();
    let hello =
        blocks(&readme, "yaml")[0].replace("name: \"{{ instance }}\"", "name: \"{{ instnce }}\"");
    let engine = Engine::new();
    let checked = check(&Source::new(Path::new("hello.yaml"), hello), &engine);
    let drawn = checked.problems[0].render(malleus::diagnostic::Style::Plain);
    let shown = blocks(&readme, "text")
        .into_iter()
        .find(|block| block.starts_with("error: "))
        .expect("an error in the README");
    assert_eq!(drawn.trim(), shown.trim());
}

/// The files that the reference shows, by name.
fn files_of_the_reference() -> Vec<(String, String)> {
    files_of("docs/playbook.md")
}

fn files_of(document: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join(document)).expect("the document");
    text.split("\n```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.strip_prefix("yaml ")?.split_once('\n'))
        .map(|(name, block)| (name.to_owned(), block.to_owned()))
        .collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

#[test]
fn the_examples_of_servers_are_valid() {
    let files = files_of("docs/remotes.md");
    assert_eq!(files.len(), 2);
    for (name, text) in files {
        let checked = check(&Source::new(Path::new(&name), text), &Engine::new());
        assert!(checked.problems.is_empty(), "{:?}", checked.problems);
    }
}

#[test]
fn every_example_of_the_reference_runs_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = files_of_the_reference();
    assert!(files.len() > 15, "{}", files.len());
    for (name, text) in &files {
        fs::write(folder.path().join(name), text).expect("written");
    }
    copy(&root().join("scenarios/site"), &folder.path().join("site"));
    for flavor in daemons() {
        let daemon = Daemon::shared(flavor);
        // Made with the daemon.
        copy(
            &root().join("scenarios/images"),
            &folder.path().join("images"),
        );
        // The one that others include needs an input.
        for (name, _) in files.iter().filter(|(name, _)| name != "tier.yaml") {
            let ran = malleus(daemon, folder.path(), &["run", name]);
            let said = String::from_utf8_lossy(&ran.stderr).into_owned();
            assert!(ran.status.success(), "{flavor:?} {name}: {said}");
        }
        let left = malleus(daemon, root(), &["request", "GET", "profiles"]);
        let left = String::from_utf8_lossy(&left.stdout).into_owned();
        assert_eq!(left.matches("/1.0/").count(), 1, "{flavor:?}: {left}");
    }
}

#[test]
fn every_key_has_an_example_in_the_reference() {
    use malleus::playbook::grammar::{
        EXEC, EXPECT, FILE, INPUT, MATCHER, PLAYBOOK, PULL, PUSH, RETRY, STEP, WAIT_FOR,
    };
    let examples: String = files_of_the_reference()
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    let shapes = [
        &PLAYBOOK, &INPUT, &STEP, &EXEC, &FILE, &EXPECT, &MATCHER, &RETRY, &PUSH, &PULL, &WAIT_FOR,
    ];
    for key in shapes.iter().flat_map(|shape| shape.keys) {
        // An example cannot know where the server's socket is.
        let shown = key.name == "remote" || examples.contains(&format!("{}:", key.name));
        assert!(shown, "{} has no example in docs/playbook.md", key.name);
    }
}

#[test]
fn every_command_of_the_program_is_in_the_readme() {
    let help = Command::new(env!("CARGO_BIN_EXE_malleus"))
        .arg("--help")
        .output()
        .expect("help");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let commands = help
        .split("Commands:\n")
        .nth(1)
        .expect("commands")
        .split("\n\n")
        .next()
        .expect("a list");
    for line in commands.lines() {
        let name = line.split_whitespace().next().expect("a name");
        if name != "help" {
            assert!(
                readme().contains(&format!("\n| `{name}")),
                "{name} is not in the README's table"
            );
        }
    }
}
