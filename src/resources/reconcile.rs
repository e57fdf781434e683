//! What became of intentions whose outcome nobody wrote down: the server is asked.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use malleus_api::{Meaning, means, operation};
use serde_json::Value;

use super::journal::{Noted, Recorded, State};
use super::marks::RUN_KEY;
use super::ownership::Condition;
use super::removal::{Connect, Target, read, said, text};
use super::resource::Resource;
use super::resource_table::TAKES_EFFECT;
use crate::client::{Client, Error, Limit, Operation, Request, Wait};

/// The resources of a journal that have to be removed. Waits for what the server still does for the run, for half of the
/// time at most, and finds what was made without a known name. The run's process has sent nothing from `quiet_since` on.
///
/// # Errors
/// Those of the client.
pub fn settle(
    recorded: &Recorded,
    connect: Connect<'_>,
    quiet_since: Instant,
    limit: Limit,
) -> Result<Vec<Target<u32>>, Error> {
    let open: Vec<(u32, &Noted)> = recorded
        .open
        .iter()
        .map(|(number, noted)| (*number, noted))
        .filter(|(_, noted)| noted.state.is_open())
        .collect();
    let mut settled = Vec::new();
    let mut remotes: Vec<&str> = open
        .iter()
        .map(|(_, noted)| noted.resource.remote.as_str())
        .collect();
    remotes.sort_unstable();
    remotes.dedup();
    let is_unsettled = open.iter().any(|(_, noted)| noted.state != State::Made);
    if is_unsettled {
        // Not by the journal's times: the clock may have been set since.
        std::thread::sleep(TAKES_EFFECT.saturating_sub(quiet_since.elapsed()));
    }
    let run = recorded.header.run.as_str();
    for remote in remotes {
        let client = connect(remote)?;
        let here: Vec<&(u32, &Noted)> = open
            .iter()
            .filter(|(_, noted)| noted.resource.remote == remote)
            .collect();
        let resources: Vec<&Resource> = here.iter().map(|(_, noted)| &noted.resource).collect();
        await_running(&client, &resources, half_of(&client, limit))?;
        for (number, noted) in here {
            let resources = if noted.state == State::SomeIntended {
                marked(&client, (&noted.resource, run), limit)?
            } else {
                vec![noted.resource.clone()]
            };
            settled.extend(resources.into_iter().map(|resource| Target {
                key: *number,
                resource,
                condition: Condition::of_run(run, noted.proof.clone()),
            }));
        }
    }
    settled.sort_by_key(|target| target.key);
    Ok(settled)
}

/// The rest is for removing.
fn half_of(client: &Client, limit: Limit) -> Limit {
    match limit.remaining() {
        Some(left) => client.limit("settling", left / 2).earlier(limit),
        None => limit,
    }
}

/// Waits for what the server still does to a resource, or in a collection.
///
/// # Errors
/// Those of the client.
pub fn await_quiet(client: &Client, resource: &Resource, limit: Limit) -> Result<(), Error> {
    await_running(client, &[resource], limit)
}

/// Waits for operations that may still make, change or remove one of the resources.
fn await_running(client: &Client, open: &[&Resource], limit: Limit) -> Result<(), Error> {
    let mut projects: Vec<&str> = open
        .iter()
        .map(|resource| resource.project.as_deref().unwrap_or("default"))
        .collect();
    projects.sort_unstable();
    projects.dedup();
    // Each by itself: older servers of LXD do not list the operations of all projects.
    for project in projects {
        let list = Request::get("operations")
            .query("recursion", "1")
            .query("project", project);
        let reply = match read(client, &list, limit) {
            // The project is gone, and all that was done in it.
            Err(error) if error.status() == Some(404) || is_project_gone(&error) => continue,
            other => other?,
        };
        let all = reply.metadata().as_object().cloned().unwrap_or_default();
        for operation in all.values().filter_map(Value::as_array).flatten() {
            // A command makes nothing, and ends with its instance.
            let may_make = operation::ends_by_itself(text(operation, "class"))
                && operation::is_running(operation)
                && !operation::is_command(operation);
            if may_make
                && open
                    .iter()
                    .any(|resource| operation::concerns(operation, &resource.api_path()))
            {
                // Ended badly or gone: the resource itself is looked at next.
                let _ = client.wait(text(operation, "id"), &Wait::within(limit));
            }
        }
    }
    Ok(())
}

/// LXD 6.8 and newer answer 500 in the place of 404.
fn is_project_gone(error: &Error) -> bool {
    said(error).is_some_and(|message| means(message, Meaning::NoProject))
}

/// How long work in a collection is waited for that may be anybody's.
const OTHERS: Duration = Duration::from_secs(30);

/// What a run has made in a collection without a known name: by its marks, once the server does nothing more there.
///
/// # Errors
/// Those of the client.
pub fn unnamed(
    client: &Client,
    collection: &Resource,
    run: &str,
    limit: Limit,
) -> Result<Vec<Resource>, Error> {
    let patience = client.limit("removal", OTHERS).earlier(limit);
    await_quiet(client, collection, patience)?;
    marked(client, (collection, run), limit)
}

/// The members of a collection that were not there before an operation and were made since it began.
///
/// # Errors
/// Those of the client.
pub fn newcomers(
    client: &Client,
    collection: &Resource,
    (before, operation): (&BTreeSet<String>, &Operation),
    limit: Limit,
) -> Result<Vec<Resource>, Error> {
    let Some(kind) = collection.api_path().kind_of_members() else {
        return Ok(Vec::new());
    };
    let members = members_of(client, collection, limit)?;
    let time = |text: &str| humantime::parse_rfc3339(text).ok();
    let since = time(&operation.created_at);
    // Times of resources may be whole seconds.
    let is_late = |member: &Value| {
        let made = time(text(member, "created_at"));
        made.zip(since)
            .is_none_or(|(made, since)| made + Duration::from_secs(1) > since)
    };
    // The name of a snapshot of a volume has the volume's before it.
    let name = |member: &Value| {
        let name = text(member, kind.listed_by());
        name.rsplit('/').next().unwrap_or(name).to_owned()
    };
    let new = members
        .iter()
        .filter(|member| is_late(member) && !before.contains(&name(member)));
    Ok(new
        .map(|member| collection.at(&collection.api_path().member(&name(member))))
        .collect())
}

/// The members of a collection, each as the server shows it.
fn members_of(client: &Client, collection: &Resource, limit: Limit) -> Result<Vec<Value>, Error> {
    let list = collection.request("GET").query("recursion", "1");
    let reply = read(client, &list, limit)?;
    Ok(reply.metadata().as_array().cloned().unwrap_or_default())
}

/// The members of a collection that carry the run's mark.
fn marked(
    client: &Client,
    (collection, run): (&Resource, &str),
    limit: Limit,
) -> Result<Vec<Resource>, Error> {
    let Some(kind) = collection.api_path().kind_of_members() else {
        return Ok(Vec::new());
    };
    let members = members_of(client, collection, limit)?;
    let is_ours = |member: &&Value| {
        ["config", "properties"]
            .iter()
            .any(|key| text(&member[*key], RUN_KEY) == run)
    };
    Ok(members
        .iter()
        .filter(is_ours)
        .map(|member| {
            let name = text(member, kind.listed_by());
            collection.at(&collection.api_path().member(name))
        })
        .collect())
}
