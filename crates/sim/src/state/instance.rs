//! Instances with all that belongs to them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::World;
use super::tree::{SharedTree, Tree};
use crate::call::uuid;
use crate::exec::process::Processes;
use crate::flavor::FlavorProfile;

/// The map of identities that an unprivileged container has.
const IDMAP: &str = r#"[{"Isuid":true,"Isgid":false,"Hostid":100000,"Nsid":0,"Maprange":10000001},{"Isuid":false,"Isgid":true,"Hostid":100000,"Nsid":0,"Maprange":10000001}]"#;

/// Whether it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Stopped,
    Running,
    Frozen,
}

impl Status {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Stopped => "Stopped",
            Self::Running => "Running",
            Self::Frozen => "Frozen",
        }
    }

    pub(crate) fn code(self) -> u16 {
        match self {
            Self::Stopped => 102,
            Self::Running => 103,
            Self::Frozen => 110,
        }
    }
}

/// Recorded output by file name, written while commands run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logs {
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    begun: Arc<AtomicBool>,
}

impl Logs {
    pub(crate) fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the file of a command that is about to run.
    pub(crate) fn begin(&self, file: &str) {
        self.begun.store(true, Ordering::Relaxed);
        self.lock().insert(file.to_owned(), Vec::new());
    }

    /// Whether anything was ever recorded: the folder is made then.
    pub(crate) fn begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }
}

/// What can be set about an instance, and is kept by its snapshots.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    pub(crate) name: String,
    pub(crate) project: String,
    pub(crate) kind: String,
    pub(crate) architecture: String,
    pub(crate) config: Map<String, Value>,
    pub(crate) devices: Map<String, Value>,
    pub(crate) profiles: Vec<String>,
    pub(crate) ephemeral: bool,
    pub(crate) description: String,
    pub(crate) created: String,
    pub(crate) used: String,
    pub(crate) status: Status,
    /// `metadata.yaml` of its image.
    pub(crate) metadata: Value,
    pub(crate) tree: SharedTree,
    pub(crate) snapshots: Vec<Snapshot>,
    pub(crate) backups: Vec<Backup>,
    pub(crate) logs: Logs,
    pub(crate) processes: Arc<Processes>,
    /// What an operation does with it at the moment.
    pub(crate) busy: Option<&'static str>,
    /// Addresses with their prefix length by interface, once it runs.
    pub(crate) interfaces: BTreeMap<String, Vec<(String, u8)>>,
    /// Ports where it serves a folder.
    pub(crate) served: BTreeMap<u16, String>,
    pub(crate) started: String,
    /// The member of a cluster that has it; `none` where there is no cluster.
    pub(crate) location: String,
    /// Who is at its console.
    pub(crate) console: Option<String>,
}

/// A copy of an instance.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) name: String,
    pub(crate) created: String,
    pub(crate) expires: String,
    pub(crate) of: Box<Instance>,
    pub(crate) tree: Tree,
}

/// A tarball of an instance.
#[derive(Clone, Debug)]
pub(crate) struct Backup {
    pub(crate) name: String,
    pub(crate) created: String,
    pub(crate) expires: String,
    pub(crate) instance_only: bool,
    pub(crate) bytes: Bytes,
}

impl Instance {
    pub(crate) fn new((project, name): (&str, &str), tree: Tree, created: String) -> Self {
        Self {
            name: name.to_owned(),
            project: project.to_owned(),
            kind: "container".to_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
            config: Map::new(),
            devices: Map::new(),
            profiles: vec!["default".to_owned()],
            ephemeral: false,
            description: String::new(),
            created,
            used: "1970-01-01T00:00:00Z".to_owned(),
            status: Status::Stopped,
            metadata: json!({"architecture": std::env::consts::ARCH, "properties": {}}),
            tree: SharedTree::new(tree),
            snapshots: Vec::new(),
            backups: Vec::new(),
            logs: Logs::default(),
            processes: Arc::default(),
            busy: None,
            interfaces: BTreeMap::new(),
            served: BTreeMap::new(),
            started: "0001-01-01T00:00:00Z".to_owned(),
            location: "none".to_owned(),
            console: None,
        }
    }

    /// A copy that shares nothing with this one.
    pub(crate) fn copy(&self, (project, name): (&str, &str), tree: Tree) -> Self {
        Self {
            name: name.to_owned(),
            project: project.to_owned(),
            status: Status::Stopped,
            tree: SharedTree::new(tree),
            snapshots: Vec::new(),
            backups: Vec::new(),
            logs: Logs::default(),
            processes: Arc::default(),
            busy: None,
            interfaces: BTreeMap::new(),
            served: BTreeMap::new(),
            console: None,
            ..self.clone()
        }
    }

    /// The keys that the daemon itself sets on a new instance.
    pub(crate) fn set_volatile(&mut self, profile: &FlavorProfile) {
        let instance_id = uuid();
        let mut set = |key: &str, value: &str| {
            self.config.insert(format!("volatile.{key}"), json!(value));
        };
        set("cloud-init.instance-id", &instance_id);
        set("idmap.base", "0");
        set("idmap.next", IDMAP);
        set("last_state.idmap", "[]");
        let id = uuid();
        set("uuid", &id);
        if profile.is_incus() {
            set("uuid.generation", &id);
        }
        self.config.sort_keys();
    }

    /// The keys that the daemon sets when the instance starts.
    pub(crate) fn mark_started(&mut self, profile: &FlavorProfile) {
        self.config.remove("volatile.apply_template");
        let mut set = |key: &str, value: &str| {
            self.config.insert(format!("volatile.{key}"), json!(value));
        };
        set("idmap.current", IDMAP);
        if !profile.is_incus() {
            set("last_state.idmap", IDMAP);
        }
        set("last_state.power", "RUNNING");
        self.config.sort_keys();
    }

    pub(crate) fn mark_stopped(&mut self, profile: &FlavorProfile) {
        let mut set = |key: &str, value: &str| {
            self.config.insert(format!("volatile.{key}"), json!(value));
        };
        set("last_state.power", "STOPPED");
        if profile.is_incus() {
            set("last_state.ready", "false");
        }
        self.config.sort_keys();
    }

    /// What its `ETag` covers.
    pub(crate) fn editable(&self) -> Value {
        json!([
            self.architecture,
            self.config,
            self.devices,
            self.ephemeral,
            self.profiles,
            self.description
        ])
    }
}

impl World {
    /// An instance's object.
    pub(crate) fn instance_object(&self, instance: &Instance) -> Value {
        let (expanded_config, expanded_devices) = self.expanded(instance);
        let mut devices = Value::Object(instance.devices.clone());
        devices.sort_all_objects();
        json!({
            "architecture": instance.architecture, "config": instance.config,
            "devices": devices, "ephemeral": instance.ephemeral,
            "profiles": instance.profiles, "stateful": false,
            "description": instance.description, "created_at": instance.created,
            "expanded_config": expanded_config, "expanded_devices": expanded_devices,
            "name": instance.name, "status": instance.status.text(),
            "status_code": instance.status.code(), "last_used_at": instance.used,
            "location": instance.location, "type": instance.kind, "project": instance.project,
        })
    }

    /// A snapshot's object.
    pub(crate) fn snapshot_object(&self, snapshot: &Snapshot) -> Value {
        let of = &snapshot.of;
        let (expanded_config, expanded_devices) = self.expanded(of);
        json!({
            "expires_at": snapshot.expires, "architecture": of.architecture,
            "config": of.config, "created_at": snapshot.created, "devices": of.devices,
            "ephemeral": of.ephemeral, "expanded_config": expanded_config,
            "expanded_devices": expanded_devices, "last_used_at": "0001-01-01T00:00:00Z",
            "name": snapshot.name, "profiles": of.profiles, "stateful": false, "size": -1,
        })
    }
}
