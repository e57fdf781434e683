use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::Flavor;

/// What the server said about itself when the client connected: the metadata of `GET /1.0`.
#[derive(Clone, Debug)]
pub struct Server {
    /// LXD or Incus.
    pub flavor: Flavor,
    /// `environment.server_version`, such as `"6.0.4"`; empty when the server does not say.
    pub version: String,
    /// `api_extensions`, in the server's order. Feature tests go by these, never by the version.
    pub extensions: Vec<String>,
    /// Whether the server is a member of a cluster (`environment.server_clustered`).
    pub clustered: bool,
    /// `environment.server_name`: the host, or the member's name in a cluster.
    pub name: String,
    /// Whether it is the simulated daemon of this crate (`environment.malleus_simulated`): nothing it says is real.
    pub simulated: bool,
    /// `environment.project`: the project the answer was given for.
    pub project: String,
    /// `auth`: `"trusted"`, or `"untrusted"` for a client that may not do anything yet.
    pub auth: String,
    /// `environment` as it came; null for untrusted clients.
    pub environment: Value,
    /// How many seconds the server's clock was ahead of ours when the client connected; behind, where negative. 0 where it is
    /// more than ten years off, or the server does not say what time it is.
    pub ahead: i64,
    /// The whole metadata of `GET /1.0`.
    pub metadata: Value,
}

/// How far a server's clock may be off to be believed, in seconds: ten years.
const FARTHEST_AHEAD: u64 = 10 * 365 * 24 * 60 * 60;

impl Server {
    /// Whether the server announces an API extension.
    pub fn has_extension(&self, name: &str) -> bool {
        self.extensions.iter().any(|extension| extension == name)
    }

    /// Whether the server knows us: others are shown little, and may do nothing.
    pub fn is_trusted(&self) -> bool {
        self.auth == "trusted"
    }

    /// The same, knowing the server's clock by the `Date` header of its answer.
    pub(super) fn at(mut self, date: Option<&str>) -> Self {
        let since = |time: SystemTime| {
            let seconds = time
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs());
            i64::try_from(seconds).unwrap_or(i64::MAX)
        };
        if let Some(theirs) = date.and_then(|date| httpdate::parse_http_date(date).ok()) {
            let ahead = since(theirs) - since(SystemTime::now());
            // A clock that is further off says nothing, and times that are reckoned with it would be no dates.
            if ahead.unsigned_abs() <= FARTHEST_AHEAD {
                self.ahead = ahead;
            }
        }
        self
    }

    /// Reads the metadata of `GET /1.0`; `None` when it is not that of LXD or Incus.
    pub(super) fn from_metadata(metadata: Value) -> Option<Self> {
        let flavor = Flavor::of(&metadata)?;
        let environment = metadata["environment"].clone();
        let text = |key: &str| environment[key].as_str().unwrap_or_default().to_owned();
        let extensions = metadata["api_extensions"].as_array();
        Some(Self {
            flavor,
            version: text("server_version"),
            extensions: extensions
                .into_iter()
                .flatten()
                .filter_map(|extension| extension.as_str().map(str::to_owned))
                .collect(),
            clustered: environment["server_clustered"].as_bool().unwrap_or(false),
            name: text("server_name"),
            simulated: environment["malleus_simulated"].as_bool().unwrap_or(false),
            project: text("project"),
            auth: metadata["auth"].as_str().unwrap_or_default().to_owned(),
            environment,
            ahead: 0,
            metadata,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_more_than_ten_years_off_is_not_believed() {
        let server = || {
            let metadata = serde_json::json!({"environment": {"server": "incus"}});
            Server::from_metadata(metadata).expect("a server")
        };
        let ahead = |date: &str| server().at(Some(date)).ahead;
        for date in [
            "Fri, 31 Dec 9999 23:59:59 GMT",
            "Thu, 01 Jan 1970 00:00:00 GMT",
            "soon",
        ] {
            assert_eq!(ahead(date), 0, "{date}");
        }
        let later = SystemTime::now() + std::time::Duration::from_secs(3600);
        let ahead = ahead(&httpdate::fmt_http_date(later));
        assert!((3595..=3600).contains(&ahead), "{ahead}");
    }
}
