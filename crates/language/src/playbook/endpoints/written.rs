//! The path of a request as an author wrote it, templates and all.

use malleus_api::endpoints::Segment;

/// What is before the query. A `?` inside a template is none.
pub(in crate::playbook) fn before_query(path: &str) -> &str {
    let mut from = 0;
    while let Some(rest) = path.get(from..) {
        let template = rest.find("{{").unwrap_or(rest.len());
        if let Some(at) = rest[..template].find('?') {
            return &path[..from + at];
        }
        match rest[template..].find("}}") {
            Some(end) => from += template + end + 2,
            None => break,
        }
    }
    path
}

/// Cuts at each `/` that is not inside of a template. What has a template in it is not known yet.
pub(super) fn split(path: &str) -> Vec<Segment<'_>> {
    let mut segments = Vec::new();
    let (mut start, mut at) = (0, 0);
    while let Some(next) = path[at..].find(['/', '{']).map(|next| at + next) {
        if path[next..].starts_with("{{") {
            at = path[next..]
                .find("}}")
                .map_or(path.len(), |end| next + end + 2);
        } else {
            if path[next..].starts_with('/') {
                segments.push(&path[start..next]);
                start = next + 1;
            }
            at = next + 1;
        }
    }
    segments.push(&path[start..]);
    segments
        .into_iter()
        .map(|segment| match segment {
            templated if templated.contains("{{") => Segment::Anything,
            literal => Segment::Literal(literal),
        })
        .collect()
}
