//! Names in playbooks that a server does not have: what `check --remote` finds.

use std::collections::HashSet;
use std::sync::Arc;

use malleus::client::{Client, Error, Request};
use malleus::diagnostic::{Diagnostic, did_you_mean};
use malleus::playbook::plan::{Action, Body, OnError, Plan, Scalars, Step};
use malleus::source::{Place, Source};
use malleus::template::Template;
use malleus_api::{ApiPath, Kind};
use serde_json::Value;

use super::connect;

/// How many names are listed where none is near.
const LISTED: usize = 12;

const PROJECT: &str = "project";
const PROFILE: &str = "profile";
const NETWORK: &str = "network";
const POOL: &str = "storage pool";
const ALIAS: &str = "image alias";

/// The kind of this label, if playbooks name such things without making them.
fn judged(label: &str) -> Option<&'static Kind> {
    [PROJECT, PROFILE, NETWORK, POOL, ALIAS]
        .contains(&label)
        .then(|| Kind::all().iter().find(|kind| kind.label == label))?
}

/// The collection of a kind.
fn collection(kind: &Kind) -> Option<ApiPath> {
    ApiPath::parse(kind.path.strip_suffix("/{}")?)
}

/// What the beginning of a path names: the kind, the name, and how many segments it has.
fn at_beginning(path: &ApiPath) -> Option<(&'static Kind, String, usize)> {
    (1..=path.segments().len()).find_map(|length| {
        let beginning = ApiPath::of(&path.segments()[..length]);
        let kind = judged(beginning.kind()?.label)?;
        Some((kind, beginning.name().to_owned(), length))
    })
}

/// Something that a step names.
struct Named {
    label: &'static str,
    name: String,
    place: Place,
}

/// All that a playbook names by itself, and that the server of the client does not have.
///
/// # Errors
/// Those of the client, other than that something is not there.
pub(crate) fn judge(plan: &Plan, client: &Client) -> Result<Vec<Diagnostic>, Error> {
    let mut walk = Walk::default();
    walk.playbook(plan);
    let mut problems = walk.problems;
    let literal = |project: &Template| project.literal().and_then(Value::as_str).map(str::to_owned);
    let project = plan.project.as_ref().map(literal);
    let client = match &project {
        Some(Some(project)) => client.with_project(project),
        _ => client.clone(),
    };
    let has_own_features = plan
        .isolate
        .as_ref()
        .is_some_and(|isolate| !isolate.config.is_empty());
    // What is in a project that is not known, or not there, cannot be looked at.
    let mut is_closed = has_own_features || project == Some(None);
    let mut seen = HashSet::new();
    for named in walk.found {
        let is_scoped = !matches!(named.label, PROJECT | POOL);
        if is_scoped && is_closed || !seen.insert((named.label, named.name.clone())) {
            continue;
        }
        if let Some(problem) = missing(&named, &client)? {
            is_closed |= named.label == PROJECT;
            problems.push(problem);
        }
    }
    Ok(problems)
}

fn missing(named: &Named, client: &Client) -> Result<Option<Diagnostic>, Error> {
    let Named { label, name, place } = named;
    let Some(collection) = judged(label).and_then(collection) else {
        return Ok(None);
    };
    let member = collection.member(name);
    if client
        .send(&Request::new("GET", member.to_string()))?
        .status
        != 404
    {
        return Ok(None);
    }
    let all = client.send(&Request::new("GET", collection.to_string()))?;
    let urls = all.metadata().as_array().cloned().unwrap_or_default();
    let there: Vec<&str> = urls
        .iter()
        .filter_map(Value::as_str)
        .filter_map(|url| url.split('?').next()?.rsplit('/').next())
        .collect();
    let near = did_you_mean(name, there.iter().copied());
    let help = match there.as_slice() {
        _ if !near.is_empty() => near,
        [] => "there is none at all".to_owned(),
        few if few.len() <= LISTED => format!("there are: {}", few.join(", ")),
        many => format!("there are {} others", many.len()),
    };
    Ok(Some(
        Diagnostic::error(format!("there is no {label} `{name}` on the server"))
            .at(place.clone(), "")
            .help(help),
    ))
}

/// The steps so far.
#[derive(Default)]
struct Walk {
    found: Vec<Named>,
    /// What steps make themselves.
    made: HashSet<(&'static str, String)>,
    /// Kinds of which a step makes something whose name is worked out: it may be any.
    open: HashSet<&'static str>,
    problems: Vec<Diagnostic>,
}

impl Walk {
    fn playbook(&mut self, plan: &Plan) {
        if let Some(project) = &plan.project {
            self.name(PROJECT, project, &plan.source);
        }
        self.steps(&plan.steps, &plan.source);
    }

    fn steps(&mut self, steps: &[Step], source: &Arc<Source>) {
        for step in steps {
            self.step(step, source);
        }
    }

    fn step(&mut self, step: &Step, source: &Arc<Source>) {
        if let Some(remote) = &step.remote {
            self.remote(remote, source);
        }
        // What may be skipped, fail or wait for something is not judged; what it makes counts all the same.
        let is_judged = step.when.is_none()
            && step.on_error == OnError::Fail
            && step.until.is_none()
            && step.remote.is_none();
        match &step.action {
            Action::Steps(group) => self.steps(&group.steps, source),
            Action::Parallel(parallel) => self.steps(&parallel.steps, source),
            Action::Include(include) => self.playbook(&include.plan),
            Action::Ensure(ensure) => {
                if is_judged && ensure.scalars == Scalars::AsText {
                    self.query(&ensure.query, source);
                    if let Some(body) = &ensure.body {
                        self.body(&ensure.path.written(), body, source);
                    }
                }
                self.path(&ensure.path, (true, is_judged), source);
            }
            Action::Absent(absent) if is_judged => self.query(&absent.query, source),
            Action::Request(request) => {
                let is_judged = is_judged && request.scalars == Scalars::AsText;
                let body = match &request.body {
                    Body::Json(body) => Some(body),
                    _ => None,
                };
                if is_judged {
                    self.query(&request.query, source);
                    if let Some(body) = body {
                        self.body(&request.path.written(), body, source);
                    }
                }
                if request.method == "POST" {
                    self.posted(&request.path.written(), body);
                }
                self.path(&request.path, (false, is_judged), source);
            }
            _ => {}
        }
    }

    fn remote(&mut self, remote: &Template, source: &Arc<Source>) {
        if let Some(name) = remote.literal().and_then(Value::as_str)
            && let Err(error) = connect::resolve(Some(name), None)
        {
            let (_, problem) = connect::unresolved(&error);
            self.problems
                .push(problem.at(Place::new(source, remote.span()), ""));
        }
    }

    fn query(&mut self, query: &[(String, Template)], source: &Arc<Source>) {
        for (key, value) in query {
            if key == "project" {
                self.name(PROJECT, value, source);
            }
        }
    }

    /// What a path names, or makes.
    fn path(&mut self, path: &Template, (makes, is_judged): (bool, bool), source: &Arc<Source>) {
        let Some(written) = ApiPath::parse(&path.written()) else {
            return;
        };
        let Some((kind, name, length)) = at_beginning(&written) else {
            return;
        };
        if makes && length == written.segments().len() {
            self.makes(kind.label, &name);
        } else if is_judged {
            self.note(kind.label, &name, Place::new(source, path.span()));
        }
    }

    /// What a POST makes.
    fn posted(&mut self, path: &str, body: Option<&Template>) {
        let path = ApiPath::parse(path);
        let kind = path.as_ref().and_then(ApiPath::kind_of_members);
        if let Some(kind) = kind.and_then(|kind| judged(kind.label)) {
            let name = body.and_then(|body| at(body, kind.name_key()?));
            let name = name.map_or_else(|| "{{".to_owned(), Template::written);
            self.makes(kind.label, &name);
        }
    }

    fn makes(&mut self, label: &'static str, name: &str) {
        if name.contains("{{") {
            self.open.insert(label);
        } else {
            self.made.insert((label, name.to_owned()));
        }
    }

    /// What the body of an instance or a profile names.
    fn body(&mut self, path: &str, body: &Template, source: &Arc<Source>) {
        let path = ApiPath::parse(path);
        let kind = path
            .as_ref()
            .and_then(|path| path.kind().or_else(|| path.kind_of_members()));
        if !kind.is_some_and(|kind| matches!(kind.label, "instance" | PROFILE)) {
            return;
        }
        if let Some(image) = at(body, "source")
            && at(image, "server").is_none()
            && let Some(alias) = at(image, "alias")
        {
            self.name(ALIAS, alias, source);
        }
        if let Some(Template::List(profiles, _)) = at(body, "profiles") {
            for profile in profiles {
                self.name(PROFILE, profile, source);
            }
        }
        if let Some(Template::Map(devices, _)) = at(body, "devices") {
            for (_, device) in devices {
                for (key, kind) in [("network", NETWORK), ("pool", POOL)] {
                    if let Some(name) = at(device, key) {
                        self.name(kind, name, source);
                    }
                }
            }
        }
    }

    fn name(&mut self, label: &'static str, name: &Template, source: &Arc<Source>) {
        if let Some(written) = name.literal().and_then(Value::as_str) {
            self.note(label, written, Place::new(source, name.span()));
        }
    }

    fn note(&mut self, label: &'static str, name: &str, place: Place) {
        let is_known = self.open.contains(label) || self.made.contains(&(label, name.to_owned()));
        if !is_known && !name.contains("{{") && !name.is_empty() {
            self.found.push(Named {
                label,
                name: name.to_owned(),
                place,
            });
        }
    }
}

/// The value at a key that is written out.
fn at<'t>(template: &'t Template, key: &str) -> Option<&'t Template> {
    let Template::Map(entries, _) = template else {
        return None;
    };
    let is_key = |name: &Template| name.literal().and_then(Value::as_str) == Some(key);
    entries
        .iter()
        .find(|(name, _)| is_key(name))
        .map(|(_, value)| value)
}
