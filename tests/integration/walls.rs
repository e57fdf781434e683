//! The walls that the compiler does not hold, by reading manifests and sources as text: which package may depend on which,
//! which room of the program may import which, that no files import each other in a circle, that only `malleus-api` and
//! the simulated daemon spell paths of the API and know what daemons say, and that each action is complete.
//!
//! Exceptions are listed with their reasons. A new one fails the test, and so does one that is no longer needed.
#![allow(clippy::expect_used, reason = "helpers of tests may end them")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each package with the packages that it may depend on. `.` is the program.
const PACKAGES: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("source", &["core"]),
    ("api", &["core"]),
    ("client", &["core", "api"]),
    ("language", &["core", "source", "api"]),
    ("remotes", &["core", "source", "client"]),
    ("sim", &["core"]),
    (
        ".",
        &[
            "core", "source", "api", "client", "language", "remotes", "sim",
        ],
    ),
];

/// Crates that only these packages may depend on: what is heavy stays out of the builds of others, and what could be
/// replaced is known in one place.
const CRATES: &[(&str, &[&str])] = &[
    ("anyhow", &["."]),
    ("bashkit", &["sim"]),
    ("clap", &["."]),
    ("granit-parser", &["source"]),
    ("hyper", &["sim"]),
    ("minijinja", &["language"]),
    ("russh-sftp", &["sim"]),
    ("serde_yaml", &["source", "sim"]),
    ("tokio", &["sim"]),
    ("tungstenite", &["client", "sim"]),
    ("ureq", &["client"]),
];

/// Each room of the program with the rooms, or files of a room, that it may import. `cli` belongs to the binary, which
/// uses the library from outside.
const ROOMS: &[(&str, &[&str])] = &[
    ("resources", &[]),
    ("events", &[]),
    ("run", &["events", "resources"]),
    ("report", &["events"]),
    ("artifacts", &["events", "report", "resources"]),
    ("fixture", &["events", "report", "resources", "run"]),
];

/// Imports that close a circle of files, each with its reason: package, importing file, imported file. A module's file and
/// the files below it may import each other.
const CLOSING_IMPORTS: &[(&str, &str, &str, &str)] = &[
    (
        ".",
        "resources/emptying.rs",
        "resources/removal.rs",
        "to remove a project is to remove what is in it",
    ),
    (
        ".",
        "run/step.rs",
        "run/composite.rs",
        "a step may be a group of steps",
    ),
    (
        ".",
        "run/executor.rs",
        "run/lease_renewer.rs",
        "a run has its leases renewed, which need its session",
    ),
    (
        ".",
        "run/executor.rs",
        "run/servers.rs",
        "a run connects to its servers by its session",
    ),
    (
        ".",
        "run/pending_work.rs",
        "run/executor.rs",
        "a frame is declared beside the run that it belongs to",
    ),
    (
        ".",
        "run/failure.rs",
        "run/action.rs",
        "what an action may end with is declared beside the actions",
    ),
    (
        "api",
        "catalog.rs",
        "path.rs",
        "kinds are found by paths, and a path says of which kind it is",
    ),
    (
        "client",
        "error.rs",
        "ready/mod.rs",
        "what a wait has missed is one of the errors",
    ),
    (
        "client",
        "error.rs",
        "tls/verifier.rs",
        "what is wrong with a certificate is one of the errors",
    ),
    (
        "client",
        "proxy.rs",
        "https.rs",
        "a proxy has an address, as the server behind it",
    ),
    (
        "language",
        "template/tree.rs",
        "template/engine.rs",
        "a template is parsed by the engine, which renders it",
    ),
    (
        "language",
        "template/taint.rs",
        "template/scope.rs",
        "a scope is watched for what comes of its secrets",
    ),
    (
        "sim",
        "api/backups.rs",
        "api/instances/mod.rs",
        "a backup is of an instance, and becomes one",
    ),
    (
        "sim",
        "api/snapshots.rs",
        "api/instances/mod.rs",
        "a snapshot is of an instance, and becomes one",
    ),
    (
        "sim",
        "call.rs",
        "access.rs",
        "a request carries what its sender may do",
    ),
    (
        "sim",
        "daemon.rs",
        "api/pending.rs",
        "a daemon of a cluster begins with shared state",
    ),
    (
        "sim",
        "daemon.rs",
        "events.rs",
        "a daemon has its events, which are about it",
    ),
    (
        "sim",
        "daemon.rs",
        "operations.rs",
        "a daemon has its operations, which change it",
    ),
    (
        "sim",
        "exec/sockets.rs",
        "api/exec.rs",
        "a websocket's secret is made as that of a request",
    ),
    (
        "sim",
        "exec/sockets.rs",
        "events.rs",
        "websockets of commands and of events are opened alike",
    ),
];

/// Files that spell paths, outside the packages that know the API, each with its reason.
const SPELL_PATHS: &[(&str, &str)] = &[
    (
        "crates/language/src/playbook/foreign.rs",
        "`instances` as a key of other tools' files",
    ),
    (
        "src/cli/doctor.rs",
        "`instances` as the name of an API extension",
    ),
];

/// Files that look for words of others than daemons, with whose words they are.
const OTHER_WORDING: &[(&str, &str)] = &[
    (
        "crates/client/src/ready/probe.rs",
        "words for the operating system's errors; they are shown, not looked for",
    ),
    (
        "crates/language/src/template/engine.rs",
        "the template parser's messages",
    ),
    (
        "crates/source/src/yaml/syntax.rs",
        "the YAML parser's messages",
    ),
];

#[test]
fn packages_depend_on_those_below_them() {
    let mut wrong = Vec::new();
    for package in packages() {
        let (_, allowed) = PACKAGES
            .iter()
            .find(|(name, _)| *name == package.name)
            .unwrap_or_else(|| panic!("{} is not among PACKAGES", package.name));
        for dependency in package.dependencies() {
            let is_below = match dependency.strip_prefix("malleus-") {
                Some(own) => allowed.contains(&own),
                None => CRATES
                    .iter()
                    .filter(|(name, _)| *name == dependency)
                    .all(|(_, users)| users.contains(&package.name.as_str())),
            };
            if !is_below {
                wrong.push(format!("{} depends on {dependency}", package.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rooms_import_those_below_them() {
    let files = Files::of(&root().join("src"));
    let mut wrong = Vec::new();
    let mut needed = BTreeSet::new();
    for (importer, imported) in files.imports() {
        let (from, to) = (room(importer), room(imported));
        if from == to || from == "lib.rs" {
            continue;
        }
        let (_, allowed) = ROOMS
            .iter()
            .find(|(name, _)| *name == from)
            .unwrap_or_else(|| panic!("{from} is not among ROOMS"));
        match allowed
            .iter()
            .find(|allowed| [to, imported].contains(*allowed))
        {
            Some(allowed) => _ = needed.insert((from, *allowed)),
            None => wrong.push(format!("src/{importer} imports src/{imported}")),
        }
    }
    for (room, allowed) in ROOMS {
        let unused = allowed
            .iter()
            .filter(|allowed| !needed.contains(&(room, **allowed)));
        wrong.extend(
            unused.map(|unused| format!("{room} does not import {unused} any more: ROOMS")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut wrong = Vec::new();
    for package in packages() {
        let files = Files::of(&package.folder.join("src"));
        let closing = CLOSING_IMPORTS
            .iter()
            .filter(|(name, ..)| *name == package.name)
            .map(|(_, importer, imported, _)| (*importer, *imported));
        let closing: BTreeSet<_> = closing.collect();
        for circle in files.circles(&closing) {
            wrong.push(format!("{}: {}", package.name, circle.join(" ")));
        }
        for import in &closing {
            let others = closing.iter().copied().filter(|other| other != import);
            if files.circles(&others.collect()).is_empty() {
                let (from, to) = import;
                wrong.push(format!(
                    "{from} -> {to} closes no circle any more: CLOSING_IMPORTS"
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "files that import each other in a circle:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn only_the_api_and_its_witness_spell_paths() {
    let found = outside_of_the_api().filter(|(_, code)| {
        let mut texts = code.literals.iter().map(|literal| literal.text.as_str());
        texts.any(|text| {
            let is_path = |rest: &str| rest.is_empty() || rest.starts_with(['/', '?']);
            text.starts_with("/1.0/") || text.strip_prefix("instances").is_some_and(is_path)
        })
    });
    let known = SPELL_PATHS.iter().map(|(file, _)| (*file).to_owned());
    assert_same(
        "SPELL_PATHS",
        &known.collect(),
        &found.map(|(file, _)| file).collect(),
    );
}

#[test]
fn only_the_api_and_its_witness_match_wording() {
    let messages = Code::of(&read(&root().join("crates/api/src/messages.rs")));
    let wordings: Vec<String> = messages
        .literals
        .into_iter()
        .filter(|literal| literal.called_by.ends_with(','))
        .map(|literal| literal.text)
        .collect();
    assert!(
        wordings.len() > 40,
        "the table of wordings was not found: {wordings:?}"
    );

    let found = outside_of_the_api().filter(|(_, code)| {
        code.literals.iter().any(|literal| {
            let text = literal.text.to_lowercase();
            let is_of_daemons = if literal.is_matched() {
                wordings.iter().any(|wording| text.contains(wording))
            } else {
                // A word like "busy" by itself may be anything.
                text.contains(' ') && wordings.contains(&text)
            };
            is_of_daemons || (literal.is_matched() && is_prose(&text))
        })
    });
    let known = OTHER_WORDING.iter().map(|(file, _)| (*file).to_owned());
    assert_same(
        "OTHER_WORDING",
        &known.collect(),
        &found.map(|(file, _)| file).collect(),
    );
}

#[test]
fn each_action_is_on_both_sides_in_the_reference_and_in_cases() {
    let grammar = read(&root().join("crates/language/src/playbook/grammar.rs"));
    let table = grammar
        .split_once("pub const ACTIONS")
        .and_then(|(_, rest)| rest.split_once("\n];"))
        .expect("the table of actions")
        .0;
    let names: Vec<&str> = table
        .lines()
        .filter_map(|line| line.trim().strip_prefix("name: \"")?.strip_suffix("\","))
        .collect();
    assert!(
        names.len() > 10,
        "the table of actions was not found: {names:?}"
    );

    let plan = read(&root().join("crates/language/src/playbook/plan.rs"));
    let runner: String = sources(&root().join("src/run"))
        .iter()
        .filter(|path| !path.ends_with("title.rs"))
        .map(|path| Code::of(&read(path)).text)
        .collect();
    let reference = read(&root().join("docs/playbook.md"));
    let headings: BTreeSet<&str> = reference
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .flat_map(|heading| heading.split(" and "))
        .collect();
    let cases = ["check", "run"].map(|area| playbooks(&root().join("tests/cases").join(area)));

    let mut missing = Vec::new();
    for name in names {
        let variant: String = name.split('_').map(capitalized).collect();
        let mut need = |is_there: bool, place: &str| {
            if !is_there {
                missing.push(format!("{name}: {place}"));
            }
        };
        need(
            plan.contains(&format!("Self::{variant}(_) => \"{name}\"")),
            "a variant of Action in plan.rs",
        );
        need(
            names_path(&runner, &format!("Action::{variant}")),
            "its doing in src/run",
        );
        need(headings.contains(name), "a heading in docs/playbook.md");
        let is_step = |line: &str| {
            let key = line.trim_start().trim_start_matches("- ");
            line.starts_with([' ', '-']) && key.split(':').next() == Some(name)
        };
        for (area, cases) in ["check", "run"].iter().zip(&cases) {
            need(
                cases.lines().any(is_step),
                &format!("a case in tests/cases/{area}"),
            );
        }
    }
    assert!(missing.is_empty(), "missing:\n{}", missing.join("\n"));
}

/// `wait` as `Wait`.
fn capitalized(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    first.to_uppercase() + rest
}

/// Whether code names this path, and not one that it is the beginning of.
fn names_path(code: &str, path: &str) -> bool {
    words(code).any(|word| word == path || word.ends_with(&format!("::{path}")))
}

/// The text of all playbooks below a folder.
fn playbooks(folder: &Path) -> String {
    let entries = fs::read_dir(folder).expect("a folder");
    entries
        .map(|entry| entry.expect("an entry").path())
        .map(|path| match path.extension() {
            _ if path.is_dir() => playbooks(&path),
            Some(extension) if extension == "yaml" => {
                String::from_utf8_lossy(&fs::read(&path).expect("a file")).into_owned() + "\n"
            }
            _ => String::new(),
        })
        .collect()
}

/// Compares a list with what was found, and says which entries are to be removed or which code is to be mended.
fn assert_same(list: &str, known: &BTreeSet<String>, found: &BTreeSet<String>) {
    let new: Vec<_> = found.difference(known).map(String::as_str).collect();
    let gone: Vec<_> = known.difference(found).map(String::as_str).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "not among {list}, and not to be added to it:\n{}\nno longer needed in {list}:\n{}",
        new.join("\n"),
        gone.join("\n")
    );
}

/// The files of all packages that are to know the API by `malleus-api` alone.
fn outside_of_the_api() -> impl Iterator<Item = (String, Code)> {
    let others = packages()
        .into_iter()
        .filter(|package| !["api", "sim"].contains(&package.name.as_str()));
    others
        .flat_map(|package| sources(&package.folder.join("src")))
        .map(|path| {
            let file = path
                .strip_prefix(root())
                .expect("below the root")
                .display()
                .to_string();
            (file, Code::of(&read(&path)))
        })
}

/// Every Rust file below a folder, those of the binary and of platforms included.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                sources(&path)
            } else {
                vec![path]
            }
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A member of the workspace, by the name of its folder.
struct Package {
    name: String,
    folder: PathBuf,
}

fn packages() -> Vec<Package> {
    let mut packages = vec![Package {
        name: ".".to_owned(),
        folder: root().to_owned(),
    }];
    for entry in fs::read_dir(root().join("crates")).expect("a folder") {
        let folder = entry.expect("an entry").path();
        let name = folder.file_name().expect("a name").to_string_lossy();
        packages.push(Package {
            name: name.into_owned(),
            folder,
        });
    }
    packages.sort_by(|one, other| one.name.cmp(&other.name));
    packages
}

impl Package {
    /// What it is built with; tests may use more.
    fn dependencies(&self) -> Vec<String> {
        let manifest = read(&self.folder.join("Cargo.toml"));
        let section = manifest
            .split("\n[")
            .find_map(|section| section.strip_prefix("dependencies]\n"))
            .unwrap_or_default();
        let entries = section
            .lines()
            .filter(|line| !line.starts_with(['#', ' ', ']']));
        entries
            .filter_map(|line| line.split(['.', ' ', '=']).next())
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    }
}

/// Whether a file belongs to a module that another one declares, itself or by others.
fn is_below(file: &str, other: &str) -> bool {
    let module = match other {
        "lib.rs" => "",
        other => other
            .strip_suffix("mod.rs")
            .or(other.strip_suffix(".rs"))
            .unwrap_or(other),
    };
    file.strip_prefix(module)
        .is_some_and(|rest| module.is_empty() || module.ends_with('/') || rest.starts_with('/'))
}

/// The room of a file below `src`.
fn room(file: &str) -> &str {
    file.split('/').next().unwrap_or(file)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of a package, by their module: `a::b` is `a/b.rs` or `a/b/mod.rs`, and nothing is `lib.rs`.
struct Files(BTreeMap<String, File>);

struct File {
    /// Its path below `src`.
    path: String,
    /// The modules that it declares.
    children: Vec<String>,
    /// What it re-exports: names and the paths that they stand for.
    exports: Vec<(String, String)>,
    /// Names that stand for other packages and what is in them.
    foreign: Vec<String>,
    /// The paths that it imports, or that its code names.
    paths: Vec<String>,
}

impl Files {
    /// Reads the library's files, without their tests.
    fn of(src: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut modules = vec![(String::new(), src.join("lib.rs"))];
        while let Some((module, path)) = modules.pop() {
            let file = File::read(src, &module, &path);
            for child in &file.children {
                let module = join(&module, child);
                let stem = src.join(module.replace("::", "/"));
                let flat = stem.with_extension("rs");
                let path = if flat.exists() {
                    flat
                } else {
                    stem.join("mod.rs")
                };
                modules.push((module, path));
            }
            files.insert(module, file);
        }
        Self(files)
    }

    /// Each import, as the paths of two files.
    fn imports(&self) -> BTreeSet<(&str, &str)> {
        let pairs = self.0.values().flat_map(|file| {
            let imported = file.paths.iter().filter_map(|path| self.file_of(path, 0));
            imported.map(|imported| (file.path.as_str(), imported))
        });
        pairs.filter(|(from, to)| from != to).collect()
    }

    /// The file that an item is written in, whatever it is re-exported by; nothing for what is in another package.
    fn file_of(&self, path: &str, depth: usize) -> Option<&str> {
        assert!(depth < 10, "{path} is re-exported in a circle");
        let mut module = String::new();
        let mut segments = path.split("::").filter(|segment| !segment.is_empty());
        for segment in segments.by_ref() {
            let child = join(&module, segment);
            if self.0.contains_key(&child) {
                module = child;
                continue;
            }
            let file = &self.0[&module];
            if let Some((_, target)) = file.exports.iter().find(|(name, _)| name == segment) {
                return self.file_of(target, depth + 1);
            }
            if file.foreign.iter().any(|name| name == segment) {
                return None;
            }
            break;
        }
        Some(&self.0[&module].path)
    }

    /// Groups of files of which each reaches all others, without these imports and those between a module and its parts.
    fn circles(&self, without: &BTreeSet<(&str, &str)>) -> Vec<Vec<String>> {
        let imports: BTreeSet<_> = self
            .imports()
            .into_iter()
            .filter(|import| !is_below(import.0, import.1) && !without.contains(import))
            .collect();
        let reachable = |from: &str| {
            let mut seen = BTreeSet::new();
            let mut next = vec![from.to_owned()];
            while let Some(file) = next.pop() {
                let imported = imports.iter().filter(|(importer, _)| *importer == file);
                next.extend(
                    imported
                        .filter(|(_, to)| seen.insert((*to).to_owned()))
                        .map(|(_, to)| (*to).to_owned()),
                );
            }
            seen
        };
        let reached: BTreeMap<&str, BTreeSet<String>> = self
            .0
            .values()
            .map(|file| (file.path.as_str(), reachable(&file.path)))
            .collect();
        let circles: BTreeSet<Vec<String>> = reached
            .iter()
            .map(|(file, seen)| {
                seen.iter()
                    .filter(|other| reached[other.as_str()].contains(*file))
                    .cloned()
                    .collect()
            })
            .filter(|circle: &Vec<String>| !circle.is_empty())
            .collect();
        circles.into_iter().collect()
    }
}

impl File {
    fn read(src: &Path, module: &str, path: &Path) -> Self {
        let (code, children) = modules_of(&Code::of(&read(path)).text);
        let mut file = Self {
            path: path
                .strip_prefix(src)
                .expect("below src")
                .display()
                .to_string(),
            children,
            exports: Vec::new(),
            foreign: Vec::new(),
            paths: Vec::new(),
        };
        // What is merely re-exported is used elsewhere; what is imported may be named by the modules below too.
        let (mut rest, mut uses) = (String::new(), Vec::new());
        for statement in code.split_inclusive(';') {
            let found = statement
                .rfind("use ")
                .filter(|at| statement[..*at].ends_with(['\n', ' ']) || *at == 0);
            match found {
                Some(at) if statement[at + 4..].starts_with(|c: char| c.is_alphabetic()) => {
                    rest.push_str(&statement[..at]);
                    let is_shared = statement[..at].trim_end().ends_with([')', 'b']);
                    uses.push((
                        is_shared,
                        statement[at + 4..].trim_end_matches(';').to_owned(),
                    ));
                }
                _ => rest.push_str(statement),
            }
        }
        for (is_shared, tree) in uses {
            for path in expand(&tree) {
                let (path, name) = path.split_once(" as ").map_or_else(
                    || (path.as_str(), path.rsplit("::").next().unwrap_or_default()),
                    |(path, name)| (path, name),
                );
                let Some(target) = file.absolute(module, path) else {
                    file.foreign.push(name.to_owned());
                    continue;
                };
                if !is_shared || names(&rest, name) {
                    file.paths.push(target.clone());
                }
                file.exports.push((name.to_owned(), target));
            }
        }
        let inline: Vec<String> = paths_in(&rest)
            .filter_map(|path| file.absolute(module, path))
            .collect();
        file.paths.extend(inline);
        file
    }

    /// A path from the package's root on; nothing for what is in another package.
    fn absolute(&self, module: &str, path: &str) -> Option<String> {
        let (first, rest) = path.split_once("::").unwrap_or((path, ""));
        match first {
            "crate" => Some(rest.to_owned()),
            "self" => Some(join(module, rest)),
            "super" => {
                let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
                if rest.starts_with("super") {
                    self.absolute(parent, rest)
                } else {
                    Some(join(parent, rest))
                }
            }
            child if self.children.iter().any(|known| known == child) => Some(join(module, path)),
            _ => None,
        }
    }
}

fn join(module: &str, rest: &str) -> String {
    match module {
        "" => rest.to_owned(),
        module => format!("{module}::{rest}"),
    }
}

/// The code without its declarations of modules, and the modules that have files of their own.
fn modules_of(text: &str) -> (String, Vec<String>) {
    let (mut code, mut children) = (String::new(), Vec::new());
    for line in text.lines() {
        let declared = line.strip_suffix(';').and_then(|line| {
            let (before, name) = line.rsplit_once("mod ")?;
            (before.is_empty() || before.starts_with("pub")).then_some(name)
        });
        match declared {
            Some(name) => children.push(name.to_owned()),
            None => code.push_str(line),
        }
        code.push('\n');
    }
    (code, children)
}

/// A file's code apart from its texts; without comments and tests.
#[derive(Default)]
struct Code {
    /// Texts are empty in it.
    text: String,
    literals: Vec<Literal>,
}

struct Literal {
    text: String,
    /// The function whose first argument it is, or the operator before it.
    called_by: String,
}

impl Literal {
    /// Whether something is compared with it, or looked for.
    fn is_matched(&self) -> bool {
        let ways = [
            "contains",
            "starts_with",
            "ends_with",
            "eq_ignore_ascii_case",
            "==",
            "!=",
        ];
        ways.contains(&self.called_by.as_str())
            || [
                "find", "split", "strip_", "trim_", "rfind", "rsplit", "match",
            ]
            .iter()
            .any(|way| self.called_by.starts_with(way))
    }
}

impl Code {
    fn of(text: &str) -> Self {
        let mut code = Self::default();
        let text = without_tests(text);
        let mut rest = text.as_str();
        while let Some(at) = rest.find(['"', '\'', '/']) {
            let (before, from) = rest.split_at(at);
            code.text.push_str(before);
            let length = if from.starts_with("//") {
                from.find('\n').unwrap_or(from.len())
            } else if from.starts_with('"') {
                code.literal(from)
            } else if from.starts_with('\'') {
                character(from)
            } else {
                code.text.push('/');
                1
            };
            rest = &from[length..];
        }
        code.text.push_str(rest);
        code
    }

    /// Keeps the text that begins here, and gives its length in the source.
    fn literal(&mut self, from: &str) -> usize {
        let before_hashes = self.text.trim_end_matches('#');
        let is_raw = before_hashes.ends_with('r')
            && !before_hashes[..before_hashes.len() - 1].ends_with(char::is_alphanumeric);
        let end = if is_raw {
            let close = format!("\"{}", &self.text[before_hashes.len()..]);
            from[1..].find(&close).expect("the end of a raw text") + 1 + close.len()
        } else {
            let mut is_escaped = false;
            let end = from[1..].find(|c| {
                let is_end = c == '"' && !is_escaped;
                is_escaped = c == '\\' && !is_escaped;
                is_end
            });
            end.expect("the end of a text") + 2
        };
        let called_by = self
            .text
            .trim_end_matches(['r', 'b', '#'])
            .trim_end()
            .trim_end_matches(['&', '('])
            .trim_end();
        let called_by = match called_by
            .rsplit(|c: char| !(c.is_alphanumeric() || c == '_'))
            .next()
        {
            Some("") | None => &called_by[called_by.len().saturating_sub(2)..],
            Some(name) => name,
        };
        self.literals.push(Literal {
            text: from[1..end]
                .trim_end_matches('#')
                .trim_end_matches('"')
                .to_owned(),
            called_by: called_by.to_owned(),
        });
        self.text.push_str("\"\"");
        end
    }
}

/// The length of a character like `'a'` or `'\n'`, or that of a lifetime's quotation mark.
fn character(from: &str) -> usize {
    let mut characters = from.char_indices().skip(1);
    match characters.next() {
        Some((_, '\\')) => from[3..].find('\'').expect("the end of a character") + 4,
        _ => match characters.next() {
            Some((at, '\'')) => at + 1,
            _ => 1,
        },
    }
}

/// Whether a text has two words with a blank between them.
fn is_prose(text: &str) -> bool {
    let letters: Vec<char> = text.chars().collect();
    letters
        .windows(3)
        .any(|three| three[0].is_alphabetic() && three[1] == ' ' && three[2].is_alphabetic())
}

/// A file without comments on lines of their own, and without what is compiled for tests alone.
fn without_tests(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            code.push_str(line);
            code.push('\n');
            continue;
        }
        let item = lines.next().unwrap_or_default();
        if item.ends_with('{') {
            let indentation = &item[..item.len() - item.trim_start().len()];
            let end = format!("{indentation}}}");
            while lines.next().is_some_and(|line| line != end) {}
        }
    }
    code
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`; `a::{self}` and `a::*` as `a`.
fn expand(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((before, inner)) = tree.split_once('{') else {
        let path = tree.trim_end_matches("::*");
        return vec![path.trim_end_matches("::self").to_owned()];
    };
    let inner = &inner[..inner.rfind('}').expect("a closing brace")];
    let mut depth = 0;
    let parts = inner.split(|c: char| {
        depth += match c {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        c == ',' && depth == 0
    });
    parts
        .filter(|part| !part.trim().is_empty())
        .flat_map(|part| expand(&format!("{before}{}", part.trim())))
        .collect()
}

/// Whether code names something.
fn names(code: &str, name: &str) -> bool {
    words(code).any(|word| word.split("::").any(|part| part == name))
}

/// The paths in code: `crate::a::b`, `super::c`.
fn paths_in(code: &str) -> impl Iterator<Item = &str> {
    words(code).filter(|word| word.contains("::"))
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
        .map(|word| word.trim_matches(':'))
}
