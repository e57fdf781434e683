//! Consoles of instances: nobody says anything on them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::instances::resources;
use crate::call::{Answer, Call, Raw, Refusal, Reply, flag, text, uuid};
use crate::daemon::Daemon;
use crate::exec::sockets::{Plug, read, write};
use crate::lifecycle::{self, LifecycleEvent};
use crate::operations::{Spec, begin};
use crate::state::Key;
use crate::state::instance::{Instance, Status};

/// How often the console looks whether the instance still runs.
const LOOK: Duration = Duration::from_millis(50);

/// `/1.0/instances/<name>/console`.
pub(crate) fn answer(daemon: &Arc<Daemon>, call: &Call, name: &str) -> Answer {
    match call.method.as_str() {
        "GET" => log(daemon, call, name),
        "POST" => connect(daemon, call, name),
        "DELETE" => reset(daemon, call, name),
        _ => Err(Refusal::not_implemented()),
    }
}

fn reset(daemon: &Daemon, call: &Call, name: &str) -> Answer {
    let world = daemon.world();
    let instance = world.instance(call.project(), name)?;
    if !began(instance) {
        let text = format!("stat {}: no such file or directory", file(daemon, name));
        return Err(Refusal::new(404, text));
    }
    if instance.status == Status::Stopped {
        let path = format!("instances/{name}");
        let happening = LifecycleEvent::new("instance-console-reset", (call.project(), &path));
        lifecycle::tell(daemon, &happening);
    }
    Ok(Reply::empty())
}

fn file(daemon: &Daemon, name: &str) -> String {
    format!("/var/log/{}/{name}/console.log", daemon.profile.name)
}

/// Whether it ever ran: then there is a log.
fn began(instance: &Instance) -> bool {
    instance.config.contains_key("volatile.last_state.power")
}

fn log(daemon: &Daemon, call: &Call, name: &str) -> Answer {
    let world = daemon.world();
    let instance = world.instance(call.project(), name)?;
    let incus = daemon.profile.is_incus();
    let kept = began(instance) && instance.status == Status::Stopped;
    if !kept && !incus {
        // While it runs, what is said is kept elsewhere, and nothing was said.
        let file = if began(instance) {
            String::new()
        } else {
            file(daemon, name)
        };
        let text = format!("open {file}: no such file or directory");
        return Err(Refusal::new(500, text));
    }
    if kept {
        return Ok(Reply::Raw(Raw {
            headers: Vec::new(),
            body: Bytes::new(),
            filename: Some(file(daemon, name)),
        }));
    }
    Ok(Reply::Raw(Raw {
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: Bytes::new(),
        filename: None,
    }))
}

fn connect(daemon: &Arc<Daemon>, call: &Call, name: &str) -> Answer {
    let body = call.json()?;
    let key: Key = (call.project().to_owned(), name.to_owned());
    let holder = uuid();
    {
        let mut world = daemon.world();
        let instance = world.instance_mut(&key.0, name)?;
        match text(&body, "type") {
            "" | "console" => {}
            "vga" => {
                let text = "VGA console is only supported by virtual machines";
                return Err(Refusal::new(400, text));
            }
            other => {
                let text = format!("Unknown console type \"{other}\"");
                return Err(Refusal::new(400, text));
            }
        }
        if instance.status == Status::Stopped {
            return Err(Refusal::new(400, "Instance is not running"));
        }
        let force = flag(&body, "force");
        if instance.console.is_some() && daemon.profile.is_incus() && !force {
            let text = "This console is already connected. Force is required to take it over.";
            return Err(Refusal::new(500, text));
        }
        instance.console = Some(holder.clone());
    }
    let mut plug = Plug::new(&["0", "control"]);
    let about = resources(daemon, (&key.0, &[name]));
    let spec = Spec {
        class: "websocket",
        metadata: json!({"fds": plug.secrets()}),
        ..Spec::task("Showing console", &key.0, about)
    };
    let worker = daemon.clone();
    let sockets = daemon.world().sockets.clone();
    Ok(begin(daemon, (spec, call.fault), move |id| async move {
        sockets.add(&id, plug.take_ends());
        tokio::select! {
            () = attend(plug) => {}
            () = taken_over(&worker, (&key, &holder)) => {}
        }
        sockets.remove(&id);
        if let Ok(instance) = worker.world().instance_mut(&key.0, &key.1)
            && instance.console.as_ref() == Some(&holder)
        {
            instance.console = None;
        }
        Ok(Value::Null)
    }))
}

/// Holds the connections until the client closes one. What is typed is read by nobody.
async fn attend(mut plug: Plug) {
    let (Some(mut terminal), Some(mut control)) =
        (plug.socket("0").await, plug.socket("control").await)
    else {
        return;
    };
    loop {
        let more = tokio::select! {
            more = read(&mut terminal) => more,
            more = read(&mut control) => more,
        };
        if more.is_none() {
            break;
        }
    }
    // The other end may have gone.
    let _ = write(&mut terminal, Message::text("")).await;
}

/// Waits until the instance does not run any more, or its console is another's.
async fn taken_over(daemon: &Daemon, (key, holder): (&Key, &String)) {
    loop {
        let still = daemon
            .world()
            .instance(&key.0, &key.1)
            .is_ok_and(|instance| {
                instance.status != Status::Stopped && instance.console.as_ref() == Some(holder)
            });
        if !still {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}
