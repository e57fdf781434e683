//! Paths that two includes would make, or two items of a looped include, with different bodies: known before the run where
//! they follow from what is written out.

use std::collections::HashMap;
use std::sync::Arc;

use malleus_api::{ApiPath, Kind};
use serde_json::{Value, json};

use crate::playbook::plan::{Action, Body, ForEach, Include, Plan, Step};
use crate::template::{Engine, Scope, Template, Usage};
use malleus_source::Place;
use malleus_source::diagnostic::Diagnostic;

/// How many items of a loop are looked at.
const ITEMS: usize = 50;

/// All that is made with another body than before by another include. `plan` has no errors.
pub(super) fn judge(plan: &Plan, engine: &Engine) -> Vec<Diagnostic> {
    let mut walk = Walk {
        engine,
        made: HashMap::new(),
        problems: Vec::new(),
    };
    let at = At {
        plan,
        scope: names("run"),
        branch: "run".into(),
        include: None,
        place: None,
    };
    // What a caller may set is not known.
    walk.playbook(&at);
    walk.problems
}

/// The names that are known of every playbook.
fn names(include: &str) -> Scope {
    let scope = Scope::default();
    scope.bind("run", &json!({"id": "run"}));
    scope.bind("include", &json!({"id": include}));
    scope
}

/// Where steps stand.
#[derive(Clone)]
struct At<'a> {
    plan: &'a Plan,
    scope: Scope,
    /// The includes and items around, as in the id of an include.
    branch: String,
    /// The id of the include at hand.
    include: Option<Arc<str>>,
    /// Where the outermost include stands.
    place: Option<Place>,
}

/// What an include makes.
struct Made {
    include: Arc<str>,
    body: Value,
    place: Place,
}

struct Walk<'a> {
    engine: &'a Engine,
    made: HashMap<String, Made>,
    problems: Vec<Diagnostic>,
}

impl<'a> Walk<'a> {
    fn playbook(&mut self, at: &At<'a>) {
        for var in &at.plan.vars {
            self.bind(at, &var.name.text, &var.value);
        }
        self.steps(&at.plan.steps, at);
    }

    /// Binds a name, if its value is known.
    fn bind(&self, at: &At<'a>, name: &str, value: &Template) {
        if let Some(value) = self.value(at, value) {
            at.scope.bind(name, &value);
        }
    }

    fn value(&self, at: &At<'a>, template: &Template) -> Option<Value> {
        if !is_known(template, &at.scope) {
            return None;
        }
        let renderer = self.engine.with(&at.plan.source, &at.scope);
        renderer.value(template).ok()
    }

    fn steps(&mut self, steps: &'a [Step], at: &At<'a>) {
        for step in steps {
            // Whether it runs, and on which server, is not known.
            if step.when.is_some() || step.remote.is_some() {
                continue;
            }
            let Some(list) = &step.for_each else {
                self.action(&step.action, at);
                continue;
            };
            let items = match list {
                ForEach::List(list) => self.value(at, list),
                ForEach::Expression(list)
                    if !knows(&at.scope, &Usage::of_expression(list.code())) =>
                {
                    None
                }
                ForEach::Expression(list) => {
                    let renderer = self.engine.with(&at.plan.source, &at.scope);
                    renderer.eval(list).ok()
                }
            };
            let [item_name, index_name] = step.loop_names();
            for (index, item) in items
                .iter()
                .filter_map(Value::as_array)
                .flatten()
                .enumerate()
            {
                if index == ITEMS {
                    break;
                }
                let inner = At {
                    scope: at.scope.child(),
                    branch: format!("{}-{}", at.branch, index + 1),
                    ..at.clone()
                };
                inner.scope.bind(&item_name, item);
                inner.scope.bind(&index_name, &json!(index));
                self.action(&step.action, &inner);
            }
        }
    }

    fn action(&mut self, action: &'a Action, at: &At<'a>) {
        match action {
            Action::Set(bindings) => {
                for binding in bindings {
                    self.bind(at, &binding.name.text, &binding.value);
                }
            }
            Action::Steps(group) => {
                let inner = At {
                    scope: at.scope.child(),
                    ..at.clone()
                };
                self.steps(&group.steps, &inner);
            }
            Action::Parallel(parallel) => self.steps(&parallel.steps, at),
            Action::Include(include) => self.include(include, at),
            Action::Ensure(ensure) => {
                if let (true, Some(body)) = (ensure.query.is_empty(), &ensure.body) {
                    self.make(&ensure.path, body, at);
                }
            }
            Action::Request(request) if request.method == "POST" && request.query.is_empty() => {
                if let Body::Json(body) = &request.body {
                    self.make_in(&request.path, body, at);
                }
            }
            _ => {}
        }
    }

    fn include(&mut self, include: &'a Include, at: &At<'a>) {
        let plan = &include.plan;
        // What is removed in between may be made again; another project has other paths.
        if plan.project.is_some()
            || plan.isolate.is_some()
            || removes(&plan.steps)
            || removes(&plan.finally)
        {
            return;
        }
        let branch = format!("{}-{}", at.branch, include.number);
        let scope = names(&branch);
        for input in &plan.inputs {
            let name = &input.name.text;
            match include.with.iter().find(|with| with.name.text == *name) {
                Some(with) => {
                    if let Some(value) = self.value(at, &with.value) {
                        scope.bind(name, &value);
                    }
                }
                None if input.env.is_none() => {
                    scope.bind(name, input.default.as_ref().unwrap_or(&Value::Null));
                }
                None => {}
            }
        }
        let place = at.place.clone();
        self.playbook(&At {
            plan,
            scope,
            include: Some(branch.as_str().into()),
            branch,
            place: Some(place.unwrap_or_else(|| at.plan.place(include.span))),
        });
    }

    /// The path and the body of a request, if both are known.
    fn known(&self, (path, body): (&Template, &Template), at: &At<'a>) -> Option<(String, Value)> {
        if !is_known(path, &at.scope) {
            return None;
        }
        let renderer = self.engine.with(&at.plan.source, &at.scope);
        renderer.path(path).ok().zip(self.value(at, body))
    }

    /// A resource by its own path.
    fn make(&mut self, path: &'a Template, body: &Template, at: &At<'a>) {
        let known = self.known((path, body), at);
        if let Some((rendered, body)) = known
            && let Some(rendered) = ApiPath::parse(&rendered)
        {
            self.note((&rendered, path, path.written()), body, at);
        }
    }

    /// A resource by its collection and the name in the body.
    fn make_in(&mut self, path: &'a Template, template: &Template, at: &At<'a>) {
        let Some((rendered, body)) = self.known((path, template), at) else {
            return;
        };
        let Some(collection) = ApiPath::parse(&rendered) else {
            return;
        };
        let Some(key) = collection.kind_of_members().and_then(Kind::name_key) else {
            return;
        };
        if let Some(name) = body[key].as_str() {
            let shown = format!(
                "{}/{}",
                path.written(),
                written_at(template, key).unwrap_or(name.into())
            );
            self.note((&collection.member(name), path, shown), body.clone(), at);
        }
    }

    fn note(
        &mut self,
        (path, written, shown): (&ApiPath, &Template, String),
        mut body: Value,
        at: &At<'a>,
    ) {
        let (Some(include), Some(place)) = (&at.include, &at.place) else {
            return;
        };
        if let Value::Object(keys) = &mut body {
            keys.remove("name");
        }
        let key = path.to_string();
        let Some(before) = self.made.get(&key) else {
            let made = Made {
                include: Arc::clone(include),
                body,
                place: place.clone(),
            };
            self.made.insert(key, made);
            return;
        };
        if is_within(&before.include, include)
            || is_within(include, &before.include)
            || before.body == body
        {
            return;
        }
        let message = if before.place == *place {
            format!("two items of this include make the same path `{shown}`, with different bodies")
        } else {
            format!("this include makes the same path `{shown}` as another one, with another body")
        };
        let mut problem = Diagnostic::error(message).at(place.clone(), "");
        if before.place != *place {
            problem = problem.at(before.place.clone(), "the other one");
        }
        problem = problem
            .at(at.plan.place(written.span()), "made here")
            .help("take `include.id` into its name: each include, and each item of a loop over one, has another");
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

/// What is written at a key of a mapping.
fn written_at(template: &Template, key: &str) -> Option<String> {
    let Template::Map(entries, _) = template else {
        return None;
    };
    let (_, value) = entries
        .iter()
        .find(|(name, _)| name.literal().and_then(Value::as_str) == Some(key))?;
    Some(value.written())
}

/// Whether all names that a template uses are known: `default` would give something else in the place of one that is not.
fn is_known(template: &Template, scope: &Scope) -> bool {
    match template {
        Template::Literal(..) => true,
        Template::Value(expr) => knows(scope, &Usage::of_expression(expr.code())),
        Template::Text(text) => knows(scope, &Usage::of_text(text.code())),
        Template::List(items, _) => items.iter().all(|item| is_known(item, scope)),
        Template::Map(entries, _) => entries
            .iter()
            .all(|(key, value)| is_known(key, scope) && is_known(value, scope)),
        Template::File(file) => {
            let content = file.content.as_ref();
            is_known(&file.path, scope)
                && content.is_none_or(|text| knows(scope, &Usage::of_text(text.code())))
        }
    }
}

fn knows(scope: &Scope, usage: &Usage) -> bool {
    usage
        .names
        .iter()
        .all(|used| scope.get(&used.name).is_some())
}

/// Whether an include is that with the id `outer`, or one inside it.
fn is_within(outer: &str, include: &str) -> bool {
    include
        .strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Whether steps remove something.
fn removes(steps: &[Step]) -> bool {
    steps.iter().any(|step| match &step.action {
        Action::Absent(_) => true,
        Action::Request(request) => request.method == "DELETE",
        Action::Steps(group) => removes(&group.steps) || removes(&group.finally),
        Action::Parallel(parallel) => removes(&parallel.steps),
        Action::Include(include) => removes(&include.plan.steps) || removes(&include.plan.finally),
        _ => false,
    })
}
