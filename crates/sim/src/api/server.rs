//! The server itself.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::generic::change;
use crate::access::{Access, Peer};
use crate::call::{Answer, Call, Refusal, Reply, etag};
use crate::daemon::Daemon;
use crate::tls::fingerprint;

/// Answers for `/1.0`, its warnings and its resources.
pub(crate) fn answer(daemon: &Arc<Daemon>, call: &Call, path: &[&str]) -> Answer {
    match (call.method.as_str(), path) {
        ("GET", []) => Ok(root(daemon, call)),
        ("PUT" | "PATCH", []) => edit(daemon, call),
        (_, []) => Err(Refusal::not_implemented()),
        ("GET", ["resources"]) => Ok(Reply::Sync(resources())),
        ("GET", ["metadata", "configuration"]) if daemon.profile.is_incus() => {
            Ok(Reply::Sync(json!({"configs": {}})))
        }
        ("GET", ["warnings" | "network-integrations" | "network-allocations"]) => {
            Ok(Reply::Sync(json!([])))
        }
        _ => Err(Refusal::not_found()),
    }
}

fn root(daemon: &Daemon, call: &Call) -> Reply {
    let profile = daemon.profile;
    let extensions: Vec<&str> = profile.extensions.lines().collect();
    let config = match &call.access {
        Access::Everything => Value::Object(daemon.world().config.clone()),
        Access::Projects(_) | Access::Public => profile.nothing(),
    };
    let mut about = json!({
        "config": config, "api_extensions": extensions, "api_status": "stable", "api_version": "1.0",
        "auth": "trusted", "public": false, "auth_methods": ["tls"],
    });
    if call.access == Access::Public {
        about["auth"] = json!("untrusted");
        if let (false, Some(about)) = (profile.is_incus(), about.as_object_mut()) {
            about.shift_remove("config");
        }
        return Reply::Sync(about);
    }
    if profile.is_incus() {
        let (name, method) = match &call.peer {
            Peer::Remote(Some(der)) => (fingerprint(der), "tls"),
            _ => ("root".to_owned(), "unix"),
        };
        about["auth_user_name"] = json!(name);
        about["auth_user_method"] = json!(method);
    }
    about["environment"] = environment(daemon, call.project());
    let tag = etag(&about["config"]);
    Reply::Tagged(about, tag)
}

fn environment(daemon: &Daemon, project: &str) -> Value {
    let profile = daemon.profile;
    let architecture = std::env::consts::ARCH;
    let mut features: Map<String, Value> = Map::new();
    features.insert("idmapped_mounts".to_owned(), json!("true"));
    features.insert(profile.kernel_feature.to_owned(), json!("false"));
    let here = daemon.here();
    let clustered = here != "none";
    let name = if clustered { here.as_str() } else { "sim" };
    let addresses: Vec<&String> = daemon.address.iter().collect();
    json!({
        "addresses": addresses, "architectures": [architecture],
        "certificate": daemon.certificate.pem,
        "certificate_fingerprint": daemon.certificate.fingerprint,
        "driver": "lxc", "driver_version": "0.0.0", "firewall": "none", "kernel": "Linux",
        "kernel_architecture": architecture, "kernel_features": features, "kernel_version": "0.0.0",
        "lxc_features": {}, "os_name": "malleus sim", "os_version": env!("CARGO_PKG_VERSION"),
        "project": project, "server": profile.name, "server_clustered": clustered,
        "server_event_mode": "full-mesh", "server_name": name, "server_pid": std::process::id(),
        "server_version": profile.version, "storage": "dir", "storage_version": "1",
        "storage_supported_drivers": [{"Name": "dir", "Version": "1", "Remote": false}],
        // By this a client can tell; real daemons do not have it.
        "malleus_simulated": true,
    })
}

fn edit(daemon: &Daemon, call: &Call) -> Answer {
    let body = call.json()?;
    let mut world = daemon.world();
    call.match_etag(&etag(&Value::Object(world.config.clone())))?;
    let mut object = Map::new();
    object.insert("config".to_owned(), Value::Object(world.config.clone()));
    change(&mut object, (&["config"], &body), &call.method);
    if let Some(Value::Object(config)) = object.remove("config") {
        let known = |key: &str| {
            [
                "user.", "core.", "images.", "cluster.", "backups.", "storage.", "loki.",
                "network.", "oidc.",
            ]
            .iter()
            .any(|prefix| key.starts_with(prefix))
        };
        if let Some(key) = config.keys().find(|key| !known(key)) {
            return Err(Refusal::new(
                400,
                format!(
                    "cannot set '{key}' to '{}': unknown key",
                    config[key].as_str().unwrap_or_default()
                ),
            ));
        }
        world.config = config;
    }
    Ok(Reply::empty())
}

fn resources() -> Value {
    json!({
        "cpu": {"architecture": std::env::consts::ARCH, "sockets": [], "total": 1},
        "memory": {
            "nodes": [], "hugepages_total": 0, "hugepages_used": 0, "hugepages_size": 0,
            "used": 1_073_741_824_u64, "total": 8_589_934_592_u64,
        },
        "gpu": {"cards": [], "total": 0}, "network": {"cards": [], "total": 0},
        "storage": {"disks": [], "total": 0}, "usb": {"devices": [], "total": 0},
        "pci": {"devices": [], "total": 0},
        "system": {
            "uuid": "", "vendor": "malleus", "product": "sim", "family": "", "version": "", "sku": "",
            "serial": "", "type": "virtual-machine", "firmware": null, "chassis": null, "motherboard": null,
        },
    })
}
