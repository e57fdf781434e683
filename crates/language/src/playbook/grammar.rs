//! The language as a table: which keys there are, what each holds and what it means. The loader, the JSON Schema
//! and the "did you mean" of messages all follow this one table.

/// The type of a scalar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Any text.
    Text,
    /// Text, or a number or boolean that is written out as text.
    Scalar,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// `500ms`, `30s`, `5m`, `2h`.
    Duration,
    /// A name that expressions can use: letters, digits and `_`.
    Name,
    /// Lower case letters, digits and hyphens.
    Slug,
    /// `true`, `false` or an expression, without braces.
    Expression,
    /// One of these words.
    Word(&'static [&'static str]),
}

/// What a key holds.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A scalar that is known before the run: no templates in it.
    Fixed(Type),
    /// A scalar that may hold templates.
    Dynamic(Type),
    /// Any value, with templates anywhere in it.
    Free,
    /// A list of these.
    List(&'static Kind),
    /// A list of these, or exactly one template that gives a list.
    ListOrTemplate(&'static Kind),
    /// One of these, or a list of them.
    OneOrMore(&'static Kind),
    /// A mapping whose keys the author chooses.
    Entries(&'static Kind),
    /// As `Entries`, and the keys are names that expressions can use.
    Names(&'static Kind),
    /// A mapping with known keys.
    Shape(&'static Shape),
    /// The first of these that fits.
    Either(&'static [Kind]),
    /// A list of steps.
    Steps,
    /// A step, or a list of them.
    OneOrMoreSteps,
}

/// A key, what it holds and what it means.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether it must be there.
    pub need: Need,
    /// What it means, for editors and the reference.
    pub doc: &'static str,
}

/// Whether a key must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It must.
    Required,
    /// It may.
    Optional,
}

/// A mapping with known keys.
#[derive(Debug)]
pub struct Shape {
    /// What it is called in messages: `this step`, `the playbook`.
    pub what: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

/// An action: its key in a step and the keys that go with it alone.
#[derive(Debug)]
pub struct ActionKeys {
    /// The key that names the action.
    pub name: &'static str,
    /// Keys beside it in the step that mean something for this action only.
    pub companions: &'static [&'static str],
    /// Fields of its result beside [`RESULT`].
    pub result: &'static [&'static str],
}

const fn key(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key {
        name,
        kind,
        need: Need::Optional,
        doc,
    }
}

const fn required(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key {
        name,
        kind,
        need: Need::Required,
        doc,
    }
}

const TEXT: Kind = Kind::Dynamic(Type::Text);
/// Text, or the content of a file.
const LONG_TEXT: Kind = Kind::Either(&[TEXT, Kind::Shape(&FILE)]);
/// A command: a list of words, or a template that gives one.
const WORDS: Kind = Kind::ListOrTemplate(&Kind::Dynamic(Type::Scalar));
/// Values of `environment` and `config`.
const TEXTS: Kind = Kind::Entries(&Kind::Either(&[
    Kind::Dynamic(Type::Scalar),
    Kind::Shape(&FILE),
]));
const EXPRESSION: Kind = Kind::Fixed(Type::Expression);
const DURATION: Kind = Kind::Fixed(Type::Duration);

/// How the simulated daemon behaves.
pub const SIM: Shape = Shape {
    what: "`sim`",
    keys: &[
        key(
            "faults",
            Kind::List(&Kind::Shape(&FAULT)),
            "Failures on order.",
        ),
        key(
            "seed",
            Kind::Fixed(Type::Integer),
            "Random failures, the same ones for the same number.",
        ),
        key(
            "virtual_time",
            Kind::Fixed(Type::Boolean),
            "Jump over waiting, of both sides.",
        ),
    ],
};

/// One failure on order.
pub const FAULT: Shape = Shape {
    what: "a fault",
    keys: &[
        required(
            "on",
            Kind::Fixed(Type::Text),
            "The request, as `METHOD path`; `*` stands for one segment, or for any method.",
        ),
        key(
            "nth",
            Kind::Fixed(Type::Integer),
            "Only the Nth such request, counted from 1; every one without it.",
        ),
        required(
            "fault",
            Kind::Fixed(Type::Text),
            "fail, fail-late, slow:DURATION, never, reset-before, reset-after, unavailable, locked, malformed, truncated, trickle or restart.",
        ),
    ],
};

/// A playbook.
pub const PLAYBOOK: Shape = Shape {
    what: "a playbook",
    keys: &[
        required(
            "playbook",
            Kind::Fixed(Type::Integer),
            "Version of the format: `playbook: 1`.",
        ),
        required(
            "name",
            Kind::Fixed(Type::Slug),
            "Name of the playbook: lower case letters, digits and hyphens.",
        ),
        key(
            "summary",
            Kind::Fixed(Type::Text),
            "What the playbook does, in one sentence.",
        ),
        key(
            "inputs",
            Kind::Names(&Kind::Either(&[Kind::Shape(&INPUT), Kind::Free])),
            "What a caller may set: a default, or a mapping that describes the input.",
        ),
        key(
            "vars",
            Kind::Names(&Kind::Free),
            "Derived values, in order; may use inputs and earlier vars.",
        ),
        key(
            "remote",
            Kind::Fixed(Type::Text),
            "The server: the name of a remote, `https://HOST:PORT`, or the path of a unix socket. `--remote` goes before it.",
        ),
        key(
            "project",
            TEXT,
            "Every request carries `project=` with this name.",
        ),
        key(
            "isolate",
            Kind::Either(&[
                Kind::Shape(&ISOLATE),
                Kind::Fixed(Type::Word(ISOLATE_WORDS)),
            ]),
            "Run inside a project made for this run, which is removed with all that is in it.",
        ),
        key(
            "lease",
            DURATION,
            "What the run creates carries its id and expires this long after the last sign of life; `malleus gc` removes it then.",
        ),
        key(
            "timeout",
            DURATION,
            "Deadline for the steps; what is cleaned up afterwards has its own time.",
        ),
        key(
            "sim",
            Kind::Shape(&SIM),
            "How the simulated daemon of `--sim` behaves; of no account elsewhere.",
        ),
        required("steps", Kind::Steps, "What is done, in order."),
        key(
            "finally",
            Kind::Steps,
            "Always done at the end, each step even if another of them fails.",
        ),
        key(
            "outputs",
            Kind::Names(&Kind::Free),
            "Values for whoever ran the playbook, worked out after the steps.",
        ),
    ],
};

/// `isolate`.
pub const ISOLATE_WORDS: &[&str] = &["project"];

/// The long form of `isolate`.
pub const ISOLATE: Shape = Shape {
    what: "`isolate`",
    keys: &[required(
        "project",
        Kind::Shape(&ISOLATED_PROJECT),
        "The project made for the run.",
    )],
};

/// The project of `isolate`.
pub const ISOLATED_PROJECT: Shape = Shape {
    what: "the project",
    keys: &[key(
        "config",
        TEXTS,
        "Keys of the project's config, as `features.images`; images and profiles are those of the default project otherwise.",
    )],
};

/// The types of an input.
pub const INPUT_TYPES: &[&str] = &["string", "integer", "number", "boolean", "list", "object"];

/// The long form of an input.
pub const INPUT: Shape = Shape {
    what: "an input",
    keys: &[
        key(
            "type",
            Kind::Fixed(Type::Word(INPUT_TYPES)),
            "Type of the value; taken from the default where it is not given.",
        ),
        key("default", Kind::Free, "Value where nobody sets one."),
        key(
            "required",
            Kind::Fixed(Type::Boolean),
            "Somebody must set it.",
        ),
        key(
            "secret",
            Kind::Fixed(Type::Boolean),
            "The value is masked wherever it would be shown.",
        ),
        key(
            "env",
            Kind::Fixed(Type::Text),
            "Environment variable that gives the value where the caller does not.",
        ),
        key(
            "description",
            Kind::Fixed(Type::Text),
            "What the input is for.",
        ),
    ],
};

/// `on_error`.
pub const ON_ERROR: &[&str] = &["fail", "continue"];

/// All keys of a step: those of every step, the actions, and the actions' companions.
pub const STEP: Shape = Shape {
    what: "a step",
    keys: &[
        key(
            "name",
            TEXT,
            "Title shown to people; derived from the action where it is not given.",
        ),
        key(
            "id",
            Kind::Fixed(Type::Name),
            "The step's result is bound to this name.",
        ),
        key(
            "when",
            EXPRESSION,
            "The step is skipped where this does not hold.",
        ),
        key(
            "for_each",
            Kind::Either(&[Kind::List(&Kind::Free), EXPRESSION]),
            "The step runs once for each item of this list, bound to `item`, its number from 0 to `index`.",
        ),
        key(
            "as",
            Kind::Fixed(Type::Name),
            "With `for_each`: the name of an item in the place of `item`; `as: host` binds `host` and `host_index`.",
        ),
        key(
            "expect",
            Kind::Shape(&EXPECT),
            "What must hold; without it, success as the API and the command define it.",
        ),
        key(
            "capture",
            Kind::Names(&EXPRESSION),
            "Names for parts of the step's result.",
        ),
        key(
            "secret",
            Kind::Fixed(Type::Boolean),
            "Everything captured here is masked wherever it would be shown.",
        ),
        key(
            "until",
            EXPRESSION,
            "The step is repeated until this holds.",
        ),
        key(
            "fail_when",
            EXPRESSION,
            "With `until`: give up at once when this holds.",
        ),
        key(
            "every",
            DURATION,
            "With `until`: pause between two attempts; 1s by default.",
        ),
        key(
            "within",
            DURATION,
            "With `until`: how long to go on; 5m by default.",
        ),
        key(
            "retry",
            Kind::Shape(&RETRY),
            "Repeat the step when it fails.",
        ),
        key(
            "remote",
            TEXT,
            "The server of this step, and of the steps in it: the name of a remote, `https://HOST:PORT`, or the path of a unix socket.",
        ),
        key(
            "timeout",
            DURATION,
            "Limit for one attempt, waiting for its operation included; 10m by default.",
        ),
        key(
            "cleanup",
            Kind::OneOrMoreSteps,
            "Steps for the end of the run, registered when this step succeeded or its outcome is unknown.",
        ),
        key(
            "keep",
            Kind::Fixed(Type::Boolean),
            "What this step creates is never removed.",
        ),
        key(
            "on_error",
            Kind::Fixed(Type::Word(ON_ERROR)),
            "`continue`: go on after a failure of this step.",
        ),
        key(
            "request",
            Kind::Dynamic(Type::Text),
            "Action: a request, as `METHOD path`. A path without a leading `/` is below `/1.0/`.",
        ),
        key(
            "query",
            Kind::Entries(&Kind::Dynamic(Type::Scalar)),
            "With `request`, `ensure` and `absent`: query parameters.",
        ),
        key(
            "headers",
            Kind::Entries(&Kind::Dynamic(Type::Scalar)),
            "With `request`: HTTP headers.",
        ),
        key(
            "body",
            Kind::Free,
            "With `request`: the JSON body. With `ensure`: the keys that the resource should have; what is not named is not touched.",
        ),
        key(
            "upload",
            TEXT,
            "With `request`: a file, relative to the playbook, that is sent as the raw body.",
        ),
        key(
            "save",
            TEXT,
            "With `request`: a file, relative to the playbook, that takes the reply's body.",
        ),
        key(
            "background",
            Kind::Fixed(Type::Boolean),
            "With `request`: do not wait for the operation here; a later `join` does.",
        ),
        key(
            "join",
            Kind::Fixed(Type::Name),
            "Action: wait for the operation that the `background` step of this id started.",
        ),
        key(
            "exec",
            Kind::Shape(&EXEC),
            "Action: run a command in an instance.",
        ),
        key(
            "set",
            Kind::Names(&Kind::Free),
            "Action: bind names to values.",
        ),
        key(
            "check",
            Kind::OneOrMore(&EXPRESSION),
            "Action: expressions that must hold.",
        ),
        key(
            "steps",
            Kind::Steps,
            "Action: a group of steps with its own scope.",
        ),
        key(
            "finally",
            Kind::Steps,
            "With `steps`: always done as the group is left.",
        ),
        key(
            "parallel",
            Kind::Steps,
            "Action: steps side by side. The first failure stops the others; what they bind is in scope afterwards.",
        ),
        key(
            "concurrency",
            Kind::Fixed(Type::Integer),
            "With `for_each`: how many items at a time; 1 by default. With `parallel`: how many steps; all by default.",
        ),
        key(
            "include",
            Kind::Fixed(Type::Text),
            "Action: another playbook, relative to this one, in a scope of its own. Its outputs are the step's result.",
        ),
        key(
            "with",
            Kind::Names(&Kind::Free),
            "With `include`: values for its inputs.",
        ),
        key(
            "ensure",
            TEXT,
            "Action: the path of a resource. It is created where it is missing, changed where it differs from `body`, and otherwise left alone.",
        ),
        key(
            "state",
            Kind::Dynamic(Type::Word(STATES)),
            "With `ensure`: what an instance should be.",
        ),
        key(
            "replace",
            Kind::Fixed(Type::Boolean),
            "With `ensure`: delete an instance that this run or environment has made, with its snapshots and its root disk, and create it anew, where the image or the type differs.",
        ),
        key(
            "absent",
            TEXT,
            "Action: the path of a resource that is removed where it is there. A running instance is stopped by force first.",
        ),
        key(
            "push",
            Kind::Shape(&PUSH),
            "Action: put a file or a folder into an instance.",
        ),
        key(
            "pull",
            Kind::Shape(&PULL),
            "Action: get a file or a folder out of an instance.",
        ),
        key(
            "wait_for",
            Kind::Shape(&WAIT_FOR),
            "Action: wait until an instance is ready.",
        ),
    ],
};

/// The content of a file in the place of a text.
pub const FILE: Shape = Shape {
    what: "a file",
    keys: &[
        required(
            "file",
            TEXT,
            "A file of text, relative to the playbook; braces in it are text like any other.",
        ),
        key(
            "template",
            Kind::Fixed(Type::Boolean),
            "Render the templates in it.",
        ),
    ],
};

/// What `exec` holds.
pub const EXEC: Shape = Shape {
    what: "`exec`",
    keys: &[
        required(
            "instance",
            TEXT,
            "Name of the instance that the command runs in.",
        ),
        key(
            "command",
            WORDS,
            "The command and its arguments, or a template that gives such a list; no shell is involved.",
        ),
        key(
            "shell",
            LONG_TEXT,
            "A command line for `sh -c` in the instance, or `{file: PATH}`.",
        ),
        key("environment", TEXTS, "Environment variables."),
        key(
            "creates",
            TEXT,
            "An absolute path in the instance that the command makes: where it is there, the step is skipped.",
        ),
        key("cwd", TEXT, "Working directory."),
        key("user", Kind::Dynamic(Type::Integer), "User id to run as."),
        key("group", Kind::Dynamic(Type::Integer), "Group id to run as."),
        key(
            "stdin",
            LONG_TEXT,
            "Text for the command's standard input, or `{file: PATH}`; the command then runs over websockets.",
        ),
        key(
            "stream",
            Kind::Fixed(Type::Boolean),
            "Run over websockets: the daemon records nothing.",
        ),
        key(
            "timeout",
            DURATION,
            "Limit for the command; it is ended when it takes longer.",
        ),
    ],
};

/// What `push` holds.
pub const PUSH: Shape = Shape {
    what: "`push`",
    keys: &[
        required("instance", TEXT, "The instance."),
        required(
            "path",
            TEXT,
            "Where it goes in the instance: an absolute path.",
        ),
        key(
            "content",
            LONG_TEXT,
            "The file's text, or `{file: PATH, template: true}` for a file with templates.",
        ),
        key(
            "source",
            TEXT,
            "A file or a folder, relative to the playbook.",
        ),
        key(
            "mode",
            TEXT,
            "Mode of the file, or of all files of the folder, in octal digits and quotes: \"0644\".",
        ),
        key("uid", Kind::Dynamic(Type::Integer), "Owner."),
        key("gid", Kind::Dynamic(Type::Integer), "Group."),
    ],
};

/// What `pull` holds.
pub const PULL: Shape = Shape {
    what: "`pull`",
    keys: &[
        required("instance", TEXT, "The instance."),
        required(
            "path",
            TEXT,
            "A file or a folder in the instance: an absolute path.",
        ),
        required(
            "to",
            TEXT,
            "Where it goes, relative to the playbook; into a folder where it ends with a slash.",
        ),
    ],
};

/// Conditions of `wait_for` that are words.
pub const READY_WORDS: &[&str] = &["running", "stopped", "agent", "ipv4", "ipv6", "cloud-init"];

/// What `wait_for` holds.
pub const WAIT_FOR: Shape = Shape {
    what: "`wait_for`",
    keys: &[
        required("instance", TEXT, "The instance."),
        required(
            "ready",
            Kind::OneOrMore(&READY),
            "What must hold, all of it.",
        ),
        key(
            "within",
            DURATION,
            "How long to wait; the step's `timeout` by default.",
        ),
    ],
};

/// One condition.
const READY: Kind = Kind::Either(&[
    Kind::Fixed(Type::Word(READY_WORDS)),
    Kind::Shape(&Shape {
        what: "a condition",
        keys: &[
            key(
                "tcp",
                Kind::Dynamic(Type::Integer),
                "A port that takes connections.",
            ),
            key("exec", WORDS, "A command that ends with exit code 0."),
            key("file", TEXT, "A file that is there."),
        ],
    }),
]);

/// States of an instance that `ensure` can bring about.
pub const STATES: &[&str] = &["running", "stopped", "frozen"];

/// What `expect` holds.
pub const EXPECT: Shape = Shape {
    what: "`expect`",
    keys: &[
        key(
            "status",
            Kind::OneOrMore(&Kind::Dynamic(Type::Integer)),
            "HTTP status, or a list of them.",
        ),
        key(
            "error",
            TEXT,
            "Text contained in the error, in capitals or not: of the API, of the operation, of a command that does not end with 0, of a limit that passed; the step is then expected to fail.",
        ),
        key(
            "exit_code",
            Kind::OneOrMore(&Kind::Dynamic(Type::Integer)),
            "Exit code, or a list of them.",
        ),
        key(
            "stdout",
            Kind::Either(&[TEXT, Kind::Shape(&MATCHER)]),
            "What the command printed: exactly this text, or a matcher.",
        ),
        key(
            "stderr",
            Kind::Either(&[TEXT, Kind::Shape(&MATCHER)]),
            "What the command printed to standard error: exactly this text, or a matcher.",
        ),
        key("metadata", Kind::Free, "A subset of the result's metadata."),
        key(
            "that",
            Kind::OneOrMore(&EXPRESSION),
            "Expressions that must hold.",
        ),
    ],
};

/// What can be asked of text.
pub const MATCHER: Shape = Shape {
    what: "a matcher",
    keys: &[
        key(
            "contains",
            Kind::OneOrMore(&TEXT),
            "Text that must occur in it, or a list of such texts.",
        ),
        key(
            "matches",
            TEXT,
            "A regular expression that must match somewhere in it.",
        ),
        key(
            "json",
            Kind::Free,
            "It is JSON, and this is a subset of it.",
        ),
    ],
};

/// What `retry` holds.
pub const RETRY: Shape = Shape {
    what: "`retry`",
    keys: &[
        required(
            "attempts",
            Kind::Fixed(Type::Integer),
            "How often the step is tried, the first time included.",
        ),
        key(
            "delay",
            DURATION,
            "Pause before the second attempt; 1s by default.",
        ),
        key(
            "backoff",
            Kind::Fixed(Type::Integer),
            "Factor by which the pause grows each time; 2 by default.",
        ),
    ],
};

/// The actions.
pub const ACTIONS: &[ActionKeys] = &[
    ActionKeys {
        name: "request",
        companions: &["query", "headers", "body", "upload", "save", "background"],
        result: &[],
    },
    ActionKeys {
        name: "exec",
        companions: &[],
        result: &[
            "exit_code",
            "stdout",
            "stderr",
            "stdout_base64",
            "stderr_base64",
        ],
    },
    ActionKeys {
        name: "set",
        companions: &[],
        result: &[],
    },
    ActionKeys {
        name: "check",
        companions: &[],
        result: &[],
    },
    ActionKeys {
        name: "steps",
        companions: &["finally"],
        result: &[],
    },
    ActionKeys {
        name: "parallel",
        companions: &["concurrency"],
        result: &[],
    },
    ActionKeys {
        name: "include",
        companions: &["with"],
        result: &[],
    },
    ActionKeys {
        name: "ensure",
        companions: &["body", "state", "replace", "query"],
        result: &["outcome", "difference"],
    },
    ActionKeys {
        name: "absent",
        companions: &["query"],
        result: &["outcome", "difference"],
    },
    ActionKeys {
        name: "push",
        companions: &[],
        result: &[],
    },
    ActionKeys {
        name: "pull",
        companions: &[],
        result: &[],
    },
    ActionKeys {
        name: "wait_for",
        companions: &[],
        result: &[],
    },
    ActionKeys {
        name: "join",
        companions: &[],
        result: &[],
    },
];

/// Fields of every action's result.
pub const RESULT: &[&str] = &[
    "status",
    "headers",
    "etag",
    "metadata",
    "operation",
    "body",
    "changed",
    "skipped",
    "failed",
    "error",
    "attempts",
    "duration",
];

/// Fields of the result of an `include`, beside the outputs of the playbook, which go before them.
pub const INCLUDE_RESULT: &[&str] = &["changed", "skipped", "failed", "attempts", "duration"];

/// Fields of `run`.
pub const RUN: &[&str] = &["id", "started"];

/// Fields of `include`, in an included playbook; in any other its `id` is that of the run.
pub const INCLUDE: &[&str] = &["id"];

/// Fields of `server`.
pub const SERVER: &[&str] = &[
    "flavor",
    "version",
    "extensions",
    "clustered",
    "members",
    "name",
    "simulated",
    "environment",
];

/// Names that no playbook may bind.
pub const RESERVED: &[&str] = &["run", "server", "item", "index"];

/// Methods of HTTP that the API uses.
pub const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
