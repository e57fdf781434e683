//! What daemons say, by meaning. The API has few codes of its own, so that some refusals are told apart by their words
//! alone.

use crate::Servers;

/// What a refusal, or the failure of an operation, means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// Nothing was changed, and the same request may well succeed a little later.
    Transient,
    /// Another operation is under way on the resource.
    Busy,
    /// Another resource uses it.
    InUse,
    /// A project, pool or network holds something.
    NotEmpty,
    /// The name is taken.
    Taken,
    /// The image does not exist.
    NoImage,
    /// The instance must be stopped first.
    Running,
    /// The instance is stopped already.
    Stopped,
    /// The instance is in the wanted state already.
    InState,
    /// The file does not exist.
    NoFile,
    /// The server keeps no recorded output under such a path.
    NoLogHere,
    /// The project does not exist.
    NoProject,
    /// The resource is protected against removal.
    Protected,
    /// The client may not do this.
    NotAllowed,
    /// A member of the cluster does not answer.
    MemberAway,
    /// The server's own limit of a wait passed.
    Deadline,
    /// The connection to another member ended early.
    Broken,
    /// The command does not exist in the instance.
    CommandNotFound,
    /// The command cannot be executed.
    CommandNotExecutable,
}

/// Words and their meaning.
struct Wording {
    meaning: Meaning,
    /// A part of the message in lower case.
    part: &'static str,
    /// The generations in whose sources or replies the words were seen.
    servers: Servers,
}

const fn says(meaning: Meaning, part: &'static str, servers: Servers) -> Wording {
    Wording {
        meaning,
        part,
        servers,
    }
}

const ALL: Servers = Servers::ALL;
const LXD: Servers = Servers::LXD;
const INCUS: Servers = Servers::INCUS;

use Meaning::{
    Broken, Busy, CommandNotExecutable, CommandNotFound, Deadline, InUse, MemberAway, NoFile,
    NoImage, NoLogHere, NoProject, NotAllowed, NotEmpty, Protected, Running, Stopped, Taken,
    Transient,
};

const WORDINGS: &[Wording] = &[
    says(Transient, "database is locked", ALL),
    says(Transient, "no available dqlite leader", ALL),
    says(Transient, "checkpoint in progress", ALL),
    says(Transient, "not leader", ALL),
    says(Transient, "leadership lost", ALL),
    says(Transient, "failed to begin transaction", ALL),
    // LXD 6.
    says(Transient, "failed beginning transaction", LXD),
    says(Transient, "instance is busy running", ALL),
    // The same was asked for twice at once, and the other has just ended.
    says(Transient, "matching non-reusable operation", ALL),
    says(
        Transient,
        "missing event connection with target cluster member",
        ALL,
    ),
    says(Transient, "isn't ready yet", ALL),
    says(Transient, "not ready yet", ALL),
    says(Transient, "not started yet", ALL),
    says(Transient, "is starting up", ALL),
    says(Transient, "is shutting down", ALL),
    // While a network is deleted, an interface of somebody else's may vanish between being listed and being shown.
    says(
        Transient,
        "failed to delete bridge children interfaces",
        ALL,
    ),
    says(Busy, "busy", ALL),
    says(Busy, "is not ready", ALL),
    says(Busy, "try again", ALL),
    says(Busy, "currently being", ALL),
    // Somebody else's removal of the same instance has just ended.
    says(Busy, "non-reusable operation", ALL),
    says(InUse, "in use", ALL),
    says(InUse, "currently used", ALL),
    says(InUse, "being used", ALL),
    says(InUse, "used by", ALL),
    says(InUse, "not empty", ALL),
    says(InUse, "only empty", ALL),
    says(InUse, "running", ALL),
    says(NotEmpty, "not empty", ALL),
    says(NotEmpty, "only empty", ALL),
    says(Taken, "already exists", ALL),
    says(Taken, "unique constraint", ALL),
    says(Taken, "already in use by", ALL),
    says(NoImage, "image not provided for instance creation", ALL),
    says(NoImage, "image alias not found", ALL),
    says(NoImage, "image not found", ALL),
    says(Running, "running", ALL),
    says(Running, "frozen", ALL),
    says(Stopped, "already stopped", ALL),
    says(Stopped, "not running", ALL),
    says(NoFile, "no such file", ALL),
    says(NoFile, "not found", ALL),
    // LXD 5.15 to 6.7 say the first, 6.8 and newer the second.
    says(NoLogHere, "log file name", LXD),
    says(NoLogHere, "not implemented", LXD),
    says(NoProject, "project not found", ALL),
    says(Protected, "protected", ALL),
    says(NotAllowed, "not authorized", ALL),
    says(NotAllowed, "forbidden", ALL),
    says(NotAllowed, "does not have permission", INCUS),
    says(NotAllowed, "must be authenticated", LXD),
    says(NotAllowed, "certificate is restricted", ALL),
    says(
        MemberAway,
        "missing event connection with target cluster member",
        ALL,
    ),
    says(MemberAway, "cannot reach the member", ALL),
    says(MemberAway, "cluster member is offline", ALL),
    says(MemberAway, "failed to connect to cluster member", ALL),
    says(MemberAway, "unable to connect to", ALL),
    says(MemberAway, "no route to host", ALL),
    says(MemberAway, "connection refused", ALL),
    says(Deadline, "deadline exceeded", ALL),
    says(Broken, "unexpected eof", ALL),
    says(CommandNotFound, "command not found", ALL),
    says(CommandNotExecutable, "command not executable", ALL),
];

/// Whether a message has a meaning, on any server.
pub fn means(message: &str, meaning: Meaning) -> bool {
    let message = message.to_lowercase();
    let has = |meaning: Meaning| {
        WORDINGS
            .iter()
            .any(|wording| wording.meaning == meaning && message.contains(wording.part))
    };
    match meaning {
        // A busy instance is said to be "busy running" an operation.
        Running => has(Running) && !has(Busy),
        InUse => has(InUse) && !has(Protected),
        Meaning::InState => {
            message.contains("already") && (has(Running) || message.contains("stopped"))
        }
        NoProject => {
            has(NoProject) || message.starts_with("project ") && message.ends_with("does not exist")
        }
        meaning => has(meaning),
    }
}

/// The servers whose words a meaning is known from.
pub fn servers_saying(meaning: Meaning) -> Servers {
    WORDINGS
        .iter()
        .filter(|wording| wording.meaning == meaning)
        .fold(Servers::NONE, |all, wording| all.or(wording.servers))
}

/// What a refusal, or the failure of an operation, means, in words that are the same for all servers; for failures that
/// servers tell of in words of their own.
pub fn summary(message: &str) -> Option<&'static str> {
    let summaries = [
        (Taken, "the name is taken"),
        (NoImage, "there is no such image"),
    ];
    let found = summaries
        .iter()
        .find(|(meaning, _)| means(message, *meaning));
    found.map(|(_, words)| *words)
}

/// What to know about a refusal whose own words do not say it: a member of a cluster that is away, a client that is
/// restricted to projects.
pub fn explain(message: &str) -> Option<&'static str> {
    if means(message, MemberAway) {
        Some(
            "a member of the cluster is away; `incus cluster list` or `lxc cluster list` shows which one",
        )
    } else if means(message, NotAllowed) {
        Some(
            "the server knows this client but does not let it do this; a certificate that is restricted to projects must name one of \
             them: with `project:`, or `--project`",
        )
    } else {
        summary(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_by_meaning() {
        for (message, meaning, expected) in [
            (
                "Instance is busy running a \"start\" operation",
                Running,
                false,
            ),
            (
                "Instance is busy running a \"start\" operation",
                Transient,
                true,
            ),
            (
                "The instance is currently running, stop it first",
                Running,
                true,
            ),
            ("The instance is already running", Meaning::InState, true),
            ("The instance is already stopped", Meaning::InState, true),
            ("The network already exists", Meaning::InState, false),
            ("The network already exists", Taken, true),
            ("UNIQUE constraint failed: instances.name", Taken, true),
            ("Instance is protected, running", InUse, false),
            ("Project \"gone\" does not exist", NoProject, true),
            ("Profile \"gone\" does not exist", NoProject, false),
            ("Only empty projects can be removed", NotEmpty, true),
            ("not authorized", NotEmpty, false),
            ("Failed beginning transaction: timeout", Transient, true),
            ("Log file name \"exec_1.stdout\" not valid", NoLogHere, true),
        ] {
            assert_eq!(means(message, meaning), expected, "{message} {meaning:?}");
        }
    }

    #[test]
    fn every_meaning_is_known_from_some_server() {
        for wording in WORDINGS {
            assert_eq!(wording.part, wording.part.to_lowercase());
            assert!(!wording.servers.is_empty(), "{}", wording.part);
        }
        assert_eq!(servers_saying(NoLogHere), LXD);
    }
}
