use std::io;
use std::path::PathBuf;

use malleus_client as client;

/// Why a remote cannot be used, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemotesError {
    /// No remote has this name.
    #[error("there is no remote {name:?}")]
    Unknown {
        /// The name.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// Both clients have one of this name.
    #[error("several remotes are called {name:?}: {}", labels.join(", "))]
    Ambiguous {
        /// The name.
        name: String,
        /// What tells them apart.
        labels: Vec<String>,
    },
    /// An image server.
    #[error("the remote {name:?} is a server of images; nothing runs there")]
    Images {
        /// The name.
        name: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A variable does not hold what it should.
    #[error("{variable}: {reason}")]
    Variable {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it, without its value.
        reason: String,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no folder for malleus's own remotes.
    #[error("neither XDG_CONFIG_HOME nor HOME is set: there is no place for remotes")]
    NoHome,
    /// A name that no remote can have, or that one has already.
    #[error("the remote cannot be called {name:?}: {reason}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A trust token that cannot be used. Nothing was sent.
    #[error("{0}")]
    Token(String),
    /// A server that nobody vouches for, to be compared by people.
    #[error(
        "the server at {address} is not known: its certificate has the fingerprint {fingerprint}"
    )]
    Unconfirmed {
        /// The server.
        address: String,
        /// What it has shown.
        fingerprint: client::Fingerprint,
    },
    /// The server did not take the token.
    #[error("the server does not take the token: {0}")]
    Refused(client::ApiError),
    /// The client's own error.
    #[error(transparent)]
    Client(#[from] client::Error),
}

impl RemotesError {
    /// The same where only errors of the client are known.
    pub fn into_client(self, named: &str) -> client::Error {
        match self {
            Self::Client(error) => error,
            error => client::Error::InvalidRemote {
                remote: named.to_owned(),
                reason: error.to_string(),
            },
        }
    }
}
