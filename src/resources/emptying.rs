//! What is in a project that goes as a whole.

use malleus_api::ApiPath;
use serde_json::Value;

use super::removal::{Connect, remove_all};
use super::resource::{Extent, Resource};
use crate::client::{Client, Error, Limit};

/// Removes all that a project holds, and says how much that was.
pub(super) fn empty(
    client: &Client,
    project: &Resource,
    connect: Connect<'_>,
    limit: Limit,
) -> Result<usize, Error> {
    let reply = client.request(&project.request("GET").limit(limit))?;
    let name = project.name();
    let urls = reply.metadata()["used_by"].as_array().cloned();
    let contents: Vec<((), Resource)> = urls
        .unwrap_or_default()
        .iter()
        .filter_map(Value::as_str)
        .filter_map(|url| content(url, project, &name))
        .map(|resource| ((), resource))
        .collect();
    let failed = std::sync::Mutex::new(None);
    remove_all(&contents, connect, limit, &|removal| {
        if let Err(error) = removal.result {
            let mut failed = failed
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            failed.get_or_insert(error);
        }
    });
    match failed
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
    {
        Some(error) => Err(error),
        None => Ok(contents.len()),
    }
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
