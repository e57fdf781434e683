//! Every path below `/1.0` that the known servers have, the methods that each takes, and which servers do.

use std::sync::LazyLock;

use crate::servers::Servers;

/// Made by `definitions/generate.py`.
const DEFINITIONS: &str = include_str!("../definitions/endpoints.txt");

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::read(DEFINITIONS));

struct Table {
    endpoints: Vec<Endpoint>,
    aliases: Vec<Alias>,
}

/// Another first word of some paths.
struct Alias {
    word: &'static str,
    stands_for: &'static str,
    servers: Servers,
}

/// A path and what takes it.
#[derive(Debug)]
pub struct Endpoint {
    /// Segments below `/1.0`; `{name}` stands for one segment, `{name…}` at the end for one or more. Empty for `/1.0`.
    pub path: &'static str,
    rows: Vec<Row>,
}

/// Methods that the same servers take.
#[derive(Debug)]
struct Row {
    methods: &'static str,
    servers: Servers,
    extension: Option<&'static str>,
}

/// One segment of a path of which not all has to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment<'a> {
    /// As it is written.
    Literal(&'a str),
    /// Known only when the request is sent.
    Anything,
}

impl Endpoint {
    /// Its words and placeholders.
    pub fn segments(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.path.split('/').filter(|segment| !segment.is_empty())
    }

    /// All methods that any server takes.
    pub fn methods(&self) -> impl Iterator<Item = &'static str> {
        self.rows.iter().flat_map(|row| row.methods.split(','))
    }

    /// The servers that have the path.
    pub fn servers(&self) -> Servers {
        self.rows
            .iter()
            .fold(Servers::NONE, |all, row| all.or(row.servers))
    }

    /// The servers that take a method here.
    pub fn taking(&self, method: &str) -> Servers {
        self.row(method).map_or(Servers::NONE, |row| row.servers)
    }

    /// The API extension that brings a method here, where one does.
    pub fn extension(&self, method: &str) -> Option<&'static str> {
        self.row(method).and_then(|row| row.extension)
    }

    fn row(&self, method: &str) -> Option<&Row> {
        self.rows
            .iter()
            .find(|row| row.methods.split(',').any(|known| known == method))
    }

    /// Whether the first segment of a path can be this endpoint's. Cheap: each request is held against all endpoints.
    pub fn begins(&self, first: Option<&Segment<'_>>) -> bool {
        let Some(Segment::Literal(word)) = first else {
            return true;
        };
        let is_whole = matches!(self.path.as_bytes().get(word.len()), None | Some(b'/'));
        is_whole && self.path.starts_with(word)
    }

    /// Holds a path against this one, word by word: `compare` gives how far a segment is from a word, and nothing where
    /// the two do not go together. Placeholders take everything.
    pub fn distance(
        &self,
        path: &[Segment<'_>],
        compare: impl Fn(Segment<'_>, &str) -> Option<usize>,
    ) -> Option<usize> {
        let length = match self.path {
            "" => 0,
            path => path.bytes().filter(|&byte| byte == b'/').count() + 1,
        };
        let is_open = self.path.ends_with("…}");
        if length != path.len() && !(is_open && path.len() > length) {
            return None;
        }
        self.segments()
            .zip(path)
            .map(|(wanted, segment)| {
                if is_placeholder(wanted) {
                    Some(0)
                } else {
                    compare(*segment, wanted)
                }
            })
            .sum()
    }

    /// How many segments of a path are this one's own words.
    pub fn words_in(&self, path: &[Segment<'_>]) -> usize {
        self.segments()
            .zip(path)
            .filter(|(wanted, segment)| **segment == Segment::Literal(wanted))
            .count()
    }
}

/// Whether a segment of an endpoint stands for names.
pub fn is_placeholder(segment: &str) -> bool {
    segment.starts_with('{')
}

/// All endpoints, by their paths.
pub fn all() -> &'static [Endpoint] {
    &TABLE.endpoints
}

/// The first word of paths that an older one stands for (`containers` for `instances`), and the servers that know it.
pub fn alias(word: &str) -> Option<(&'static str, Servers)> {
    let alias = TABLE.aliases.iter().find(|alias| alias.word == word)?;
    Some((alias.stands_for, alias.servers))
}

/// A regular expression for the first word of a path, by all of its names.
pub(crate) fn with_aliases(word: &str) -> String {
    let aliases = TABLE
        .aliases
        .iter()
        .filter(|alias| alias.stands_for == word);
    let names: Vec<&str> = aliases.map(|alias| alias.word).chain([word]).collect();
    format!("(?:{})", names.join("|"))
}

/// The segments of a path of which all is known, with the names of today: `instances/web`, `/1.0/containers/web?x=y`.
pub fn segments(path: &str) -> Vec<Segment<'_>> {
    let path = path.split('?').next().unwrap_or_default();
    let path = path.strip_prefix("/1.0").unwrap_or(path);
    let mut segments: Vec<Segment<'_>> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(Segment::Literal)
        .collect();
    if let Some(Segment::Literal(word)) = segments.first_mut()
        && let Some((name, _)) = alias(word)
    {
        *word = name;
    }
    segments
}

/// The endpoint of a path of which all is known.
pub fn lookup(path: &str) -> Option<&'static Endpoint> {
    matching(&segments(path)).into_iter().next()
}

/// The endpoints that a path can mean: those alone that it names most exactly.
pub fn matching(path: &[Segment<'_>]) -> Vec<&'static Endpoint> {
    let fitting: Vec<&Endpoint> = all()
        .iter()
        .filter(|endpoint| endpoint.begins(path.first()))
        .filter(|endpoint| endpoint.distance(path, possibly).is_some())
        .collect();
    let most = fitting.iter().map(|endpoint| endpoint.words_in(path)).max();
    fitting
        .into_iter()
        .filter(|endpoint| Some(endpoint.words_in(path)) == most)
        .collect()
}

/// The endpoint whose words are all written in a path.
pub fn exact(path: &[Segment<'_>]) -> Option<&'static Endpoint> {
    all().iter().find(|endpoint| {
        endpoint.begins(path.first()) && endpoint.distance(path, literally) == Some(0)
    })
}

/// What is not known can be any word.
fn possibly(segment: Segment<'_>, wanted: &str) -> Option<usize> {
    match segment {
        Segment::Literal(word) => (word == wanted).then_some(0),
        Segment::Anything => Some(0),
    }
}

/// What is not known is a name, and no word of the API.
fn literally(segment: Segment<'_>, wanted: &str) -> Option<usize> {
    (segment == Segment::Literal(wanted)).then_some(0)
}

impl Table {
    fn read(text: &'static str) -> Self {
        let mut table = Self {
            endpoints: Vec::with_capacity(160),
            aliases: Vec::new(),
        };
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let mut columns = line.split(' ');
            let mut next = || columns.next().unwrap_or_default();
            let (first, second) = (next(), next());
            if first == "=" {
                table.aliases.push(Alias {
                    word: second,
                    stands_for: next(),
                    servers: Servers::read(next(), next()),
                });
                continue;
            }
            let row = Row {
                methods: first,
                servers: Servers::read(next(), next()),
                extension: columns.next(),
            };
            let path = second.trim_start_matches('/');
            match table.endpoints.last_mut() {
                Some(last) if last.path == path => last.rows.push(row),
                _ => table.endpoints.push(Endpoint {
                    path,
                    rows: vec![row],
                }),
            }
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        assert!(all().len() > 120);
        let mut paths: Vec<&str> = all().iter().map(|endpoint| endpoint.path).collect();
        paths.sort_unstable();
        assert!(paths.windows(2).all(|pair| pair[0] != pair[1]));
        for endpoint in all() {
            for method in endpoint.methods() {
                assert!(!endpoint.taking(method).is_empty(), "{}", endpoint.path);
                assert!(
                    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"].contains(&method),
                    "{method} {}",
                    endpoint.path
                );
            }
        }
    }

    #[test]
    fn paths_have_servers_and_extensions_by_method() {
        for (method, path, servers, extension) in [
            ("GET", "instances/web", "LXD, Incus", None),
            ("GET", "", "LXD, Incus", None),
            ("PATCH", "/1.0", "LXD, Incus", None),
            (
                "GET",
                "auth/groups",
                "LXD 5.21 and newer",
                Some("access_management"),
            ),
            (
                "PUT",
                "/1.0/projects/p/state",
                "LXD 6 and newer",
                Some("project_replica_mode"),
            ),
            ("GET", "projects/p/state?x=1", "LXD, Incus", None),
            (
                "DELETE",
                "instances/web/logs/lxc.log",
                "LXD 5.0 to 5.21, Incus",
                None,
            ),
            (
                "DELETE",
                "containers/web/logs/exec-output/exec_1.stdout",
                "LXD 5.21 and newer, Incus",
                None,
            ),
            ("GET", "images/aliases/debian/12/cloud", "LXD, Incus", None),
            ("GET", "images/aliases", "LXD, Incus", None),
            ("POST", "images/aliases/x/export", "LXD, Incus", None),
            (
                "GET",
                "instances/vm/nbd",
                "Incus 7.0 and newer",
                Some("instance_nbd"),
            ),
            (
                "PUT",
                "instances/vm/nvram/guid/name",
                "Incus 7.3 and newer",
                Some("instance_nvram"),
            ),
            ("POST", "operations/1", "", None),
        ] {
            let endpoint = lookup(path).unwrap();
            assert_eq!(
                endpoint.taking(method).to_string(),
                servers,
                "{method} {path}"
            );
            assert_eq!(endpoint.extension(method), extension, "{method} {path}");
        }
        assert!(lookup("instances/web/snapshot").is_none());
        assert_eq!(
            alias("containers").map(|(name, servers)| (name, servers.to_string())),
            Some(("instances", "LXD 5.0 to 5.21".into()))
        );
    }

    #[test]
    fn what_is_not_known_of_a_path_can_be_a_name_or_a_word() {
        use Segment::{Anything, Literal};
        let paths = |path: &[Segment<'_>]| -> Vec<&str> {
            matching(path)
                .iter()
                .map(|endpoint| endpoint.path)
                .collect()
        };
        assert_eq!(
            paths(&[Literal("images"), Anything]),
            ["images/aliases", "images/{fingerprint}"]
        );
        assert_eq!(
            paths(&[Literal("instances"), Anything, Literal("exec")]),
            ["instances/{name}/exec"]
        );
        let exact = exact(&[Literal("images"), Anything]).map(|endpoint| endpoint.path);
        assert_eq!(exact, Some("images/{fingerprint}"));
    }
}
