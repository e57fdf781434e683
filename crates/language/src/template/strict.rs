//! Comparisons and texts that mean what they say. minijinja orders values of different types by their type and writes
//! null as a word, so that `"1" > 100` holds and a missing value is part of a name: here both are errors.
//!
//! The engine has no hook for operators; its instructions are replaced by filters of ours, which take the same two
//! values from the stack.

use minijinja::machinery::ast::CompareOpKind;
use minijinja::machinery::{Instruction, Instructions};
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::bounds;

/// The engine's mark for a filter that is looked up each time.
pub(super) const UNCACHED: u8 = u8::MAX;
/// Longer values are cut in messages.
const SHOWN: usize = 60;

/// Replaces the engine's operators. No author can write the names of the filters.
pub(super) fn replace_operators(instructions: &mut Instructions<'_>) {
    let mut at = 0;
    while instructions.get(at).is_some() {
        let asks = asks_whether_none(instructions, at + 1);
        let Some(instruction) = instructions.get_mut(at) else {
            return;
        };
        match instruction {
            Instruction::Lookup("stdout") if asks => {
                *instruction = Instruction::Lookup(ASKED_STDOUT);
            }
            Instruction::Lookup("stderr") if asks => {
                *instruction = Instruction::Lookup(ASKED_STDERR);
            }
            Instruction::GetAttr("stdout") if asks => {
                *instruction = Instruction::ApplyFilter(ASKED_STDOUT, Some(1), UNCACHED);
            }
            Instruction::GetAttr("stderr") if asks => {
                *instruction = Instruction::ApplyFilter(ASKED_STDERR, Some(1), UNCACHED);
            }
            _ => {}
        }
        let filter = match instruction {
            Instruction::Lt => Some("\0lt"),
            Instruction::Lte => Some("\0le"),
            Instruction::Gt => Some("\0gt"),
            Instruction::Gte => Some("\0ge"),
            Instruction::Ne => Some("\0ne"),
            Instruction::StringConcat => Some("\0concat"),
            _ => None,
        };
        if let Some(filter) = filter {
            *instruction = Instruction::ApplyFilter(filter, Some(2), UNCACHED);
        }
        at += 1;
    }
}

/// Names under which output is looked up where it is only asked whether it is text at all.
const ASKED_STDOUT: &str = "\0stdout";
const ASKED_STDERR: &str = "\0stderr";

/// The name that such a name stands for.
pub(super) fn asked(name: &str) -> Option<&str> {
    name.strip_prefix('\0')
        .filter(|name| matches!(*name, "stdout" | "stderr"))
}

/// Whether a value is tested to be there, or none, from this instruction on.
fn asks_whether_none(instructions: &Instructions<'_>, at: u32) -> bool {
    match instructions.get(at) {
        Some(Instruction::PerformTest(test, ..)) => {
            matches!(*test, "none" | "defined" | "undefined" | "string")
        }
        Some(Instruction::LoadConst(value)) if value.is_none() => matches!(
            instructions.get(at + 1),
            Some(Instruction::Eq | Instruction::Ne)
        ),
        _ => false,
    }
}

/// A value that can be looked at: null in the place of output that is not UTF-8.
pub(super) fn seen(value: Value) -> Value {
    if value.kind() == ValueKind::Invalid {
        Value::from(())
    } else {
        value
    }
}

pub(super) fn add_to(environment: &mut Environment<'_>) {
    environment.add_filter("\0lt", lt);
    environment.add_filter("\0le", le);
    environment.add_filter("\0gt", gt);
    environment.add_filter("\0ge", ge);
    environment.add_filter("\0ne", ne);
    environment.add_filter("\0concat", concat);
    environment.add_filter(ASKED_STDOUT, |of: &Value| of.get_attr("stdout").map(seen));
    environment.add_filter(ASKED_STDERR, |of: &Value| of.get_attr("stderr").map(seen));
    for name in ["lt", "lessthan", "<"] {
        environment.add_test(name, lt);
    }
    for name in ["le", "<="] {
        environment.add_test(name, le);
    }
    for name in ["gt", "greaterthan", ">"] {
        environment.add_test(name, gt);
    }
    for name in ["ge", ">="] {
        environment.add_test(name, ge);
    }
    for name in ["ne", "!="] {
        environment.add_test(name, ne);
    }
    environment.add_filter("sort", sort);
    environment.add_filter("min", min);
    environment.add_filter("max", max);
}

fn lt(left: &Value, right: &Value) -> Result<bool, Error> {
    judge_order(left, right).map(|()| left < right)
}

fn le(left: &Value, right: &Value) -> Result<bool, Error> {
    judge_order(left, right).map(|()| left <= right)
}

fn gt(left: &Value, right: &Value) -> Result<bool, Error> {
    judge_order(left, right).map(|()| left > right)
}

fn ge(left: &Value, right: &Value) -> Result<bool, Error> {
    judge_order(left, right).map(|()| left >= right)
}

fn ne(left: &Value, right: &Value) -> Result<bool, Error> {
    if is_text_against_number(left, right) {
        return Err(mixed(left, right));
    }
    Ok(left != right)
}

fn concat(state: &State<'_, '_>, left: &Value, right: &Value) -> Result<String, Error> {
    for value in [left, right] {
        if value.is_undefined() {
            return Err(Error::from(ErrorKind::UndefinedError));
        }
        if value.is_none() {
            return Err(null_in_text());
        }
        bounds::judge(state, value.clone())?;
    }
    Ok(format!("{left}{right}"))
}

/// Null where text is put together.
pub(super) fn null_in_text() -> Error {
    invalid(
        "null cannot be part of a text; give another value by `|default(\"…\", true)` where that is meant",
    )
}

fn judge_order(left: &Value, right: &Value) -> Result<(), Error> {
    if left.is_undefined() || right.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    if class(left) == class(right) && class(left) != Class::Null {
        Ok(())
    } else {
        Err(mixed(left, right))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Null,
    Boolean,
    Number,
    Text,
    List,
    Map,
}

fn class(value: &Value) -> Class {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => Class::Null,
        ValueKind::Bool => Class::Boolean,
        ValueKind::Number => Class::Number,
        ValueKind::String | ValueKind::Bytes => Class::Text,
        ValueKind::Seq | ValueKind::Iterable => Class::List,
        _ => Class::Map,
    }
}

fn is_text_against_number(left: &Value, right: &Value) -> bool {
    matches!(
        (class(left), class(right)),
        (Class::Text, Class::Number | Class::Boolean)
            | (Class::Number | Class::Boolean, Class::Text)
    )
}

fn mixed(left: &Value, right: &Value) -> Error {
    let cure = match (class(left), class(right)) {
        (Class::Text, Class::Number) | (Class::Number, Class::Text) => {
            "make the text a number by `|int` or `|float`"
        }
        (Class::Null, _) | (_, Class::Null) => "ask whether it is there by `is not none` first",
        _ => "compare values of one type",
    };
    let message = format!(
        "{} cannot be compared with {}; {cure}",
        describe(left),
        describe(right)
    );
    invalid(message)
}

/// `the text "no"`, `the number 3`.
pub(super) fn describe(value: &Value) -> String {
    let what = match class(value) {
        Class::Null => return "null".into(),
        Class::Boolean => "the boolean",
        Class::Number => "the number",
        Class::Text => "the text",
        Class::List => "the list",
        Class::Map => "the mapping",
    };
    let written = serde_json::to_string(value).unwrap_or_default();
    let shown: String = written.chars().take(SHOWN).collect();
    let dots = if shown.len() < written.len() {
        "…"
    } else {
        ""
    };
    format!("{what} {shown}{dots}")
}

/// Why a value is no condition, with what to write instead.
pub(super) fn no_condition(code: &str, value: &Value) -> String {
    let cure = match class(value) {
        Class::Null => format!("write `{code} is not none`"),
        Class::Text => match value.as_str() {
            Some("true" | "false" | "yes" | "no" | "on" | "off") => {
                format!("write `{code} == \"true\"`, or give it as a boolean")
            }
            _ => format!("write `{code} != \"\"`"),
        },
        Class::Number => format!("write `{code} != 0`"),
        Class::List | Class::Map => format!("write `{code}|length > 0`"),
        Class::Boolean => String::new(),
    };
    format!(
        "a condition is `true` or `false`, but this is {}; {cure}",
        describe(value)
    )
}

fn sort(state: &State<'_, '_>, value: &Value, named: Kwargs) -> Result<Value, Error> {
    let items = comparable(value, &named)?;
    minijinja::filters::sort(state, items, named)
}

fn min(state: &State<'_, '_>, value: &Value, named: Kwargs) -> Result<Value, Error> {
    let items = comparable(value, &named)?;
    minijinja::filters::min(state, items, named)
}

fn max(state: &State<'_, '_>, value: &Value, named: Kwargs) -> Result<Value, Error> {
    let items = comparable(value, &named)?;
    minijinja::filters::max(state, items, named)
}

/// The items, if all of them are of one type.
fn comparable(value: &Value, named: &Kwargs) -> Result<Value, Error> {
    let attribute: Option<String> = named.get("attribute")?;
    let items: Vec<Value> = value.try_iter()?.collect();
    let key = |item: &Value| -> Result<Value, Error> {
        let mut path = attribute.iter().flat_map(|path| path.split('.'));
        path.try_fold(item.clone(), |at, step| match step.parse::<usize>() {
            Ok(index) => at.get_item_by_index(index),
            Err(_) => at.get_attr(step),
        })
    };
    for pair in items.windows(2) {
        let (one, other) = (key(&pair[0])?, key(&pair[1])?);
        if !one.is_undefined() && !other.is_undefined() {
            judge_order(&one, &other)?;
        }
    }
    Ok(Value::from(items))
}

/// Why two values that stand in the text itself cannot be compared. The engine compares them before the run.
pub(super) fn constants(operator: CompareOpKind, left: &Value, right: &Value) -> Option<String> {
    let judged = match operator {
        CompareOpKind::Lt | CompareOpKind::Lte | CompareOpKind::Gt | CompareOpKind::Gte => {
            judge_order(left, right)
        }
        CompareOpKind::Ne | CompareOpKind::Eq if is_text_against_number(left, right) => {
            Err(mixed(left, right))
        }
        _ => Ok(()),
    };
    let error = judged.err()?;
    error.detail().map(str::to_owned)
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

#[cfg(test)]
mod tests {
    use crate::template::{Engine, Scope};
    use serde_json::json;

    #[test]
    fn there_is_no_order_of_types() {
        let scope = Scope::default();
        scope.bind("count", &"1".into());
        scope.bind("nothing", &json!(null));
        let engine = Engine::new();
        for code in [
            "count > 100",
            "count <= 100",
            "count != 1",
            "nothing < 5",
            "[1, 'a']|sort",
            "['a', 1]|max",
            "[2, '1']|min",
            "[{'n': 1}, {'n': '2'}]|sort(attribute='n')",
            "[count]|select('gt', 3)|list",
            "count is lt 2",
            "nothing ~ 'x'",
        ] {
            assert!(engine.value_of(code, &scope).is_err(), "{code}");
        }
        for (code, value) in [
            ("count|int > 0", json!(true)),
            ("count == 1", json!(false)),
            ("nothing != 5", json!(true)),
            ("1 < 2 < 3", json!(true)),
            ("1 < 1.5", json!(true)),
            ("'a' < 'b'", json!(true)),
            ("[3, 1.5, 2]|sort", json!([1.5, 2, 3])),
            ("'a' ~ 1", json!("a1")),
            ("[1, 2, 3]|select('gt', 1)|list", json!([2, 3])),
        ] {
            assert_eq!(engine.value_of(code, &scope), Ok(value), "{code}");
        }
    }

    #[test]
    fn output_that_is_not_text_says_so() {
        let scope = Scope::default();
        let result =
            json!({"stdout": null, "stdout_base64": "/2E=", "stderr": "", "stderr_base64": null});
        scope.bind("raw", &result);
        scope.bind(
            "all",
            &json!([{"stdout": "a", "stdout_base64": null}, result]),
        );
        scope.bind_fields(result.as_object().expect("an object"));
        let engine = Engine::new();
        for code in [
            "stdout|trim",
            "stdout == ''",
            "stdout != ''",
            "raw['stdout'] in ['a']",
            "all[1].stdout ~ 'x'",
            "all|map(attribute='stdout')|join",
        ] {
            let error = engine.value_of(code, &scope).expect_err(code);
            assert!(
                error.message.contains("`stdout_base64` has its bytes"),
                "{code}: {error}"
            );
        }
        for code in [
            "stdout is none",
            "raw.stdout is none and all[1].stdout == none",
            "all[0].stdout is not none and stderr is not none",
            "stderr == '' and raw.stdout_base64 == stdout_base64",
            "raw.stdout is defined",
        ] {
            assert_eq!(engine.value_of(code, &scope), Ok(json!(true)), "{code}");
        }
    }
}
