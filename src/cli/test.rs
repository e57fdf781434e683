//! `malleus test`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail};
use malleus::client::Client;
use malleus::playbook::Plan;
use malleus::report::record::Outcome;
use malleus::report::{Record, Verbosity};
use malleus::template::Engine;

use super::args::{Common, Test};
use super::console::Console;
use super::lanes::{Lanes, Said};
use super::playbooks::{self, Ready, Refused, RunOptions, code_of};
use super::reports::Reports;
use super::signals::Signals;
use super::trace::Tracer;
use super::{Code, check, try_connect};

pub(crate) fn main(common: &Common, args: &Test, console: &Console) -> Result<Code> {
    let reports = Reports::prepare(&args.playing.reporting, console)?;
    let engine = Engine::new();
    let plans = match wanted(args, &engine, console)? {
        Ok(plans) => plans,
        Err(refused) => return Ok(reports.close(&refused.records, refused.code)),
    };
    if args.list {
        return list(&plans);
    }
    let ready = match playbooks::ready(&plans, &args.playing, console)? {
        Ok(ready) => ready,
        Err(refused) => return Ok(reports.close(&refused.records, refused.code)),
    };
    let mut way = RunOptions::new(
        (common, &args.playing),
        &engine,
        args.playing.keep.after_test(),
    )?;
    let signals = Signals::listen().context("cannot listen for signals")?;
    let began = common.clock().now();
    let clients = match connected(common, &ready, console) {
        Ok(clients) => clients,
        Err(refused) => return Ok(reports.close(&refused.records, refused.code)),
    };
    let all: Vec<Client> = clients.values().cloned().collect();
    signals.reacts(move |_| all.iter().for_each(Client::cancel));
    let jobs = args.jobs.number().min(ready.len());
    // The server's share of each.
    way.width = (way.width / jobs.max(1)).max(1);
    let tests = Tests {
        args,
        jobs,
        way,
        ready: &ready,
        clients: &clients,
        console,
        signals: &signals,
    };
    let records = tests.run();
    console.human.table(&records, common.clock().elapsed(began));
    Ok(reports.close(&records, code_of(&records, &signals)))
}

/// The playbooks that are asked for. All that are found are checked, also those that the filter leaves out.
fn wanted(args: &Test, engine: &Engine, console: &Console) -> Result<Result<Vec<Plan>, Refused>> {
    let files = check::playbooks(&args.paths)?;
    let mut plans = match playbooks::plans(&files, engine, console)? {
        Ok(plans) => plans,
        Err(refused) => return Ok(Err(refused)),
    };
    playbooks::leave_out_parts(&mut plans, &args.paths, console);
    if let Some(part) = &args.filter {
        plans.retain(|plan| plan.name.contains(part) || plan.source.name().contains(part));
        if plans.is_empty() {
            bail!("no playbook has `{part}` in its name or path; --list shows them all");
        }
    }
    Ok(Ok(plans))
}

fn list(plans: &[Plan]) -> Result<Code> {
    let lines: String = plans
        .iter()
        .map(|plan| format!("{}\t{}\n", plan.name, plan.source.name()))
        .collect();
    Console::data(lines.as_bytes()).context("cannot write to stdout")?;
    Ok(Code::Fine)
}

/// A client for each remote that playbooks name, before the first of them begins.
fn connected(
    common: &Common,
    ready: &[Ready],
    console: &Console,
) -> Result<HashMap<Option<String>, Client>, Refused> {
    let mut clients = HashMap::new();
    for playbook in ready {
        let remote = &playbook.plan.remote;
        if clients.contains_key(remote) {
            continue;
        }
        match try_connect(common, remote.as_deref(), console) {
            Ok(client) => {
                clients.insert(remote.clone(), client);
            }
            Err((code, problem)) => {
                let problem = playbooks::placed(problem, common, &playbook.plan);
                console.problem(&problem);
                let record = |other: &Ready| {
                    if other.plan.remote == *remote {
                        let name = other.plan.source.name();
                        Record::broken(&other.plan.name, name, std::slice::from_ref(&problem))
                    } else {
                        Record::waiting(&other.plan)
                    }
                };
                let records = ready.iter().map(record).collect();
                return Err(Refused { records, code });
            }
        }
    }
    Ok(clients)
}

struct Tests<'a> {
    args: &'a Test,
    ready: &'a [Ready],
    clients: &'a HashMap<Option<String>, Client>,
    way: RunOptions<'a>,
    jobs: usize,
    console: &'a Console,
    signals: &'a Signals,
}

impl Tests<'_> {
    /// Runs them, as many at a time as there are jobs; one whose turn does not come has a record that says so.
    fn run(&self) -> Vec<Record> {
        let waiting = self.ready.iter().map(|test| Record::waiting(&test.plan));
        let records: Mutex<Vec<Record>> = Mutex::new(waiting.collect());
        let lanes = Lanes::new(&self.console.human, self.ready.len());
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let may_begin = || {
            self.signals.received().is_none()
                && !(self.args.fail_fast && failed.load(Ordering::SeqCst))
        };
        let job = || {
            while may_begin() {
                let index = next.fetch_add(1, Ordering::SeqCst);
                let Some(test) = self.ready.get(index) else {
                    break;
                };
                let lane = lanes.lane(index);
                let console = self.console.in_lane(lane.clone());
                if index > 0 && console.human.says(Verbosity::Normal) {
                    lane.say(Said::Line(String::new()));
                }
                let record = self.play(test, &console);
                lane.end();
                if record.outcome() != Outcome::Passed {
                    failed.store(true, Ordering::SeqCst);
                }
                records.lock().unwrap_or_else(PoisonError::into_inner)[index] = record;
            }
        };
        thread::scope(|threads| {
            for _ in 0..self.jobs {
                threads.spawn(job);
            }
        });
        records.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one on connections of its own, which are cancelled with all the others.
    fn play(&self, test: &Ready, console: &Console) -> Record {
        let observer = Tracer::observer(console);
        let client = self.clients[&test.plan.remote].fork();
        let client = match observer {
            Some(observer) => client.with_observer(std::sync::Arc::new(observer)),
            None => client,
        };
        playbooks::play(test, client, &self.way, console)
    }
}
