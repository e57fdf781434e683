//! What differs from run to run, replaced by words: the one place for it.

use std::path::Path;
use std::sync::LazyLock;

use regex_lite::Regex;

/// Patterns, and what stands in their place.
const PATTERNS: &[(&str, &str)] = &[
    // The time of a step, with the gap before it and perhaps in colour, and of a run.
    (
        r"(?m)(\S) {2,}(\x1b\[\d+m)?(?:(?:\d+h)?\d+m)?\d+(?:\.\d+)?s(\x1b\[0m)?$",
        "$1  $2{time}$3",
    ),
    (r"(?m) in (?:(?:\d+h)?\d+m)?\d+(?:\.\d+)?s$", " in {time}"),
    (r"\(\d+\.\d ms\)", "({time})"),
    // The same in reports.
    (r#"("duration": |time=")\d+\.\d+"#, "$1{time}"),
    (
        r#"(<time>|"time">)(?:(?:\d+h)?\d+m)?\d+(?:\.\d+)?s<"#,
        "$1{time}<",
    ),
    (
        r#"("malleus": 1,\s+"version": ")\d+\.\d+\.\d+"#,
        "$1{version}",
    ),
    (
        r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "{uuid}",
    ),
    (r"\b[0-9a-f]{64}\b", "{fingerprint}"),
    (
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)",
        "{timestamp}",
    ),
    (r"malleus \d+\.\d+\.\d+", "malleus {version}"),
];

static COMPILED: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let compiled =
        |(pattern, by): &(&str, &'static str)| (Regex::new(pattern).expect("a regex"), *by);
    PATTERNS.iter().map(compiled).collect()
});

/// Knows what is only true of one run.
#[derive(Default)]
pub(crate) struct Redactor {
    words: Vec<(String, &'static str)>,
}

impl Redactor {
    /// Replaces a path wherever it occurs.
    pub(crate) fn path(&mut self, path: &Path, by: &'static str) {
        self.words.push((path.display().to_string(), by));
    }

    /// Learns the run's id and the server from the first line of a run.
    pub(crate) fn learn(&mut self, stderr: &str) {
        let header =
            Regex::new(r"run ([a-z][a-z0-9]{5}) on ((?:lxd|incus) [^\s\x1b]+)").expect("a regex");
        for found in header.captures_iter(stderr) {
            self.words.push((found[2].to_owned(), "{server}"));
            self.words.push((found[1].to_owned(), "{run}"));
        }
    }

    pub(crate) fn redact(&self, text: &str) -> String {
        let mut redacted = text.to_owned();
        for (word, by) in &self.words {
            redacted = redacted.replace(word, by);
        }
        for (regex, by) in COMPILED.iter() {
            redacted = regex.replace_all(&redacted, *by).into_owned();
        }
        redacted
    }

    /// Requests, one a line. Recorded logs are fetched and deleted beside the steps: their requests come last, sorted,
    /// each once. A request repeated at once stands once, and so does waiting for an operation, however long it took.
    pub(crate) fn requests(&self, requests: &[String]) -> String {
        let redacted = requests.iter().map(|request| self.redact(request));
        let (mut logs, mut others): (Vec<_>, Vec<_>) =
            redacted.partition(|request| request.contains("/logs/"));
        logs.sort();
        logs.dedup();
        others.dedup();
        others.dedup_by(|later, earlier| [later, earlier].iter().all(|line| is_waiting(line)));
        others.extend(logs);
        others.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// Whether a request looks how an operation gets on.
fn is_waiting(request: &str) -> bool {
    request.starts_with("GET /1.0/operations/{uuid}")
}
