//! `malleus request`.

use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::{Context, Result};
use malleus::client::{self, Client, Content, Limit, Reply, Wait};
use malleus::template::judge_path;
use serde_json::Value;

use super::args::{Common, Request};
use super::console::Console;
use super::signals::Signals;
use super::{Code, connect};

pub(crate) fn main(common: &Common, args: &Request, console: &Console) -> Result<Code> {
    let request = build(args)?;
    let client = match connect(common, None, console) {
        Ok(client) => client,
        Err(code) => return Ok(code),
    };
    let signals = Signals::listen().context("cannot listen for signals")?;
    signals.cancels(&client);
    match send(&client, &request, args, console) {
        Err(error) if matches!(error.downcast_ref(), Some(client::Error::Cancelled)) => {
            Ok(signals.received().map_or(Code::Failed, Code::Signal))
        }
        Err(error) => Err(error),
        Ok(()) => Ok(Code::Fine),
    }
}

fn build(args: &Request) -> Result<client::Request> {
    judge_path(&args.path).map_err(anyhow::Error::msg)?;
    let mut request = client::Request::new(args.method.to_uppercase(), args.path.as_str())
        .limit(Limit::after("request", args.timeout));
    for (name, value) in &args.query {
        request = request.query(name, value);
    }
    for (name, value) in &args.header {
        request = request.header(name, value);
    }
    if let Some(body) = &args.body {
        request = request.json(json(body)?);
    }
    if let Some(file) = &args.upload {
        request = request.upload(file);
    }
    Ok(request)
}

fn json(argument: &str) -> Result<Value> {
    let (text, from) = match argument.strip_prefix('@') {
        Some("-") => {
            let mut text = String::new();
            io::stdin()
                .read_to_string(&mut text)
                .context("cannot read stdin")?;
            (text, "stdin")
        }
        Some(file) => (
            std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?,
            file,
        ),
        None => (argument.to_owned(), "--body"),
    };
    serde_json::from_str(&text).with_context(|| format!("{from} is not JSON"))
}

fn send(
    client: &Client,
    request: &client::Request,
    args: &Request,
    console: &Console,
) -> Result<()> {
    if let Some(file) = &args.save {
        return save(client, request, file);
    }
    let limit = client.limit("request", args.timeout);
    if args.no_wait {
        return print(&client.request(request)?, None);
    }
    let progress = |operation: &client::Operation| {
        if let Some(text) = operation.progress() {
            console.human.line(&text);
        }
    };
    let wait = Wait {
        progress: Some(&progress),
        ..Wait::within(limit)
    };
    let completed = client.run(request, &wait)?;
    let operation = completed.operation.map(|operation| operation.metadata);
    print(&completed.reply, operation)
}

/// Prints what the request was for: the finished operation's metadata, the reply's metadata, or its raw body.
fn print(reply: &Reply, operation: Option<Value>) -> Result<()> {
    let bytes = match (&reply.content, operation) {
        (_, Some(metadata)) => pretty(&metadata),
        (Content::Envelope(_), None) => pretty(reply.metadata()),
        (Content::Json(value), None) => pretty(value),
        (Content::Text(text), None) => text.clone().into_bytes(),
        (Content::Bytes(bytes), None) => bytes.clone(),
        (Content::Empty | Content::Streamed { .. }, None) => Vec::new(),
    };
    Console::data(&bytes).context("cannot write to stdout")
}

fn pretty(value: &Value) -> Vec<u8> {
    if value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty) {
        return Vec::new();
    }
    format!("{value:#}\n").into_bytes()
}

fn save(client: &Client, request: &client::Request, file: &Path) -> Result<()> {
    if file == Path::new("-") {
        let mut stdout = io::stdout().lock();
        client.download(request, &mut stdout)?;
        return stdout.flush().context("cannot write to stdout");
    }
    client
        .save(request, file, Path::new(""))
        .map(drop)
        .map_err(Into::into)
}
