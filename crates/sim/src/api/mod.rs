//! What requests do, one file per kind of resource.

pub(super) mod backups;
pub(super) mod certificates;
pub(super) mod console;
pub(super) mod evacuation;
pub(super) mod exec;
pub(super) mod files;
pub(super) mod filter;
pub(super) mod generic;
pub(super) mod groups;
pub(super) mod images;
pub(super) mod instances;
pub(super) mod kind;
pub(super) mod kinds;
pub(super) mod logs;
pub(super) mod members;
pub(super) mod moving;
pub(super) mod nics;
pub(super) mod pending;
pub(super) mod placement;
pub(super) mod server;
pub(super) mod sftp;
pub(super) mod snapshots;
pub(super) mod states;
pub(super) mod valid;
