//! A case: a folder below `tests/cases` that has files and says what is run and what must come of it. Folders without files
//! group cases: `run/exec/exit-0` is a case of the area `run`.
//!
//! A case says only what differs from the usual:
//!
//! | file | | without it |
//! | --- | --- | --- |
//! | `args` | one argument a line | the area and `playbook.yaml`, as in `run playbook.yaml` |
//! | `env` | variables, `NAME=value` a line | none |
//! | `stdin` | what the program reads | nothing |
//! | `signal` | `INT when POST /1.0/…`: a signal, once such a request has been seen | none |
//! | `code` | the exit code | 0 |
//! | `stdout`, `stderr` | what the program writes | nothing |
//! | `requests` | requests that reached the daemon, perhaps none | not looked at |
//! | `made` | files that the run left in its folder | none |
//! | `leaves` | what the run left in the daemon | nothing |
//! | `why.incus7` | why Incus 7 has expected files of its own | it has none |
//! | `never` | texts that no output and no file that was made may hold, in no encoding | none |
//!
//! `*` in an expected file stands for anything. `stderr.lxd` and `stderr.incus7` go before the common file on that daemon. All
//! other files are the case's own and are there when it runs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::daemons::CaseDaemon;
use super::redact::Redactor;
use crate::support::daemon::Generation;
use crate::support::leftovers::Thing;
use crate::support::program::{LONGEST, Ran, Running, malleus};

/// What a case may expect, by the name of the file that says it.
const EXPECTED: [&str; 7] = [
    "code", "stdout", "stderr", "requests", "made", "leaves", "leaked",
];
/// Daemons that may have expected files of their own; the common ones are those of `incus`.
const OWN: [&str; 2] = ["lxd", "incus7"];
/// How a case is run.
const GIVEN: [&str; 6] = ["args", "env", "stdin", "signal", "never", WHY];
/// Says why another generation of a flavor has expected files of its own.
const WHY: &str = "why.incus7";

/// What an expected file holds where anything will do.
const ANYTHING: &str = "*\n";

/// What is expected without a file that says it; nothing where it is not looked at then.
fn usual(name: &str) -> Option<&'static str> {
    match name {
        "requests" => None,
        "code" => Some("0\n"),
        _ => Some(""),
    }
}

/// Contents of expected files by name.
pub(crate) type Outcome = BTreeMap<&'static str, String>;

/// One case.
pub(crate) struct Case {
    pub(crate) name: String,
    folder: PathBuf,
    area: String,
}

/// What a run says first on a simulated daemon.
const SIMULATED: &str =
    "a simulated daemon: nothing on this machine is changed, and nothing it says is real\n";

/// The folder of all cases.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

/// The folders of all areas.
pub(crate) fn folders() -> Vec<String> {
    let named = |folder: PathBuf| Some(folder.file_name()?.to_string_lossy().into_owned());
    let folders = folders_in(&root()).into_iter().filter_map(named);
    folders.filter(|name| name != "runner").collect()
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut folders: Vec<_> = paths.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// The cases of an area; `MALLEUS_CASES` names those that are wanted, by a part of their names.
pub(crate) fn cases(area: &str) -> Vec<Case> {
    let wanted = std::env::var("MALLEUS_CASES").unwrap_or_default();
    let mut cases = Vec::new();
    collect(area, &root().join(area), &mut cases);
    cases.retain(|case| case.name.contains(&wanted));
    cases
}

/// Finds the cases below a folder without files.
fn collect(area: &str, folder: &Path, cases: &mut Vec<Case>) {
    let inner = folders_in(folder);
    assert!(!inner.is_empty(), "{} is empty", folder.display());
    for folder in inner {
        let has_files = fs::read_dir(&folder)
            .expect("a folder")
            .any(|entry| entry.expect("an entry").path().is_file());
        if has_files {
            let name = folder.strip_prefix(root()).expect("below it");
            cases.push(Case {
                name: name.display().to_string(),
                area: area.to_owned(),
                folder,
            });
        } else {
            collect(area, &folder, cases);
        }
    }
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

    /// Whether a reason is given where Incus 7 has expected files of its own, and only there.
    pub(crate) fn is_explained(&self) -> bool {
        let differs = EXPECTED
            .iter()
            .any(|name| self.read(&format!("{name}.incus7")).is_some());
        let reason = self.read(WHY).is_some_and(|text| !text.trim().is_empty());
        differs == reason
    }

    fn lines(&self, file: &str) -> Vec<String> {
        let text = self.read(file).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn usual_arguments(&self) -> Vec<String> {
        vec![self.area.clone(), "playbook.yaml".into()]
    }

    fn arguments(&self) -> Vec<String> {
        let written = self.lines("args");
        if written.is_empty() {
            self.usual_arguments()
        } else {
            written
        }
    }

    /// Runs the case, on a daemon where it needs one.
    pub(crate) fn run(&self, daemon: Option<&CaseDaemon>) -> Outcome {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let inputs = self.copy_to(folder.path());
        let before = daemon.map(|daemon| {
            daemon.proxy.clear();
            daemon.inventory.look()
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
        if let Some(daemon) = daemon {
            let [_, socket] = daemon.generation.flavor().variables();
            command.env(socket, &daemon.proxy.socket);
            redactor.path(&daemon.proxy.socket, "{socket}");
        }
        for line in self.lines("env") {
            let (name, value) = line.split_once('=').expect("NAME=value");
            command.env(name, placed(value, folder.path()));
        }
        let stdin = self.read("stdin");
        let running = Running::start(&mut command, stdin.as_ref().map(String::as_bytes));
        let ran = self.finish(running, daemon);
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
        if let (Some(daemon), Some(before)) = (daemon, before) {
            outcome.insert("requests", redactor.requests(&daemon.proxy.requests()));
            outcome.insert("leaves", self.leaves(daemon, &before, &redactor));
        }
        outcome
    }

    /// Sends the case's signal at its time, and waits for the end.
    fn finish(&self, mut running: Running, daemon: Option<&CaseDaemon>) -> Ran {
        let start = Instant::now();
        if let (Some(signal), Some(daemon)) = (self.read("signal"), daemon) {
            let (name, request) = signal
                .trim()
                .split_once(" when ")
                .expect("SIGNAL when REQUEST");
            let seen = || {
                daemon
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
    fn leaves(&self, daemon: &CaseDaemon, before: &BTreeSet<Thing>, redactor: &Redactor) -> String {
        let expected = self
            .expected("leaves", Some(daemon.generation))
            .unwrap_or_default();
        let start = Instant::now();
        loop {
            let now = daemon.inventory.look();
            let left: BTreeSet<_> = now.difference(before).cloned().collect();
            let gone: Vec<_> = before.difference(&now).collect();
            let lines = left.iter().map(|thing| format!("{thing}\n"));
            let lines = lines.chain(gone.iter().map(|thing| format!("NOT ANY MORE: {thing}\n")));
            let text = redactor.redact(&lines.collect::<String>());
            if text == expected || start.elapsed() > Duration::from_secs(10) {
                daemon.inventory.remove(&left);
                return text;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn copy_to(&self, target: &Path) -> BTreeSet<String> {
        let files = files_below(&self.folder);
        let own = |file: &String| {
            let own = OWN
                .iter()
                .find_map(|own| file.strip_suffix(own)?.strip_suffix('.'));
            let stem = own.unwrap_or(file);
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

    /// What an expected file says on a daemon.
    fn expected(&self, name: &str, generation: Option<Generation>) -> Option<String> {
        let own = generation.and_then(|generation| self.read(&format!("{name}.{generation}")));
        own.or_else(|| self.read(name))
    }

    /// Where the outcome is not the expected one: a text for people.
    pub(crate) fn judge(
        &self,
        outcome: &Outcome,
        generation: Option<Generation>,
    ) -> Option<String> {
        let mut wrong = String::new();
        for (&name, seen) in outcome {
            let expected = match (self.expected(name, generation), usual(name)) {
                (None, None) => continue,
                (None, Some(usual)) => usual.to_owned(),
                (Some(expected), _) if expected == ANYTHING => continue,
                (Some(expected), _) => expected,
            };
            if expected != *seen {
                wrong.push_str(&format!(
                    "  {name}: expected (-), seen (+)\n{}",
                    difference(&expected, seen)
                ));
            }
            if self
                .read(name)
                .is_some_and(|text| Some(&*text) == usual(name))
            {
                wrong.push_str(&format!("  {name} says the usual: remove it\n"));
            }
        }
        if self.lines("args") == self.usual_arguments() {
            wrong.push_str("  args says the usual: remove it\n");
        }
        let stale = EXPECTED
            .iter()
            .filter(|name| !outcome.contains_key(*name) && self.folder.join(name).exists());
        stale.for_each(|name| wrong.push_str(&format!("  {name} is of no use in this area\n")));
        (!wrong.is_empty()).then_some(wrong)
    }

    /// Writes the expected files: common ones, and a daemon's own where it differs.
    pub(crate) fn bless(&self, common: &Outcome, others: &[(&str, Outcome)]) {
        for name in EXPECTED {
            if self.read(name).is_some_and(|text| text == ANYTHING) {
                continue;
            }
            let usual = usual(name);
            let wanted = usual.is_some() || self.folder.join(name).exists();
            let seen = common.get(name).filter(|_| wanted);
            let seen = seen.map_or(usual.unwrap_or_default(), String::as_str);
            self.write(name, seen, !wanted || Some(seen) == usual);
            for (daemon, outcome) in others {
                let own = outcome.get(name).filter(|_| wanted);
                let own = own.map_or(seen, String::as_str);
                self.write(&format!("{name}.{daemon}"), own, own == seen);
            }
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
