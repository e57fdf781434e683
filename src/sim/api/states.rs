//! Starting and stopping instances, and what they say while they run.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::kinds::hwaddr;
use crate::sim::call::{Answer, Call, Refusal, Reply};
use crate::sim::daemon::Daemon;
use crate::sim::events::lifecycle;
use crate::sim::operations::{Failure, Spec, begin};
use crate::sim::state::instance::{Instance, Status};
use crate::sim::state::{World, url};

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
        let force = body.get("force").is_some_and(|force| force == true);
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
            let shown = if daemon.traits.is_incus() {
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
    let ended = if single && !daemon.traits.is_incus() {
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
    if call.fault != Some(crate::sim::fault::OperationFault::Fail) {
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
    let path = format!("/1.0/instances/{name}");
    lifecycle(daemon, action.event(), (project, &path));
    Ok(())
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
    let Ok(instance) = world.instance(project, name) else {
        return;
    };
    let (_, devices) = world.expanded(instance);
    let interfaces: Vec<(String, Vec<(String, u8)>)> = devices
        .iter()
        .filter(|(_, device)| device["type"] == "nic")
        .map(|(key, device)| {
            let interface = device["name"].as_str().unwrap_or(key).to_owned();
            (interface, lease(world, device).into_iter().collect())
        })
        .collect();
    let now = daemon.clock.text();
    let traits = daemon.traits;
    if let Ok(instance) = world.instance_mut(project, name) {
        instance.interfaces = interfaces.into_iter().collect();
        instance.status = Status::Running;
        instance.used.clone_from(&now);
        instance.started = now;
        instance.mark_started(traits);
    }
}

/// The next free address of the network that an interface is on.
fn lease(world: &World, device: &Value) -> Option<(String, u8)> {
    let network = device["network"].as_str().or(device["parent"].as_str())?;
    let (_, _, object) = world
        .collections
        .every("networks")
        .find(|(_, name, _)| name.as_str() == network)?;
    if object["config"]["ipv4.dhcp"] == "false" {
        return None;
    }
    if let Some(fixed) = device["ipv4.address"].as_str() {
        return Some((fixed.to_owned(), 24));
    }
    let (gateway, prefix) = object["config"]["ipv4.address"].as_str()?.split_once('/')?;
    let prefix: u8 = prefix
        .parse()
        .ok()
        .filter(|prefix| (1..=30).contains(prefix))?;
    let gateway: std::net::Ipv4Addr = gateway.parse().ok()?;
    let base = u32::from(gateway) & (u32::MAX << (32 - prefix));
    let taken: std::collections::BTreeSet<&str> = world
        .instances
        .values()
        .flat_map(|instance| instance.interfaces.values().flatten())
        .map(|(address, _)| address.as_str())
        .collect();
    let hosts = 1..(1_u32 << (32 - prefix)) - 1;
    // Low addresses are left to those who set their own.
    let all = hosts.clone().skip(99).chain(hosts.take(99));
    all.map(|host| std::net::Ipv4Addr::from(base + host))
        .filter(|address| *address != gateway)
        .map(|address| address.to_string())
        .find(|address| !taken.contains(address.as_str()))
        .map(|address| (address, prefix))
}

/// Makes an instance stop; one that is ephemeral is gone then.
pub(crate) fn stop(daemon: &Daemon, world: &mut World, (project, name): (&str, &str)) {
    let traits = daemon.traits;
    let Ok(instance) = world.instance_mut(project, name) else {
        return;
    };
    instance.status = Status::Stopped;
    instance.interfaces.clear();
    instance.served.clear();
    instance.mark_stopped(traits);
    if instance.ephemeral {
        world
            .instances
            .remove(&(project.to_owned(), name.to_owned()));
    }
}

/// `state` of an instance.
pub(crate) fn object(world: &World, instance: &Instance) -> Value {
    let running = instance.status != Status::Stopped;
    let incus = world.traits.is_incus();
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
        "memory": memory, "network": if running { network(instance) } else { Value::Null },
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

fn network(instance: &Instance) -> Value {
    let counters = json!({
        "bytes_received": 0, "bytes_sent": 0, "packets_received": 0, "packets_sent": 0,
        "errors_received": 0, "errors_sent": 0, "packets_dropped_outbound": 0,
        "packets_dropped_inbound": 0,
    });
    let mut all = Map::new();
    for (name, addresses) in &instance.interfaces {
        let addresses: Vec<Value> = addresses
            .iter()
            .map(|(address, prefix)| {
                let family = if address.contains(':') { "inet6" } else { "inet" };
                json!({"family": family, "address": address, "netmask": prefix.to_string(), "scope": "global"})
            })
            .collect();
        let described = json!({
            "addresses": addresses, "counters": counters, "hwaddr": hwaddr(&instance.name, name),
            "host_name": format!("veth{name}"), "mtu": 1500, "state": "up", "type": "broadcast",
        });
        all.insert(name.clone(), described);
    }
    let lo = json!({
        "addresses": [], "counters": counters, "hwaddr": "", "host_name": "", "mtu": 65536,
        "state": "down", "type": "loopback",
    });
    all.insert("lo".to_owned(), lo);
    Value::Object(all)
}
