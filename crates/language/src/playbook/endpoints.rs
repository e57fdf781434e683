//! Whether a request goes to a path that LXD or Incus has, by a method that the path takes.

mod written;

use malleus_api::Servers;
use malleus_api::bodies::{self, Schema};
use malleus_api::endpoints::{self as known, Endpoint, Segment, exact, is_placeholder, matching};
use malleus_api::path::relative;
use malleus_source::diagnostic::nearest;
pub(super) use written::before_query;
use written::split;

use super::grammar::METHODS;

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
    let possible = matching(&segments);
    // The usual case, and far cheaper than looking for what is merely near.
    let is_exact = exact(&segments).is_some();
    match (!is_exact).then(|| similar(&segments)).flatten() {
        None if is_exact => {}
        Some((_, near)) => return Some(unknown(written, Some(did_you_mean(near)))),
        None if possible.is_empty() => return Some(unknown(written, siblings(&segments))),
        // Known if the templates in it stand for words of the API.
        None => {}
    }
    let mut methods: Vec<&str> = possible.iter().flat_map(|known| known.methods()).collect();
    methods.sort_by_key(|method| METHODS.iter().position(|known| known == method));
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
    exact(&segments).is_some_and(|endpoint| {
        let inside = format!("{}/{{", endpoint.path);
        !endpoint.path.ends_with('}')
            && endpoint.methods().all(|method| method != "PATCH")
            && known::all()
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

/// The known servers that take a method for a path; all of them where that is not judged.
pub(super) fn servers(method: &str, path: &str) -> Servers {
    let path = before_query(path);
    let segments = match below_version(path) {
        Some(Below::Version(segments)) if method != "OPTIONS" => segments,
        _ => return Servers::ALL,
    };
    let possible = matching(&segments);
    if possible.is_empty() {
        return Servers::NONE;
    }
    let taking = possible
        .iter()
        .map(|endpoint| endpoint.taking(method))
        .fold(Servers::NONE, Servers::or);
    // The older names of some paths are not known to all that have the path.
    let word = relative(path).split('/').next();
    word.and_then(known::alias)
        .map_or(taking, |(_, servers)| taking.and(servers))
}

/// What the body of a request to a path may hold.
pub(super) fn body(method: &str, path: &str) -> Schema {
    match below_version(before_query(path.trim_end())) {
        Some(Below::Version(segments)) => bodies::schema(method, &segments),
        _ => Schema::unknown(),
    }
}

/// What the body of a resource's creation or change may hold.
pub(super) fn body_of_resource(path: &str) -> Schema {
    match below_version(before_query(path.trim_end())) {
        Some(Below::Version(segments)) => bodies::schema_of_resource(&segments),
        _ => Schema::unknown(),
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
        (true, "1.0") => Some(Below::Version(current(rest.to_vec()))),
        (true, first) if OTHER_ROOTS.contains(&first) => None,
        (true, _) => {
            let known = !matching(&segments).is_empty();
            let help = known.then(|| format!("write `{path}` or `/1.0/{path}`"));
            Some(Below::Nothing(help))
        }
        (false, "1.0") => Some(Below::Nothing(Some(format!(
            "a path without a leading `/` is below `/1.0/` already; write `/{path}`"
        )))),
        (false, _) => Some(Below::Version(current(segments))),
    }
}

/// With the name of today in the place of an older one (`containers`).
fn current(mut segments: Vec<Segment<'_>>) -> Vec<Segment<'_>> {
    if let Some(Segment::Literal(word)) = segments.first_mut()
        && let Some((name, _)) = known::alias(word)
    {
        *word = name;
    }
    segments
}

/// A word of the API, with slips in it; a template stands for names alone.
fn nearly(segment: Segment<'_>, wanted: &str) -> Option<usize> {
    match segment {
        Segment::Literal(word) => {
            nearest(word, [wanted]).map(|_| strsim::damerau_levenshtein(word, wanted))
        }
        Segment::Anything => None,
    }
}

/// The nearest endpoint, where one is near enough, and how far it is.
fn similar(segments: &[Segment<'_>]) -> Option<(usize, &'static Endpoint)> {
    known::all()
        .iter()
        .filter_map(|endpoint| Some((endpoint.distance(segments, nearly)?, endpoint)))
        .min_by_key(|(distance, _)| *distance)
}

fn did_you_mean(near: &Endpoint) -> String {
    let name = near.path.replace('…', "");
    match near.servers() {
        Servers::ALL => format!("did you mean `{name}`?"),
        servers => format!("did you mean `{name}`? Servers that have it: {servers}"),
    }
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
        .find(|&count| known::all().iter().any(|endpoint| fits(endpoint, count)))?;
    let above = &segments[..count];
    let mut fitting: Vec<&Endpoint> = known::all()
        .iter()
        .filter(|endpoint| fits(endpoint, count))
        .collect();
    let most = fitting
        .iter()
        .map(|endpoint| endpoint.words_in(above))
        .max();
    fitting.retain(|endpoint| Some(endpoint.words_in(above)) == most);
    let first: Vec<&str> = fitting.first()?.segments().take(count).collect();
    let mut below: Vec<&str> = fitting
        .iter()
        .filter_map(|endpoint| endpoint.segments().nth(count))
        .collect();
    below.sort_unstable();
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
                "did you mean `projects/{name}/access`? Servers that have it: Incus",
            ),
            (
                "placement-group",
                "did you mean `placement-groups`? Servers that have it: LXD 6 and newer",
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
                "known below `networks/{name}`: `forwards`, `leases`, `load-balancer-pools`, `load-balancers`, `peers`, `state`",
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
    fn requests_have_servers() {
        for (method, path, shown) in [
            ("GET", "instances/{{ a }}", "LXD, Incus"),
            (
                "PATCH",
                "network-address-sets/{{ a }}",
                "Incus 7.0 and newer",
            ),
            ("POST", "/1.0/auth/groups", "LXD 5.21 and newer"),
            ("GET", "containers/{{ a }}", "LXD 5.0 to 5.21"),
            ("GET", "/1.0/virtual-machines/a/state", "LXD 5.0 to 5.21"),
            ("GET", "containers/a/access", ""),
            ("POST", "operations/a", ""),
            ("GET", "zebra", ""),
            ("GET", "{{ path }}", "LXD, Incus"),
            ("GET", "/internal/ready", "LXD, Incus"),
            ("OPTIONS", "instances", "LXD, Incus"),
        ] {
            assert_eq!(servers(method, path).to_string(), shown, "{method} {path}");
        }
    }

    #[test]
    fn a_slash_at_the_end() {
        assert_eq!(
            said("GET", "instances/?recursion=1"),
            "servers answer a path with `/` at its end with 404: `instances/` | write `instances`"
        );
    }
}
