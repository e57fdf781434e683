//! The journal of a run: one JSON object per line, only ever appended to. What is intended is on the disk before its
//! request is sent; what came of it follows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ownership::Proof;
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
        /// What tells it from another one of its name; nothing in journals of older versions of the program.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proof: Option<Proof>,
        #[serde(flatten)]
        origin: Origin,
    },
    /// What tells it from another one of its name, as far as is known now.
    Proof { number: u32, proof: Proof },
    /// An environment that is brought to its state again has it from there now.
    From {
        number: u32,
        #[serde(flatten)]
        origin: Origin,
    },
    /// What the playbook has provided, secrets masked.
    Outputs { outputs: Map<String, Value> },
    /// What became of it.
    Now { number: u32, state: State },
    /// Where it is now.
    Moved { number: u32, resource: Resource },
    /// The run has ended.
    Ended(Ending),
    /// Somebody removes what it has left.
    ComesDown,
}

/// What a resource is made by, and from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The step that makes it, by its id or its place, after the groups and the items of loops around it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub step: Vec<String>,
    /// The image that the request asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Value>,
}

impl Origin {
    /// Whether the step is the one of this name, or below it.
    pub(super) fn is_of(&self, name: &[String]) -> bool {
        let mut own = self.step.iter();
        name.iter()
            .all(|part| own.next().is_some_and(|own| is_same_step(own, part)))
    }
}

/// The name of a step without an id: its line in this text of the file, and what stands there.
pub fn step_by_place(line: usize, file: &str, words: &str) -> String {
    format!("line {line} of {file}: {words}")
}

/// Whether two names are those of one step. In another text of the file it may be in another line.
fn is_same_step(one: &str, other: &str) -> bool {
    let parts = |name: &str| {
        let (line, words) = name.strip_prefix("line ")?.split_once(": ")?;
        let (_, file) = line.split_once(" of ")?;
        Some((file.to_owned(), words.to_owned()))
    };
    one == other
        || matches!((parts(one), parts(other)), (Some((file, words)), Some((other_file, other_words)))
            if file != other_file && words == other_words)
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
    /// Something that was to be removed could not be removed, however the steps ended.
    Left,
    /// All steps held, and what they made is meant to stay.
    Kept,
}

/// A journal as it was read.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Which run it is of.
    pub header: Header,
    /// The resources that may still have to be removed, in the order of their making, with their numbers.
    pub open: BTreeMap<u32, Noted>,
    /// What they were made by, and from.
    pub origins: BTreeMap<u32, Origin>,
    /// What the playbook has provided, secrets masked; nothing before it has.
    pub outputs: Option<Map<String, Value>>,
    /// How the run ended; nothing where it was killed.
    pub ending: Option<Ending>,
    /// Whether somebody has begun to remove what it left.
    pub is_coming_down: bool,
    /// When the last line was written.
    pub last: Option<SystemTime>,
    /// The number that the next resource gets.
    pub next: u32,
    /// The lines that cannot be read, counted from 1. The others count nevertheless.
    pub damaged: Vec<usize>,
    /// The numbers of resources that the run made and whose names stood in lines that cannot be read.
    pub nameless: BTreeSet<u32>,
}

/// A resource as a journal knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// The resource.
    pub resource: Resource,
    /// What is known of it.
    pub state: State,
    /// What tells it from another one of its name; nothing where the journal does not say.
    pub proof: Option<Proof>,
}

/// Why a text is no journal.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("it does not begin with the run that it is of")]
    Headless,
    #[error("a newer malleus wrote it (version {0}, this one reads {VERSION})")]
    Newer(u32),
    #[error("none of its lines can be read")]
    Damaged,
}

impl Recorded {
    /// Reads the whole lines of the journal of a run. A last line that is torn was being written when the power went: it
    /// is as if it had never been begun, since nothing is sent before its line is whole on the disk. Other lines that are
    /// damaged are skipped: all that can be removed by the rest is to be removed.
    pub(super) fn read(lines: &str, run: &str) -> Result<Self, Unreadable> {
        let mut recorded: Option<Self> = None;
        let mut damaged = Vec::new();
        for (at, text) in lines.lines().enumerate() {
            let (line, is_damaged) = whole_line(text);
            if is_damaged {
                damaged.push(at + 1);
            }
            let Some(line) = line else { continue };
            let when = humantime::parse_rfc3339(&line.at).ok();
            match (line.entry, &mut recorded) {
                (Entry::Run(header), _) if header.journal > VERSION => {
                    return Err(Unreadable::Newer(header.journal));
                }
                (Entry::Run(header), None) => recorded = Some(Self::new(header)),
                (Entry::Run(header), Some(known)) => {
                    known.header = header;
                    known.ending = None;
                    known.is_coming_down = false;
                }
                // The file is named after the run.
                (entry, None) if damaged.first() == Some(&1) => {
                    let header = Header {
                        started: line.at,
                        ..Header::new(run, run, "")
                    };
                    recorded.insert(Self::new(header)).apply(entry);
                }
                (_, None) => return Err(Unreadable::Headless),
                (entry, Some(known)) => known.apply(entry),
            }
            if let Some(known) = &mut recorded {
                known.last = when.or(known.last);
            }
        }
        match recorded {
            Some(known) => Ok(Self { damaged, ..known }),
            None if damaged.is_empty() => Err(Unreadable::Headless),
            None => Err(Unreadable::Damaged),
        }
    }

    fn new(header: Header) -> Self {
        Self {
            header,
            open: BTreeMap::new(),
            origins: BTreeMap::new(),
            outputs: None,
            ending: None,
            is_coming_down: false,
            last: None,
            next: 0,
            damaged: Vec::new(),
            nameless: BTreeSet::new(),
        }
    }

    fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Create {
                number,
                resource,
                state,
                proof,
                origin,
            } => {
                self.saw(number);
                self.origins.insert(number, origin);
                let noted = Noted {
                    resource,
                    state,
                    proof,
                };
                self.open.insert(number, noted);
            }
            Entry::Proof { number, proof } => {
                if let Some(known) = self.open.get_mut(&number) {
                    known.proof = Some(proof);
                }
            }
            Entry::Now { number, state } if state.is_open() || state == State::Claimed => {
                match self.open.get_mut(&number) {
                    Some(known) => known.state = state,
                    None if state == State::Made => {
                        self.nameless.insert(number);
                    }
                    None => {}
                }
                self.saw(number);
            }
            Entry::Now { number, .. } => {
                self.open.remove(&number);
                self.nameless.remove(&number);
                self.saw(number);
            }
            Entry::Moved { number, resource } => {
                self.nameless.remove(&number);
                // Only what the run made has another name. Where nothing else is known of it, it has to show the mark.
                let known = self.open.entry(number);
                known
                    .and_modify(|known| known.resource.clone_from(&resource))
                    .or_insert_with(|| Noted {
                        resource,
                        state: State::Made,
                        proof: Some(Proof {
                            marked: true,
                            ..Proof::default()
                        }),
                    });
                self.saw(number);
            }
            Entry::From { number, origin } => {
                self.origins.insert(number, origin);
            }
            Entry::Outputs { outputs } => self.outputs = Some(outputs),
            Entry::Ended(ending) => self.ending = Some(ending),
            Entry::ComesDown => self.is_coming_down = true,
            Entry::Run(_) => {}
        }
    }

    /// A number is taken.
    fn saw(&mut self, number: u32) {
        self.next = self.next.max(number.saturating_add(1));
    }

    /// What the damaged lines mean for whoever cleans up; nothing where all are whole.
    pub fn damage(&self) -> Option<String> {
        let lines: Vec<String> = self.damaged.iter().map(usize::to_string).collect();
        let what = match &lines[..] {
            [] => return None,
            [line] => format!("line {line} is damaged"),
            lines => format!("lines {} are damaged", lines.join(", ")),
        };
        Some(format!(
            "the journal of run {} is used without what cannot be read: {what}",
            self.header.run
        ))
    }
}

/// How each line begins.
const LINE_START: &str = "{\"at\":";

/// A line, and whether a part of it is damaged: a line may continue one that was not written to its end.
fn whole_line(text: &str) -> (Option<Line>, bool) {
    if let Ok(line) = serde_json::from_str(text) {
        return (Some(line), false);
    }
    let last = text.rfind(LINE_START);
    let line = last.and_then(|start| serde_json::from_str(&text[start..]).ok());
    (line, true)
}

/// Appends lines to a journal.
#[derive(Debug)]
pub(super) struct Writer<F = File> {
    file: F,
    /// The length of the whole lines.
    whole: u64,
    /// Lines that could not be written yet, on a full disk, say. They come before the next.
    unwritten: String,
}

/// A file that lines are appended to.
pub(super) trait Appendable: Write {
    fn cut(&self, length: u64) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
}

impl Appendable for File {
    fn cut(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

impl Writer {
    /// Appends to a file that has whole lines alone.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let whole = file.metadata()?.len();
        Ok(Self::at(file, whole))
    }
}

impl<F: Appendable> Writer<F> {
    fn at(file: F, whole: u64) -> Self {
        Self {
            file,
            whole,
            unwritten: String::new(),
        }
    }

    /// Appends a line, now or with the next. It may be lost with the power; then what it says is found out anew.
    pub(super) fn note(&mut self, entry: Entry) -> io::Result<()> {
        self.unwritten.push_str(&as_text(entry)?);
        let lines = std::mem::take(&mut self.unwritten);
        self.append(&lines)
            .inspect_err(|_| self.unwritten.clone_from(&lines))
    }

    /// Appends a line that is on the disk when this returns. One that cannot be is no line: what it says does not come to
    /// pass.
    pub(super) fn promise(&mut self, entry: Entry) -> io::Result<()> {
        let lines = format!("{}{}", self.unwritten, as_text(entry)?);
        let before = self.whole;
        self.append(&lines)?;
        self.file.sync().inspect_err(|_| {
            self.whole = before;
            let _ = self.file.cut(before);
        })?;
        self.unwritten.clear();
        Ok(())
    }

    fn append(&mut self, lines: &str) -> io::Result<()> {
        // What another write has left of its lines.
        self.file.cut(self.whole)?;
        let written = self.file.write_all(lines.as_bytes());
        match written {
            Ok(()) => self.whole += lines.len() as u64,
            // The next one tries again, where this fails.
            Err(_) => self.file.cut(self.whole).unwrap_or_default(),
        }
        written
    }
}

fn as_text(entry: Entry) -> io::Result<String> {
    let line = Line {
        at: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
        entry,
    };
    let text = serde_json::to_string(&line).map_err(io::Error::other)?;
    Ok(text + "\n")
}

#[cfg(test)]
mod tests {
    use super::super::resource::Extent;
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    fn resource(name: &str) -> Resource {
        Resource {
            path: format!("/1.0/profiles/{name}"),
            remote: "unix:/socket".to_owned(),
            project: None,
            target: None,
            extent: Extent::Itself,
        }
    }

    fn create(number: u32, name: &str) -> Entry {
        Entry::Create {
            number,
            resource: resource(name),
            state: State::Intended,
            proof: Some(Proof::default()),
            origin: Origin::default(),
        }
    }

    fn made(number: u32) -> Entry {
        let state = State::Made;
        Entry::Now { number, state }
    }

    fn head() -> String {
        as_text(Entry::Run(Header::new("a1b2c3", "case", "case.yaml"))).unwrap()
    }

    /// A disk that has room for so many bytes.
    #[derive(Clone, Default)]
    struct Disk(Rc<RefCell<(Vec<u8>, usize)>>);

    impl Disk {
        fn room(&self, bytes: usize) {
            self.0.borrow_mut().1 = bytes;
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.borrow().0.clone()).unwrap()
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (content, room) = &mut *self.0.borrow_mut();
            let fits = bytes.len().min(room.saturating_sub(content.len()));
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            content.extend(&bytes[..fits]);
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Appendable for Disk {
        fn cut(&self, length: u64) -> io::Result<()> {
            let length = usize::try_from(length).unwrap();
            self.0.borrow_mut().0.truncate(length);
            Ok(())
        }

        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_leaves_whole_lines() {
        let line = as_text(create(0, "p0")).unwrap().len();
        for room in 0..3 * line {
            let disk = Disk::default();
            let mut writer = Writer::at(disk.clone(), 0);
            disk.room(usize::MAX);
            writer
                .promise(Entry::Run(Header::new("a1b2c3", "case", "")))
                .unwrap();
            disk.room(disk.text().len() + room);
            let first = writer.promise(create(0, "p0"));
            let noted = first.is_ok().then(|| writer.note(made(0)));
            let second = writer.promise(create(1, "p1"));
            assert!(disk.text().ends_with('\n'), "{room}");
            disk.room(usize::MAX);
            writer.promise(create(2, "p2")).unwrap();

            let recorded = Recorded::read(&disk.text(), "a1b2c3").unwrap();
            assert_eq!(recorded.damaged, Vec::<usize>::new(), "{room}");
            let mut numbers = vec![2];
            numbers.extend(second.is_ok().then_some(1));
            numbers.extend(first.is_ok().then_some(0));
            numbers.sort_unstable();
            let open: Vec<u32> = recorded.open.keys().copied().collect();
            assert_eq!(open, numbers, "{room}");
            // What could not be noted at once is noted later.
            if noted.is_some() {
                assert_eq!(recorded.open[&0].state, State::Made, "{room}");
            }
        }
    }

    #[test]
    fn a_damaged_line_takes_no_other_along() {
        let entries = [
            create(0, "p0"),
            made(0),
            create(1, "p1"),
            Entry::Moved {
                number: 1,
                resource: resource("p2"),
            },
            made(1),
        ];
        let mut lines = vec![head()];
        lines.extend(entries.map(|entry| as_text(entry).unwrap()));
        for at in 0..lines.len() {
            for damage in ["\n", "{\"at\":\"20\n", "\0\0\0\0\n", "}{\n", "[]\n"] {
                let mut lines = lines.clone();
                damage.clone_into(&mut lines[at]);
                let recorded = Recorded::read(&lines.concat(), "a1b2c3").unwrap();
                assert_eq!(recorded.damaged, [at + 1], "{damage:?}");
                assert_eq!(recorded.header.run, "a1b2c3");
                assert_eq!(recorded.next, 2, "line {at}, {damage:?}");
                let paths: Vec<&str> = recorded
                    .open
                    .values()
                    .map(|noted| noted.resource.path.as_str())
                    .collect();
                let expected: &[&str] = match at {
                    1 => &["/1.0/profiles/p2"],
                    4 => &["/1.0/profiles/p0", "/1.0/profiles/p1"],
                    _ => &["/1.0/profiles/p0", "/1.0/profiles/p2"],
                };
                assert_eq!(paths, expected, "line {at}, {damage:?}");
                let nameless: Vec<u32> = recorded.nameless.iter().copied().collect();
                assert_eq!(nameless, if at == 1 { vec![0] } else { vec![] });
            }
        }
    }

    #[test]
    fn a_line_that_continues_a_torn_one_counts() {
        let torn = &as_text(create(0, "p0")).unwrap()[..40];
        let text = format!("{}{torn}{}", head(), as_text(create(1, "p1")).unwrap());
        let recorded = Recorded::read(&text, "a1b2c3").unwrap();
        assert_eq!(recorded.damaged, [2]);
        assert_eq!(recorded.open.keys().collect::<Vec<_>>(), [&1]);
        assert!(recorded.damage().unwrap().contains("line 2 is damaged"));
    }

    #[test]
    fn what_is_no_journal_is_refused() {
        for text in ["", "hello\n", "{}\n[]\n", &as_text(made(0)).unwrap()] {
            assert!(Recorded::read(text, "a1b2c3").is_err(), "{text}");
        }
    }

    #[test]
    fn steps_without_an_id_are_known_by_their_place() {
        let origin = |step: &[&str]| Origin {
            step: step.iter().map(|part| (*part).to_owned()).collect(),
            image: None,
        };
        let place = |line, file| step_by_place(line, file, "w");
        for (step, name, is_of) in [
            (vec!["a", "b"], vec!["a"], true),
            (vec!["a"], vec!["a", "b"], false),
            (vec!["a"], vec!["b"], false),
            (vec![&place(3, "f"), "b"], vec![&place(3, "f")], true),
            // Two steps of one file with the same words.
            (vec![&place(3, "f")], vec![&place(4, "f")], false),
            // The file has changed meanwhile.
            (vec![&place(3, "f")], vec![&place(4, "g")], true),
            (
                vec![&place(3, "f")],
                vec![&step_by_place(3, "g", "v")],
                false,
            ),
        ] {
            let name: Vec<String> = name.iter().map(|part| (*part).to_owned()).collect();
            assert_eq!(origin(&step).is_of(&name), is_of, "{step:?} {name:?}");
        }
    }
}
