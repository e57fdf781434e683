//! Playbooks with mistakes that nobody thought of: the static check of a mutated playbook neither panics nor hangs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fastrand::Rng;
use malleus::diagnostic::Style;
use malleus::playbook::check;
use malleus::source::Source;
use malleus::template::Engine;

/// How many mutations are checked, and the seed they come from.
const MUTATIONS: usize = 6000;
const SEED: u64 = 20;

/// More than a check takes on a busy machine.
const LONGEST: Duration = Duration::from_secs(10);

/// Pieces that mean something in a playbook or in YAML.
const PIECES: &[&str] = &[
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "#}",
    "{",
    "}",
    "[",
    "]",
    ": ",
    ":",
    "- ",
    "-",
    "\"",
    "'",
    "|",
    "|-",
    ">",
    "&a ",
    "*a",
    "<<: *a",
    "!",
    "!!int ",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "\t",
    "\r",
    "\u{0}",
    "\u{feff}",
    "ü",
    "日本",
    "🦀",
    "\\",
    "\\u12",
    "~",
    "null",
    "true",
    ".inf",
    "1e999",
    "18446744073709551616",
    "0x",
    "#",
    " #",
    ",",
    "\n",
    "\n\n",
    "  ",
    "item",
    "run.id",
    "steps",
    "request",
    "exec",
    "when",
    "for_each",
    "|upper",
    " is ",
    " if ",
    "(",
    ")",
    "..",
    "/",
    "%2e",
    "?",
];

fn playbooks(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            playbooks(&path, found);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml")
        {
            found.push(path);
        }
    }
}

/// Valid playbooks with the folders they stand in.
fn valid(engine: &Engine) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    playbooks(&root.join("scenarios"), &mut paths);
    playbooks(&root.join("tests/cases"), &mut paths);
    let sources = paths
        .into_iter()
        .filter_map(|path| Source::read(&path).ok().map(|source| (path, source)));
    let valid = sources.filter(|(_, source)| !check(source, engine).failed());
    valid
        .map(|(path, source)| (path, source.text().to_owned()))
        .collect()
}

/// A place between two characters.
fn boundary(text: &str, rng: &mut Rng) -> usize {
    let mut at = rng.usize(..=text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn mutated(text: &str, rng: &mut Rng) -> String {
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    let line = rng.usize(..lines.len().max(1));
    match rng.u8(..9) {
        0 if !lines.is_empty() => drop(lines.remove(line)),
        1 if !lines.is_empty() => lines.insert(line, lines[line]),
        2 if !lines.is_empty() => {
            let other = rng.usize(..lines.len());
            lines.swap(line, other);
        }
        3 => {
            // The indentation of a line.
            let at: usize = lines[..line].iter().map(|line| line.len()).sum();
            let mut text = text.to_owned();
            text.insert_str(at, &" ".repeat(rng.usize(1..4)));
            return text;
        }
        4 | 5 => {
            let mut text = text.to_owned();
            let at = boundary(&text, rng);
            text.insert_str(at, PIECES[rng.usize(..PIECES.len())]);
            return text;
        }
        6 => {
            // A piece goes, or stands twice.
            let (one, other) = (boundary(text, rng), boundary(text, rng));
            let (start, end) = (one.min(other), one.max(other).min(one.min(other) + 40));
            let end = (end..=text.len())
                .find(|end| text.is_char_boundary(*end))
                .unwrap_or(text.len());
            return if rng.bool() {
                format!("{}{}", &text[..start], &text[end..])
            } else {
                format!("{}{}", &text[..end], &text[start..])
            };
        }
        7 => {
            let mut bytes = text.as_bytes().to_vec();
            if let Some(at) = (!bytes.is_empty()).then(|| rng.usize(..bytes.len())) {
                bytes[at] = rng.u8(..);
            }
            return String::from_utf8_lossy(&bytes).into_owned();
        }
        _ => return text[..boundary(text, rng)].to_owned(),
    }
    lines.concat()
}

/// Checks a text and draws all that is found.
fn survives(path: &Path, text: &str, engine: &Engine) -> Result<(), String> {
    let start = Instant::now();
    let checked = catch_unwind(AssertUnwindSafe(|| {
        let source = Source::new(path, text);
        for problem in check(&source, engine).problems {
            assert!(!problem.message.is_empty());
            problem.render(Style::Plain);
            problem.render(Style::Colored);
        }
    }));
    let took = start.elapsed();
    match checked {
        Err(_) => Err(format!("panicked on\n{text}")),
        Ok(()) if took > LONGEST => Err(format!("took {took:?} for\n{text}")),
        Ok(()) => Ok(()),
    }
}

#[test]
fn mutated_playbooks_are_judged_without_a_panic() {
    on_a_main_stack(mutations);
}

fn mutations() {
    let engine = Engine::new();
    let playbooks = valid(&engine);
    assert!(playbooks.len() > 50, "{}", playbooks.len());
    let mut rng = Rng::with_seed(SEED);
    let mut failures = Vec::new();
    for number in 0..MUTATIONS {
        let (path, text) = &playbooks[rng.usize(..playbooks.len())];
        let mut text = text.clone();
        for _ in 0..rng.usize(1..4) {
            text = mutated(&text, &mut rng);
        }
        if let Err(failure) = survives(path, &text, &engine) {
            failures.push(format!(
                "mutation {number} of {}: {failure}",
                path.display()
            ));
        }
    }
    assert!(
        failures.is_empty(),
        "{} failures; {}",
        failures.len(),
        failures[0]
    );
}

/// Runs with the stack of a program's main thread.
fn on_a_main_stack(test: fn()) {
    let thread = std::thread::Builder::new().stack_size(8 << 20).spawn(test);
    if let Err(panic) = thread.expect("a thread").join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn extremes_are_judged_without_a_panic() {
    on_a_main_stack(extremes);
}

fn extremes() {
    let engine = Engine::new();
    let head = "playbook: 1\nname: x\nsteps:\n  - check: ";
    let deep = |open: &str, close: &str, times: usize| {
        format!("{}{}", open.repeat(times), close.repeat(times))
    };
    let groups = (0..200).fold(
        String::from("playbook: 1\nname: x\nsteps:\n"),
        |text, depth| format!("{text}{}- steps:\n", "  ".repeat(depth + 1)),
    );
    for text in [
        deep("[", "]", 100_000),
        deep("{a: ", "}", 100_000),
        "- ".repeat(100_000),
        "a:\n ".repeat(1000),
        groups,
        format!("{head}\"{}\"", deep("(", ")", 100_000)),
        format!("{head}\"{}1\"", "not ".repeat(100_000)),
        format!("{head}\"{}1\"", "-".repeat(100_000)),
        format!("{head}\"a{}\"", ".b".repeat(100_000)),
        format!("{head}\"a{}\"", "|upper".repeat(100_000)),
        format!("{head}\"1{}\"", " + 1".repeat(100_000)),
        format!("{head}\"{}\"", deep("[", "]", 100_000)),
        format!("{head}\"{}\"", "{{ ".repeat(100_000)),
        format!(
            "playbook: 1\nname: x\nsteps:\n  - set: {{a: \"{}\"}}",
            deep("{% if x %}", "{% endif %}", 20_000)
        ),
        format!("playbook: 1\nname: {}\nsteps: []", "x".repeat(1_000_000)),
        format!(
            "playbook: 1\nname: x\nsteps:\n{}",
            "  - check: true\n".repeat(4000)
        ),
        format!("{head}{}", "\u{301}".repeat(10_000)),
        "\u{0}".into(),
        "\u{feff}".into(),
        "\r".into(),
        "&a *a".into(),
        "? ".into(),
        "%".into(),
        "!".into(),
        "|".into(),
        ">".into(),
    ] {
        let shown: String = text.chars().take(60).collect();
        let start = Instant::now();
        let result = survives(Path::new("x.yaml"), &text, &engine);
        if let Err(failure) = result {
            let failure: String = failure.chars().take(200).collect();
            panic!("{shown}: {failure} ({:?})", start.elapsed());
        }
    }
}
