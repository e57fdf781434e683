use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{Class, Operation, Reply};

/// What a server gives to those who are to be trusted, or to join its cluster: once, and for a short time. Never shown by
/// `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Map<String, Value>);

impl Token {
    /// Reads a token: JSON in base64.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.trim()).ok()?;
        let Ok(Value::Object(fields)) = serde_json::from_slice(&bytes) else {
            return None;
        };
        let token = Self(fields);
        (!token.text("secret").is_empty() && !token.fingerprint().is_empty()).then_some(token)
    }

    /// Joins the token that an operation of class `token` carries in parts: that of `POST /1.0/certificates`, or of
    /// `POST /1.0/cluster/members`.
    pub fn of(operation: &Operation) -> Option<Self> {
        (operation.class == Class::Token)
            .then(|| Self::join(&operation.metadata))
            .flatten()
    }

    /// The token that a server of LXD gives in parts for a pending identity, or for a link to another cluster.
    pub fn of_identity(metadata: &Value) -> Option<Self> {
        let fields = metadata.as_object()?;
        let has = |key: &str| fields.get(key).is_some_and(Value::is_string);
        let is_one = has("secret") && has("fingerprint") && fields.get("addresses")?.is_array();
        is_one.then(|| Self(fields.clone()))
    }

    fn join(parts: &Value) -> Option<Self> {
        let request = &parts["request"];
        let (key, name) = match (parts["serverName"].as_str(), request["name"].as_str()) {
            (Some(member), _) => ("server_name", member),
            (None, Some(client)) => ("client_name", client),
            (None, None) => return None,
        };
        let mut fields = json!({
            key: name,
            "fingerprint": parts["fingerprint"].as_str()?,
            "addresses": parts["addresses"],
            "secret": parts["secret"].as_str()?,
        });
        // No time is written as the year one.
        fields["expires_at"] = match &parts["expiresAt"] {
            Value::String(at) => at.as_str().into(),
            _ => "0001-01-01T00:00:00Z".into(),
        };
        match fields {
            Value::Object(fields) => Some(Self(fields)),
            _ => None,
        }
    }

    fn text(&self, key: &str) -> &str {
        self.0.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// The part that must stay secret.
    pub fn secret(&self) -> &str {
        self.text("secret")
    }

    /// What the server's certificate is known by.
    pub fn fingerprint(&self) -> &str {
        self.text("fingerprint")
    }

    /// Where the server, or each member of its cluster, listens: `HOST:PORT`.
    pub fn addresses(&self) -> Vec<&str> {
        let addresses = self.0.get("addresses").and_then(Value::as_array);
        addresses
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    }

    /// When it ends, where the server says.
    pub fn expires_at(&self) -> Option<&str> {
        Some(self.text("expires_at")).filter(|at| !at.is_empty() && !at.starts_with("0001-"))
    }

    /// Whether it belongs to one of the identities of LXD from 6 on.
    pub fn is_of_identity(&self) -> bool {
        !self.text("type").is_empty()
    }

    /// The token as clients take it. Secret.
    pub fn joined(&self) -> String {
        STANDARD.encode(Value::Object(self.0.clone()).to_string())
    }
}

/// What must not be shown of a reply: tokens, keys of buckets, and the secrets that open an operation's websockets.
pub fn secrets_of(reply: &Reply) -> Vec<String> {
    let begun = reply.operation();
    let mut secrets = begun.as_ref().map(of_operation).unwrap_or_default();
    secrets.extend(secrets_in(reply.metadata()));
    secrets
}

/// The same of the metadata of a reply, or of an operation, by their names.
pub fn secrets_in(metadata: &Value) -> Vec<String> {
    let mut secrets = Vec::new();
    collect(metadata, &mut secrets);
    secrets.extend(Token::of_identity(metadata).map(|token| token.joined()));
    secrets
}

fn collect(value: &Value, secrets: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, secrets)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) if SECRET.contains(&name.as_str()) => secrets.push(text.to_owned()),
                    _ => collect(value, secrets),
                }
            }
        }
        _ => {}
    }
}

/// Fields whose text is a secret wherever they stand: of tokens of identities, bearers, joins, clusters and images, and of
/// keys of buckets.
const SECRET: [&str; 4] = ["secret", "secret-key", "token", "trust_token"];

/// What must not be shown of an operation as it began: its token, and the secrets that open its websockets.
fn of_operation(operation: &Operation) -> Vec<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let parts = &operation.metadata;
    let mut secrets: Vec<String> = match operation.class {
        Class::Token => text(&parts["secret"]).into_iter().collect(),
        // Of copies and migrations, then of commands.
        Class::Websocket => ["control", "fs", "criu"]
            .iter()
            .filter_map(|name| text(&parts[name]))
            .chain(
                parts["fds"]
                    .as_object()
                    .into_iter()
                    .flat_map(|fds| fds.values().filter_map(text)),
            )
            .collect(),
        _ => Vec::new(),
    };
    secrets.extend(Token::of(operation).map(|token| token.joined()));
    secrets
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("fingerprint", &self.fingerprint())
            .field("addresses", &self.addresses())
            .finish_non_exhaustive()
    }
}
