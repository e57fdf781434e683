//! Logs of instances, recorded output among them.

use std::sync::Arc;

use serde_json::json;

use crate::call::{Answer, Call, Raw, Refusal, Reply};
use crate::daemon::Daemon;
use crate::lifecycle::{self, LifecycleEvent};
use crate::state::instance::Instance;
use crate::state::url;

/// Where a log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Folder {
    Logs,
    ExecOutput,
}

/// `/1.0/instances/<name>/logs` and below.
pub(crate) fn answer(daemon: &Arc<Daemon>, call: &Call, (name, rest): (&str, &[&str])) -> Answer {
    let world = daemon.world();
    let instance = world.instance(call.project(), name)?;
    let incus = daemon.profile.is_incus();
    let invalid = |file: &str| {
        let text = if incus {
            format!("Log file name \"{file}\" not valid")
        } else {
            format!("log file name {file} not valid")
        };
        Err(Refusal::new(400, text))
    };
    match (call.method.as_str(), rest) {
        ("GET", []) => Ok(list(daemon, instance, Folder::Logs)),
        ("GET", ["exec-output"]) if incus && instance.logs.begun() => {
            Ok(list(daemon, instance, Folder::ExecOutput))
        }
        ("GET", ["exec-output"]) if incus => {
            let folder = format!("/var/lib/incus/containers/{name}/exec-output");
            let text = format!("open {folder}: no such file or directory");
            Err(Refusal::new(404, text))
        }
        (_, ["exec-output", file]) if incus => one(daemon, call, (instance, file)),
        ("GET", ["lxc.log"]) => Ok(raw("lxc.log", Vec::new())),
        ("GET", ["lxc.conf"]) if !incus => Ok(raw("lxc.conf", Vec::new())),
        (_, [file]) if !incus && file.starts_with("exec_") => one(daemon, call, (instance, file)),
        (_, [file]) => invalid(file),
        _ => Err(Refusal::not_found()),
    }
}

fn raw(name: &str, bytes: Vec<u8>) -> Reply {
    Reply::Raw(Raw {
        headers: Vec::new(),
        body: bytes.into(),
        filename: Some(name.to_owned()),
    })
}

fn list(daemon: &Daemon, instance: &Instance, folder: Folder) -> Reply {
    let incus = daemon.profile.is_incus();
    let recorded: Vec<String> = instance.logs.lock().keys().cloned().collect();
    let recorded = recorded.into_iter();
    let (below, names): (&str, Vec<String>) = match folder {
        Folder::ExecOutput => ("logs/exec-output", recorded.collect()),
        Folder::Logs if incus => ("logs", vec!["lxc.log".to_owned()]),
        Folder::Logs => {
            // It is written at the first start.
            let conf = (instance.used != "1970-01-01T00:00:00Z").then(|| "lxc.conf".to_owned());
            (
                "logs",
                recorded.chain(conf).chain(["lxc.log".to_owned()]).collect(),
            )
        }
    };
    let path = |name: String| {
        let path = format!("instances/{}/{below}/{name}", instance.name);
        // Lists of logs never name the project.
        url(&path, "default")
    };
    let paths: Vec<String> = names.into_iter().map(path).collect();
    Reply::Sync(json!(paths))
}

fn one(daemon: &Daemon, call: &Call, (instance, file): (&Instance, &str)) -> Answer {
    let incus = daemon.profile.is_incus();
    let folder = if incus {
        format!("/var/lib/incus/containers/{}/exec-output", instance.name)
    } else {
        format!("/var/log/lxd/{}", instance.name)
    };
    let missing = |verb: &str, code: u16| {
        Refusal::new(
            code,
            format!("{verb} {folder}/{file}: no such file or directory"),
        )
    };
    // By the name of another folder, and of files that are not there too.
    let path = format!("instances/{}/backups/{file}", instance.name);
    let tell = |what: &str| {
        let happening = LifecycleEvent::new(what, (&instance.project, &path));
        lifecycle::tell(daemon, &happening);
    };
    let mut logs = instance.logs.lock();
    match call.method.as_str() {
        "GET" => {
            tell("instance-log-retrieved");
            let bytes = logs.get(file).cloned();
            let bytes = bytes.ok_or_else(|| missing("open", if incus { 404 } else { 500 }))?;
            Ok(raw(file, bytes))
        }
        "DELETE" => {
            logs.remove(file).ok_or_else(|| missing("remove", 404))?;
            tell("instance-log-deleted");
            Ok(Reply::empty())
        }
        _ => Err(Refusal::not_implemented()),
    }
}
