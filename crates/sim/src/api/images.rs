//! Images.

use std::sync::Arc;

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use super::{filter, generic, instances};
use crate::call::{Answer, Call, Raw, Refusal, Reply, etag, flag, hex};
use crate::daemon::Daemon;
use crate::lifecycle::{self, LifecycleEvent};
use crate::operations::{Failure, Spec, begin};
use crate::state::archive;
use crate::state::collection::Place;
use crate::state::image::Image;
use crate::state::{World, url};

const EDITABLE: [&str; 3] = ["public", "properties", "profiles"];

/// `/1.0/images`.
pub(crate) fn collection(daemon: &Arc<Daemon>, call: &Call) -> Answer {
    match call.method.as_str() {
        "GET" => list(&daemon.world(), call),
        "POST" => add(daemon, call),
        _ => Err(Refusal::not_implemented()),
    }
}

fn list(world: &World, call: &Call) -> Answer {
    let owner = world.owner(call.project(), "images");
    let mut entries = Vec::new();
    for ((project, fingerprint), image) in &world.images {
        if project != owner && !call.all_projects() {
            continue;
        }
        if call.is_outside() && !image.public {
            continue;
        }
        let object = || world.image_object(project, image);
        if !filter::holds(call, &object())? {
            continue;
        }
        entries.push(if call.recursion() > 0 {
            object()
        } else {
            json!(url(&format!("images/{fingerprint}"), project))
        });
    }
    Ok(Reply::Sync(Value::Array(entries)))
}

/// An image, where the sender may see it: outside of its own projects that is a public one.
fn seen<'a>(world: &'a World, call: &Call, fingerprint: &str) -> Option<&'a Image> {
    let image = world.image(call.project(), fingerprint)?;
    (image.public || !call.is_outside()).then_some(image)
}

/// Refuses an alias of an image that the sender may not see.
pub(crate) fn alias_seen(daemon: &Daemon, call: &Call, name: &[&str]) -> Result<(), Refusal> {
    if name.is_empty() || !call.is_outside() {
        return Ok(());
    }
    let world = daemon.world();
    let target = world.alias(call.project(), &name.join("/"));
    let image = target.and_then(|fingerprint| seen(&world, call, &fingerprint));
    match image {
        Some(_) => Ok(()),
        None => Err(Refusal::new(404, "Image alias not found")),
    }
}

fn missing(daemon: &Daemon, fingerprint: &str) -> Refusal {
    let text = if daemon.profile.is_incus() {
        format!("Image \"{fingerprint}\" not found")
    } else {
        "Image not found".to_owned()
    };
    Refusal::new(404, text)
}

/// `/1.0/images/<fingerprint>`.
pub(crate) fn one(daemon: &Arc<Daemon>, call: &Call, fingerprint: &str) -> Answer {
    let world = daemon.world();
    let owner = world.owner(call.project(), "images").to_owned();
    let image = seen(&world, call, fingerprint);
    let reading = call.method == "GET";
    let image = image.ok_or_else(|| {
        if reading {
            missing(daemon, fingerprint)
        } else {
            Refusal::new(404, "Image not found")
        }
    })?;
    let object = world.image_object(&owner, image);
    let covered: Vec<&Value> = EDITABLE.iter().map(|key| &object[*key]).collect();
    let tag = etag(&json!(covered));
    let key = (owner, image.fingerprint.clone());
    match call.method.as_str() {
        "GET" => Ok(Reply::Tagged(object, tag)),
        "PUT" | "PATCH" => {
            call.match_etag(&tag)?;
            let body = call.json()?;
            let mut object = object.as_object().cloned().unwrap_or_default();
            generic::change(&mut object, (&EDITABLE, &body), &call.method);
            drop(world);
            edit(daemon, &key, &object);
            Ok(Reply::empty())
        }
        "DELETE" => {
            drop(world);
            let resources = json!({"images": [url(&format!("images/{}", key.1), &key.0)]});
            let spec = Spec::task("Deleting image", call.project(), resources);
            let worker = daemon.clone();
            Ok(begin(daemon, (spec, call.fault), |_| async move {
                let aliases = remove(&mut worker.world(), &key);
                if worker.profile.is_incus() {
                    for alias in aliases {
                        let path = format!("images/aliases/{alias}");
                        let gone = LifecycleEvent::new("image-alias-deleted", (&key.0, &path));
                        lifecycle::tell(&worker, &gone);
                    }
                }
                Ok(Value::Null)
            }))
        }
        _ => Err(Refusal::not_implemented()),
    }
}

fn edit(daemon: &Daemon, key: &(String, String), object: &Map<String, Value>) {
    if let Some(image) = daemon.world().images.get_mut(key) {
        image.public = object.get("public").is_some_and(|public| public == true);
        let properties = object.get("properties").and_then(Value::as_object);
        image.properties = properties.cloned().unwrap_or_default();
    }
}

/// An image goes with its aliases, whose names these are.
fn remove(world: &mut World, key: &(String, String)) -> Vec<String> {
    world.images.remove(key);
    let place = Place::of("aliases", &key.0);
    let aliases = world.collections.list(&place);
    let gone: Vec<String> = aliases
        .filter(|(_, alias)| alias["target"] == key.1.as_str())
        .map(|(name, _)| name.clone())
        .collect();
    for name in &gone {
        world.collections.remove(&place, name);
    }
    gone
}

/// Where a new image's bytes come from, and what is said about it.
struct Added {
    /// What it says of its expiry, where that is not the usual.
    expires: Option<&'static str>,
    bytes: Result<Bytes, Refusal>,
    properties: Map<String, Value>,
    public: bool,
    filename: String,
    aliases: Vec<String>,
    /// What the bytes must have as their fingerprint.
    fingerprint: Option<String>,
}

fn add(daemon: &Arc<Daemon>, call: &Call) -> Answer {
    let json = call
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("application/json"));
    let added = if json || call.body.first() == Some(&b'{') {
        published(daemon, call)?
    } else {
        uploaded(daemon, call)
    };
    let project = call.project().to_owned();
    let resources = if daemon.profile.is_incus() {
        json!({})
    } else {
        Value::Null
    };
    let spec = Spec::task("Downloading image", &project, resources);
    let worker = daemon.clone();
    Ok(begin(daemon, (spec, call.fault), |_| async move {
        store(&worker, &project, added)
    }))
}

fn pairs(text: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let plain = text.replace('+', " ");
        percent_decode_str(&plain).decode_utf8_lossy().into_owned()
    };
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}

fn uploaded(daemon: &Daemon, call: &Call) -> Added {
    let header = |name: &str| call.header(&format!("{}{name}", daemon.profile.header));
    let properties = pairs(header("properties").unwrap_or_default());
    let aliases = pairs(header("aliases").unwrap_or_default());
    let kind = call.header("content-type").unwrap_or_default();
    let boundary = kind
        .strip_prefix("multipart/form-data")
        .and_then(|rest| rest.split_once("boundary="));
    let bytes = match boundary {
        None => Ok(call.body.clone()),
        Some((_, boundary)) => split_parts(&call.body, boundary.trim_matches('"')),
    };
    Added {
        expires: Some(daemon.profile.no_expiry),
        bytes,
        properties: properties
            .into_iter()
            .map(|(key, value)| (key, json!(value)))
            .collect(),
        public: header("public").is_some_and(|public| matches!(public, "1" | "true")),
        filename: header("filename").unwrap_or_default().to_owned(),
        aliases: aliases
            .into_iter()
            .filter(|(key, _)| key == "alias" && daemon.profile.is_incus())
            .map(|(_, name)| name)
            .collect(),
        fingerprint: header("fingerprint").map(str::to_owned),
    }
}

/// The metadata and the root file system of a split image, one after the other, as their fingerprint has it.
fn split_parts(body: &Bytes, boundary: &str) -> Result<Bytes, Refusal> {
    let invalid = || Refusal::new(500, "Invalid multipart image");
    let mark = format!("--{boundary}");
    let find = |from: usize, what: &[u8]| {
        let rest = body.get(from..)?;
        rest.windows(what.len())
            .position(|window| window == what)
            .map(|at| from + at)
    };
    let mut at = find(0, mark.as_bytes()).ok_or_else(invalid)?;
    let mut whole = Vec::new();
    let mut names = Vec::new();
    while let Some(start) = find(at, b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&body[at..start]).into_owned();
        let end_mark = format!("\r\n{mark}");
        let end = find(start, end_mark.as_bytes()).ok_or_else(invalid)?;
        whole.extend_from_slice(&body[start + 4..end]);
        names.push(head);
        at = end + 2;
    }
    match names.as_slice() {
        [metadata, root]
            if metadata.contains("name=\"metadata\"") && root.contains("name=\"rootfs") =>
        {
            Ok(whole.into())
        }
        _ => Err(invalid()),
    }
}

/// An image made of an instance or a snapshot; other sources are on other servers, and there is no network.
fn published(daemon: &Daemon, call: &Call) -> Result<Added, Refusal> {
    let body = call.json()?;
    let source = body.get("source").cloned().unwrap_or_default();
    let text = |key: &str| source[key].as_str().unwrap_or_default().to_owned();
    let world = daemon.world();
    let bytes = match text("type").as_str() {
        "instance" | "container" => {
            let mut instance = world.instance(call.project(), &text("name"))?.clone();
            if !daemon.profile.is_incus() {
                // LXD does not hand down what the image of the instance said of itself.
                instance.metadata["properties"] = json!({});
            }
            instances::published(&instance).map_err(|error| Refusal::new(500, error.to_string()))
        }
        "snapshot" => {
            let name = text("name");
            let (instance, snapshot) = name.split_once('/').unwrap_or((&name, ""));
            let instance = world.instance(call.project(), instance)?;
            let found = super::snapshots::find(instance, snapshot);
            let found = found
                .ok_or_else(|| super::snapshots::missing(world.profile, (instance, snapshot)))?;
            archive::pack(&found.of.metadata, &found.tree)
                .map_err(|error| Refusal::new(500, error.to_string()))
        }
        "image" | "url" => Err(Refusal::new(
            500,
            "A simulated daemon has no network to fetch images from",
        )),
        other => {
            return Err(Refusal::new(
                400,
                format!("Invalid image source type: {other}"),
            ));
        }
    };
    let properties = body.get("properties").and_then(Value::as_object).cloned();
    let aliases = body
        .get("aliases")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let names = aliases.iter().filter_map(|alias| alias["name"].as_str());
    Ok(Added {
        expires: None,
        bytes: bytes
            .and_then(|bytes| compressed(bytes, &body))
            .map(Bytes::from),
        properties: properties.unwrap_or_default(),
        public: flag(&body, "public"),
        filename: String::new(),
        aliases: names.map(str::to_owned).collect(),
        fingerprint: None,
    })
}

/// As the daemons do it unless they are told otherwise.
fn compressed(bytes: Vec<u8>, body: &Map<String, Value>) -> Result<Vec<u8>, Refusal> {
    if body
        .get("compression_algorithm")
        .is_some_and(|by| by == "none")
    {
        return Ok(bytes);
    }
    archive::compress(&bytes).map_err(|error| Refusal::new(500, error.to_string()))
}

fn store(daemon: &Daemon, project: &str, added: Added) -> Result<Value, Failure> {
    let failed = |text: String| Failure::from(Refusal::new(500, text));
    let mut image = Image::new(added.bytes?, daemon.clock.text()).map_err(failed)?;
    image.properties.extend(added.properties);
    image.public = added.public;
    image.filename = added.filename;
    if let Some(expires) = added.expires {
        expires.clone_into(&mut image.expires);
    }
    if let Some(wanted) = added
        .fingerprint
        .filter(|wanted| *wanted != image.fingerprint)
    {
        let text = format!(
            "fingerprints don't match, got {} expected {wanted}",
            image.fingerprint
        );
        return Err(failed(text));
    }
    let mut world = daemon.world();
    let owner = world.owner(project, "images").to_owned();
    let key = (owner.clone(), image.fingerprint.clone());
    let size = image.bytes.len().to_string();
    let told = json!({"fingerprint": key.1, "size": size});
    if world.images.contains_key(&key) {
        let text = "Image with same fingerprint already exists".to_owned();
        return Err(Failure {
            metadata: told,
            ..failed(text)
        });
    }
    let place = Place::of("aliases", &owner);
    for name in &added.aliases {
        let alias = json!({
            "description": "", "target": image.fingerprint, "name": name, "type": "container",
        });
        world.collections.put(&place, name, alias);
    }
    world.images.insert(key, image);
    Ok(told)
}

/// `GET /1.0/images/<fingerprint>/export`.
pub(crate) fn export(daemon: &Arc<Daemon>, call: &Call, fingerprint: &str) -> Answer {
    let world = daemon.world();
    let image = seen(&world, call, fingerprint);
    let image = image.ok_or_else(|| missing(daemon, fingerprint))?;
    let name = if image.filename.is_empty() {
        let extension = if image.bytes.starts_with(&[0x1f, 0x8b]) {
            "tar.gz"
        } else {
            "tar"
        };
        format!("{}.{extension}", image.fingerprint)
    } else {
        image.filename.clone()
    };
    let kind = ("x-incus-type".to_owned(), "incus".to_owned());
    let incus = daemon.profile.is_incus();
    Ok(Reply::Raw(Raw {
        headers: incus.then_some(kind).into_iter().collect(),
        body: image.bytes.clone(),
        filename: Some(name),
    }))
}

/// `POST /1.0/images/<fingerprint>/secret`: a token, which never ends by itself.
pub(crate) fn secret(daemon: &Arc<Daemon>, call: &Call, fingerprint: &str) -> Answer {
    let path = {
        let world = daemon.world();
        let image = world.image(call.project(), fingerprint);
        let image = image.ok_or_else(|| missing(daemon, fingerprint))?;
        format!("/1.0/images/{}", image.fingerprint)
    };
    let random: [u8; 32] = std::array::from_fn(|_| fastrand::u8(..));
    let spec = Spec {
        class: "token",
        metadata: json!({"secret": hex(&random)}),
        ..Spec::task(
            "Image download token",
            call.project(),
            json!({"images": [path]}),
        )
    };
    Ok(begin(daemon, (spec, call.fault), |_| {
        std::future::pending()
    }))
}
