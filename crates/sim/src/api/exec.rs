//! Commands: recorded, over websockets, or with no output at all.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::instances::resources;
use crate::call::{self, Answer, Call, Refusal, Reply, hex};
use crate::daemon::Daemon;
use crate::exec::process::{Command, Exit, Sink};
use crate::exec::sockets::{self, Plug};
use crate::exec::{self, Place};
use crate::lifecycle::{self, LifecycleEvent};
use crate::operations::{self, Failure, Spec};
use crate::state::Key;
use crate::state::instance::{Logs, Status};
use crate::state::url;

/// Where output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Discarded,
    Recorded,
    Websockets,
    Terminal,
}

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn mode(daemon: &Daemon, body: &Map<String, Value>) -> Result<Mode, Refusal> {
    let is = |key: &str| call::flag(body, key);
    let (record, websocket, interactive) = (
        is("record-output"),
        is("wait-for-websocket"),
        is("interactive"),
    );
    if daemon.profile.is_incus() && record && (websocket || interactive) {
        return Err(Refusal::new(
            400,
            if websocket {
                "Cannot use \"record-output\" in combination with \"wait-for-websocket\""
            } else {
                "Cannot use \"interactive\" in combination with \"record-output\""
            },
        ));
    }
    Ok(match (websocket, interactive, record) {
        (true, true, _) => Mode::Terminal,
        (true, false, _) => Mode::Websockets,
        (false, _, true) => Mode::Recorded,
        (false, _, false) => Mode::Discarded,
    })
}

fn command(body: &Map<String, Value>, config: &Map<String, Value>) -> Command {
    let argv = body.get("command").and_then(Value::as_array);
    let argv = argv.into_iter().flatten().filter_map(Value::as_str);
    let number = |key: &str| {
        let number = body.get(key).and_then(Value::as_u64);
        number
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or(0)
    };
    let mut environment: Map<String, Value> = Map::new();
    let mut set = |key: &str, value: &str| {
        environment.insert(key.to_owned(), json!(value));
    };
    set("PATH", PATH);
    set("LANG", "C.UTF-8");
    if number("user") == 0 {
        set("HOME", "/root");
        set("USER", "root");
    }
    for (key, value) in config {
        if let Some(key) = key.strip_prefix("environment.") {
            environment.insert(key.to_owned(), value.clone());
        }
    }
    let given = body.get("environment").and_then(Value::as_object);
    environment.extend(given.cloned().unwrap_or_default());
    environment.sort_keys();
    let text = |key: &str| call::text(body, key);
    Command {
        argv: argv.map(str::to_owned).collect(),
        environment: environment
            .into_iter()
            .map(|(key, value)| (key, value.as_str().unwrap_or_default().to_owned()))
            .collect(),
        cwd: text("cwd").to_owned(),
        user: number("user"),
        group: number("group"),
    }
}

/// `POST /1.0/instances/<name>/exec`.
pub(crate) fn begin(daemon: &Arc<Daemon>, call: &Call, name: &str) -> Answer {
    let key: Key = (call.project().to_owned(), name.to_owned());
    let body = call.json()?;
    let mode = mode(daemon, &body)?;
    let (place, command, logs) = {
        let world = daemon.world();
        let instance = world.instance(&key.0, name)?;
        match instance.status {
            Status::Running => {}
            Status::Frozen => return Err(Refusal::new(400, "Instance is frozen")),
            Status::Stopped => return Err(Refusal::new(400, "Instance is not running")),
        }
        let (config, _) = world.expanded(instance);
        let place = Place::new(daemon.clone(), instance);
        (place, command(&body, &config), instance.logs.clone())
    };
    let spec = Spec::task("Executing command", &key.0, about(daemon, &key, mode));
    match mode {
        Mode::Recorded | Mode::Discarded => {
            let record = (mode == Mode::Recorded).then_some(logs);
            let folder = daemon.profile.exec_logs;
            let worker = daemon.clone();
            let begun =
                LifecycleEvent::new("instance-exec", (&key.0, &format!("instances/{name}")))
                    .with(json!({"command": command.argv}));
            let started = operations::begin(daemon, (spec, call.fault), move |id| async move {
                let output = record.map(|logs| Recording::new(logs, &id));
                let sink = output.as_ref().map(Recording::sink);
                if !command.argv.is_empty() {
                    lifecycle::tell(&worker, &begun);
                }
                let exit = exec::run((place, command), Vec::new(), sink.unwrap_or_default()).await;
                let urls = output
                    .map(|output| output.urls(&format!("instances/{name}/{folder}", name = key.1)));
                ended(exit, urls)
            });
            Ok(started)
        }
        Mode::Websockets | Mode::Terminal => Ok(over_websockets(
            daemon,
            (spec, call),
            (place, command, mode),
        )),
    }
}

/// Incus says something else for recorded commands, and so it is here.
fn about(daemon: &Daemon, key: &Key, mode: Mode) -> Value {
    let mut about = resources(daemon, (&key.0, &[&key.1]));
    let recorded = matches!(mode, Mode::Recorded | Mode::Discarded);
    if daemon.profile.is_incus() && recorded {
        let path = url(&format!("instances/{}", key.1), &key.0);
        about = json!({"containers": [path], "instances": [path]});
    }
    about
}

/// The two files that a recorded command writes.
struct Recording {
    logs: Logs,
    names: [String; 2],
}

impl Recording {
    fn new(logs: Logs, id: &str) -> Self {
        let names = ["stdout", "stderr"].map(|stream| format!("exec_{id}.{stream}"));
        for name in &names {
            logs.begin(name);
        }
        Self { logs, names }
    }

    fn sink(&self) -> Sink {
        let (logs, names) = (self.logs.clone(), self.names.clone());
        Sink::new(move |stream, bytes| {
            // One that was deleted meanwhile does not come back.
            if let Some(log) = logs.lock().get_mut(&names[stream.index()]) {
                log.extend_from_slice(bytes);
            }
        })
    }

    fn urls(&self, folder: &str) -> Value {
        let [stdout, stderr] = &self.names;
        json!({"1": format!("/1.0/{folder}/{stdout}"), "2": format!("/1.0/{folder}/{stderr}")})
    }
}

/// How the operation ends.
fn ended(exit: Exit, urls: Option<Value>) -> Result<Value, Failure> {
    let metadata = |code: i32| {
        let mut metadata = json!({"return": code});
        if let Some(urls) = urls {
            metadata = json!({"output": urls, "return": code});
        }
        metadata
    };
    let failed = |text: &str, metadata: Value| {
        let code = if metadata.is_null() { 500 } else { 400 };
        Err(Failure {
            refusal: Refusal::new(code, text),
            metadata,
        })
    };
    match exit {
        Exit::Code(code) => Ok(metadata(code)),
        Exit::NotFound => failed("Command not found", metadata(127)),
        Exit::NotExecutable => failed("Command not executable", metadata(126)),
        Exit::Nothing => failed(
            "Failed to retrieve PID of executing child process",
            Value::Null,
        ),
    }
}

fn over_websockets(
    daemon: &Arc<Daemon>,
    (spec, call): (Spec, &Call),
    (place, command, mode): (Place, Command, Mode),
) -> Reply {
    let names: &[&str] = match mode {
        Mode::Terminal => &["0", "control"],
        _ => &["0", "1", "2", "control"],
    };
    let mut plug = Plug::new(names);
    let environment: Map<String, Value> = command
        .environment
        .iter()
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    let metadata = json!({
        "command": command.argv, "environment": environment, "fds": plug.secrets(),
        "interactive": mode == Mode::Terminal,
    });

    let spec = Spec {
        class: "websocket",
        metadata,
        ..spec
    };
    let sockets = daemon.world().sockets.clone();
    let worker = daemon.clone();
    let (project, path) = (
        place.project.clone(),
        format!("instances/{}", place.instance),
    );
    operations::begin(daemon, (spec, call.fault), move |id| async move {
        sockets.add(&id, plug.take_ends());
        let begun = LifecycleEvent::new("instance-exec", (&project, &path))
            .with(json!({"command": command.argv}));
        let exit = sockets::attend(plug, (place, command), || {
            lifecycle::tell(&worker, &begun);
        })
        .await;
        sockets.remove(&id);
        match exit {
            None => Err(Failure::from(Refusal::new(
                500,
                "Timed out waiting for websockets to connect",
            ))),
            Some(exit) => ended(exit, None),
        }
    })
}

/// `GET /1.0/operations/<id>/websocket?secret=…`.
pub(crate) fn connect(daemon: &Arc<Daemon>, id: &str, call: Call) -> Answer {
    let secret = call.query("secret").unwrap_or_default().to_owned();
    let all = daemon.world().sockets.clone();
    if !all.knows(id) {
        return Err(Refusal::new(404, "Operation not found"));
    }
    let Some(upgrade) = call.upgrade else {
        return Ok(Reply::Plain(400, "Bad Request\n"));
    };
    let end = all
        .take(id, &secret)
        .ok_or_else(|| Refusal::new(403, "not authorized"))?;
    Ok(sockets::connected(end, upgrade))
}

/// A secret that nobody guesses.
pub(crate) fn new_secret() -> String {
    let random: [u8; 32] = std::array::from_fn(|_| fastrand::u8(..));
    hex(&random)
}
