//! Which part answers which path.

use std::sync::Arc;

use serde_json::json;

use super::access::{self, Access};
use super::api::{
    backups, certificates, console, exec, files, generic, images, instances, kinds, logs, members,
    moving, pending, placement, server, sftp, snapshots, states,
};
use super::call::{Answer, Call, Refusal, Reply};
use super::daemon::Daemon;
use super::{events, lifecycle, operations};

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Carries out a request.
pub(super) async fn answer(daemon: &Arc<Daemon>, call: Call) -> Answer {
    let happening = lifecycle::of(daemon, &call);
    let answer = carry_out(daemon, call).await;
    match (happening, &answer) {
        (Some(happening), Ok(reply)) => lifecycle::follow(daemon, reply, happening),
        (Some(happening), Err(refusal)) if lifecycle::is_told_all_the_same(&happening, refusal) => {
            lifecycle::tell(daemon, &happening);
        }
        _ => {}
    }
    answer
}

async fn carry_out(daemon: &Arc<Daemon>, mut call: Call) -> Answer {
    let path = std::mem::take(&mut call.path);
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    if !METHODS.contains(&call.method.as_str()) {
        let text = format!("Method \"{}\" not found", call.method);
        return Err(Refusal::new(404, text));
    }
    call.access = Access::of(&daemon.world(), &call.peer);
    match path.as_slice() {
        [""] => Ok(Reply::Sync(json!(["/1.0"]))),
        ["internal", ..] if call.access == Access::Public => {
            Err(Refusal::new(403, "not authorized"))
        }
        ["internal", "ready"] => Ok(Reply::empty()),
        // Neither a slash at the end nor two in the middle.
        ["1.0", below @ ..] if below.contains(&"") => Err(Refusal::not_found()),
        ["1.0", below @ ..] => {
            access::check(daemon, &call, below)?;
            let way = placement::direct(daemon, &call, below)?;
            call.location.clone_from(&way.location);
            let reply = below_api(daemon, call, below).await?;
            Ok(placement::settle(daemon, (&way, below), reply))
        }
        _ => Err(Refusal::not_found()),
    }
}

async fn below_api(daemon: &Arc<Daemon>, call: Call, path: &[&str]) -> Answer {
    let method = call.method.clone();
    match (method.as_str(), path) {
        ("GET", ["events"]) => events::listen(daemon, call),
        ("GET", ["operations"]) => Ok(operations::list(daemon, &call)),
        ("GET", ["operations", id]) => operations::show(daemon, id),
        ("DELETE", ["operations", id]) => operations::cancel(daemon, id),
        ("GET", ["operations", id, "wait"]) => operations::wait(daemon, id, &call).await,
        ("GET", ["operations", id, "websocket"]) => exec::connect(daemon, id, call),
        (_, ["operations", ..]) => Err(Refusal::not_implemented()),
        (_, ["instances"]) => instances::collection(daemon, &call),
        ("POST", ["instances", name]) if moving::is_move(&call) => {
            moving::answer(daemon, &call, name)
        }
        (_, ["instances", name]) => instances::one(daemon, &call, name),
        ("GET", ["instances", name, "sftp"]) => sftp::answer(daemon, call, name),
        (_, ["instances", name, rest @ ..]) => below_instance(daemon, &call, (name, rest)),
        (_, ["images"]) => images::collection(daemon, &call),
        (_, ["images", "aliases", rest @ ..]) => {
            images::alias_seen(daemon, &call, rest)?;
            generic::answer(daemon, &call, (&kinds::ALIASES, "", rest))
        }
        (_, ["images", fingerprint]) => images::one(daemon, &call, fingerprint),
        ("GET", ["images", fingerprint, "export"]) => images::export(daemon, &call, fingerprint),
        ("POST", ["images", fingerprint, "secret"]) => images::secret(daemon, &call, fingerprint),
        (_, ["storage-pools", pool, rest @ ..]) if !rest.is_empty() => {
            let reply = kinds::below_pool(daemon, &call, (pool, rest))?;
            placement::note_volume(daemon, &call, (pool, rest));
            Ok(reply)
        }
        (_, ["cluster", rest @ ..]) => members::answer(daemon, &call, rest),
        ("POST", ["certificates"]) => certificates::add(daemon, &call),
        (_, ["certificates", beginning]) => certificates::one(daemon, &call, beginning),
        ("POST", ["projects", name]) => kinds::rename_project(daemon, &call, name),
        (_, ["networks", name, rest @ ..]) if !rest.is_empty() => {
            kinds::below_network(daemon, &call, (name, rest))
        }
        (_, ["network-zones", zone, "records", rest @ ..]) => {
            kinds::records(daemon, &call, (zone, rest))
        }
        ("POST", [kind @ ("storage-pools" | "networks")]) if is_cluster(daemon) => {
            pending::create(daemon, &call, kind)
        }
        (_, [kind, rest @ ..]) if kinds::by_path(kind).is_some() => {
            if let [name] = rest
                && let Some(answer) = pending::before(daemon, &call, (kind, name))
            {
                return answer;
            }
            let kind = kinds::by_path(kind).ok_or_else(Refusal::not_found)?;
            let reply = generic::answer(daemon, &call, (kind, "", rest))?;
            pending::after(daemon, &call, path);
            Ok(access::hide_secrets(daemon, &call, path, reply))
        }
        _ => server::answer(daemon, &call, path),
    }
}

fn is_cluster(daemon: &Daemon) -> bool {
    !daemon.world().cluster.is_alone()
}

fn below_instance(daemon: &Arc<Daemon>, call: &Call, (name, rest): (&str, &[&str])) -> Answer {
    if name.contains('/') {
        return Err(Refusal::new(400, "Invalid instance name"));
    }
    match rest {
        ["state"] => states::answer(daemon, call, name),
        ["exec"] => exec::begin(daemon, call, name),
        ["files"] => files::answer(daemon, call, name),
        ["snapshots", rest @ ..] => snapshots::answer(daemon, call, (name, rest)),
        ["backups", rest @ ..] => backups::answer(daemon, call, (name, rest)),
        ["logs", rest @ ..] => logs::answer(daemon, call, (name, rest)),
        ["console"] => console::answer(daemon, call, name),
        ["metadata"] => instances::metadata(daemon, call, name),
        ["metadata", "templates"] => Ok(Reply::Sync(json!([]))),
        _ => Err(Refusal::not_found()),
    }
}
