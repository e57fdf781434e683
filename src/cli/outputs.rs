//! `--out`: the outputs of the playbooks that were run.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use indexmap::IndexMap;
use malleus::diagnostic::Diagnostic;
use malleus::report::files;
use malleus::report::outputs::{self, Format};
use serde_json::Value;

use super::Code;
use super::args::{EnvironmentOutputs, Out};
use super::console::Console;
use super::down::unknown;
use super::playbooks::store;
use super::variables::is_own;

/// `malleus outputs`: those of an environment, as its last `up` has left them.
pub(crate) fn main(args: &EnvironmentOutputs, console: &Console) -> Result<Code> {
    let outputs = Outputs::prepare(&args.out)?;
    let all = store()?.all()?;
    let mut known = all
        .iter()
        .filter_map(|listed| listed.recorded.as_ref().ok());
    let is_meant = |name: Option<&str>| name == Some(args.name.as_str());
    let Some(found) = known.find(|known| is_meant(known.header.environment.as_deref())) else {
        console.problem(&unknown(&args.name, &all, Diagnostic::error));
        return Ok(Code::Failed);
    };
    let Some(kept) = &found.outputs else {
        let name = &args.name;
        let problem = Diagnostic::error(format!("no `up` of `{name}` has come to its outputs"));
        console.problem(&problem.help("`malleus up` brings it to its state"));
        return Ok(Code::Failed);
    };
    let entries = kept
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()));
    Ok(outputs.close(&entries.collect(), console))
}

/// Where outputs go, tried before the first request is sent.
pub(crate) struct Outputs {
    format: Format,
    /// stdout without it.
    file: Option<PathBuf>,
}

impl Outputs {
    /// # Errors
    /// A file that could not be written later.
    pub(crate) fn prepare(out: &Out) -> Result<Self> {
        let mut file = out.file.clone();
        if out.format == Format::Github && file.is_none() {
            let named = std::env::var_os("GITHUB_OUTPUT").filter(|name| !name.is_empty());
            file = Some(PathBuf::from(named.ok_or_else(|| {
                anyhow!("--out github writes to the file that GITHUB_OUTPUT names, which is not set; name a file with --out github=FILE")
            })?));
        }
        if let Some(file) = &file {
            files::probe(file)
                .with_context(|| format!("the outputs cannot be written to {}", file.display()))?;
        }
        Ok(Self {
            format: out.format,
            file,
        })
    }

    /// Whether they go to stdout.
    pub(crate) fn take_stdout(&self) -> bool {
        self.file.is_none()
    }

    /// Writes them, secrets masked. Where that fails after all, the run has not ended well.
    pub(crate) fn close(&self, all: &IndexMap<String, Value>, console: &Console) -> Code {
        match self.write(all, console) {
            Ok(()) => Code::Fine,
            Err(error) => {
                console.problem(&Diagnostic::error(format!("{error:#}")));
                Code::Failed
            }
        }
    }

    fn write(&self, all: &IndexMap<String, Value>, console: &Console) -> Result<()> {
        let masked = all
            .iter()
            .map(|(name, value)| (name.clone(), console.masker.mask_value(value)))
            .collect();
        let text = outputs::write(&masked, self.format, &is_own)?;
        let Some(file) = &self.file else {
            return Console::data(text.as_bytes()).context("cannot write the outputs");
        };
        let written = match self.format {
            // Other steps of the job write to it too.
            Format::Github => OpenOptions::new()
                .append(true)
                .create(true)
                .open(file)
                .and_then(|mut file| file.write_all(text.as_bytes())),
            Format::Json | Format::Env | Format::Shell => files::write(file, &text),
        };
        written.with_context(|| format!("cannot write {}", file.display()))
    }
}
