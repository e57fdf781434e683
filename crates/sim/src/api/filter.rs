//! `filter=`: `KEY eq VALUE`, joined by `and`, `or` and `not`.

use serde_json::Value;

use crate::call::{Call, Refusal};

/// Whether an object is asked for.
///
/// # Errors
/// When the filter cannot be read.
pub(crate) fn holds(call: &Call, object: &Value) -> Result<bool, Refusal> {
    let Some(filter) = call.query("filter").filter(|filter| !filter.is_empty()) else {
        return Ok(true);
    };
    let words: Vec<&str> = filter.split_whitespace().collect();
    let mut all = false;
    for clauses in words.split(|word| word.eq_ignore_ascii_case("or")) {
        let mut each = true;
        for clause in clauses.split(|word| word.eq_ignore_ascii_case("and")) {
            each &= clause_holds(clause, object)?;
        }
        all |= each;
    }
    Ok(all)
}

fn clause_holds(clause: &[&str], object: &Value) -> Result<bool, Refusal> {
    let bad = || Refusal::new(400, "Invalid filter: clause has no operator");
    match clause {
        ["not", rest @ ..] => Ok(!clause_holds(rest, object)?),
        [key, operator, value @ ..] => {
            let wanted = value.join(" ");
            let wanted = wanted.trim_matches('"');
            let is = at(object, key);
            let is = is.as_str().map_or_else(|| is.to_string(), str::to_owned);
            match *operator {
                "eq" => Ok(is.eq_ignore_ascii_case(wanted)),
                "ne" => Ok(!is.eq_ignore_ascii_case(wanted)),
                _ => Err(bad()),
            }
        }
        _ => Err(bad()),
    }
}

/// The value at a dotted path, whose keys may have dots themselves.
fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    if let Some(value) = object.get(path) {
        return value;
    }
    let dots = path.match_indices('.').map(|(at, _)| at);
    for dot in dots {
        if let Some(inner) = object.get(&path[..dot]) {
            return at(inner, &path[dot + 1..]);
        }
    }
    &Value::Null
}
