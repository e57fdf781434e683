//! Starting and stopping instances, and what they say while they run.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::nics;
use crate::call::{Answer, Call, Refusal, Reply, flag};
use crate::daemon::Daemon;
use crate::lifecycle::{self, LifecycleEvent};
use crate::operations::{Failure, Spec, begin};
use crate::state::instance::{Instance, Status};
use crate::state::{World, url};

/// What can be done with the state of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Start,
    Stop,
    Restart,
    Freeze,
    Unfreeze,
}

impl Action {
    fn parse(name: &str) -> Result<Self, Refusal> {
        Ok(match name {
            "start" => Self::Start,
            "stop" => Self::Stop,
            "restart" => Self::Restart,
            "freeze" => Self::Freeze,
            "unfreeze" => Self::Unfreeze,
            other => return Err(Refusal::new(400, format!("Unknown action: '{other}'"))),
        })
    }

    fn description(self) -> &'static str {
        match self {
            Self::Start => "Starting instance",
            Self::Stop => "Stopping instance",
            Self::Restart => "Restarting instance",
            Self::Freeze => "Freezing instance",
            Self::Unfreeze => "Unfreezing instance",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Freeze => "freeze",
            Self::Unfreeze => "unfreeze",
        }
    }

    /// The past of it, as lifecycle events say it.
    fn event(self) -> &'static str {
        match self {
            Self::Start => "instance-started",
            Self::Stop => "instance-stopped",
            Self::Restart => "instance-restarted",
            Self::Freeze => "instance-paused",
            Self::Unfreeze => "instance-resumed",
        }
    }
}

/// # Errors
/// While an operation works on the instance.
pub(crate) fn idle(instance: &Instance) -> Result<(), Refusal> {
    match instance.busy {
        Some(word) => Err(Refusal::new(
            500,
            format!("Instance is busy running a \"{word}\" operation"),
        )),
        None => Ok(()),
    }
}

/// `/1.0/instances/<name>/state`.
pub(crate) fn answer(daemon: &Arc<Daemon>, call: &Call, name: &str) -> Answer {
    match call.method.as_str() {
        "GET" => {
            let world = daemon.world();
            let instance = world.instance(call.project(), name)?;
            Ok(Reply::Sync(object(&world, instance)))
        }
        "PUT" => {
            let body = call.json()?;
            let action = body.get("action").and_then(Value::as_str);
            daemon.world().instance(call.project(), name)?;
            let action = Action::parse(action.unwrap_or_default())?;
            Ok(change(
                daemon,
                call,
                (Order::new(action, &body), vec![name.to_owned()]),
            ))
        }
        _ => Err(Refusal::not_implemented()),
    }
}

/// `PUT /1.0/instances`: the same action on all of a project.
pub(crate) fn all(daemon: &Arc<Daemon>, call: &Call) -> Answer {
    let body = call.json()?;
    let state = body.get("state");
    let action = state.and_then(|state| state["action"].as_str());
    let action = Action::parse(action.unwrap_or_default())?;
    let world = daemon.world();
    let wanted = |instance: &&Instance| {
        instance.project == call.project()
            && match action {
                Action::Start => instance.status == Status::Stopped,
                Action::Unfreeze => instance.status == Status::Frozen,
                _ => instance.status == Status::Running,
            }
    };
    let names = world.instances.values().filter(wanted);
    let names = names.map(|instance| instance.name.clone()).collect();
    drop(world);
    let order = Order::new(action, state.and_then(Value::as_object).unwrap_or(&body));
    Ok(change(daemon, call, (order, names)))
}

/// An action with what goes with it.
#[derive(Clone, Copy, Debug)]
struct Order {
    action: Action,
    force: Force,
    /// How long an orderly stop may take.
    patience: Duration,
}

/// Whether an instance is asked to stop, or made to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Force {
    Orderly,
    AtOnce,
}

impl Order {
    fn new(action: Action, body: &Map<String, Value>) -> Self {
        let seconds = body.get("timeout").and_then(Value::as_u64).unwrap_or(600);
        let force = flag(body, "force");
        Self {
            action,
            force: if force { Force::AtOnce } else { Force::Orderly },
            patience: Duration::from_secs(seconds),
        }
    }

    /// Whether it may go before an operation that works on the instance already.
    fn overrides(self, busy: &str) -> bool {
        let stops = matches!(self.action, Action::Stop | Action::Restart);
        stops && self.force == Force::AtOnce && (busy == "stop" || busy == "restart")
    }
}

fn change(daemon: &Arc<Daemon>, call: &Call, (order, names): (Order, Vec<String>)) -> Reply {
    let action = order.action;
    let project = call.project().to_owned();
    let paths: Vec<String> = names
        .iter()
        .map(|name| {
            let shown = if daemon.profile.is_incus() {
                project.as_str()
            } else {
                "default"
            };
            url(&format!("instances/{name}"), shown)
        })
        .collect();
    let spec = Spec::task(action.description(), &project, json!({"instances": paths}));
    let worker = daemon.clone();
    // Whoever comes meanwhile is told that the instance is busy.
    let busy: Vec<String> = names
        .iter()
        .filter(|name| {
            let mut world = worker.world();
            let instance = world.instance_mut(&project, name);
            instance.is_ok_and(|instance| {
                let free = instance.busy.is_none_or(|busy| order.overrides(busy));
                if free && action != Action::Freeze && action != Action::Unfreeze {
                    instance.busy = Some(action.word());
                }
                !free
            })
        })
        .cloned()
        .collect();
    let body = call.json().unwrap_or_default();
    let single = body.contains_key("action") && action == Action::Start;
    // LXD leaves an empty mark of its progress.
    let ended = if single && !daemon.profile.is_incus() {
        json!({"container_progress": ""})
    } else {
        Value::Null
    };
    let reply = begin(daemon, (spec, call.fault), |_| async move {
        let mut outcome = Ok(ended);
        for name in &names {
            if busy.contains(name) {
                let world = worker.world();
                idle(world.instance(&project, name)?)?;
            }
            let done = carry_out(&worker, (order, &project, name));
            if let Err(refusal) = done.await {
                outcome = Err(Failure::from(refusal));
            }
        }
        outcome
    });
    release_when_ended(daemon, call, &reply);
    reply
}

/// An operation that never gets to its work must not keep the instance busy for ever.
fn release_when_ended(daemon: &Arc<Daemon>, call: &Call, reply: &Reply) {
    if call.fault != Some(crate::fault::OperationFault::Fail) {
        return;
    }
    let Reply::Async(operation) = reply else {
        return;
    };
    let paths = operation["resources"]["instances"].as_array();
    let mut world = daemon.world();
    for path in paths.into_iter().flatten().filter_map(Value::as_str) {
        let path = path.split('?').next().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        if let Ok(instance) = world.instance_mut(call.project(), name) {
            instance.busy = None;
        }
    }
}

async fn carry_out(
    daemon: &Arc<Daemon>,
    (order, project, name): (Order, &str, &str),
) -> Result<(), Refusal> {
    let action = order.action;
    let stopping = matches!(action, Action::Stop | Action::Restart);
    let processes = daemon.world().instance(project, name)?.processes.clone();
    if stopping && order.force == Force::Orderly && !listens(daemon, (project, name))? {
        return outlast(daemon, (order, project, name)).await;
    }
    if stopping && daemon.world().instance(project, name)?.status != Status::Stopped {
        processes.kill_all();
        processes.gone(Duration::from_secs(1)).await;
    }
    let mut world = daemon.world();
    let outcome = switch(daemon, &mut world, (action, project, name));
    if let Ok(instance) = world.instance_mut(project, name) {
        instance.busy = None;
    }
    drop(world);
    outcome?;
    let what = match (action, order.force) {
        (Action::Stop, Force::Orderly) => "instance-shutdown",
        _ => action.event(),
    };
    tell(daemon, what, (project, name));
    if stopping && daemon.world().instance(project, name).is_err() {
        tell(daemon, "instance-deleted", (project, name));
    }
    Ok(())
}

fn tell(daemon: &Daemon, what: &str, (project, name): (&str, &str)) {
    let path = format!("instances/{name}");
    lifecycle::tell(daemon, &LifecycleEvent::new(what, (project, &path)));
}

/// An instance that runs is frozen while it is copied.
pub(crate) fn tell_of_a_pause(daemon: &Daemon, instance: (&str, &str)) {
    tell(daemon, "instance-paused", instance);
    tell(daemon, "instance-resumed", instance);
}

/// Whether the instance's first process takes notice when it is asked to stop: a command put in the place of its
/// init does not.
fn listens(daemon: &Daemon, (project, name): (&str, &str)) -> Result<bool, Refusal> {
    let world = daemon.world();
    let instance = world.instance(project, name)?;
    let own_init = instance.config.get("raw.lxc").and_then(Value::as_str);
    let own_init = own_init.is_some_and(|raw| raw.contains("lxc.init.cmd"));
    Ok(instance.status == Status::Stopped || !own_init)
}

/// Waits for an instance that does not stop by itself; somebody may make it stop meanwhile.
async fn outlast(
    daemon: &Arc<Daemon>,
    (order, project, name): (Order, &str, &str),
) -> Result<(), Refusal> {
    const LOOK: Duration = Duration::from_millis(50);
    let mut waited = Duration::ZERO;
    while waited < order.patience {
        daemon.clock.sleep(LOOK).await;
        waited += LOOK;
        let world = daemon.world();
        let running = world.instance(project, name);
        if !running.is_ok_and(|instance| instance.status != Status::Stopped) {
            return Ok(());
        }
    }
    daemon.world().instance_mut(project, name)?.busy = None;
    Err(Refusal::new(
        500,
        "Failed shutting down instance, status is \"Running\": context deadline exceeded",
    ))
}

fn switch(
    daemon: &Daemon,
    world: &mut World,
    (action, project, name): (Action, &str, &str),
) -> Result<(), Refusal> {
    let status = world.instance(project, name)?.status;
    let refuse = |code: u16, text: &str| Err(Refusal::new(code, text));
    match (action, status) {
        (Action::Start, Status::Stopped) => start(daemon, world, (project, name)),
        (Action::Start, _) => return refuse(500, "The instance is already running"),
        (Action::Stop, Status::Stopped) => return refuse(400, "The instance is already stopped"),
        (Action::Stop, _) => stop(daemon, world, (project, name)),
        (Action::Restart, Status::Stopped) => return refuse(400, "The instance is not running"),
        (Action::Restart, _) => {
            stop(daemon, world, (project, name));
            start(daemon, world, (project, name));
        }
        (Action::Freeze, Status::Frozen) => {
            return refuse(500, "The container is already frozen");
        }
        (Action::Freeze, Status::Running) => {
            world.instance_mut(project, name)?.status = Status::Frozen;
        }
        (Action::Unfreeze, Status::Frozen) => {
            world.instance_mut(project, name)?.status = Status::Running;
        }
        (Action::Unfreeze, Status::Running) => {
            return refuse(500, "The container is already running");
        }
        (Action::Freeze | Action::Unfreeze, Status::Stopped) => {
            return refuse(500, "The instance is not running");
        }
    }
    Ok(())
}

/// Makes an instance run, with a leased address on each network it is on.
pub(crate) fn start(daemon: &Daemon, world: &mut World, (project, name): (&str, &str)) {
    nics::plug(world, (project, name));
    let now = daemon.clock.text();
    let profile = daemon.profile;
    if let Ok(instance) = world.instance_mut(project, name) {
        instance.status = Status::Running;
        instance.used.clone_from(&now);
        instance.started = now;
        instance.mark_started(profile);
    }
}

/// Makes an instance stop; one that is ephemeral is gone then.
pub(crate) fn stop(daemon: &Daemon, world: &mut World, (project, name): (&str, &str)) {
    let profile = daemon.profile;
    let Ok(instance) = world.instance_mut(project, name) else {
        return;
    };
    instance.status = Status::Stopped;
    nics::unplug(instance);
    instance.served.clear();
    instance.mark_stopped(profile);
    if instance.ephemeral {
        world
            .instances
            .remove(&(project.to_owned(), name.to_owned()));
    }
}

/// `state` of an instance.
pub(crate) fn object(world: &World, instance: &Instance) -> Value {
    let running = instance.status != Status::Stopped;
    let incus = world.profile.is_incus();
    let usage = if running { 589_824 } else { 0 };
    let mut memory = json!({"usage": usage, "usage_peak": usage});
    if incus {
        memory["total"] = json!(if running { 8_589_934_592_u64 } else { 0 });
    }
    memory["swap_usage"] = json!(0);
    memory["swap_usage_peak"] = json!(0);
    let mut cpu = json!({"usage": if running { 10_000_000 } else { 0 }});
    if incus {
        cpu["allocated_time"] = json!(if running { 1_000_000_000 } else { 0 });
    }
    let mut state = json!({
        "status": instance.status.text(), "status_code": instance.status.code(), "disk": {},
        "memory": memory, "network": if running { nics::object(world, instance) } else { Value::Null },
        "pid": if running { 1000 } else { 0 },
        "processes": if running { instance.processes.count() + 2 } else { 0 }, "cpu": cpu,
    });
    if incus {
        state["started_at"] = json!(if running {
            instance.started.as_str()
        } else {
            "0001-01-01T00:00:00Z"
        });
        state["os_info"] = Value::Null;
    }
    state
}
