//! One page that needs nothing else to be read.

use serde_json::Value;

use super::markup::escape;
use super::problem::Problem;
use super::record::{Outcome, Record, StepEnd, StepRecord};
use super::table::{steps, totals};
use crate::events::Phase;
use malleus_core::duration;

/// Writes masked records.
pub(super) fn write(records: &[Record]) -> String {
    let totals = escape(&totals(records));
    let all: String = records.iter().map(playbook).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>malleus: {totals}</title>\n<style>\n{}</style>\n</head>\n<body>\n\
         <h1>malleus</h1>\n<p>{totals}</p>\n{all}</body>\n</html>\n",
        include_str!("page.css")
    )
}

fn playbook(record: &Record) -> String {
    let outcome = record.outcome();
    let open = match outcome {
        Outcome::Passed | Outcome::NotRun => "",
        Outcome::Left | Outcome::Interrupted | Outcome::Error | Outcome::Failed => " open",
    };
    let word = outcome.word();
    let ran = record.summary.as_ref().map_or_else(String::new, |summary| {
        let time = duration::show(summary.duration);
        format!("{} <time>{time}</time>", escape(&steps(summary)))
    });
    let mut page = format!(
        "<details{open}>\n<summary><b class=\"{}\">{} {word}</b><b>{}</b> <span class=\"dim\">{ran}</span></summary>\n",
        word.replace(' ', "-"),
        mark(outcome),
        escape(&record.playbook),
    );
    page.push_str(&format!(
        "<p class=\"dim\">{}</p>\n",
        escape(&facts(record))
    ));
    page.push_str(&problems(&record.problems));
    if !record.steps.is_empty() {
        let steps: String = record.steps.iter().map(step).collect();
        page.push_str(&format!("<table>\n{steps}</table>\n"));
    }
    page.push_str(&list("<h2>Removed</h2>", &record.removed));
    page.push_str(&list(
        "<h2 class=\"left\">Left on the server</h2>",
        record.left(),
    ));
    page.push_str(&list("<h2>Stays for now</h2>", record.owed()));
    let outputs = record.outputs();
    if !outputs.is_empty() {
        let rows: String = outputs
            .iter()
            .map(|(name, value)| output(name, value))
            .collect();
        page.push_str(&format!("<h2>Outputs</h2>\n<table>\n{rows}</table>\n"));
    }
    page.push_str("</details>\n");
    page
}

fn list(heading: &str, items: &[String]) -> String {
    if items.is_empty() {
        return String::new();
    }
    let items: String = items
        .iter()
        .map(|item| format!("<li>{}</li>\n", escape(item)))
        .collect();
    format!("{heading}\n<ul>\n{items}</ul>\n")
}

/// Where it came from, where and when it ran.
fn facts(record: &Record) -> String {
    let mut facts = vec![record.file.clone()];
    if let (Some(run), Some(server)) = (&record.run, &record.server) {
        let started = humantime::format_rfc3339_seconds(record.started);
        facts.push(format!("run {run} on {server}"));
        facts.push(format!("begun {started}"));
    }
    facts.join(" · ")
}

fn step(step: &StepRecord) -> String {
    let mark = match step.outcome {
        StepEnd::Passed => "✓",
        StepEnd::Skipped => "-",
        StepEnd::Failed => "✗",
        StepEnd::Tolerated => "!",
        StepEnd::Cancelled => "×",
    };
    let word = step.outcome.word();
    let mut about = match step.info.phase {
        Phase::Steps | Phase::Finally => String::new(),
        Phase::Cleanup => "cleanup: ".to_owned(),
    };
    about.push_str(&escape(&step.info.title));
    let attempts = match step.attempts {
        0 | 1 => String::new(),
        several => format!("{several} attempts"),
    };
    for remark in [attempts.as_str(), step.remark.as_str()] {
        if !remark.is_empty() {
            about.push_str(&format!(" <span class=\"dim\">{}</span>", escape(remark)));
        }
    }
    let time = match step.outcome {
        StepEnd::Skipped | StepEnd::Cancelled => word.to_owned(),
        StepEnd::Passed | StepEnd::Failed | StepEnd::Tolerated => duration::show(step.duration),
    };
    format!(
        "<tr><td class=\"{word}\" title=\"{word}\">{mark}</td><td style=\"padding-left: {}rem\">{about}{}</td><td class=\"time\">{time}</td></tr>\n",
        step.info.depth + 1,
        problems(&step.problems),
    )
}

fn problems(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(|problem| format!("<pre>{}</pre>\n", escape(&problem.excerpt)))
        .collect()
}

fn output(name: &str, value: &Value) -> String {
    let text = super::outputs::text(value);
    format!(
        "<tr><td>{}</td><td><code>{}</code></td></tr>\n",
        escape(name),
        escape(&text)
    )
}

fn mark(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "✓",
        Outcome::NotRun => "-",
        Outcome::Left | Outcome::Interrupted | Outcome::Error | Outcome::Failed => "✗",
    }
}
