//! Steps as they run, failures with the lines they are about, a summary: for people.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::record::{Outcome, Record};
use super::safe::{self, Safe};
use super::table::{rows, steps, totals};
use crate::diagnostic::{Diagnostic, Style, count};
use crate::events::{
    Event, Interruption, Kind, Phase, Sink, StepInfo, StepOutcome, StepShape, Summary, Texts,
};
use crate::secret::{Masker, MaskingWriter};
use malleus_core::duration;

/// Column at which a step's time stands, where the title leaves room.
const TIME_COLUMN: usize = 60;
/// A live line longer than this could wrap, and would not be wiped whole.
const LIVE_WIDTH: usize = 78;

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Failures alone.
    Quiet,
    /// Steps and a summary.
    Normal,
    /// Also why a step is tried again, and one line for each request.
    Verbose,
    /// Also the bodies of requests and replies.
    Everything,
}

/// Where and how to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// A file or a pipe: whole lines only.
    No,
    /// A terminal: the step in progress has a line that changes.
    Yes,
}

/// Writes events for people.
pub struct Human<W> {
    inner: Mutex<Inner<W>>,
    style: Style,
    terminal: Terminal,
    verbosity: Verbosity,
    masker: Masker,
}

struct Inner<W> {
    to: MaskingWriter<W>,
    /// Whether a live line stands on the terminal.
    live: bool,
}

impl<W: Write> Human<W> {
    /// Writes to `to`, masked by `masker`.
    pub fn new(
        to: W,
        masker: Masker,
        (style, terminal): (Style, Terminal),
        verbosity: Verbosity,
    ) -> Self {
        Self {
            inner: Mutex::new(Inner {
                to: MaskingWriter::new(to, masker.clone()),
                live: false,
            }),
            style,
            terminal,
            verbosity,
            masker,
        }
    }

    /// Whether a reader asked for this much.
    pub fn says(&self, verbosity: Verbosity) -> bool {
        self.verbosity >= verbosity
    }

    /// Writes a line that is not about a step, such as a traced request.
    pub fn line(&self, text: &str) {
        self.write(&format!("{}\n", self.safe().text(text)));
    }

    /// What stands between text of others and whatever it is shown on.
    fn safe(&self) -> Safe<'_> {
        Safe(&self.masker)
    }

    /// Writes a line that a CI system is to read as a command.
    pub fn command(&self, line: &str) {
        self.write_raw(&format!("{line}\n"));
    }

    /// Says what came of several playbooks, a line each, and of all in `took`.
    pub fn table(&self, records: &[Record], took: Duration) {
        let fine = |outcome| outcome == Outcome::Passed;
        if !self.says(Verbosity::Normal) && records.iter().all(|record| fine(record.outcome())) {
            return;
        }
        self.write("\n");
        let rows: Vec<(Outcome, String)> = rows(records)
            .into_iter()
            .map(|(outcome, row)| (outcome, self.safe().line(&row)))
            .collect();
        let longest = rows.iter().map(|(_, row)| row.chars().count()).max();
        // The times stand below each other, in the column of the steps' times where that is wide enough.
        let column = TIME_COLUMN.max(longest.unwrap_or_default() + 4 + 2 + "10m00s".len());
        for ((outcome, row), record) in rows.into_iter().zip(records) {
            let mark = match outcome {
                Outcome::Passed => self.paint("32", "✓"),
                Outcome::NotRun => self.paint("2", "-"),
                Outcome::Left | Outcome::Interrupted | Outcome::Error | Outcome::Failed => {
                    self.paint("1;31", "✗")
                }
            };
            let time = duration::show(record.duration());
            let used = 4 + row.chars().count();
            let gap = " ".repeat(column.saturating_sub(used + time.len()).max(2));
            let time = match record.summary {
                Some(_) => format!("{gap}{}", self.paint("2", &time)),
                None => String::new(),
            };
            self.write(&format!("  {mark} {row}{time}\n"));
        }
        self.line(&format!("{} in {}", totals(records), duration::show(took)));
    }

    /// Draws a problem.
    pub fn problem(&self, problem: &Diagnostic) {
        self.draw(&self.safe().problem(problem));
    }

    /// Draws a problem whose texts are safe.
    fn draw(&self, problem: &Diagnostic) {
        self.write(&format!("{}\n\n", problem.render(self.style)));
    }

    /// Writes text whose foreign parts are safe for a terminal, in a form that is safe for a CI system's log too.
    fn write(&self, text: &str) {
        self.write_raw(&safe::without_commands(text));
    }

    fn write_raw(&self, text: &str) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let wipe = if std::mem::take(&mut inner.live) {
            "\r\x1b[2K"
        } else {
            ""
        };
        // Nobody to tell when the reader is gone; the run goes on, and its exit code tells the rest.
        let _ = inner.to.write_str(&format!("{wipe}{text}"));
    }

    /// The line of the step in progress; wiped by whatever is written next.
    fn live(&self, text: &str) {
        if self.terminal == Terminal::No || self.verbosity == Verbosity::Quiet {
            return;
        }
        let line = text.replace(['\n', '\t'], " ");
        let shown: String = line.chars().take(LIVE_WIDTH).collect();
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.live = true;
        let _ = inner.to.write_str(&format!("\r\x1b[2K{shown}"));
    }

    fn list(&self, items: &[String]) {
        for item in items {
            self.write(&format!("  - {}\n", safe::one_line(item)));
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        match self.style {
            Style::Plain => text.to_owned(),
            Style::Colored => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }

    fn mark(&self, outcome: &StepOutcome) -> String {
        match outcome {
            StepOutcome::Passed(_) => self.paint("32", "✓"),
            StepOutcome::Skipped(_) => self.paint("2", "-"),
            StepOutcome::Failed(_) => self.paint("1;31", "✗"),
            StepOutcome::Tolerated(_) => self.paint("33", "!"),
            StepOutcome::Cancelled => self.paint("2", "×"),
        }
    }

    fn finished(&self, step: &StepInfo, outcome: &StepOutcome, took: Duration) {
        let failures = match outcome {
            StepOutcome::Failed(failures) | StepOutcome::Tolerated(failures) => failures.as_slice(),
            StepOutcome::Passed(_) | StepOutcome::Skipped(_) | StepOutcome::Cancelled => &[],
        };
        let failed = matches!(outcome, StepOutcome::Failed(_));
        // The steps of a group that passed have told the story below its heading.
        let told = step.shape == StepShape::Group && matches!(outcome, StepOutcome::Passed(_));
        if (self.says(Verbosity::Normal) && !told) || failed {
            let time = match outcome {
                StepOutcome::Skipped(_) => "skipped".to_owned(),
                StepOutcome::Cancelled => "cancelled".to_owned(),
                _ => duration::show(took),
            };
            let mut title = title(step);
            if let StepOutcome::Passed(remark) | StepOutcome::Skipped(remark) = outcome
                && !remark.is_empty()
            {
                title = format!("{title}: {remark}");
            }
            self.timed(&indent(step), (&self.mark(outcome), &title), &time);
        }
        for (index, failure) in failures.iter().enumerate() {
            let mut shown = failure.clone();
            if matches!(outcome, StepOutcome::Tolerated(_)) {
                if !self.says(Verbosity::Normal) {
                    continue;
                }
                shown.severity = crate::diagnostic::Severity::Warning;
                shown
                    .notes
                    .push("`on_error: continue`: the run goes on".into());
            }
            if index == 0 {
                self.write("\n");
            }
            self.draw(&shown);
        }
    }

    /// A line with a mark, a title and a time, which stands in one column as far as the title leaves room.
    fn timed(&self, indent: &str, (mark, title): (&str, &str), time: &str) {
        let title = safe::one_line(title);
        let used = indent.chars().count() + 2 + title.chars().count();
        let gap = " ".repeat(TIME_COLUMN.saturating_sub(used + time.len()).max(2));
        self.write(&format!(
            "{indent}{mark} {title}{gap}{}\n",
            self.paint("2", time)
        ));
    }

    /// Tells of a resource that was removed, or could not be.
    pub fn removed(&self, resource: &str, failure: Option<&Diagnostic>, took: Duration) {
        let failure = failure.map(|failure| self.safe().problem(failure));
        self.told_removed(&self.safe().text(resource), failure.as_ref(), took);
    }

    fn told_removed(&self, resource: &str, failure: Option<&Diagnostic>, took: Duration) {
        let time = duration::show(took);
        match failure {
            None if self.says(Verbosity::Normal) => {
                let title = format!("removed {resource}");
                self.timed("  ", (&self.paint("32", "✓"), &title), &time);
            }
            None => {}
            Some(failure) => {
                let title = format!("remove {resource}");
                self.timed("  ", (&self.paint("1;31", "✗"), &title), &time);
                self.write("\n");
                self.draw(failure);
            }
        }
    }

    fn summary(&self, summary: &Summary) {
        let fine = summary.is_fine();
        if !self.says(Verbosity::Normal) && fine {
            return;
        }
        let parts = steps(summary);
        let interrupted = match summary.interruption {
            Interruption::None => "",
            Interruption::Cancelled => "interrupted: ",
        };
        let color = if fine { "32" } else { "31" };
        let name = self.paint(&format!("1;{color}"), &safe::one_line(&summary.playbook));
        self.write(&format!(
            "\n{name}: {interrupted}{parts} in {}\n",
            duration::show(summary.duration)
        ));
        if !summary.left.is_empty() {
            let what = count(summary.left.len(), "resource");
            self.write(&format!("cleanup is incomplete, {what} left:\n"));
            self.list(&summary.left);
        }
        let name = summary.environment.as_ref().unwrap_or(&summary.run);
        let what = count(summary.owed.len(), "resource");
        if fine && summary.environment.is_some() && !summary.owed.is_empty() {
            self.write(&format!(
                "{name} is up: {what}; `malleus down {name}` removes it\n"
            ));
            return;
        }
        if fine && summary.recoverable > 0 {
            self.write(&format!("kept until `malleus down {name}`:\n"));
            self.list(&summary.owed);
            return;
        }
        if !summary.owed.is_empty() {
            let stay = if summary.owed.len() == 1 {
                "stays"
            } else {
                "stay"
            };
            self.write(&format!("{what} of this run {stay} for now:\n"));
            self.list(&summary.owed);
        }
        if summary.recoverable > 0 {
            self.write(&format!("  `malleus down {name}` removes what is there\n"));
        }
    }
}

impl<W: Write + Send> Sink for Human<W> {
    fn event(&self, event: Event) {
        match self.safe().event(event).kind {
            Kind::RunStarted {
                playbook,
                run,
                server,
            } => {
                if self.says(Verbosity::Normal) {
                    let rest = format!("run {run} on {}", safe::one_line(&server));
                    let name = self.paint("1", &safe::one_line(&playbook));
                    self.write(&format!("{name}  {}\n", self.paint("2", &rest)));
                }
            }
            Kind::StepStarted(step) => match step.shape {
                StepShape::Group if self.says(Verbosity::Normal) => {
                    self.write(&format!(
                        "{}{} {}\n",
                        indent(&step),
                        self.paint("2", "▸"),
                        title(&step)
                    ));
                }
                StepShape::Group => {}
                StepShape::Single => self.live(&format!("{}… {}", indent(&step), title(&step))),
            },
            Kind::Progress { step, text } => {
                self.live(&format!("{}… {}  {text}", indent(&step), title(&step)));
            }
            Kind::Again {
                step,
                attempt,
                reason,
            } => {
                if self.says(Verbosity::Verbose) {
                    self.write(&format!(
                        "{}  {} attempt {attempt}: {reason}\n",
                        indent(&step),
                        title(&step)
                    ));
                } else {
                    self.live(&format!(
                        "{}… {}  attempt {attempt}: {reason}",
                        indent(&step),
                        title(&step)
                    ));
                }
            }
            Kind::StepFinished {
                step,
                outcome,
                duration,
            } => self.finished(&step, &outcome, duration),
            Kind::Removed {
                resource,
                failure,
                duration,
            } => self.told_removed(&resource, failure.as_ref(), duration),
            Kind::Warning(problem) => self.draw(&problem),
            Kind::RunFinished(summary) => self.summary(&summary),
        }
    }
}

fn indent(step: &StepInfo) -> String {
    " ".repeat(2 + 2 * step.depth)
}

fn title(step: &StepInfo) -> String {
    let line: String = step.title.lines().next().unwrap_or_default().into();
    match step.phase {
        Phase::Steps | Phase::Finally => line,
        Phase::Cleanup => format!("cleanup: {line}"),
    }
}
