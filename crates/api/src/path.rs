//! Paths of the API: which resource, instance, project and cluster member a request is about.

use std::fmt;

use malleus_core::percent::{decode, encode};

use crate::catalog::Kind;
use crate::endpoints;

/// What all paths of the API begin with.
const VERSION: &str = "/1.0";
/// The collection of instances below `/1.0/`, and the first segment of an instance's path.
pub const INSTANCES: &str = "instances";

/// A path below `/1.0/` with its query, decoded. Older names of a collection (`containers`, `virtual-machines`) are
/// replaced by today's, which every server knows, so that two spellings of one resource are equal.
///
/// ```
/// use malleus_api::ApiPath;
/// let path = ApiPath::parse("containers/my%20web/state?project=p").unwrap();
/// assert_eq!(path.instance(), Some("my web"));
/// assert_eq!(path.project(), Some("p"));
/// assert_eq!(path.to_string(), "/1.0/instances/my%20web/state");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ApiPath {
    segments: Vec<String>,
    query: Vec<(String, String)>,
}

impl ApiPath {
    /// Reads a request's target or a URL that a server names: `instances/web`, `/1.0/instances/web?project=p`. Nothing for
    /// a path outside of `/1.0/`.
    pub fn parse(target: &str) -> Option<Self> {
        let target = target.split('#').next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let below = if path.starts_with('/') {
            let rest = path.strip_prefix(VERSION)?;
            if !rest.is_empty() && !rest.starts_with('/') {
                return None;
            }
            rest
        } else {
            path
        };
        let mut segments: Vec<String> = below
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(decode)
            .collect();
        if let Some(first) = segments.first_mut()
            && let Some((today, _)) = endpoints::alias(first)
        {
            today.clone_into(first);
        }
        // The name of an alias may have slashes: servers take all that follows for it.
        if let [images, aliases, _, _, ..] = segments.as_slice()
            && images == "images"
            && aliases == "aliases"
        {
            let name = segments.split_off(2).join("/");
            segments.push(name);
        }
        let query = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(key), decode(value))
            })
            .collect();
        Some(Self { segments, query })
    }

    /// The path with these segments, not encoded.
    pub fn of<S: Into<String>>(segments: impl IntoIterator<Item = S>) -> Self {
        Self {
            segments: segments.into_iter().map(Into::into).collect(),
            query: Vec::new(),
        }
    }

    /// An instance.
    pub fn of_instance(name: &str) -> Self {
        Self::of([INSTANCES, name])
    }

    /// The two files that a daemon records of a command, as one resource.
    pub fn of_recorded_output(instance: &str, operation: &str) -> Self {
        let file = format!("{RECORDED_FILE}{operation}");
        Self::of([INSTANCES, instance, "logs", "exec-output", &file])
    }

    /// What is below an instance: its `state`, its `exec`, its `files`.
    pub fn of_instance_part(name: &str, part: &str) -> Self {
        Self::of([INSTANCES, name, part])
    }

    /// A command that was started in an instance, by the identifier that it carries. The API has no such path.
    pub fn of_command(instance: &str, marker: &str) -> Self {
        Self::of([INSTANCES, instance, "exec", marker])
    }

    /// An operation.
    pub fn of_operation(id: &str) -> Self {
        Self::of(["operations", id])
    }

    /// A project.
    pub fn of_project(name: &str) -> Self {
        Self::of(["projects", name])
    }

    /// The segments below `/1.0/`, decoded.
    pub fn segments(&self) -> &[String] {
        &self.segments
    }

    /// The last segment: a member's name.
    pub fn name(&self) -> &str {
        self.segments.last().map_or("", String::as_str)
    }

    /// The first value of a key of the query, where it is not empty.
    pub fn query(&self, key: &str) -> Option<&str> {
        let mut pairs = self.query.iter();
        pairs
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// The project that the query names.
    pub fn project(&self) -> Option<&str> {
        self.query("project")
    }

    /// The cluster member that the query names.
    pub fn target(&self) -> Option<&str> {
        self.query("target")
    }

    /// The path without its query.
    #[must_use]
    pub fn without_query(&self) -> Self {
        Self::of(self.segments.iter().cloned())
    }

    /// The kind of resource that the path names itself.
    pub fn kind(&self) -> Option<&'static Kind> {
        Kind::of(self)
    }

    /// The kind of the members of the collection that the path names.
    pub fn kind_of_members(&self) -> Option<&'static Kind> {
        Kind::in_collection(self)
    }

    /// The instance that the path names, or that something below it belongs to.
    pub fn instance(&self) -> Option<&str> {
        match self.segments.as_slice() {
            [first, name, ..] if first == INSTANCES => Some(name),
            _ => None,
        }
    }

    /// Whether the path names an instance itself.
    pub fn is_instance(&self) -> bool {
        self.segments.len() == 2 && self.instance().is_some()
    }

    /// What stands below an instance's path: `["state"]`.
    pub fn below_instance(&self) -> Option<(&str, &[String])> {
        Some((self.instance()?, &self.segments[2..]))
    }

    /// The instance whose state the path names.
    pub fn state_of(&self) -> Option<&str> {
        match self.below_instance()? {
            (instance, [state]) if state == "state" => Some(instance),
            _ => None,
        }
    }

    /// The instance that a POST to the path runs a command in.
    pub fn exec_in(&self) -> Option<&str> {
        match self.below_instance()? {
            (instance, [exec]) if exec == "exec" => Some(instance),
            _ => None,
        }
    }

    /// The instance that a POST to the path opens a console of.
    pub fn console_of(&self) -> Option<&str> {
        match self.below_instance()? {
            (instance, [console]) if console == "console" => Some(instance),
            _ => None,
        }
    }

    /// Whether a POST to the path makes or changes an instance or an image, which keeps a server's processors busy.
    pub fn builds(&self) -> bool {
        match self.segments.first().map(String::as_str) {
            Some(INSTANCES) => self.exec_in().is_none() && self.console_of().is_none(),
            Some("images") => self.segments.len() == 1,
            _ => false,
        }
    }

    /// The instance and the operation whose recorded output the path names: as one resource, or one of its files, in
    /// either of the folders where servers keep it.
    pub fn recorded_output(&self) -> Option<(&str, &str)> {
        let (instance, file) = match self.below_instance()? {
            (instance, [logs, file]) if logs == "logs" => (instance, file),
            (instance, [logs, folder, file]) if logs == "logs" && folder == "exec-output" => {
                (instance, file)
            }
            _ => return None,
        };
        let name = file.strip_prefix(RECORDED_FILE)?;
        let operation = name
            .strip_suffix(".stdout")
            .or_else(|| name.strip_suffix(".stderr"))
            .unwrap_or(name);
        Some((instance, operation))
    }

    /// The instance and the identifier of a command, as [`ApiPath::of_command`] writes them.
    pub fn command(&self) -> Option<(&str, &str)> {
        match self.below_instance()? {
            (instance, [exec, marker]) if exec == "exec" => Some((instance, marker)),
            _ => None,
        }
    }

    /// The member of this collection with a name.
    #[must_use]
    pub fn member(&self, name: &str) -> Self {
        let mut segments = self.segments.clone();
        segments.push(name.to_owned());
        Self::of(segments)
    }

    /// The collection, or whatever else, that the last segment belongs to.
    pub fn parent(&self) -> Option<Self> {
        let (_, before) = self.segments.split_last()?;
        (!before.is_empty()).then(|| Self::of(before.iter().cloned()))
    }

    /// The name of the member of this collection that `other` names. What a server says is not always a name: `..` would
    /// lead elsewhere.
    pub fn name_of_member<'p>(&self, other: &'p Self) -> Option<&'p str> {
        let (name, collection) = other.segments.split_last()?;
        (collection == self.segments.as_slice() && is_name(name)).then_some(name)
    }

    /// Whether a good answer to a request may be something else than the API's envelope: files, logs, exports, metrics.
    pub fn may_answer_raw(&self, method: &str) -> bool {
        let is_raw = |segment: &String| RAW.contains(&segment.as_str());
        let is_metrics = |first: &String| first == "metrics";
        method == "HEAD"
            || method == "GET"
                && (self.segments.iter().skip(2).any(is_raw)
                    || self.segments.first().is_some_and(is_metrics))
    }

    /// What `other` has below this path; nothing where it is not below it.
    pub fn rest_of<'p>(&self, other: &'p Self) -> Option<&'p [String]> {
        let rest = other.segments.strip_prefix(self.segments.as_slice())?;
        (!rest.is_empty()).then_some(rest)
    }

    /// Whether both paths, without their queries, are the same.
    pub fn is_same(&self, other: &Self) -> bool {
        self.segments == other.segments
    }

    /// Whether the path is that of a volume, of volumes, or of something of a volume.
    pub fn is_volume(&self) -> bool {
        matches!(self.segments.as_slice(), [pools, _, volumes, ..] if pools == "storage-pools" && volumes == "volumes")
    }

    /// Whether one path is the other, or below it.
    pub fn touches(&self, other: &Self) -> bool {
        self.segments.starts_with(&other.segments) || other.segments.starts_with(&self.segments)
    }

    /// The collection of a volume's type, where the path is that of all volumes of a pool: it takes the type in the body.
    #[must_use]
    pub fn in_typed_collection(self, of: &str) -> Self {
        match self.segments.as_slice() {
            [pools, _, volumes] if pools == "storage-pools" && volumes == "volumes" => {
                self.member(of)
            }
            _ => self,
        }
    }

    /// The same path in another storage pool.
    #[must_use]
    pub fn in_pool(&self, pool: &str) -> Self {
        let mut moved = self.without_query();
        if let [pools, name, ..] = moved.segments.as_mut_slice()
            && pools == "storage-pools"
        {
            pool.clone_into(name);
        }
        moved
    }

    /// The storage pool that the path is in.
    pub fn pool(&self) -> Option<&str> {
        match self.segments.as_slice() {
            [pools, name, _, ..] if pools == "storage-pools" => Some(name),
            _ => None,
        }
    }

    /// A custom volume, or a snapshot of one that `volume/snapshot` names.
    pub fn of_custom_volume(pool: &str, name: &str) -> Self {
        let volume = ["storage-pools", pool, "volumes", "custom"];
        let mut path = Self::of(volume);
        match name.split_once('/') {
            Some((volume, snapshot)) => {
                path = path.member(volume).member("snapshots").member(snapshot);
            }
            None => path = path.member(name),
        }
        path
    }
}

/// Parts of paths that are answered with something else than the API's envelope.
const RAW: [&str; 8] = [
    "console",
    "debug",
    "export",
    "files",
    "logs",
    "nvram",
    "sftp",
    "templates",
];

/// Whether a name can be that of a resource.
fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains('/') && !name.contains(char::is_control)
}

/// What the names of files with recorded output begin with.
const RECORDED_FILE: &str = "exec_";

impl fmt::Display for ApiPath {
    /// The path from `/1.0` on, percent-encoded, without its query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(VERSION)?;
        self.segments
            .iter()
            .try_for_each(|segment| write!(f, "/{}", encode(segment)))
    }
}

/// A path as a request is sent to it: what does not begin with `/` is below `/1.0/`.
pub fn absolute(path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{VERSION}/{path}")
    }
}

/// A path without the `/1.0/` that [`absolute`] adds.
pub fn relative(path: &str) -> &str {
    path.strip_prefix(VERSION)
        .and_then(|rest| rest.strip_prefix('/'))
        .unwrap_or(path)
}

/// Whether requests to an absolute path are about a project: nothing outside of `/1.0/` is.
pub fn is_scoped(path: &str) -> bool {
    path.strip_prefix(VERSION)
        .is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(target: &str) -> ApiPath {
        ApiPath::parse(target).expect("a path of the API")
    }

    #[test]
    fn older_names_mean_the_same_instance() {
        for target in [
            "instances/web",
            "/1.0/instances/web",
            "containers/web",
            "/1.0/virtual-machines/web?project=p",
            "/1.0/containers/web#x",
        ] {
            let path = parse(target);
            assert_eq!(path.instance(), Some("web"), "{target}");
            assert!(path.is_instance(), "{target}");
            assert_eq!(path.to_string(), "/1.0/instances/web", "{target}");
        }
    }

    #[test]
    fn what_is_no_path_of_the_api() {
        for target in ["/internal/ready", "/", "/1.0x/instances", "/os/1.0"] {
            assert_eq!(ApiPath::parse(target), None, "{target}");
        }
        assert_eq!(parse("/1.0").segments(), [""; 0]);
    }

    #[test]
    fn queries_are_decoded_and_empty_values_name_nothing() {
        let path = parse("/1.0/instances/a%2Fb?project=p%201&target=&recursion");
        assert_eq!(path.name(), "a/b");
        assert_eq!(path.project(), Some("p 1"));
        assert_eq!(path.target(), None);
    }

    #[test]
    fn what_a_path_addresses() {
        assert_eq!(parse("containers/web/exec").exec_in(), Some("web"));
        assert_eq!(parse("containers/web/state").state_of(), Some("web"));
        assert_eq!(parse("profiles/web/state").state_of(), None);
        for (target, expected) in [
            ("instances", true),
            ("containers", true),
            ("virtual-machines/v/backups", true),
            ("images", true),
            ("images/aliases", false),
            ("containers/web/exec", false),
            ("containers/web/console", false),
            ("profiles", false),
        ] {
            assert_eq!(parse(target).builds(), expected, "{target}");
        }
    }

    #[test]
    fn recorded_output_in_both_folders() {
        for target in [
            "instances/c/logs/exec_7f.stdout",
            "containers/c/logs/exec-output/exec_7f.stderr",
            "/1.0/instances/c/logs/exec-output/exec_7f",
        ] {
            let path = parse(target);
            assert_eq!(path.recorded_output(), Some(("c", "7f")), "{target}");
        }
        assert_eq!(parse("instances/c/logs/lxc.log").recorded_output(), None);
    }

    #[test]
    fn what_may_be_answered_with_something_else_than_an_envelope() {
        for (method, target, expected) in [
            ("GET", "instances", false),
            ("GET", "instances/files", false),
            ("GET", "containers/c/files?path=/x", true),
            ("POST", "instances/c/files?path=/x", false),
            ("HEAD", "instances/c/files?path=/x", true),
            ("GET", "instances/c/logs/exec-output/exec_7f.stdout", true),
            (
                "DELETE",
                "instances/c/logs/exec-output/exec_7f.stdout",
                false,
            ),
            ("GET", "instances/c/console", true),
            ("GET", "instances/c/metadata/templates?path=x", true),
            ("GET", "images/ab/export", true),
            (
                "GET",
                "storage-pools/p/volumes/custom/v/backups/b/export",
                true,
            ),
            ("GET", "metrics", true),
            ("GET", "profiles/metrics", false),
        ] {
            assert_eq!(parse(target).may_answer_raw(method), expected, "{target}");
        }
    }

    #[test]
    fn volumes() {
        let all = parse("storage-pools/p/volumes");
        let typed = all.in_typed_collection("custom");
        assert_eq!(typed.to_string(), "/1.0/storage-pools/p/volumes/custom");
        let volume = typed.member("v 1");
        assert_eq!(volume.in_pool("q").pool(), Some("q"));
        assert_eq!(typed.name_of_member(&volume), Some("v 1"));
        assert_eq!(
            ApiPath::of_custom_volume("p", "v/s").to_string(),
            "/1.0/storage-pools/p/volumes/custom/v/snapshots/s"
        );
    }

    #[test]
    fn a_path_touches_what_is_below_it_and_above_it() {
        let web = parse("instances/web");
        assert!(web.touches(&parse("instances/web/snapshots/s")));
        assert!(web.touches(&parse("instances")));
        assert!(!web.touches(&parse("instances/web2")));
    }
}
