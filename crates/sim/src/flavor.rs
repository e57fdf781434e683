use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

/// Which product a simulated daemon plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Flavor {
    /// Incus 6.0.
    #[default]
    Incus,
    /// LXD 5.0.
    Lxd,
}

/// Where an error of an operation's own comes from when the wait for it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// `/wait` answers with an error envelope.
    AsError,
    /// `/wait` answers with the operation.
    AsOperation,
}

/// What differs between the two, in the one place where it stands. Taken from the answers of LXD 5.0.2 and Incus 6.0.4.
#[derive(Debug)]
pub(super) struct FlavorProfile {
    pub(super) flavor: Flavor,
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) version: &'static str,
    /// `api_extensions`, one a line.
    pub(super) extensions: &'static str,
    pub(super) kernel_feature: &'static str,
    /// What file and image headers begin with, in lower case.
    pub(super) header: &'static str,
    pub(super) failed: Failed,
    /// The folder of recorded output below an instance.
    pub(super) exec_logs: &'static str,
    /// The zero of an image's `expires_at`.
    pub(super) no_expiry: &'static str,
    /// Texts for names that are taken, in operations that create instances and snapshots.
    pub(super) instance_taken: &'static str,
    pub(super) snapshot_taken: &'static str,
    pub(super) project_taken: (u16, &'static str),
    pub(super) network_taken: (u16, &'static str),
    pub(super) record_taken: &'static str,
    pub(super) project_not_empty: &'static str,
    /// What is said of a tarball that is no backup.
    pub(super) no_index: &'static str,
    pub(super) rename_running: &'static str,
    /// The word for a snapshot that is not there.
    pub(super) snapshot_kind: &'static str,
    pub(super) unpack: &'static str,
    /// How the word is spelled.
    pub(super) initializing: &'static str,
    /// Features that a new project has, and that `default` has beside them.
    pub(super) features: &'static [&'static str],
    pub(super) default_features: &'static [&'static str],
    /// The feature that gives a project network zones of its own.
    pub(super) zones_feature: &'static str,
    /// The mode of a folder that was made without one.
    pub(super) folder_mode: u32,
    /// What a restricted certificate is told where it asks for a list or one thing of a project that is not its own, or for
    /// what is the server's; `{}` is the project.
    pub(super) restricted_list: (u16, &'static str),
    pub(super) restricted_one: (u16, &'static str),
    pub(super) restricted_server: (u16, &'static str),
    /// The field of `POST certificates` that takes a token.
    pub(super) token_field: &'static str,
    /// The status where a certificate is to get another type.
    pub(super) certificate_type_kept: u16,
    /// Texts for a member of a cluster that is not there, where an instance is made and where one is moved; `{}` is its name.
    pub(super) no_target: &'static str,
    pub(super) no_move_target: &'static str,
    /// The same where there is no cluster.
    pub(super) moved_alone: (u16, &'static str),
    pub(super) no_group: &'static str,
    pub(super) no_group_to_delete: (u16, &'static str),
    pub(super) group_taken: &'static str,
    pub(super) group_of_nobody: &'static str,
    /// What keeps a member in its cluster.
    pub(super) instances_word: &'static str,
    /// The first half of hardware addresses that it makes up.
    pub(super) hwaddr: &'static str,
}

impl FlavorProfile {
    /// Whether it is Incus: for the few places where the behaviour itself differs.
    pub(super) fn is_incus(&self) -> bool {
        self.flavor == Flavor::Incus
    }

    /// `resources` of an operation that is about none, and other maps without an entry.
    pub(super) fn nothing(&self) -> Value {
        if self.is_incus() {
            json!({})
        } else {
            Value::Null
        }
    }
}

const INCUS: FlavorProfile = FlavorProfile {
    flavor: Flavor::Incus,
    name: "incus",
    title: "Incus",
    version: "6.0.4",
    extensions: include_str!("flavor/extensions.incus"),
    kernel_feature: "unpriv_binfmt",
    header: "x-incus-",
    failed: Failed::AsError,
    exec_logs: "logs/exec-output",
    no_expiry: "0001-01-01T00:00:00Z",
    instance_taken: "Failed to create \"instances\" entry: UNIQUE constraint failed: instances.project_id, instances.name",
    snapshot_taken: "Failed to create \"instances_snapshots\" entry: UNIQUE constraint failed: instances_snapshots.instance_id, instances_snapshots.name",
    project_taken: (
        500,
        "Failed creating project \"{}\": Failed adding database record: Failed to create \"projects\" entry: UNIQUE constraint failed: projects.name",
    ),
    network_taken: (409, "Network \"{}\" already exists"),
    record_taken: "UNIQUE constraint failed: networks_zones_records.network_zone_id, networks_zones_records.name",
    project_not_empty: "Only empty projects can be removed.",
    no_index: "Backup is missing at \"backup/index.yaml\"",
    rename_running: "Renaming of running instance not allowed",
    snapshot_kind: "Instance_snapshot",
    unpack: "Unpacking image",
    initializing: "initializing",
    features: &[
        "features.images",
        "features.profiles",
        "features.storage.buckets",
        "features.storage.volumes",
    ],
    default_features: &["features.networks", "features.networks.zones"],
    zones_feature: "networks.zones",
    folder_mode: 0o755,
    restricted_list: (500, "User does not have permissions for project \"{}\""),
    restricted_one: (403, "User does not have permission for project \"{}\""),
    restricted_server: (403, "Certificate is restricted"),
    token_field: "trust_token",
    certificate_type_kept: 400,
    no_target: "Cluster member \"{}\" not found",
    no_move_target: "Cluster member \"{}\" not found",
    moved_alone: (400, "Target only allowed when clustered"),
    no_group: "Cluster_group not found",
    no_group_to_delete: (404, "Cluster_group not found"),
    group_taken: "Failed to create \"cluster_groups\" entry: UNIQUE constraint failed: cluster_groups.name",
    group_of_nobody: "Failed to create \"nodes_clusters_groups\" entry: NOT NULL constraint failed: nodes_cluster_groups.node_id",
    instances_word: "instances",
    hwaddr: "10:66:6a",
};

const LXD: FlavorProfile = FlavorProfile {
    flavor: Flavor::Lxd,
    name: "lxd",
    title: "LXD",
    version: "5.0.2",
    extensions: include_str!("flavor/extensions.lxd"),
    kernel_feature: "shiftfs",
    header: "x-lxd-",
    failed: Failed::AsOperation,
    exec_logs: "logs",
    no_expiry: "1970-01-01T00:00:00Z",
    instance_taken: "This \"instances\" entry already exists",
    snapshot_taken: "This \"instances_snapshots\" entry already exists",
    project_taken: (
        409,
        "Failed creating project \"{}\": Failed adding database record: This \"projects\" entry already exists",
    ),
    network_taken: (400, "The network already exists"),
    record_taken: "UNIQUE constraint failed: networks_zones_records.name",
    project_not_empty: "Only empty projects can be removed",
    no_index: "Backup is missing index.yaml",
    rename_running: "Renaming of running container not allowed",
    snapshot_kind: "InstanceSnapshot",
    unpack: "Unpack",
    initializing: "initialising",
    features: &[
        "features.images",
        "features.profiles",
        "features.storage.volumes",
    ],
    default_features: &["features.networks"],
    zones_feature: "networks",
    folder_mode: 0o750,
    restricted_list: (403, "not authorized"),
    restricted_one: (403, "not authorized"),
    restricted_server: (403, "not authorized"),
    token_field: "password",
    certificate_type_kept: 403,
    no_target: "Cluster member not found",
    no_move_target: "Failed to get target node: Cluster member not found",
    moved_alone: (404, "Failed to get target node: Cluster member not found"),
    no_group: "Cluster group not found",
    no_group_to_delete: (500, "Query deleted 0 rows instead of 1"),
    group_taken: "This cluster group already exists",
    group_of_nobody: "Insert nodes for cluster group: NOT NULL constraint failed: nodes_cluster_groups.node_id",
    instances_word: "containers",
    hwaddr: "00:16:3e",
};

impl Flavor {
    pub(super) fn profile(self) -> &'static FlavorProfile {
        match self {
            Self::Incus => &INCUS,
            Self::Lxd => &LXD,
        }
    }
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.profile().name)
    }
}

impl FromStr for Flavor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "incus" => Ok(Self::Incus),
            "lxd" => Ok(Self::Lxd),
            other => Err(format!("`{other}` is no flavor: use incus or lxd")),
        }
    }
}
