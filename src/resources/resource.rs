//! One resource on one server.

use std::fmt;

use serde::{Deserialize, Serialize};

use malleus_api::{ApiPath, Kind, Wave};

use crate::client::{Client, Request};

/// A resource of a server: all that is needed to find it again, and to remove it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// Its path, percent-encoded, from `/1.0/` on.
    pub path: String,
    /// The server, as [`Remote::parse`](crate::client::Remote::parse) reads it.
    pub remote: String,
    /// The project of the requests about it; none for the server's own default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The cluster member it is on, where the request that made it said one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What removing it takes along.
    #[serde(default)]
    pub extent: Extent,
}

/// What removing a resource takes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extent {
    /// Nothing: what is in it stands in the way of its removal.
    #[default]
    Itself,
    /// All that is in it: a project made for one run.
    WithContents,
}

/// Where a resource is: on which server, in which project; in storage pools, where each member of a cluster may have its own
/// of one name, on which member.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    remote: String,
    project: Option<String>,
    target: Option<String>,
    path: Vec<String>,
}

impl Resource {
    /// When it is removed, among others.
    pub fn wave(&self) -> Wave {
        self.row().map_or(Wave::Parts, |kind| kind.wave)
    }

    /// What people call its kind, as `instance`.
    pub fn kind(&self) -> &'static str {
        self.row().map_or("resource", |kind| kind.label)
    }

    /// Its path as the API reads it.
    pub fn api_path(&self) -> ApiPath {
        ApiPath::parse(&self.path).unwrap_or_else(|| ApiPath::of([self.path.as_str()]))
    }

    /// What the catalog knows of its kind.
    pub(super) fn row(&self) -> Option<&'static Kind> {
        Kind::of(&ApiPath::parse(&self.path)?)
    }

    /// Its own name, decoded.
    pub fn name(&self) -> String {
        self.api_path().name().to_owned()
    }

    /// The resource at another path of the same server, project and member.
    pub(super) fn at(&self, path: &ApiPath) -> Self {
        Self {
            path: path.to_string(),
            ..self.clone()
        }
    }

    /// An instance, in the client's project.
    pub fn instance(client: &Client, name: &str) -> Self {
        Self {
            path: ApiPath::of_instance(name).to_string(),
            remote: client.remote().to_string(),
            project: client.project().map(str::to_owned),
            target: None,
            extent: Extent::Itself,
        }
    }

    /// What a daemon recorded of a command's output, as one resource.
    pub fn recorded_output(client: &Client, instance: &str, operation: &str) -> Self {
        Self {
            path: ApiPath::of_recorded_output(instance, operation).to_string(),
            ..Self::instance(client, instance)
        }
    }

    /// A command in an instance, by the identifier that it carries, as one resource.
    pub fn command(client: &Client, instance: &str, marker: &str) -> Self {
        Self {
            path: ApiPath::of_command(instance, marker).to_string(),
            ..Self::instance(client, instance)
        }
    }

    /// The instance and the identifier of a command.
    pub(super) fn as_command(&self) -> Option<(String, String)> {
        let path = self.api_path();
        let (instance, marker) = path.command()?;
        Some((instance.to_owned(), marker.to_owned()))
    }

    /// The instance and the operation of recorded output.
    pub(super) fn as_recorded_output(&self) -> Option<(String, String)> {
        let path = self.api_path();
        let (instance, operation) = path.recorded_output()?;
        Some((instance.to_owned(), operation.to_owned()))
    }

    /// A request that reads it.
    pub fn look(&self) -> Request {
        self.request("GET")
    }

    /// A request about it, in its project and on its member.
    pub(super) fn request(&self, method: &str) -> Request {
        self.request_at(method, "")
    }

    /// A request about what is below it, as `/state`.
    pub(super) fn request_at(&self, method: &str, below: &str) -> Request {
        let mut request = Request::new(method, format!("{}{below}", self.path));
        if let Some(project) = &self.project {
            request = request.query("project", project);
        }
        match &self.target {
            Some(target) => request.query("target", target),
            None => request,
        }
    }

    /// Whether both are the same resource of the same server.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.api_path().is_same(&other.api_path()) && self.is_beside(other)
    }

    /// Whether one removal is enough for both.
    pub(super) fn goes_with(&self, other: &Self) -> bool {
        self.place() == other.place()
    }

    /// Where it is.
    pub(super) fn place(&self) -> Place {
        let path = self.api_path();
        Place {
            remote: self.remote.clone(),
            project: self.own_project().map(str::to_owned),
            target: self.target.clone().filter(|_| path.pool().is_some()),
            path: path.segments().to_vec(),
        }
    }

    /// Whether `other` belongs to this one and goes with it: the snapshots of an instance, say.
    pub(super) fn takes_along(&self, other: &Self) -> bool {
        self.row().is_some_and(Kind::takes_parts_along)
            && self.is_beside(other)
            && self.api_path().rest_of(&other.api_path()).is_some()
    }

    /// Whether `other` is below this one, or in it where this is a project.
    pub(super) fn contains(&self, other: &Self) -> bool {
        let is_below =
            self.is_beside(other) && self.api_path().rest_of(&other.api_path()).is_some();
        is_below
            || self.remote == other.remote
                && self.kind() == "project"
                && other.project.as_deref() == Some(self.name().as_str())
    }

    /// Whether both are on the same server and in the same project.
    fn is_beside(&self, other: &Self) -> bool {
        self.remote == other.remote && self.own_project() == other.own_project()
    }

    /// The project, where that is not the server's default.
    fn own_project(&self) -> Option<&str> {
        self.project.as_deref().filter(|name| *name != "default")
    }

    /// The resource that this one belongs to, in words.
    fn owner(&self) -> Option<String> {
        let mut path = self.api_path();
        loop {
            path = path.parent()?;
            if let Some(kind) = path.kind() {
                return Some(format!("{} {}", kind.label, path.name()));
            }
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            "resource" if self.as_command().is_some() => f.write_str("command")?,
            "resource" => write!(f, "{}", self.path)?,
            kind => {
                // A fingerprint is known by its beginning.
                let name = self.name();
                let is_fingerprint =
                    name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
                let name = if is_fingerprint { &name[..12] } else { &name };
                write!(f, "{kind} {name}")?;
            }
        }
        if let Some(owner) = self.owner() {
            write!(f, " of {owner}")?;
        }
        if let Some(project) = self.own_project() {
            write!(f, " in project {project}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_in_words() {
        let long = "a".repeat(64);
        for (path, project, expected) in [
            ("/1.0/instances/web", None, "instance web".to_owned()),
            (
                "/1.0/instances/web",
                Some("default"),
                "instance web".to_owned(),
            ),
            (
                "/1.0/profiles/p%20q",
                Some("ci"),
                "profile p q in project ci".to_owned(),
            ),
            (
                "/1.0/instances/web/snapshots/s0",
                None,
                "snapshot s0 of instance web".to_owned(),
            ),
            (
                "/1.0/storage-pools/p/volumes/custom/v",
                None,
                "custom volume v of storage pool p".to_owned(),
            ),
            (
                &format!("/1.0/images/{long}"),
                None,
                "image aaaaaaaaaaaa".to_owned(),
            ),
            ("/1.0/new-things/x", None, "/1.0/new-things/x".to_owned()),
        ] {
            let resource = Resource {
                path: path.to_owned(),
                remote: "/s".to_owned(),
                project: project.map(str::to_owned),
                target: None,
                extent: Extent::Itself,
            };
            assert_eq!(resource.to_string(), expected);
        }
    }
}
