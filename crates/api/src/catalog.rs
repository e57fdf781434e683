//! The kinds of resources that the API makes, one row each.

use serde_json::Value;

use crate::path::ApiPath;

/// How the request that makes a resource names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// By this key of its body.
    Key(&'static str),
    /// By the fingerprint of what is sent.
    Image,
    /// By the fingerprint of the certificate in its body.
    Certificate,
    /// Not at all: the reply is a token, known by its operation.
    Token,
}

/// When resources are removed: lower waves first, everything in one wave side by side. A resource that may use another
/// one is in an earlier wave.
///
/// | wave | kinds | why here |
/// | --- | --- | --- |
/// | `Parts` | snapshots, backups, aliases, keys, records, forwards | they belong to another resource and may keep it |
/// | `Instances` | instances | they use everything below |
/// | `Profiles` | profiles | they use networks, volumes and pools |
/// | `Stores` | images, volumes, buckets | they use pools |
/// | `Networks` | networks | they use ACLs and zones |
/// | `Ground` | ACLs, zones, pools, groups | networks, volumes and members were made from them |
/// | `Projects` | projects, certificates | a project must be empty, and a certificate may be restricted to it |
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wave {
    /// What belongs to another resource.
    Parts,
    /// Instances.
    Instances,
    /// Profiles.
    Profiles,
    /// Images, volumes, buckets.
    Stores,
    /// Networks.
    Networks,
    /// What networks and volumes are made from.
    Ground,
    /// Projects, once nothing is in them.
    Projects,
}

/// Where a resource can carry marks of its maker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marking {
    /// In keys `user.*` of this object of its body.
    Keys(&'static str),
    /// Nowhere, but the server itself removes it at `expires_at`.
    Expiry,
    /// Nowhere.
    Nowhere,
}

/// What tells one making of a resource from the next one under the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// A key of `config`. `created_at` of an instance changes when it moves to another pool.
    ConfigKey(&'static str),
    /// A time in this field, where it is one: some servers give the zero time.
    Time(&'static str),
    /// The name itself is derived from what was sent.
    Name,
    /// Nothing.
    None,
}

/// How a resource is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// PATCH changes what is named, though it resets some of the keys that are left out.
    Patch,
    /// PUT replaces the whole.
    Put,
}

/// Whether the server compares `If-Match` of a change with the `ETag` of a GET.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Etag {
    /// It does.
    Compared,
    /// The change has another one than GET gives, or none.
    Unusable,
}

/// A kind of resource.
#[derive(Debug)]
pub struct Kind {
    /// What people call it.
    pub label: &'static str,
    /// Its path below `/1.0/`; `{}` stands for one segment.
    pub path: &'static str,
    /// How the request that makes one names it.
    pub naming: Naming,
    /// When it is removed.
    pub wave: Wave,
    /// Where it carries marks.
    pub marking: Marking,
    /// What tells one from another of the same name.
    pub identity: Identity,
    /// How it is changed.
    pub change: Change,
    /// Whether a change can say which state it is based on.
    pub etag: Etag,
    /// Features of a project that make its members the project's own; those of the default project otherwise. The first
    /// one that the project knows counts.
    pub features: &'static [&'static str],
    /// How much a write to it disturbs, from little to much.
    pub write_cost: u8,
}

const BASE: Kind = Kind {
    label: "resource",
    path: "",
    naming: Naming::Key("name"),
    wave: Wave::Parts,
    marking: Marking::Nowhere,
    identity: Identity::None,
    change: Change::Patch,
    etag: Etag::Compared,
    features: &[],
    write_cost: 8,
};

const CONFIG: Marking = Marking::Keys("config");
const CREATED: Identity = Identity::Time("created_at");
const ADDRESS: Naming = Naming::Key("listen_address");
/// No PATCH, or one that does not mean "only this".
const WHOLE: Change = Change::Put;

const KINDS: &[Kind] = &[
    Kind {
        label: "instance",
        path: "instances/{}",
        wave: Wave::Instances,
        marking: CONFIG,
        identity: Identity::ConfigKey("volatile.uuid"),
        write_cost: 2,
        ..BASE
    },
    Kind {
        label: "snapshot",
        path: "instances/{}/snapshots/{}",
        marking: Marking::Expiry,
        identity: CREATED,
        ..BASE
    },
    Kind {
        label: "backup",
        path: "instances/{}/backups/{}",
        marking: Marking::Expiry,
        identity: CREATED,
        ..BASE
    },
    // A PATCH of an alias never ends on LXD 5.0.
    Kind {
        label: "image alias",
        path: "images/aliases/{}",
        change: WHOLE,
        ..BASE
    },
    Kind {
        label: "image",
        path: "images/{}",
        naming: Naming::Image,
        wave: Wave::Stores,
        marking: Marking::Keys("properties"),
        identity: Identity::Time("uploaded_at"),
        features: &["features.images"],
        write_cost: 3,
        ..BASE
    },
    // All instances with the profile are updated.
    Kind {
        label: "profile",
        path: "profiles/{}",
        wave: Wave::Profiles,
        marking: CONFIG,
        features: &["features.profiles"],
        write_cost: 7,
        ..BASE
    },
    // Nothing follows from a project's config, and it is there as long as its contents are.
    Kind {
        label: "project",
        path: "projects/{}",
        wave: Wave::Projects,
        marking: CONFIG,
        write_cost: 0,
        ..BASE
    },
    // A write sets the bridge up anew.
    Kind {
        label: "network",
        path: "networks/{}",
        wave: Wave::Networks,
        marking: CONFIG,
        features: &["features.networks"],
        write_cost: 8,
        ..BASE
    },
    Kind {
        label: "forward",
        path: "networks/{}/forwards/{}",
        naming: ADDRESS,
        ..BASE
    },
    Kind {
        label: "load balancer",
        path: "networks/{}/load-balancers/{}",
        naming: ADDRESS,
        ..BASE
    },
    // LXD 6.8 and newer; it takes GET, PUT and DELETE.
    Kind {
        label: "load balancer pool",
        path: "networks/{}/load-balancer-pools/{}",
        change: WHOLE,
        ..BASE
    },
    Kind {
        label: "peer",
        path: "networks/{}/peers/{}",
        ..BASE
    },
    Kind {
        label: "network ACL",
        path: "network-acls/{}",
        wave: Wave::Ground,
        marking: CONFIG,
        features: &["features.networks"],
        write_cost: 6,
        ..BASE
    },
    // Servers without the second feature go by the first one.
    Kind {
        label: "network zone",
        path: "network-zones/{}",
        wave: Wave::Ground,
        marking: CONFIG,
        features: &["features.networks.zones", "features.networks"],
        write_cost: 4,
        ..BASE
    },
    // PATCH merges the zone's config into the record's and replaces its entries, except on LXD 6.
    Kind {
        label: "record",
        path: "network-zones/{}/records/{}",
        change: WHOLE,
        ..BASE
    },
    // PATCH replaces the addresses by what is sent, also by nothing.
    Kind {
        label: "address set",
        path: "network-address-sets/{}",
        wave: Wave::Projects,
        change: WHOLE,
        ..BASE
    },
    Kind {
        label: "network integration",
        path: "network-integrations/{}",
        wave: Wave::Projects,
        ..BASE
    },
    Kind {
        label: "custom volume",
        path: "storage-pools/{}/volumes/custom/{}",
        wave: Wave::Stores,
        marking: CONFIG,
        identity: CREATED,
        features: &["features.storage.volumes"],
        write_cost: 1,
        ..BASE
    },
    Kind {
        label: "snapshot",
        path: "storage-pools/{}/volumes/{}/{}/snapshots/{}",
        marking: Marking::Expiry,
        identity: CREATED,
        ..BASE
    },
    Kind {
        label: "backup",
        path: "storage-pools/{}/volumes/{}/{}/backups/{}",
        marking: Marking::Expiry,
        identity: CREATED,
        ..BASE
    },
    // Incus 7.
    Kind {
        label: "bitmap",
        path: "storage-pools/{}/volumes/{}/{}/bitmaps/{}",
        ..BASE
    },
    Kind {
        label: "bucket",
        path: "storage-pools/{}/buckets/{}",
        wave: Wave::Stores,
        marking: CONFIG,
        identity: CREATED,
        features: &["features.storage.buckets"],
        write_cost: 1,
        ..BASE
    },
    Kind {
        label: "bucket key",
        path: "storage-pools/{}/buckets/{}/keys/{}",
        change: WHOLE,
        ..BASE
    },
    Kind {
        label: "backup",
        path: "storage-pools/{}/buckets/{}/backups/{}",
        marking: Marking::Expiry,
        identity: CREATED,
        ..BASE
    },
    Kind {
        label: "storage pool",
        path: "storage-pools/{}",
        wave: Wave::Ground,
        marking: CONFIG,
        write_cost: 5,
        ..BASE
    },
    Kind {
        label: "certificate",
        path: "certificates/{}",
        naming: Naming::Certificate,
        wave: Wave::Projects,
        identity: Identity::Name,
        ..BASE
    },
    // PATCH compares `If-Match` with another ETag than GET gives; PUT with none.
    Kind {
        label: "cluster group",
        path: "cluster/groups/{}",
        wave: Wave::Ground,
        change: WHOLE,
        etag: Etag::Unusable,
        ..BASE
    },
    Kind {
        label: "cluster link",
        path: "cluster/links/{}",
        wave: Wave::Projects,
        ..BASE
    },
    Kind {
        label: "replicator",
        path: "replicators/{}",
        ..BASE
    },
    Kind {
        label: "placement group",
        path: "placement-groups/{}",
        wave: Wave::Ground,
        ..BASE
    },
    Kind {
        label: "join token",
        path: "cluster/members/{}",
        naming: Naming::Token,
        identity: Identity::Name,
        ..BASE
    },
    Kind {
        label: "token",
        path: "operations/{}",
        naming: Naming::Token,
        identity: Identity::Name,
        ..BASE
    },
    Kind {
        label: "recorded output",
        path: "instances/{}/logs/exec-output/{}",
        naming: Naming::Token,
        identity: Identity::Name,
        ..BASE
    },
    // PATCH keeps only the permissions that are new.
    Kind {
        label: "group",
        path: "auth/groups/{}",
        wave: Wave::Ground,
        change: WHOLE,
        ..BASE
    },
    // PATCH takes an empty list of groups for one that was left out.
    Kind {
        label: "identity",
        path: "auth/identities/{}/{}",
        change: WHOLE,
        ..BASE
    },
    // PATCH only adds groups.
    Kind {
        label: "identity provider group",
        path: "auth/identity-provider-groups/{}",
        change: WHOLE,
        ..BASE
    },
];

impl Kind {
    /// All kinds.
    pub fn all() -> &'static [Self] {
        KINDS
    }

    /// The kind of a resource by its path.
    pub fn of(path: &ApiPath) -> Option<&'static Self> {
        // `images/aliases` is no image.
        if Self::in_collection(path).is_some() {
            return None;
        }
        let fits = |kind: &&Self| matches(kind.path, path.segments());
        KINDS.iter().find(fits)
    }

    /// The kind that a collection holds.
    pub fn in_collection(path: &ApiPath) -> Option<&'static Self> {
        KINDS.iter().find(|kind| {
            let collection = kind.path.strip_suffix("/{}");
            collection.is_some_and(|collection| matches(collection, path.segments()))
        })
    }

    /// The key of a body that names what a POST to the collection makes, where one does.
    pub fn name_key(&self) -> Option<&'static str> {
        match self.naming {
            Naming::Key(key) => Some(key),
            Naming::Image | Naming::Certificate | Naming::Token => None,
        }
    }

    /// The field that names a member in a listing of its collection.
    pub fn listed_by(&self) -> &'static str {
        match self.naming {
            Naming::Key(key) => key,
            Naming::Image | Naming::Certificate => "fingerprint",
            Naming::Token => "id",
        }
    }

    /// The object of its body that carries marks.
    pub fn marked_in(&self) -> Option<&'static str> {
        match self.marking {
            Marking::Keys(object) => Some(object),
            Marking::Expiry | Marking::Nowhere => None,
        }
    }

    /// What tells this making of the resource from another one under the same name, as the server shows it.
    pub fn identity_of(&self, live: &Value) -> Option<String> {
        let text = match self.identity {
            Identity::ConfigKey(key) => live["config"][key].as_str()?,
            // The zero time of Go stands for none.
            Identity::Time(field) => live[field]
                .as_str()
                .filter(|time| !time.starts_with("0001-"))?,
            Identity::Name | Identity::None => return None,
        };
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// Whether nothing tells two of the same name apart, neither an identity nor marks.
    pub fn is_interchangeable(&self) -> bool {
        self.identity == Identity::None && self.marked_in().is_none()
    }

    /// Whether what belongs to it (below its path) goes with it.
    pub fn takes_parts_along(&self) -> bool {
        matches!(self.wave, Wave::Instances | Wave::Stores)
    }

    /// Whether the members of a collection are the project's own, by the config of the project.
    pub fn is_own_in(&self, config: &Value) -> bool {
        self.features.is_empty()
            || self
                .features
                .iter()
                .any(|feature| config[*feature] == "true")
    }
}

/// Keys that a PATCH resets where it leaves them out, for one kind or another. `config` is among them: projects replace
/// all of it, others merge it, and the handler of network ACLs ends the connection at a PATCH without it.
pub(crate) const KEPT_BY_PATCH: &[&str] = &["description", "config", "ingress", "egress", "target"];

/// Keys of a GET's reply that the server keeps by itself: a PUT of the whole leaves them out.
pub(crate) const SERVER_OWNED: &[&str] = &[
    "name",
    "used_by",
    "status",
    "locations",
    "managed",
    "type",
    "created_at",
    "fingerprint",
    "identities",
    "identity_provider_groups",
    "access_entitlements",
    "project",
    "location",
];

/// Whether segments are those of a pattern, `{}` standing for any.
fn matches(pattern: &str, segments: &[String]) -> bool {
    let mut segments = segments.iter();
    pattern.split('/').all(|wanted| {
        segments
            .next()
            .is_some_and(|segment| wanted == "{}" || wanted == segment)
    }) && segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoints;
    use serde_json::json;

    fn path(target: &str) -> ApiPath {
        ApiPath::parse(target).expect("a path of the API")
    }

    #[test]
    fn kinds_by_path() {
        for (target, expected) in [
            ("instances/web", Some("instance")),
            ("containers/web", Some("instance")),
            ("virtual-machines/web", Some("instance")),
            ("containers/web/snapshots/s%2F0", Some("snapshot")),
            ("instances/web/state", None),
            ("instances", None),
            ("images/aliases/busybox", Some("image alias")),
            ("images/aliases", None),
            ("images/0abc", Some("image")),
            ("storage-pools/p/volumes/custom/v", Some("custom volume")),
            (
                "storage-pools/p/volumes/custom/v/snapshots/s",
                Some("snapshot"),
            ),
            ("storage-pools/p", Some("storage pool")),
            ("storage-pools/", None),
        ] {
            let found = Kind::of(&path(target)).map(|kind| kind.label);
            assert_eq!(found, expected, "{target}");
        }
    }

    #[test]
    fn collections() {
        for (target, expected) in [
            ("instances", Some("instance")),
            ("containers", Some("instance")),
            ("images", Some("image")),
            ("images/aliases", Some("image alias")),
            ("networks/br0/forwards", Some("forward")),
            ("storage-pools/p/volumes/custom", Some("custom volume")),
            ("instances/web/exec", None),
            ("instances/web", None),
        ] {
            let found = Kind::in_collection(&path(target)).map(|kind| kind.label);
            assert_eq!(found, expected, "{target}");
        }
    }

    #[test]
    fn every_kind_is_an_endpoint_that_can_be_deleted() {
        for kind in Kind::all().iter().filter(|kind| kind.label != "join token") {
            // The words in the place of names, where the API has words there.
            let target = kind.path.replace("identities/{}", "identities/tls");
            let target = target.replace("{}", "x");
            let endpoint = endpoints::lookup(&target);
            let endpoint = endpoint.unwrap_or_else(|| panic!("{target} is no endpoint"));
            let methods: Vec<&str> = endpoint.methods().collect();
            assert!(methods.contains(&"DELETE"), "{target}: {methods:?}");
        }
    }

    #[test]
    fn the_zero_time_is_no_identity() {
        let volume = Kind::of(&path("storage-pools/p/volumes/custom/v")).expect("a kind");
        for (live, expected) in [
            (
                json!({"created_at": "2026-11-29T03:00:00Z"}),
                Some("2026-11-29T03:00:00Z"),
            ),
            (json!({"created_at": "0001-01-01T00:00:00Z"}), None),
            (json!({}), None),
        ] {
            assert_eq!(volume.identity_of(&live).as_deref(), expected, "{live}");
        }
        let instance = Kind::of(&path("instances/web")).expect("a kind");
        let live = json!({"created_at": "2026-11-29T03:00:00Z", "config": {"volatile.uuid": "7f"}});
        assert_eq!(instance.identity_of(&live).as_deref(), Some("7f"));
    }
}
