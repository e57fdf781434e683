//! JUnit XML, as GitLab, Jenkins and the actions of GitHub read it: a suite per playbook, a case per step.

use std::collections::HashMap;

use super::markup::{attribute, escape};
use super::problem::Problem;
use super::record::{Outcome, Record, StepEnd, StepRecord};
use crate::diagnostic::count;
use crate::events::{Phase, StepShape};

/// Writes masked records.
pub(super) fn write(records: &[Record]) -> String {
    let suites: Vec<Suite> = records.iter().map(Suite::of).collect();
    let all = suites
        .iter()
        .fold(Counts::default(), |sum, suite| sum.plus(suite.counts()));
    let time: f64 = records
        .iter()
        .map(|record| record.duration().as_secs_f64())
        .sum();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"malleus\" {} time=\"{time:.3}\">\n",
        all.attributes()
    );
    for suite in &suites {
        suite.write(&mut text);
    }
    text.push_str("</testsuites>\n");
    text
}

#[derive(Clone, Copy, Default)]
struct Counts {
    tests: usize,
    failures: usize,
    errors: usize,
    skipped: usize,
}

impl Counts {
    fn plus(self, other: Self) -> Self {
        Self {
            tests: self.tests + other.tests,
            failures: self.failures + other.failures,
            errors: self.errors + other.errors,
            skipped: self.skipped + other.skipped,
        }
    }

    fn attributes(self) -> String {
        format!(
            "tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\"",
            self.tests, self.failures, self.errors, self.skipped
        )
    }
}

/// A playbook with its cases.
struct Suite<'a> {
    record: &'a Record,
    cases: Vec<Case>,
}

struct Case {
    name: String,
    /// Where it is written, as far as that is known.
    place: (String, Option<usize>),
    seconds: f64,
    result: CaseResult,
    /// What else is to be said.
    warnings: String,
}

enum CaseResult {
    Passed,
    Skipped(String),
    /// A first line and all of it.
    Failed(String, String),
    Error(String, String),
}

impl<'a> Suite<'a> {
    fn of(record: &'a Record) -> Self {
        let mut groups: Vec<&str> = Vec::new();
        let mut cases = Vec::new();
        for step in &record.steps {
            groups.truncate(step.info.depth);
            if step.counts() {
                cases.push(Case::of_step(step, &groups, record));
            }
            if step.info.shape == StepShape::Group {
                groups.push(&step.info.title);
            }
        }
        cases.extend(Case::of_playbook(record));
        tell_apart(&mut cases);
        Self { record, cases }
    }

    fn counts(&self) -> Counts {
        let number = |is: fn(&CaseResult) -> bool| {
            let of = self.cases.iter().filter(|case| is(&case.result));
            of.count()
        };
        Counts {
            tests: self.cases.len(),
            failures: number(|result| matches!(result, CaseResult::Failed(..))),
            errors: number(|result| matches!(result, CaseResult::Error(..))),
            skipped: number(|result| matches!(result, CaseResult::Skipped(_))),
        }
    }

    fn write(&self, text: &mut String) {
        let record = self.record;
        text.push_str(&format!(
            "  <testsuite name=\"{}\" {} time=\"{:.3}\" timestamp=\"{}\" file=\"{}\">\n",
            attribute(&record.playbook),
            self.counts().attributes(),
            record.duration().as_secs_f64(),
            humantime::format_rfc3339_seconds(record.started),
            attribute(&record.file),
        ));
        if let (Some(run), Some(server)) = (&record.run, &record.server) {
            text.push_str(&format!(
                "    <properties>\n      <property name=\"run\" value=\"{}\"/>\n      <property name=\"server\" value=\"{}\"/>\n    </properties>\n",
                attribute(run),
                attribute(server)
            ));
        }
        for case in &self.cases {
            case.write(&record.playbook, text);
        }
        let warnings = record.problems.iter().filter(|problem| !problem.is_error());
        let warnings = excerpts(warnings);
        if !warnings.is_empty() {
            text.push_str(&format!(
                "    <system-err>{}</system-err>\n",
                escape(&warnings)
            ));
        }
        text.push_str("  </testsuite>\n");
    }
}

impl Case {
    fn of_step(step: &StepRecord, groups: &[&str], record: &Record) -> Self {
        let title = match step.info.phase {
            Phase::Steps | Phase::Finally => step.info.title.clone(),
            Phase::Cleanup => format!("cleanup: {}", step.info.title),
        };
        let path = groups.iter().copied().chain([title.as_str()]);
        let place = step.problems.iter().find_map(|problem| {
            let spot = problem.places.first()?;
            Some((spot.file.clone(), Some(spot.line)))
        });
        let all = excerpts(&step.problems);
        let (result, warnings) = match step.outcome {
            StepEnd::Passed => (CaseResult::Passed, String::new()),
            StepEnd::Tolerated => (CaseResult::Passed, all),
            StepEnd::Skipped => {
                let why = match step.remark.as_str() {
                    "" => "its condition did not hold",
                    remark => remark,
                };
                (CaseResult::Skipped(why.into()), String::new())
            }
            StepEnd::Cancelled => (CaseResult::Skipped("cancelled".into()), String::new()),
            StepEnd::Failed => (
                CaseResult::Failed(headline(&step.problems), all),
                String::new(),
            ),
        };
        Self {
            name: path.collect::<Vec<_>>().join(" › "),
            place: place.unwrap_or_else(|| (record.file.clone(), None)),
            seconds: step.duration.as_secs_f64(),
            result,
            warnings,
        }
    }

    /// What is to be said of the playbook as a whole; nothing where its steps have said all.
    fn of_playbook(record: &Record) -> Option<Self> {
        let errors: Vec<&Problem> = record
            .problems
            .iter()
            .filter(|problem| problem.is_error())
            .collect();
        let excerpts = excerpts(errors.iter().copied());
        let result = match record.outcome() {
            Outcome::NotRun => CaseResult::Skipped("not run".into()),
            Outcome::Left => {
                let left: String = record
                    .left()
                    .iter()
                    .map(|left| format!("- {left}\n"))
                    .collect();
                CaseResult::Error(
                    format!(
                        "cleanup is incomplete, {} left",
                        count(record.left().len(), "resource")
                    ),
                    format!("{left}\n{excerpts}").trim_end().to_owned(),
                )
            }
            Outcome::Interrupted => CaseResult::Error("interrupted".into(), excerpts),
            Outcome::Error | Outcome::Failed | Outcome::Passed if !errors.is_empty() => {
                CaseResult::Error(headline(errors.iter().copied()), excerpts)
            }
            Outcome::Error | Outcome::Failed | Outcome::Passed => return None,
        };
        let line = errors
            .iter()
            .find_map(|problem| problem.places.first())
            .map(|spot| spot.line);
        Some(Self {
            name: record.playbook.clone(),
            place: (record.file.clone(), line),
            seconds: 0.0,
            result,
            warnings: String::new(),
        })
    }

    fn write(&self, class: &str, text: &mut String) {
        let (file, line) = &self.place;
        text.push_str(&format!(
            "    <testcase classname=\"{}\" name=\"{}\" file=\"{}\"",
            attribute(class),
            attribute(&self.name),
            attribute(file)
        ));
        if let Some(line) = line {
            text.push_str(&format!(" line=\"{line}\""));
        }
        text.push_str(&format!(" time=\"{:.3}\"", self.seconds));
        let inside = self.inside();
        if inside.is_empty() {
            text.push_str("/>\n");
        } else {
            text.push_str(&format!(">\n{inside}    </testcase>\n"));
        }
    }

    fn inside(&self) -> String {
        let element = |name: &str, message: &str, all: &str| {
            format!(
                "      <{name} message=\"{}\" type=\"{name}\">{}</{name}>\n",
                attribute(message),
                escape(all)
            )
        };
        let mut inside = match &self.result {
            CaseResult::Passed => String::new(),
            CaseResult::Skipped(why) => {
                format!("      <skipped message=\"{}\"/>\n", attribute(why))
            }
            CaseResult::Failed(message, all) => element("failure", message, all),
            CaseResult::Error(message, all) => element("error", message, all),
        };
        if !self.warnings.is_empty() {
            inside.push_str(&format!(
                "      <system-err>{}</system-err>\n",
                escape(&self.warnings)
            ));
        }
        inside
    }
}

/// Numbers what would have the same name: readers show only one of them.
fn tell_apart(cases: &mut [Case]) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for case in cases {
        let times = seen.entry(case.name.clone()).or_default();
        *times += 1;
        if *times > 1 {
            case.name = format!("{} #{times}", case.name);
        }
    }
}

fn excerpts<'a>(problems: impl IntoIterator<Item = &'a Problem>) -> String {
    let all: Vec<&str> = problems
        .into_iter()
        .map(|problem| problem.excerpt.as_str())
        .collect();
    all.join("\n\n")
}

/// The first problem's line, and how many more there are.
fn headline<'a>(problems: impl IntoIterator<Item = &'a Problem>) -> String {
    let mut problems = problems.into_iter();
    let first = problems
        .next()
        .map_or_else(String::new, |problem| problem.message.clone());
    match problems.count() {
        0 => first,
        more => format!("{first} (and {more} more)"),
    }
}
