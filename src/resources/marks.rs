//! The marks that runs leave on what they create, as they are read back from the server.

use std::time::SystemTime;

use malleus_api::compare::Difference;
use malleus_api::write;
use serde_json::Value;

use super::resource::Resource;
use crate::client::Limit;
use crate::client::{Client, Error, Request, Wait};

/// What all marks begin with.
pub(super) const PREFIX: &str = "user.malleus.";
/// The key that names the run.
pub const RUN_KEY: &str = "user.malleus.run";
/// The key of a project that a run made for itself alone: it names the run. What is in it goes with it.
pub const ISOLATED_KEY: &str = "user.malleus.isolated";
/// The key that says when the lease ends, in RFC 3339 by the server's clock.
pub(super) const EXPIRES_KEY: &str = "user.malleus.expires";
/// The key that says when somebody began to remove the run's resources, by the server's clock, and who.
pub(super) const CLAIM_KEY: &str = "user.malleus.gc";

/// The marks on one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marks {
    /// The run that made it.
    pub(super) run: String,
    /// When its lease ends; nothing without one.
    pub(super) expires: Option<SystemTime>,
    /// Who is removing it.
    pub(super) claim: Option<Claim>,
    /// The run that made it, a project, for itself alone.
    pub(super) isolated: Option<String>,
}

/// Somebody has begun to remove what a run has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    /// When, by the server's clock.
    pub(super) since: SystemTime,
    /// A word that nobody else has.
    pub(super) by: String,
}

impl Claim {
    pub(super) fn text(&self) -> String {
        let since = humantime::format_rfc3339_seconds(self.since);
        format!("{since} {}", self.by)
    }

    fn parse(text: &str) -> Option<Self> {
        let (since, by) = text.split_once(' ')?;
        Some(Self {
            since: humantime::parse_rfc3339(since).ok()?,
            by: by.to_owned(),
        })
    }
}

impl Marks {
    /// The marks on a resource as the server shows it; nothing where it carries none.
    pub(super) fn of(live: &Value) -> Option<Self> {
        let text = |key: &str| mark_on(live, key);
        Some(Self {
            run: text(RUN_KEY)?.to_owned(),
            expires: text(EXPIRES_KEY).and_then(|at| humantime::parse_rfc3339(at).ok()),
            claim: text(CLAIM_KEY).and_then(Claim::parse),
            isolated: text(ISOLATED_KEY).map(str::to_owned),
        })
    }
}

/// The text of a mark on a resource as the server shows it.
pub(super) fn mark_on<'v>(live: &'v Value, key: &str) -> Option<&'v str> {
    live[place_in(live)][key]
        .as_str()
        .filter(|text| !text.is_empty())
}

/// Takes a run's own mark out of what a server shows: who made a resource is no part of its config.
pub fn hide_mark(shown: &mut Value, run: &str) {
    match shown {
        Value::Object(object) => {
            for place in ["config", "expanded_config", "properties"] {
                if let Some(Value::Object(marks)) = object.get_mut(place)
                    && marks.get(RUN_KEY).is_some_and(|mark| mark == run)
                {
                    marks.shift_remove(RUN_KEY);
                }
            }
            object.values_mut().for_each(|value| hide_mark(value, run));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| hide_mark(item, run)),
        _ => {}
    }
}

/// Whether a request that makes something has it carry a run's mark.
pub(super) fn is_marked(request: &Request) -> bool {
    let in_body = request.json_body().is_some_and(|body| {
        ["config", "properties"].iter().any(|place| {
            body[*place][RUN_KEY]
                .as_str()
                .is_some_and(|run| !run.is_empty())
        })
    });
    let in_headers = || {
        let mut headers = request.headers().iter();
        headers.any(|(name, value)| {
            name.to_ascii_lowercase().ends_with("-properties") && value.contains(RUN_KEY)
        })
    };
    in_body || request.upload_file().is_some() && in_headers()
}

/// Images carry marks in `properties`, everything else in `config`.
fn place_in(live: &Value) -> &'static str {
    if live["fingerprint"].is_string() {
        "properties"
    } else {
        "config"
    }
}

/// A resource as it is on the server, with its marks.
pub(super) struct Seen {
    resource: Resource,
    live: Value,
    etag: Option<String>,
    pub(super) marks: Marks,
}

impl Seen {
    /// Looks at a resource; nothing where it carries no marks, or is not there.
    pub(super) fn look(
        client: &Client,
        resource: &Resource,
        limit: Limit,
    ) -> Result<Option<Self>, Error> {
        let reply = match client.request(&resource.request("GET").limit(limit)) {
            Err(error) if error.status() == Some(404) => return Ok(None),
            other => other?,
        };
        Ok(Marks::of(reply.metadata()).map(|marks| Self {
            resource: resource.clone(),
            live: reply.metadata().clone(),
            etag: reply.etag().map(str::to_owned),
            marks,
        }))
    }

    /// Writes one mark, and changes nothing else. Refused with 412 where the resource has changed in between, on servers
    /// that know.
    pub(super) fn write(
        &self,
        client: &Client,
        (key, value): (&str, &str),
        limit: Limit,
    ) -> Result<(), Error> {
        client
            .run(&self.patch((key, value)).limit(limit), &Wait::within(limit))
            .map(|_| ())
    }

    fn patch(&self, (key, value): (&str, &str)) -> Request {
        let mark = Difference::of_key(place_in(&self.live), key, value);
        let path = self.resource.api_path();
        let write = write::write(&path, (&Value::Null, &self.live), &[mark]);
        let request = self.resource.request(write.method).json(write.body);
        match &self.etag {
            Some(etag) if write.is_conditional => request.if_match(etag),
            _ => request,
        }
    }
}

/// How much a write to a resource disturbs, from little to much: which of a run's resources renewals and claims are
/// written to.
pub(super) fn write_cost(resource: &Resource) -> u8 {
    resource.row().map_or(u8::MAX, |kind| kind.write_cost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn marks_are_read_where_they_are() {
        let config = json!({"config": {RUN_KEY: "abc", EXPIRES_KEY: "2030-01-01T00:00:00Z"}});
        let marks = Marks::of(&config).expect("marks");
        assert_eq!(marks.run, "abc");
        assert!(marks.expires.is_some() && marks.claim.is_none());
        let image =
            json!({"fingerprint": "0", "properties": {RUN_KEY: "abc", EXPIRES_KEY: "soon"}});
        let marks = Marks::of(&image).expect("marks");
        assert_eq!((marks.run.as_str(), marks.expires), ("abc", None));
        for unmarked in [
            json!({}),
            json!({"config": null}),
            json!({"config": {RUN_KEY: ""}}),
        ] {
            assert_eq!(Marks::of(&unmarked), None);
        }
    }

    #[test]
    fn a_claim_is_read_as_it_was_written() {
        let claim = Claim {
            since: humantime::parse_rfc3339("2030-01-01T00:00:00Z").expect("a time"),
            by: "k3f9".into(),
        };
        let live = json!({"config": {RUN_KEY: "abc", CLAIM_KEY: claim.text()}});
        assert_eq!(Marks::of(&live).and_then(|marks| marks.claim), Some(claim));
    }
}
