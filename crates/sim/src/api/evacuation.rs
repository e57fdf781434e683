//! `POST /1.0/cluster/members/<name>/state`: a member gives its instances away, and gets them back.

use std::sync::Arc;

use serde_json::{Value, json};

use super::states;
use crate::call::{Answer, Call, Refusal};
use crate::daemon::Daemon;
use crate::operations::{Spec, begin};
use crate::state::cluster::Standing;
use crate::state::instance::{Instance, Status};
use crate::state::{Key, World};

/// By this an instance is known again.
const ORIGIN: &str = "volatile.evacuate.origin";

pub(crate) fn answer(daemon: &Arc<Daemon>, call: &Call, member: &str) -> Answer {
    let body = call.json()?;
    let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default();
    let resources = daemon.profile.nothing();
    let (worker, member) = (daemon.clone(), member.to_owned());
    match text("action") {
        "evacuate" => {
            // The mode came with Incus.
            let stays = daemon.profile.is_incus() && text("mode") == "stop";
            let spec = Spec::task("Evacuating cluster member", "default", resources);
            Ok(begin(daemon, (spec, call.fault), |_| async move {
                let mode = if stays { Mode::Stop } else { Mode::Move };
                Ok(said(evacuate(&worker, &member, mode)?))
            }))
        }
        "restore" => {
            let spec = Spec::task("Restoring cluster member", "default", resources);
            Ok(begin(daemon, (spec, call.fault), |_| async move {
                Ok(said(restore(&worker, &member)?))
            }))
        }
        other => Err(Refusal::new(400, format!("Unknown action \"{other}\""))),
    }
}

/// What becomes of the instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Stop,
    Move,
}

/// # Errors
/// When it is as it should become already.
fn stand(world: &mut World, name: &str, standing: Standing) -> Result<(), Refusal> {
    let member = world.cluster.get_mut(name);
    let member = member.ok_or_else(|| Refusal::new(404, "Cluster member not found"))?;
    if member.standing == standing {
        let is = match standing {
            Standing::Online => "restored",
            Standing::Evacuated => "evacuated",
        };
        let text = format!("Cluster member is already {is}");
        return Err(Refusal::new(500, text));
    }
    member.standing = standing;
    Ok(())
}

/// What an operation says it has done last.
fn said(last: Option<String>) -> Value {
    last.map_or(Value::Null, |last| json!({"evacuation_progress": last}))
}

fn evacuate(daemon: &Daemon, member: &str, mode: Mode) -> Result<Option<String>, Refusal> {
    let mut world = daemon.world();
    let mut last = None;
    stand(&mut world, member, Standing::Evacuated)?;
    for key in world.on_member(member) {
        let instance = world.instance(&key.0, &key.1)?;
        let stays =
            mode == Mode::Stop || instance.config.get("cluster.evacuate") == Some(&json!("stop"));
        let to = refuge(&world, instance, member).filter(|_| !stays);
        if to.is_none() && !stays && daemon.profile.is_incus() {
            stand(&mut world, member, Standing::Online)?;
            let text =
                "Failed to evacuate instances: Couldn't find a cluster member for the instance";
            return Err(Refusal::new(500, text));
        }
        last = Some(carry(daemon, &mut world, (&key, member, to)));
    }
    Ok(last)
}

/// Where an instance goes: Incus keeps it in the group that it was chosen for.
fn refuge(world: &World, instance: &Instance, from: &str) -> Option<String> {
    let group = instance.config.get("volatile.cluster.group");
    let member = match group.and_then(Value::as_str) {
        Some(name) => {
            let group = world.cluster.groups.get(name)?;
            world.emptiest(Some(group), from)
        }
        None => world.emptiest(None, from),
    };
    member.map(|member| member.name.clone())
}

/// Stops an instance, and starts it where it goes; the last of that in words.
fn carry(
    daemon: &Daemon,
    world: &mut World,
    (key, from, to): (&Key, &str, Option<String>),
) -> String {
    let doing = |what: &str| format!("{what} \"{}\" in project \"{}\"", key.1, key.0);
    let place = (key.0.as_str(), key.1.as_str());
    let running = world.instance(place.0, place.1);
    let running = running.is_ok_and(|instance| instance.status != Status::Stopped);
    if running {
        states::stop(daemon, world, place);
    }
    let Ok(instance) = world.instance_mut(place.0, place.1) else {
        // It was ephemeral.
        return doing("Stopping");
    };
    let Some(to) = to else {
        if running {
            world.cluster.park(from, key.clone());
        }
        return doing("Stopping");
    };
    instance.location.clone_from(&to);
    instance.config.insert(ORIGIN.to_owned(), json!(from));
    instance.config.sort_keys();
    if !running {
        return format!("{} to \"{to}\"", doing("Migrating"));
    }
    states::start(daemon, world, place);
    doing("Starting")
}

fn restore(daemon: &Daemon, member: &str) -> Result<Option<String>, Refusal> {
    let mut world = daemon.world();
    let mut last = None;
    stand(&mut world, member, Standing::Online)?;
    let away = world.instances.iter().filter(|(_, instance)| {
        instance.config.get(ORIGIN).and_then(Value::as_str) == Some(member)
    });
    let away: Vec<Key> = away.map(|(key, _)| key.clone()).collect();
    for key in away {
        last = Some(carry(
            daemon,
            &mut world,
            (&key, member, Some(member.to_owned())),
        ));
        let instance = world.instance_mut(&key.0, &key.1)?;
        instance.config.remove(ORIGIN);
    }
    for key in world.cluster.unpark(member) {
        states::start(daemon, &mut world, (&key.0, &key.1));
    }
    Ok(last)
}
