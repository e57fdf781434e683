use std::io;
use std::path::PathBuf;
use std::time::Duration;

use humantime::format_duration;
use malleus_api::{Meaning, means};

use super::{ApiError, Flavor, NotReady, Operation, OperationError, TlsError};

/// Everything that can go wrong in the client, shown in one line that reads well after `error: `.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// [`Remote::discover`](super::Remote::discover) found nothing that answers.
    #[error("no LXD or Incus daemon found: {}", listed(tried))]
    NoDaemon {
        /// The places, in the order they were tried.
        tried: Vec<Tried>,
    },
    /// A text that names no remote.
    #[error("invalid remote {remote:?}: {reason}")]
    InvalidRemote {
        /// The text.
        remote: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No connection came about. Nothing was sent.
    #[error("cannot connect to {remote}: {}", explain_connect(source, None))]
    Connect {
        /// The remote.
        remote: String,
        /// What the system said.
        source: io::Error,
    },
    /// The server is not what it should be. Nothing was sent.
    #[error("cannot trust {remote}{}: {reason}", beside(remote, address))]
    Unverified {
        /// The remote.
        remote: String,
        /// The host and port that answered.
        address: String,
        /// What is wrong.
        reason: Box<TlsError>,
    },
    /// A certificate or private key, ours or an authority's, cannot be used. Nothing was sent.
    #[error("{reason}")]
    InvalidIdentity {
        /// What is wrong with it, without any part of a key.
        reason: String,
    },
    /// The server refused or failed: an error envelope, or an HTTP status outside 2xx.
    #[error("{0}")]
    Api(ApiError),
    /// A [`Validation`](super::Validation) of your own refused the reply.
    #[error("the reply to {method} {path} is not valid: {reason}")]
    Invalid {
        /// The method of the request.
        method: String,
        /// The path of the request.
        path: String,
        /// What is wrong with the reply.
        reason: String,
    },
    /// The operation ended in failure, or was cancelled.
    #[error("{0}")]
    Operation(Box<OperationError>),
    /// The server no longer knows an operation whose end was not seen, or stayed away too long.
    /// What it was to do may have happened or not: look at the object before doing it again.
    #[error("the outcome of {method} {path} is unknown: {reason} (operation {operation})")]
    Lost {
        /// The operation's identifier.
        operation: String,
        /// The method of the request that began it.
        method: String,
        /// The path of the request that began it.
        path: String,
        /// What became of it, as far as that is known.
        reason: String,
    },
    /// A limit passed.
    #[error("{method} {path} did not end within the {limit} limit of {}{}", format_duration(*after), appended(note.as_deref()))]
    Timeout {
        /// The limit's name.
        limit: &'static str,
        /// How long the limit was.
        after: Duration,
        /// The method of the request.
        method: String,
        /// The path of the request.
        path: String,
        /// The operation that was awaited, when its identifier is known. It may still be running.
        operation: Option<String>,
        /// Something to know besides, such as a command that could not be ended.
        note: Option<Box<str>>,
    },
    /// The connection broke before the reply was complete.
    #[error("the connection broke during {method} {path}: {source}")]
    Interrupted {
        /// Whether the server may have got the request.
        sent: Sent,
        /// The method of the request.
        method: String,
        /// The path of the request.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The answer is not what HTTP, the API or websockets prescribe.
    #[error("unexpected answer to {method} {path}: {reason}")]
    Protocol {
        /// The method of the request.
        method: String,
        /// The path of the request.
        path: String,
        /// What is unexpected about it.
        reason: String,
    },
    /// The client was cancelled. A request that was on its way may have arrived.
    #[error("cancelled")]
    Cancelled,
    /// The request cannot be sent as it stands. Nothing was sent.
    #[error("invalid request {method} {path}: {reason}")]
    InvalidRequest {
        /// The method of the request.
        method: String,
        /// The path of the request.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of this machine cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of this machine cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Unwritable {
        /// The file, folder or link.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be copied to or from an instance as it was asked.
    #[error("cannot copy {path}: {reason}")]
    Copy {
        /// The file: one of the instance, or one of this machine that cannot be sent.
        path: String,
        /// What stands against it.
        reason: String,
    },
    /// An instance is not ready, and it is not waited for any longer.
    #[error("{0}")]
    NotReady(Box<NotReady>),
    /// A condition that cannot be waited for. Nothing was sent.
    #[error("cannot wait for {condition}: {reason}")]
    Unfit {
        /// The condition.
        condition: String,
        /// What stands against it.
        reason: String,
    },
    /// A command in an instance could not be ended.
    #[error("a command in instance {instance} still runs: {reason}")]
    StillRunning {
        /// The instance.
        instance: String,
        /// What stands against ending it.
        reason: String,
    },
    /// What was to be a command's input could not be read.
    #[error("cannot read the input: {source}")]
    Input {
        /// What the reader said.
        source: io::Error,
    },
    /// What came from the server could not be written where it should go.
    #[error("cannot write the output: {source}")]
    Output {
        /// What the writer said.
        source: io::Error,
    },
}

/// Whether a request may have reached the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sent {
    /// Not a byte of it left this machine: it can be sent again without harm.
    Nothing,
    /// Some or all of it did: the server may have acted on it.
    Maybe,
}

/// A place where no usable daemon was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The socket, with the variable that named it.
    pub place: String,
    /// Why it did not do.
    pub why: String,
}

impl Error {
    /// The code of the server's refusal: the HTTP status of an [`Error::Api`], or the status code (400
    /// or 401) of an [`Error::Operation`].
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api(error) => Some(error.status),
            Self::Operation(error) => Some(error.status_code),
            _ => None,
        }
    }

    /// Whether the same request is worth sending again a little later, without looking first.
    ///
    /// | what | when |
    /// | --- | --- |
    /// | [`Error::Connect`] | refused, reset, or the socket is missing: the daemon restarts |
    /// | [`Error::Interrupted`] | nothing was sent, or the method is GET or HEAD |
    /// | [`Error::Api`] | status 503, or a message that passes by itself |
    /// | [`Error::Operation`] | a message that passes by itself |
    ///
    /// Messages that pass by themselves are those of a busy instance ("busy running"), of the server's
    /// database ("database is locked", "no available dqlite leader", …) and of a server that starts or stops.
    /// A conflict of `If-Match` (412) is not among them: the object must be read again first.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::NotFound
            ),
            Self::Interrupted { sent, method, .. } => {
                *sent == Sent::Nothing || matches!(method.as_str(), "GET" | "HEAD")
            }
            Self::Api(error) => error.status == 503 || means(&error.message, Meaning::Transient),
            Self::Operation(error) => means(&error.err, Meaning::Transient),
            _ => false,
        }
    }

    /// Whether the server may have got the request and acted on it, or may still act on it.
    ///
    /// False for what was never sent and for what the server refused (4xx) before it began; true for
    /// failed and lost operations, for server errors (5xx), and where nobody can tell.
    pub fn may_have_been_sent(&self) -> bool {
        match self {
            Self::NoDaemon { .. }
            | Self::InvalidRemote { .. }
            | Self::InvalidIdentity { .. }
            | Self::Unverified { .. }
            | Self::Connect { .. }
            | Self::Unfit { .. }
            | Self::InvalidRequest { .. } => false,
            Self::Api(error) => error.status >= 500,
            Self::Interrupted { sent, .. } => *sent == Sent::Maybe,
            // A file that ends early is noticed in the middle of the upload.
            Self::File { .. }
            | Self::Invalid { .. }
            | Self::Operation(_)
            | Self::Lost { .. }
            | Self::Timeout { .. }
            | Self::Protocol { .. }
            | Self::Cancelled
            | Self::Input { .. }
            | Self::Unwritable { .. }
            | Self::Copy { .. }
            | Self::NotReady(_)
            | Self::StillRunning { .. }
            | Self::Output { .. } => true,
        }
    }

    /// The failure of an operation that a request began.
    pub(super) fn failed(operation: Operation, method: &str, path: &str) -> Self {
        Self::Operation(Box::new(OperationError {
            id: operation.id.clone(),
            err: operation.err.clone(),
            status_code: operation.status_code,
            description: operation.description.clone(),
            method: method.to_owned(),
            path: path.to_owned(),
            operation,
        }))
    }
}

fn listed(tried: &[Tried]) -> String {
    let each = tried.iter().map(|t| format!("{}: {}", t.place, t.why));
    each.collect::<Vec<_>>().join("; ")
}

/// The address, where the remote's own name does not say it.
fn beside(remote: &str, address: &str) -> String {
    if remote.ends_with(address) {
        String::new()
    } else {
        format!(" ({address})")
    }
}

fn appended(note: Option<&str>) -> String {
    note.map(|note| format!("; {note}")).unwrap_or_default()
}

/// What a failed connection means, in words that say what to do.
pub(super) fn explain_connect(error: &io::Error, flavor: Option<Flavor>) -> String {
    match error.kind() {
        // It says itself what it means.
        _ if error.get_ref().is_some() => error.to_string(),
        io::ErrorKind::NotFound => "there is no such socket".to_owned(),
        io::ErrorKind::ConnectionRefused => {
            "nothing listens on it; is the daemon running?".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            let groups = flavor.map_or("`lxd`, `incus-admin` or `incus`", Flavor::groups);
            format!("permission denied; is the user in the group {groups}?")
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{ApiError, Error, Sent};
    use std::io;

    fn api(status: u16, message: &str) -> Error {
        Error::Api(ApiError {
            status,
            message: message.to_owned(),
            method: "POST".to_owned(),
            path: "/1.0/instances".to_owned(),
        })
    }

    fn connect(kind: io::ErrorKind) -> Error {
        let remote = "/x".to_owned();
        let source = kind.into();
        Error::Connect { remote, source }
    }

    fn interrupted(sent: Sent, method: &str) -> Error {
        Error::Interrupted {
            sent,
            method: method.to_owned(),
            path: "/1.0".to_owned(),
            source: io::ErrorKind::BrokenPipe.into(),
        }
    }

    #[test]
    fn what_may_be_retried_and_what_may_have_arrived() {
        let busy = "Instance is busy running a \"start\" operation";
        for (error, transient, sent) in [
            (connect(io::ErrorKind::ConnectionRefused), true, false),
            (connect(io::ErrorKind::NotFound), true, false),
            (connect(io::ErrorKind::PermissionDenied), false, false),
            (interrupted(Sent::Nothing, "POST"), true, false),
            (interrupted(Sent::Maybe, "POST"), false, true),
            (interrupted(Sent::Maybe, "GET"), true, true),
            (api(503, "anything"), true, true),
            (api(500, "Failed: database is locked"), true, true),
            (
                api(500, "No available dqlite leader server found"),
                true,
                true,
            ),
            (api(400, busy), true, false),
            (api(404, "Instance not found"), false, false),
            (api(412, "Precondition failed"), false, false),
            (api(409, "already exists"), false, false),
            (Error::Cancelled, false, true),
        ] {
            assert_eq!(error.is_transient(), transient, "{error}");
            assert_eq!(error.may_have_been_sent(), sent, "{error}");
        }
    }
}
