//! The resources that the API creates: one table.

use percent_encoding::percent_decode_str;

/// How the request that creates a resource names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// By this key of its body.
    Key(&'static str),
    /// By the fingerprint of what is sent.
    Image,
    /// By the fingerprint of the certificate in its body.
    Certificate,
    /// Not at all: what comes back is a token, known by its operation.
    Token,
}

/// When resources are removed: lower waves first, everything in one wave side by side. What may use another resource
/// goes before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wave {
    /// What belongs to another resource: snapshots, backups, aliases, keys, records.
    Parts,
    /// Instances, which use everything else.
    Instances,
    /// Profiles, which use networks, volumes and pools.
    Profiles,
    /// Images, volumes, buckets.
    Stores,
    /// Networks, which use ACLs and zones.
    Networks,
    /// What networks and volumes are made from.
    Ground,
    /// Projects, once nothing is in them.
    Projects,
}

/// A kind of resource.
#[derive(Debug)]
pub(super) struct Kind {
    /// What people call it.
    pub(super) label: &'static str,
    /// Its path below `/1.0/`; `{}` stands for one segment.
    path: &'static str,
    pub(super) naming: Naming,
    pub(super) wave: Wave,
}

const fn kind(label: &'static str, path: &'static str, naming: Naming, wave: Wave) -> Kind {
    Kind {
        label,
        path,
        naming,
        wave,
    }
}

const NAME: Naming = Naming::Key("name");
const ADDRESS: Naming = Naming::Key("listen_address");

/// What a daemon recorded of a command's output: two files that are removed as one.
pub(super) const RECORDED_OUTPUT: &str = "recorded output";

const KINDS: &[Kind] = &[
    kind("instance", "instances/{}", NAME, Wave::Instances),
    // Servers up to LXD 6.6 know instances by these names too.
    kind("instance", "containers/{}", NAME, Wave::Instances),
    kind("instance", "virtual-machines/{}", NAME, Wave::Instances),
    kind("snapshot", "instances/{}/snapshots/{}", NAME, Wave::Parts),
    kind("backup", "instances/{}/backups/{}", NAME, Wave::Parts),
    kind("image alias", "images/aliases/{}", NAME, Wave::Parts),
    kind("image", "images/{}", Naming::Image, Wave::Stores),
    kind("profile", "profiles/{}", NAME, Wave::Profiles),
    kind("project", "projects/{}", NAME, Wave::Projects),
    kind("network", "networks/{}", NAME, Wave::Networks),
    kind("forward", "networks/{}/forwards/{}", ADDRESS, Wave::Parts),
    kind(
        "load balancer",
        "networks/{}/load-balancers/{}",
        ADDRESS,
        Wave::Parts,
    ),
    kind("peer", "networks/{}/peers/{}", NAME, Wave::Parts),
    kind("network ACL", "network-acls/{}", NAME, Wave::Ground),
    kind("network zone", "network-zones/{}", NAME, Wave::Ground),
    kind("record", "network-zones/{}/records/{}", NAME, Wave::Parts),
    kind(
        "address set",
        "network-address-sets/{}",
        NAME,
        Wave::Projects,
    ),
    kind(
        "network integration",
        "network-integrations/{}",
        NAME,
        Wave::Projects,
    ),
    kind(
        "custom volume",
        "storage-pools/{}/volumes/custom/{}",
        NAME,
        Wave::Stores,
    ),
    kind(
        "snapshot",
        "storage-pools/{}/volumes/{}/{}/snapshots/{}",
        NAME,
        Wave::Parts,
    ),
    kind(
        "backup",
        "storage-pools/{}/volumes/{}/{}/backups/{}",
        NAME,
        Wave::Parts,
    ),
    kind("bucket", "storage-pools/{}/buckets/{}", NAME, Wave::Stores),
    kind(
        "bucket key",
        "storage-pools/{}/buckets/{}/keys/{}",
        NAME,
        Wave::Parts,
    ),
    kind(
        "backup",
        "storage-pools/{}/buckets/{}/backups/{}",
        NAME,
        Wave::Parts,
    ),
    kind("storage pool", "storage-pools/{}", NAME, Wave::Ground),
    kind(
        "certificate",
        "certificates/{}",
        Naming::Certificate,
        Wave::Projects,
    ),
    kind("cluster group", "cluster/groups/{}", NAME, Wave::Ground),
    kind("placement group", "placement-groups/{}", NAME, Wave::Ground),
    kind(
        "join token",
        "cluster/members/{}",
        Naming::Token,
        Wave::Parts,
    ),
    kind("token", "operations/{}", Naming::Token, Wave::Parts),
    kind(
        RECORDED_OUTPUT,
        "instances/{}/logs/exec-output/{}",
        Naming::Token,
        Wave::Parts,
    ),
    kind("group", "auth/groups/{}", NAME, Wave::Ground),
    kind("identity", "auth/identities/{}/{}", NAME, Wave::Parts),
    kind(
        "identity provider group",
        "auth/identity-provider-groups/{}",
        NAME,
        Wave::Parts,
    ),
];

impl Kind {
    /// The kind of a resource by its path, and the names in it.
    pub(super) fn of(path: &str) -> Option<(&'static Self, Vec<String>)> {
        // `images/aliases` is no image.
        if Self::in_collection(path).is_some() {
            return None;
        }
        KINDS
            .iter()
            .find_map(|kind| Some((kind, captures(kind.path, below(path))?)))
    }

    /// The kind that a collection holds.
    pub(super) fn in_collection(path: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| {
            kind.path
                .strip_suffix("/{}")
                .is_some_and(|collection| captures(collection, below(path)).is_some())
        })
    }
}

/// A path without `/1.0/`.
fn below(path: &str) -> &str {
    path.strip_prefix("/1.0/").unwrap_or(path)
}

/// The segments that stand at the places of `{}`, decoded.
fn captures(pattern: &str, path: &str) -> Option<Vec<String>> {
    let mut found = Vec::new();
    let mut segments = path.split('/');
    for wanted in pattern.split('/') {
        let segment = segments.next()?;
        if wanted == "{}" && !segment.is_empty() {
            found.push(percent_decode_str(segment).decode_utf8_lossy().into_owned());
        } else if wanted != segment {
            return None;
        }
    }
    segments.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_by_path() {
        for (path, expected) in [
            ("/1.0/instances/web", Some("instance")),
            ("/1.0/instances/web/snapshots/s%2F0", Some("snapshot")),
            ("/1.0/instances/web/state", None),
            ("/1.0/instances", None),
            ("/1.0/images/aliases/busybox", Some("image alias")),
            ("/1.0/images/aliases", None),
            ("/1.0/images/0abc", Some("image")),
            (
                "/1.0/storage-pools/default/volumes/custom/v",
                Some("custom volume"),
            ),
            (
                "/1.0/storage-pools/default/volumes/custom/v/snapshots/s",
                Some("snapshot"),
            ),
            ("/1.0/storage-pools/default", Some("storage pool")),
            ("/1.0/storage-pools/", None),
        ] {
            let found = Kind::of(path).map(|(kind, _)| kind.label);
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn collections() {
        for (path, expected) in [
            ("/1.0/instances", Some("instance")),
            ("/1.0/images", Some("image")),
            ("/1.0/images/aliases", Some("image alias")),
            ("/1.0/networks/br0/forwards", Some("forward")),
            ("/1.0/storage-pools/p/volumes/custom", Some("custom volume")),
            ("/1.0/instances/web/exec", None),
            ("/1.0/instances/web", None),
        ] {
            let found = Kind::in_collection(path).map(|kind| kind.label);
            assert_eq!(found, expected, "{path}");
        }
    }
}
