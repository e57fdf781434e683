//! What the daemons check about names, configuration and devices.

mod devices;
pub(crate) mod keys;
mod values;

use serde_json::{Map, Value};

pub(crate) use self::devices::{added, devices};
use self::keys::{For, Key};
use crate::call::{Refusal, kind_of};
use crate::flavor::Flavor;

/// Why a resource cannot be as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// A value does not hold; which code says so depends on the request.
    Unfit(String),
    Refused(Refusal),
}

impl Wrong {
    pub(crate) fn refusal(self, code: u16) -> Refusal {
        match self {
            Self::Unfit(text) => Refusal::new(code, text),
            Self::Refused(refusal) => refusal,
        }
    }
}

/// Whose `config` it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner<'a> {
    Profile,
    /// An instance of a type.
    Instance(&'a str),
}

/// The keys of an instance's or a profile's `config`.
pub(crate) fn config(
    config: &Map<String, Value>,
    (flavor, owner): (Flavor, Owner<'_>),
) -> Result<(), String> {
    for (key, value) in config {
        if owner == Owner::Profile {
            for (prefix, title) in [("image.", "Image"), ("volatile.", "Volatile")] {
                if key.starts_with(prefix) {
                    return Err(format!("{title} keys can only be set on instances"));
                }
            }
        }
        let found = keys::find(keys::INSTANCES, key, flavor);
        let found = found.filter(|(who, _)| match owner {
            Owner::Profile => true,
            Owner::Instance("virtual-machine") => *who != For::Containers,
            Owner::Instance(_) => *who != For::Machines,
        });
        match found {
            Some((_, rule)) => rule.check(value.as_str().unwrap_or_default())?,
            None if is_of_device(key) => {}
            None => return Err(format!("Unknown configuration key: {key}")),
        }
    }
    Ok(())
}

fn is_of_device(key: &str) -> bool {
    let ends = || keys::OF_DEVICES.iter().any(|end| key.ends_with(end));
    key.starts_with("volatile.") && ends()
}

/// How the daemons say that a key or its value is wrong: `{}` is the key.
pub(crate) type Texts<'a> = (&'a str, &'a str);

/// The keys of another kind's `config`.
pub(crate) fn options(
    object: &Value,
    (table, flavor): (&'static [Key], Flavor),
    (unknown, value_of): Texts<'_>,
) -> Result<(), Wrong> {
    for (key, value) in object["config"].as_object().into_iter().flatten() {
        let (_, rule) = keys::find(table, key, flavor)
            .ok_or_else(|| Wrong::Unfit(unknown.replace("{}", key)))?;
        let held = rule.check(value.as_str().unwrap_or_default());
        held.map_err(|why| Wrong::Unfit(format!("{}: {why}", value_of.replace("{}", key))))?;
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
