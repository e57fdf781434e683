//! What a request does to resources: makes one, renames one, removes one, or nothing that matters here.

use std::io::Read;
use std::net::IpAddr;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malleus_api::catalog::Naming;
use malleus_api::flavor::is_name_header;
use malleus_api::{ApiPath, Kind};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::resource::{Extent, Resource};
use crate::client::{Class, Client, Error, Operation, Reply, Request};
use malleus_core::source_file;

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
    /// Reads a resource.
    Reads(Resource),
    /// Changes a resource.
    Changes(Resource),
}

impl Effect {
    /// What a request of this client does.
    pub(super) fn of(client: &Client, request: &Request) -> Result<Self, Error> {
        let method = request.method();
        if !matches!(method, "POST" | "DELETE" | "GET" | "PUT" | "PATCH") {
            return Ok(Self::Nothing);
        }
        let Some(path) = ApiPath::parse(&client.target_of(request)?) else {
            return Ok(Self::Nothing);
        };
        if path.segments().is_empty() {
            return Ok(Self::Nothing);
        }
        if method != "POST" {
            return Ok(match (path.kind(), method) {
                (None, _) => Self::Nothing,
                (Some(_), "DELETE") => Self::Removes(addressed(client, &path)),
                (Some(_), "GET") => Self::Reads(addressed(client, &path)),
                (Some(_), _) => Self::Changes(addressed(client, &path)),
            });
        }
        let null = Value::Null;
        let body = request.json_body().unwrap_or(&null);
        let at = addressed(client, &path);
        // A volume may be posted to the collection of all types, with its type in the body.
        let path = path.in_typed_collection(body["type"].as_str().unwrap_or("custom"));
        let at = at.at(&path);
        if let Some(kind) = path.kind_of_members() {
            return Ok(created(kind, at, (client, request, body)));
        }
        Ok(match path.kind() {
            Some(kind) => renamed(kind, at, body),
            // A collection that is not known here; the reply's `Location` may say what was made.
            None => Self::MayCreate(at),
        })
    }
}

impl Resource {
    /// The resource that a request makes, or whose path it has.
    pub fn named_by(client: &Client, request: &Request) -> Option<Self> {
        if request.method() == "POST" {
            return match Effect::of(client, request).ok()? {
                Effect::Creates(resource) => Some(resource),
                _ => None,
            };
        }
        let path = ApiPath::parse(&client.target_of(request).ok()?)?;
        Some(addressed(client, &path))
    }
}

/// The resource that a request addresses.
fn addressed(client: &Client, path: &ApiPath) -> Resource {
    Resource {
        path: path.to_string(),
        remote: client.remote().to_string(),
        project: path.project().map(str::to_owned),
        target: path.target().map(str::to_owned),
        extent: Extent::Itself,
    }
}

fn created(
    kind: &Kind,
    at: Resource,
    (client, request, body): (&Client, &Request, &Value),
) -> Effect {
    let name = match kind.naming {
        Naming::Key(key) => body[key]
            .as_str()
            .map(str::to_owned)
            .or_else(|| header_name(request)),
        Naming::Image => image_fingerprint(client, request, body),
        Naming::Certificate => certificate_fingerprint(body),
        Naming::Token => None,
    };
    match name.filter(|name| !name.is_empty() && !is_any_address(kind, name)) {
        Some(name) => Effect::Creates(member(&at, &name)),
        None => Effect::CreatesSome(at),
    }
}

/// Whether the server is to choose the address that names the resource.
fn is_any_address(kind: &Kind, name: &str) -> bool {
    kind.naming == Naming::Key("listen_address")
        && name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_unspecified())
}

fn member(collection: &Resource, name: &str) -> Resource {
    collection.at(&collection.api_path().member(name))
}

/// The name of what is restored from a backup, as `X-LXD-name` or `X-Incus-name`.
fn header_name(request: &Request) -> Option<String> {
    let mut headers = request.headers().iter();
    headers
        .find(|(name, _)| is_name_header(name))
        .map(|(_, value)| value.clone())
}

/// The fingerprint of an image is the SHA-256 of the file that is sent.
fn image_fingerprint(client: &Client, request: &Request, body: &Value) -> Option<String> {
    if let Some(file) = request.upload_file() {
        let is_multipart = request.headers().iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("content-type") && value.starts_with("multipart/")
        });
        let is_over = || request.deadline().is_some_and(|limit| limit.is_over());
        let has_time = || !client.is_cancelled() && !is_over();
        return if is_multipart {
            None
        } else {
            sha256(file, &has_time)
        };
    }
    // A full fingerprint is found again by exactly this text.
    let fingerprint = body["source"]["fingerprint"].as_str()?;
    (fingerprint.len() == 64).then(|| fingerprint.to_owned())
}

fn sha256(file: &Path, has_time: &dyn Fn() -> bool) -> Option<String> {
    // A file that cannot be read is reported by the request that sends it, and so is the end of its time.
    let mut file = source_file::open(file).ok()?;
    let mut hash = Sha256::new();
    let mut part = vec![0; 1 << 20];
    while has_time() {
        match file.read(&mut part).ok()? {
            0 => return Some(hex(&hash.finalize())),
            length => hash.update(&part[..length]),
        }
    }
    None
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
    let mut path = from.api_path();
    if let (Some(name), Some(collection)) = (body["name"].as_str(), path.parent()) {
        path = collection.member(name);
    }
    if let Some(pool) = body["pool"].as_str() {
        path = path.in_pool(pool);
    }
    let mut to = from.at(&path);
    if let Some(project) = body["project"].as_str() {
        to.project = Some(project.to_owned());
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
    let location = ApiPath::parse(reply.headers.get("Location")?)?;
    let path = collection.api_path();
    let name = path.name_of_member(&location)?;
    Some(member(collection, name))
}

/// Which resource an operation says it makes in a collection.
pub(super) fn made_by(collection: &Resource, operation: &Operation) -> Option<Resource> {
    let path = collection.api_path();
    path.kind_of_members()?;
    if operation.class == Class::Token {
        return Some(collection.at(&ApiPath::of_operation(&operation.id)));
    }
    let name = malleus_api::operation::name_of_made(&path, &operation.raw)?;
    Some(member(collection, &name))
}

/// What names an image.
const IMAGE: [&str; 5] = ["alias", "fingerprint", "properties", "server", "protocol"];

/// The image that a request asks for, without what proves that its sender may have it.
pub(super) fn image_of(request: &Request) -> Option<Value> {
    named_image(request.json_body()?)
}

/// The same of the body of a request.
pub fn named_image(body: &Value) -> Option<Value> {
    let source = &body["source"];
    if source["type"] != "image" {
        return None;
    }
    let said = IMAGE.iter().filter_map(|key| {
        let value = source.get(*key).filter(|value| !value.is_null())?;
        Some(((*key).to_owned(), value.clone()))
    });
    Some(Value::Object(said.collect()))
}
