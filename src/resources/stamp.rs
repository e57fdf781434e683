//! Marks in what a run creates, so that it can be found on the server alone.

use std::time::{Duration, SystemTime};

use malleus_api::catalog::Marking;
use malleus_api::{ApiPath, Kind};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::effect::Effect;
use super::marks::{EXPIRES_KEY, PREFIX, RUN_KEY};
use super::resource::Resource;
use super::tracker::Tracker;
use crate::client::{Client, Error, Request};

/// Snapshots and backups get at least this long: their end cannot be put off by a renewal, and the server itself removes
/// them then, also under a run that lives.
const SHORTEST_EXPIRY: Duration = Duration::from_secs(24 * 60 * 60);

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
        let at = server_time(self.ahead) + self.lasts;
        humantime::format_rfc3339_seconds(at).to_string()
    }
}

/// The time by the clock of a server that is so many seconds ahead.
pub(super) fn server_time(ahead: i64) -> SystemTime {
    let now = SystemTime::now();
    let difference = Duration::from_secs(ahead.unsigned_abs());
    if ahead < 0 {
        now - difference
    } else {
        now + difference
    }
}

impl Stamp {
    /// The request with the run's marks, where it creates something that can carry them: the run's id, and the end of the
    /// lease where there is one.
    ///
    /// # Errors
    /// Those of a request that cannot be sent, and those of looking at what is copied.
    pub fn on(&self, client: &Client, request: &Request) -> Result<Option<Request>, Error> {
        let (Effect::Creates(resource) | Effect::CreatesSome(resource)) =
            Effect::of(client, request)?
        else {
            return Ok(None);
        };
        let path = resource.api_path();
        let Some(kind) = path.kind().or_else(|| path.kind_of_members()) else {
            return Ok(None);
        };
        // On one member of a cluster networks and pools take the config that is the member's own; the request to all of
        // them carries the rest.
        if resource.target.is_some() && matches!(kind.label, "network" | "storage pool") {
            return Ok(None);
        }
        match request.json_body() {
            Some(Value::Object(_)) => self.in_body(client, (kind, &resource), request),
            None if kind.label == "image" && request.upload_file().is_some() => {
                Ok(Some(self.in_headers(client, request)))
            }
            _ => Ok(None),
        }
    }

    /// A change that would take the run's mark off what the run has made, with the mark.
    ///
    /// # Errors
    /// Those of a request that cannot be sent.
    pub fn kept_by(
        &self,
        client: &Client,
        request: &Request,
        tracker: &Tracker,
    ) -> Result<Option<Request>, Error> {
        let Effect::Changes(resource) = Effect::of(client, request)? else {
            return Ok(None);
        };
        let place = resource.row().and_then(Kind::marked_in);
        let (Some(place), Some(Value::Object(body))) = (place, request.json_body()) else {
            return Ok(None);
        };
        let replaces = match request.method() {
            // What is restored brings its own config.
            "PUT" => !body.contains_key("restore"),
            // A PATCH merges, except for this kind.
            _ => resource.kind() == "project" && body.contains_key(place),
        };
        if !replaces || resource.target.is_some() || !tracker.has_marked(&resource) {
            return Ok(None);
        }
        let mut body = Value::Object(body.clone());
        if body[place].is_null() {
            body[place] = json!({});
        }
        match body[place].as_object_mut() {
            Some(marks) if !marks.contains_key(RUN_KEY) => {
                marks.insert(RUN_KEY.into(), self.run.clone().into());
                Ok(Some(request.clone().json(body)))
            }
            _ => Ok(None),
        }
    }

    fn in_body(
        &self,
        client: &Client,
        (kind, resource): (&Kind, &Resource),
        request: &Request,
    ) -> Result<Option<Request>, Error> {
        let mut body = request.json_body().cloned().unwrap_or_default();
        let source = body["source"]["type"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let key = match kind.marking {
            // What is brought up to date was there before, and may be somebody else's.
            _ if body["source"]["refresh"] == true => return Ok(None),
            // The source of an image decides its properties; those of what is published are the request's.
            Marking::Keys("properties") if !PUBLISHED.contains(&source.as_str()) => {
                return Ok(None);
            }
            Marking::Keys(object) => object,
            Marking::Expiry => return Ok(self.with_expiry(body, request)),
            Marking::Nowhere => return Ok(None),
        };
        if body[key].is_null() {
            // What is given replaces all that the source would bring.
            body[key] = match (kind.label, source.as_str()) {
                ("custom volume", "copy") => volume_config(client, resource, &body["source"])?,
                ("image", _) => image_properties(client, resource, &body["source"])?,
                _ => json!({}),
            };
        }
        let Some(marks) = body[key].as_object_mut() else {
            return Ok(None);
        };
        marks.insert(RUN_KEY.into(), self.run.clone().into());
        match self.lease {
            // Properties of what is published get into the file, and with that to servers where it is meant to stay. The
            // end of the lease is written to the image once that is there.
            _ if key == "properties" => {}
            Some(lease) => {
                marks.insert(EXPIRES_KEY.into(), lease.expires().into());
            }
            // A copy must not end with the lease of its source.
            None if source == "copy" => {
                marks.insert(EXPIRES_KEY.into(), "".into());
            }
            None => {}
        }
        Ok(Some(request.clone().json(body)))
    }

    /// The server itself removes it when it expires.
    fn with_expiry(&self, mut body: Value, request: &Request) -> Option<Request> {
        let lease = self.lease?;
        if body["expires_at"].is_null() {
            let lease = Lease {
                lasts: lease.lasts.max(SHORTEST_EXPIRY),
                ..lease
            };
            body["expires_at"] = lease.expires().into();
        }
        Some(request.clone().json(body))
    }

    /// An image that is sent as a file has its properties in a header.
    fn in_headers(&self, client: &Client, request: &Request) -> Request {
        let mut marks = vec![(RUN_KEY, self.run.clone())];
        marks.extend(self.lease.map(|lease| (EXPIRES_KEY, lease.expires())));
        let pairs: Vec<String> = marks
            .iter()
            .map(|(key, value)| format!("{key}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
            .collect();
        let name = format!("{}properties", client.server().flavor.header_prefix());
        let mut headers = request.headers().to_vec();
        // The servers read each header of this name, but what the playbook says comes in one.
        match headers
            .iter_mut()
            .find(|(known, _)| known.eq_ignore_ascii_case(&name))
        {
            Some((_, value)) => *value = format!("{value}&{}", pairs.join("&")),
            None => headers.push((name, pairs.join("&"))),
        }
        request.clone().with_headers(headers)
    }
}

/// Sources of an image that is published.
const PUBLISHED: &[&str] = &["instance", "snapshot", "container", "virtual-machine"];

/// The config of the volume that is copied, without what belongs to it alone.
fn volume_config(client: &Client, copy: &Resource, source: &Value) -> Result<Value, Error> {
    let text = |key: &str| source[key].as_str();
    let here = copy.api_path();
    let pool = text("pool").or_else(|| here.pool()).unwrap_or_default();
    let path = ApiPath::of_custom_volume(pool, text("name").unwrap_or_default());
    let project = text("project").or(copy.project.as_deref());
    let live = read(client, path.to_string(), project)?;
    let mut config = live["config"].as_object().cloned().unwrap_or_default();
    config.retain(|key, _| !key.starts_with("volatile.") && !key.starts_with(PREFIX));
    Ok(config.into())
}

/// The properties that an image has where it is published without any of its own.
fn image_properties(client: &Client, image: &Resource, source: &Value) -> Result<Value, Error> {
    let name = source["name"].as_str().unwrap_or_default();
    let instance = name.split('/').next().unwrap_or_default();
    let path = ApiPath::of_instance(instance).member("metadata");
    let live = read(client, path.to_string(), image.project.as_deref())?;
    let properties = live["properties"].as_object().cloned();
    let mut properties = properties.unwrap_or_default();
    properties.retain(|key, _| !key.starts_with(PREFIX));
    Ok(properties.into())
}

/// What the server has there; null where it refuses, since it says better than we could what is wrong with the request
/// that follows.
fn read(client: &Client, path: String, project: Option<&str>) -> Result<Value, Error> {
    let mut get = Request::get(path).skip_validation();
    if let Some(project) = project {
        get = get.query("project", project);
    }
    Ok(client.send(&get)?.metadata().clone())
}
