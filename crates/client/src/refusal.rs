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
