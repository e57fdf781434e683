use std::time::{Duration, Instant};

use malleus_api::{Meaning, means};

use super::operation::operation_id;
use super::{Backoff, Client, Content, EnvelopeKind, Error, Limit, Operation, Reply, Request};
use malleus_core::clock::Clock;

/// How long one `/wait` lasts when nobody watches the progress.
const SLICE: Duration = Duration::from_secs(20);

/// How long one `/wait` lasts when somebody does.
const SLICE_WITH_PROGRESS: Duration = Duration::from_secs(1);

/// How much later than asked for the answer to a `/wait` may come.
const MARGIN: Duration = Duration::from_secs(10);

/// How long a server may stay away before its operation is given up, whatever the limit.
const LONGEST_ABSENCE: Duration = Duration::from_secs(120);

/// How long a cluster may answer that it cannot reach the member with the operation. A member that comes back after that
/// knows it no more.
const LONGEST_DETOUR: Duration = Duration::from_secs(30);

/// How often a server that is away is looked for, at most and at least.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How long to wait for something, and whom to tell meanwhile.
#[derive(Clone, Copy)]
pub struct Wait<'a> {
    /// When to give up.
    pub limit: Limit,
    /// Is told about a running operation about once a second, on the waiting thread.
    pub progress: Option<&'a (dyn Fn(&Operation) + Sync)>,
    /// Is told about an operation as soon as its identifier is known, before anything is awaited.
    pub started: Option<&'a (dyn Fn(&Operation) + Sync)>,
}

impl Default for Wait<'_> {
    /// No limit, nobody to tell.
    fn default() -> Self {
        Self::within(Limit::never())
    }
}

impl Wait<'_> {
    /// Gives up at `limit`, with nobody to tell.
    pub fn within(limit: Limit) -> Self {
        Self {
            limit,
            progress: None,
            started: None,
        }
    }
}

impl std::fmt::Debug for Wait<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wait")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// What one look at the operation showed.
enum Seen {
    /// It has ended.
    Final(Operation),
    /// It had not ended when the look did.
    Running(Operation),
    /// An answer that does not tell.
    Unclear(Doubt),
}

/// Why a look did not tell how the operation is.
enum Doubt {
    /// The server ended the wait with this text: the operation's own error, or that of a deadline.
    Text(String),
    /// The server does not know the operation.
    Unknown,
    /// The server did not answer, or not sensibly.
    Silence(String),
    /// The server answered that it is in trouble itself.
    Trouble(String),
}

/// Waits for one operation to end, through all that `/wait` is known to answer.
///
/// Servers differ in what they say when the operation fails or the wait runs out: a record, or HTTP 200
/// with an error body and no record. So anything but a record is followed by a GET of the operation, which
/// is there for five seconds after its end; and only the server's own word that it does not know the
/// operation, or a long silence, ends the wait with an unknown outcome.
pub(super) struct Waiter<'a> {
    client: &'a Client,
    id: &'a str,
    wait: &'a Wait<'a>,
    /// The request that began the operation, for errors.
    cause: (&'a str, &'a str),
    silent_since: Option<Instant>,
    backoff: Backoff,
}

impl<'a> Waiter<'a> {
    pub(super) fn new(
        client: &'a Client,
        operation: &'a str,
        wait: &'a Wait<'a>,
        cause: (&'a str, &'a str),
    ) -> Result<Self, Error> {
        let id = operation_id(operation).ok_or_else(|| Error::InvalidRequest {
            method: "GET".to_owned(),
            path: operation.to_owned(),
            reason: "this names no operation".to_owned(),
        })?;
        Ok(Self {
            client,
            id,
            wait,
            cause,
            silent_since: None,
            backoff: Backoff::new(BACK_OFF.0, BACK_OFF.1),
        })
    }

    /// The path of the operation itself.
    pub(super) fn path(&self) -> String {
        format!("operations/{}", self.id)
    }

    /// The operation as it ended.
    pub(super) fn run(mut self) -> Result<Operation, Error> {
        loop {
            if self.wait.limit.is_over() {
                return self.last_look();
            }
            let clock = self.client.clock();
            let begun = clock.now();
            let doubt = match self.look_for_a_slice()? {
                Seen::Final(operation) => return Ok(operation),
                Seen::Running(operation) => {
                    self.report(&operation);
                    // A server that does not wait as long as asked is not asked in a tight loop.
                    if clock.elapsed(begun) < BACK_OFF.0 {
                        self.back_off()?;
                    }
                    continue;
                }
                Seen::Unclear(doubt) => doubt,
            };
            if let Some(operation) = self.resolve(doubt)? {
                return Ok(operation);
            }
        }
    }

    /// `GET /1.0/operations/<id>/wait?timeout=<seconds>`: as long as the slice lasts, or the limit if
    /// that is shorter.
    fn look_for_a_slice(&self) -> Result<Seen, Error> {
        let slice = match self.wait.progress {
            // A simulated clock may pass too quickly for anybody to watch.
            Some(_) if self.client.clock() == Clock::machine() => SLICE_WITH_PROGRESS,
            _ => SLICE,
        };
        let left = self.wait.limit.remaining().unwrap_or(Duration::MAX);
        let seconds = slice.min(left).as_secs_f64().ceil().max(1.0);
        let limit = Limit::after("wait", slice.saturating_add(MARGIN)).earlier(self.wait.limit);
        let path = format!("{}/wait?timeout={seconds}", self.path());
        self.look(&path, limit)
    }

    /// `GET /1.0/operations/<id>`: how it is now.
    fn look_now(&self, limit: Limit) -> Result<Seen, Error> {
        self.look(&self.path(), limit)
    }

    fn look(&self, path: &str, limit: Limit) -> Result<Seen, Error> {
        match self.client.send_unscoped(&Request::get(path).limit(limit)) {
            Ok(reply) => Ok(judge(&reply)),
            Err(Error::Cancelled) => Err(Error::Cancelled),
            Err(error) => Ok(Seen::Unclear(Doubt::Silence(error.to_string()))),
        }
    }

    /// Finds out what an answer without a record means, by the record itself.
    fn resolve(&mut self, doubt: Doubt) -> Result<Option<Operation>, Error> {
        let limit = Limit::after("wait", MARGIN).earlier(self.wait.limit);
        match (self.look_now(limit)?, doubt) {
            (Seen::Final(operation), _) => return Ok(Some(operation)),
            (Seen::Running(operation), doubt) => {
                self.silent_since = None;
                self.report(&operation);
                match doubt {
                    Doubt::Text(text) if is_deadline(&text) => {
                        self.backoff = Backoff::new(BACK_OFF.0, BACK_OFF.1);
                    }
                    // The wait itself failed: not to be asked for again at once.
                    _ => self.back_off()?,
                }
            }
            (Seen::Unclear(Doubt::Unknown), Doubt::Text(text)) if is_own_error(&text) => {
                return Ok(Some(Operation::failed_with(self.id, &text)));
            }
            (Seen::Unclear(Doubt::Unknown), _) => {
                return Err(self.lost("the server no longer knows the operation"));
            }
            // Refused without being missing: looking again will not help.
            (Seen::Unclear(Doubt::Text(why)), _) => return Err(self.lost(&why)),
            (Seen::Unclear(Doubt::Silence(why) | Doubt::Trouble(why)), first) => {
                let clock = self.client.clock();
                let since = *self.silent_since.get_or_insert_with(|| clock.now());
                let (longest, reason) = match first {
                    Doubt::Trouble(_) if self.client.server().clustered => (
                        LONGEST_DETOUR,
                        format!("the cluster cannot reach the member that carries it out: {why}"),
                    ),
                    _ => (LONGEST_ABSENCE, why),
                };
                if clock.elapsed(since) > longest {
                    return Err(self.lost(&reason));
                }
                self.back_off()?;
            }
        }
        Ok(None)
    }

    /// The limit has passed: the operation may have ended at the same moment.
    fn last_look(&self) -> Result<Operation, Error> {
        match self.look_now(Limit::after("wait", BACK_OFF.1))? {
            Seen::Final(operation) => Ok(operation),
            Seen::Unclear(Doubt::Unknown) => {
                Err(self.lost("the server no longer knows the operation"))
            }
            Seen::Running(_) | Seen::Unclear(_) => Err(Error::Timeout {
                limit: self.wait.limit.name(),
                after: self.wait.limit.total(),
                method: self.cause.0.to_owned(),
                path: self.cause.1.to_owned(),
                operation: Some(self.id.to_owned()),
                note: None,
            }),
        }
    }

    fn report(&mut self, operation: &Operation) {
        self.silent_since = None;
        if let Some(progress) = self.wait.progress {
            progress(operation);
        }
    }

    fn back_off(&mut self) -> Result<(), Error> {
        match self.backoff.next(self.wait.limit) {
            Some(pause) => self.client.pause(pause),
            None => Ok(()),
        }
    }

    fn lost(&self, reason: &str) -> Error {
        Error::Lost {
            operation: self.id.to_owned(),
            method: self.cause.0.to_owned(),
            path: self.cause.1.to_owned(),
            reason: reason.to_owned(),
        }
    }
}

fn judge(reply: &Reply) -> Seen {
    let Content::Envelope(envelope) = &reply.content else {
        return Seen::Unclear(Doubt::Silence(format!("HTTP status {}", reply.status)));
    };
    if envelope.kind == EnvelopeKind::Error {
        return Seen::Unclear(match reply.status {
            // Only the HTTP status tells a missing operation from one that failed with "not found".
            404 => Doubt::Unknown,
            status if status >= 500 => Doubt::Trouble(envelope.error.clone()),
            _ => Doubt::Text(envelope.error.trim().to_owned()),
        });
    }
    match Operation::from_value(envelope.metadata()) {
        Some(operation) if operation.is_final() => Seen::Final(operation),
        Some(operation) => Seen::Running(operation),
        None => Seen::Unclear(Doubt::Silence("an answer without an operation".to_owned())),
    }
}

fn is_deadline(text: &str) -> bool {
    means(text, Meaning::Deadline)
}

/// Whether the text of an ended wait is the operation's own error, not the server's trouble.
fn is_own_error(text: &str) -> bool {
    let trouble = [Meaning::Deadline, Meaning::Transient, Meaning::Broken]
        .iter()
        .any(|meaning| means(text, *meaning));
    !text.is_empty() && !trouble
}
