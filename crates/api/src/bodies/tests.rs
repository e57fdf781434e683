//! Real bodies of both brands, and planted mistakes.

use std::path::Path;

use serde_json::{Value, json};

use super::definitions::{DEFINITIONS, Shape};
use super::*;
use crate::endpoints;

fn segments(path: &str) -> Vec<Segment<'_>> {
    path.split('?')
        .next()
        .unwrap()
        .split('/')
        .filter(|segment| !segment.is_empty() && *segment != "1.0")
        .map(|segment| match segment {
            "{}" => Segment::Anything,
            word => Segment::Literal(endpoints::alias(word).map_or(word, |(name, _)| name)),
        })
        .collect()
}

/// `PLACE PROBLEM` of each finding, with the nearest of what is known left to the reader.
fn found(schema: &Schema, body: &Value) -> Vec<String> {
    schema
        .check(body, Servers::ALL)
        .findings
        .iter()
        .map(|finding| {
            let place = finding.place.join(" > ");
            let problem = match &finding.problem {
                Problem::UnknownKey { .. } => "unknown key".to_owned(),
                Problem::ReadOnlyKey => "read-only".to_owned(),
                Problem::WrongType { expected, found } => format!("{found} for {expected}"),
                Problem::WrongValue { known } => format!("none of {}", known.join(", ")),
                Problem::UnknownConfigKey { of, elsewhere, .. } => {
                    let variant = of
                        .variant
                        .map_or(String::new(), |variant| format!("{variant} "));
                    let elsewhere = elsewhere.iter().map(|other| format!(", but of {other}"));
                    format!(
                        "no key of {variant}{}{}",
                        of.name,
                        elsewhere.collect::<String>()
                    )
                }
                Problem::UnknownDeviceKey { of, elsewhere, .. } => {
                    let elsewhere = elsewhere.iter().map(|other| format!(", but of {other}"));
                    let elsewhere = elsewhere.collect::<String>();
                    format!("no key of device {}{elsewhere}", of.unwrap_or("?"))
                }
            };
            format!("{place}: {problem}")
                .trim_start_matches(": ")
                .to_owned()
        })
        .collect()
}

fn found_in(request: &str, body: &Value) -> Vec<String> {
    let (method, path) = request.split_once(' ').unwrap();
    let schema = schema(method, &segments(path));
    assert!(schema.is_known(), "{request}");
    found(&schema, body)
}

#[test]
fn the_definitions_are_whole() {
    fn names(shape: &Shape, missing: &mut Vec<String>) {
        match shape {
            Shape::List(item) | Shape::Map(item) => names(item, missing),
            Shape::Type(name) if DEFINITIONS.type_named(name).is_none() => {
                missing.push((*name).to_owned());
            }
            Shape::Config(name) if DEFINITIONS.kind(name).is_none() => {
                missing.push((*name).to_owned());
            }
            _ => {}
        }
    }
    let mut missing = Vec::new();
    let mut count = 0;
    for kind in DEFINITIONS.types() {
        for field in kind.fields() {
            names(&field.shape, &mut missing);
            count += 1;
        }
    }
    assert!(count > 300, "{count}");
    missing.sort();
    missing.dedup();
    // These have keys of the user's own alone.
    assert_eq!(
        missing,
        [
            "cluster-link",
            "network-acl",
            "network-address-set",
            "network-peer",
            "network-zone-record"
        ]
    );
    let requests = DEFINITIONS.requests().flat_map(|request| {
        let methods = request.methods.split(',');
        methods.map(|method| (method, request.path))
    });
    for (method, path) in requests {
        let endpoint = endpoints::all()
            .iter()
            .find(|endpoint| endpoint.path == path);
        let takers = endpoint.map(|endpoint| endpoint.taking(method));
        assert!(
            takers.is_some_and(|servers| !servers.is_empty()),
            "{method} {path}"
        );
        assert!(
            DEFINITIONS.types_of(method, path).count() > 0,
            "{method} {path}"
        );
    }
}

#[test]
fn creating_and_changing_requests_have_a_schema() {
    for endpoint in endpoints::all() {
        let path: Vec<Segment<'_>> = endpoint.segments().map(Segment::Literal).collect();
        for method in ["POST", "PUT", "PATCH"] {
            // Raw content, uploads by other means, and requests without a body.
            let is_raw = ["files", "templates", "refresh", "secret", "{variable}"]
                .iter()
                .any(|last| endpoint.path.ends_with(last));
            if endpoint.taking(method).is_empty() || is_raw {
                continue;
            }
            assert!(
                schema(method, &path).is_known(),
                "{method} {}",
                endpoint.path
            );
        }
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table of bodies")]
fn bodies_of_both_brands_are_right() {
    for (request, body) in [
        (
            "POST instances",
            json!({
                "name": "web", "type": "container", "start": true, "ephemeral": false, "profiles": ["default"],
                "config": {
                    "limits.cpu": "2", "limits.memory": "1GiB", "boot.autostart": "TRUE", "user.any.thing": "x",
                    "environment.PATH": "/bin", "limits.kernel.nofile": "1024", "volatile.eth0.hwaddr": "00:16:3e:00:00:01",
                    "linux.sysctl.net.ipv4.ip_forward": "1", "image.os": "Debian", "security.nesting": "",
                    "raw.lxc": "lxc.aa_profile=x", "cloud-init.user-data": "#cloud-config", "smbios11.key": "x",
                    "security.syscalls.blacklist": "x", "limits.processes": null
                },
                "devices": {
                    "root": {"type": "disk", "path": "/", "pool": "default", "size": "1GiB", "initial.zfs.blocksize": "8KiB"},
                    "eth0": {"type": "nic", "nictype": "bridged", "parent": "br0", "vlan": "none"},
                    "eth1": {"type": "nic", "network": "lxdbr0", "security.acls": "web", "user.x": "y"},
                    "gpu": {"type": "gpu", "gputype": "mig", "mig.ci": "0"},
                    "http": {"type": "proxy", "listen": "tcp:127.0.0.1:80", "connect": "tcp:127.0.0.1:80", "mode": "0644"},
                    "off": {"type": "none"},
                    "gone": null
                },
                "source": {"type": "image", "mode": "pull", "server": "https://example.org", "protocol": "simplestreams", "alias": "debian/12"}
            }),
        ),
        (
            "POST instances",
            json!({"name": "copy", "source": {"type": "copy", "source": "web/snap0", "instance_only": true}}),
        ),
        (
            "POST instances/web/exec",
            json!({"command": ["true"], "record-output": true, "environment": {"A": "1"}, "user": 1000, "wait-for-websocket": false}),
        ),
        (
            "PUT instances/web/state",
            json!({"action": "stop", "timeout": 30, "force": true}),
        ),
        (
            "PUT instances",
            json!({"state": {"action": "start", "timeout": -1}}),
        ),
        (
            "POST instances/web",
            json!({"name": "web2", "Config": {"user.a": "1"}, "migration": true}),
        ),
        (
            "PATCH profiles/p",
            json!({"devices": {"root": {"path": "/", "type": "disk", "pool": "p"}}}),
        ),
        (
            "POST networks",
            json!({"name": "br0", "type": "bridge", "config": {"ipv4.address": "10.0.0.1/24", "tunnel.one.id": "10", "bgp.peers.a.b.asn": "1"}}),
        ),
        (
            "POST networks",
            json!({"name": "br0", "config": {"parent": "eth0", "network": "up"}}),
        ),
        (
            "POST storage-pools",
            json!({"name": "p", "driver": "dir", "config": {"source": "/x", "volume.size": "1GiB", "volume.snapshots.expiry": "1d"}}),
        ),
        (
            "POST storage-pools/p/volumes/custom",
            json!({"name": "v", "content_type": "filesystem", "config": {"size": "1GiB", "zfs.blocksize": "8KiB"}}),
        ),
        (
            "POST network-acls",
            json!({"name": "a", "egress": [{"action": "allow", "state": "enabled", "protocol": "tcp", "destination_port": "80,443"}]}),
        ),
        (
            "PATCH /1.0",
            json!({"config": {"core.https_address": ":8443", "user.ui.x": "1", "core.shutdown_timeout": "5"}}),
        ),
        (
            "POST images",
            json!({"source": {"type": "url", "url": "https://example.org"}, "aliases": [{"name": "x"}], "properties": {"any": "x"}}),
        ),
        (
            "PUT images/aliases/debian/12",
            json!({"target": "abc", "description": "x"}),
        ),
        (
            "POST auth/groups",
            json!({"name": "g", "permissions": [{"entity_type": "server", "url": "/1.0", "entitlement": "viewer"}]}),
        ),
        (
            "POST placement-groups",
            json!({"name": "g", "config": {"policy": "spread", "rigor": "strict"}}),
        ),
        (
            "POST network-zones/z/records",
            json!({"name": "www", "entries": [{"type": "A", "ttl": 60, "value": "192.0.2.1"}]}),
        ),
        // Nothing is known of null: what a template stands for.
        (
            "POST instances",
            json!({"name": null, "config": null, "devices": {"a": null}, "profiles": null, "ephemeral": null}),
        ),
        ("POST instances", Value::Null),
        (
            "POST storage-pools",
            json!({"driver": null, "config": {"zfs.pool_name": "x", "btrfs.mount_options": null}}),
        ),
        (
            "PATCH profiles/p",
            json!({"devices": {"d": {"type": null, "nictype": null, "listen": "x"}}}),
        ),
    ] {
        assert_eq!(
            found_in(request, &body),
            Vec::<String>::new(),
            "{request} {body}"
        );
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table of bodies")]
fn mistakes_are_found() {
    for (request, body, expected) in [
        (
            "POST instances",
            json!({"confg": {}, "name": 5, "ephemeral": "yes", "profiles": "default", "status": "Running"}),
            &[
                "confg: unknown key",
                "ephemeral: text for a boolean",
                "profiles: text for a list",
                "status: unknown key",
            ][..],
        ),
        (
            "POST instances",
            json!({"config": ["a"], "devices": {"a": "disk"}, "source": "debian", "type": "vm"}),
            &[
                "config: a list for a mapping",
                "devices > a: text for a mapping",
                "source: text for a mapping",
                "type: none of container, virtual-machine",
            ],
        ),
        (
            "POST instances",
            json!({"config": {"limit.cpu": "2", "limits.memory": {"a": 1}, "boot.autostart": "maybe", "limits.processes": "many"}}),
            &[
                "config > limit.cpu: no key of instance",
                "config > limits.memory: a mapping for text",
                "config > boot.autostart: none of true, false",
                "config > limits.processes: none of ",
            ],
        ),
        (
            "POST instances",
            json!({"devices": {
                "root": {"type": "disk", "paht": "/"},
                "eth0": {"type": "nic", "nictype": "macvlan", "ipv4.address": "10.0.0.2"},
                "gpu": {"type": "gpu", "listen": "x"},
                "x": {"type": "network", "name": "eth0"},
                "y": {"path": "/x", "nosuch": "1"},
                "z": {"type": "disk", "readonly": "sometimes", "source": ["/a"]}
            }}),
            &[
                "devices > root > paht: no key of device disk",
                "devices > eth0 > ipv4.address: no key of device nic-macvlan, but of nic-bridged, but of nic-ipvlan, but of \
                 nic-ovn, but of nic-routed",
                "devices > gpu > listen: no key of device ?, but of proxy",
                "devices > x > type: none of disk, gpu, infiniband, nic, none, pci, proxy, tpm, unix-block, unix-char, \
                 unix-hotplug, usb",
                "devices > y > nosuch: no key of device ?",
                "devices > z > readonly: none of true, false",
                "devices > z > source: a list for text",
            ],
        ),
        (
            "POST instances",
            json!({"source": {"type": "img", "alais": "x", "secrets": {"a": ["b"]}}}),
            &[
                "source > type: none of conversion, copy, image, migration, none",
                "source > alais: unknown key",
                "source > secrets > a: a list for text",
            ],
        ),
        (
            "PUT instances/web",
            json!({"name": "x", "status": "Running", "config": {}}),
            &["name: read-only", "status: read-only"],
        ),
        (
            "PUT instances/web/state",
            json!({"action": "poweroff", "timeout": "30", "force": 1}),
            &[
                "action: none of freeze, restart, start, stop, unfreeze",
                "timeout: text for an integer",
                "force: a number for a boolean",
            ],
        ),
        (
            "PUT instances/web/state",
            json!({"timeout": 1.5}),
            &["timeout: a number for an integer"],
        ),
        (
            "POST instances/web/exec",
            json!({"command": "true", "environment": ["A=1"], "user": "root"}),
            &[
                "command: text for a list",
                "environment: a list for a mapping",
                "user: text for an integer",
            ],
        ),
        (
            "POST storage-pools",
            json!({"name": "p", "driver": "dir", "config": {"zfs.pool_name": "x", "volume.zfs.blocksize": "8KiB", "volume.nosuch": "1"}}),
            &[
                "config > zfs.pool_name: no key of dir storage-pool, but of zfs",
                "config > volume.zfs.blocksize: no key of dir storage-pool, but of zfs",
                "config > volume.nosuch: no key of dir storage-pool",
            ],
        ),
        (
            "POST storage-pools",
            json!({"name": "p", "driver": "directory", "config": {"zfs.pool_name": "x"}}),
            &[
                "driver: none of alletra, btrfs, ceph, cephfs, cephobject, dir, linstor, lvm, lvmcluster, powerflex, \
               powerstore, pure, truenas, zfs",
            ],
        ),
        (
            "POST networks",
            json!({"name": "n", "type": "macvlan", "config": {"ipv4.address": "auto", "ipv4.adress": "auto"}}),
            &[
                "config > ipv4.address: no key of macvlan network, but of bridge, but of ovn",
                "config > ipv4.adress: no key of macvlan network",
            ],
        ),
        (
            "POST network-acls",
            json!({"name": "a", "config": {"x": "1"}, "ingress": {"action": "allow"}, "egress": [{"action": "permit", "port": "80"}]}),
            &[
                "config > x: no key of network-acl",
                "ingress: a mapping for a list",
                "egress > 0 > action: none of allow, allow-stateless, drop, reject",
                "egress > 0 > port: unknown key",
            ],
        ),
        ("POST projects", json!("x"), &["text for a mapping"]),
    ] {
        assert_eq!(found_in(request, &body), expected, "{request} {body}");
    }
}

#[test]
fn what_a_resource_may_have_is_of_its_creation_and_its_change() {
    let schema = schema_of_resource(&segments("instances/web"));
    let body = json!({
        "name": "web", "source": {"type": "none"}, "config": {}, "restore": "snap0", "status": "Running", "nosuch": 1
    });
    assert_eq!(
        found(&schema, &body),
        ["status: read-only", "nosuch: unknown key"]
    );
    let schema = schema_of_resource(&segments("storage-pools/p/volumes/custom/v"));
    let body = json!({"content_type": "block", "config": {"size": "1GiB"}, "confg": {}});
    assert_eq!(found(&schema, &body), ["confg: unknown key"]);
}

#[test]
fn a_path_that_can_be_several_endpoints_takes_what_any_takes() {
    let body = json!({"name": "x", "target": "fingerprint"});
    assert_eq!(
        found_in("POST images/{}", &body),
        Vec::<String>::new(),
        "images/aliases"
    );
    let schema = schema("POST", &segments("instances/{}/{}"));
    assert_eq!(
        found(&schema, &json!({"command": ["true"], "nosuch": 1})),
        ["nosuch: unknown key"]
    );
}

#[test]
fn places_of_text() {
    let schema = schema("POST", &segments("instances"));
    for place in [
        &["name"][..],
        &["type"],
        &["config", "limits.cpu"],
        &["config", "user.x"],
        &["devices", "root", "size"],
        &["profiles", "0"],
        &["source", "alias"],
        &["source", "secrets", "x"],
    ] {
        assert!(schema.is_text(place), "{place:?}");
    }
    for place in [
        &["ephemeral"][..],
        &["start"],
        &["config"],
        &["devices"],
        &["devices", "root"],
        &["profiles"],
        &["source"],
        &["source", "live"],
        &["nosuch"],
        &[],
    ] {
        assert!(!schema.is_text(place), "{place:?}");
    }
}

#[test]
fn numbers_and_booleans_become_text_where_the_api_has_text() {
    let mut body = json!({
        "name": 7, "ephemeral": true, "profiles": [1, "default"],
        "config": {"limits.cpu": 2, "security.nesting": true, "user.x": null},
        "devices": {"root": {"size": 1, "readonly": false}},
        "source": {"alias": 24.04, "live": false}, "nosuch": 1
    });
    Schema::of_request("POST", "/1.0/containers?project=p").write_text(&mut body);
    assert_eq!(
        body,
        json!({
            "name": "7", "ephemeral": true, "profiles": ["1", "default"],
            "config": {"limits.cpu": "2", "security.nesting": "true", "user.x": null},
            "devices": {"root": {"size": "1", "readonly": "false"}},
            "source": {"alias": "24.04", "live": false}, "nosuch": 1
        })
    );
    let mut body = json!({"timeout": 30, "force": true, "action": "stop"});
    Schema::of_request("PUT", "instances/web/state").write_text(&mut body);
    assert_eq!(
        body,
        json!({"timeout": 30, "force": true, "action": "stop"})
    );
    let mut body = json!({"config": {"user.x": 1}});
    Schema::of_resource("networks/br0").write_text(&mut body);
    assert_eq!(body, json!({"config": {"user.x": "1"}}));
}

#[test]
fn bodies_say_which_servers_know_them() {
    for (request, body, servers) in [
        ("POST instances", json!({"name": "x"}), "LXD, Incus"),
        (
            "POST instances",
            json!({"start": true}),
            "LXD 5.21 and newer, Incus",
        ),
        (
            "POST instances",
            json!({"config": {"security.guestapi": "true"}}),
            "Incus",
        ),
        (
            "POST instances",
            json!({"start": true, "config": {"oci.cwd": "/"}}),
            "Incus 7.0 and newer",
        ),
        (
            "POST profiles",
            json!({"devices": {"d": {"type": "usb", "attached": "true"}}}),
            "Incus 7.0 and newer",
        ),
        (
            "POST storage-pools",
            json!({"driver": "truenas", "config": {"truenas.host": "x"}}),
            "Incus 7.0 and newer",
        ),
        (
            "POST instances",
            json!({"config": {"security.devlxd": "true", "security.guestapi": "true"}}),
            "",
        ),
    ] {
        let (method, path) = request.split_once(' ').unwrap();
        let report = schema(method, &segments(path)).check(&body, Servers::ALL);
        assert_eq!(report.servers.to_string(), servers, "{body}");
    }
}

#[test]
fn one_generation_is_judged_by_itself() {
    let body = json!({"start": true, "config": {"limits.cpu.nodes": "0", "limits.cpu": "2"}});
    let schema = schema("POST", &segments("instances"));
    let places = |servers| {
        let report = schema.check(&body, servers);
        report
            .findings
            .into_iter()
            .map(|finding| finding.place.join(" "))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        places(Servers::at(Servers::LXD, "5.0.2")),
        ["start", "config limits.cpu.nodes"]
    );
    assert_eq!(
        places(Servers::at(Servers::LXD, "5.21")),
        Vec::<String>::new()
    );
}

/// The requests that are sent to real servers, most of which are right. `MALLEUS_BLESS=1` writes the list of the others.
#[test]
fn only_what_is_wrong_on_purpose_is_found_in_the_exchanges() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut lines = Vec::new();
    let mut count = 0;
    for list in ["exchanges", "cluster", "https"] {
        let text = std::fs::read_to_string(root.join("../../tests/fidelity").join(list)).unwrap();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let line = line.strip_prefix("ONCE ").unwrap_or(line);
            let mut words = line.splitn(3, ' ');
            let (method, path) = (words.next().unwrap(), words.next().unwrap_or_default());
            let body = words
                .next()
                .and_then(|rest| rest.find('{').map(|at| &rest[at..]));
            let Some(Ok(body)) = body.map(serde_json::from_str::<Value>) else {
                continue;
            };
            count += 1;
            let path = segments(path);
            for finding in found(&schema(method, &path), &body) {
                lines.push(format!("{line}\n    {finding}"));
            }
        }
    }
    assert!(count > 250, "{count}");
    let expected = root.join("src/bodies/wrong-on-purpose");
    let seen = lines.join("\n") + "\n";
    if std::env::var_os("MALLEUS_BLESS").is_some_and(|bless| bless == "1") {
        std::fs::write(&expected, &seen).unwrap();
    }
    let expected = std::fs::read_to_string(expected).unwrap_or_default();
    assert!(seen == expected, "see what differs:\n{seen}");
}
