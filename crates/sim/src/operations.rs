//! Work that outlives its request.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::call::{Answer, Call, Refusal, Reply, envelope, error_envelope, uuid};
use super::daemon::Daemon;
use super::events::Event;
use super::fault::OperationFault;
use super::flavor::Failed;
use super::lifecycle::{self, LifecycleEvent};

/// How long a finished operation can still be looked at.
const LIFETIME: Duration = Duration::from_secs(5);

const RUNNING: u16 = 103;
const SUCCESS: u16 = 200;
const FAILURE: u16 = 400;
const CANCELLED: u16 = 401;

/// What an operation is before it runs.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) class: &'static str,
    pub(super) description: &'static str,
    pub(super) project: String,
    pub(super) resources: Value,
    pub(super) metadata: Value,
}

impl Spec {
    pub(super) fn task(description: &'static str, project: &str, resources: Value) -> Self {
        Self {
            class: "task",
            description,
            project: project.to_owned(),
            resources,
            metadata: Value::Null,
        }
    }
}

#[derive(Debug)]
struct Operation {
    spec: Spec,
    created: String,
    updated: String,
    code: u16,
    error: Option<Refusal>,
    /// What is told when it has succeeded.
    happening: Option<LifecycleEvent>,
    ended: watch::Sender<bool>,
    /// Ends its work, once that has begun.
    work: Option<AbortHandle>,
    /// The member of a cluster that has it.
    location: String,
}

/// All operations that can still be looked at, by id.
#[derive(Debug, Default)]
pub(super) struct Operations(Mutex<BTreeMap<String, Operation>>);

fn status_of(code: u16) -> &'static str {
    match code {
        SUCCESS => "Success",
        FAILURE => "Failure",
        CANCELLED => "Cancelled",
        _ => "Running",
    }
}

impl Operation {
    fn object(&self, id: &str) -> Value {
        json!({
            "id": id, "class": self.spec.class, "description": self.spec.description,
            "created_at": self.created, "updated_at": self.updated,
            "status": status_of(self.code), "status_code": self.code,
            "resources": self.spec.resources, "metadata": self.spec.metadata,
            "may_cancel": self.spec.class == "token",
            "err": self.error.as_ref().map_or("", |error| &error.text),
            "location": self.location,
        })
    }
}

impl Operations {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Operation>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn object(&self, id: &str) -> Option<Value> {
        self.all().get(id).map(|operation| operation.object(id))
    }

    /// What has happened once an operation, given by its identifier, has succeeded.
    pub(super) fn follow(&self, id: &Value, happening: LifecycleEvent) {
        let id = id.as_str().unwrap_or_default();
        if let Some(operation) = self.all().get_mut(id) {
            operation.happening = Some(happening);
        }
    }

    /// A daemon that starts again knows none, and none of them goes on.
    pub(super) fn forget(&self) {
        for operation in std::mem::take(&mut *self.all()).into_values() {
            if let Some(work) = operation.work {
                work.abort();
            }
        }
    }

    fn add(&self, daemon: &Daemon, spec: Spec) -> String {
        let id = uuid();
        let now = daemon.clock.text();
        let operation = Operation {
            spec,
            created: now.clone(),
            updated: now,
            code: RUNNING,
            error: None,
            happening: None,
            ended: watch::channel(false).0,
            work: None,
            location: daemon.here(),
        };
        self.all().insert(id.clone(), operation);
        id
    }
}

fn tell(daemon: &Daemon, id: &str) {
    let found = {
        let all = daemon.operations.all();
        all.get(id)
            .map(|operation| (operation.object(id), operation.spec.project.clone()))
    };
    if let Some((metadata, project)) = found {
        daemon.events.send(
            daemon,
            &Event {
                kind: "operation",
                project: &project,
                metadata,
            },
        );
    }
}

/// Begins an operation with its identifier known to its work; the answer shows it running.
pub(super) fn begin<W>(
    daemon: &Arc<Daemon>,
    (spec, fault): (Spec, Option<OperationFault>),
    work: impl FnOnce(String) -> W,
) -> Reply
where
    W: Future<Output = Result<Value, Failure>> + 'static,
{
    let id = daemon.operations.add(daemon, spec);
    let begun = daemon.operations.object(&id).unwrap_or_default();
    let work = work(id.clone());
    let carried_out = {
        let (daemon, id) = (daemon.clone(), id.clone());
        tokio::task::spawn_local(async move {
            tell(&daemon, &id);
            let outcome = with_fault(&daemon, fault, work).await;
            finish(&daemon, &id, outcome);
        })
    };
    if let Some(operation) = daemon.operations.all().get_mut(&id) {
        operation.work = Some(carried_out.abort_handle());
    }
    Reply::Async(begun)
}

/// Says which member of a cluster has an operation that has just begun.
pub(super) fn locate(daemon: &Daemon, id: &str, location: &str) -> Option<Value> {
    let mut all = daemon.operations.all();
    let operation = all.get_mut(id)?;
    location.clone_into(&mut operation.location);
    Some(operation.object(id))
}

/// How an operation failed; some leave metadata all the same.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) refusal: Refusal,
    pub(super) metadata: Value,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            metadata: Value::Null,
        }
    }
}

async fn with_fault(
    daemon: &Daemon,
    fault: Option<OperationFault>,
    work: impl Future<Output = Result<Value, Failure>>,
) -> Result<Value, Failure> {
    let ordered = || Failure::from(Refusal::new(500, "Simulated failure"));
    match fault {
        None => work.await,
        Some(OperationFault::Fail) => Err(ordered()),
        Some(OperationFault::FailLate) => {
            work.await?;
            Err(ordered())
        }
        Some(OperationFault::Slow(duration)) => {
            daemon.clock.sleep(duration).await;
            work.await
        }
        Some(OperationFault::Never) => std::future::pending().await,
    }
}

fn finish(daemon: &Arc<Daemon>, id: &str, outcome: Result<Value, Failure>) {
    let happening = {
        let mut all = daemon.operations.all();
        let Some(operation) = all.get_mut(id) else {
            return;
        };
        operation.updated = daemon.clock.text();
        let metadata = match outcome {
            Ok(metadata) => {
                operation.code = SUCCESS;
                metadata
            }
            Err(failure) => {
                operation.code = FAILURE;
                operation.error = Some(failure.refusal);
                failure.metadata
            }
        };
        if !metadata.is_null() {
            operation.spec.metadata = metadata;
        }
        let fingerprint = operation.spec.metadata["fingerprint"].as_str();
        let happening = operation.happening.take();
        happening
            .filter(|_| operation.error.is_none())
            .map(|mut happening| {
                if happening.path == "images/" {
                    happening.path.push_str(fingerprint.unwrap_or_default());
                }
                happening
            })
    };
    if let Some(happening) = happening {
        lifecycle::tell(daemon, &happening);
    }
    close(daemon, id);
}

/// Tells those who wait, and forgets the operation after a while.
fn close(daemon: &Arc<Daemon>, id: &str) {
    if let Some(operation) = daemon.operations.all().get(id) {
        operation.ended.send_replace(true);
    }
    tell(daemon, id);
    let (daemon, id) = (daemon.clone(), id.to_owned());
    tokio::task::spawn_local(async move {
        tokio::time::sleep(LIFETIME).await;
        daemon.operations.all().remove(&id);
    });
}

fn missing() -> Refusal {
    Refusal::new(404, "Operation not found")
}

/// `GET /1.0/operations`: by status, and only statuses that there are.
pub(super) fn list(daemon: &Daemon, call: &Call) -> Reply {
    let mut lists: Map<String, Value> = Map::new();
    let hidden = daemon.profile.is_incus() && call.is_outside();
    for (id, operation) in daemon.operations.all().iter() {
        if hidden && !call.access.allows(&operation.spec.project) {
            continue;
        }
        if !call.all_projects() && operation.spec.project != call.project() {
            continue;
        }
        let entry = if call.recursion() > 0 {
            operation.object(id)
        } else {
            json!(format!("/1.0/operations/{id}"))
        };
        let status = status_of(operation.code).to_lowercase();
        let list = lists.entry(status).or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            list.push(entry);
        }
    }
    lists.sort_keys();
    Reply::Sync(Value::Object(lists))
}

/// `GET /1.0/operations/<id>`.
pub(super) fn show(daemon: &Daemon, id: &str) -> Answer {
    let object = daemon.operations.object(id);
    object.map(Reply::Sync).ok_or_else(missing)
}

/// `DELETE /1.0/operations/<id>`: only tokens can be cancelled.
pub(super) fn cancel(daemon: &Arc<Daemon>, id: &str) -> Answer {
    {
        let mut all = daemon.operations.all();
        let operation = all.get_mut(id).ok_or_else(missing)?;
        if operation.spec.class != "token" {
            return Err(Refusal::new(400, "This operation can't be cancelled"));
        }
        operation.code = CANCELLED;
    }
    close(daemon, id);
    Ok(Reply::empty())
}

/// Ends the token that has this secret; what was asked for when it was made.
pub(super) fn redeem(daemon: &Arc<Daemon>, secret: &str) -> Option<Value> {
    let (id, request) = {
        let mut all = daemon.operations.all();
        let (id, token) = all.iter_mut().find(|(_, operation)| {
            let spec = &operation.spec;
            spec.class == "token"
                && operation.code == RUNNING
                && spec.metadata["request"].is_object()
                && spec.metadata["secret"] == secret
        })?;
        token.code = CANCELLED;
        (id.clone(), token.spec.metadata["request"].clone())
    };
    close(daemon, &id);
    Some(request)
}

/// `GET /1.0/operations/<id>/wait`.
pub(super) async fn wait(daemon: &Daemon, id: &str, call: &Call) -> Answer {
    let mut ended = {
        let all = daemon.operations.all();
        all.get(id).ok_or_else(missing)?.ended.subscribe()
    };
    let seconds = match call.query("timeout").map(str::parse::<i64>) {
        None => -1,
        Some(Ok(seconds)) => seconds,
        Some(Err(_)) => return Err(Refusal::new(500, "strconv.Atoi: invalid syntax")),
    };
    let end = ended.wait_for(|ended| *ended);
    let in_time = match u64::try_from(seconds) {
        Ok(seconds) => {
            let limit = Duration::from_secs(seconds);
            daemon.clock.within(limit, end).await.is_some()
        }
        Err(_) => end.await.is_ok(),
    };
    let all = daemon.operations.all();
    let operation = all.get(id).ok_or_else(missing)?;
    let as_error = daemon.profile.failed == Failed::AsError;
    match &operation.error {
        Some(refusal) if as_error => Ok(Reply::Early(error_envelope(refusal))),
        None if as_error && !in_time => {
            let late = Refusal::new(500, "context deadline exceeded");
            Ok(Reply::Early(error_envelope(&late)))
        }
        _ if as_error => Ok(Reply::Early(envelope(&operation.object(id)))),
        _ => Ok(Reply::Sync(operation.object(id))),
    }
}
