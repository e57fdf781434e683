//! What the language has beside minijinja's own filters and tests.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::value::{Kwargs, Serde};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::bounds::{self, Buffer, FUEL, MOST_BYTES};
use super::path;
use super::pattern::{MOST_STEPS, Pattern, too_long};

/// Names that messages may suggest where an unknown filter is used.
pub(super) const FILTERS: &[&str] = &[
    "abs",
    "attr",
    "b64decode",
    "b64encode",
    "batch",
    "bool",
    "capitalize",
    "count",
    "default",
    "dictsort",
    "escape",
    "first",
    "float",
    "format",
    "from_json",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "json",
    "keys",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "path",
    "pprint",
    "regex_replace",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
    "urlencode",
    "values",
    "zip",
];

/// Names that messages may suggest where an unknown test is used.
pub(super) const TESTS: &[&str] = &[
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "even",
    "false",
    "float",
    "ge",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lower",
    "lt",
    "mapping",
    "matching",
    "ne",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "startingwith",
    "string",
    "true",
    "undefined",
    "upper",
];

pub(super) fn add_to(environment: &mut Environment<'_>) {
    environment.add_filter("b64encode", |text: &str| STANDARD.encode(text));
    environment.add_filter("b64decode", b64decode);
    environment.add_filter("from_json", from_json);
    environment.add_filter("regex_replace", regex_replace);
    // minijinja's own `tojson` writes for HTML: it turns `<` into an escape.
    environment.add_filter("json", json);
    environment.add_filter("tojson", json);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("keys", keys);
    environment.add_filter("values", values);
    environment.add_filter("urlencode", |text: &str| {
        utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
    });
    environment.add_filter("path", |text: &str| {
        path::filter(text).map(Value::from_object).map_err(invalid)
    });
    environment.add_test(
        "matching",
        |state: &State<'_, '_>, text: &str, pattern: &str| {
            searching(state, text, pattern).map(|pattern| pattern.regex.is_match(text))
        },
    );
}

/// How long all replacements in a text may take.
const LONGEST_REPLACEMENT: Duration = Duration::from_secs(5);

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

/// A pattern, once a search in a text is paid for.
fn searching(state: &State<'_, '_>, text: &str, pattern: &str) -> Result<Pattern, Error> {
    let compiled = Pattern::new(pattern)
        .map_err(|error| invalid(format!("`{pattern}` is not a regular expression: {error}")))?;
    let steps = compiled.steps(text);
    state
        .consume_fuel(steps / (MOST_STEPS / FUEL))
        .map_err(|_| invalid(too_long(text)))?;
    Ok(compiled)
}

/// As minijinja's own, and copes with white space around, such as the line end of what a command printed.
fn int(
    state: &State<'_, '_>,
    value: &Value,
    default: Option<Value>,
    base: Option<u32>,
    named: Kwargs,
) -> Result<Value, Error> {
    minijinja::filters::int(state, &trimmed(value), default, base, named)
}

/// As minijinja's own, and copes with white space around.
fn float(
    state: &State<'_, '_>,
    value: &Value,
    default: Option<Value>,
    named: Kwargs,
) -> Result<Value, Error> {
    minijinja::filters::float(state, &trimmed(value), default, named)
}

fn trimmed(value: &Value) -> Value {
    value
        .as_str()
        .map_or_else(|| value.clone(), |text| Value::from(text.trim()))
}

fn b64decode(text: &str) -> Result<String, Error> {
    let bytes = STANDARD
        .decode(text.trim())
        .map_err(|error| invalid(format!("not base64: {error}")))?;
    String::from_utf8(bytes).map_err(|_| invalid("the decoded bytes are not UTF-8 text"))
}

fn json(value: &Value) -> Result<String, Error> {
    let mut buffer = Buffer::default();
    match serde_json::to_writer(&mut buffer, value) {
        Ok(()) => buffer.into_text(),
        Err(error) if error.is_io() => Err(bounds::too_large()),
        Err(error) => Err(invalid(error.to_string())),
    }
}

fn from_json(text: &str) -> Result<Value, Error> {
    serde_json::from_str::<serde_json::Value>(text)
        .map(|value| Value::from(Serde(value)))
        .map_err(|error| invalid(format!("not JSON: {error}")))
}

fn regex_replace(
    state: &State<'_, '_>,
    text: &str,
    pattern: &str,
    replacement: &str,
) -> Result<String, Error> {
    let pattern = searching(state, text, pattern)?;
    let references = replacement.matches('$').count();
    let (mut replaced, mut copied) = (String::new(), 0);
    let start = Instant::now();
    for found in pattern.regex.captures_iter(text) {
        // Each search is paid for as if it was the only one: most go no further than their match.
        if start.elapsed() > LONGEST_REPLACEMENT {
            return Err(invalid(too_long(text)));
        }
        let whole = found.get(0).map_or(copied..copied, |whole| whole.range());
        replaced.push_str(&text[copied..whole.start]);
        let longest = replacement.len() + references.saturating_mul(whole.len());
        if replaced.len().saturating_add(longest) > MOST_BYTES {
            return Err(bounds::too_large());
        }
        found.expand(replacement, &mut replaced);
        copied = whole.end;
    }
    Ok(replaced + &text[copied..])
}

fn keys(map: &Value) -> Result<Vec<Value>, Error> {
    Ok(map.try_iter()?.collect())
}

fn values(map: &Value) -> Result<Vec<Value>, Error> {
    map.try_iter()?.map(|key| map.get_item(&key)).collect()
}
