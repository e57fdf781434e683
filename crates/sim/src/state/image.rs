//! Images.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::World;
use super::archive::{self, Unpacked};
use super::collection::Place;
use super::tree::Tree;
use crate::call::hex;
use crate::clock::Clock;
use crate::flavor::FlavorProfile;

/// 2024-01-01T00:00:00Z, as in the image of the tests.
const MADE: u64 = 1_704_067_200;

#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) fingerprint: String,
    pub(crate) bytes: Bytes,
    pub(crate) tree: Tree,
    /// What its `metadata.yaml` says.
    pub(crate) metadata: Value,
    pub(crate) properties: Map<String, Value>,
    pub(crate) public: bool,
    pub(crate) filename: String,
    pub(crate) profiles: Vec<String>,
    pub(crate) uploaded: String,
    /// A time that means never: which one depends on where the image comes from.
    pub(crate) expires: String,
    /// When an instance was last made of it.
    pub(crate) used: String,
}

/// What `tar` writes at once.
const RECORD: usize = 10_240;

/// A time that has not come.
const NEVER: &str = "0001-01-01T00:00:00Z";

impl Image {
    /// An image from the bytes of its tarball.
    ///
    /// # Errors
    /// In the words of the daemons.
    pub(crate) fn new(bytes: Bytes, uploaded: String) -> Result<Self, String> {
        let Unpacked { metadata, tree } = archive::unpack(&bytes)?;
        let properties = metadata["properties"].as_object();
        let text = |value: &Value| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        };
        let properties = properties.into_iter().flatten();
        Ok(Self {
            fingerprint: hex(&Sha256::digest(&bytes)),
            tree,
            properties: properties
                .map(|(name, value)| (name.clone(), Value::String(text(value))))
                .collect(),
            metadata,
            bytes,
            public: false,
            filename: String::new(),
            profiles: vec!["default".to_owned()],
            uploaded,
            expires: NEVER.to_owned(),
            used: NEVER.to_owned(),
        })
    }

    pub(crate) fn architecture(&self) -> String {
        let said = self.metadata["architecture"].as_str();
        said.unwrap_or(std::env::consts::ARCH).to_owned()
    }
}

impl World {
    /// An image's object.
    pub(crate) fn image_object(&self, project: &str, image: &Image) -> Value {
        let place = Place::of("aliases", project);
        let aliases = self.collections.list(&place);
        let aliases: Vec<Value> = aliases
            .filter(|(_, alias)| alias["target"] == image.fingerprint.as_str())
            .map(|(name, alias)| json!({"name": name, "description": alias["description"]}))
            .collect();
        let created = image.metadata["creation_date"].as_u64().unwrap_or(MADE);
        let created = UNIX_EPOCH + Duration::from_secs(created);
        let mut properties = image.properties.clone();
        properties.sort_keys();
        let mut object = json!({
            "auto_update": false, "properties": properties, "public": image.public,
            "expires_at": image.expires, "profiles": image.profiles, "aliases": aliases,
            "architecture": image.architecture(), "cached": false, "filename": image.filename,
            "fingerprint": image.fingerprint, "size": image.bytes.len(), "type": "container",
            "created_at": humantime::format_rfc3339_seconds(created).to_string(),
            "last_used_at": image.used, "uploaded_at": image.uploaded,
        });
        if self.profile.is_incus() {
            object["project"] = json!(project);
        }
        object
    }
}

/// The image that a simulated daemon begins with.
pub(crate) fn busybox(profile: &FlavorProfile, clock: &Clock) -> Image {
    let architecture = std::env::consts::ARCH;
    let metadata = json!({
        "architecture": architecture, "creation_date": MADE,
        "properties": {
            "architecture": architecture, "description": "A static busybox for tests",
            "os": "busybox", "release": "test",
        },
    });
    let made = UNIX_EPOCH + Duration::from_secs(MADE);
    let tree = archive::skeleton(made);
    let mut bytes = archive::pack(&metadata, &tree).unwrap_or_default();
    // As `tar` fills up what it writes, which the daemons do not: so an instance that is published is an image of its own.
    bytes.resize((bytes.len() / RECORD + 1) * RECORD, 0);
    let bytes = archive::compress(&bytes).unwrap_or_default();
    let properties = metadata["properties"].as_object().cloned();
    Image {
        fingerprint: hex(&Sha256::digest(&bytes)),
        bytes: bytes.into(),
        tree,
        properties: properties.unwrap_or_default(),
        metadata,
        public: false,
        filename: String::new(),
        profiles: vec!["default".to_owned()],
        uploaded: clock.text(),
        expires: profile.no_expiry.to_owned(),
        used: NEVER.to_owned(),
    }
}
