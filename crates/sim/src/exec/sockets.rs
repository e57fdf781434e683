//! The websockets of a command: its input, its output, and control.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message;

use super::process::{Command, Exit, Process, Sink, Stream};
use super::{Place, carry_on, prepare};
use crate::api::exec::new_secret;
use crate::call::{Reply, Upgrade};
use crate::events::{Socket, accept, accepted};

/// How long the client may take to connect.
const CONNECT: Duration = Duration::from_secs(5);

/// What a websocket brought.
pub(crate) enum Read {
    Data(Bytes),
    Text(String),
    /// An empty text frame: the end of a stream.
    End,
}

/// The next frame that means something; none when the connection is over.
pub(crate) async fn read(socket: &mut Socket) -> Option<Read> {
    loop {
        match socket.next().await? {
            Ok(Message::Binary(data)) => return Some(Read::Data(data)),
            Ok(Message::Text(text)) if text.is_empty() => return Some(Read::End),
            Ok(Message::Text(text)) => return Some(Read::Text(text.to_string())),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
            Ok(Message::Close(_)) | Err(_) => return None,
        }
    }
}

/// Writes a frame.
///
/// # Errors
/// When the connection is over.
pub(crate) async fn write(socket: &mut Socket, message: Message) -> Result<(), ()> {
    socket.send(message).await.map_err(|_| ())
}

/// Where a connection goes that presents a secret.
pub(crate) type End = oneshot::Sender<Upgrade>;

/// The sockets of one command before they are connected.
#[derive(Debug)]
pub(crate) struct Plug {
    secrets: Vec<(&'static str, String)>,
    ends: BTreeMap<String, End>,
    waits: BTreeMap<&'static str, oneshot::Receiver<Upgrade>>,
}

impl Plug {
    pub(crate) fn new(names: &[&'static str]) -> Self {
        let mut plug = Self {
            secrets: Vec::new(),
            ends: BTreeMap::new(),
            waits: BTreeMap::new(),
        };
        for name in names {
            let (end, wait) = oneshot::channel();
            let secret = new_secret();
            plug.ends.insert(secret.clone(), end);
            plug.secrets.push((name, secret));
            plug.waits.insert(name, wait);
        }
        plug
    }

    /// `fds` of the operation.
    pub(crate) fn secrets(&self) -> Value {
        let secrets: Map<String, Value> = self
            .secrets
            .iter()
            .map(|(name, secret)| ((*name).to_owned(), json!(secret)))
            .collect();
        Value::Object(secrets)
    }

    pub(crate) fn take_ends(&mut self) -> BTreeMap<String, End> {
        std::mem::take(&mut self.ends)
    }

    /// The connection for one of the names, once it is there.
    pub(crate) async fn socket(&mut self, name: &str) -> Option<Socket> {
        let upgrade = self.waits.remove(name)?.await.ok()?;
        accept(upgrade.connection).await
    }
}

type Waiting = BTreeMap<String, BTreeMap<String, End>>;

/// Operations whose commands wait for connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sockets(Arc<Mutex<Waiting>>);

impl Sockets {
    pub(crate) fn add(&self, operation: &str, ends: BTreeMap<String, End>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(operation.to_owned(), ends);
    }

    pub(crate) fn knows(&self, operation: &str) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.contains_key(operation)
    }

    pub(crate) fn take(&self, operation: &str, secret: &str) -> Option<End> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get_mut(operation)?.remove(secret)
    }

    pub(crate) fn remove(&self, operation: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(operation);
    }
}

/// Hands a connection over.
pub(crate) fn connected(end: End, upgrade: Upgrade) -> Reply {
    let answer = accepted(&upgrade.key);
    // A command that waits no longer has no use for it.
    let _ = end.send(upgrade);
    answer
}

/// Waits for the connections and runs the command, saying when it begins; nothing where they did not come in time.
pub(crate) async fn attend(
    mut plug: Plug,
    (place, command): (Place, Command),
    begins: impl FnOnce(),
) -> Option<Exit> {
    let terminal = !plug.waits.contains_key("1");
    let connect = async {
        let input = plug.socket("0").await?;
        let outputs = if terminal {
            Vec::new()
        } else {
            vec![plug.socket("1").await?, plug.socket("2").await?]
        };
        Some((input, outputs))
    };
    let (input, outputs) = tokio::time::timeout(CONNECT, connect).await.ok()??;
    begins();
    let appetite = reads_stdin(&command.argv);
    let ready = match prepare(place, command) {
        Ok(ready) => ready,
        Err(exit) => {
            finish(input, outputs).await;
            return Some(exit);
        }
    };
    let process = ready.process.clone();
    let control = tokio::task::spawn_local(control(plug, process.clone()));
    let exit = if terminal {
        on_terminal(ready, input).await
    } else {
        on_pipes(ready, (input, appetite), outputs).await
    };
    control.abort();
    Some(exit)
}

/// Says the end of all streams of a command that never began.
async fn finish(input: Socket, outputs: Vec<Socket>) {
    let all = if outputs.is_empty() {
        vec![input]
    } else {
        outputs
    };
    for mut socket in all {
        let _ = write(&mut socket, Message::text("")).await;
    }
}

/// Signals; a control socket that closes kills the command.
async fn control(mut plug: Plug, process: Arc<Process>) {
    let Some(mut socket) = plug.socket("control").await else {
        return;
    };
    while let Some(read) = read(&mut socket).await {
        let text = match read {
            Read::Text(text) => text,
            Read::Data(data) => String::from_utf8_lossy(&data).into_owned(),
            Read::End => continue,
        };
        let order: Value = serde_json::from_str(&text).unwrap_or_default();
        if order["command"] == "signal" {
            let signal = order["signal"]
                .as_i64()
                .and_then(|signal| i32::try_from(signal).ok());
            process.signal(signal.unwrap_or(15));
        }
    }
    process.kill(9);
}

async fn on_pipes(
    ready: super::Ready,
    (mut input, appetite): (Socket, Reads),
    outputs: Vec<Socket>,
) -> Exit {
    let process = ready.process.clone();
    let mut stdin = Vec::new();
    if appetite == Reads::Stdin {
        tokio::select! {
            () = collect(&mut input, &mut stdin) => {}
            _ = process.killed() => {}
        }
    }
    let (senders, writers): (Vec<_>, Vec<_>) = outputs
        .into_iter()
        .map(|socket| {
            let (sender, chunks) = mpsc::unbounded_channel::<Vec<u8>>();
            let writer = tokio::task::spawn_local(write_all(socket, chunks, process.clone()));
            (sender, writer)
        })
        .unzip();
    let sink = Sink::new(move |stream: Stream, bytes: &[u8]| {
        // A client that has gone is told nothing.
        let _ = senders[stream.index()].send(bytes.to_vec());
    });
    let exit = carry_on(ready, stdin, sink).await;
    let mut sockets = Vec::new();
    for writer in writers {
        if let Ok(socket) = writer.await {
            sockets.push(socket);
        }
    }
    // The client closes; until it does, its last words may still be on their way.
    tokio::task::spawn_local(linger(input, sockets));
    exit
}

/// Keeps connections until the client has closed them.
async fn linger(input: Socket, sockets: Vec<Socket>) {
    for mut socket in std::iter::once(input).chain(sockets) {
        let drained = async { while read(&mut socket).await.is_some() {} };
        let _ = tokio::time::timeout(Duration::from_millis(200), drained).await;
    }
}

async fn collect(input: &mut Socket, stdin: &mut Vec<u8>) {
    while let Some(read) = read(input).await {
        match read {
            Read::Data(data) => stdin.extend_from_slice(&data),
            Read::Text(text) => stdin.extend_from_slice(text.as_bytes()),
            Read::End => return,
        }
    }
}

/// Writes output as it comes, then the mark of its end.
async fn write_all(
    mut socket: Socket,
    mut chunks: mpsc::UnboundedReceiver<Vec<u8>>,
    process: Arc<Process>,
) -> Socket {
    while let Some(chunk) = chunks.recv().await {
        for part in chunk.chunks(64 << 10) {
            if write(&mut socket, Message::binary(part.to_vec()))
                .await
                .is_err()
            {
                process.kill(9);
                return socket;
            }
        }
    }
    let _ = write(&mut socket, Message::text("")).await;
    socket
}

/// A terminal: what is typed up to Ctrl-D is the command's input, what it writes comes back on the same socket.
async fn on_terminal(ready: super::Ready, mut socket: Socket) -> Exit {
    let mut stdin = Vec::new();
    if reads_stdin(&ready.process.command.argv) == Reads::Stdin {
        let process = ready.process.clone();
        tokio::select! {
            () = typed(&mut socket, &mut stdin) => {}
            _ = process.killed() => {}
        }
    }
    let (sender, mut chunks) = mpsc::unbounded_channel::<Vec<u8>>();
    let sink = Sink::new(move |_, bytes: &[u8]| {
        let _ = sender.send(bytes.to_vec());
    });
    let exit = carry_on(ready, stdin, sink).await;
    while let Ok(chunk) = chunks.try_recv() {
        let text = String::from_utf8_lossy(&chunk).replace('\n', "\r\n");
        let _ = write(&mut socket, Message::binary(text.into_bytes())).await;
    }
    let _ = write(&mut socket, Message::text("")).await;
    tokio::task::spawn_local(linger(socket, Vec::new()));
    exit
}

async fn typed(socket: &mut Socket, stdin: &mut Vec<u8>) {
    const END: u8 = 4;
    while let Some(read) = read(socket).await {
        let data = match read {
            Read::Data(data) => data,
            Read::Text(text) => Bytes::from(text),
            Read::End => return,
        };
        let typed: Vec<u8> = data
            .iter()
            .map(|byte| if *byte == b'\r' { b'\n' } else { *byte })
            .collect();
        if let Some(end) = typed.iter().position(|byte| *byte == END) {
            stdin.extend_from_slice(&typed[..end]);
            return;
        }
        stdin.extend_from_slice(&typed);
    }
}

/// Whether a command waits for its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    Stdin,
    Nothing,
}

/// Commands that read their input where they are given no file.
const READERS: [&str; 26] = [
    "awk",
    "base64",
    "cat",
    "cut",
    "dd",
    "grep",
    "gunzip",
    "gzip",
    "head",
    "hexdump",
    "md5sum",
    "od",
    "patch",
    "rev",
    "sed",
    "sha256sum",
    "sort",
    "tac",
    "tail",
    "tar",
    "tee",
    "tr",
    "uniq",
    "wc",
    "xargs",
    "xxd",
];

/// The shell takes all input before it begins; a client may leave it open until the command has ended. So that such a
/// client is served, only commands that look as if they read something are made to wait for the end of their input.
fn reads_stdin(argv: &[String]) -> Reads {
    let words: Vec<&str> = argv.iter().map(String::as_str).collect();
    let waits = match words.as_slice() {
        [shell, flags, script, ..]
            if is_shell(shell) && flags.starts_with('-') && flags.ends_with('c') =>
        {
            script_reads(script)
        }
        [shell] if is_shell(shell) => true,
        [shell, flag, ..] if is_shell(shell) => *flag == "-s",
        words => line_reads(words),
    };
    if waits { Reads::Stdin } else { Reads::Nothing }
}

fn is_shell(word: &str) -> bool {
    let base = word.rsplit('/').next().unwrap_or_default();
    ["sh", "bash", "ash", "dash"].contains(&base)
}

fn line_reads(words: &[&str]) -> bool {
    let Some((first, rest)) = words.split_first() else {
        return false;
    };
    let base = first.rsplit('/').next().unwrap_or_default();
    if base == "read" || base == "tee" {
        return true;
    }
    // The first word of these is a pattern or a program, not a file.
    let own = usize::from(["awk", "grep", "sed", "tr", "cut"].contains(&base))
        + usize::from(base == "tr");
    let files = rest.iter().filter(|word| !word.starts_with('-')).count();
    READERS.contains(&base) && (files <= own || rest.contains(&"-"))
}

/// Whether a command of a script that no pipe feeds reads.
fn script_reads(script: &str) -> bool {
    script
        .split(['\n', ';', '&', '(', ')', '{', '}'])
        .any(|line| {
            let head = line.split('|').next().unwrap_or_default();
            let words: Vec<&str> = head.split_whitespace().collect();
            let fed = words.iter().any(|word| word.starts_with('<'));
            let words: Vec<&str> = words
                .into_iter()
                .skip_while(|word| {
                    ["while", "until", "if", "then", "do", "else", "exec", "!"].contains(word)
                        || word.contains('=')
                })
                .take_while(|word| !word.starts_with('>') && !word.starts_with("2>"))
                .collect();
            !fed && line_reads(&words)
        })
}
