use std::path::{Path, PathBuf};

use malleus_core::percent::{decode, encode};
use serde_json::Value;

use super::{Error, Limit};

/// One request, to be sent by a [`Client`](super::Client).
///
/// A path that begins with `/` is taken as it stands; any other is below `/1.0/`. It may bring its own
/// query. Nothing in it is encoded: see [`encode`].
///
/// ```
/// use malleus_client::Request;
/// use serde_json::json;
///
/// let request = Request::post("instances")
///     .query("target", "member 1")
///     .json(json!({"name": "c1", "source": {"type": "image", "alias": "busybox"}}));
/// assert_eq!(request.path(), "/1.0/instances");
/// assert_eq!(request.query_pairs(), [("target".to_owned(), "member 1".to_owned())]);
/// ```
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    pub(super) body: Body,
    pub(super) limit: Option<Limit>,
    pub(super) judged: Judged,
}

/// What a request carries.
#[derive(Clone, Debug)]
pub(super) enum Body {
    None,
    Json(Value),
    Bytes(Vec<u8>),
    Upload(PathBuf),
}

/// Whether the client's validation has a say about the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    Yes,
    No,
}

impl Request {
    /// A request with any method. The method is sent as written, so it is usually in capitals.
    pub fn new(method: impl Into<String>, path: impl Into<String>) -> Self {
        let path = path.into();
        Self {
            method: method.into(),
            path: malleus_api::path::absolute(&path),
            query: Vec::new(),
            headers: Vec::new(),
            body: Body::None,
            limit: None,
            judged: Judged::Yes,
        }
    }

    /// A GET request.
    pub fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path)
    }

    /// A POST request.
    pub fn post(path: impl Into<String>) -> Self {
        Self::new("POST", path)
    }

    /// A PUT request.
    pub fn put(path: impl Into<String>) -> Self {
        Self::new("PUT", path)
    }

    /// A PATCH request.
    pub fn patch(path: impl Into<String>) -> Self {
        Self::new("PATCH", path)
    }

    /// A DELETE request.
    pub fn delete(path: impl Into<String>) -> Self {
        Self::new("DELETE", path)
    }

    /// Adds a query parameter; the value is encoded when it is sent.
    #[must_use]
    pub fn query(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.query.push((key.into(), value.into()));
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same with other headers in the place of all those it has.
    #[must_use]
    pub fn with_headers(mut self, headers: Vec<(String, String)>) -> Self {
        self.headers = headers;
        self
    }

    /// Sends a JSON body, labelled `application/json`.
    #[must_use]
    pub fn json(mut self, body: Value) -> Self {
        self.body = Body::Json(body);
        self
    }

    /// Sends these bytes, labelled `application/octet-stream` unless a header says otherwise.
    #[must_use]
    pub fn bytes(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Body::Bytes(body.into());
        self
    }

    /// Sends a file without reading it into memory, with its length announced. Labelled
    /// `application/octet-stream` unless a header says otherwise.
    #[must_use]
    pub fn upload(mut self, file: impl Into<PathBuf>) -> Self {
        self.body = Body::Upload(file.into());
        self
    }

    /// Sends `If-Match`, so that the server refuses (412) when the object has changed since its
    /// [`etag`](super::Reply::etag) was read. Honoured by the API on PUT and PATCH.
    #[must_use]
    pub fn if_match(self, etag: &str) -> Self {
        self.header("If-Match", etag)
    }

    /// How long the exchange may take, from connecting to the last byte of the reply. Without it
    /// [`Settings::request_timeout`](super::Settings) counts.
    #[must_use]
    pub fn limit(mut self, limit: Limit) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Takes any reply as it comes: [`Validation`](super::Validation) is not asked.
    #[must_use]
    pub fn skip_validation(mut self) -> Self {
        self.judged = Judged::No;
        self
    }

    /// The method as it will be sent.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The path as it will be sent, without its query.
    pub fn path(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// The query parameters added to the request, not encoded, in order. Those written in the path
    /// itself are not among them.
    pub fn query_pairs(&self) -> &[(String, String)] {
        &self.query
    }

    /// The JSON body, when it carries one.
    pub fn json_body(&self) -> Option<&Value> {
        match &self.body {
            Body::Json(value) => Some(value),
            _ => None,
        }
    }

    /// The file whose bytes it carries, when it carries one.
    pub fn upload_file(&self) -> Option<&Path> {
        match &self.body {
            Body::Upload(file) => Some(file),
            _ => None,
        }
    }

    /// The limit that was set for it.
    pub fn deadline(&self) -> Option<Limit> {
        self.limit
    }

    /// The headers added to the request, in order.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// Whether the path or the parameters already name a query key.
    fn has_query(&self, key: &str) -> bool {
        let written = self.path.split_once('?').map_or("", |(_, query)| query);
        let mut keys = written.split('&').filter_map(|pair| pair.split('=').next());
        keys.any(|k| k == key) || self.query.iter().any(|(k, _)| k == key)
    }

    /// The request target: path and query, encoded, with the client's own scope added.
    pub(super) fn target(&self, scope: &[(&str, &str)]) -> Result<String, Error> {
        let invalid = |reason: String| Error::InvalidRequest {
            method: self.method.clone(),
            path: self.path.clone(),
            reason,
        };
        check_path(&self.path).map_err(invalid)?;
        let mut target = self.path.clone();
        let mut add = |key: &str, value: &str| {
            let separator = match (target.contains('?'), target.ends_with(['?', '&'])) {
                (false, _) => "?",
                (true, true) => "",
                (true, false) => "&",
            };
            target = format!("{target}{separator}{}={}", encode(key), encode(value));
        };
        for (key, value) in &self.query {
            add(key, value);
        }
        // Outside `/1.0` there are no projects, and `all-projects` excludes naming one.
        let scoped = malleus_api::path::is_scoped(self.path()) && !self.has_query("all-projects");
        for (key, value) in scope
            .iter()
            .filter(|(key, _)| scoped && !self.has_query(key))
        {
            add(key, value);
        }
        Ok(target)
    }
}

/// Refuses what may not stand in a request target, so that nothing is sent that means something else.
fn check_path(path: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_graphic() && !r#"#"<>\^`{|}"#.contains(c);
    if let Some(bad) = path.chars().find(|c| !allowed(*c)) {
        return Err(format!("{bad:?} must be percent-encoded in a path"));
    }
    let bytes = path.as_bytes();
    let is_hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    if (0..bytes.len()).any(|at| bytes[at] == b'%' && !(is_hex(at + 1) && is_hex(at + 2))) {
        return Err("`%` must be followed by two hexadecimal digits".to_owned());
    }
    // Servers, and proxies before them, take these for other paths than they look like.
    let path = path.split('?').next().unwrap_or_default();
    let mut parts = path.split('/').map(decode);
    match parts.find(|part| matches!(part.as_str(), "." | "..")) {
        Some(part) => Err(format!(
            "`{part}` is no name: it would lead to another path"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::Request;

    #[test]
    fn targets_are_joined() {
        let project = [("project", "p 1")];
        let none: [(&str, &str); 0] = [];
        for (request, scope, expected) in [
            (Request::get("instances"), &none[..], "/1.0/instances"),
            (Request::get("/1.0"), &none, "/1.0"),
            (Request::get("/internal/ready"), &project, "/internal/ready"),
            (
                Request::get("instances"),
                &project,
                "/1.0/instances?project=p%201",
            ),
            (
                Request::get("instances?recursion=1"),
                &project,
                "/1.0/instances?recursion=1&project=p%201",
            ),
            (
                Request::get("instances?project=other"),
                &project,
                "/1.0/instances?project=other",
            ),
            (
                Request::get("instances").query("project", ""),
                &project,
                "/1.0/instances?project=",
            ),
            (
                Request::get("instances").query("all-projects", "true"),
                &project,
                "/1.0/instances?all-projects=true",
            ),
            (
                Request::get("x/files?").query("path", "/a b&c"),
                &none,
                "/1.0/x/files?path=%2Fa%20b%26c",
            ),
        ] {
            assert_eq!(request.target(scope).unwrap(), expected);
        }
    }

    #[test]
    fn dots_in_names_and_queries_are_sent() {
        for path in [
            "instances/a..b",
            "instances/...",
            "instances/.a",
            "instances/a%2f..%2fb?x=y",
            "instances/c/files?path=../x",
        ] {
            let target = Request::get(path).target(&[]).unwrap();
            assert_eq!(target, format!("/1.0/{path}"));
        }
    }

    #[test]
    fn bad_paths_are_refused() {
        for (path, reason) in [
            ("a b", "' ' must be percent-encoded"),
            ("a\nb", "'\\n' must be percent-encoded"),
            ("ü", "'ü' must be percent-encoded"),
            ("a#b", "'#' must be percent-encoded"),
            ("{{ name }}", "'{' must be percent-encoded"),
            ("a%2", "two hexadecimal digits"),
            ("a%zz", "two hexadecimal digits"),
            ("instances/..", "`..` is no name"),
            ("instances/../projects/p", "`..` is no name"),
            ("instances/%2e%2E", "`..` is no name"),
            ("instances/./x", "`.` is no name"),
            ("/1.0/instances/.?recursion=1", "`.` is no name"),
        ] {
            let error = Request::get(path).target(&[]).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
