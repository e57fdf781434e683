//! A case: a folder that says what is run and what must come of it.
//!
//! | file | |
//! | --- | --- |
//! | `args` | one argument a line; the area's default without it |
//! | `env` | variables, `NAME=value` a line |
//! | `stdin` | what the program reads |
//! | `signal` | `INT when POST /1.0/…`: a signal, once such a request has been seen |
//! | `code`, `stdout`, `stderr` | what must come of it |
//! | `requests` | requests that reached the daemon, perhaps none; not looked at without this file |
//! | `made` | files that the run left in its folder |
//! | `leaves` | what the run left in the daemon |
//! | `never` | texts that no output and no file that was made may hold, in no encoding |
//!
//! `*` in an expected file stands for anything. An expected file that is not there stands for nothing: no output, no file made, nothing left. `stderr.lxd` and the
//! like go before the common file on that brand. All other files are the case's own and are there when it runs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::daemon::{Daemon, Flavor};
use super::leftovers::Inventory;
use super::program::{LONGEST, Ran, Running, malleus};
use super::proxy::Proxy;
use super::redact::Redactor;

/// What a case may expect, by the name of the file that says it.
const EXPECTED: [&str; 7] = [
    "code", "stdout", "stderr", "requests", "made", "leaves", "leaked",
];
/// How a case is run.
const GIVEN: [&str; 5] = ["args", "env", "stdin", "signal", "never"];

/// What an expected file holds where anything will do.
const ANYTHING: &str = "*\n";

/// Contents of expected files by name.
pub(crate) type Outcome = BTreeMap<&'static str, String>;

/// One case.
pub(crate) struct Case {
    pub(crate) name: String,
    folder: PathBuf,
    area: String,
}

/// Where a live case runs.
pub(crate) struct Stage {
    pub(crate) flavor: Flavor,
    pub(crate) proxy: Proxy,
    pub(crate) inventory: Inventory,
}

impl Stage {
    pub(crate) fn on(daemon: &Daemon) -> Stage {
        Self::at(daemon.flavor, &daemon.socket)
    }

    /// Whatever listens on a socket.
    pub(crate) fn at(flavor: Flavor, socket: &Path) -> Stage {
        Stage {
            flavor,
            proxy: Proxy::before(socket),
            inventory: Inventory::at(socket),
        }
    }
}

/// What a run says first on a simulated daemon.
const SIMULATED: &str =
    "a simulated daemon: nothing on this machine is changed, and nothing it says is real\n";

/// The cases of an area; `MALLEUS_CASES` names those that are wanted, by a part of their names.
pub(crate) fn cases(area: &str) -> Vec<Case> {
    let wanted = std::env::var("MALLEUS_CASES").unwrap_or_default();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/cases")
        .join(area);
    let mut cases: Vec<Case> = fs::read_dir(&root)
        .unwrap_or_else(|error| panic!("{}: {error}", root.display()))
        .map(|entry| entry.expect("an entry").path())
        .map(|folder| Case {
            name: format!(
                "{area}/{}",
                folder.file_name().unwrap_or_default().to_string_lossy()
            ),
            folder,
            area: area.to_owned(),
        })
        .filter(|case| case.name.contains(&wanted))
        .collect();
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    cases
}

/// Whether expected files are written instead of compared.
pub(crate) fn blessing() -> bool {
    std::env::var_os("MALLEUS_BLESS").is_some_and(|bless| bless == "1")
}

impl Case {
    fn read(&self, file: &str) -> Option<String> {
        let path = self.folder.join(file);
        path.is_file().then(|| {
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        })
    }

    fn lines(&self, file: &str) -> Vec<String> {
        let text = self.read(file).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn arguments(&self) -> Vec<String> {
        let written = self.lines("args");
        if written.is_empty() {
            vec![self.area.clone(), "playbook.yaml".into()]
        } else {
            written
        }
    }

    /// Runs the case, on a daemon where it needs one.
    pub(crate) fn run(&self, stage: Option<&Stage>) -> Outcome {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let inputs = self.copy_to(folder.path());
        let before = stage.map(|stage| {
            stage.proxy.clear();
            stage.inventory.look()
        });
        let mut redactor = Redactor::default();
        redactor.path(folder.path(), "{folder}");
        redactor.path(&scenarios(), "{scenarios}");
        let mut command = malleus(folder.path());
        command.args(
            self.arguments()
                .iter()
                .map(|argument| placed(argument, folder.path())),
        );
        if let Some(stage) = stage {
            let [_, socket] = stage.flavor.variables();
            command.env(socket, &stage.proxy.socket);
            redactor.path(&stage.proxy.socket, "{socket}");
        }
        for line in self.lines("env") {
            let (name, value) = line.split_once('=').expect("NAME=value");
            command.env(name, placed(value, folder.path()));
        }
        let stdin = self.read("stdin");
        let running = Running::start(&mut command, stdin.as_ref().map(String::as_bytes));
        let ran = self.finish(running, stage);
        redactor.learn(&ran.stderr());
        let (made, journals): (Vec<_>, Vec<_>) = made(folder.path(), &inputs)
            .into_iter()
            .partition(|file| !file.starts_with(STATE));
        let mut written = format!("{}\n{}\n", ran.stdout(), ran.stderr());
        for file in made.iter().chain(&journals) {
            let bytes = fs::read(folder.path().join(file)).expect("a file that was made");
            written.push_str(&String::from_utf8_lossy(&bytes));
        }
        let leaked = leaked(&self.lines("never"), &written);
        let mut outcome = Outcome::from([
            (
                "code",
                format!(
                    "{}\n",
                    ran.code()
                        .map_or_else(|| "killed".into(), |code| code.to_string())
                ),
            ),
            ("stdout", redactor.redact(&ran.stdout())),
            (
                "stderr",
                redactor.redact(&ran.stderr()).replacen(SIMULATED, "", 1),
            ),
            ("leaked", leaked),
            (
                "made",
                redactor.redact(
                    &made
                        .iter()
                        .map(|file| format!("{file}\n"))
                        .collect::<String>(),
                ),
            ),
        ]);
        if let (Some(stage), Some(before)) = (stage, before) {
            outcome.insert("requests", redactor.requests(&stage.proxy.requests()));
            outcome.insert("leaves", self.leaves(stage, &before, &redactor));
        }
        outcome
    }

    /// Sends the case's signal at its time, and waits for the end.
    fn finish(&self, mut running: Running, stage: Option<&Stage>) -> Ran {
        let start = Instant::now();
        if let (Some(signal), Some(stage)) = (self.read("signal"), stage) {
            let (name, request) = signal
                .trim()
                .split_once(" when ")
                .expect("SIGNAL when REQUEST");
            let seen = || {
                stage
                    .proxy
                    .requests()
                    .iter()
                    .any(|line| line.starts_with(request))
            };
            while !seen() && !running.has_ended() && start.elapsed() < LONGEST {
                thread::sleep(Duration::from_millis(5));
            }
            // So that the daemon has begun with it.
            thread::sleep(Duration::from_millis(300));
            running.signal(name);
        }
        running.end_within(LONGEST).unwrap_or_else(|ran| ran)
    }

    /// What is in the daemon that was not there before. A little patience: a killed process takes its time.
    fn leaves(
        &self,
        stage: &Stage,
        before: &BTreeSet<super::leftovers::Thing>,
        redactor: &Redactor,
    ) -> String {
        let expected = self
            .expected("leaves", Some(stage.flavor))
            .unwrap_or_default();
        let start = Instant::now();
        loop {
            let now = stage.inventory.look();
            let left: BTreeSet<_> = now.difference(before).cloned().collect();
            let gone: Vec<_> = before.difference(&now).collect();
            let lines = left.iter().map(|thing| format!("{thing}\n"));
            let lines = lines.chain(gone.iter().map(|thing| format!("NOT ANY MORE: {thing}\n")));
            let text = redactor.redact(&lines.collect::<String>());
            if text == expected || start.elapsed() > Duration::from_secs(10) {
                stage.inventory.remove(&left);
                return text;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn copy_to(&self, target: &Path) -> BTreeSet<String> {
        let files = files_below(&self.folder);
        let own = |file: &String| {
            let stem = file.strip_suffix(".lxd").unwrap_or(file);
            !EXPECTED.contains(&stem) && !GIVEN.contains(&file.as_str())
        };
        let files: BTreeSet<String> = files.into_iter().filter(own).collect();
        for file in &files {
            let to = target.join(file);
            fs::create_dir_all(to.parent().expect("below a folder")).expect("a folder");
            fs::copy(self.folder.join(file), to).expect("copied");
        }
        files
    }

    /// What an expected file says on a brand.
    fn expected(&self, name: &str, flavor: Option<Flavor>) -> Option<String> {
        let own = (flavor == Some(Flavor::Lxd))
            .then(|| self.read(&format!("{name}.lxd")))
            .flatten();
        own.or_else(|| self.read(name))
    }

    /// Where the outcome is not the expected one: a text for people.
    pub(crate) fn judge(&self, outcome: &Outcome, flavor: Option<Flavor>) -> Option<String> {
        let mut wrong = String::new();
        for (&name, seen) in outcome {
            let expected = match (name, self.expected(name, flavor)) {
                ("requests", None) => continue,
                (_, Some(expected))
                    if name != "requests"
                        && expected.is_empty()
                        && !self.folder.join(format!("{name}.lxd")).exists() =>
                {
                    wrong.push_str(&format!("  {name} is an empty file: remove it\n"));
                    continue;
                }
                (_, Some(expected)) if expected == ANYTHING => continue,
                (_, expected) => expected.unwrap_or_default(),
            };
            if expected != *seen {
                wrong.push_str(&format!(
                    "  {name}: expected (-), seen (+)\n{}",
                    difference(&expected, seen)
                ));
            }
        }
        let stale = EXPECTED
            .iter()
            .filter(|name| !outcome.contains_key(*name) && self.folder.join(name).exists());
        stale.for_each(|name| wrong.push_str(&format!("  {name} is of no use in this area\n")));
        let on = flavor
            .map(|flavor| format!(" on {flavor}"))
            .unwrap_or_default();
        (!wrong.is_empty()).then(|| format!("{}{on}\n{wrong}", self.name))
    }

    /// Writes the expected files: common ones, and LXD's own where the brands differ.
    pub(crate) fn bless(&self, common: &Outcome, lxd: Option<&Outcome>) {
        for name in EXPECTED {
            if self.read(name).is_some_and(|text| text == ANYTHING) {
                continue;
            }
            let wanted = name != "requests" || self.folder.join(name).exists();
            let seen = common
                .get(name)
                .filter(|_| wanted)
                .map_or("", String::as_str);
            self.write(
                name,
                seen,
                !wanted || (seen.is_empty() && name != "requests"),
            );
            let own = lxd
                .and_then(|outcome| outcome.get(name))
                .filter(|_| wanted)
                .map_or(seen, String::as_str);
            self.write(&format!("{name}.lxd"), own, own == seen);
        }
    }

    fn write(&self, name: &str, content: &str, absent: bool) {
        let path = self.folder.join(name);
        if absent {
            fs::remove_file(path).ok();
        } else {
            fs::write(path, content).expect("written");
        }
    }
}

/// Fills in what is only known when a case runs.
fn placed(text: &str, folder: &Path) -> String {
    text.replace("{folder}", &folder.display().to_string())
        .replace("{scenarios}", &scenarios().display().to_string())
}

fn scenarios() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

/// Complaints about texts that got out, as they are or encoded.
fn leaked(never: &[String], written: &str) -> String {
    let all = written.to_lowercase();
    let mut complaints = String::new();
    for text in never {
        for (how, form) in encodings(text) {
            if all.contains(&form.to_lowercase()) {
                complaints.push_str(&format!("LEAKED: {text:?} {how}\n"));
            }
        }
    }
    complaints
}

fn encodings(text: &str) -> Vec<(&'static str, String)> {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let mut forms = vec![
        ("as it is", text.to_owned()),
        (
            "in JSON",
            serde_json::to_string(text)
                .expect("text")
                .trim_matches('"')
                .to_owned(),
        ),
        (
            "in XML",
            text.replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
                .replace('"', "&quot;")
                .replace('\'', "&#39;"),
        ),
        ("percent-encoded", malleus::client::encode(text)),
        ("percent-encoded throughout", percent),
        ("in hexadecimal", hex),
    ];
    for shift in 0..3 {
        // The characters at both ends are shared with the neighbours.
        let encoded = STANDARD.encode([&b"\0\0\0"[..shift], text.as_bytes()].concat());
        let length = encoded.trim_end_matches('=').len();
        forms.push((
            "in base64",
            encoded[[0, 2, 3][shift]..length - 1].to_owned(),
        ));
    }
    forms
}

/// The program's own folder: the journals of runs.
const STATE: &str = ".local/state/malleus/";

/// Files that were not there before.
fn made(folder: &Path, before: &BTreeSet<String>) -> Vec<String> {
    files_below(folder).difference(before).cloned().collect()
}

fn files_below(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let relative = path.strip_prefix(root).expect("below");
                found.insert(relative.display().to_string());
            }
        }
    }
    found
}

/// The lines of two texts, those that differ marked.
fn difference(expected: &str, seen: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), seen.lines().collect());
    // Length of the longest common rest from each pair of lines on.
    let mut common = vec![vec![0usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut text = String::new();
    while i < old.len() || j < new.len() {
        let (mark, line) = if i < old.len() && j < new.len() && old[i] == new[j] {
            i += 1;
            j += 1;
            (' ', new[j - 1])
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            i += 1;
            ('-', old[i - 1])
        } else {
            j += 1;
            ('+', new[j - 1])
        };
        text.push_str(&format!("    {mark} {line}\n"));
    }
    if text.lines().all(|line| line.starts_with("      ")) {
        text.push_str("    (they differ in the end of the last line)\n");
    }
    text
}
