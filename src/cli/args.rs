//! What can be typed.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use malleus::report::Report;
use malleus::run::{CleanupPolicies, CleanupPolicy};
use malleus_core::clock::Clock;

/// Runs declarative playbooks against the REST APIs of LXD and Incus.
#[derive(Debug, Parser)]
#[command(name = "malleus", version, propagate_version = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "Exit codes:
  0    all steps and expectations held, nothing is left that should not be
  1    a step or an expectation failed; cleanup is complete
  2    usage error or invalid playbook; nothing was sent
  3    the daemon cannot be reached, or refuses us; nothing was changed
  4    cleanup is incomplete; what is left is printed
  130  interrupted (143: terminated); cleanup is complete";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run playbooks: their steps, then explicit cleanups and `finally`
    Run(Run),
    /// Run playbooks as tests: all are checked first, a failure does not stop the others
    Test(Test),
    /// Provide an environment and keep it; print its outputs
    Up(Up),
    /// Remove what `up`, `run`, or a run that was killed, has left
    Down(Down),
    /// Print the outputs of an environment that is up
    Outputs(EnvironmentOutputs),
    /// Provide an environment, run a command with its outputs, remove it again
    With(With),
    /// List environments, and runs that have left something
    Runs(Runs),
    /// Remove what runs have left on the server whose lease has ended, from any machine
    Gc(Gc),
    /// Check playbooks; `--remote` looks whether what they name is on the server, too
    Check(Check),
    /// Explain a playbook: its inputs, its steps in order, its outputs; sends nothing
    Show(Show),
    /// Send one request, wait for its operation, print the result
    Request(Request),
    /// Run one command in an instance, with its input, output and exit code
    Exec(Exec),
    /// Look whether playbooks can run on a server, and say how to mend what is missing
    Doctor(Doctor),
    /// Servers by name: malleus's own, and those of the `incus` and `lxc` clients
    Remote(Remote),
    /// Serve a simulated daemon on a socket, for any client, until it is interrupted
    #[cfg(feature = "sim")]
    Sim(super::sim::Serve),
    /// Print the JSON Schema of playbooks, for editors
    Schema,
    /// Print the completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

impl Common {
    /// Whether the daemon is one that this command simulates, and takes along at its end.
    #[cfg(feature = "sim")]
    pub(crate) fn is_simulated(&self) -> bool {
        self.sim.sim.is_some()
    }

    /// By what clients of the server go.
    #[cfg(feature = "sim")]
    pub(crate) fn clock(&self) -> Clock {
        self.sim.clock
    }

    /// Without the feature the machine's.
    #[cfg(not(feature = "sim"))]
    #[expect(clippy::unused_self, reason = "as it is with the feature")]
    pub(crate) fn clock(&self) -> Clock {
        Clock::machine()
    }

    /// Without the feature none is.
    #[cfg(not(feature = "sim"))]
    #[expect(clippy::unused_self, reason = "as it is with the feature")]
    pub(crate) fn is_simulated(&self) -> bool {
        false
    }
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The server: the name of a remote, https://HOST:PORT, or the path of a unix socket
    #[arg(
        long,
        global = true,
        env = "MALLEUS_REMOTE",
        value_name = "NAME|URL|SOCKET"
    )]
    pub(crate) remote: Option<String>,
    #[cfg(feature = "sim")]
    #[command(flatten)]
    pub(crate) sim: super::sim::SimOptions,
    /// Project of every request that names none
    #[arg(long, global = true, env = "MALLEUS_PROJECT", value_name = "PROJECT")]
    pub(crate) project: Option<String>,
    /// Say less: failures alone
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more: each request; twice: bodies as well, secrets masked
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// When to use colours
    #[arg(long, global = true, env = "MALLEUS_COLOR", value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    Always,
    Never,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Playbooks, run in this order; the first that fails ends the command
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) playing: Playing,
    /// Print the outputs to stdout, or write them to a file: json, env, shell or github, or json=FILE
    #[arg(long, env = "MALLEUS_OUT", value_name = "FORMAT[=FILE]", value_parser = parse_out)]
    pub(crate) out: Option<Out>,
}

#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Playbooks, or folders: every .yaml or .yml file in them that has a `playbook:` key
    #[arg(required = true, value_name = "FILE|DIR")]
    pub(crate) paths: Vec<PathBuf>,
    /// How many playbooks run at a time; auto is one per processor
    #[arg(long, short, env = "MALLEUS_JOBS", value_name = "N|auto", value_parser = Jobs::parse, default_value = "1")]
    pub(crate) jobs: Jobs,
    /// Begin no further playbook once one has failed
    #[arg(long)]
    pub(crate) fail_fast: bool,
    /// Only playbooks with this text in their name or path
    #[arg(long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,
    /// Print names and paths of the playbooks, and run none
    #[arg(long)]
    pub(crate) list: bool,
    #[command(flatten)]
    pub(crate) playing: Playing,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// The playbook
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Name of the environment; the playbook's where it is not given
    #[arg(long, env = "MALLEUS_NAME", value_name = "ENV")]
    pub(crate) name: Option<String>,
    /// Keep what a living environment has and no step makes any more, and name it
    #[arg(long)]
    pub(crate) no_prune: bool,
    #[command(flatten)]
    pub(crate) playing: Playing,
    /// How the outputs are printed, or written to a file: env, json, shell or github, or json=FILE
    #[arg(long, env = "MALLEUS_OUT", value_name = "FORMAT[=FILE]", value_parser = parse_out, default_value = "env")]
    pub(crate) out: Out,
}

#[derive(Debug, Args)]
pub(crate) struct EnvironmentOutputs {
    /// The environment
    #[arg(value_name = "ENV")]
    pub(crate) name: String,
    /// How the outputs are printed, or written to a file: env, json, shell or github, or json=FILE
    #[arg(long, env = "MALLEUS_OUT", value_name = "FORMAT[=FILE]", value_parser = parse_out, default_value = "env")]
    pub(crate) out: Out,
}

#[derive(Debug, Args)]
pub(crate) struct Down {
    #[command(flatten)]
    pub(crate) chosen: ChosenRuns,
    /// List what would be removed and what would be left alone, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Also remove what is there under a name that a journal of an older malleus holds: such a journal does not say what
    /// tells a resource from another one of its name
    #[arg(long)]
    pub(crate) force_unknown: bool,
    /// How long it may take
    #[arg(long, env = "MALLEUS_CLEANUP_TIMEOUT", value_name = "DURATION", value_parser = malleus_core::duration::parse, default_value = "5m")]
    pub(crate) cleanup_timeout: Duration,
}

/// The runs whose resources are removed.
#[derive(Debug, Args)]
pub(crate) struct ChosenRuns {
    /// Environments by name, or runs by id
    #[arg(required_unless_present = "all", value_name = "ENV|RUN")]
    pub(crate) names: Vec<String>,
    /// All environments, and all that runs on this machine have left; not what passing runs have kept
    #[arg(long, conflicts_with = "names")]
    pub(crate) all: bool,
    /// With --all: what passing runs have kept as well
    #[arg(long, requires = "all")]
    pub(crate) kept: bool,
}

#[derive(Debug, Args)]
pub(crate) struct With {
    /// The playbook
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) playing: Playing,
    /// The command and its arguments; each output is in its environment as `MALLEUS_OUTPUT_<NAME>`, and as `MALLEUS_<NAME>`
    /// where malleus does not read that itself; all of them are JSON in the file that `MALLEUS_OUTPUTS` names
    #[arg(required = true, last = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Runs {
    /// For people, or as JSON
    #[arg(long, value_enum, default_value_t = ListFormat::Human)]
    pub(crate) format: ListFormat,
}

#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// What every run has left whose lease has ended: the default
    #[arg(long, conflicts_with = "runs")]
    pub(crate) all_expired: bool,
    /// What this run has left, whatever its lease says; may be given several times
    #[arg(long = "run", value_name = "RUN")]
    pub(crate) runs: Vec<String>,
    /// List what would be removed, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// For people, or as JSON
    #[arg(long, value_enum, default_value_t = ListFormat::Human)]
    pub(crate) format: ListFormat,
    /// How long it may take
    #[arg(long, env = "MALLEUS_CLEANUP_TIMEOUT", value_name = "DURATION", value_parser = malleus_core::duration::parse, default_value = "5m")]
    pub(crate) cleanup_timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    Human,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Remotes; the one that other commands would use where none is given
    #[arg(value_name = "REMOTE")]
    pub(crate) names: Vec<String>,
    /// All remotes there are
    #[arg(long, conflicts_with = "names")]
    pub(crate) all: bool,
    /// For people, or as JSON
    #[arg(long, value_enum, default_value_t = ListFormat::Human)]
    pub(crate) format: ListFormat,
}

#[derive(Debug, Args)]
pub(crate) struct Remote {
    #[command(subcommand)]
    pub(crate) command: RemoteCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RemoteCommand {
    /// Add a server: make a key pair, make sure of the server, have it trust us, store all of it
    Add(RemoteAdd),
    /// List remotes: malleus's own, and those of the `incus` and `lxc` clients
    List(Runs),
    /// Remove one of malleus's own remotes with its key pair
    Remove(RemoteRemove),
}

#[derive(Debug, Args)]
pub(crate) struct RemoteAdd {
    /// What it is to be called
    pub(crate) name: String,
    /// A trust token of the server, or its address: https://HOST:PORT. Without it the variable `MALLEUS_TOKEN` has the
    /// token; - reads it from stdin
    #[arg(value_name = "TOKEN|ADDRESS")]
    pub(crate) server: Option<String>,
    /// The SHA-256 of the server's certificate, where no authority vouches for it and there is no token
    #[arg(long, value_name = "HEX")]
    pub(crate) fingerprint: Option<malleus::client::Fingerprint>,
    /// Send the bearer token in this file instead of making a key pair
    #[arg(long, value_name = "FILE")]
    pub(crate) bearer_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RemoteRemove {
    /// Its name
    pub(crate) name: String,
}

/// Options of every command that runs playbooks.
#[derive(Debug, Args)]
pub(crate) struct Playing {
    #[command(flatten)]
    pub(crate) inputs: Inputs,
    #[command(flatten)]
    pub(crate) reporting: Reporting,
    /// What stays of what a playbook created: nothing, what a failed run made, or all; each command has a default
    #[arg(long, env = "MALLEUS_KEEP", value_enum, default_value_t = Keep::Default, hide_default_value = true, hide_possible_values = true, value_name = "never|on-failure|always")]
    pub(crate) keep: Keep,
    /// Save what explains a failure in this folder, before anything is removed: events, requests, instances and their logs
    #[arg(long, env = "MALLEUS_ARTIFACTS", value_name = "DIR")]
    pub(crate) artifacts: Option<PathBuf>,
    /// How long cleanup may take, beside the deadline of the steps
    #[arg(long, env = "MALLEUS_CLEANUP_TIMEOUT", value_name = "DURATION", value_parser = malleus_core::duration::parse, default_value = "5m")]
    pub(crate) cleanup_timeout: Duration,
    /// Deadline for the steps of each playbook, as 30s or 5m
    #[arg(long, env = "MALLEUS_TIMEOUT", value_name = "DURATION", value_parser = malleus_core::duration::parse)]
    pub(crate) timeout: Option<Duration>,
    /// How many operations that build something the server gets at a time; two per processor by default
    #[arg(long, env = "MALLEUS_PARALLEL", value_name = "N")]
    pub(crate) parallel: Option<usize>,
}

/// What stays of what a playbook created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Keep {
    /// As the command does by itself.
    #[value(hide = true)]
    Default,
    Never,
    OnFailure,
    Always,
}

impl Keep {
    /// For `run`: only what has a `cleanup:` is removed.
    pub(crate) fn after_run(self) -> CleanupPolicies {
        match self {
            Self::Default => CleanupPolicies::always(CleanupPolicy::Explicit),
            other => other.after_test(),
        }
    }

    /// For `test` and `with`: all is removed.
    pub(crate) fn after_test(self) -> CleanupPolicies {
        match self {
            Self::Default | Self::Never => CleanupPolicies::always(CleanupPolicy::Everything),
            Self::OnFailure => CleanupPolicies {
                failed: CleanupPolicy::Nothing,
                ..CleanupPolicies::always(CleanupPolicy::Everything)
            },
            Self::Always => CleanupPolicies::always(CleanupPolicy::Nothing),
        }
    }

    /// For `up`: what was provided stays, what was not is removed.
    pub(crate) fn after_up(self) -> CleanupPolicies {
        CleanupPolicies {
            passed: CleanupPolicy::Nothing,
            ..self.after_test()
        }
    }
}

/// What is told to programs.
#[derive(Debug, Args)]
pub(crate) struct Reporting {
    /// Write a report: junit=FILE, json=FILE or html=FILE; the file - is stdout; may be given several times
    #[arg(long = "report", env = "MALLEUS_REPORT", value_name = "FORMAT=FILE", value_delimiter = ',', value_parser = Report::parse)]
    pub(crate) reports: Vec<Report>,
    /// Whose annotations of problems are written to stderr: GitHub's where it runs us, unless this says otherwise
    #[arg(long, env = "MALLEUS_ANNOTATIONS", value_enum, default_value_t = Annotations::Auto, hide_possible_values = true, value_name = "auto|github|none")]
    pub(crate) annotations: Annotations,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Annotations {
    Auto,
    Github,
    None,
}

/// How many playbooks run at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Jobs {
    /// One per processor.
    Auto,
    Number(NonZeroUsize),
}

impl Jobs {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            number => number
                .parse()
                .map(Self::Number)
                .map_err(|_| "write a number from 1, or auto".into()),
        }
    }

    pub(crate) fn number(self) -> usize {
        match self {
            Self::Auto => std::thread::available_parallelism().map_or(1, usize::from),
            Self::Number(number) => number.get(),
        }
    }
}

/// Values for inputs.
#[derive(Debug, Args)]
pub(crate) struct Inputs {
    /// Set an input; the text is converted to its declared type
    // Taken apart later: what the parser of arguments refuses it prints, and it may be secret.
    #[arg(long = "var", value_name = "NAME=TEXT")]
    pub(crate) vars: Vec<String>,
    /// Set an input to a JSON value
    #[arg(long = "var-json", value_name = "NAME=JSON")]
    pub(crate) vars_json: Vec<String>,
    /// Set inputs from a YAML or JSON file; later files go before earlier ones, --var before files
    #[arg(long = "vars-file", env = "MALLEUS_VARS_FILE", value_name = "FILE")]
    pub(crate) vars_files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Playbooks, or folders: every .yaml or .yml file in them that has a `playbook:` key
    #[arg(required = true, value_name = "FILE|DIR")]
    pub(crate) paths: Vec<PathBuf>,
    /// How findings are written: for people to stderr, or as JSON to stdout
    #[arg(long, value_enum, default_value_t = CheckFormat::Human)]
    pub(crate) format: CheckFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckFormat {
    Human,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The playbook
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) inputs: Inputs,
    /// Show each request as well, with the values known so far
    #[arg(long)]
    pub(crate) requests: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Request {
    /// GET, POST, PUT, PATCH, DELETE, …
    pub(crate) method: String,
    /// Path, below /1.0/ unless it begins with a slash; must be percent-encoded
    pub(crate) path: String,
    /// JSON body; @FILE reads it from a file, @- from stdin
    #[arg(
        long,
        short = 'd',
        value_name = "JSON|@FILE",
        conflicts_with = "upload"
    )]
    pub(crate) body: Option<String>,
    /// Send a file as the raw body
    #[arg(long, value_name = "FILE")]
    pub(crate) upload: Option<PathBuf>,
    /// Stream the reply's body to a file; - is stdout
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    /// Add a query parameter
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    pub(crate) query: Vec<(String, String)>,
    /// Add a header
    #[arg(long, short = 'H', value_name = "NAME: VALUE", value_parser = parse_header)]
    pub(crate) header: Vec<(String, String)>,
    /// Do not wait for the operation; print it as it was begun
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Limit for the request and its operation
    #[arg(long, env = "MALLEUS_TIMEOUT", value_name = "DURATION", value_parser = malleus_core::duration::parse, default_value = "10m")]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// The instance
    pub(crate) instance: String,
    /// The command and its arguments; no shell is involved
    #[arg(required = true, last = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
    /// Set an environment variable
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = parse_pair)]
    pub(crate) env: Vec<(String, String)>,
    /// Working directory
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<String>,
    /// User id to run as
    #[arg(long, value_name = "UID")]
    pub(crate) user: Option<u32>,
    /// Group id to run as
    #[arg(long, value_name = "GID")]
    pub(crate) group: Option<u32>,
    /// Have the daemon record the output and fetch it at the end, instead of streaming it
    #[arg(long)]
    pub(crate) record: bool,
    /// End the command when it takes longer
    #[arg(long, env = "MALLEUS_TIMEOUT", value_name = "DURATION", value_parser = malleus_core::duration::parse)]
    pub(crate) timeout: Option<Duration>,
}

/// Where outputs go.
#[derive(Debug, Clone)]
pub(crate) struct Out {
    pub(crate) format: malleus::report::outputs::Format,
    pub(crate) file: Option<PathBuf>,
}

fn parse_out(text: &str) -> Result<Out, String> {
    use malleus::report::outputs::Format;
    let (format, file) = text.split_once('=').map_or((text, None), |(format, file)| {
        (format, Some(PathBuf::from(file)))
    });
    let format = match format {
        "json" => Format::Json,
        "env" => Format::Env,
        "shell" => Format::Shell,
        "github" => Format::Github,
        other => {
            return Err(format!(
                "`{other}` is no format for outputs: use json, env, shell or github"
            ));
        }
    };
    Ok(Out { format, file })
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE".into()),
    }
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("write it as \"NAME: VALUE\"".into()),
    }
}
