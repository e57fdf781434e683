//! What the server says about an instance: the cheap half of it.

use serde_json::Value;

use malleus_api::{ApiPath, operation};

use crate::{Client, Error, Limit, Operation, Request};

/// An instance as one look at it showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It exists.
    There(Instance),
    /// It does not exist.
    Missing,
    /// The server did not tell; it may do so later.
    Unclear(String),
}

/// The part of an instance that matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Instance {
    pub(super) state: State,
    /// The name of the state, such as `"Running"`.
    pub(super) status: String,
    pub(super) kind: Kind,
    pub(super) life: Life,
}

/// How an instance is, by its `status_code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// 103, and 113 for one that called itself ready.
    Running,
    /// 102.
    Stopped,
    /// 112.
    Failed,
    /// Frozen, or on the way to something else.
    Other,
}

/// What an instance is, by its `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Container,
    Machine,
}

/// What becomes of an instance when it stops, by `ephemeral`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Lasting,
    Ephemeral,
}

impl Instance {
    fn from_value(value: &Value) -> Option<Self> {
        let machine = value["type"].as_str() == Some("virtual-machine");
        let ephemeral = value["ephemeral"].as_bool() == Some(true);
        Some(Self {
            state: match value["status_code"].as_u64()? {
                103 | 113 => State::Running,
                102 => State::Stopped,
                112 => State::Failed,
                _ => State::Other,
            },
            status: value["status"].as_str()?.to_owned(),
            kind: if machine {
                Kind::Machine
            } else {
                Kind::Container
            },
            life: if ephemeral {
                Life::Ephemeral
            } else {
                Life::Lasting
            },
        })
    }
}

/// `GET /1.0/instances/<name>`: some milliseconds of the server's time.
pub(super) fn look(client: &Client, instance: &str, limit: Limit) -> Result<Seen, Error> {
    let request = Request::get(ApiPath::of_instance(instance).to_string()).limit(limit);
    let reply = match client.request(&request) {
        Ok(reply) => reply,
        Err(Error::Api(error)) if error.status == 404 => return Ok(Seen::Missing),
        Err(error) => return unclear(error).map(Seen::Unclear),
    };
    let seen = Instance::from_value(reply.metadata());
    seen.map(Seen::There).ok_or_else(|| Error::Protocol {
        method: reply.method.clone(),
        path: reply.path.clone(),
        reason: "what came is no instance".to_owned(),
    })
}

/// Whether an operation is under way on an instance: it may be about to start, or to appear.
pub(super) fn is_busy(client: &Client, instance: &str, limit: Limit) -> Result<bool, Error> {
    let request = Request::get("operations?recursion=1").limit(limit);
    let reply = match client.request(&request) {
        Ok(reply) => reply,
        // Who may not see operations cannot wait for them.
        Err(Error::Api(_)) => return Ok(false),
        Err(error) => return unclear(error).map(|_| true),
    };
    let groups = reply.metadata().as_object().into_iter().flatten();
    let records = groups
        .filter_map(|(_, records)| records.as_array())
        .flatten();
    let mut operations = records.filter_map(Operation::from_value);
    Ok(operations.any(|operation| {
        operation.class.ends_by_itself() && !operation.is_final() && concerns(&operation, instance)
    }))
}

/// Whether an operation is about an instance itself.
fn concerns(operation: &Operation, instance: &str) -> bool {
    let named = operation::paths(&operation.raw);
    named
        .iter()
        .any(|path| path.is_instance() && path.instance() == Some(instance))
}

/// Why the server did not tell.
///
/// # Errors
/// The error itself when looking again will not help.
pub(super) fn unclear(error: Error) -> Result<String, Error> {
    let passes = error.is_transient() || matches!(error, Error::Timeout { .. });
    if passes {
        Ok(error.to_string())
    } else {
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::concerns;
    use crate::Operation;
    use serde_json::json;

    #[test]
    fn operations_are_told_apart_by_their_resources() {
        for (resources, expected) in [
            (json!({"instances": ["/1.0/instances/c1"]}), true),
            (
                json!({"containers": ["/1.0/containers/c1?project=p"], "x": null}),
                true,
            ),
            (
                json!({"instances": ["/1.0/instances/c10", "/1.0/instances/c1/snapshots/x"]}),
                false,
            ),
            (
                json!({"snapshots": ["/1.0/instances/c1/snapshots/x"]}),
                false,
            ),
            (json!(null), false),
        ] {
            let record = json!({"id": "x", "status_code": 103, "resources": resources});
            let operation = Operation::from_value(&record).unwrap();
            assert_eq!(concerns(&operation, "c1"), expected, "{resources}");
        }
    }
}
