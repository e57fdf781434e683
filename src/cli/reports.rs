//! Reports: tried before the first request, written at the end, whatever the end.

use anyhow::{Context, Result, bail};
use malleus::diagnostic::Diagnostic;
use malleus::report::files::{self, Target};
use malleus::report::{Record, Report, annotations};

use super::Code;
use super::args::{Annotations, Reporting};
use super::console::Console;

/// What is written when all has ended.
pub(crate) struct Reports<'a> {
    wanted: &'a [Report],
    annotations: Annotations,
    console: &'a Console,
}

impl<'a> Reports<'a> {
    /// # Errors
    /// A report that could not be written later.
    pub(crate) fn prepare(args: &'a Reporting, console: &'a Console) -> Result<Self> {
        let to_stdout = args.reports.iter();
        let to_stdout = to_stdout.filter(|report| report.target == Target::Stdout);
        if to_stdout.count() > 1 {
            bail!("stdout takes one report; write the others to files");
        }
        for report in &args.reports {
            if let Target::File(file) = &report.target {
                files::probe(file)
                    .with_context(|| format!("the report {} cannot be written", file.display()))?;
            }
        }
        let on_github = || std::env::var("GITHUB_ACTIONS").is_ok_and(|value| value == "true");
        let annotations = match args.annotations {
            Annotations::Auto if on_github() => Annotations::Github,
            other => other,
        };
        Ok(Self {
            wanted: &args.reports,
            annotations,
            console,
        })
    }

    /// Whether stdout is taken by a report.
    pub(crate) fn take_stdout(&self) -> bool {
        let mut targets = self.wanted.iter().map(|report| &report.target);
        targets.any(|target| *target == Target::Stdout)
    }

    /// Writes them all, and says which could not be written: that ends well by no means.
    pub(crate) fn close(&self, records: &[Record], code: Code) -> Code {
        let masker = &self.console.masker;
        if self.annotations == Annotations::Github {
            let clean: Vec<Record> = records.iter().map(|record| record.masked(masker)).collect();
            for line in annotations::github(&clean).lines() {
                self.console.human.command(line);
            }
        }
        let mut code = code;
        for report in self.wanted {
            let text = report.text(records, masker);
            let (written, name) = match &report.target {
                Target::Stdout => (Console::data(text.as_bytes()), "on stdout".into()),
                Target::File(file) => (files::write(file, &text), file.display().to_string()),
            };
            if let Err(error) = written {
                let problem = format!("the report {name} cannot be written: {error}");
                self.console.problem(&Diagnostic::error(problem));
                if code == Code::Fine {
                    code = Code::Failed;
                }
            }
        }
        code
    }
}
