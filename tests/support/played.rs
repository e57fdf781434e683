//! The exchanges of a run of the program in a form in which two runs can be compared: which requests there were about
//! each thing, in their order, and what was seen of the replies.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use malleus::client::Operation;
use serde_json::Value;

use super::known::Ledger;
use super::seen::{Seen, note_answer, note_body, note_events, plain};
use super::transcript::{Answer, Exchange};

/// A run: what was seen of each request, by what was asked.
#[derive(Default)]
pub(crate) struct Played {
    takes: BTreeMap<String, Vec<Take>>,
    changes: Changes,
    /// What began operations, by their identifiers.
    begun: HashMap<String, Begun>,
}

/// What was seen of one exchange.
struct Take {
    /// How many changes of the same thing it follows.
    after: usize,
    seen: Seen,
}

/// The exchange that began an operation.
struct Begun {
    label: String,
    at: usize,
    operation: Value,
}

impl Played {
    /// Reads the exchanges of a run; `own` are words that only this run has, and what stands for them.
    pub(crate) fn of(exchanges: &[Exchange], own: &[(String, String)]) -> Played {
        let mut played = Played::default();
        for exchange in exchanges {
            played.take(&exchange.without(own));
        }
        played
    }

    fn take(&mut self, exchange: &Exchange) {
        let path = exchange.path.split('?').next().unwrap_or_default();
        if let Some(rest) = path.strip_prefix("/1.0/operations/")
            && exchange.method == "GET"
        {
            return self.take_operation(rest, exchange);
        }
        let label = self.label(exchange);
        let after = self.changes.before(exchange, &label);
        let mut seen = Seen::new();
        match &exchange.reply {
            Some(answer) => {
                note_answer(&mut seen, answer);
                let events = answer.messages.iter();
                let events = events.filter_map(|event| serde_json::from_slice::<Value>(event).ok());
                // Recorded output is fetched beside the steps.
                let events = events.filter(|event| {
                    let action = event["metadata"]["action"].as_str();
                    !action.is_some_and(|action| action.starts_with("instance-log-"))
                });
                note_events(&mut seen, &events.collect::<Vec<_>>());
            }
            None => _ = seen.insert("status".into(), "none".into()),
        }
        let takes = self.takes.entry(label.clone()).or_default();
        takes.push(Take { after, seen });
        let at = takes.len() - 1;
        let operation = exchange.reply.as_ref().and_then(begun);
        if let Some(operation) = operation {
            let begun = Begun {
                label,
                at,
                operation: operation.raw,
            };
            self.begun.insert(operation.id, begun);
        }
    }

    /// What is seen of an operation belongs to the request that began it; how it ended is all that counts.
    fn take_operation(&mut self, rest: &str, exchange: &Exchange) {
        let (id, what) = rest.split_once('/').unwrap_or((rest, ""));
        let (Some(begun), Some(answer)) = (self.begun.get(id), &exchange.reply) else {
            return;
        };
        let takes = self.takes.get_mut(&begun.label);
        let Some(take) = takes.and_then(|takes| takes.get_mut(begun.at)) else {
            return;
        };
        if what == "websocket" {
            let end = begun.end_of(&exchange.path);
            let place = format!("websocket {end}");
            take.seen.insert(place, answer.status.to_string());
            return;
        }
        take.seen.retain(|place, _| !place.starts_with("finally"));
        note_body(&mut take.seen, "finally", &answer.body);
    }

    /// What is asked, in the same words in each run.
    fn label(&self, exchange: &Exchange) -> String {
        let mut label = format!("{} {}", exchange.method, plain(&exchange.path));
        match serde_json::from_slice::<Value>(&exchange.body) {
            Ok(body) => label += &format!(" {}", plain(&body.to_string())),
            Err(_) if exchange.body.is_empty() => {}
            Err(_) => label += &format!(" ({} bytes)", exchange.body.len()),
        }
        // Operations and the files that they record are named after what began them.
        let names = self
            .begun
            .iter()
            .filter(|(id, _)| exchange.path.contains(*id));
        for (_, begun) in names {
            label += &format!(" of {}", begun.label);
        }
        label
    }
}

fn begun(answer: &Answer) -> Option<Operation> {
    let body: Value = serde_json::from_slice(&answer.body).ok()?;
    (answer.status == 202)
        .then(|| Operation::from_value(&body["metadata"]))
        .flatten()
}

impl Begun {
    /// Which end of the operation a websocket is, by its secret.
    fn end_of(&self, path: &str) -> &str {
        let ends = self.operation["metadata"]["fds"].as_object();
        let end = ends.into_iter().flatten().find(|(_, secret)| {
            let secret = secret.as_str().unwrap_or_default();
            !secret.is_empty() && path.contains(secret)
        });
        end.map_or("?", |(end, _)| end)
    }
}

/// Counts what is changed, by the things that requests are about.
#[derive(Default)]
struct Changes(BTreeMap<String, Count>);

#[derive(Default)]
struct Count {
    changes: usize,
    /// Commands may change anything, and seldom what is seen of an instance.
    commands: usize,
    last: String,
}

impl Changes {
    /// How many changes of the same thing went before a request, itself included.
    fn before(&mut self, exchange: &Exchange, label: &str) -> usize {
        let (path, query) = exchange
            .path
            .split_once('?')
            .unwrap_or((&exchange.path, ""));
        let project = query.split('&').find(|part| part.starts_with("project="));
        let project = project.unwrap_or("project=default");
        let thing: Vec<&str> = path.split('/').skip(2).take(2).collect();
        let thing = format!("{project} {}/", thing.join("/"));
        let command = is_command(label);
        // Recorded output is fetched beside the steps.
        if exchange.method != "GET" && !label.contains("/logs/") {
            let count = self.0.entry(thing.clone()).or_default();
            if count.last != label {
                label.clone_into(&mut count.last);
                let kind = if command {
                    &mut count.commands
                } else {
                    &mut count.changes
                };
                *kind += 1;
            }
        }
        let same = self
            .0
            .iter()
            .filter(|(other, _)| thing.starts_with(*other) || other.starts_with(&thing));
        let counts =
            same.map(|(_, count)| count.changes + if command { count.commands } else { 0 });
        counts.sum()
    }
}

fn is_command(label: &str) -> bool {
    label.starts_with("POST ") && label.contains("/exec ")
}

/// Enters what differs between two runs of one playbook, on a real daemon and on a simulated one.
pub(crate) fn compare(ledger: &mut Ledger, real: &Played, simulated: &Played) {
    let labels: BTreeSet<&String> = real.takes.keys().chain(simulated.takes.keys()).collect();
    for label in labels {
        let settled = |played: &Played| {
            let takes = played.takes.get(label).map_or(&[][..], Vec::as_slice);
            settled(label, takes)
        };
        let (should, is) = (settled(real), settled(simulated));
        if should.len() != is.len() {
            let count = |list: &[Seen]| format!("{} times", list.len());
            ledger.differ((label, "exchanges"), &count(&should), &count(&is));
        }
        for (should, is) in should.iter().zip(&is) {
            ledger.compare(label, should, is);
        }
    }
}

/// What counts of the same request again and again: of what is asked until it comes out well, the last, as long as
/// nothing else was changed; and so of what is tried again because the server was not up to it.
fn settled(label: &str, takes: &[Take]) -> Vec<Seen> {
    let logs = label.contains("/logs/");
    let polled = logs || label.starts_with("GET ") || is_command(label);
    let mut settled: Vec<(usize, Seen)> = Vec::new();
    for take in takes {
        let again = |last: &(usize, Seen)| {
            let status = last.1.get("status");
            let failed = status.is_some_and(|status| status.starts_with('5'));
            (polled || failed) && (logs || last.0 == take.after)
        };
        if settled.last().is_some_and(again) {
            settled.pop();
        }
        settled.push((take.after, take.seen.clone()));
    }
    settled.into_iter().map(|(_, seen)| seen).collect()
}
