//! Bounds on what an evaluation makes. The engine's fuel counts its own steps; what our filters do is charged to the same
//! fuel, and so is what a list holds once it is written out: a list that holds another one twice, and so on for thirty
//! times, is small in memory and has no end in a text.

use std::io::{self, Write};

use minijinja::machinery::{Instruction, Instructions};
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};

/// Steps one evaluation may take: far above what a playbook needs, far below what a person would wait for.
pub(super) const FUEL: u64 = 2_000_000;
/// How deep lists and mappings may be nested in each other. Replies of servers have 128 levels at the most.
const MOST_LEVELS: usize = 200;
/// How many bytes a filter may make of a text or a value.
pub(super) const MOST_BYTES: usize = 64 << 20;
/// What one fuel pays for, in bytes, and what an item costs beside its text.
const BYTES_PER_FUEL: usize = 64;
const ITEM: usize = 64;

/// Replaces the instructions that build lists and mappings. No author can write the names of the filters.
pub(super) fn replace_builders(instructions: &mut Instructions<'_>, uncached: u8) {
    let mut at = 0;
    while let Some(instruction) = instructions.get_mut(at) {
        let (filter, count) = match instruction {
            Instruction::BuildList(Some(count)) if *count > 0 => ("\0list", *count),
            Instruction::BuildMap(pairs) if *pairs > 0 => ("\0map", 2 * *pairs),
            _ => ("", 0),
        };
        if let (1.., Ok(count)) = (count, count.try_into()) {
            *instruction = Instruction::ApplyFilter(filter, Some(count), uncached);
        }
        at += 1;
    }
}

pub(super) fn add_to(environment: &mut Environment<'_>) {
    environment.add_filter("\0list", list);
    environment.add_filter("\0map", map);
    environment.add_function("dict", dict);
    // It could hold itself, and be nested once more by each round of a loop.
    environment.remove_global("namespace");
}

fn list(state: &State<'_, '_>, items: Rest<Value>) -> Result<Value, Error> {
    judge(state, Value::from(items.0))
}

fn map(state: &State<'_, '_>, items: Rest<Value>) -> Result<Value, Error> {
    let mut items = items.0.into_iter();
    let pairs = std::iter::from_fn(|| items.next().zip(items.next()));
    judge(state, Value::from_pairs(pairs))
}

fn dict(state: &State<'_, '_>, value: Option<Value>, named: Kwargs) -> Result<Value, Error> {
    judge(state, minijinja::functions::dict(value, named)?)
}

/// Whether an expression does no more than to name a value, which is there already.
pub(super) fn is_lookup(instructions: &Instructions<'_>) -> bool {
    use Instruction::{GetAttr, GetItem, LoadConst, Lookup, Return};
    let all = (0..).map_while(|at| instructions.get(at));
    let mut all = all.filter(|instruction| !matches!(instruction, Return));
    all.all(|one| matches!(one, Lookup(_) | GetAttr(_) | GetItem | LoadConst(_)))
}

/// Charges what a value holds, all of it written out.
///
/// # Errors
/// When the fuel does not suffice, or it is nested too deeply.
pub(super) fn judge(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    let mut walk = Walk { state, owed: 0 };
    walk.value(&value, 0)?;
    Ok(value)
}

struct Walk<'a> {
    state: &'a State<'a, 'a>,
    /// Bytes that are not charged yet.
    owed: usize,
}

impl Walk<'_> {
    fn value(&mut self, value: &Value, level: usize) -> Result<(), Error> {
        self.owed += ITEM + value.as_bytes().map_or(0, <[u8]>::len);
        if self.owed > 1000 * BYTES_PER_FUEL {
            self.state
                .consume_fuel((self.owed / BYTES_PER_FUEL) as u64)?;
            self.owed = 0;
        }
        let is_map = value.kind() == ValueKind::Map;
        // What has no length may be an iterator that can be used but once.
        let is_list = matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable);
        if !(is_map || is_list) || value.len().is_none() {
            return Ok(());
        }
        if level == MOST_LEVELS {
            return Err(too_deep());
        }
        for item in value.try_iter()? {
            if is_map {
                self.value(&value.get_item(&item)?, level + 1)?;
            }
            self.value(&item, level + 1)?;
        }
        Ok(())
    }
}

fn too_deep() -> Error {
    Error::new(
        ErrorKind::InvalidOperation,
        format!("lists and mappings are nested in each other more than {MOST_LEVELS} times"),
    )
}

/// What is too large for one value.
pub(super) fn too_large() -> Error {
    Error::new(
        ErrorKind::InvalidOperation,
        format!("the value would have more than {} MiB", MOST_BYTES >> 20),
    )
}

/// Bytes in memory, up to [`MOST_BYTES`].
#[derive(Default)]
pub(super) struct Buffer(Vec<u8>);

impl Buffer {
    /// What was written, which is text.
    pub(super) fn into_text(self) -> Result<String, Error> {
        String::from_utf8(self.0)
            .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MOST_BYTES {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use malleus_source::yaml::{Kind, Node};
    use malleus_source::{Source, Span};
    use serde_json::Value;

    use crate::template::{Engine, Scope, Template};

    fn render(text: &str) -> Result<Value, String> {
        let source = Source::new(Path::new("t.yaml"), text);
        let node = Node {
            span: Span::new(0, text.len()),
            kind: Kind::Text(text.to_owned()),
        };
        let mut problems = Vec::new();
        let template = Template::read(&source, &node, &mut problems);
        if let Some((_, problem)) = problems.pop() {
            return Err(problem.message);
        }
        let (engine, scope) = (Engine::new(), Scope::default());
        scope.bind("x", &"a".into());
        let rendered = engine.with(&source, &scope).value(&template);
        rendered.map_err(|error| error.message)
    }

    fn refused(text: &str) -> String {
        match render(text) {
            Err(message) => message,
            Ok(_) => format!("not refused: {}", &text[..60]),
        }
    }

    #[test]
    fn what_is_small_in_memory_only_is_refused() {
        for doubled in [
            "{% set x = [x, x] %}",
            "{% set x = {'a': x, 'b': x} %}",
            "{% set x = dict(a=x, b=x) %}",
        ] {
            let text = doubled.repeat(34) + "{{ x|length }}";
            assert_eq!(refused(&text), "the template takes too long to evaluate");
        }
        let text = "{% macro f(x) %}{{ f([x, x]) }}{% endmacro %}{{ f(1) }}";
        assert!(!refused(text).starts_with("not refused"));
        let text = format!(
            "{{% set x = ['{}'] %}}{}{{{{ x|list }}}}",
            "x".repeat(100_000),
            "{% set x = x + x %}".repeat(20)
        );
        assert_eq!(refused(&text), "the template takes too long to evaluate");
        assert_eq!(
            render("{{ [x, [x, {'k': x}]] }}"),
            Ok(serde_json::json!(["a", ["a", {"k": "a"}]]))
        );
        assert_eq!(render("{{ {} }} {{ [] }}"), Ok("{} []".into()));
    }

    #[test]
    fn deep_nesting_is_refused() {
        let text = "{% set x = [x] %}".repeat(300) + "{{ x|length }}";
        assert!(refused(&text).starts_with("lists and mappings are nested"));
        let text = "{% set x = [[[[[x]]]]] %}".repeat(30) + "{{ x|length }}";
        assert_eq!(render(&text), Ok("1".into()));
        let text = "{% set n = namespace() %}{% set n.a = n %}{{ n }}";
        assert_eq!(refused(text), "unknown function: namespace is unknown");
    }

    #[test]
    fn regular_expressions_have_a_limit_of_time_and_of_size() {
        let text = "{{ ('a' * 1000000) is matching('(a?){500}a{500}$') }}";
        assert!(refused(text).contains("too large for a text of 1000000 bytes"));
        let text = "{{ ('a' * 1000000)|regex_replace('(a?){500}a{500}$', '') }}";
        assert!(refused(text).contains("too large for a text of 1000000 bytes"));
        let text = "{{ ('a' * 100000)|regex_replace('a', 'b' * 100000)|length }}";
        assert_eq!(refused(text), "the value would have more than 64 MiB");
        let text = "{{ ('a' * 100000)|regex_replace('a+', '$0' * 100000)|length }}";
        assert_eq!(refused(text), "the value would have more than 64 MiB");
        let text = "{{ 'web-01'|regex_replace('([a-z]+)-(\\d+)', '$2/$1') }}";
        assert_eq!(render(text), Ok("01/web".into()));
        let text = "{{ ('line 7\\n' * 100000) is matching('(?m)^line \\d+$') }}";
        assert_eq!(render(text), Ok(true.into()));
    }
}
