//! What is in a project that goes as a whole.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use malleus_api::ApiPath;
use serde_json::Value;

use super::ownership::Condition;
use super::removal::{Connect, Fate, Target, remove_all};
use super::resource::{Extent, Resource};
use crate::client::{Client, Error, Limit};

/// Removes what a project of a run holds, except what another run has marked, and says how much that was.
pub(super) fn empty(
    client: &Client,
    (project, run): (&Resource, &str),
    connect: Connect<'_>,
    limit: Limit,
) -> Result<usize, Error> {
    let contents: Vec<Target<()>> = contents(client, project, limit)?
        .into_iter()
        .map(|resource| Target {
            key: (),
            resource,
            condition: Condition::InProjectOf(run.to_owned()),
        })
        .collect();
    let failed = Mutex::new(None);
    let removed = AtomicUsize::new(0);
    remove_all(&contents, connect, limit, &|removal| match removal.result {
        Err(error) => {
            let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert(error);
        }
        Ok(Fate::NotOurs(_) | Fate::Unknown) => {}
        Ok(Fate::Removed | Fate::Already | Fate::Along) => {
            removed.fetch_add(1, Ordering::Relaxed);
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(removed.into_inner()),
    }
}

/// What a project holds and can be removed by itself.
pub(super) fn contents(
    client: &Client,
    project: &Resource,
    limit: Limit,
) -> Result<Vec<Resource>, Error> {
    let reply = client.request(&project.request("GET").limit(limit))?;
    let name = project.name();
    let urls = reply.metadata()["used_by"].as_array();
    Ok(urls
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter_map(|url| content(url, project, &name))
        .collect())
}

/// The resource behind a URL of `used_by`, if it can be removed by itself.
fn content(url: &str, project: &Resource, name: &str) -> Option<Resource> {
    let path = ApiPath::parse(url)?;
    let kind = path.kind()?;
    // A project's default profile goes with the project, and with nothing else.
    if kind.label == "profile" && path.name() == "default" {
        return None;
    }
    Some(Resource {
        path: path.to_string(),
        remote: project.remote.clone(),
        project: Some(name.to_owned()),
        target: path.target().map(str::to_owned),
        extent: Extent::Itself,
    })
}
