//! `malleus remote`: servers by name.

use std::io::Read;

use anyhow::{Context, Result, bail};
use malleus::client::{Flavor, Token};
use malleus::diagnostic::Diagnostic;
use malleus_remotes::{Added, Addition, Catalog, Entry, Own, Pin, Place, Way, enrol};
use serde_json::{Value, json};

use super::args::{ListFormat, Remote, RemoteAdd, RemoteCommand, RemoteRemove};
use super::connect::{how_to_trust, unresolved, variable};
use super::console::Console;
use super::table::table;
use super::{Code, settings};

/// The variable with a token, so that it is in no list of processes.
const TOKEN: &str = "MALLEUS_TOKEN";

pub(crate) fn main(project: Option<&str>, args: &Remote, console: &Console) -> Result<Code> {
    match &args.command {
        RemoteCommand::Add(args) => add(project, args, console),
        RemoteCommand::List(args) => list(args.format, console),
        RemoteCommand::Remove(args) => Ok(remove(args, console)),
    }
}

fn add(project: Option<&str>, args: &RemoteAdd, console: &Console) -> Result<Code> {
    let addition = Addition {
        name: args.name.clone(),
        way: way(args, console)?,
        project: project.map(str::to_owned),
        bearer_file: args
            .bearer_file
            .as_ref()
            .map(std::path::absolute)
            .transpose()
            .context("--bearer-file")?,
    };
    let added = Catalog::read(&variable)
        .and_then(|catalog| enrol(&catalog, &addition, &settings(console), &variable));
    match added {
        Ok(added) => {
            tell(&added, console);
            Ok(Code::Fine)
        }
        Err(error) => {
            let (code, problem) = unresolved(&error);
            console.problem(&problem);
            Ok(code)
        }
    }
}

/// How the server becomes known. Messages never repeat what may be a token.
fn way(args: &RemoteAdd, console: &Console) -> Result<Way> {
    let given = match args.server.as_deref() {
        Some("-") => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("cannot read the token from stdin")?;
            text
        }
        Some(text) => text.to_owned(),
        None => match variable(TOKEN) {
            Some(token) => token,
            None => bail!("give a token or an https:// address, or set {TOKEN}"),
        },
    };
    if let Some(token) = Token::parse(&given) {
        console
            .masker
            .add(&json!([given, token.secret(), token.joined()]));
        if args.fingerprint.is_some() || args.bearer_file.is_some() {
            bail!(
                "a token brings the fingerprint and is given for a certificate; leave --fingerprint and --bearer-file away"
            );
        }
        return Ok(Way::Token(token));
    }
    match given.trim().parse() {
        // Whatever has neither is rather a token that was cut than a host.
        Ok(address) if given.contains(['.', ':']) || given.len() < 64 => {
            Ok(Way::Address(address, args.fingerprint))
        }
        _ => bail!(
            "what was given is neither a token nor an address (https://HOST:PORT); was it copied as a whole?"
        ),
    }
}

fn tell(added: &Added, console: &Console) {
    let Added {
        entry,
        flavor,
        server,
        client,
        trusted,
    } = added;
    let line = |text: String| console.human.line(&text);
    line(format!(
        "{}: {} at {}",
        entry.name,
        flavor.title(),
        entry.place
    ));
    line(match server {
        Some(fingerprint) => format!("  server certificate  {fingerprint} (pinned)"),
        None => "  server certificate  vouched for by an authority of this system".to_owned(),
    });
    if let Some(fingerprint) = client {
        line(format!("  our certificate     {fingerprint}"));
    }
    if *trusted {
        line(format!("  trusted; use it with `--remote {}`", entry.name));
        return;
    }
    let tool = match flavor {
        Flavor::Incus => "incus",
        Flavor::Lxd => "lxc",
    };
    let file = entry
        .identity
        .as_ref()
        .map(|(certificate, _)| certificate.display().to_string());
    line(match file {
        Some(file) => format!(
            "  not trusted yet: copy {file} to the server and run {} there",
            how_to_trust(tool, "FILE.crt")
        ),
        None => "  not trusted: the server does not take the bearer token".to_owned(),
    });
}

const HEADS: [&str; 5] = ["NAME", "FROM", "ADDRESS", "PROJECT", "SERVER CERTIFICATE"];

fn list(format: ListFormat, console: &Console) -> Result<Code> {
    let catalog = match Catalog::read(&variable) {
        Ok(catalog) => catalog,
        Err(error) => {
            let (code, problem) = unresolved(&error);
            console.problem(&problem);
            return Ok(code);
        }
    };
    let usable = |entry: &&Entry| !matches!(entry.place, Place::Images(_));
    let entries: Vec<&Entry> = catalog.entries().iter().filter(usable).collect();
    let text = match format {
        ListFormat::Json => {
            let all: Value = entries
                .iter()
                .map(|entry| as_json(entry, &catalog))
                .collect();
            format!("{all:#}\n")
        }
        ListFormat::Human if entries.is_empty() => {
            console
                .human
                .line("no remotes; `malleus remote add NAME TOKEN` adds one");
            return Ok(Code::Fine);
        }
        ListFormat::Human => {
            let rows: Vec<[String; 5]> = entries.iter().map(|entry| row(entry, &catalog)).collect();
            table(HEADS, &rows)
        }
    };
    Console::data(text.as_bytes()).context("cannot write to stdout")?;
    Ok(Code::Fine)
}

fn row(entry: &Entry, catalog: &Catalog) -> [String; 5] {
    let mark = if catalog.default_remote() == Some(entry.label().as_str()) {
        " (default)"
    } else {
        ""
    };
    [
        format!("{}{mark}", entry.label()),
        entry.origin.to_string(),
        entry.place.to_string(),
        entry.project.clone().unwrap_or_else(|| "-".to_owned()),
        match (&entry.place, &entry.pin) {
            (Place::Https(_), Pin::Fingerprint(pin)) => pin.to_string().chars().take(12).collect(),
            (Place::Https(_), Pin::File(path)) if path.exists() => "stored".to_owned(),
            (Place::Https(_), _) => "by authorities".to_owned(),
            _ => "-".to_owned(),
        },
    ]
}

fn as_json(entry: &Entry, catalog: &Catalog) -> Value {
    let label = entry.label();
    let addresses = match &entry.place {
        Place::Https(addresses) => addresses.iter().map(ToString::to_string).collect(),
        place => vec![place.to_string()],
    };
    json!({
        "name": label,
        "from": entry.origin.name(),
        "addresses": addresses,
        "project": entry.project,
        "fingerprint": match &entry.pin {
            Pin::Fingerprint(pin) => Some(pin.to_string()),
            _ => None,
        },
        "default": catalog.default_remote() == Some(label.as_str()),
    })
}

fn remove(args: &RemoteRemove, console: &Console) -> Code {
    let own = Own::find(&variable);
    match own.and_then(|own| own.remove(&args.name)) {
        Ok(true) => {
            console.human.line(&format!(
                "{} is removed with its key pair; the server still has the certificate in its list (`incus config trust list`, \
                 `lxc config trust list`)",
                args.name
            ));
            Code::Fine
        }
        Ok(false) => {
            let problem = Diagnostic::error(format!("malleus keeps no remote {:?}", args.name));
            console.problem(&problem.help(
                "`malleus remote list` shows all; those of the `incus` and `lxc` clients are removed with these",
            ));
            Code::Invalid
        }
        Err(error) => {
            let (code, problem) = unresolved(&error);
            console.problem(&problem);
            code
        }
    }
}
