use malleus_api::ApiPath;
use serde_json::Value;

use super::operation::{operation_id, small};
use super::{ApiError, Operation};

static NULL: Value = Value::Null;

/// What the server answered to one request.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The method of the request.
    pub method: String,
    /// The path of the request as it was sent, with its query.
    pub path: String,
    /// The HTTP status. The envelope decides what happened, not this number: some servers answer a
    /// wait for a failed operation with status 200 and an error envelope.
    pub status: u16,
    /// The headers of the answer.
    pub headers: Headers,
    /// The body of the answer.
    pub content: Content,
}

/// Headers in the order they came, found whatever their case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    pub(super) fn new(headers: Vec<(String, String)>) -> Self {
        Self(headers)
    }

    /// The first value of a header.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut found = self.0.iter();
        found
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// The body of an answer. The body decides, not the path: an envelope is known by its `type`.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// The API's JSON envelope.
    Envelope(Envelope),
    /// Other JSON.
    Json(Value),
    /// Text that is not JSON, such as metrics.
    Text(String),
    /// Raw bytes, such as a file of an instance.
    Bytes(Vec<u8>),
    /// Written elsewhere by [`Client::download`](super::Client::download).
    Streamed {
        /// How much was written.
        bytes: u64,
    },
    /// No body.
    Empty,
}

/// The `type` of an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EnvelopeKind {
    /// Done, with the result in the metadata.
    Sync,
    /// Begun, with the operation in the metadata.
    Async,
    /// Refused or failed.
    Error,
}

/// The API's standard answer: `{"type", "status", "status_code", "operation", "error_code", "error", "metadata"}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// Its `type`.
    pub kind: EnvelopeKind,
    /// `status_code`: 200 for done, 100 for begun, 0 for errors.
    pub status_code: u16,
    /// `status`, the name of the status code.
    pub status: String,
    /// `operation`: the URL of the operation begun, empty when there is none.
    pub operation: String,
    /// `error_code`: an HTTP status, 0 when there is no error.
    pub error_code: u16,
    /// `error`: what went wrong, empty when nothing did.
    pub error: String,
    /// The envelope as it came.
    pub raw: Value,
}

impl Envelope {
    /// Reads an envelope; gives the value back when it is none.
    pub(super) fn from_value(raw: Value) -> Result<Self, Value> {
        let kind = match raw["type"].as_str() {
            Some("sync") => EnvelopeKind::Sync,
            Some("async") => EnvelopeKind::Async,
            Some("error") => EnvelopeKind::Error,
            _ => return Err(raw),
        };
        let text = |key: &str| raw[key].as_str().unwrap_or_default().to_owned();
        Ok(Self {
            kind,
            status_code: small(&raw["status_code"]).unwrap_or(0),
            status: text("status"),
            operation: text("operation"),
            error_code: small(&raw["error_code"]).unwrap_or(0),
            error: text("error"),
            raw,
        })
    }

    /// `metadata`: the result, or the operation; null when there is none.
    pub fn metadata(&self) -> &Value {
        self.raw.get("metadata").unwrap_or(&NULL)
    }
}

impl Reply {
    /// The envelope, when the answer is one.
    pub fn envelope(&self) -> Option<&Envelope> {
        match &self.content {
            Content::Envelope(envelope) => Some(envelope),
            _ => None,
        }
    }

    /// The envelope's metadata; null when the answer is no envelope.
    pub fn metadata(&self) -> &Value {
        self.envelope().map_or(&NULL, Envelope::metadata)
    }

    /// The object's `ETag`, to be sent back by [`Request::if_match`](super::Request::if_match).
    pub fn etag(&self) -> Option<&str> {
        self.headers.get("ETag")
    }

    /// The operation an `async` envelope begun, as it was at that moment.
    pub fn operation(&self) -> Option<Operation> {
        let envelope = self.envelope()?;
        if envelope.kind != EnvelopeKind::Async {
            return None;
        }
        Operation::from_value(envelope.metadata()).or_else(|| {
            // A record that cannot be read still names the operation by its URL.
            let id = operation_id(&envelope.operation)?;
            Operation::from_value(&serde_json::json!({
                "id": id, "class": "task", "status": "Running", "status_code": 103,
            }))
        })
    }

    /// The server's refusal: an error envelope whatever the HTTP status, or a status outside 2xx.
    pub fn api_error(&self) -> Option<ApiError> {
        let failed = !(200..300).contains(&self.status);
        let (status, message) = match &self.content {
            Content::Envelope(envelope) if envelope.kind == EnvelopeKind::Error => {
                let code = match envelope.error_code {
                    0 => self.status,
                    code => code,
                };
                (code, envelope.error.trim().to_owned())
            }
            Content::Text(text) if failed => (self.status, first_line(text)),
            _ if failed => (self.status, String::new()),
            _ => return None,
        };
        Some(ApiError {
            status,
            message,
            method: self.method.clone(),
            path: self.path.clone(),
        })
    }

    /// What makes a good answer one that says nothing about the request: it is none of the API's, or names no operation
    /// that could be waited for. A proxy, say, answers with the page of a login.
    pub(super) fn misfit(&self) -> Option<String> {
        let path = ApiPath::parse(&self.path)?;
        if !(200..300).contains(&self.status) || path.may_answer_raw(&self.method) {
            return None;
        }
        let label = self.headers.get("Content-Type").unwrap_or_default();
        let what = match &self.content {
            Content::Streamed { .. } => return None,
            Content::Envelope(envelope) => {
                let is_lost = envelope.kind == EnvelopeKind::Async && self.operation().is_none();
                return is_lost.then(|| {
                    format!(
                        "an operation has begun, but its identifier cannot be used: {:?}",
                        first_line(&envelope.operation)
                    )
                });
            }
            Content::Json(value) => format!("other JSON ({})", first_line(&value.to_string())),
            Content::Empty => "nothing".to_owned(),
            Content::Text(text) => format!("{label} ({})", first_line(text)),
            Content::Bytes(bytes) => format!("{} bytes of {label:?}", bytes.len()),
        };
        // Extensions that are not known here may answer reads with files, but with no pages.
        let is_known = path.kind().is_some() || path.kind_of_members().is_some();
        let is_file = match &self.content {
            Content::Bytes(_) | Content::Empty => true,
            Content::Text(_) => !label.contains("html"),
            _ => false,
        };
        if self.method == "GET" && !is_known && is_file {
            return None;
        }
        Some(format!(
            "{what} came with status {} in the place of the API's answer; is there a proxy before the server?",
            self.status
        ))
    }

    /// The body as a value: decoded JSON (envelopes whole), text as a string, null for raw bytes
    /// and for no body.
    pub fn body(&self) -> Value {
        match &self.content {
            Content::Envelope(envelope) => envelope.raw.clone(),
            Content::Json(value) => value.clone(),
            Content::Text(text) => Value::String(text.clone()),
            Content::Bytes(_) | Content::Streamed { .. } | Content::Empty => Value::Null,
        }
    }
}

/// As much of a plain text answer as fits an error message.
fn first_line(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    line.chars().take(200).collect()
}
