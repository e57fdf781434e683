//! What can be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

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
    /// Check playbooks without sending anything
    Check(Check),
    /// Explain a playbook: its inputs, its steps in order, its outputs; sends nothing
    Show(Show),
    /// Send one request, wait for its operation, print the result
    Request(Request),
    /// Run one command in an instance, with its input, output and exit code
    Exec(Exec),
    /// Serve a simulated daemon on a socket, for any client, until it is interrupted
    #[cfg(feature = "sim")]
    Sim(super::sim::Serve),
    /// Print the JSON Schema of playbooks, for editors
    Schema,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The server: the path of a unix socket
    #[arg(long, global = true, env = "MALLEUS_REMOTE", value_name = "SOCKET")]
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
    pub(crate) inputs: Inputs,
    /// Print the outputs to stdout, or write them to a file: json or env, or json=FILE
    #[arg(long, env = "MALLEUS_OUT", value_name = "FORMAT[=FILE]", value_parser = parse_out)]
    pub(crate) out: Option<Out>,
    /// Deadline for the steps of each playbook, as 30s or 5m
    #[arg(long, env = "MALLEUS_TIMEOUT", value_name = "DURATION", value_parser = malleus::duration::parse)]
    pub(crate) timeout: Option<Duration>,
    /// How many operations that build something the server gets at a time; two per processor by default
    #[arg(long, env = "MALLEUS_PARALLEL", value_name = "N")]
    pub(crate) parallel: Option<usize>,
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
    #[arg(long, env = "MALLEUS_TIMEOUT", value_name = "DURATION", value_parser = malleus::duration::parse, default_value = "10m")]
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
    #[arg(long, env = "MALLEUS_TIMEOUT", value_name = "DURATION", value_parser = malleus::duration::parse)]
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
        other => {
            return Err(format!(
                "`{other}` is no format for outputs: use json or env"
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
