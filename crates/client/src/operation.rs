use serde_json::Value;

/// How an operation ends and who ends it: the API's `class`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The server works and finishes by itself. The only class that is worth waiting for.
    Task,
    /// The server waits for websockets, for five seconds, and then works until they end.
    Websocket,
    /// A token that somebody may use later: such an operation never ends by itself.
    Token,
    /// A class this library does not know: taken for work that ends by itself.
    Other,
}

impl Class {
    /// Whether an operation of this class ends without anybody's doing.
    pub fn ends_by_itself(self) -> bool {
        matches!(self, Self::Task | Self::Other)
    }

    fn of(name: &str) -> Self {
        match name {
            "task" => Self::Task,
            "websocket" => Self::Websocket,
            "token" => Self::Token,
            _ => Self::Other,
        }
    }
}

/// A background operation of the server, as it was when it was last seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// The identifier, a UUID. Operations are addressed by it, never by the URL in the envelope: in
    /// a cluster that URL carries a query.
    pub id: String,
    /// How the operation ends.
    pub class: Class,
    /// The API's status code: 103 running, 200 success, 400 failure, 401 cancelled.
    pub status_code: u16,
    /// The name of the status code, such as `"Running"`. The number is stable, the text is not.
    pub status: String,
    /// What went wrong, empty unless the operation failed.
    pub err: String,
    /// What the operation does, such as `"Creating instance"`.
    pub description: String,
    /// What the operation found out: exit codes, fingerprints, progress; null when there is nothing.
    pub metadata: Value,
    /// URLs of what the operation is about by kind, or null. Informational: the kinds vary.
    pub resources: Value,
    /// Whether the server says that a DELETE would end it.
    pub may_cancel: bool,
    /// The cluster member that does the work, `"none"` outside clusters.
    pub location: String,
    /// When it began, in RFC 3339.
    pub created_at: String,
    /// The whole record as it came.
    pub raw: Value,
}

impl Operation {
    /// Whether the operation has ended: success, failure or cancelled.
    pub fn is_final(&self) -> bool {
        matches!(self.status_code, 200 | 400 | 401)
    }

    /// Whether the operation has ended otherwise than in success.
    pub fn failed(&self) -> bool {
        matches!(self.status_code, 400 | 401)
    }

    /// The text of `metadata.<stage>_progress`, such as `"rootfs: 35% (12.3MB/s)"`: for people, as
    /// the wording differs between servers.
    pub fn progress(&self) -> Option<String> {
        malleus_api::operation::progress(&self.metadata).map(str::to_owned)
    }

    /// Reads an operation record; `None` when the value is none.
    pub fn from_value(raw: &Value) -> Option<Self> {
        // It becomes a part of paths.
        let id = raw["id"].as_str().filter(|id| is_id(id))?.to_owned();
        let text = |key: &str| raw[key].as_str().unwrap_or_default().to_owned();
        Some(Self {
            id,
            class: Class::of(&text("class")),
            status_code: small(&raw["status_code"])?,
            status: text("status"),
            err: text("err"),
            description: text("description"),
            metadata: raw["metadata"].clone(),
            resources: raw["resources"].clone(),
            may_cancel: raw["may_cancel"].as_bool().unwrap_or(false),
            location: text("location"),
            created_at: text("created_at"),
            raw: raw.clone(),
        })
    }

    /// The operation as far as it is known when only the text of its failure came through: the
    /// server answered `/wait` with an error body and has forgotten the record since.
    pub(super) fn failed_with(id: &str, err: &str) -> Self {
        let raw = serde_json::json!({
            "id": id, "class": "task", "status": "Failure", "status_code": 400, "err": err,
            "metadata": null, "resources": null,
        });
        Self {
            id: id.to_owned(),
            class: Class::Task,
            status_code: 400,
            status: "Failure".to_owned(),
            err: err.to_owned(),
            description: String::new(),
            metadata: Value::Null,
            resources: Value::Null,
            may_cancel: false,
            location: String::new(),
            created_at: String::new(),
            raw,
        }
    }
}

/// A code of the API as a number that fits one.
pub(super) fn small(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|code| u16::try_from(code).ok())
}

/// The identifier in an operation's id or any of its URLs, with or without `/wait` and a query.
pub(super) fn operation_id(operation: &str) -> Option<&str> {
    let path = operation.split(['?', '#']).next()?;
    let id = match path.rsplit_once("/operations/") {
        Some((_, rest)) => rest.split('/').next()?,
        None => path.strip_prefix("operations/").unwrap_or(path),
    };
    is_id(id).then_some(id)
}

fn is_id(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !text.is_empty() && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::{Operation, operation_id};
    use serde_json::json;

    #[test]
    fn the_identifier_is_found_in_every_spelling() {
        for (text, expected) in [
            ("9f-1", Some("9f-1")),
            ("operations/9f-1", Some("9f-1")),
            ("/1.0/operations/9f-1", Some("9f-1")),
            ("/1.0/operations/9f-1/wait?timeout=3", Some("9f-1")),
            ("/1.0/operations/9f-1?project=default", Some("9f-1")),
            (
                "http://unix/1.0/operations/9f-1/websocket?secret=x",
                Some("9f-1"),
            ),
            ("/1.0/instances/c1", None),
            ("", None),
            ("/1.0/operations/", None),
            ("/1.0/operations/../projects/default", None),
            ("/1.0/operations/%2e%2e", None),
            ("a b", None),
        ] {
            assert_eq!(operation_id(text), expected, "{text}");
        }
    }

    #[test]
    fn progress_is_the_text_of_the_stage() {
        let record = json!({"id": "x", "status_code": 103, "metadata": {
            "progress": {"stage": "rootfs"}, "download_progress": "rootfs: 35%"}});
        let operation = Operation::from_value(&record).unwrap();
        assert_eq!(operation.progress().as_deref(), Some("rootfs: 35%"));
        assert!(!operation.is_final());
    }
}
