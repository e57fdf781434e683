//! Looks for marks in every collection of a server whose members can carry some.

use std::collections::{BTreeMap, HashSet};

use malleus_api::{ApiPath, Kind, Meaning, means};
use serde_json::Value;

use super::super::emptying::contents;
use super::super::marks::{Marks, write_cost};
use super::super::ownership::{Condition, Proof};
use super::super::removal::text;
use super::super::resource::{Extent, Resource};
use super::{Leftover, RunLeftovers};
use crate::client::{Client, Error, Limit, Request, encode};

/// Collections whose members can carry marks, below `/1.0/`, with their kinds: those of a project, and those of a project in
/// a storage pool, where `{}` stands for the pool.
fn collections() -> impl Iterator<Item = (&'static str, &'static Kind)> {
    Kind::all()
        .iter()
        .filter(|kind| kind.marked_in().is_some())
        .filter_map(|kind| Some((kind.path.strip_suffix("/{}")?, kind)))
        .filter(|(path, _)| !SERVER_WIDE.contains(path))
}

/// Collections of the server as a whole.
const PROJECTS: &str = "projects";
const POOLS: &str = "storage-pools";
const SERVER_WIDE: &[&str] = &[PROJECTS, POOLS];

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
    let mut runs = by_run(survey.found);
    add_contents(client, &mut runs, limit)?;
    Ok(runs)
}

/// What else goes with the projects that runs made for themselves alone: what is in them, except what another run has
/// marked.
fn add_contents(client: &Client, runs: &mut [RunLeftovers], limit: Limit) -> Result<(), Error> {
    let marked: Vec<Resource> = runs
        .iter()
        .flat_map(RunLeftovers::marked)
        .cloned()
        .collect();
    for run in runs {
        let own: Vec<Resource> = run
            .marked()
            .filter(|resource| resource.extent == Extent::WithContents)
            .cloned()
            .collect();
        for project in own {
            let mut inside = contents(client, &project, limit)?;
            inside.retain(|resource| !marked.iter().any(|other| other.is_same(resource)));
            run.contents.extend(inside);
        }
    }
    Ok(())
}

struct Survey<'a> {
    client: &'a Client,
    limit: Limit,
    seen: HashSet<Resource>,
    found: Vec<Found>,
}

/// A resource with marks.
struct Found {
    resource: Resource,
    marks: Marks,
    identity: Option<String>,
}

impl Survey<'_> {
    fn all(&mut self) -> Result<(), Error> {
        let mut projects = self.collection(PROJECTS, None)?;
        if projects.is_empty() {
            // A server without projects, or a client that may not see them.
            projects.push(serde_json::json!({"name": "default"}));
        }
        // Where it can be seen, what projects share is found in the default project.
        projects.sort_by_key(|project| text(project, "name") != "default");
        let sees_default = text(&projects[0], "name") == "default";
        let pools = self.collection(POOLS, None)?;
        for project in &projects {
            let name = text(project, "name");
            let is_own = |kind: &Kind| {
                kind.is_own_in(&project["config"]) || name == "default" || !sees_default
            };
            for (collection, _) in collections().filter(|(_, kind)| is_own(kind)) {
                if !collection.contains("{}") {
                    self.collection(collection, Some(name))?;
                    continue;
                }
                for pool in &pools {
                    let pool = encode(text(pool, "name"));
                    self.collection(&collection.replace("{}", &pool), Some(name))?;
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
                    let kind = resource.row();
                    let identity = kind.and_then(|kind| kind.identity_of(member));
                    self.found.push(Found {
                        resource,
                        marks,
                        identity,
                    });
                }
            }
        }
        Ok(members)
    }

    fn resource(&self, path: &str, member: &Value, project: Option<&str>) -> Resource {
        let collection = ApiPath::parse(path).unwrap_or_else(|| ApiPath::of([path]));
        let listed_by = collection.kind_of_members().map_or("name", Kind::listed_by);
        let name = text(member, listed_by);
        // Several members of a cluster may have volumes of one name.
        let is_local = path.starts_with("storage-pools/") && self.client.server().clustered;
        let location = Some(text(member, "location")).filter(|_| is_local);
        Resource {
            path: collection.member(name).to_string(),
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
        500 => means(&refusal.message, Meaning::NotAllowed),
        _ => false,
    }
}

fn by_run(found: Vec<Found>) -> Vec<RunLeftovers> {
    let mut runs: BTreeMap<String, Vec<Found>> = BTreeMap::new();
    for one in found {
        let run = one.marks.run.clone();
        runs.entry(run).or_default().push(one);
    }
    let mut all: Vec<RunLeftovers> = runs
        .into_iter()
        .map(|(run, mut found)| {
            let resources = found
                .iter()
                .map(|one| Leftover {
                    resource: Resource {
                        extent: one.extent(),
                        ..one.resource.clone()
                    },
                    condition: one.condition(),
                })
                .collect();
            // A renewal writes to what was renewed last, and so does a claim: one of them sees the other.
            found.sort_by_key(|one| {
                (
                    std::cmp::Reverse(one.marks.expires),
                    write_cost(&one.resource),
                )
            });
            let claims = found.iter().filter_map(|one| one.marks.claim.clone());
            RunLeftovers {
                run,
                resources,
                contents: Vec::new(),
                expires: found.first().and_then(|one| one.marks.expires),
                claim: claims.max_by_key(|claim| claim.since),
                bearers: found.into_iter().map(|one| one.resource).collect(),
            }
        })
        .collect();
    all.sort_by_key(|remains| (remains.expires.is_none(), remains.expires));
    all
}

impl Found {
    /// It must still be the one that was seen.
    fn condition(&self) -> Condition {
        let proof = Proof {
            marked: true,
            identity: self.identity.clone(),
            protected: false,
        };
        Condition::of_run(&self.marks.run, Some(proof))
    }

    /// What goes with it: the contents of a project go with it only where its run made it for itself alone. A run's mark on
    /// a project says nothing about the resources of others in it.
    fn extent(&self) -> Extent {
        let name = self.resource.name();
        let is_own = self.resource.kind() == "project"
            && self.marks.isolated.as_ref() == Some(&self.marks.run)
            && name.ends_with(&format!("-{}", self.marks.run));
        if is_own {
            Extent::WithContents
        } else {
            Extent::Itself
        }
    }
}
