//! The JSON Schema, by a validator that is not ours: what the program takes, the schema takes; what a schema can know to be
//! wrong, it refuses.

#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use jsonschema::Validator;
use malleus::playbook::{check, schema};
use malleus::source::Source;
use malleus::template::Engine;
use malleus_source::yaml;
use serde_json::Value;

/// Messages that are about a value, not its type: words that the expression language keeps, ranges of numbers, where
/// templates may stand.
const BEYOND: [&str; 3] = [
    "`id` must be a name of letters, digits and `_`, not `in`",
    "an id must be an integer from 0 to",
    "`remote` must be known before the run",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn validator() -> Validator {
    jsonschema::draft202012::new(&schema()).expect("the schema is one")
}

/// A file that may be a playbook, as the program sees it.
struct Sample {
    name: String,
    value: Value,
    /// Messages of the errors that the program finds.
    errors: Vec<String>,
}

fn sample(path: &Path, text: Option<&str>, engine: &Engine) -> Option<Sample> {
    let source = match text {
        Some(text) => Source::new(path, text),
        None => Source::read(path).ok()?,
    };
    let value = yaml::parse(&source).ok()?.to_value();
    let checked = check(&source, engine);
    let errors = checked.problems.iter().filter(|problem| problem.is_error());
    Some(Sample {
        name: path.display().to_string(),
        value,
        errors: errors.map(|problem| problem.message.clone()).collect(),
    })
}

/// The playbooks of a folder and of those in it.
fn below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            below(&path, found);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            found.push(path);
        }
    }
}

/// All playbooks of the repository, wrong ones too.
fn samples() -> &'static [Sample] {
    static SAMPLES: OnceLock<Vec<Sample>> = OnceLock::new();
    SAMPLES.get_or_init(read)
}

fn read() -> Vec<Sample> {
    let engine = Engine::new();
    let mut files = Vec::new();
    for folder in ["scenarios", "tests/cases", "benches"] {
        below(&root().join(folder), &mut files);
    }
    let mut samples: Vec<Sample> = files
        .iter()
        .filter_map(|file| sample(file, None, &engine))
        .filter(|sample| sample.value.get("playbook").is_some())
        .collect();
    for page in ["README.md", "docs/playbook.md"] {
        let text = fs::read_to_string(root().join(page)).expect("a page");
        let blocks = text.split("\n```").skip(1).step_by(2);
        for block in blocks.filter_map(|block| block.split_once('\n')) {
            if block.0.starts_with("yaml") && block.1.starts_with("playbook:") {
                // Beside the page, so that the files that the block names are looked for somewhere.
                let path = root().join("docs").join(block.0.replace("yaml ", ""));
                samples.extend(sample(&path, Some(block.1), &engine));
            }
        }
    }
    samples
}

fn first_complaint(validator: &Validator, value: &Value) -> Option<String> {
    let error = validator.iter_errors(value).next()?;
    Some(format!("{} at {}", error, error.instance_path()))
}

#[test]
fn the_file_is_a_schema_of_its_draft() {
    let text = fs::read_to_string(root().join("schemas/playbook.schema.json")).expect("the file");
    let schema: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    assert!(
        jsonschema::meta::is_valid(&schema),
        "{:?}",
        jsonschema::meta::validate(&schema)
    );
}

#[test]
fn what_the_program_takes_the_schema_takes() {
    let validator = validator();
    let is_of_files = |message: &String| message.starts_with("there is no file");
    let valid: Vec<&Sample> = samples()
        .iter()
        .filter(|sample| sample.errors.iter().all(is_of_files))
        .collect();
    assert!(valid.len() > 200, "only {} playbooks", valid.len());
    let refused: Vec<String> = valid
        .iter()
        .filter_map(|sample| {
            let complaint = first_complaint(&validator, &sample.value)?;
            Some(format!("{}: {complaint}", sample.name))
        })
        .collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[test]
fn what_a_schema_can_know_to_be_wrong_it_refuses() {
    let validator = validator();
    let is_knowable = |message: &String| {
        (message.starts_with("unknown key") || message.contains(" must be "))
            && !BEYOND.iter().any(|beyond| message.starts_with(beyond))
    };
    let wrong: Vec<&Sample> = samples()
        .iter()
        .filter(|sample| sample.errors.iter().any(is_knowable))
        .collect();
    assert!(wrong.len() > 60, "only {} playbooks", wrong.len());
    let taken: Vec<String> = wrong
        .iter()
        .filter(|sample| validator.is_valid(&sample.value))
        .map(|sample| format!("{}: {}", sample.name, sample.errors.join("; ")))
        .collect();
    assert!(taken.is_empty(), "{}", taken.join("\n"));
}
