use std::fmt;
use std::path::PathBuf;

use malleus_core::text_file;
use serde_json::Value;

use super::{Authentication, Error};

/// Proves who is asking by a token in the `Authorization` header: an access token of `OIDC`, or one that LXD gives to a bearer
/// identity. Use it with HTTPS, where nothing is sent before the server is verified. Never shows the token.
#[derive(Clone, PartialEq, Eq)]
pub struct Bearer(Source);

#[derive(Clone, PartialEq, Eq)]
enum Source {
    Token(String),
    File(PathBuf),
}

impl Bearer {
    /// This token.
    pub fn token(token: impl Into<String>) -> Self {
        Self(Source::Token(token.into()))
    }

    /// The token in a file, read anew for every request, so that it can be renewed. A file in JSON has it as `access_token`,
    /// as the files that the `incus` client keeps.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Source::File(path.into()))
    }

    fn read(&self) -> Result<String, Error> {
        match &self.0 {
            Source::Token(token) => Ok(token.trim().to_owned()),
            Source::File(path) => {
                let text = text_file::read(path).map_err(|source| Error::File {
                    path: path.clone(),
                    source,
                })?;
                let json: Option<Value> = serde_json::from_str(&text).ok();
                let inner = json.as_ref().and_then(|json| json["access_token"].as_str());
                Ok(inner.unwrap_or(&text).trim().to_owned())
            }
        }
    }
}

impl Authentication for Bearer {
    fn headers(&self, method: &str, path: &str) -> Result<Vec<(String, String)>, Error> {
        let token = self.read()?;
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::InvalidRequest {
                method: method.to_owned(),
                path: path.to_owned(),
                reason: "the bearer token is empty, or has characters that no token has".to_owned(),
            });
        }
        Ok(vec![(
            "Authorization".to_owned(),
            format!("Bearer {token}"),
        )])
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Source::Token(_) => "Bearer(token)",
            Source::File(_) => "Bearer(file)",
        })
    }
}
