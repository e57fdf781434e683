//! Looks for marks in every collection of a server whose members can carry some.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use super::super::marks::{Marks, write_cost};
use super::super::removal::text;
use super::super::resource::{Extent, Resource};
use super::RunLeftovers;
use crate::client::{Client, Error, Limit, Request, encode};

/// Features that say whose the members of a collection are: the project's own where one of them is on, those of the
/// default project otherwise.
const ALWAYS: &[&str] = &[];
const PROFILES: &[&str] = &["features.profiles"];
const IMAGES: &[&str] = &["features.images"];
const NETWORKS: &[&str] = &["features.networks"];
// Servers without the second feature go by the first.
const ZONES: &[&str] = &["features.networks.zones", "features.networks"];
const VOLUMES: &[&str] = &["features.storage.volumes"];
const BUCKETS: &[&str] = &["features.storage.buckets"];

/// Collections of a project.
const OF_PROJECT: &[(&str, &[&str])] = &[
    ("instances", ALWAYS),
    ("profiles", PROFILES),
    ("images", IMAGES),
    ("networks", NETWORKS),
    ("network-acls", NETWORKS),
    ("network-zones", ZONES),
];
/// Collections of a project in each storage pool.
const OF_POOL: &[(&str, &[&str])] = &[("volumes/custom", VOLUMES), ("buckets", BUCKETS)];

/// All that runs have left on a server, in all projects that the client may see; what a server does not have is no
/// error. The runs that expired first come first, those without a lease last.
///
/// # Errors
/// Those of the client. What cannot be seen may bear a lease that holds, so that nothing can be told then.
pub fn survey(client: &Client, limit: Limit) -> Result<Vec<RunLeftovers>, Error> {
    let mut survey = Survey {
        client,
        limit,
        seen: HashSet::new(),
        found: Vec::new(),
    };
    survey.all()?;
    Ok(by_run(survey.found))
}

struct Survey<'a> {
    client: &'a Client,
    limit: Limit,
    seen: HashSet<Resource>,
    found: Vec<(Resource, Marks)>,
}

impl Survey<'_> {
    fn all(&mut self) -> Result<(), Error> {
        let mut projects = self.collection("projects", None)?;
        if projects.is_empty() {
            // A server without projects, or a client that may not see them.
            projects.push(serde_json::json!({"name": "default"}));
        }
        // Where it can be seen, what projects share is found in the default project.
        projects.sort_by_key(|project| text(project, "name") != "default");
        let sees_default = text(&projects[0], "name") == "default";
        let pools = self.collection("storage-pools", None)?;
        for project in &projects {
            let name = text(project, "name");
            let is_own = |features: &[&str]| {
                let config = &project["config"];
                features.is_empty()
                    || features.iter().any(|feature| config[*feature] == "true")
                    || name == "default"
                    || !sees_default
            };
            for (collection, features) in OF_PROJECT {
                if is_own(features) {
                    self.collection(collection, Some(name))?;
                }
            }
            for pool in &pools {
                let pool = encode(text(pool, "name"));
                for (collection, features) in OF_POOL {
                    if is_own(features) {
                        self.collection(&format!("storage-pools/{pool}/{collection}"), Some(name))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Finds what has marks in a collection, and gives all its members; none where there is no such collection.
    fn collection(&mut self, path: &str, project: Option<&str>) -> Result<Vec<Value>, Error> {
        let mut list = Request::get(path).query("recursion", "1").limit(self.limit);
        if let Some(project) = project {
            list = list.query("project", project);
        }
        let reply = match self.client.request(&list) {
            Err(error) if is_absent(&error, path) => return Ok(Vec::new()),
            other => other?,
        };
        let members = reply.metadata().as_array().cloned().unwrap_or_default();
        // Snapshots of volumes stand among the volumes; they go along.
        let is_snapshot = |member: &&Value| {
            path.ends_with("/volumes/custom") && text(member, "name").contains('/')
        };
        for member in members.iter().filter(|member| !is_snapshot(member)) {
            if let Some(marks) = Marks::of(member) {
                let resource = self.resource(path, member, project);
                // The name of a zone is one for all projects, whichever one it is listed in.
                let mut key = resource.clone();
                if path == "network-zones" {
                    key.project = None;
                }
                if self.seen.insert(key) {
                    self.found.push((resource, marks));
                }
            }
        }
        Ok(members)
    }

    fn resource(&self, path: &str, member: &Value, project: Option<&str>) -> Resource {
        let name = match path {
            "images" => text(member, "fingerprint"),
            _ => text(member, "name"),
        };
        // Several members of a cluster may have volumes of one name.
        let is_local = path.starts_with("storage-pools/") && self.client.server().clustered;
        let location = Some(text(member, "location")).filter(|_| is_local);
        Resource {
            path: format!("/1.0/{path}/{}", encode(name)),
            remote: self.client.remote().to_string(),
            project: project.map(str::to_owned),
            target: location
                .filter(|at| !matches!(*at, "" | "none"))
                .map(str::to_owned),
            extent: Extent::Itself,
        }
    }
}

/// Whether a refusal says that there is nothing to see for this client.
fn is_absent(error: &Error, path: &str) -> bool {
    let Error::Api(refusal) = error else {
        return false;
    };
    match refusal.status {
        403 | 404 | 501 => true,
        // A pool whose driver has no buckets.
        400 => path.ends_with("/buckets"),
        // Incus says so to certificates that are restricted to projects.
        500 => refusal.message.contains("does not have permission"),
        _ => false,
    }
}

fn by_run(found: Vec<(Resource, Marks)>) -> Vec<RunLeftovers> {
    let mut runs: BTreeMap<String, Vec<(Resource, Marks)>> = BTreeMap::new();
    for (resource, marks) in found {
        let run = marks.run.clone();
        runs.entry(run).or_default().push((resource, marks));
    }
    let mut all: Vec<RunLeftovers> = runs
        .into_iter()
        .map(|(run, mut found)| {
            let resources = found.iter().map(|(one, _)| one.clone()).collect();
            // A renewal writes to what was renewed last, and so does a claim: one of them sees the other.
            found.sort_by_key(|(one, marks)| (std::cmp::Reverse(marks.expires), write_cost(one)));
            let claims = found.iter().filter_map(|(_, marks)| marks.claim.clone());
            RunLeftovers {
                run,
                resources,
                expires: found.first().and_then(|(_, marks)| marks.expires),
                claim: claims.max_by_key(|claim| claim.since),
                bearers: found.into_iter().map(|(one, _)| one).collect(),
            }
        })
        .collect();
    all.sort_by_key(|remains| (remains.expires.is_none(), remains.expires));
    all
}
