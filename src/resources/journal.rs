//! The journal of a run: one JSON object per line, only ever appended to. What is intended is on the disk before its
//! request is sent; what came of it follows.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::resource::Resource;

/// The version of the format.
pub const VERSION: u32 = 1;

/// What a journal begins with: which run it is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`] of the program that wrote it.
    pub journal: u32,
    /// The run's id.
    pub run: String,
    /// The playbook's name.
    pub playbook: String,
    /// The playbook's file, absolute.
    pub file: String,
    /// The environment's name, where the run provides one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// When the run began, in RFC 3339.
    pub started: String,
}

impl Header {
    /// That of a run which begins now and provides no environment.
    pub fn new(run: &str, playbook: &str, file: &str) -> Self {
        let absolute = std::path::absolute(file);
        Self {
            journal: VERSION,
            run: run.to_owned(),
            playbook: playbook.to_owned(),
            file: absolute.map_or_else(|_| file.to_owned(), |file| file.display().to_string()),
            environment: None,
            started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    /// When it was written, in RFC 3339.
    pub(super) at: String,
    pub(super) entry: Entry,
}

/// What a line says. Resources are numbered in the order of their making.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Entry {
    /// The first line; again where an environment is brought up again.
    Run(Header),
    /// A request that makes this resource is about to be sent.
    Create {
        number: u32,
        resource: Resource,
        state: State,
    },
    /// What became of it.
    Now { number: u32, state: State },
    /// Where it is now.
    Moved { number: u32, resource: Resource },
    /// The run has ended.
    Ended(Ending),
}

/// What is known of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It was not there, and a request that makes it was sent, or was about to be.
    Intended,
    /// A request that makes something in this collection was sent, or was about to be.
    SomeIntended,
    /// It may have been there before: it is ours only once the server says that it was made.
    Claimed,
    /// The run made it.
    Made,
    /// It is not ours to remove: it was not made, or the playbook keeps it.
    NotOurs,
    /// It was removed.
    Removed,
}

impl State {
    /// Whether it may still have to be removed.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Intended | Self::SomeIntended | Self::Made)
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// All steps held.
    Passed,
    /// A step failed.
    Failed,
    /// A signal ended it.
    Interrupted,
}

/// A journal as it was read.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Which run it is of.
    pub header: Header,
    /// The resources that may still have to be removed, in the order of their making, with their numbers.
    pub open: BTreeMap<u32, (Resource, State)>,
    /// How the run ended; nothing where it was killed.
    pub ending: Option<Ending>,
    /// When the last line was written.
    pub last: Option<SystemTime>,
    /// The number that the next resource gets.
    pub next: u32,
}

/// Why a text is no journal.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("it does not begin with the run that it is of")]
    Headless,
    #[error("a newer malleus wrote it (version {0}, this one reads {VERSION})")]
    Newer(u32),
    #[error("line {0} is damaged: {1}")]
    Damaged(usize, serde_json::Error),
}

impl Recorded {
    /// Reads the whole lines of a journal. A last line that is torn was being written when the power went: it is as if
    /// it had never been begun, since nothing is sent before its line is whole on the disk.
    pub(super) fn read(lines: &str) -> Result<Self, Unreadable> {
        let mut recorded: Option<Self> = None;
        for (at, line) in lines.lines().enumerate() {
            let line: Line =
                serde_json::from_str(line).map_err(|error| Unreadable::Damaged(at + 1, error))?;
            let when = humantime::parse_rfc3339(&line.at).ok();
            match (line.entry, &mut recorded) {
                (Entry::Run(header), _) if header.journal > VERSION => {
                    return Err(Unreadable::Newer(header.journal));
                }
                (Entry::Run(header), None) => recorded = Some(Self::new(header)),
                (Entry::Run(header), Some(known)) => {
                    known.header = header;
                    known.ending = None;
                }
                (_, None) => return Err(Unreadable::Headless),
                (entry, Some(known)) => known.apply(entry),
            }
            if let Some(known) = &mut recorded {
                known.last = when.or(known.last);
            }
        }
        recorded.ok_or(Unreadable::Headless)
    }

    fn new(header: Header) -> Self {
        Self {
            header,
            open: BTreeMap::new(),
            ending: None,
            last: None,
            next: 0,
        }
    }

    fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Create {
                number,
                resource,
                state,
            } => {
                self.next = self.next.max(number + 1);
                self.open.insert(number, (resource, state));
            }
            Entry::Now { number, state } if state.is_open() || state == State::Claimed => {
                if let Some((_, known)) = self.open.get_mut(&number) {
                    *known = state;
                }
            }
            Entry::Now { number, .. } => {
                self.open.remove(&number);
            }
            Entry::Moved { number, resource } => {
                if let Some((known, _)) = self.open.get_mut(&number) {
                    *known = resource;
                }
            }
            Entry::Ended(ending) => self.ending = Some(ending),
            Entry::Run(_) => {}
        }
    }
}

/// Appends lines to a journal.
#[derive(Debug)]
pub(super) struct Writer {
    file: File,
}

impl Writer {
    pub(super) fn new(file: File) -> Self {
        Self { file }
    }

    /// Appends a line. It may be lost with the power; then what it says is found out anew.
    pub(super) fn note(&mut self, entry: Entry) -> io::Result<()> {
        let line = Line {
            at: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            entry,
        };
        let mut text = serde_json::to_string(&line).map_err(io::Error::other)?;
        text.push('\n');
        self.file.write_all(text.as_bytes())
    }

    /// Appends a line that is on the disk when this returns.
    pub(super) fn promise(&mut self, entry: Entry) -> io::Result<()> {
        self.note(entry)?;
        self.file.sync_data()
    }
}
