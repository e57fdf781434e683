//! Values in paths: each stays one segment or one query value.

use std::fmt;
use std::sync::Arc;

use malleus_api::path::is_scoped;
use malleus_core::percent;
use minijinja::value::Object;

/// Text that the `path` filter has already made safe, segment by segment.
#[derive(Debug)]
pub(super) struct PathText(pub(super) String);

impl Object for PathText {
    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A value as one segment or query value.
pub(super) fn encode(value: &str) -> Result<String, String> {
    match value {
        "" => Err("an empty value cannot be part of a path".into()),
        "." | ".." => Err(format!("`{value}` cannot be part of a path")),
        _ => Ok(percent::encode(value)),
    }
}

/// A path that came as one value, such as an operation's own URL.
pub(super) fn whole(value: &str) -> Result<String, String> {
    if is_scoped(value) {
        Ok(value.to_owned())
    } else {
        Err(format!(
            "a path that is one template must begin with `/1.0/`, as the URLs do that the daemon hands out; this is `{value}`"
        ))
    }
}

/// The `path` filter: a URL the daemon handed out, to be used as the beginning of a longer path.
pub(super) fn filter(value: &str) -> Result<PathText, String> {
    let value = whole(value)?;
    let (path, query) = value
        .split_once('?')
        .map_or((value.as_str(), None), |(p, q)| (p, Some(q)));
    if query.is_some() {
        return Err("a URL with a query cannot be continued; take it whole, or cut it with `|split('?')|first`".into());
    }
    path.split('/')
        .skip(1)
        .map(|segment| {
            let plain = percent_encoding::percent_decode_str(segment).decode_utf8_lossy();
            encode(&plain).map(|safe| format!("/{safe}"))
        })
        .collect::<Result<String, _>>()
        .map(PathText)
}

/// The last look at a finished path: what templates joined must not climb or leave the API.
///
/// # Errors
/// Says in one line what is wrong with the path.
pub fn judge(path: &str) -> Result<(), String> {
    let before_query = path.split('?').next().unwrap_or(path);
    if before_query.trim_matches('/').is_empty() {
        return Err("the path is empty".into());
    }
    let climbs = before_query.split('/').any(|segment| {
        let plain = percent_encoding::percent_decode_str(segment).decode_utf8_lossy();
        plain == "." || plain == ".."
    });
    if climbs {
        return Err(format!("`{path}` has a `.` or `..` segment"));
    }
    if before_query.trim_start_matches('/').contains("//") || before_query.starts_with("//") {
        return Err(format!(
            "`{path}` has an empty segment; the daemon answers such paths with 404"
        ));
    }
    if let Some(bad) = path
        .chars()
        .find(|c| c.is_whitespace() || c.is_control() || *c == '#')
    {
        return Err(format!("`{path}` has {bad:?} in it; percent-encode it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_one_segment() {
        for (value, encoded) in [
            ("web-1", "web-1"),
            ("a/../../x?y#z", "a%2F..%2F..%2Fx%3Fy%23z"),
            ("ü %2F&=+", "%C3%BC%20%252F%26%3D%2B"),
        ] {
            assert_eq!(encode(value).as_deref(), Ok(encoded));
        }
        for value in ["", ".", ".."] {
            assert!(encode(value).is_err(), "{value}");
        }
    }

    #[test]
    fn finished_paths_are_judged() {
        for path in [
            "instances",
            "/1.0/instances/web?recursion=1",
            "/internal/ready",
            "instances/a..b",
        ] {
            assert_eq!(judge(path), Ok(()), "{path}");
        }
        for path in [
            "",
            "/",
            "instances/..",
            "instances/%2e%2e/x",
            "a//b",
            "//host/x",
            "a b",
            "a#b",
        ] {
            assert!(judge(path).is_err(), "{path}");
        }
    }

    #[test]
    fn the_filter_takes_the_daemons_own_urls() {
        assert_eq!(
            filter("/1.0/operations/ab-1").map(|p| p.0).as_deref(),
            Ok("/1.0/operations/ab-1")
        );
        assert_eq!(
            filter("/1.0/instances/a%2Fb").map(|p| p.0).as_deref(),
            Ok("/1.0/instances/a%2Fb")
        );
        for bad in [
            "operations/x",
            "/1.0/a/../b",
            "/1.0/a?project=p",
            "/etc/passwd",
        ] {
            assert!(filter(bad).is_err(), "{bad}");
        }
    }
}
