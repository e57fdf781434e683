//! `POST /1.0/instances/<name>?target=<member>`: an instance goes to another member.

use std::sync::Arc;

use serde_json::Value;

use super::{instances, valid};
use crate::call::{Answer, Call, Refusal, flag};
use crate::daemon::Daemon;
use crate::lifecycle::{self, LifecycleEvent};
use crate::operations::{Failure, Spec, begin};
use crate::state::Key;
use crate::state::instance::Status;

/// Whether a request is for a move to another member.
pub(crate) fn is_move(call: &Call) -> bool {
    let target = call
        .query("target")
        .is_some_and(|target| !target.is_empty());
    let body = call.json().ok();
    let migrates = body.is_some_and(|body| flag(&body, "migration"));
    target && migrates
}

pub(crate) fn answer(daemon: &Arc<Daemon>, call: &Call, name: &str) -> Answer {
    let profile = daemon.profile;
    let body = call.json()?;
    let to = body.get("name").and_then(Value::as_str);
    let to = to.filter(|to| !to.is_empty()).unwrap_or(name).to_owned();
    let target = call.query("target").unwrap_or_default().to_owned();
    let key: Key = (call.project().to_owned(), name.to_owned());
    {
        let world = daemon.world();
        let instance = world.instance(&key.0, name)?;
        if world.cluster.get(&target).is_none() {
            let text = profile.no_move_target.replace("{}", &target);
            return Err(Refusal::new(404, text));
        }
        valid::instance_name(&to)?;
        if profile.is_incus() && instance.location == target {
            let text = "Requested target server is the same as current server";
            return Err(Refusal::new(400, text));
        }
        if profile.is_incus() && instance.status != Status::Stopped {
            let text = "Instance must be stopped to be moved statelessly";
            return Err(Refusal::new(400, text));
        }
    }
    let resources = instances::resources(daemon, (&key.0, &[&key.1]));
    let spec = Spec::task("Migrating instance", &key.0, resources);
    let worker = daemon.clone();
    Ok(begin(daemon, (spec, call.fault), |_| async move {
        carry_out(&worker, (key, to), target)
    }))
}

fn carry_out(daemon: &Daemon, (key, to): (Key, String), target: String) -> Result<Value, Failure> {
    let mut world = daemon.world();
    let instance = world.instance(&key.0, &key.1)?;
    let failed = |text: String| Failure::from(Refusal::new(500, text));
    if instance.location == target {
        let text = "Target must be different than instance's current location";
        return Err(failed(text.to_owned()));
    }
    if instance.status != Status::Stopped {
        let name = &key.1;
        let text = format!(
            "Failed stopping instance \"{name}\": Unable to perform container live migration. CRIU isn't installed"
        );
        return Err(failed(text));
    }
    if to != key.1 && world.instance(&key.0, &to).is_ok() {
        return Err(failed(format!("Name \"{to}\" already in use")));
    }
    // The other member begins with the image that it was made from.
    let of_image = instance.config.contains_key("volatile.base_image");
    if let Some(mut instance) = world.instances.remove(&key) {
        instance.location = target;
        instance.name.clone_from(&to);
        if !daemon.profile.is_incus() {
            // There it is a new one, that has never run.
            "1970-01-01T00:00:00Z".clone_into(&mut instance.used);
        }
        world
            .instances
            .insert((key.0.clone(), to.clone()), instance);
    }
    drop(world);
    let path = format!("instances/{to}");
    lifecycle::tell(
        daemon,
        &LifecycleEvent::new("instance-migrated", (&key.0, &path)),
    );
    Ok(if of_image {
        instances::unpacked(daemon.profile)
    } else {
        Value::Null
    })
}
