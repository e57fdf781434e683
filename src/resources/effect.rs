//! What a request does to resources: makes one, renames one, removes one, or nothing that matters here.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::kind::{Kind, Naming};
use super::resource::{Extent, Resource};
use crate::client::{Client, Error, Operation, Reply, Request, encode};

/// What a request does, as far as it can be told before it is sent.
#[derive(Debug, PartialEq)]
pub(super) enum Effect {
    /// Nothing that has to be undone.
    Nothing,
    /// Makes a resource whose name is known.
    Creates(Resource),
    /// Makes a resource in this collection; the reply will say which.
    CreatesSome(Resource),
    /// Whether it makes anything, only the reply can say.
    MayCreate(Resource),
    /// Gives a resource another path.
    Renames {
        /// The resource.
        from: Resource,
        /// What it is afterwards.
        to: Resource,
    },
    /// Removes a resource.
    Removes(Resource),
}

impl Effect {
    /// What a request of this client does.
    pub(super) fn of(client: &Client, request: &Request) -> Result<Self, Error> {
        let method = request.method();
        if !matches!(method, "POST" | "DELETE") || !request.path().starts_with("/1.0/") {
            return Ok(Self::Nothing);
        }
        let at = addressed(client, request)?;
        if method == "DELETE" {
            return Ok(match Kind::of(&at.path) {
                Some(_) => Self::Removes(at),
                None => Self::Nothing,
            });
        }
        let null = Value::Null;
        let body = request.json_body().unwrap_or(&null);
        let at = in_typed_collection(at, body);
        if let Some(kind) = Kind::in_collection(&at.path) {
            return Ok(created(kind, at, (request, body)));
        }
        Ok(match Kind::of(&at.path) {
            Some((kind, _)) => renamed(kind, at, body),
            // A collection that is not known here; the reply's `Location` may say what was made.
            None => Self::MayCreate(at),
        })
    }
}

/// The resource that a request addresses.
fn addressed(client: &Client, request: &Request) -> Result<Resource, Error> {
    let target = client.target_of(request)?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let value = |key: &str| {
        query.split('&').find_map(|pair| {
            let value = pair.strip_prefix(key)?.strip_prefix('=')?;
            let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
            (!value.is_empty()).then_some(value)
        })
    };
    Ok(Resource {
        path: path.to_owned(),
        remote: client.remote().to_string(),
        project: value("project"),
        target: value("target"),
        extent: Extent::Itself,
    })
}

/// A volume may be posted to the collection of all types, with its type in the body.
fn in_typed_collection(at: Resource, body: &Value) -> Resource {
    let kind = body["type"].as_str().unwrap_or("custom");
    match at.path.strip_suffix("/volumes") {
        Some(pool) if pool.starts_with("/1.0/storage-pools/") => Resource {
            path: format!("{pool}/volumes/{}", encode(kind)),
            ..at
        },
        _ => at,
    }
}

fn created(kind: &Kind, at: Resource, (request, body): (&Request, &Value)) -> Effect {
    let name = match kind.naming {
        Naming::Key(key) => body[key]
            .as_str()
            .map(str::to_owned)
            .or_else(|| header_name(request)),
        Naming::Image => image_fingerprint(request, body),
        Naming::Certificate => certificate_fingerprint(body),
        Naming::Token => None,
    };
    match name.filter(|name| !name.is_empty()) {
        Some(name) => Effect::Creates(member(&at, &encode(&name))),
        None => Effect::CreatesSome(at),
    }
}

fn member(collection: &Resource, segment: &str) -> Resource {
    Resource {
        path: format!("{}/{segment}", collection.path),
        ..collection.clone()
    }
}

/// The name of what is restored from a backup, as `X-LXD-name` or `X-Incus-name`.
fn header_name(request: &Request) -> Option<String> {
    let mut headers = request.headers().iter();
    headers
        .find(|(name, _)| {
            ["X-LXD-name", "X-Incus-name"]
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known))
        })
        .map(|(_, value)| value.clone())
}

/// The fingerprint of an image is the SHA-256 of the file that is sent.
fn image_fingerprint(request: &Request, body: &Value) -> Option<String> {
    if let Some(file) = request.upload_file() {
        let is_multipart = request.headers().iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("content-type") && value.starts_with("multipart/")
        });
        return if is_multipart { None } else { sha256(file) };
    }
    // A full fingerprint is found again by exactly this text.
    let fingerprint = body["source"]["fingerprint"].as_str()?;
    (fingerprint.len() == 64).then(|| fingerprint.to_owned())
}

fn sha256(file: &Path) -> Option<String> {
    // A file that cannot be read is reported by the request that sends it.
    let mut file = File::open(file).ok()?;
    let mut hash = Sha256::new();
    let mut part = vec![0; 1 << 16];
    loop {
        match file.read(&mut part).ok()? {
            0 => return Some(hex(&hash.finalize())),
            length => hash.update(&part[..length]),
        }
    }
}

/// The fingerprint of a certificate is the SHA-256 of its DER form, which the body has in base64.
fn certificate_fingerprint(body: &Value) -> Option<String> {
    let der = STANDARD.decode(body["certificate"].as_str()?.trim()).ok()?;
    Some(hex(&Sha256::digest(der)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A POST to a resource renames it, or moves it to another pool or project.
fn renamed(kind: &Kind, from: Resource, body: &Value) -> Effect {
    // The source of a migration to another server stays where it is.
    if kind.naming != Naming::Key("name") || body["migration"] == true && body["name"].is_null() {
        return Effect::Nothing;
    }
    let mut to = from.clone();
    if let (Some(name), Some((collection, _))) = (body["name"].as_str(), from.path.rsplit_once('/'))
    {
        to.path = format!("{collection}/{}", encode(name));
    }
    if let Some(project) = body["project"].as_str() {
        to.project = Some(project.to_owned());
    }
    if let (Some(pool), Some((_, rest))) = (body["pool"].as_str(), to.path.split_once("/volumes/"))
    {
        to.path = format!("/1.0/storage-pools/{}/volumes/{rest}", encode(pool));
    }
    if to == from {
        Effect::Nothing
    } else {
        Effect::Renames { from, to }
    }
}

/// Which resource a reply says was made in a collection, or by a request whose path is no known collection.
pub(super) fn made(collection: &Resource, reply: &Reply) -> Option<Resource> {
    if let Some(begun) = reply.operation() {
        return made_by(collection, &begun);
    }
    let location = reply.headers.get("Location")?;
    let path = location.split('?').next()?;
    let inside = path.strip_prefix(&collection.path)?.strip_prefix('/')?;
    (!inside.is_empty() && !inside.contains('/')).then(|| member(collection, inside))
}

/// Which resource an operation says it makes in a collection.
pub(super) fn made_by(collection: &Resource, operation: &Operation) -> Option<Resource> {
    let kind = Kind::in_collection(&collection.path)?;
    if operation.class == crate::client::Class::Token {
        return Some(Resource {
            path: format!("/1.0/operations/{}", encode(&operation.id)),
            ..collection.clone()
        });
    }
    if kind.naming == Naming::Image {
        let fingerprint = operation.metadata["fingerprint"].as_str()?;
        return Some(member(collection, &encode(fingerprint)));
    }
    let urls = operation.resources.as_object()?.values();
    urls.filter_map(Value::as_array)
        .flatten()
        .filter_map(Value::as_str)
        .find_map(|url| {
            let path = url.split('?').next()?;
            let name = path.strip_prefix(&collection.path)?.strip_prefix('/')?;
            (!name.is_empty() && !name.contains('/')).then(|| member(collection, name))
        })
}
