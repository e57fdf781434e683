//! A request as the API sees it, and its answer.

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::access::{Access, Peer};
use super::fault::OperationFault;

/// A request whose body has been read.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: String,
    /// Decoded segments of the path, below `/1.0`.
    pub(super) path: Vec<String>,
    pub(super) query: Vec<(String, String)>,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
    /// What becomes of the connection, where the client wants another protocol.
    pub(super) upgrade: Option<Upgrade>,
    /// What is to go wrong with the operation.
    pub(super) fault: Option<OperationFault>,
    pub(super) peer: Peer,
    /// What the peer may do.
    pub(super) access: Access,
    /// The member of a cluster that carries it out.
    pub(super) location: String,
}

/// Another protocol that is asked for.
#[derive(Debug)]
pub(super) struct Upgrade {
    pub(super) connection: OnUpgrade,
    /// `Sec-WebSocket-Key`; empty for other protocols than websockets.
    pub(super) key: String,
}

/// A text of a body; nothing where it is not there, or no text.
pub(super) fn text<'a>(body: &'a Map<String, Value>, key: &str) -> &'a str {
    body.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a body asks for something that is not done otherwise.
pub(super) fn flag(body: &Map<String, Value>, key: &str) -> bool {
    body.get(key).is_some_and(|value| value == true)
}

impl Call {
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// `project=`, `default` without it.
    pub(super) fn project(&self) -> &str {
        self.query("project")
            .filter(|project| !project.is_empty())
            .unwrap_or("default")
    }

    /// Whether the project that it means is one in which the sender has nothing to look for.
    pub(super) fn is_outside(&self) -> bool {
        !self.access.allows(self.project())
    }

    pub(super) fn recursion(&self) -> u32 {
        let asked = self.query("recursion").and_then(|text| text.parse().ok());
        asked.unwrap_or(0)
    }

    pub(super) fn all_projects(&self) -> bool {
        self.query("all-projects")
            .is_some_and(|value| matches!(value, "true" | "1"))
    }

    /// The body as an object; an empty one where there is none.
    pub(super) fn json(&self) -> Result<Map<String, Value>, Refusal> {
        if self.body.is_empty() {
            return Err(Refusal::new(400, "EOF"));
        }
        match serde_json::from_slice(&self.body) {
            Ok(Value::Object(object)) => Ok(object),
            Ok(other) => Err(Refusal::new(
                400,
                format!("json: cannot unmarshal {} into Go value", kind_of(&other)),
            )),
            Err(_) => Err(Refusal::new(400, words(&self.body))),
        }
    }

    /// Holds `If-Match` against a resource.
    pub(super) fn match_etag(&self, etag: &str) -> Result<(), Refusal> {
        match self.header("if-match").map(|tag| tag.trim_matches('"')) {
            Some(wanted) if wanted != etag => Err(Refusal::new(
                412,
                format!("ETag doesn't match: {etag} vs {wanted}"),
            )),
            _ => Ok(()),
        }
    }
}

/// What Go's decoder says about a text that is no JSON.
fn words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start();
    let first = text.chars().next().unwrap_or(' ');
    let wrong = if first == '{' {
        let inner = text[1..].trim_start();
        inner.chars().next().filter(|next| *next != '"')
    } else {
        Some(first)
    };
    match wrong {
        Some(wrong) if first == '{' => {
            format!("invalid character '{wrong}' looking for beginning of object key string")
        }
        Some(wrong) => format!("invalid character '{wrong}' looking for beginning of value"),
        None => "unexpected EOF".to_owned(),
    }
}

/// Go's word for a JSON value of the wrong kind.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Why a request is not carried out, or an operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) text: String,
}

impl Refusal {
    pub(super) fn new(code: u16, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }

    pub(super) fn not_found() -> Self {
        Self::new(404, "not found")
    }

    pub(super) fn not_implemented() -> Self {
        Self::new(501, "not implemented")
    }
}

/// What a request comes to.
pub(super) type Answer = Result<Reply, Refusal>;

/// A good answer.
#[derive(Debug)]
pub(super) enum Reply {
    /// 200 with an envelope.
    Sync(Value),
    /// 200 with an envelope and the resource's `ETag`.
    Tagged(Value, String),
    /// 200 with an envelope and headers.
    Described(Value, Vec<(String, String)>),
    /// 201 and where the new resource is.
    Created(String),
    /// 202: an operation has begun, here as it is now.
    Async(Value),
    /// The same on another member of a cluster, with the project that the operation's path says then.
    Forwarded(Value, String),
    /// Bytes of a file.
    Raw(Raw),
    /// The connection becomes a websocket.
    Websocket(String),
    /// The connection goes on with another protocol.
    Switched(&'static str),
    /// 200 with an envelope whose headers have gone out before it was known: some daemons tell of an operation's failure by one
    /// of an error.
    Early(Value),
    /// An error that is no envelope.
    Plain(u16, &'static str),
}

/// Bytes of a file with what the API says about them.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
    /// Shown as the name of the download; none for `HEAD`.
    pub(super) filename: Option<String>,
}

impl Reply {
    pub(super) fn empty() -> Self {
        Self::Sync(json!({}))
    }
}

/// The envelope of an error.
pub(super) fn error_envelope(refusal: &Refusal) -> Value {
    json!({
        "type": "error", "status": "", "status_code": 0, "operation": "",
        "error_code": refusal.code, "error": refusal.text, "metadata": null,
    })
}

/// The envelope of a success.
pub(super) fn envelope(metadata: &Value) -> Value {
    json!({
        "type": "sync", "status": "Success", "status_code": 200, "operation": "",
        "error_code": 0, "error": "", "metadata": metadata,
    })
}

/// The envelope of an operation that has begun.
pub(super) fn async_envelope(operation: &Value, project: Option<&str>) -> Value {
    let project = project.map(|project| format!("?project={project}"));
    let project = project.unwrap_or_default();
    let id = operation["id"].as_str().unwrap_or_default();
    json!({
        "type": "async", "status": "Operation created", "status_code": 100,
        "operation": format!("/1.0/operations/{id}{project}"),
        "error_code": 0, "error": "", "metadata": operation,
    })
}

/// The `ETag` of what can be changed about a resource.
pub(super) fn etag(of: &Value) -> String {
    hex(&Sha256::digest(of.to_string().as_bytes()))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A random identifier in the form of a UUID of version 4.
pub(super) fn uuid() -> String {
    let bits = fastrand::u128(..) & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let text = format!("{bits:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &text[..8],
        &text[8..12],
        &text[12..16],
        &text[16..20],
        &text[20..]
    )
}
