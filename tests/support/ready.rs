//! Waiting for containers.

use malleus::client::{Client, Condition, Error, Limit, NotReady, Readiness, Wait};

use super::container::{Container, within};

pub(crate) fn ready(container: &Container, conditions: &[Condition]) -> Readiness {
    let wait = Wait::within(within(30));
    let ready = container
        .client
        .wait_ready(&container.name, conditions, &wait);
    ready.unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn not_ready(
    client: &Client,
    name: &str,
    conditions: &[Condition],
    limit: Limit,
) -> NotReady {
    let waited = client.wait_ready(name, conditions, &Wait::within(limit));
    match waited {
        Err(Error::NotReady(why)) => *why,
        other => panic!("{other:?}"),
    }
}
