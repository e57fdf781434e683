//! What tells a resource that a run made from another one that has its path by now.
//!
//! A path alone is not enough: somebody else may have removed the resource and made another one of the name. What else
//! there is depends on the kind:
//!
//! | kind | recognised by |
//! | --- | --- |
//! | instance | `volatile.uuid`, before that is known the run's mark |
//! | image, custom volume, bucket, snapshot, backup | the time of its making, where the server gives one, and the run's mark |
//! | profile, project, network, ACL, zone, pool | the run's mark |
//! | alias, record, forward and all others without `config` | nothing: the newest one of the name is taken for the run's own |
//!
//! The servers ignore `If-Match` of a DELETE: between the look and the removal a moment remains.

use malleus_api::catalog::Identity;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::marks::{RUN_KEY, mark_on};
use super::resource::Resource;

/// What is known of the making of a resource beyond its path.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Proof {
    /// Whether the request that made it carried the run's mark.
    #[serde(default)]
    pub marked: bool,
    /// The identity that the server gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Whether the run itself has protected it against removal.
    #[serde(default)]
    pub protected: bool,
}

/// What a resource must show to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// That this run made it. Without a proof, which journals of older versions do not hold, that cannot be told for kinds
    /// that could show it.
    OfRun {
        /// The run's id.
        run: String,
        /// What is known of the making.
        proof: Option<Proof>,
    },
    /// That no run other than this one has marked it: the contents of a project that a run made for itself.
    InProjectOf(String),
    /// Nothing: somebody has said that what this run's journal names is to go whatever it is.
    Forced(String),
}

/// Whose a resource is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owned {
    /// It may be removed.
    Ours,
    /// Somebody else's, made at this time, where the server says so.
    Others(Option<String>),
    /// Nothing tells.
    Unknown,
}

impl Condition {
    /// That of a run on what its journal holds.
    pub fn of_run(run: &str, proof: Option<Proof>) -> Self {
        Self::OfRun {
            run: run.to_owned(),
            proof,
        }
    }

    /// The run that the resource is removed for.
    pub(super) fn run(&self) -> &str {
        match self {
            Self::OfRun { run, .. } | Self::InProjectOf(run) | Self::Forced(run) => run,
        }
    }

    /// Whether the resource has to be looked at before it is removed.
    pub(super) fn needs_look(&self, resource: &Resource) -> bool {
        let is_recognisable = can_be_recognised(resource);
        match self {
            Self::OfRun { .. } | Self::InProjectOf(_) => is_recognisable,
            Self::Forced(_) => false,
        }
    }

    /// Whose a resource is, as the server shows it.
    pub(super) fn judge(&self, resource: &Resource, live: &Value) -> Owned {
        let others = || Owned::Others(time_of_making(live));
        match self {
            Self::Forced(_) => Owned::Ours,
            Self::InProjectOf(run) => match mark_on(live, RUN_KEY) {
                Some(other) if other != run => others(),
                _ => Owned::Ours,
            },
            Self::OfRun { proof: None, .. } => Owned::Unknown,
            Self::OfRun {
                run,
                proof: Some(proof),
            } => {
                let identity = resource.row().and_then(|kind| kind.identity_of(live));
                match (&proof.identity, identity) {
                    (Some(known), Some(shown)) if *known != shown => return others(),
                    (Some(_), Some(_)) => return Owned::Ours,
                    _ => {}
                }
                match mark_on(live, RUN_KEY) {
                    Some(other) if other != run => others(),
                    None if proof.marked => others(),
                    _ => Owned::Ours,
                }
            }
        }
    }

    /// Whether the run itself has protected the resource against removal.
    pub(super) fn may_unprotect(&self) -> bool {
        match self {
            Self::OfRun { proof, .. } => proof.as_ref().is_some_and(|proof| proof.protected),
            Self::InProjectOf(_) | Self::Forced(_) => false,
        }
    }
}

/// Whether a resource shows anything that tells it from another one of its name.
pub(super) fn can_be_recognised(resource: &Resource) -> bool {
    resource.row().is_some_and(|kind| {
        matches!(kind.identity, Identity::ConfigKey(_) | Identity::Time(_))
            || kind.marked_in().is_some()
    })
}

/// When a resource was made, where the server says so.
fn time_of_making(live: &Value) -> Option<String> {
    ["uploaded_at", "created_at"].iter().find_map(|key| {
        // The zero time of Go stands for none.
        let time = live[*key].as_str()?;
        (!time.is_empty() && !time.starts_with("0001-")).then(|| time.to_owned())
    })
}

/// Whether a config protects an instance against removal.
pub(super) fn protects(config: &Value) -> bool {
    match &config[PROTECTION_KEY] {
        Value::Bool(is_set) => *is_set,
        Value::String(text) => matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "1" | "yes" | "on"
        ),
        _ => false,
    }
}

/// The key that protects an instance against removal.
pub(super) const PROTECTION_KEY: &str = "security.protection.delete";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::Extent;
    use serde_json::json;

    fn resource(path: &str) -> Resource {
        Resource {
            path: path.to_owned(),
            remote: "/s".to_owned(),
            project: None,
            target: None,
            extent: Extent::Itself,
        }
    }

    #[test]
    fn whose_a_resource_is() {
        let proof = |marked, identity: Option<&str>| {
            Some(Proof {
                marked,
                identity: identity.map(str::to_owned),
                protected: false,
            })
        };
        let instance = |uuid: &str, run: &str| json!({"created_at": "2026-11-29T03:00:00Z", "config": {"volatile.uuid": uuid, "user.malleus.run": run}});
        let theirs = Owned::Others(Some("2026-11-29T03:00:00Z".into()));
        let (web, profile, volume) = (
            "/1.0/instances/web",
            "/1.0/profiles/p",
            "/1.0/storage-pools/p/volumes/custom/v",
        );
        for (path, proof, live, expected) in [
            // The identity counts alone, whatever became of the mark.
            (
                web,
                proof(true, Some("7f")),
                instance("7f", ""),
                Owned::Ours,
            ),
            (
                web,
                proof(true, Some("7f")),
                instance("80", "abc"),
                theirs.clone(),
            ),
            // Until it is known the mark tells.
            (web, proof(true, None), instance("7f", "abc"), Owned::Ours),
            (web, proof(true, None), instance("7f", ""), theirs.clone()),
            (
                web,
                proof(true, None),
                instance("7f", "xyz"),
                theirs.clone(),
            ),
            // It was made from a file, which cannot carry one.
            (web, proof(false, None), instance("7f", ""), Owned::Ours),
            (
                web,
                proof(false, None),
                instance("7f", "xyz"),
                theirs.clone(),
            ),
            (web, None, instance("7f", "abc"), Owned::Unknown),
            (
                profile,
                proof(true, None),
                json!({"config": {}}),
                Owned::Others(None),
            ),
            (
                profile,
                proof(true, None),
                json!({"config": {"user.malleus.run": "abc"}}),
                Owned::Ours,
            ),
            // LXD 5.0 gives volumes no time.
            (
                volume,
                proof(true, None),
                json!({"created_at": "0001-01-01T00:00:00Z", "config": {"user.malleus.run": "abc"}}),
                Owned::Ours,
            ),
            (
                volume,
                proof(true, Some("2026-11-29T02:00:00Z")),
                json!({"created_at": "2026-11-29T03:00:00Z", "config": {"user.malleus.run": "abc"}}),
                theirs.clone(),
            ),
        ] {
            let condition = Condition::of_run("abc", proof);
            assert_eq!(
                condition.judge(&resource(path), &live),
                expected,
                "{condition:?}, {live}"
            );
        }
        let inside = Condition::InProjectOf("abc".into());
        for (run, expected) in [("", Owned::Ours), ("abc", Owned::Ours), ("xyz", theirs)] {
            assert_eq!(inside.judge(&resource(web), &instance("7f", run)), expected);
        }
    }

    #[test]
    fn what_cannot_be_told_apart() {
        for (path, expected) in [
            ("/1.0/instances/web", true),
            ("/1.0/instances/web/snapshots/s", true),
            ("/1.0/profiles/p", true),
            ("/1.0/images/aliases/a", false),
            ("/1.0/network-zones/z/records/r", false),
            ("/1.0/certificates/0a", false),
            ("/1.0/instances/web/logs/exec-output/exec_7f.stdout", false),
        ] {
            assert_eq!(can_be_recognised(&resource(path)), expected, "{path}");
        }
    }
}
