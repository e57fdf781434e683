//! Carries out one action once: render, send, wait.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malleus_api::ApiPath;
use malleus_api::bodies::Schema;
use serde_json::{Map, Value, json};

use super::executor::{Frame, Run};
use super::pending_work::{OperationWatch, Pending, Work};
use crate::client::{self, Content, Limit, Operation, Reply, Wait};
use crate::diagnostic::Diagnostic;
use crate::playbook::grammar::ACTIONS;
use crate::playbook::plan::{self, Action, Body, Name, Scalars, Waiting};
use crate::resources::{Before, Maker, Owner, RUN_KEY, Retention, Ticket, hide_mark};
use crate::template::{Renderer, Template, TemplateError};

/// How long an operation may take to end once its step was cancelled.
pub(super) const DRAIN: Duration = Duration::from_secs(10);
/// The same where the step's own limit has passed already.
const DRAIN_LATE: Duration = Duration::from_secs(2);

/// What an action showed, before anyone judges it.
#[derive(Debug, Default)]
pub(super) struct ActionResult {
    pub(super) status: Option<u16>,
    pub(super) headers: Map<String, Value>,
    pub(super) etag: Option<String>,
    pub(super) metadata: Value,
    pub(super) operation: Value,
    pub(super) body: Value,
    pub(super) command: Option<CommandOutput>,
    /// The refusal of the API, or the failure of the operation: the daemon's own words.
    pub(super) error: Option<String>,
    /// Whether a failure leaves open what was done.
    pub(super) may_be_done: bool,
    /// The request or the command, for messages.
    pub(super) what: String,
    /// What the action made of the resource: nothing for actions that do not compare.
    pub(super) change: Option<Change>,
    /// What the step makes, where it is there so that nothing was done.
    pub(super) already_there: Option<String>,
}

/// What became of a resource that an action brings to a state.
#[derive(Debug, Clone)]
pub(super) struct Change {
    /// `created`, `changed`, `replaced`, `unchanged`, `removed`.
    pub(super) outcome: &'static str,
    /// What differed: `{path, from, to}` each.
    pub(super) difference: Vec<Value>,
    /// What else there is to say.
    pub(super) note: String,
}

impl Change {
    /// Nothing has changed.
    pub(super) fn none() -> Self {
        Self::with("unchanged")
    }

    /// An outcome without details.
    pub(super) fn with(outcome: &'static str) -> Self {
        Self {
            outcome,
            difference: Vec::new(),
            note: String::new(),
        }
    }
}

/// What a command left.
#[derive(Debug)]
pub(super) struct CommandOutput {
    pub(super) exit_code: i32,
    pub(super) message: Option<String>,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

impl CommandOutput {
    /// How a command ended that did not end well.
    pub(super) fn failure(&self) -> Option<String> {
        let seen = self.exit_code;
        (seen != 0).then(|| {
            self.message.as_ref().map_or_else(
                || format!("the command ended with exit code {seen}"),
                |words| format!("{} (exit code {seen})", words.trim()),
            )
        })
    }
}

/// Why an action showed nothing.
#[derive(Debug)]
pub(super) enum ActionError {
    /// A template in it failed.
    Template(TemplateError),
    /// The runner itself refuses it.
    Refused(Box<Diagnostic>),
    /// The client failed, other than by a refusal.
    Client(Box<ClientFailure>),
}

/// Why a request or a command has no result.
#[derive(Debug)]
pub(super) struct ClientFailure {
    pub(super) error: client::Error,
    /// The request or the command.
    pub(super) what: String,
    /// What else is known, such as the output so far: masked.
    pub(super) notes: Vec<String>,
}

impl ActionError {
    pub(super) fn client(error: client::Error, what: String) -> Self {
        Self::Client(Box::new(ClientFailure {
            error,
            what,
            notes: Vec::new(),
        }))
    }

    /// The error of the client, if it is one.
    pub(super) fn client_error(&self) -> Option<&client::Error> {
        match self {
            Self::Client(failure) => Some(&failure.error),
            Self::Template(_) | Self::Refused(_) => None,
        }
    }

    /// Adds what else is known to an error of the client.
    pub(super) fn with_notes(mut self, notes: Vec<String>) -> Self {
        if let Self::Client(failure) = &mut self {
            failure.notes.extend(notes);
        }
        self
    }
}

impl From<TemplateError> for ActionError {
    fn from(error: TemplateError) -> Self {
        Self::Template(error)
    }
}

impl ActionResult {
    /// The fields of the step's result.
    pub(super) fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        put("status", self.status.into());
        put("headers", Value::Object(self.headers.clone()));
        put("etag", self.etag.clone().into());
        put("metadata", self.metadata.clone());
        put("operation", self.operation.clone());
        put("body", self.body.clone());
        put("failed", self.error.is_some().into());
        put("error", self.words().into());
        put("skipped", false.into());
        if let Some(change) = &self.change {
            put("outcome", change.outcome.into());
            put("difference", change.difference.clone().into());
        }
        if let Some(command) = &self.command {
            put("exit_code", command.exit_code.into());
            for (name, bytes) in [("stdout", &command.stdout), ("stderr", &command.stderr)] {
                let (text, encoded) = match std::str::from_utf8(bytes) {
                    Ok(text) => (Value::from(text), Value::Null),
                    Err(_) => (Value::Null, STANDARD.encode(bytes).into()),
                };
                put(name, text);
                put(&format!("{name}_base64"), encoded);
            }
        }
        fields
    }

    /// What went wrong, in words: the daemon's own, or how a command ended.
    pub(super) fn words(&self) -> Option<String> {
        self.error
            .clone()
            .or_else(|| self.command.as_ref()?.failure())
    }

    /// What a failure of the client shows, where that is expected.
    pub(super) fn failed(words: String, what: String) -> Self {
        Self {
            error: Some(words),
            what,
            ..Self::default()
        }
    }

    /// The fields of the result of a step with this action: those that it could not fill are null.
    pub(super) fn fields_of(&self, action: &Action) -> Map<String, Value> {
        let mut fields = self.fields();
        let own = ACTIONS.iter().find(|keys| keys.name == action.key());
        for name in own.map_or(&[][..], |keys| keys.result) {
            fields.entry(*name).or_insert(Value::Null);
        }
        fields
    }

    pub(super) fn from_reply(reply: &Reply) -> Self {
        Self {
            status: Some(reply.status),
            headers: reply
                .headers
                .iter()
                .map(|(name, value)| (name.to_ascii_lowercase(), value.into()))
                .collect(),
            etag: reply.etag().map(str::to_owned),
            metadata: with_token(reply.metadata().clone()),
            body: match &reply.content {
                Content::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned().into(),
                _ => reply.body(),
            },
            error: reply.api_error().map(|error| error.message),
            what: format!("{} {}", reply.method, reply.path),
            ..Self::default()
        }
    }

    /// What a refusal of the API shows.
    fn refused(refusal: client::ApiError) -> Self {
        Self {
            status: Some(refusal.status),
            what: format!("{} {}", refusal.method, refusal.path),
            error: Some(refusal.message),
            ..Self::default()
        }
    }

    pub(super) fn with_operation(mut self, operation: &Operation) -> Self {
        self.operation = operation.raw.clone();
        self.metadata = operation.metadata.clone();
        if let (Some(token), Value::Object(parts)) =
            (client::Token::of(operation), &mut self.metadata)
        {
            // As it is given to whoever is to be trusted, or to join.
            parts.insert("token".into(), token.joined().into());
        }
        if operation.failed() {
            let words = if operation.err.is_empty() {
                &operation.status
            } else {
                &operation.err
            };
            self.error = Some(words.clone());
        }
        self
    }
}

/// One attempt at a step's action.
pub(super) struct Attempt<'t, 'plan> {
    pub(super) run: &'t Run<'plan>,
    pub(super) frame: &'t Frame<'plan>,
    pub(super) limit: Limit,
    /// The step's number and those of the groups around it.
    pub(super) owner: Owner,
    /// What becomes of what the step creates.
    pub(super) fate: Retention,
    /// Is told what the operation says of its progress.
    pub(super) progress: &'t (dyn Fn(&Operation) + Sync),
}

impl Attempt<'_, '_> {
    pub(super) fn act(&self, step: &plan::Step) -> Result<ActionResult, ActionError> {
        match &step.action {
            Action::Request(request) => self.request(step, request),
            Action::Exec(exec) => self.exec(exec),
            Action::Join(name) => self.join(name),
            Action::Push(push) => self.push(push),
            Action::Pull(pull) => self.pull(pull),
            Action::WaitFor(wait) => self.wait_for(wait),
            Action::Ensure(ensure) => self.ensure(ensure),
            Action::Absent(absent) => self.absent(absent),
            // These talk to nobody: the executor carries them out itself.
            Action::Set(_)
            | Action::Check(_)
            | Action::Steps(_)
            | Action::Parallel(_)
            | Action::Include(_) => Ok(ActionResult::default()),
        }
    }

    pub(super) fn renderer(&self) -> Renderer<'_> {
        self.run.renderer(self.frame)
    }

    pub(super) fn wait(&self) -> Wait<'_> {
        Wait {
            limit: self.limit,
            progress: Some(self.progress),
            started: None,
        }
    }

    fn request(
        &self,
        step: &plan::Step,
        action: &plan::Request,
    ) -> Result<ActionResult, ActionError> {
        let request = self.render_request(action)?;
        let what = format!("{} {}", request.method(), request.path());
        let look = |seen: ActionResult| self.in_project(&request, seen);
        let done = match (&action.save, action.waiting) {
            (Some(file), _) => {
                let file = self.path(file)?;
                self.save(&request, &file)
            }
            (None, Waiting::Later) => self.begin(step, &request),
            (None, Waiting::Here) => self.exchange_or_stand(&request).and_then(look),
        };
        done.map_err(|error| ActionError::client(error, what))
    }

    /// Some servers list nothing, in the place of an error, for a project that is not there: one look at the project tells.
    fn in_project(
        &self,
        request: &client::Request,
        seen: ActionResult,
    ) -> Result<ActionResult, client::Error> {
        let is_empty = seen.metadata.as_array().is_some_and(Vec::is_empty);
        if request.method() != "GET" || !is_empty || seen.error.is_some() {
            return Ok(seen);
        }
        let client = &self.frame.client;
        let path = ApiPath::parse(&client.target_of(request)?);
        let Some(project) = path
            .as_ref()
            .filter(|path| path.query("all-projects").is_none())
            .and_then(ApiPath::project)
            .filter(|project| *project != "default")
        else {
            return Ok(seen);
        };
        let known = (client.remote().to_string(), project.to_owned());
        if self.run.knows_project(&known) {
            return Ok(seen);
        }
        let look = client::Request::new("GET", ApiPath::of_project(project).to_string());
        let found = self.exchange(&look.limit(self.limit))?;
        if found.status == Some(404) {
            return Ok(ActionResult {
                what: seen.what,
                ..found
            });
        }
        self.run.note_project(known);
        Ok(seen)
    }

    /// Sends a request and waits for its operation; as many at a time as is good for the server.
    pub(super) fn exchange(
        &self,
        request: &client::Request,
    ) -> Result<ActionResult, client::Error> {
        let (seen, ticket) = self.exchange_knowing(request, Before::Unknown)?;
        self.identify(&ticket);
        Ok(seen)
    }

    /// The same, where it may be known that what it creates is not there, and where that is looked at next.
    pub(super) fn exchange_knowing(
        &self,
        request: &client::Request,
        before: Before,
    ) -> Result<(ActionResult, Ticket), client::Error> {
        let client = &self.frame.client;
        let limits = self.run.limits(client);
        let _permit = limits
            .of(request)
            .map(|gate| gate.enter(client))
            .transpose()?;
        let (seen, begun, ticket) = self.send(request, before)?;
        match begun {
            Some(begun) if begun.class.ends_by_itself() => {
                let ended = client
                    .wait(&begun.id, &self.wait())
                    .inspect_err(|error| self.settle((&begun.id, &ticket), error))?;
                self.ended(&ticket, &ended);
                if !ended.failed() {
                    self.forget_logs(request);
                }
                Ok((seen.with_operation(&ended), ticket))
            }
            Some(begun) => Ok((seen.with_operation(&begun), ticket)),
            None => {
                if seen.error.is_none() {
                    self.forget_logs(request);
                }
                Ok((seen, ticket))
            }
        }
    }

    /// Sends a request whose operation is waited for later.
    fn begin(
        &self,
        step: &plan::Step,
        request: &client::Request,
    ) -> Result<ActionResult, client::Error> {
        let (mut seen, begun, ticket) = self.send(request, Before::Unknown)?;
        let work = match &begun {
            Some(begun) if begun.class.ends_by_itself() => Work::Operation {
                id: begun.id.clone(),
                watch: OperationWatch::begin(&self.frame.client, &begun.id),
            },
            // Others are not ended by the server: there is nothing to wait for.
            Some(begun) => return Ok(seen.with_operation(begun)),
            None => match seen.error.take_if(|_| !judges_refusal(step)) {
                Some(words) => Work::Refused(seen.status, words),
                None => return Ok(seen),
            },
        };
        self.run.pending_work().pending.push(Pending {
            id: step.id.as_ref().map(|id| id.text.clone()),
            work,
            what: seen.what.clone(),
            place: self.frame.plan.place(step.span),
            client: self.frame.client.clone(),
            ticket,
        });
        Ok(match &begun {
            Some(begun) => seen.with_operation(begun),
            None => seen,
        })
    }

    fn send(
        &self,
        request: &client::Request,
        before: Before,
    ) -> Result<(ActionResult, Option<Operation>, Ticket), client::Error> {
        if request.method() != "GET" {
            // A log that is still being deleted keeps its instance's volume in use.
            self.run.log_deleter.drain();
        }
        let client = &self.frame.client;
        let tracker = self.run.session.tracker;
        let stamp = &self.run.stamp;
        let stamped = match self.fate {
            Retention::Removed | Retention::RemovedAtEnd => stamp.on(client, request)?,
            // What stays must not end with a lease.
            Retention::Stays => None,
        };
        let stamped = match stamped {
            None => stamp.kept_by(client, request, tracker)?,
            stamped => stamped,
        };
        let request = stamped.as_ref().unwrap_or(request);
        let maker = Maker {
            owner: self.owner.clone(),
            fate: self.fate,
            step: self.frame.origin.clone(),
        };
        let ticket = tracker.before((client, request), before, maker)?;
        let reply = self.deliver(request, &ticket)?;
        tracker.replied(&ticket, &reply);
        let begun = reply.operation();
        self.run.masker.add(&client::secrets_of(&reply).into());
        if let Some(begun) = &begun {
            self.note_recorded_logs(request, &reply, begun);
        }
        let mut seen = ActionResult::from_reply(&reply);
        // A playbook that names the mark means to see it.
        if stamp.lease.is_none() && !self.frame.plan.source.text().contains(RUN_KEY) {
            hide_mark(&mut seen.metadata, &stamp.run);
            hide_mark(&mut seen.body, &stamp.run);
        }
        Ok((seen, begun, ticket))
    }

    /// Learns what tells a resource without a mark that was just made from a later one of its name.
    fn identify(&self, ticket: &Ticket) {
        let tracker = self.run.session.tracker;
        if let Some(resource) = tracker.unrecognised(ticket) {
            let look = resource.look().limit(self.limit);
            // Without an answer its name alone tells.
            if let Ok(reply) = self.frame.client.request(&look) {
                tracker.saw(&resource, reply.metadata());
            }
        }
    }

    /// Takes note of how an operation ended.
    fn ended(&self, ticket: &Ticket, operation: &Operation) {
        // Some secrets come with the end, such as the key of a new bucket.
        let secrets = client::secrets_in(&operation.metadata);
        self.run.masker.add(&secrets.into());
        let client = &self.frame.client;
        self.run.note_end(client, (ticket, operation), self.limit);
    }

    /// An operation that nobody waits for any longer is cancelled where the server can, and otherwise given time to
    /// end: what cleans up behind it must not come before its end.
    fn settle(&self, (operation, ticket): (&str, &Ticket), error: &client::Error) {
        let patience = match error {
            client::Error::Cancelled => DRAIN,
            client::Error::Timeout { .. } => DRAIN_LATE,
            _ => return,
        };
        let limit = self.frame.client.limit("drain", patience);
        self.run
            .drained((operation, ticket), &self.frame.client, limit);
    }

    pub(super) fn render_request(
        &self,
        action: &plan::Request,
    ) -> Result<client::Request, TemplateError> {
        let renderer = self.renderer();
        let path = renderer.path(&action.path)?;
        let mut request = client::Request::new(&action.method, path).limit(self.limit);
        for (name, value) in &action.query {
            request = request.query(name, renderer.text(value)?);
        }
        for (name, value) in &action.headers {
            request = request.header(name, renderer.text(value)?);
        }
        Ok(match &action.body {
            Body::None => request,
            Body::Json(body) => {
                let mut body = renderer.value(body)?;
                if action.scalars == Scalars::AsText {
                    Schema::of_request(&action.method, request.path()).write_text(&mut body);
                }
                request.json(body)
            }
            Body::Upload(file) => request.upload(self.path(file)?),
        })
    }

    /// A file's path, relative to the playbook.
    pub(super) fn path(&self, template: &Template) -> Result<PathBuf, TemplateError> {
        let name = self.renderer().text(template)?;
        Ok(self.frame.plan.source.folder().join(Path::new(&name)))
    }

    /// Streams the reply into a file.
    fn save(&self, request: &client::Request, file: &Path) -> Result<ActionResult, client::Error> {
        let reply = match self
            .frame
            .client
            .save(request, file, self.frame.plan.source.folder())
        {
            Err(client::Error::Api(error)) => return Ok(ActionResult::refused(error)),
            other => other?,
        };
        let mut seen = ActionResult::from_reply(&reply);
        if let Content::Streamed { bytes } = reply.content {
            seen.metadata = json!({"file": file.display().to_string(), "bytes": bytes});
        }
        Ok(seen)
    }

    fn join(&self, name: &Name) -> Result<ActionResult, ActionError> {
        let mut pending_work = self.run.pending_work();
        let is_meant = |pending: &mut Pending| pending.id.as_deref() == Some(&name.text);
        // Several where the step was a loop.
        let meant: Vec<Pending> = pending_work.pending.extract_if(.., is_meant).collect();
        drop(pending_work);
        // Nothing pending: the step was skipped, its reply was final already, or it was joined before.
        let mut joined = ActionResult {
            what: format!("join {}", name.text),
            ..ActionResult::default()
        };
        for pending in &meant {
            let seen = self.finish(pending)?;
            if joined.error.is_none() {
                joined = seen;
            }
        }
        Ok(joined)
    }

    /// Waits for what was begun in the background.
    pub(super) fn finish(&self, pending: &Pending) -> Result<ActionResult, ActionError> {
        let (operation, watch) = match &pending.work {
            Work::Operation { id, watch } => (id, watch),
            Work::Refused(status, words) => {
                return Ok(ActionResult {
                    status: *status,
                    error: Some(words.clone()),
                    what: pending.what.clone(),
                    ..ActionResult::default()
                });
            }
        };
        let wait = self.wait();
        let waited = match watch.end(&pending.client, &wait) {
            Some(ended) => Ok(ended),
            // Says why, or waits on.
            None => pending.client.wait(operation, &wait),
        };
        let ended = waited.map_err(|error| {
            self.settle((operation, &pending.ticket), &error);
            ActionError::client(error, pending.what.clone())
        })?;
        self.ended(&pending.ticket, &ended);
        self.identify(&pending.ticket);
        Ok(ActionResult {
            what: pending.what.clone(),
            ..ActionResult::default().with_operation(&ended)
        })
    }
}

/// Whether a background step itself says what is to be done about a refusal. Otherwise a refusal in the reply waits for
/// whoever joins, as the failure of the operation does: which of the two it is differs between servers.
fn judges_refusal(step: &plan::Step) -> bool {
    step.expect.status.is_some()
        || step.expect.error.is_some()
        || step.retry.is_some()
        || step.until.is_some()
}

/// The metadata of a reply; with `token` where it is a token in parts, as it is given to the one who is to be trusted.
fn with_token(mut metadata: Value) -> Value {
    let token = client::Token::of_identity(&metadata);
    if let (Some(token), Value::Object(parts)) = (token, &mut metadata) {
        parts.insert("token".into(), token.joined().into());
    }
    metadata
}

/// A refusal of the API is something an action showed; other errors are trouble.
pub(super) fn refusal(error: client::Error, what: &str) -> Result<ActionResult, ActionError> {
    match error {
        client::Error::Api(error) => Ok(ActionResult {
            what: what.to_owned(),
            ..ActionResult::refused(error)
        }),
        client::Error::Operation(failure) => Ok(ActionResult {
            what: what.to_owned(),
            ..ActionResult::default().with_operation(&failure.operation)
        }),
        error => Err(ActionError::client(error, what.to_owned())),
    }
}
