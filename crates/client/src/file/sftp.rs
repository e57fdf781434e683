//! Reading files of an instance over SFTP (version 3), as the servers' own clients do. Unlike the files of the API it tells
//! pipes and devices from files, reads files whose length nobody knows beforehand, and has names that are no text.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::access::{Files, copy_error};
use super::attributes::PERMISSIONS;
use crate::exchange::LARGEST_IN_MEMORY;
use crate::websocket::{Duplex, out_of_time, refusal};
use crate::{Error, Limit, Request};
use malleus_api::ApiPath;

/// How much one request reads; all servers give as much.
const CHUNK: u32 = 32 << 10;
/// How many of them are on their way at most.
const MOST_CHUNKS: usize = 32;
/// The most that a server may say before it speaks SFTP.
const LONGEST_HEAD: usize = 16 << 10;

const INIT: u8 = 1;
const VERSION: u8 = 2;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
const LSTAT: u8 = 7;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const READLINK: u8 = 19;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;

/// Codes of a [`STATUS`].
const END: u32 = 1;
const NO_SUCH_FILE: u32 = 2;

/// What a path is. A link is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Link,
    /// What cannot be copied, with its name.
    Other(&'static str),
}

/// What a server tells about a path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stat {
    pub(super) kind: Kind,
    pub(super) mode: u32,
}

impl Stat {
    fn of(permissions: u32) -> Option<Self> {
        let kind = match permissions & 0o170_000 {
            0o100_000 => Kind::File,
            0o040_000 => Kind::Folder,
            0o120_000 => Kind::Link,
            0o010_000 => Kind::Other("a pipe"),
            0o140_000 => Kind::Other("a socket"),
            0o020_000 | 0o060_000 => Kind::Other("a device"),
            _ => return None,
        };
        let mode = permissions & PERMISSIONS;
        Some(Self { kind, mode })
    }
}

/// Connections to one instance, as many as are used at a time.
pub(super) struct Pool<'a> {
    files: Files<'a>,
    idle: Mutex<Vec<Connection>>,
}

impl<'a> Pool<'a> {
    /// Connects; nothing where the server has no SFTP, or no such instance.
    pub(super) fn open(files: Files<'a>) -> Result<Option<Self>, Error> {
        match Connection::open(&files) {
            Ok(first) => Ok(Some(Self {
                files,
                idle: Mutex::new(vec![first]),
            })),
            Err(Error::Api(error)) if matches!(error.status, 404 | 405 | 501) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Does something with a connection of its own.
    pub(super) fn with<T>(
        &self,
        path: &Path,
        work: impl FnOnce(&mut Session<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let idle = self.lock().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => Connection::open(&self.files)?,
        };
        let limit = limit(&self.files, path);
        connection.duplex.set_limit(limit);
        let done = work(&mut Session {
            files: &self.files,
            connection: &mut connection,
            path,
            limit,
        });
        // One that was left in the middle of an answer is of no use.
        if connection.is_quiet {
            self.lock().push(connection);
        }
        done
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn limit(files: &Files<'_>, path: &Path) -> Limit {
    files.client.request_limit(&files.request("GET", path))
}

struct Connection {
    duplex: Duplex,
    next: u32,
    /// Whether every request has been answered.
    is_quiet: bool,
}

impl Connection {
    fn open(files: &Files<'_>) -> Result<Self, Error> {
        let client = files.client;
        let request = Request::get(target_of(files));
        let target = client.target_of(&request)?;
        let limit = limit(files, Path::new("/"));
        let mut duplex = client.open_duplex(limit)?;
        let failed = |error: io::Error| fault(files, None, limit, error);
        let mut head = format!(
            "GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: sftp\r\n",
            client.remote().host()
        );
        for (name, value) in client.authentication("GET", &target)? {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        duplex.write_all(head.as_bytes()).map_err(failed)?;
        let (status, length) = answer(&mut duplex).map_err(failed)?;
        if status != 101 {
            let mut body = vec![0; length.min(LONGEST_HEAD)];
            duplex.read_exact(&mut body).map_err(failed)?;
            return Err(Error::Api(refusal(&target, status, Some(&body))));
        }
        let mut connection = Self {
            duplex,
            next: 0,
            is_quiet: true,
        };
        let mut hello = vec![INIT];
        hello.extend(3_u32.to_be_bytes());
        connection.send(&hello).map_err(failed)?;
        let (kind, _) = connection.receive().map_err(failed)?;
        if kind != VERSION {
            return Err(failed(strange()));
        }
        Ok(connection)
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let length = u32::try_from(message.len()).map_err(io::Error::other)?;
        let mut packet = length.to_be_bytes().to_vec();
        packet.extend(message);
        self.duplex.write_all(&packet)
    }

    /// The kind of the next message and the rest of it.
    fn receive(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut length = [0; 4];
        self.duplex.read_exact(&mut length)?;
        let length = u64::from(u32::from_be_bytes(length));
        if length == 0 || length > LARGEST_IN_MEMORY {
            return Err(strange());
        }
        let mut message = Vec::new();
        // Room is made as it comes: a length is no promise.
        let read = (&mut self.duplex).take(length).read_to_end(&mut message)?;
        if (read as u64) < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let rest = message.split_off(1);
        Ok((message[0], rest))
    }

    fn ask(&mut self, kind: u8, body: &[u8]) -> io::Result<u32> {
        self.next = self.next.wrapping_add(1);
        let mut message = vec![kind];
        message.extend(self.next.to_be_bytes());
        message.extend(body);
        self.is_quiet = false;
        self.send(&message)?;
        Ok(self.next)
    }
}

fn target_of(files: &Files<'_>) -> String {
    ApiPath::of_instance(files.instance)
        .member("sftp")
        .to_string()
}

/// The status of an HTTP answer, and how long its body is.
fn answer(duplex: &mut Duplex) -> io::Result<(u16, usize)> {
    let mut head = Vec::new();
    // Byte by byte: what follows is SFTP.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > LONGEST_HEAD {
            return Err(strange());
        }
        let mut byte = [0];
        duplex.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
    let length = lines.find_map(|line| line.strip_prefix("content-length:"));
    let length = length.and_then(|length| length.trim().parse().ok());
    Ok((status.ok_or_else(strange)?, length.unwrap_or(0)))
}

fn strange() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "what the server says is no SFTP",
    )
}

/// What an error of the connection means.
fn fault(files: &Files<'_>, path: Option<&Path>, limit: Limit, error: io::Error) -> Error {
    let shown = target_of(files);
    if out_of_time(&error) {
        let note = path.map(|path| format!("at {}", path.display()).into());
        return Error::Timeout {
            limit: limit.name(),
            after: limit.total(),
            method: "GET".to_owned(),
            path: shown,
            operation: None,
            note,
        };
    }
    if error.kind() == io::ErrorKind::InvalidData && !files.client.is_cancelled() {
        return Error::Protocol {
            method: "GET".to_owned(),
            path: shown,
            reason: error.to_string(),
        };
    }
    files.client.socket_broken(&shown, error)
}

/// An answer that says why something is not done.
#[derive(Debug)]
struct Refused {
    code: u32,
    message: String,
}

/// One connection and what it is used for.
pub(super) struct Session<'s> {
    files: &'s Files<'s>,
    connection: &'s mut Connection,
    path: &'s Path,
    limit: Limit,
}

impl Session<'_> {
    /// What the path is; nothing where nothing is there.
    pub(super) fn stat(&mut self) -> Result<Option<Stat>, Error> {
        let body = text(self.path.as_os_str().as_bytes());
        let attributes = match self.call(LSTAT, &body, ATTRS)? {
            Ok(attributes) => attributes,
            Err(refused) if refused.code == NO_SUCH_FILE => return Ok(None),
            Err(refused) => return Err(self.refused(&refused)),
        };
        let stat = attributes_of(&mut Words(&attributes)).and_then(Stat::of);
        stat.map(Some).ok_or_else(|| self.fault(strange()))
    }

    /// The target of a link.
    pub(super) fn link(&mut self) -> Result<OsString, Error> {
        let names = self.get(READLINK, &text(self.path.as_os_str().as_bytes()), NAME)?;
        let mut names = names_of(&names).ok_or_else(|| self.fault(strange()))?;
        names.pop().ok_or_else(|| self.fault(strange()))
    }

    /// The names in a folder.
    pub(super) fn names(&mut self) -> Result<Vec<OsString>, Error> {
        let handle = self.get(OPENDIR, &text(self.path.as_os_str().as_bytes()), HANDLE)?;
        let mut all = Vec::new();
        loop {
            match self.call(READDIR, &handle, NAME)? {
                Ok(names) => {
                    let names = names_of(&names).filter(|names| !names.is_empty());
                    let names = names.ok_or_else(|| self.fault(strange()))?;
                    all.extend(names.into_iter().filter(|name| name != "." && name != ".."));
                }
                Err(refused) if refused.code == END => break,
                Err(refused) => return Err(self.refused(&refused)),
            }
        }
        self.close(&handle)?;
        Ok(all)
    }

    /// Copies a file to its end, whatever its length is said to be.
    pub(super) fn copy(&mut self, to: &mut dyn Write) -> Result<u64, Error> {
        let mut open = text(self.path.as_os_str().as_bytes());
        // To be read; no attributes.
        open.extend(1_u32.to_be_bytes());
        open.extend(0_u32.to_be_bytes());
        let handle = self.get(OPEN, &open, HANDLE)?;
        let copied = self.copy_from(&handle, to)?;
        self.close(&handle)?;
        Ok(copied)
    }

    /// Several reads are on their way at a time, unless the file gives less than it is asked for, as those of `/proc` do:
    /// then where the next part begins is known only when the one before it has come.
    fn copy_from(&mut self, handle: &[u8], to: &mut dyn Write) -> Result<u64, Error> {
        let (mut written, mut window) = (0, 1);
        // What is on its way, by its position; and what has come too early.
        let mut asked = BTreeMap::new();
        let mut early: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        let mut next = 0;
        let mut is_over = false;
        loop {
            while !is_over && asked.len() + early.len() < window {
                let mut read = handle.to_vec();
                read.extend(u64::to_be_bytes(next));
                read.extend(CHUNK.to_be_bytes());
                let id = self.send(READ, &read)?;
                asked.insert(id, next);
                next += u64::from(CHUNK);
            }
            if asked.is_empty() {
                break;
            }
            let (id, answer) = self.receive(DATA)?;
            let at = asked.remove(&id).ok_or_else(|| self.fault(strange()))?;
            match answer {
                Ok(data) => {
                    let data = Words(&data).text().map(<[u8]>::to_vec);
                    let data = data.filter(|data| !data.is_empty() && data.len() <= CHUNK as usize);
                    early.insert(at, data.ok_or_else(|| self.fault(strange()))?);
                }
                Err(refused) if refused.code == END => is_over |= at == written,
                Err(refused) => return Err(self.refused(&refused)),
            }
            while let Some(data) = early.remove(&written) {
                let wrote = to.write_all(&data);
                wrote.map_err(|source| Error::Output { source })?;
                written += data.len() as u64;
                if data.len() < CHUNK as usize {
                    // All that was asked for beyond it is asked for anew, from where it ended.
                    self.discard(&mut asked)?;
                    early.clear();
                    (next, window) = (written, 1);
                } else {
                    window = (2 * window).min(MOST_CHUNKS);
                }
            }
            // An end that came before the part in front of it was known.
            if asked.is_empty() && !is_over && next > written {
                early.clear();
                (next, window) = (written, 1);
            }
        }
        to.flush().map_err(|source| Error::Output { source })?;
        self.connection.is_quiet = true;
        Ok(written)
    }

    /// Waits for answers that are of no use any more.
    fn discard(&mut self, asked: &mut BTreeMap<u32, u64>) -> Result<(), Error> {
        while !asked.is_empty() {
            let (id, _) = self.receive(DATA)?;
            asked.remove(&id).ok_or_else(|| self.fault(strange()))?;
        }
        Ok(())
    }

    fn close(&mut self, handle: &[u8]) -> Result<(), Error> {
        // There is no other answer than a status; whether it is good does not matter.
        self.call(CLOSE, handle, STATUS).map(drop)
    }

    /// A call that has to be answered with what was asked for.
    fn get(&mut self, kind: u8, body: &[u8], wanted: u8) -> Result<Vec<u8>, Error> {
        match self.call(kind, body, wanted)? {
            Ok(answer) => Ok(answer),
            Err(refused) => Err(self.refused(&refused)),
        }
    }

    /// A request and its answer, while nothing else is on its way.
    fn call(
        &mut self,
        kind: u8,
        body: &[u8],
        wanted: u8,
    ) -> Result<Result<Vec<u8>, Refused>, Error> {
        let sent = self.send(kind, body)?;
        let (id, answer) = self.receive(wanted)?;
        if id != sent {
            return Err(self.fault(strange()));
        }
        self.connection.is_quiet = true;
        Ok(answer)
    }

    fn send(&mut self, kind: u8, body: &[u8]) -> Result<u32, Error> {
        let sent = self.connection.ask(kind, body);
        sent.map_err(|error| self.fault(error))
    }

    /// The next answer, which is of the wanted kind or a refusal.
    fn receive(&mut self, wanted: u8) -> Result<(u32, Result<Vec<u8>, Refused>), Error> {
        let (kind, message) = self
            .connection
            .receive()
            .map_err(|error| self.fault(error))?;
        let mut words = Words(&message);
        let id = words.number().ok_or_else(|| self.fault(strange()))?;
        let answer = words.0.to_vec();
        if kind == wanted {
            return Ok((id, Ok(answer)));
        }
        if kind != STATUS {
            return Err(self.fault(strange()));
        }
        let code = words.number().ok_or_else(|| self.fault(strange()))?;
        let message = words.text().unwrap_or_default();
        let message = String::from_utf8_lossy(message).into_owned();
        Ok((id, Err(Refused { code, message })))
    }

    fn refused(&self, refused: &Refused) -> Error {
        let why = match refused.message.as_str() {
            "" => format!("the server refuses it with code {}", refused.code),
            message => format!("the server says: {message}"),
        };
        copy_error(self.path, why)
    }

    fn fault(&self, error: io::Error) -> Error {
        fault(self.files, Some(self.path), self.limit, error)
    }
}

/// A text as messages have it, with its length before it.
fn text(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut text = length.to_be_bytes().to_vec();
    text.extend(bytes);
    text
}

/// The rest of a message.
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        let bytes = self.take(4)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }
}

/// The permissions among attributes, 0 where they are not; nothing for what are no attributes.
fn attributes_of(words: &mut Words<'_>) -> Option<u32> {
    let flags = words.number()?;
    if flags & 1 != 0 {
        words.take(8)?;
    }
    if flags & 2 != 0 {
        words.take(8)?;
    }
    let permissions = if flags & 4 != 0 { words.number()? } else { 0 };
    if flags & 8 != 0 {
        words.take(8)?;
    }
    if flags & 0x8000_0000 != 0 {
        for _ in 0..words.number()? {
            words.text()?;
            words.text()?;
        }
    }
    Some(permissions)
}

fn names_of(message: &[u8]) -> Option<Vec<OsString>> {
    let mut words = Words(message);
    let mut names = Vec::new();
    for _ in 0..words.number()? {
        names.push(OsString::from_vec(words.text()?.to_vec()));
        // The line of a listing.
        words.text()?;
        attributes_of(&mut words)?;
    }
    Some(names)
}
