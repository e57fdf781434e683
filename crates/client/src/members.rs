use std::time::Duration;

use super::{Client, Error, Limit, Request};

/// How long the list of members may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// A member of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, as `target=` takes it.
    pub name: String,
    /// `Online`, `Offline`, `Evacuated`, …
    pub status: String,
    /// Where it listens: `https://HOST:PORT`.
    pub url: String,
}

impl Member {
    /// Whether it takes work.
    pub fn is_online(&self) -> bool {
        self.status == "Online"
    }
}

impl Client {
    /// The members of the cluster in the order of their names; none where the server is alone.
    ///
    /// # Errors
    /// Those of the request.
    pub fn members(&self) -> Result<Vec<Member>, Error> {
        if !self.server().clustered {
            return Ok(Vec::new());
        }
        let limit = Limit::after("members", PATIENCE);
        let reply = self.request(&Request::get("cluster/members?recursion=1").limit(limit))?;
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let mut members: Vec<Member> = reply
            .metadata()
            .as_array()
            .into_iter()
            .flatten()
            .map(|member| Member {
                name: text(&member["server_name"]),
                status: text(&member["status"]),
                url: text(&member["url"]),
            })
            .collect();
        members.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(members)
    }
}
