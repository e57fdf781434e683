//! Values for inputs: from defaults, the environment, files and the command line.

use indexmap::IndexMap;
use serde_json::Value;

use super::plan::{Input, InputType, Need, Plan, Typing};
use crate::template::describe;
use malleus_source::Place;
use malleus_source::diagnostic::{Diagnostic, did_you_mean};

impl InputType {
    /// The type that a word of the language means.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            "list" => Self::List,
            "object" => Self::Object,
            _ => return None,
        })
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::List => "list",
            Self::Object => "object",
        }
    }

    /// The type of a value; null has none.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Null => None,
            Value::Bool(_) => Some(Self::Boolean),
            Value::Number(number) if number.is_f64() => Some(Self::Number),
            Value::Number(_) => Some(Self::Integer),
            Value::String(_) => Some(Self::String),
            Value::Array(_) => Some(Self::List),
            Value::Object(_) => Some(Self::Object),
        }
    }

    /// Whether a value is of this type. An integer is a number.
    pub fn admits(self, value: &Value) -> bool {
        match Self::of(value) {
            Some(Self::Integer) => matches!(self, Self::Integer | Self::Number),
            Some(kind) => kind == self,
            None => false,
        }
    }

    /// Text from the command line or the environment as a value of this type. Nothing is guessed: a string stays
    /// what it is, whatever it looks like.
    fn convert(self, text: &str) -> Option<Value> {
        let parsed = || {
            serde_json::from_str::<Value>(text)
                .ok()
                .filter(|value| self.admits(value))
        };
        match self {
            Self::String => Some(text.into()),
            Self::Boolean => match text {
                "true" => Some(true.into()),
                "false" => Some(false.into()),
                _ => None,
            },
            Self::Integer | Self::Number | Self::List | Self::Object => parsed(),
        }
    }
}

/// What a caller gives for one input.
#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    /// Text, to be converted to the declared type: `--var`, the environment.
    Text(String),
    /// A typed value: `--var-json`, `with:`.
    Typed(Value),
    /// A typed value that stands in a file: `--vars-file`. Messages name the place and do not show it: it may be secret.
    Placed(Value, Place),
}

/// Works out the inputs of a plan. `given` comes lowest precedence first; `environment` is asked only for the variables
/// that inputs declare.
///
/// # Errors
/// Every unknown name, every value of the wrong type, every required input that nobody sets.
pub fn resolve(
    plan: &Plan,
    given: &[(String, Given)],
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<IndexMap<String, Value>, Vec<Diagnostic>> {
    let mut problems = unknown(plan, given);
    let mut values = IndexMap::new();
    for input in &plan.inputs {
        let name = &input.name.text;
        let last = given
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone());
        let from_environment = || input.env.as_deref().and_then(environment).map(Given::Text);
        let value = match last.or_else(from_environment) {
            Some(value) => take(plan, input, value),
            None if input.need == Need::Required => Err(missing(plan, input)),
            None => Ok(input.default.clone().unwrap_or(Value::Null)),
        };
        match value {
            Ok(value) => {
                values.insert(name.clone(), value);
            }
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        Ok(values)
    } else {
        Err(problems)
    }
}

/// What is worth a warning in what is given: a word for a boolean, where the default is one that was not declared as text.
pub fn warnings(plan: &Plan, given: &[(String, Given)]) -> Vec<Diagnostic> {
    let is_switch = |input: &&Input| {
        let default = input.default.as_ref().and_then(Value::as_str);
        input.typing == Typing::ByDefault && default.is_some_and(looks_boolean)
    };
    let warning = |input: &Input| {
        let name = &input.name.text;
        let (_, last) = given.iter().rev().find(|(key, _)| key == name)?;
        let Given::Text(text) = last else { return None };
        looks_boolean(text).then(|| {
            Diagnostic::warning(format!(
                "`{name}` is given as the text \"{text}\", no boolean"
            ))
            .at(plan.place(input.name.span), "declared here")
            .help("a switch has the default `true` or `false`, without quotes")
        })
    };
    plan.inputs
        .iter()
        .filter(is_switch)
        .filter_map(warning)
        .collect()
}

/// Whether a text is a word for a boolean.
pub fn looks_boolean(text: &str) -> bool {
    matches!(
        text.to_lowercase().as_str(),
        "true" | "false" | "yes" | "no" | "on" | "off"
    )
}

/// The boolean that such a word means.
pub fn boolean(word: &str) -> bool {
    matches!(word.to_lowercase().as_str(), "true" | "yes" | "on")
}

fn unknown(plan: &Plan, given: &[(String, Given)]) -> Vec<Diagnostic> {
    let known: Vec<&str> = plan
        .inputs
        .iter()
        .map(|input| input.name.text.as_str())
        .collect();
    let mut problems: Vec<Diagnostic> = Vec::new();
    for (name, value) in given
        .iter()
        .filter(|(name, _)| !known.contains(&name.as_str()))
    {
        let mut help = did_you_mean(name, known.iter().copied());
        if help.is_empty() {
            help = match known.as_slice() {
                [] => "the playbook declares no inputs".into(),
                names => format!(
                    "its inputs are {}",
                    names
                        .iter()
                        .map(|name| format!("`{name}`"))
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            };
        }
        let mut problem =
            Diagnostic::error(format!("`{}` has no input `{name}`", plan.name)).help(help);
        if let Given::Placed(_, place) = value {
            problem = problem.note(format!("given in {place}"));
        }
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    problems
}

fn take(plan: &Plan, input: &Input, given: Given) -> Result<Value, Diagnostic> {
    let name = &input.name.text;
    let Some(kind) = input.kind else {
        return Ok(match given {
            Given::Text(text) => text.into(),
            Given::Typed(value) | Given::Placed(value, _) => value,
        });
    };
    // The value itself stays out of the message: it may be secret.
    let wrong = |found: &str| {
        Diagnostic::error(format!(
            "input `{name}` is of type {}, but what is given is {found}",
            kind.word()
        ))
        .at(plan.place(input.name.span), "declared here")
    };
    let help = match kind {
        InputType::Boolean => "write `true` or `false`",
        InputType::List => "write a list as JSON, as in `[\"a\", \"b\"]`",
        InputType::Object => "write an object as JSON, as in `{\"a\": 1}`",
        InputType::String | InputType::Integer | InputType::Number => "",
    };
    match given {
        Given::Text(text) => kind
            .convert(&text)
            .ok_or_else(|| wrong("text that does not read as one").help(help)),
        Given::Typed(value) | Given::Placed(value, _) if kind.admits(&value) => Ok(value),
        Given::Typed(value) => Err(wrong(describe(&value))),
        Given::Placed(value, place) => {
            Err(wrong(describe(&value)).note(format!("given in {place}")))
        }
    }
}

fn missing(plan: &Plan, input: &Input) -> Diagnostic {
    let name = &input.name.text;
    let from_environment = input
        .env
        .as_ref()
        .map(|env| format!(" or set the environment variable {env}"))
        .unwrap_or_default();
    let mut problem = Diagnostic::error(format!("input `{name}` is required"))
        .at(plan.place(input.name.span), "declared here")
        .help(format!("give it with `--var {name}=…`{from_environment}"));
    if let Some(description) = &input.description {
        problem = problem.note(description.as_str());
    }
    problem
}
