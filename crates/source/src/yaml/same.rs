//! What is read quickly is what is read carefully: held against each other over every playbook of the tests and the
//! documentation, and over thousands of slips in them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastrand::Rng;

use super::{carefully, quick};
use crate::Source;

const SLIPS: usize = 4000;
const SEED: u64 = 7;

/// Pieces that mean something in YAML.
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ", ",
    ": ",
    ":",
    "- ",
    "? ",
    "\"",
    "'",
    "|\n",
    "|-\n",
    ">\n",
    "&a ",
    "&b ",
    "*a",
    "*b",
    "<<: *a",
    "<<: [*a, *b]",
    "<<: {x: 1}",
    "\"<<\": *a",
    "a: &a {x: 1, y: &b [2, *a]}",
    "!",
    "!!int ",
    "!!str ",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "#",
    " #",
    "\t",
    "\r",
    "\n",
    "\n  ",
    "\n    ",
    "  ",
    "\u{0}",
    "\u{feff}",
    "ü",
    "日本",
    "\\",
    "\\u12",
    "~",
    "null",
    "NULL",
    "true",
    "TRUE",
    "False",
    "yes",
    "0",
    "-0",
    "0644",
    "0o17",
    "0x1F",
    "1_000",
    "+1",
    "-1",
    "1.5",
    ".5",
    "5.",
    "1e3",
    "1e999",
    ".inf",
    "-.nan",
    "nan",
    "inf",
    "-",
    "--",
    "+",
    ".",
    "12345678901234567890",
    "-9223372036854775808",
    "99999999999999999999999",
    "10.0.0.1/24",
    "2024-01-01",
    "=",
    "@",
    "`",
    "%",
    "&",
    "*",
    "a: 1\na: 2\n",
    "? a\n",
    "? [a]\n: b\n",
];

/// Texts that the folders' own do not cover.
const WRITTEN: &[&str] = &[
    "",
    "\n",
    "# nothing\n",
    "---\n",
    "a",
    "a: b\n---\n",
    "a: b\n...\n",
    "\u{feff}a: b",
    "- - - a",
    "a: &x 1\nb: *x",
    "a: &x {p: 1, q: [2]}\nb: {<<: *x, p: 3}\nc: {q: 4, <<: [*x, {r: 5}]}\n",
    "a: &x {1x: 1, y: 2}\nb: {<<: *x}\n",
    "<<: 1",
    "<<: ",
    "<<: [1]",
    "<<: {}",
    "\"<<\": {a: b}",
    "a: *a",
    "a: &a [*a]",
    "? a",
    "? \n: b",
    "[a: b, c]",
    "{a, b: }",
    "\"a\": 'b''c'",
    "k: |+\n  a\n\n",
    "k: >-\n  a\n  b\n\n  c\n",
    "k: a\n  b\n\n  c",
    "k: ---",
    "k: --- a",
    "k: ...",
    "k: 1\n  2",
    "k: 1\n\n  2",
    "k: -",
    "[-]",
    "k: -1 #c",
    "1: a",
    "~: a",
    "NULL: a",
    "TRUE: a",
    "0x10: a",
    "\"1\": a",
    "? |\n  1\n: a",
    "? >\n  null\n: b",
    "&a k: v",
    "k: &a\nl: *a",
    "k: !!str 1",
    "k: ! 1",
    "k: &a !!int 1",
    "a: 1\r\nb: 2\r\n",
    "a:\n- b\n- c\n",
];

fn playbooks(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            playbooks(&path, found);
        } else if path
            .extension()
            .is_some_and(|kind| kind == "yaml" || kind == "yml" || kind == "md")
        {
            found.push(path);
        }
    }
}

/// The texts of all playbooks; of the documentation its YAML examples.
fn corpus() -> Vec<String> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let mut files = Vec::new();
    for folder in ["tests", "docs", "examples", "scenarios", "benches"] {
        playbooks(&root.join(folder), &mut files);
    }
    files.sort();
    let mut texts: Vec<String> = WRITTEN.iter().map(|text| (*text).to_owned()).collect();
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        if file.extension().is_some_and(|kind| kind == "md") {
            let examples = text.split("```yaml\n").skip(1);
            texts.extend(
                examples
                    .filter_map(|part| part.split("```").next())
                    .map(str::to_owned),
            );
        } else {
            texts.push(text);
        }
    }
    texts
}

/// Whether the text was read quickly, after comparing.
fn compared(text: &str) -> bool {
    let Some(node) = quick::read(text) else {
        return false;
    };
    let source: Arc<Source> = Source::new(Path::new("p"), text);
    assert_eq!(Ok(node), carefully(&source), "{text}");
    true
}

fn slip(text: &mut String, random: &mut Rng) {
    let at = |random: &mut Rng, text: &str| {
        let mut at = random.usize(..=text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let one = at(random, text);
    let other = at(random, text);
    match random.u8(..4) {
        0 => text.insert_str(one, PIECES[random.usize(..PIECES.len())]),
        1 => {
            let end = other.clamp(one, text.len().min(one + 12));
            let end = (one..=end)
                .rev()
                .find(|end| text.is_char_boundary(*end))
                .unwrap_or(one);
            text.replace_range(one..end, PIECES[random.usize(..PIECES.len())]);
        }
        2 => {
            let line: String = text[one..].split_inclusive('\n').take(2).collect();
            text.insert_str(other, &line);
        }
        // A value of its own: what comes behind a key or a dash.
        _ => {
            if let Some(behind) = text[one..].find([':', '-']) {
                let piece = format!(" {}", PIECES[random.usize(..PIECES.len())]);
                text.insert_str(one + behind + 1, &piece);
            }
        }
    }
}

#[test]
fn quick_and_careful_read_the_same() {
    let corpus = corpus();
    let quick = corpus.iter().filter(|text| compared(text)).count();
    assert!(quick * 10 > corpus.len() * 7, "{quick} of {}", corpus.len());
    let mut random = Rng::with_seed(SEED);
    let mut quick = 0;
    for _ in 0..SLIPS {
        let mut text = corpus[random.usize(..corpus.len())].clone();
        text.truncate(text.floor_char_boundary(4000));
        for _ in 0..random.usize(1..4) {
            slip(&mut text, &mut random);
        }
        quick += usize::from(compared(&text));
    }
    assert!(quick * 4 > SLIPS, "{quick} of {SLIPS}");
}
