//! The embedded shell: which command is meant, and running it.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use bashkit::{Bash, ExecOptions, ExecutionLimits, SessionLimits, StreamData};

use super::filesystem::Mount;
use super::process::{Command, Exit, Sink, Stream};
use super::{Place, Ready, commands, signals};
use crate::state::tree::{Content, Last};

/// What the shell is given.
#[derive(Debug)]
pub(super) struct Task {
    script: String,
    arg0: Option<String>,
    positional: Vec<String>,
}

/// Messages that only a shell knows: no file has their name.
const INTERNAL: [&str; 24] = [
    ".", ":", "alias", "bg", "break", "cd", "continue", "declare", "eval", "exit", "export", "fg",
    "getopts", "jobs", "let", "local", "readonly", "return", "set", "shift", "source", "trap",
    "unset", "wait",
];

const SHELLS: [&str; 4] = ["sh", "bash", "ash", "dash"];

/// Finds what a command line means.
pub(super) fn find(place: &Place, command: &Command) -> Result<Task, Exit> {
    let Some((first, rest)) = command.argv.split_first() else {
        return Err(Exit::Nothing);
    };
    let base = first.rsplit('/').next().unwrap_or_default();
    let known = |name: &str| !INTERNAL.contains(&name) && commands::exists(name);
    let name = if first.contains('/') {
        match on_file(place, first)? {
            OnFile::Script(text) => {
                return Ok(Task {
                    script: text,
                    arg0: Some(first.clone()),
                    positional: rest.to_vec(),
                });
            }
            OnFile::Binary => base,
            OnFile::Missing if known(base) && in_a_folder_of_commands(first) => base,
            OnFile::Missing => return Err(Exit::NotFound),
        }
    } else if known(first) {
        first
    } else {
        return on_path(place, command).map(|script| Task {
            script,
            arg0: Some(first.clone()),
            positional: rest.to_vec(),
        });
    };
    if SHELLS.contains(&name) {
        if let Some(task) = inline(rest) {
            return Ok(task);
        }
        if let Some(task) = of_file((place, command), rest) {
            return Ok(task);
        }
    }
    let name = if SHELLS.contains(&name) { "sh" } else { name };
    let words = std::iter::once(name).chain(rest.iter().map(String::as_str));
    let words: Vec<String> = words.map(quoted).collect();
    Ok(Task {
        script: words.join(" "),
        arg0: None,
        positional: Vec::new(),
    })
}

/// `sh -c SCRIPT [NAME [ARGUMENT…]]`.
fn inline(rest: &[String]) -> Option<Task> {
    let (flags, rest) = rest.split_first()?;
    let flags = flags.strip_prefix('-')?;
    let set = flags.strip_suffix('c')?;
    if !set.chars().all(|flag| "eux".contains(flag)) {
        return None;
    }
    let (script, rest) = rest.split_first()?;
    let script = if set.is_empty() {
        script.clone()
    } else {
        format!("set -{set}\n{script}")
    };
    Some(Task {
        script,
        arg0: Some(rest.first().map_or("sh", String::as_str).to_owned()),
        positional: rest.iter().skip(1).cloned().collect(),
    })
}

/// `sh FILE [ARGUMENT…]`.
fn of_file((place, command): (&Place, &Command), rest: &[String]) -> Option<Task> {
    let (file, rest) = rest
        .split_first()
        .filter(|(file, _)| !file.starts_with('-'))?;
    let path = Path::new(&command.cwd).join(file);
    let bytes = place.tree.lock().read(&path.to_string_lossy()).ok()?;
    Some(Task {
        script: String::from_utf8_lossy(&bytes).into_owned(),
        arg0: Some(file.clone()),
        positional: rest.to_vec(),
    })
}

enum OnFile {
    Script(String),
    Binary,
    Missing,
}

fn on_file(place: &Place, path: &str) -> Result<OnFile, Exit> {
    let tree = place.tree.lock();
    let Ok((_, node)) = tree.get(path, Last::Follow) else {
        return Ok(OnFile::Missing);
    };
    match &node.content {
        Content::File(bytes) if node.mode & 0o111 != 0 => {
            if bytes.starts_with(b"#!") {
                Ok(OnFile::Script(String::from_utf8_lossy(bytes).into_owned()))
            } else {
                Ok(OnFile::Binary)
            }
        }
        _ => Err(Exit::NotExecutable),
    }
}

fn in_a_folder_of_commands(path: &str) -> bool {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    [
        "/bin",
        "/sbin",
        "/usr/bin",
        "/usr/sbin",
        "/usr/local/bin",
        "/usr/local/sbin",
    ]
    .contains(&folder)
}

/// A script of the instance's own.
fn on_path(place: &Place, command: &Command) -> Result<String, Exit> {
    let path = command.environment.iter().find(|(key, _)| key == "PATH");
    let folders = path.map_or("", |(_, folders)| folders.as_str());
    for folder in folders.split(':') {
        match on_file(place, &format!("{folder}/{}", command.argv[0])) {
            Ok(OnFile::Script(text)) => return Ok(text),
            Err(exit) => return Err(exit),
            Ok(_) => {}
        }
    }
    Err(Exit::NotFound)
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Most of what a command may write.
const MOST_OUTPUT: usize = 256 << 20;

fn limits() -> ExecutionLimits {
    ExecutionLimits::cli()
        .max_work_units(u64::MAX)
        .max_aggregate_input_bytes(u64::MAX)
        .max_live_intermediate_bytes(MOST_OUTPUT as u64 * 2)
        .max_input_bytes(16 << 20)
        .max_stdout_bytes(MOST_OUTPUT)
        .max_stderr_bytes(MOST_OUTPUT)
}

fn build(ready: &Ready) -> Bash {
    let (place, command) = (&ready.place, &ready.command);
    let mount = Mount::new(place, command);
    let cwd = {
        let tree = place.tree.lock();
        let folder = tree.get(&command.cwd, Last::Follow);
        // A folder that is not there is silently replaced, as the daemons do.
        let there = folder.is_ok_and(|(_, node)| node.is_folder());
        let home = tree.get("/root", Last::Follow).is_ok();
        match (
            there && !command.cwd.is_empty(),
            home && command.cwd.is_empty(),
        ) {
            (true, _) => command.cwd.clone(),
            (_, true) if command.user == 0 => "/root".to_owned(),
            _ => "/".to_owned(),
        }
    };
    let mut builder = Bash::builder()
        .fs(Arc::new(mount))
        .hostname(place.instance.clone())
        .username(commands::user_name(place, command.user))
        .cwd(cwd)
        .limits(limits())
        .session_limits(SessionLimits::unlimited());
    for (key, value) in &command.environment {
        builder = builder.env(key, value);
    }
    builder = builder.command("cat", commands::Cat);
    for (name, own) in commands::own(place, command) {
        builder = builder.builtin(name, own);
    }
    builder = signals::watch(builder, (&ready.process, &place.processes));
    builder.build()
}

/// Runs a command that was found, and says its exit code as soon as it has one: jobs in the background run on.
pub(super) fn run(ready: Ready, (stdin, sink): (Vec<u8>, &Sink), done: oneshot::Sender<i32>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let Ok(runtime) = runtime else {
        // Whoever waits finds that nothing was said.
        return;
    };
    let (process, processes) = (ready.process.clone(), ready.place.processes.clone());
    let mut told = Some(done);
    let mut tell = |code| {
        if let Some(done) = told.take() {
            // Nobody waits any more where a signal ended it.
            let _ = done.send(code);
        }
    };
    let code = runtime.block_on(async {
        let mut whole = std::pin::pin!(work(ready, (stdin, sink)));
        tokio::select! {
            biased;
            signal = process.killed() => return 128 + signal,
            code = &mut whole => return code,
            code = process.ended() => {
                process.leave_jobs();
                tell(code);
            }
        }
        tokio::select! {
            biased;
            signal = process.killed() => 128 + signal,
            code = whole => code,
        }
    });
    tell(code);
    if process.has_jobs() {
        processes.remove(process.id);
    }
}

async fn work(mut ready: Ready, (stdin, sink): (Vec<u8>, &Sink)) -> i32 {
    let mut bash = build(&ready);
    {
        let mut stop = ready
            .process
            .stop
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *stop = Some(bash.cancellation_token());
    }
    let script = std::mem::take(&mut ready.task.script);
    let written = Arc::new(Mutex::new([0_usize; 2]));
    let mut options = ExecOptions::new()
        .stdin(stdin)
        .positional(std::mem::take(&mut ready.task.positional))
        .streaming(streaming(sink.clone(), written.clone()));
    if let Some(arg0) = ready.task.arg0.take() {
        options = options.arg0(arg0);
    }
    let around = signals::around(&script);
    let result = match bash.exec_with_options(&around, options).await {
        Err(bashkit::Error::Cancelled) => return 137,
        Err(error) => {
            sink.write(Stream::Stderr, format!("sh: {error}\n").as_bytes());
            return if matches!(error, bashkit::Error::Parse { .. }) {
                2
            } else {
                1
            };
        }
        Ok(result) => result,
    };
    let written = *written.lock().unwrap_or_else(PoisonError::into_inner);
    if signals::sets_traps(&script) {
        // All was written as it came, and what traps have written is in the result twice.
        return result.exit_code;
    }
    for (stream, all) in [
        (Stream::Stdout, &result.stdout),
        (Stream::Stderr, &result.stderr),
    ] {
        let rest = all.as_bytes().get(written[stream.index()]..);
        sink.write(stream, rest.unwrap_or_default());
    }
    result.exit_code
}

fn streaming(sink: Sink, written: Arc<Mutex<[usize; 2]>>) -> bashkit::OutputCallback {
    Box::new(move |stdout: &StreamData, stderr: &StreamData| {
        for (stream, data) in [(Stream::Stdout, stdout), (Stream::Stderr, stderr)] {
            sink.write(stream, data.as_bytes());
            let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
            written[stream.index()] += data.len();
        }
    })
}
