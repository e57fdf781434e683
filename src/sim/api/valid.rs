//! What the daemons check about names, configuration and devices.

use serde_json::{Map, Value};

use crate::sim::call::{Refusal, kind_of};

const PREFIXES: [&str; 16] = [
    "agent.",
    "boot.",
    "cloud-init.",
    "cluster.",
    "environment.",
    "image.",
    "limits.",
    "linux.",
    "migration.",
    "nvidia.",
    "oci.",
    "raw.",
    "security.",
    "snapshots.",
    "user.",
    "volatile.",
];

const DEVICES: [&str; 12] = [
    "none",
    "nic",
    "disk",
    "unix-char",
    "unix-block",
    "unix-hotplug",
    "usb",
    "gpu",
    "infiniband",
    "proxy",
    "tpm",
    "pci",
];

/// The keys of an instance's or a profile's `config`.
pub(crate) fn config(config: &Map<String, Value>) -> Result<(), Refusal> {
    let unknown = config
        .keys()
        .find(|key| !PREFIXES.iter().any(|prefix| key.starts_with(prefix)));
    match unknown {
        Some(key) => Err(Refusal::new(
            400,
            format!("Unknown configuration key: {key}"),
        )),
        None => Ok(()),
    }
}

/// `devices`: each has a type that exists.
pub(crate) fn devices(devices: &Map<String, Value>) -> Result<(), Refusal> {
    for (name, device) in devices {
        let kind = device["type"].as_str().unwrap_or_default();
        if !DEVICES.contains(&kind) {
            return Err(Refusal::new(
                400,
                format!(
                    "Device validation failed for \"{name}\": Failed loading device \"{name}\": Unsupported device type"
                ),
            ));
        }
    }
    Ok(())
}

/// A map of texts in a body, as Go's decoder takes it; `place` is its word for the field.
pub(crate) fn texts(
    body: &Map<String, Value>,
    (key, place): (&str, &str),
) -> Result<Option<Map<String, Value>>, Refusal> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(map)) => {
            let wrong = map
                .values()
                .find(|value| !value.is_string() && !value.is_null());
            match wrong {
                Some(value) => Err(unfit(value, (place, "string"))),
                None => Ok(Some(map.clone())),
            }
        }
        Some(other) => Err(unfit(other, (place, "map[string]string"))),
    }
}

fn unfit(value: &Value, (place, wanted): (&str, &str)) -> Refusal {
    let kind = kind_of(value);
    Refusal::new(
        400,
        format!("json: cannot unmarshal {kind} into Go struct field {place} of type {wanted}"),
    )
}

/// An instance's name.
pub(crate) fn instance_name(name: &str) -> Result<(), Refusal> {
    let wrong = |why: &str| Err(Refusal::new(400, format!("Invalid instance name: {why}")));
    if name.is_empty() {
        return wrong("Name cannot be empty");
    }
    if name.len() > 63 {
        return wrong("Name must be 1-63 characters long");
    }
    if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    {
        return wrong("Name can only contain alphanumeric and hyphen characters");
    }
    if name.starts_with(|first: char| !first.is_ascii_alphabetic()) {
        return wrong("Name must not start with a number or a hyphen");
    }
    if name.ends_with('-') {
        return wrong("Name must not end with a hyphen");
    }
    Ok(())
}
