//! What will run: resolved, valid, without surprises.

use std::sync::Arc;
use std::time::Duration;

use malleus_api::Servers;
use serde_json::Value;

use crate::template::{Expr, Template};
use malleus_source::{Place, Source, Span};

/// A playbook that has passed the static check.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The file it came from.
    pub source: Arc<Source>,
    /// Its name.
    pub name: String,
    /// What it does, in one sentence.
    pub summary: Option<String>,
    /// The server it asks for.
    pub remote: Option<String>,
    /// Where it says so.
    pub remote_span: Option<Span>,
    /// The project of every request.
    pub project: Option<Template>,
    /// What a caller may set.
    pub inputs: Vec<Input>,
    /// Derived values, in order.
    pub vars: Vec<Binding<Template>>,
    /// The project made for the run, if it wants one.
    pub isolate: Option<Isolate>,
    /// How long what the run creates may outlive it.
    pub lease: Option<Duration>,
    /// Deadline for the steps.
    pub timeout: Option<Duration>,
    /// How the simulated daemon behaves.
    pub sim: Simulation,
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// What is always done at the end.
    pub finally: Vec<Step>,
    /// Values for whoever ran it.
    pub outputs: Vec<Binding<Template>>,
}

/// How the simulated daemon of `--sim` is to behave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Simulation {
    /// Failures on order.
    pub rules: Vec<SimFault>,
    /// Random failures from this seed.
    pub seed: Option<u64>,
    /// Whether its clock jumps over waiting.
    pub virtual_time: bool,
}

/// One failure on order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimFault {
    /// The request, as `METHOD path`.
    pub on: String,
    /// Which of those requests, counted from 1; all without it.
    pub nth: Option<u32>,
    /// What goes wrong.
    pub fault: String,
}

impl Plan {
    /// A place in the playbook's file.
    pub fn place(&self, span: Span) -> Place {
        Place::new(&self.source, span)
    }
}

/// A project made for one run.
#[derive(Debug, Clone)]
pub struct Isolate {
    /// Where it is asked for.
    pub span: Span,
    /// Keys of its `config` beside those that a run's project has by itself.
    pub config: Vec<(String, Template)>,
}

/// A name where it is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The name.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// A name with what it is bound to.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding<T> {
    /// The name.
    pub name: Name,
    /// What it is bound to.
    pub value: T,
}

/// The type of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputType {
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A list.
    List,
    /// A mapping.
    Object,
}

/// Something a caller may set.
#[derive(Debug, Clone)]
pub struct Input {
    /// Its name.
    pub name: Name,
    /// Its type; nothing where neither a type nor a default says it, then any value will do.
    pub kind: Option<InputType>,
    /// Where its type is from.
    pub typing: Typing,
    /// Value where nobody sets one.
    pub default: Option<Value>,
    /// Whether somebody must set it.
    pub need: Need,
    /// Whether its value may be shown.
    pub visibility: Visibility,
    /// Environment variable that gives the value.
    pub env: Option<String>,
    /// What it is for.
    pub description: Option<String>,
}

/// Where the type of an input is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typing {
    /// Its `type`.
    Declared,
    /// Its default.
    ByDefault,
}

/// Whether a caller must set an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Somebody must set it.
    Required,
    /// It has a default, or is null.
    Optional,
}

/// Whether a value may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// It may.
    Shown,
    /// It is masked wherever it would be shown.
    Secret,
}

/// One step.
#[derive(Debug, Clone)]
pub struct Step {
    /// Where it begins.
    pub span: Span,
    /// Its title, where the author gave one.
    pub name: Option<Template>,
    /// The server it is for, where it is not the playbook's.
    pub remote: Option<Template>,
    /// The known servers that have what its action uses, that of other steps in it aside.
    pub servers: Servers,
    /// The name of its result.
    pub id: Option<Name>,
    /// Condition under which it runs.
    pub when: Option<Expr>,
    /// The list it runs over.
    pub for_each: Option<ForEach>,
    /// The name of an item, where it is not `item`.
    pub item: Option<Name>,
    /// How many items at a time.
    pub concurrency: usize,
    /// What must hold.
    pub expect: Expect,
    /// Names for parts of its result.
    pub capture: Vec<Binding<Expr>>,
    /// Whether what it captures may be shown.
    pub visibility: Visibility,
    /// How it is repeated until something holds.
    pub until: Option<Until>,
    /// How it is repeated when it fails.
    pub retry: Option<Retry>,
    /// Limit for one attempt, or for all of a group.
    pub timeout: Option<Duration>,
    /// What is done at the end of the run.
    pub cleanup: Vec<Step>,
    /// Whether what it creates is ever removed.
    pub keep: Keep,
    /// What its failure means.
    pub on_error: OnError,
    /// What it does.
    pub action: Action,
}

/// The list that a step runs over.
#[derive(Debug, Clone)]
pub enum ForEach {
    /// Written out.
    List(Template),
    /// Worked out.
    Expression(Expr),
}

impl Step {
    /// What the items of its loop, and their numbers, are called.
    pub fn loop_names(&self) -> [String; 2] {
        self.item.as_ref().map_or_else(
            || ["item".to_owned(), "index".to_owned()],
            |name| [name.text.clone(), format!("{}_index", name.text)],
        )
    }
}

/// Repetition until something holds.
#[derive(Debug, Clone)]
pub struct Until {
    /// What must hold.
    pub condition: Expr,
    /// What makes going on pointless.
    pub fail_when: Option<Expr>,
    /// Pause between two attempts.
    pub every: Duration,
    /// How long to go on.
    pub within: Duration,
}

/// Repetition of a failing step.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// How often it is tried, the first time included.
    pub attempts: u32,
    /// Pause before the second attempt.
    pub delay: Duration,
    /// Factor by which the pause grows.
    pub backoff: u32,
}

/// Whether what a step creates is ever removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// It is removed when the run is cleaned up.
    No,
    /// It stays.
    Yes,
}

/// What a step's failure means for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// The steps end.
    Fail,
    /// The run goes on.
    Continue,
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum Action {
    /// Sends a request.
    Request(Box<Request>),
    /// Runs a command.
    Exec(Box<Exec>),
    /// Binds names.
    Set(Vec<Binding<Template>>),
    /// States what must hold.
    Check(Vec<Expr>),
    /// Puts files into an instance.
    Push(Box<Push>),
    /// Gets files out of an instance.
    Pull(Box<Pull>),
    /// Waits until an instance is ready.
    WaitFor(Box<WaitFor>),
    /// Brings a resource to a state.
    Ensure(Box<Ensure>),
    /// Removes a resource.
    Absent(Box<Absent>),
    /// Runs a group with its own scope.
    Steps(Group),
    /// Runs steps side by side.
    Parallel(Parallel),
    /// Runs another playbook.
    Include(Box<Include>),
    /// Waits for an operation started in the background.
    Join(Name),
}

impl Plan {
    /// The known servers that have all that the playbook uses for certain.
    pub fn servers(&self) -> Servers {
        self.certain()
            .into_iter()
            .fold(Servers::ALL, |all, (_, servers)| all.and(servers))
    }

    /// The steps that are sent to the playbook's own server whatever happens, with the servers that have what they use:
    /// without those that have a condition or that may fail.
    pub(super) fn certain(&self) -> Vec<(Place, Servers)> {
        let mut found = Vec::new();
        certain(&self.source, &self.steps, &mut found);
        certain(&self.source, &self.finally, &mut found);
        found
    }
}

fn certain(source: &Arc<Source>, steps: &[Step], found: &mut Vec<(Place, Servers)>) {
    for step in steps {
        if step.when.is_some() || step.remote.is_some() || step.on_error == OnError::Continue {
            continue;
        }
        found.push((Place::new(source, step.span), step.servers));
        match &step.action {
            Action::Steps(group) => {
                certain(source, &group.steps, found);
                certain(source, &group.finally, found);
            }
            Action::Parallel(parallel) => certain(source, &parallel.steps, found),
            Action::Include(include) => found.extend(include.plan.certain()),
            _ => {}
        }
        certain(source, &step.cleanup, found);
    }
}

impl Action {
    /// The action's key.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Request(_) => "request",
            Self::Exec(_) => "exec",
            Self::Set(_) => "set",
            Self::Check(_) => "check",
            Self::Push(_) => "push",
            Self::Pull(_) => "pull",
            Self::WaitFor(_) => "wait_for",
            Self::Ensure(_) => "ensure",
            Self::Absent(_) => "absent",
            Self::Steps(_) => "steps",
            Self::Parallel(_) => "parallel",
            Self::Include(_) => "include",
            Self::Join(_) => "join",
        }
    }
}

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET` and so on.
    pub method: String,
    /// The path; see [`Renderer::path`](crate::template::Renderer::path).
    pub path: Template,
    /// Query parameters.
    pub query: Vec<(String, Template)>,
    /// Headers.
    pub headers: Vec<(String, Template)>,
    /// What is sent.
    pub body: Body,
    /// The file that takes the reply's body.
    pub save: Option<Template>,
    /// When its operation is waited for.
    pub waiting: Waiting,
    /// How numbers and booleans of the body are sent.
    pub scalars: Scalars,
}

/// What a request sends.
#[derive(Debug, Clone)]
pub enum Body {
    /// Nothing.
    None,
    /// JSON.
    Json(Template),
    /// A file's bytes.
    Upload(Template),
}

/// When the operation of a request is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// In the step itself.
    Here,
    /// In a later `join`, or at the end of the steps.
    Later,
}

/// A command.
#[derive(Debug, Clone)]
pub struct Exec {
    /// The instance.
    pub instance: Template,
    /// What runs.
    pub command: Command,
    /// A path in the instance: where it is there, nothing runs.
    pub creates: Option<Template>,
    /// Environment variables.
    pub environment: Vec<(String, Template)>,
    /// Working directory.
    pub cwd: Option<Template>,
    /// User id.
    pub user: Option<Template>,
    /// Group id.
    pub group: Option<Template>,
    /// How input and output travel.
    pub io: Io,
    /// Limit for the command.
    pub timeout: Option<Duration>,
}

/// What a command is.
#[derive(Debug, Clone)]
pub enum Command {
    /// A program and its arguments.
    Arguments(Vec<Template>),
    /// The same, as a list that is worked out.
    List(Template),
    /// A line for `sh -c`.
    Shell(Template),
}

/// How input and output of a command travel.
#[derive(Debug, Clone)]
pub enum Io {
    /// The daemon records the output; there is no input.
    Recorded,
    /// Over websockets, with this input.
    Streamed(Option<Template>),
}

/// Files for an instance.
#[derive(Debug, Clone)]
pub struct Push {
    /// The instance.
    pub instance: Template,
    /// Where they go.
    pub path: Template,
    /// What they are.
    pub source: PushSource,
    /// Mode of the files, as octal digits.
    pub mode: Option<Template>,
    /// Owner.
    pub uid: Option<Template>,
    /// Group.
    pub gid: Option<Template>,
}

/// What is put into an instance.
#[derive(Debug, Clone)]
pub enum PushSource {
    /// Text for a file.
    Content(Template),
    /// A file or folder of this machine, relative to the playbook.
    Local(Template),
}

/// Files from an instance.
#[derive(Debug, Clone)]
pub struct Pull {
    /// The instance.
    pub instance: Template,
    /// Where they are.
    pub path: Template,
    /// Where they go, relative to the playbook.
    pub to: Template,
}

/// What is waited for.
#[derive(Debug, Clone)]
pub struct WaitFor {
    /// The instance.
    pub instance: Template,
    /// What must hold, all of it.
    pub ready: Vec<Ready>,
    /// How long to wait; the step's own limit where it is not given.
    pub within: Option<Duration>,
}

/// One thing to wait for.
#[derive(Debug, Clone)]
pub enum Ready {
    /// One of [`READY_WORDS`](super::grammar::READY_WORDS).
    Word(String),
    /// A port takes connections.
    Tcp(Template),
    /// A command ends with exit code 0.
    Exec(Command),
    /// A file is there.
    File(Template),
}

/// How numbers and booleans are sent where the API has text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalars {
    /// As text.
    AsText,
    /// As they are: the step expects to be refused.
    AsWritten,
}

/// Whether an instance may be deleted and created anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replacement {
    /// It may, where the run or the environment has made it.
    Allowed,
    /// It stays.
    Never,
}

/// A resource and what it should be.
#[derive(Debug, Clone)]
pub struct Ensure {
    /// Its path.
    pub path: Template,
    /// Query parameters of every request about it.
    pub query: Vec<(String, Template)>,
    /// The keys it should have; what is not named is not touched.
    pub body: Option<Template>,
    /// State of an instance: `running`, `stopped` or `frozen`.
    pub state: Option<Template>,
    /// Whether an instance may be deleted and created anew for what cannot be changed.
    pub replace: Replacement,
    /// How numbers and booleans of the body are sent.
    pub scalars: Scalars,
}

/// A resource that should not be there.
#[derive(Debug, Clone)]
pub struct Absent {
    /// Its path.
    pub path: Template,
    /// Query parameters of every request about it.
    pub query: Vec<(String, Template)>,
}

/// Steps side by side.
#[derive(Debug, Clone)]
pub struct Parallel {
    /// The steps.
    pub steps: Vec<Step>,
    /// How many at a time; all where it is not given.
    pub concurrency: Option<usize>,
}

/// Another playbook.
#[derive(Debug, Clone)]
pub struct Include {
    /// Where its name stands.
    pub span: Span,
    /// Which of the includes of its file it is, from 1.
    pub number: usize,
    /// The playbook, checked.
    pub plan: Plan,
    /// Values for its inputs.
    pub with: Vec<Binding<Template>>,
}

/// A group of steps.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// What is always done as the group is left.
    pub finally: Vec<Step>,
}

/// What must hold after a step.
#[derive(Debug, Clone, Default)]
pub struct Expect {
    /// HTTP status: one of these.
    pub status: Option<Vec<Template>>,
    /// Text contained in the error.
    pub error: Option<Template>,
    /// Exit code: one of these.
    pub exit_code: Option<Vec<Template>>,
    /// What the command printed.
    pub stdout: Vec<Matcher>,
    /// What the command printed to standard error.
    pub stderr: Vec<Matcher>,
    /// A subset of the metadata.
    pub metadata: Option<Template>,
    /// Expressions.
    pub that: Vec<Expr>,
}

impl Expect {
    /// Whether anything is expected at all.
    pub fn is_any(&self) -> bool {
        self.status.is_some()
            || self.error.is_some()
            || self.exit_code.is_some()
            || self.metadata.is_some()
            || !self.stdout.is_empty()
            || !self.stderr.is_empty()
            || !self.that.is_empty()
    }
}

/// What is asked of text.
#[derive(Debug, Clone)]
pub enum Matcher {
    /// It is this.
    Exact(Template),
    /// It contains this.
    Contains(Template),
    /// This regular expression matches somewhere in it.
    Matches(Template),
    /// It is JSON that has this subset.
    Json(Template),
}

impl Matcher {
    /// Where it is written.
    pub fn span(&self) -> Span {
        match self {
            Self::Exact(wanted)
            | Self::Contains(wanted)
            | Self::Matches(wanted)
            | Self::Json(wanted) => wanted.span(),
        }
    }
}
