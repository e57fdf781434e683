//! Instances as the server sees them: configuration, state, console, logs.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use malleus_api::path::INSTANCES;
use serde_json::Value;

use super::files::Folder;
use super::requests::Involved;
use crate::client::{Client, Content, Error, Limit, Observer, Reply, Request, Trace, encode};
use crate::resources::Tracked;

/// How many instances are looked at: those that the run made first, then those that it spoke to last.
const MOST: usize = 32;
/// How many at a time.
const WIDTH: usize = 8;
/// How long one request may take.
const ONE: Duration = Duration::from_secs(5);
/// How many logs of an instance are fetched.
const MOST_LOGS: usize = 32;

/// The instances that a run has to do with. Those it made are in their order.
pub(super) fn involved(made: &[Tracked], spoken_to: &[Involved]) -> Vec<Involved> {
    let made = made
        .iter()
        .filter(|known| known.resource.kind() == "instance");
    let made = made.map(|known| Involved {
        project: known
            .resource
            .project
            .clone()
            .unwrap_or_else(|| "default".to_owned()),
        name: encode(&known.resource.name()),
    });
    let mut all: Vec<Involved> = Vec::new();
    for instance in made.chain(spoken_to.iter().rev().cloned()) {
        if all.len() < MOST && !all.contains(&instance) {
            all.push(instance);
        }
    }
    all
}

/// Saves what can be known of instances within a limit. What cannot be had is noted beside the rest.
pub(super) fn save(client: &Client, instances: &[Involved], folder: &Folder, limit: Limit) {
    // What is asked here is no part of the run.
    let client = client.with_observer(Arc::new(Nobody));
    let work: Mutex<VecDeque<&Involved>> = Mutex::new(instances.iter().collect());
    let worker = || {
        loop {
            let next = work
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
            let Some(instance) = next else { return };
            Look {
                client: &client,
                instance,
                folder,
                limit,
                missing: String::new(),
            }
            .save();
        }
    };
    std::thread::scope(|threads| {
        for _ in 0..WIDTH.min(instances.len()) {
            threads.spawn(worker);
        }
    });
}

/// Tells nobody.
struct Nobody;

impl Observer for Nobody {
    fn observe(&self, _trace: &Trace<'_>) {}
}

/// A look at one instance.
struct Look<'a> {
    client: &'a Client,
    instance: &'a Involved,
    folder: &'a Folder,
    limit: Limit,
    /// What could not be had, and why; a line each.
    missing: String,
}

impl Look<'_> {
    fn save(mut self) {
        match self.get("") {
            Ok(reply) => self.write_json("instance.json", reply.metadata()),
            // Not there any more, or never: what happened to it is told by the requests.
            Err(error) if error.status() == Some(404) => return,
            Err(error) => self.miss("instance.json", &error),
        }
        match self.get("/state") {
            Ok(reply) => self.write_json("state.json", reply.metadata()),
            Err(error) => self.miss("state.json", &error),
        }
        match self.get("/console") {
            Ok(reply) => self.write_log("console.log", &reply),
            Err(error) => self.miss("console.log", &error),
        }
        self.save_logs();
        if !self.missing.is_empty() {
            self.folder
                .write(self.path("missing.txt"), self.missing.as_bytes());
        }
    }

    fn save_logs(&mut self) {
        let mut names = match self.list("/logs") {
            Ok(names) => names,
            Err(error) => return self.miss("logs", &error),
        };
        // A folder of its own on some servers, unknown to the others.
        let recorded = self.list("/logs/exec-output").unwrap_or_default();
        names.extend(recorded.iter().map(|name| format!("exec-output/{name}")));
        for name in names.iter().take(MOST_LOGS) {
            match self.get(&format!("/logs/{name}")) {
                Ok(reply) => self.write_log(&format!("logs/{name}"), &reply),
                Err(error) => self.miss(&format!("logs/{name}"), &error),
            }
        }
    }

    /// The names of files, which are safe as names of files here.
    fn list(&self, below: &str) -> Result<Vec<String>, Error> {
        let reply = self.get(below)?;
        let urls = reply.metadata().as_array().cloned().unwrap_or_default();
        let name = |url: &Value| {
            let path = url.as_str()?.split('?').next()?;
            let name = path.rsplit('/').next()?;
            let is_safe = !["", ".", "..", "exec-output"].contains(&name);
            is_safe.then(|| name.to_owned())
        };
        Ok(urls.iter().filter_map(name).collect())
    }

    fn get(&self, below: &str) -> Result<Reply, Error> {
        let path = format!("{INSTANCES}/{}{below}", self.instance.name);
        let request = Request::get(path)
            .query("project", &self.instance.project)
            .limit(Limit::after("artifact", ONE).earlier(self.limit));
        self.client.request(&request)
    }

    fn miss(&mut self, file: &str, error: &Error) {
        self.missing += &format!("{file}: {error}\n");
    }

    fn write_json(&self, file: &str, value: &Value) {
        let masked = self.folder.masker().mask_value(value);
        self.folder
            .write(self.path(file), format!("{masked:#}\n").as_bytes());
    }

    fn write_log(&self, file: &str, reply: &Reply) {
        let text = match &reply.content {
            Content::Text(text) => text.clone().into_bytes(),
            Content::Bytes(bytes) => bytes.clone(),
            Content::Empty | Content::Streamed { .. } => Vec::new(),
            Content::Envelope(_) | Content::Json(_) => reply.body().to_string().into_bytes(),
        };
        self.folder.write_log(self.path(file), &text);
    }

    /// Encoded: no name may lead out of the folder.
    fn path(&self, file: &str) -> PathBuf {
        let project = match self.instance.project.as_str() {
            dots @ ("." | "..") => dots.replace('.', "%2E"),
            project => encode(project),
        };
        let name = match self.instance.name.as_str() {
            dots @ ("." | "..") => dots.replace('.', "%2E"),
            name => name.to_owned(),
        };
        PathBuf::from(INSTANCES).join(project).join(name).join(file)
    }
}
