//! What explains a run that failed, saved before anything is removed. The files are described in `docs/artifacts.md`.
//!
//! ```text
//! Events ────────▶ Dossier ──examine, before cleanup──▶ instances/…
//! Traces ────────▶    │
//!                     └──close, at the end────────────▶ summary.txt, events.jsonl, requests.jsonl
//! ```

mod events;
mod files;
mod instances;
mod requests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::client::{Client, Limit, Observer, Trace, encode, secrets_of};
use crate::diagnostic::Style;
use crate::events::{Event, Sink};
use crate::report::{Human, Terminal, Verbosity};
use crate::resources::{Ending, Tracker};
use crate::secret::Masker;

use events::Events;
use files::Folder;
use requests::Requests;

/// How long looking at the instances may take.
const LOOK: Duration = Duration::from_secs(20);
/// How long it may take after a signal: whoever sent it may not wait much longer.
const LOOK_INTERRUPTED: Duration = Duration::from_secs(2);

/// The folder where runs that failed leave what explains them.
#[derive(Debug, Clone)]
pub struct Artifacts {
    folder: PathBuf,
}

impl Artifacts {
    /// Makes the folder where it is missing, and tries whether it can be written to.
    ///
    /// # Errors
    /// As the file system says.
    pub fn prepare(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        malleus_core::atomic_file::AtomicFile::create(folder, 0o600)?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// Begins to gather what explains a run. Nothing is written before it is known that it failed.
    pub fn of_run(&self, playbook: &str, run: &str, masker: &Masker) -> Dossier {
        let name = format!("{}-{}", encode(playbook), encode(run));
        Dossier {
            folder: Folder::new(self.folder.join(name), masker.clone()),
            requests: Arc::default(),
            events: Mutex::default(),
            is_begun: AtomicBool::new(false),
        }
    }
}

/// What explains one run.
pub struct Dossier {
    folder: Folder,
    requests: Arc<Requests>,
    events: Mutex<Events>,
    is_begun: AtomicBool,
}

impl Dossier {
    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Whether there are files already.
    pub fn is_begun(&self) -> bool {
        self.is_begun.load(Ordering::Relaxed)
    }

    /// An observer for the run's client, which passes on to another one.
    pub fn observer(&self, next: Option<Arc<dyn Observer>>) -> Arc<dyn Observer> {
        Arc::new(Both {
            requests: Arc::clone(&self.requests),
            masker: self.folder.masker().clone(),
            next,
        })
    }

    /// A sink for the run's events, which passes on to another one.
    pub fn sink<'a>(&'a self, next: &'a dyn Sink) -> impl Sink + 'a {
        Listening {
            dossier: self,
            next,
        }
    }

    /// Saves the state of the instances that the run made or spoke to, and what has happened so far.
    pub fn examine(&self, client: &Client, ending: Ending, tracker: &Tracker) {
        let after = match ending {
            Ending::Interrupted => LOOK_INTERRUPTED,
            Ending::Passed | Ending::Failed | Ending::Left | Ending::Kept => LOOK,
        };
        let limit = Limit::after("artifacts", after);
        // Written first: a second signal may come.
        self.write();
        let involved = instances::involved(&tracker.open(), &self.requests.instances());
        instances::save(client, &involved, &self.folder, limit);
    }

    /// Saves all that happened.
    ///
    /// # Errors
    /// What could not be written, for people; the rest is there.
    pub fn close(&self) -> Result<(), Vec<String>> {
        self.write();
        let problems = self.folder.problems();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems)
        }
    }

    fn write(&self) {
        self.is_begun.store(true, Ordering::Relaxed);
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let masker = self.folder.masker();
        self.folder
            .write("summary.txt", summary(&events, masker).as_bytes());
        self.folder
            .write("events.jsonl", events.lines(masker).as_bytes());
        drop(events);
        self.folder
            .write("requests.jsonl", self.requests.lines(masker).as_bytes());
    }
}

/// What people would have seen.
fn summary(events: &Events, masker: &Masker) -> String {
    let mut text = Vec::new();
    let style = (Style::Plain, Terminal::No);
    let human = Human::new(&mut text, masker.clone(), style, Verbosity::Normal);
    events.replay(&human);
    drop(human);
    String::from_utf8_lossy(&text).into_owned()
}

/// Two listeners to the same events.
struct Listening<'a> {
    dossier: &'a Dossier,
    next: &'a dyn Sink,
}

impl Sink for Listening<'_> {
    fn event(&self, event: Event) {
        self.dossier
            .events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(&event);
        self.next.event(event);
    }
}

/// Two listeners to the same exchanges.
struct Both {
    requests: Arc<Requests>,
    masker: Masker,
    next: Option<Arc<dyn Observer>>,
}

impl Observer for Both {
    fn observe(&self, trace: &Trace<'_>) {
        if let Trace::Reply { reply, .. } = trace {
            // What opens the websockets of a command, among others.
            self.masker.add(&secrets_of(reply).into());
        }
        self.requests.take(trace);
        if let Some(next) = &self.next {
            next.observe(trace);
        }
    }
}
