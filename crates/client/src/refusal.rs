use std::fmt;

use super::Operation;

/// An error the server answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The envelope's `error_code`, or the HTTP status when there is none.
    pub status: u16,
    /// The server's own words.
    pub message: String,
    /// The method of the request.
    pub method: String,
    /// The path of the request, with its query.
    pub path: String,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = match self.message.as_str() {
            "" => "refused without a word",
            message => message,
        };
        write!(
            f,
            "{message} ({} {}: {})",
            self.method, self.path, self.status
        )
    }
}

/// An operation that ended in failure.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationError {
    /// The operation's identifier.
    pub id: String,
    /// The server's own words: the operation's `err`.
    pub err: String,
    /// 400 for failure, 401 for cancelled.
    pub status_code: u16,
    /// What the operation was to do, such as `"Creating instance"`.
    pub description: String,
    /// The method of the request that began it.
    pub method: String,
    /// The path of the request that began it, with its query.
    pub path: String,
    /// The operation as it was last seen.
    pub operation: Operation,
}

impl fmt::Display for OperationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let err = match (self.err.as_str(), self.status_code) {
            ("", 401) => "the operation was cancelled",
            ("", _) => "the operation failed without a word",
            (err, _) => err,
        };
        write!(f, "{err} (operation of {} {})", self.method, self.path)
    }
}

/// What refusals mean that do not explain themselves, by a part of the server's words in lower case.
const MEANINGS: [(&[&str], &str); 2] = [
    (
        &[
            "missing event connection with target cluster member",
            "cannot reach the member",
            "cluster member is offline",
            "failed to connect to cluster member",
            "unable to connect to",
            "no route to host",
            "connection refused",
        ],
        "a member of the cluster is away; `incus cluster list` or `lxc cluster list` shows which one",
    ),
    (
        &[
            "not authorized",
            "forbidden",
            "does not have permission",
            "certificate is restricted",
        ],
        "the server knows this client but does not let it do this; a certificate that is restricted to projects must name one of \
         them: with `project:`, or `--project`",
    ),
];

/// What to know about a refusal whose own words do not say it: a member of a cluster that is away, a client that is restricted
/// to projects.
pub fn meaning_of(message: &str) -> Option<&'static str> {
    let message = message.to_lowercase();
    let is_meant = |words: &&[&str]| words.iter().any(|part| message.contains(part));
    MEANINGS
        .iter()
        .find(|(words, _)| is_meant(words))
        .map(|(_, meaning)| *meaning)
}
