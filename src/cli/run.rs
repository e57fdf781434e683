//! `malleus run`.

use anyhow::{Context, Result, bail};
use indexmap::IndexMap;
use malleus::report::{Record, Verbosity};
use malleus::template::Engine;
use serde_json::Value;

use super::Code;
use super::args::{Common, Run};
use super::console::Console;
use super::outputs::Outputs;
use super::playbooks::{self, Ready, Refused, RunOptions, code_of};
use super::reports::Reports;
use super::signals::Signals;

pub(crate) fn main(common: &Common, args: &Run, console: &Console) -> Result<Code> {
    let reports = Reports::prepare(&args.playing.reporting, console)?;
    let outputs = args.out.as_ref().map(Outputs::prepare).transpose()?;
    if reports.take_stdout() && outputs.as_ref().is_some_and(Outputs::take_stdout) {
        bail!("stdout takes a report or the outputs; write one of them to a file");
    }
    let engine = Engine::new();
    // All files are checked before the first request of the first of them.
    let ready = match prepare(args, &engine, console)? {
        Ok(ready) => ready,
        Err(refused) => return Ok(reports.close(&refused.records, refused.code)),
    };
    let way = RunOptions::new(
        (common, &args.playing),
        &engine,
        args.playing.keep.after_run(),
    )?;
    let signals = Signals::listen().context("cannot listen for signals")?;
    let waiting = ready.iter().map(|playbook| Record::waiting(&playbook.plan));
    let mut records: Vec<Record> = waiting.collect();
    let mut code = Code::Fine;
    for (playbook, record) in ready.iter().zip(&mut records) {
        let client = match playbooks::server(common, playbook, console) {
            Ok(client) => client,
            Err(mut refused) => {
                *record = refused.records.remove(0);
                code = refused.code;
                break;
            }
        };
        signals.cancels(&client);
        *record = playbooks::play(playbook, client, &way, console);
        code = code_of(std::slice::from_ref(record), &signals);
        if outputs.is_none() && code == Code::Fine && console.human.says(Verbosity::Normal) {
            show(&record.outputs(), console);
        }
        if code != Code::Fine {
            break;
        }
    }
    let code = reports.close(&records, code);
    if let (Some(outputs), Code::Fine) = (outputs, code) {
        let all: IndexMap<_, _> = records.iter().flat_map(Record::outputs).collect();
        return Ok(outputs.close(&all, console));
    }
    Ok(code)
}

/// Outputs for people, one a line.
fn show(outputs: &IndexMap<String, Value>, console: &Console) {
    let width = outputs.keys().map(String::len).max().unwrap_or_default();
    for (name, value) in outputs {
        let text = match console.masker.mask_value(value) {
            Value::String(text) if !text.contains(char::is_control) => text,
            other => other.to_string(),
        };
        console.human.line(&format!("  {name:width$}  {text}"));
    }
}

fn prepare(args: &Run, engine: &Engine, console: &Console) -> Result<Result<Vec<Ready>, Refused>> {
    match playbooks::plans(&args.files, engine, console)? {
        Ok(plans) => playbooks::ready(&plans, &args.playing, console),
        Err(refused) => Ok(Err(refused)),
    }
}
