//! What `malleus gc` says, to people and to programs.

use std::collections::BTreeMap;
use std::time::SystemTime;

use anyhow::{Context, Result};
use malleus::diagnostic::count;
use malleus::resources::{Resource, RunLeftovers, Standing};
use malleus_core::duration;
use serde_json::{Value, json};

use super::super::Code;
use super::super::args::ListFormat;
use super::super::console::Console;
use super::super::table::table;
use super::{CleanupPolicy, Reason, ToRemove};

/// What became of one resource.
pub(super) enum Retention {
    Removed,
    Left(String),
    /// Somebody else's by now.
    LeftAlone(String),
}

/// What became of the resources of each run.
pub(super) type Fates = BTreeMap<String, Vec<(Resource, Retention)>>;

impl CleanupPolicy<'_> {
    /// Says which of the named runs have nothing on the server.
    pub(super) fn miss(&self) {
        for run in &self.args.runs {
            if self.all.iter().all(|remains| remains.run != *run) {
                self.line(&format!(
                    "nothing on {} carries the mark of run {run}",
                    self.client.remote()
                ));
            }
        }
    }

    /// Lists what would be removed.
    pub(super) fn list(&self, wanted: &[&RunLeftovers], others: &[&RunLeftovers]) -> Result<Code> {
        match self.args.format {
            ListFormat::Json => {
                let runs: Value = wanted
                    .iter()
                    .map(|remains| {
                        let resources: Vec<Value> =
                            remains.resources().iter().map(as_json).collect();
                        self.run_as_json(remains, "would_remove", &resources)
                    })
                    .collect();
                print(&format!("{runs:#}\n"))?;
            }
            ListFormat::Human if wanted.is_empty() => {}
            ListFormat::Human => {
                let rows: Vec<[String; 3]> = wanted
                    .iter()
                    .flat_map(|remains| {
                        let lease = self.lease(remains);
                        remains.resources().into_iter().map(move |resource| {
                            [remains.run.clone(), lease.clone(), resource.to_string()]
                        })
                    })
                    .collect();
                print(&table(["RUN", "LEASE", "RESOURCE"], &rows))?;
            }
        }
        let resources = wanted.iter().map(|remains| remains.resources().len()).sum();
        self.line(&format!(
            "gc: {} of {} would be removed{}",
            count(resources, "resource"),
            count(wanted.len(), "run"),
            self.rest(others)
        ));
        Ok(Code::Fine)
    }

    /// Names what is left; how much that is.
    pub(super) fn tell_of_left(&self, fates: &Fates) -> usize {
        let left = |of: &[(Resource, Retention)]| -> Vec<String> {
            let left = of
                .iter()
                .filter(|(_, fate)| matches!(fate, Retention::Left(_)));
            left.map(|(resource, _)| resource.to_string()).collect()
        };
        let mut number = 0;
        for (run, of_run) in fates {
            let left = left(of_run);
            if left.is_empty() {
                continue;
            }
            number += left.len();
            let human = &self.console.human;
            human.line(&format!(
                "run {run}: {} left:",
                count(left.len(), "resource")
            ));
            for resource in &left {
                human.line(&format!("  - {resource}"));
            }
            human.line(&format!("  `malleus gc --run {run}` tries again"));
        }
        number
    }

    pub(super) fn print_outcome(
        &self,
        to_remove: &[ToRemove<'_>],
        skipped: &[(&RunLeftovers, Reason)],
        fates: &Fates,
    ) -> Result<()> {
        let removed = to_remove.iter().map(|run| {
            let of_run = fates.get(&run.remains.run).map_or(&[][..], Vec::as_slice);
            let is_left = of_run
                .iter()
                .any(|(_, fate)| matches!(fate, Retention::Left(_)));
            let resources = of_run.iter().map(|(resource, fate)| {
                let mut value = as_json(resource);
                match fate {
                    Retention::Removed => value["outcome"] = "removed".into(),
                    Retention::LeftAlone(why) => {
                        value["outcome"] = "left_alone".into();
                        value["reason"] = why.as_str().into();
                    }
                    Retention::Left(error) => {
                        value["outcome"] = "left".into();
                        value["error"] = error.as_str().into();
                    }
                }
                value
            });
            let outcome = if is_left { "left" } else { "removed" };
            self.run_as_json(run.remains, outcome, &resources.collect::<Vec<_>>())
        });
        let skipped = skipped.iter().map(|(remains, reason)| {
            let resources: Vec<Value> = remains.resources().iter().map(as_json).collect();
            let mut value = self.run_as_json(remains, "skipped", &resources);
            value["reason"] = reason.words.as_str().into();
            value
        });
        let runs: Value = removed.chain(skipped).collect();
        print(&format!("{runs:#}\n"))
    }

    fn run_as_json(&self, remains: &RunLeftovers, outcome: &str, resources: &[Value]) -> Value {
        let lease = match remains.standing(self.clock) {
            Standing::Expired(_) => "ended",
            Standing::Leased(_) => "holds",
            Standing::Unleased => "none",
        };
        let expires = remains.expires.map(humantime::format_rfc3339_seconds);
        json!({
            "run": remains.run,
            "lease": lease,
            "expires": expires.map(|at| at.to_string()),
            "outcome": outcome,
            "resources": resources,
        })
    }

    /// A run's lease, in words.
    fn lease(&self, remains: &RunLeftovers) -> String {
        let now = self.clock.now();
        let between = |one: SystemTime, other: SystemTime| {
            duration::show(other.duration_since(one).unwrap_or_default())
        };
        match remains.standing(self.clock) {
            Standing::Expired(end) => format!("ended {} ago", between(end, now)),
            Standing::Leased(end) if end > now => format!("holds for {}", between(now, end)),
            Standing::Leased(_) => "is just ending".into(),
            Standing::Unleased => "none".into(),
        }
    }

    /// What stays: `; 2 runs hold a lease, 1 has none`.
    pub(super) fn rest(&self, others: &[&RunLeftovers]) -> String {
        let number = |is: fn(Standing) -> bool| {
            let standings = others.iter().map(|remains| remains.standing(self.clock));
            standings.filter(|standing| is(*standing)).count()
        };
        let leased = number(|standing| matches!(standing, Standing::Leased(_)));
        let expired = number(|standing| matches!(standing, Standing::Expired(_)));
        let unleased = number(|standing| standing == Standing::Unleased);
        let parts: Vec<String> = [
            (leased, "with a lease that holds"),
            (expired, "with a lease that has ended"),
            (unleased, "without a lease"),
        ]
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, words)| format!("{} {words}", count(*number, "run")))
        .collect();
        match parts.as_slice() {
            [] => String::new(),
            parts => format!("; stays: {}", parts.join(", ")),
        }
    }
}

fn as_json(resource: &Resource) -> Value {
    json!({
        "resource": resource.to_string(),
        "path": resource.path,
        "project": resource.project,
        "target": resource.target,
    })
}

fn print(text: &str) -> Result<()> {
    Console::data(text.as_bytes()).context("cannot write to stdout")
}
