//! Files of instances by their path in the query.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::call::{Answer, Call, Raw, Refusal, Reply};
use crate::daemon::Daemon;
use crate::state::tree::{Content, Last, Node, SharedTree, Trouble};

/// `/1.0/instances/<name>/files?path=…`.
pub(crate) fn answer(daemon: &Arc<Daemon>, call: &Call, name: &str) -> Answer {
    let tree = daemon.world().instance(call.project(), name)?.tree.clone();
    let path = call.query("path").unwrap_or_default();
    if path.is_empty() {
        return Err(Refusal::new(400, "Missing path argument"));
    }
    match call.method.as_str() {
        "GET" | "HEAD" => read(daemon, call, (&tree, path)),
        "POST" => write(daemon, call, (&tree, path)),
        "DELETE" => {
            let force = daemon.profile.header.to_owned() + "force";
            let removed = if call.header(&force) == Some("true") {
                tree.lock().remove_all(path)
            } else {
                tree.lock().remove(path)
            };
            removed.map_err(|trouble| refusal(trouble, ("remove", path)))?;
            Ok(Reply::empty())
        }
        _ => Err(Refusal::not_implemented()),
    }
}

fn refusal(trouble: Trouble, (verb, path): (&str, &str)) -> Refusal {
    if trouble == Trouble::Missing {
        return Refusal::new(404, "Not Found");
    }
    let why = trouble.text().to_lowercase();
    Refusal::new(
        500,
        format!("sftp: \"{verb} {path}: {why}\" (SSH_FX_FAILURE)"),
    )
}

fn seconds(time: SystemTime) -> String {
    let time = time
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let time = UNIX_EPOCH + std::time::Duration::from_secs(time);
    let text = humantime::format_rfc3339_seconds(time).to_string();
    format!("{} +0000 UTC", text.replace('T', " ").trim_end_matches('Z'))
}

fn read(daemon: &Daemon, call: &Call, (tree, path): (&SharedTree, &str)) -> Answer {
    let tree = tree.lock();
    let (_, node) = tree
        .get(path, Last::Keep)
        .map_err(|trouble| refusal(trouble, ("open", path)))?;
    let kind = match node.content {
        Content::File(_) => "file",
        Content::Folder => "directory",
        Content::Link(_) => "symlink",
    };
    let described = [
        ("uid", node.uid.to_string()),
        ("gid", node.gid.to_string()),
        ("mode", format!("{:04o}", node.mode & 0o777)),
        ("modified", seconds(node.modified)),
        ("type", kind.to_owned()),
    ];
    let prefix = daemon.profile.header;
    let headers: Vec<_> = described
        .into_iter()
        .map(|(name, value)| (format!("{prefix}{name}"), value))
        .collect();
    if call.method == "HEAD" {
        let kind = if daemon.profile.is_incus() {
            "application/octet-stream"
        } else {
            "application/json"
        };
        let mut headers = headers;
        headers.push(("content-type".to_owned(), kind.to_owned()));
        return Ok(Reply::Raw(Raw {
            headers,
            body: bytes::Bytes::new(),
            filename: None,
        }));
    }
    let body = match &node.content {
        Content::Folder => {
            let names = tree.list(path).unwrap_or_default();
            let names: Vec<String> = names.into_iter().map(|(name, _)| name).collect();
            return Ok(Reply::Described(json!(names), headers));
        }
        Content::File(bytes) => bytes.to_vec(),
        // The daemons show where a link leads, from the root.
        Content::Link(_) => tree
            .resolve(path, Last::Follow)
            .unwrap_or_default()
            .into_bytes(),
    };
    let name = path.trim_end_matches('/').rsplit('/').next();
    Ok(Reply::Raw(Raw {
        headers,
        body: body.into(),
        filename: name.map(str::to_owned),
    }))
}

fn write(daemon: &Daemon, call: &Call, (tree, path): (&SharedTree, &str)) -> Answer {
    let header = |name: &str| call.header(&format!("{}{name}", daemon.profile.header));
    let number = |name: &str| header(name).and_then(|text| text.parse().ok());
    // A mode without a leading zero is read as a decimal number.
    let mode = header("mode").and_then(|text| match text.strip_prefix('0') {
        Some(octal) => u32::from_str_radix(octal, 8).ok(),
        None => text.parse().ok(),
    });
    let kind = header("type").unwrap_or("file");
    let node = |content, default| {
        let mut node = Node::new(
            content,
            mode.unwrap_or(default) & 0o7777,
            daemon.clock.now(),
        );
        node.uid = number("uid").unwrap_or(0);
        node.gid = number("gid").unwrap_or(0);
        node
    };
    let mut tree = tree.lock();
    let content = Content::File(Arc::new(call.body.to_vec()));
    let written = match kind {
        "file" if header("write") == Some("append") => {
            tree.append(path, &call.body, &node(content, 0o644))
        }
        "file" => tree.write(path, node(content, 0o644)),
        "directory" => {
            let added = tree.add(path, node(Content::Folder, daemon.profile.folder_mode));
            let there = tree
                .get(path, Last::Follow)
                .is_ok_and(|(_, node)| node.is_folder());
            if there { Ok(()) } else { added }
        }
        "symlink" => {
            let target = String::from_utf8_lossy(&call.body).into_owned();
            tree.add(path, node(Content::Link(target), 0o777))
        }
        other => return Err(Refusal::new(400, format!("Bad file type: {other}"))),
    };
    written.map_err(|trouble| refusal(trouble, ("open", path)))?;
    Ok(Reply::empty())
}
