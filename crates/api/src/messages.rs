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
    // Incus 7, in the failure of the operation.
    says(Protected, "delete protection enabled", INCUS),
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
    let advice = advice(message)?;
    advice.split(':').next()
}

/// A failure that servers tell of in words of their own, and what to do about it, behind a colon.
fn advice(message: &str) -> Option<&'static str> {
    [
        (
            Taken,
            "the name is taken: another name, or `ensure` in the place of `request`, lets the step go on",
        ),
        (
            NoImage,
            "there is no such image: `malleus request GET images/aliases` lists the aliases of the server; an image of an image server needs \
             `server` and `protocol` in its `source`",
        ),
    ]
    .into_iter()
    .find_map(|(meaning, advice)| means(message, meaning).then_some(advice))
}

/// What to know about a refusal whose own words do not say it, or say something else.
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
        let lower = message.to_lowercase();
        let known = MEANINGS.iter().find(|(part, _)| lower.contains(part));
        known
            .map(|(_, meaning)| *meaning)
            .or_else(|| advice(message))
            .or_else(|| (lower == "eof").then_some(NO_BODY))
    }
}

const NO_BODY: &str = "the server wants a `body` and got none";

/// Parts of messages in lower case that mislead, or that are about the insides of a server, and what they mean.
const MEANINGS: &[(&str, &str)] = &[
    (
        "unknown source type",
        "what an instance is made from is its `source`, as in `source: {type: image, alias: NAME}`; where it exists already, its name is another one",
    ),
    (
        "cannot unmarshal",
        "a value of the body is of another type than the API has at this key: compare it with what `GET` shows of such a resource",
    ),
    (
        "invalid character",
        "the server could not read the body as JSON",
    ),
    (
        "no name provided",
        "the `body` has no `name`; its keys stand below `body`, indented deeper",
    ),
];

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
            ("Instance has delete protection enabled", Protected, true),
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

    #[test]
    fn words_that_mislead_are_explained() {
        for (message, part) in [
            ("EOF", "`body`"),
            ("unexpected EOF of the file", ""),
            (
                "json: cannot unmarshal string into Go value of type api.ProfilesPost",
                "another type",
            ),
            (
                "UNIQUE constraint failed: instances.project_id, instances.name",
                "the name is taken: another name",
            ),
            (
                "Failed creating instance record: Image not provided for instance creation",
                "alias",
            ),
            ("Profile not found", ""),
        ] {
            let meaning = explain(message).unwrap_or_default();
            assert!(meaning.contains(part), "{message}: {meaning}");
            assert_eq!(meaning.is_empty(), part.is_empty(), "{message}: {meaning}");
        }
    }
}
