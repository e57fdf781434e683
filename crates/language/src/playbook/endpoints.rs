//! Whether a request goes to a path that LXD or Incus has, by a method that the path takes.

mod table;
mod written;

use malleus_source::diagnostic::nearest;
use table::{ENDPOINTS, Endpoint, Flavor};
pub(super) use written::before_query;
use written::{Segment, split};

/// What an author should know about the method and the path of a request. A warning at most: a newer server may have
/// what the table does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// One line, lower case, without a final stop.
    pub(super) message: String,
    /// What to do, where that is known.
    pub(super) help: Option<String>,
}

/// First segments beside `1.0` that servers have: their own use, signing in, the web interface, the documentation.
const OTHER_ROOTS: &[&str] = &[
    ".well-known",
    "documentation",
    "internal",
    "oidc",
    "os",
    "ui",
];

/// The older names of `instances`, with only one type of them each. LXD had them up to 6.6.
const OLD_NAMES: &[&str] = &["containers", "virtual-machines"];

/// Judges a method and a path as written: templates stand for any segment, and what begins with one, or has statements
/// (`{% … %}`) in it, is not judged. A path without a leading `/` is below `/1.0/`.
pub(super) fn judge(method: &str, path: &str) -> Option<Finding> {
    let written = before_query(path);
    let segments = below_version(written)?;
    let segments = match segments {
        Below::Version(segments) => segments,
        Below::Nothing(help) => return Some(unknown(written, help)),
    };
    if let Some((Segment::Literal(""), before)) = segments.split_last()
        && !before.is_empty()
    {
        return Some(Finding {
            message: format!("servers answer a path with `/` at its end with 404: `{written}`"),
            help: Some(format!("write `{}`", written.trim_end_matches('/'))),
        });
    }
    let known = matching(&segments);
    // The usual case, and far cheaper than looking for what is merely near.
    let is_exact = ENDPOINTS
        .iter()
        .filter(|endpoint| begins(&segments, endpoint))
        .any(|endpoint| distance(&segments, endpoint, &strictly) == Some(0));
    match (!is_exact).then(|| similar(&segments)).flatten() {
        None if is_exact => {}
        Some((_, near)) => return Some(unknown(written, Some(did_you_mean(near)))),
        None if known.is_empty() => return Some(unknown(written, siblings(&segments))),
        // Known if the templates in it stand for words of the API.
        None => {}
    }
    let mut methods: Vec<&str> = known.iter().flat_map(|known| known.methods()).collect();
    methods.dedup();
    if method == "OPTIONS" || methods.contains(&method) {
        return None;
    }
    Some(Finding {
        message: format!("neither LXD nor Incus is known to take {method} for `{written}`"),
        help: Some(format!("it takes {}", listed(&methods))),
    })
}

/// Whether a path is known to be that of many resources, which lie below it, and is none itself.
pub(super) fn is_collection(path: &str) -> bool {
    let Some(Below::Version(segments)) = below_version(before_query(path)) else {
        return false;
    };
    let is_exact = |endpoint: &&Endpoint| distance(&segments, endpoint, &strictly) == Some(0);
    ENDPOINTS.iter().find(is_exact).is_some_and(|endpoint| {
        let inside = format!("{}/{{", endpoint.path);
        !endpoint.path.ends_with('}')
            && endpoint.methods().all(|method| method != "PATCH")
            && ENDPOINTS
                .iter()
                .any(|other| other.path.starts_with(&inside))
    })
}

/// Whether a path is known to begin with another word than `kind`.
pub(super) fn is_of_another_kind(path: &str, kind: &str) -> bool {
    match below_version(before_query(path)) {
        Some(Below::Version(segments)) => {
            matches!(segments.first(), Some(Segment::Literal(word)) if *word != kind)
        }
        _ => false,
    }
}

fn unknown(written: &str, help: Option<String>) -> Finding {
    Finding {
        message: format!("neither LXD nor Incus is known to have the path `{written}`"),
        help,
    }
}

/// Where a path leads.
enum Below<'a> {
    /// Below `/1.0`.
    Version(Vec<Segment<'a>>),
    /// Nowhere; what to write instead, if that is known.
    Nothing(Option<String>),
}

/// The segments below `/1.0`; nothing for what is not judged.
fn below_version(path: &str) -> Option<Below<'_>> {
    let (absolute, path) = match path.strip_prefix('/') {
        Some(rest) => (true, rest),
        None => (false, path),
    };
    if path.is_empty() || path.contains("{%") || path.contains("{#") {
        return None;
    }
    let segments = split(path);
    let (first, rest) = segments.split_first()?;
    let Segment::Literal(first) = first else {
        return None;
    };
    match (absolute, *first) {
        (true, "1.0") => Some(Below::Version(rest.to_vec())),
        (true, first) if OTHER_ROOTS.contains(&first) => None,
        (true, _) => {
            let known = !matching(&segments).is_empty();
            let help = known.then(|| format!("write `{path}` or `/1.0/{path}`"));
            Some(Below::Nothing(help))
        }
        (false, "1.0") => Some(Below::Nothing(Some(format!(
            "a path without a leading `/` is below `/1.0/` already; write `/{path}`"
        )))),
        (false, first) if OLD_NAMES.contains(&first) => {
            let mut segments = segments;
            segments[0] = Segment::Literal("instances");
            Some(Below::Version(segments))
        }
        (false, _) => Some(Below::Version(segments)),
    }
}

fn is_placeholder(segment: &str) -> bool {
    segment.starts_with('{')
}

/// The endpoints that a path can mean: those alone that it names most exactly.
fn matching(segments: &[Segment<'_>]) -> Vec<&'static Endpoint> {
    let named: Vec<(usize, &Endpoint)> = ENDPOINTS
        .iter()
        .filter(|endpoint| begins(segments, endpoint))
        .filter_map(|endpoint| {
            distance(segments, endpoint, &exactly).map(|_| (named(segments, endpoint), endpoint))
        })
        .collect();
    let most = named.iter().map(|(named, _)| *named).max();
    named
        .into_iter()
        .filter(|(named, _)| Some(*named) == most)
        .map(|(_, endpoint)| endpoint)
        .collect()
}

/// Whether a path can be an endpoint's by its first word: most are told apart by it.
fn begins(segments: &[Segment<'_>], endpoint: &Endpoint) -> bool {
    let Some(Segment::Literal(word)) = segments.first() else {
        return true;
    };
    let path = endpoint.path;
    // The cheaper look first: each request is held against all endpoints.
    let is_whole = matches!(path.as_bytes().get(word.len()), None | Some(b'/'));
    (is_whole && path.starts_with(word)) || path.starts_with('{')
}

/// How many segments of a path are the endpoint's own words.
fn named(segments: &[Segment<'_>], endpoint: &Endpoint) -> usize {
    endpoint
        .segments()
        .zip(segments)
        .filter(|(wanted, segment)| **segment == Segment::Literal(wanted))
        .count()
}

fn exactly(segment: Segment<'_>, wanted: &str) -> Option<usize> {
    match segment {
        Segment::Literal(word) => (word == wanted).then_some(0),
        Segment::Anything => Some(0),
    }
}

/// As [`exactly`], but a template stands for names alone.
fn strictly(segment: Segment<'_>, wanted: &str) -> Option<usize> {
    (segment == Segment::Literal(wanted)).then_some(0)
}

/// As [`strictly`], but with slips.
fn nearly(segment: Segment<'_>, wanted: &str) -> Option<usize> {
    match segment {
        Segment::Literal(word) => {
            nearest(word, [wanted]).map(|_| strsim::damerau_levenshtein(word, wanted))
        }
        Segment::Anything => None,
    }
}

/// How far a path is from an endpoint, whose words are compared by `compare`; nothing where they do not go together.
fn distance(
    segments: &[Segment<'_>],
    endpoint: &Endpoint,
    compare: &dyn Fn(Segment<'_>, &str) -> Option<usize>,
) -> Option<usize> {
    let length = endpoint.length();
    let is_open = endpoint.path.ends_with("…}");
    if length != segments.len() && !(is_open && segments.len() > length) {
        return None;
    }
    endpoint
        .segments()
        .zip(segments)
        .map(|(wanted, segment)| {
            if is_placeholder(wanted) {
                Some(0)
            } else {
                compare(*segment, wanted)
            }
        })
        .sum()
}

/// The nearest endpoint, where one is near enough, and how far it is.
fn similar(segments: &[Segment<'_>]) -> Option<(usize, &'static Endpoint)> {
    ENDPOINTS
        .iter()
        .filter_map(|endpoint| Some((distance(segments, endpoint, &nearly)?, endpoint)))
        .min_by_key(|(distance, _)| *distance)
}

fn did_you_mean(near: &Endpoint) -> String {
    let alone = match near.flavor {
        Flavor::Both => "",
        Flavor::Lxd => ", which LXD alone has",
        Flavor::Incus => ", which Incus alone has",
    };
    format!("did you mean `{}`{alone}?", near.path.replace('…', ""))
}

/// What there is at the place of the first segment that no endpoint has.
fn siblings(segments: &[Segment<'_>]) -> Option<String> {
    let fits = |endpoint: &Endpoint, count: usize| {
        let mut wanted = endpoint.segments();
        segments[..count].iter().all(|segment| {
            wanted.next().is_some_and(|wanted| match segment {
                Segment::Literal(word) => is_placeholder(wanted) || *word == wanted,
                Segment::Anything => true,
            })
        })
    };
    let count = (1..segments.len())
        .rev()
        .find(|&count| ENDPOINTS.iter().any(|endpoint| fits(endpoint, count)))?;
    let mut known: Vec<&Endpoint> = ENDPOINTS
        .iter()
        .filter(|known| fits(known, count))
        .collect();
    let most = known
        .iter()
        .map(|known| named(&segments[..count], known))
        .max();
    known.retain(|known| Some(named(&segments[..count], known)) == most);
    let first: Vec<&str> = known.first()?.segments().take(count).collect();
    let mut below: Vec<&str> = known
        .iter()
        .filter_map(|known| known.segments().nth(count))
        .collect();
    below.dedup();
    let above = first.join("/").replace('…', "");
    Some(if below.is_empty() {
        format!("there is nothing below `{above}`")
    } else {
        let quoted: Vec<String> = below.iter().map(|name| format!("`{name}`")).collect();
        format!("known below `{above}`: {}", quoted.join(", "))
    })
}

/// `a, b and c`.
fn listed(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(method: &str, path: &str) -> String {
        judge(method, path).map_or_else(
            || "fine".to_owned(),
            |finding| format!("{} | {}", finding.message, finding.help.unwrap_or_default()),
        )
    }

    #[test]
    fn known_requests_are_fine() {
        for (method, path) in [
            ("GET", "instances"),
            ("PUT", "instances"),
            ("GET", "instances?recursion=2&filter=a/b?c"),
            ("GET", "/1.0"),
            ("PATCH", "/1.0"),
            ("GET", "/1.0/instances/web/state"),
            ("DELETE", "instances/web-{{ run.id }}/logs/{{ file }}"),
            (
                "GET",
                "instances/{{ a ~ '/' ~ b }}/snapshots/{{ snap or '?' }}?x=1",
            ),
            ("DELETE", "images/aliases/ubuntu/24.04"),
            ("PATCH", "images/{{ what }}"),
            ("POST", "images/{{ what }}"),
            ("HEAD", "instances/web/files?path=/etc/hosts"),
            (
                "GET",
                "storage-pools/default/volumes/custom/data/snapshots/s0",
            ),
            ("GET", "instances/web/{{ part }}"),
            ("POST", "containers/web/exec"),
            ("GET", "auth/identities/current"),
            ("POST", "network-address-sets"),
            ("OPTIONS", "instances"),
            // Not judged.
            ("GET", "{{ operation }}"),
            ("GET", "{{ operation|path }}/nothing"),
            ("GET", "instances{% if deep %}/x/y/z{% endif %}"),
            ("GET", "/internal/ready"),
            ("GET", "/"),
        ] {
            assert_eq!(said(method, path), "fine", "{method} {path}");
        }
    }

    #[test]
    fn unknown_paths_have_a_nearest_one() {
        let known = "neither LXD nor Incus is known to have the path";
        for (path, help) in [
            ("instance/web", "did you mean `instances/{name}`?"),
            (
                "instances/{{ x }}/snapshot",
                "did you mean `instances/{name}/snapshots`?",
            ),
            (
                "instances/web/start",
                "did you mean `instances/{name}/state`?",
            ),
            ("images/alias/x", "did you mean `images/aliases/{name}`?"),
            (
                "images/alias/{{ x }}",
                "did you mean `images/aliases/{name}`?",
            ),
            ("instance/{{ x }}/{{ part }}", ""),
            ("image/alias/x", "did you mean `images/aliases/{name}`?"),
            (
                "storage/default/volumes",
                "did you mean `storage-pools/{pool}/volumes`?",
            ),
            (
                "projects/p/acces",
                "did you mean `projects/{name}/access`, which Incus alone has?",
            ),
            (
                "placement-group",
                "did you mean `placement-groups`, which LXD alone has?",
            ),
            (
                "/instances/web",
                "write `instances/web` or `/1.0/instances/web`",
            ),
            ("/nowhere", ""),
            (
                "1.0/instances",
                "a path without a leading `/` is below `/1.0/` already; write `/1.0/instances`",
            ),
            (
                "networks/n/unknown",
                "known below `networks/{name}`: `forwards`, `leases`, `load-balancers`, `peers`, `state`",
            ),
            ("profiles/p/x", "there is nothing below `profiles/{name}`"),
            (
                "operations/{{ id }}/wait/10",
                "there is nothing below `operations/{id}/wait`",
            ),
            ("zebra", ""),
        ] {
            assert_eq!(said("GET", path), format!("{known} `{path}` | {help}"));
        }
    }

    #[test]
    fn methods_that_a_path_never_has() {
        for (method, path, help) in [
            ("PUT", "instances/web/exec", "it takes POST"),
            ("DELETE", "images/aliases", "it takes GET and POST"),
            (
                "HEAD",
                "instances/web",
                "it takes GET, POST, PUT, PATCH and DELETE",
            ),
            ("POST", "operations/{{ id }}", "it takes GET and DELETE"),
        ] {
            let message =
                format!("neither LXD nor Incus is known to take {method} for `{path}` | {help}");
            assert_eq!(said(method, path), message);
        }
    }

    #[test]
    fn a_slash_at_the_end() {
        assert_eq!(
            said("GET", "instances/?recursion=1"),
            "servers answer a path with `/` at its end with 404: `instances/` | write `instances`"
        );
    }

    #[test]
    fn the_table_is_sound() {
        let mut paths: Vec<&str> = ENDPOINTS.iter().map(|endpoint| endpoint.path).collect();
        assert!(paths.len() > 110);
        paths.sort_unstable();
        assert!(paths.windows(2).all(|pair| pair[0] != pair[1]));
        for endpoint in ENDPOINTS {
            assert!(
                endpoint
                    .methods()
                    .all(|method| crate::playbook::grammar::METHODS.contains(&method))
            );
        }
    }
}
