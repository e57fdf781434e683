//! The paths below `/1.0` that LXD (5.0 to 6) and Incus (6 to 7) serve, and the methods of each: the union over the
//! versions. Taken from the servers' own route tables and API definitions, and held against the answers of LXD 5.0.2
//! and Incus 6.0.4.

use Flavor::{Both, Incus, Lxd};

/// Who has a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavor {
    /// LXD and Incus.
    Both,
    /// LXD alone.
    Lxd,
    /// Incus alone.
    Incus,
}

/// A path, who has it, and its methods.
#[derive(Debug, Clone, Copy)]
pub(super) struct Endpoint {
    /// Segments below `/1.0`; `{name}` stands for one segment, `{name…}` at the end for one or more.
    pub(super) path: &'static str,
    pub(super) flavor: Flavor,
    methods: &'static str,
}

impl Endpoint {
    pub(super) fn segments(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.path.split('/').filter(|segment| !segment.is_empty())
    }

    /// How many segments there are.
    pub(super) fn length(&self) -> usize {
        match self.path {
            "" => 0,
            path => path.bytes().filter(|&byte| byte == b'/').count() + 1,
        }
    }

    pub(super) fn methods(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.methods.split(' ')
    }
}

const fn at(path: &'static str, flavor: Flavor, methods: &'static str) -> Endpoint {
    Endpoint {
        path,
        flavor,
        methods,
    }
}

/// One that can be read.
const READ: &str = "GET";
/// A collection whose members are made by POST.
const LIST: &str = "GET POST";
/// A member of a collection that has no other name than its first.
const EDIT: &str = "GET PUT PATCH DELETE";
/// A member of a collection; POST renames or moves it.
const ITEM: &str = "GET POST PUT PATCH DELETE";
/// A stored backup; POST renames it.
const BACKUP: &str = "GET POST DELETE";
/// Files by their path in the query.
const FILES: &str = "GET HEAD POST DELETE";

pub(super) const ENDPOINTS: &[Endpoint] = &[
    at("", Both, "GET PUT PATCH"),
    at("auth/groups", Lxd, LIST),
    at("auth/groups/{name}", Lxd, ITEM),
    at("auth/identities", Lxd, READ),
    at("auth/identities/bearer", Lxd, LIST),
    at("auth/identities/bearer/{name}", Lxd, EDIT),
    at("auth/identities/bearer/{name}/token", Lxd, "POST DELETE"),
    at("auth/identities/current", Lxd, READ),
    at("auth/identities/oidc", Lxd, READ),
    at("auth/identities/oidc/{name}", Lxd, EDIT),
    at("auth/identities/tls", Lxd, LIST),
    at("auth/identities/tls/{name}", Lxd, EDIT),
    at("auth/identity-provider-groups", Lxd, LIST),
    at("auth/identity-provider-groups/{name}", Lxd, ITEM),
    at("auth/oidc-sessions", Lxd, READ),
    at("auth/oidc-sessions/{id}", Lxd, "GET DELETE"),
    at("auth/permissions", Lxd, READ),
    at("certificates", Both, LIST),
    at("certificates/{fingerprint}", Both, EDIT),
    at("cluster", Both, "GET PUT"),
    at("cluster/certificate", Both, "PUT"),
    at("cluster/groups", Both, LIST),
    at("cluster/groups/{name}", Both, ITEM),
    at("cluster/links", Lxd, LIST),
    at("cluster/links/{name}", Lxd, ITEM),
    at("cluster/members", Both, LIST),
    at("cluster/members/{name}", Both, ITEM),
    at("cluster/members/{name}/state", Both, LIST),
    at("events", Both, READ),
    at("images", Both, LIST),
    at("images/aliases", Both, LIST),
    at("images/aliases/{name…}", Both, ITEM),
    at("images/{fingerprint}", Both, EDIT),
    at("images/{fingerprint}/export", Both, LIST),
    at("images/{fingerprint}/refresh", Both, "POST"),
    at("images/{fingerprint}/secret", Both, "POST"),
    at("instances", Both, "GET POST PUT"),
    at("instances/{name}", Both, ITEM),
    at("instances/{name}/access", Incus, READ),
    at("instances/{name}/backups", Both, LIST),
    at("instances/{name}/backups/{backup}", Both, BACKUP),
    at("instances/{name}/backups/{backup}/export", Both, READ),
    at("instances/{name}/bitmaps", Both, "POST"),
    at("instances/{name}/console", Both, BACKUP),
    at("instances/{name}/debug/memory", Incus, READ),
    at("instances/{name}/debug/repair", Incus, "POST"),
    at("instances/{name}/exec", Both, "POST"),
    at("instances/{name}/files", Both, FILES),
    at("instances/{name}/logs", Both, READ),
    at("instances/{name}/logs/{file}", Both, "GET DELETE"),
    at("instances/{name}/logs/exec-output", Both, READ),
    at(
        "instances/{name}/logs/exec-output/{file}",
        Both,
        "GET DELETE",
    ),
    at("instances/{name}/metadata", Both, "GET PUT PATCH"),
    at(
        "instances/{name}/metadata/templates",
        Both,
        "GET POST DELETE",
    ),
    at("instances/{name}/port-forward", Incus, "POST"),
    at("instances/{name}/rebuild", Both, "POST"),
    at("instances/{name}/sftp", Both, READ),
    at("instances/{name}/snapshots", Both, LIST),
    at("instances/{name}/snapshots/{snapshot}", Both, ITEM),
    at("instances/{name}/snapshots/{snapshot}/bitmaps", Lxd, READ),
    at(
        "instances/{name}/snapshots/{snapshot}/bitmaps/{bitmap}",
        Lxd,
        READ,
    ),
    at("instances/{name}/snapshots/{snapshot}/nbd", Lxd, READ),
    at("instances/{name}/state", Both, "GET PUT"),
    at("instances/{name}/uefi-vars", Lxd, "GET PUT"),
    at("metadata/configuration", Both, READ),
    at("metrics", Both, READ),
    at("network-acls", Both, LIST),
    at("network-acls/{name}", Both, ITEM),
    at("network-acls/{name}/log", Both, READ),
    at("network-address-sets", Incus, LIST),
    at("network-address-sets/{name}", Incus, ITEM),
    at("network-allocations", Both, READ),
    at("network-integrations", Incus, LIST),
    at("network-integrations/{name}", Incus, ITEM),
    at("network-zones", Both, LIST),
    at("network-zones/{zone}", Both, EDIT),
    at("network-zones/{zone}/records", Both, LIST),
    at("network-zones/{zone}/records/{name}", Both, EDIT),
    at("networks", Both, LIST),
    at("networks/{name}", Both, ITEM),
    at("networks/{name}/forwards", Both, LIST),
    at("networks/{name}/forwards/{address}", Both, EDIT),
    at("networks/{name}/leases", Both, READ),
    at("networks/{name}/load-balancers", Both, LIST),
    at("networks/{name}/load-balancers/{address}", Both, EDIT),
    at(
        "networks/{name}/load-balancers/{address}/state",
        Incus,
        READ,
    ),
    at("networks/{name}/peers", Both, LIST),
    at("networks/{name}/peers/{peer}", Both, EDIT),
    at("networks/{name}/state", Both, READ),
    at("operations", Both, READ),
    at("operations/{id}", Both, "GET DELETE"),
    at("operations/{id}/wait", Both, READ),
    at("operations/{id}/websocket", Both, READ),
    at("placement-groups", Lxd, LIST),
    at("placement-groups/{name}", Lxd, ITEM),
    at("profiles", Both, LIST),
    at("profiles/{name}", Both, ITEM),
    at("projects", Both, LIST),
    at("projects/{name}", Both, ITEM),
    at("projects/{name}/access", Incus, READ),
    at("projects/{name}/state", Both, READ),
    at("replicators", Lxd, LIST),
    at("replicators/{name}", Lxd, ITEM),
    at("replicators/{name}/state", Lxd, "GET PUT"),
    at("resources", Both, READ),
    at("storage-pools", Both, LIST),
    at("storage-pools/{pool}", Both, EDIT),
    at("storage-pools/{pool}/buckets", Both, LIST),
    at("storage-pools/{pool}/buckets/{bucket}", Both, EDIT),
    at("storage-pools/{pool}/buckets/{bucket}/backups", Incus, LIST),
    at(
        "storage-pools/{pool}/buckets/{bucket}/backups/{backup}",
        Incus,
        BACKUP,
    ),
    at(
        "storage-pools/{pool}/buckets/{bucket}/backups/{backup}/export",
        Incus,
        READ,
    ),
    at("storage-pools/{pool}/buckets/{bucket}/keys", Both, LIST),
    at(
        "storage-pools/{pool}/buckets/{bucket}/keys/{key}",
        Both,
        "GET PUT DELETE",
    ),
    at("storage-pools/{pool}/resources", Both, READ),
    at("storage-pools/{pool}/volumes", Both, LIST),
    at("storage-pools/{pool}/volumes/{type}", Both, LIST),
    at("storage-pools/{pool}/volumes/{type}/{volume}", Both, ITEM),
    at(
        "storage-pools/{pool}/volumes/{type}/{volume}/backups",
        Both,
        LIST,
    ),
    at(
        "storage-pools/{pool}/volumes/{type}/{volume}/backups/{backup}",
        Both,
        BACKUP,
    ),
    at(
        "storage-pools/{pool}/volumes/{type}/{volume}/backups/{backup}/export",
        Both,
        READ,
    ),
    at(
        "storage-pools/{pool}/volumes/{type}/{volume}/bitmaps",
        Both,
        LIST,
    ),
    at(
        "storage-pools/{pool}/volumes/{type}/{volume}/bitmaps/{bitmap}",
        Both,
        "GET DELETE",
    ),
    at(
        "storage-pools/{pool}/volumes/{type}/{volume}/files",
        Incus,
        FILES,
    ),
    at(
        "storage-pools/{pool}/volumes/{type}/{volume}/nbd",
        Both,
        LIST,
    ),
    at(
        "storage-pools/{pool}/volumes/{type}/{volume}/sftp",
        Incus,
        READ,
    ),
    at(
        "storage-pools/{pool}/volumes/{type}/{volume}/snapshots",
        Both,
        LIST,
    ),
    at(
        "storage-pools/{pool}/volumes/{type}/{volume}/snapshots/{snapshot}",
        Both,
        ITEM,
    ),
    at(
        "storage-pools/{pool}/volumes/{type}/{volume}/state",
        Both,
        READ,
    ),
    at("storage-volumes", Lxd, READ),
    at("storage-volumes/{type}", Lxd, READ),
    at("warnings", Both, READ),
    at("warnings/{id}", Both, EDIT),
];
