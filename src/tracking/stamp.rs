//! Marks in what a run creates, so that it can be found on the server alone.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::effect::Effect;
use super::kind::Kind;
use super::resource::Resource;
use crate::client::{Client, Error, Request};

/// The key that names the run.
pub(super) const RUN_KEY: &str = "user.malleus.run";
/// The key that says when the lease ends, in RFC 3339 by the server's clock.
pub(super) const EXPIRES_KEY: &str = "user.malleus.expires";

/// What a run writes on the resources that it creates.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// The run's id.
    pub run: String,
    /// How long a resource may outlive the last renewal; nothing without a lease.
    pub lease: Option<Lease>,
}

/// A promise to renew or remove.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    /// How long it holds.
    pub lasts: Duration,
    /// How far the server's clock is ahead of ours, in seconds.
    pub ahead: i64,
}

impl Lease {
    /// When it ends if it is renewed now, by the server's clock, in RFC 3339.
    pub fn expires(&self) -> String {
        let now = SystemTime::now() + self.lasts;
        let ahead = Duration::from_secs(self.ahead.unsigned_abs());
        let at = if self.ahead < 0 {
            now - ahead
        } else {
            now + ahead
        };
        humantime::format_rfc3339_seconds(at).to_string()
    }
}

/// Where a kind of resource can carry marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In `config`.
    Config,
    /// In `properties`.
    Properties,
    /// Nowhere, but the server itself removes it when it expires.
    Expiry,
    /// Nowhere.
    Nowhere,
}

fn place(kind: &str) -> Place {
    match kind {
        "instance" | "profile" | "project" | "network" | "network ACL" | "network zone"
        | "custom volume" | "storage pool" | "bucket" => Place::Config,
        "image" => Place::Properties,
        "snapshot" | "backup" => Place::Expiry,
        _ => Place::Nowhere,
    }
}

impl Stamp {
    /// The request with the run's marks, where it creates something that can carry them: always with a lease; without
    /// one, only what the server names, which could not be found again otherwise.
    ///
    /// # Errors
    /// Those of a request that cannot be sent.
    pub fn on(&self, client: &Client, request: &Request) -> Result<Option<Request>, Error> {
        let Some(Value::Object(_)) = request.json_body() else {
            return Ok(None);
        };
        let (resource, is_named) = match Effect::of(client, request)? {
            Effect::Creates(resource) => (resource, true),
            Effect::CreatesSome(collection) => (collection, false),
            _ => return Ok(None),
        };
        if is_named && self.lease.is_none() {
            return Ok(None);
        }
        Ok(self.mark(&resource, request))
    }

    fn mark(&self, resource: &Resource, request: &Request) -> Option<Request> {
        let kind = Kind::of(&resource.path)
            .map(|(kind, _)| kind)
            .or_else(|| Kind::in_collection(&resource.path))?;
        let mut body = request.json_body()?.clone();
        let key = match place(kind.label) {
            Place::Config => "config",
            Place::Properties => "properties",
            Place::Expiry => {
                let lease = self.lease?;
                if body["expires_at"].is_null() {
                    body["expires_at"] = lease.expires().into();
                }
                return Some(request.clone().json(body));
            }
            Place::Nowhere => return None,
        };
        // The source of an image decides its properties; those of what is published are the request's.
        let source = body["source"]["type"].as_str().unwrap_or_default();
        if key == "properties"
            && !matches!(
                source,
                "instance" | "snapshot" | "container" | "virtual-machine"
            )
        {
            return None;
        }
        if body[key].is_null() {
            body[key] = json!({});
        }
        let marks = body[key].as_object_mut()?;
        marks.insert(RUN_KEY.into(), self.run.clone().into());
        if let Some(lease) = self.lease {
            marks.insert(EXPIRES_KEY.into(), lease.expires().into());
        }
        Some(request.clone().json(body))
    }
}
