//! Names in playbooks that a server does not have: what `check --remote` finds.

use std::collections::HashSet;
use std::sync::Arc;

use malleus::client::{Client, Error, Request};
use malleus::diagnostic::{Diagnostic, did_you_mean};
use malleus::playbook::plan::{Action, Body, OnError, Plan, Scalars, Step};
use malleus::source::{Place, Source};
use malleus::template::Template;
use serde_json::Value;

use super::connect;

/// How many names are listed where none is near.
const LISTED: usize = 12;

/// A kind of thing that playbooks name without making it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Project,
    Profile,
    Network,
    Pool,
    Alias,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Profile => "profile",
            Self::Network => "network",
            Self::Pool => "storage pool",
            Self::Alias => "image alias",
        }
    }

    fn collection(self) -> &'static str {
        match self {
            Self::Project => "projects",
            Self::Profile => "profiles",
            Self::Network => "networks",
            Self::Pool => "storage-pools",
            Self::Alias => "images/aliases",
        }
    }

    /// The kind of the members of a collection.
    fn of(path: &str) -> Option<(Self, &str)> {
        [
            Self::Alias,
            Self::Project,
            Self::Profile,
            Self::Network,
            Self::Pool,
        ]
        .into_iter()
        .find_map(|kind| {
            let rest = path.strip_prefix(kind.collection())?;
            (rest.is_empty() || rest.starts_with('/')).then(|| (kind, rest.trim_start_matches('/')))
        })
    }
}

/// Something that a step names.
struct Named {
    kind: Kind,
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
        let is_scoped = !matches!(named.kind, Kind::Project | Kind::Pool);
        if is_scoped && is_closed || !seen.insert((named.kind, named.name.clone())) {
            continue;
        }
        if let Some(problem) = missing(&named, &client)? {
            is_closed |= named.kind == Kind::Project;
            problems.push(problem);
        }
    }
    Ok(problems)
}

fn missing(named: &Named, client: &Client) -> Result<Option<Diagnostic>, Error> {
    let Named { kind, name, place } = named;
    let collection = kind.collection();
    let member = format!("/1.0/{collection}/{}", malleus_core::percent::encode(name));
    if client.send(&Request::new("GET", member))?.status != 404 {
        return Ok(None);
    }
    let all = client.send(&Request::new("GET", format!("/1.0/{collection}")))?;
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
        Diagnostic::error(format!(
            "there is no {} `{name}` on the server",
            kind.word()
        ))
        .at(place.clone(), "")
        .help(help),
    ))
}

/// The steps so far.
#[derive(Default)]
struct Walk {
    found: Vec<Named>,
    /// What steps make themselves.
    made: HashSet<(Kind, String)>,
    /// Kinds of which a step makes something whose name is worked out: it may be any.
    open: HashSet<Kind>,
    problems: Vec<Diagnostic>,
}

impl Walk {
    fn playbook(&mut self, plan: &Plan) {
        if let Some(project) = &plan.project {
            self.name(Kind::Project, project, &plan.source);
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
                self.name(Kind::Project, value, source);
            }
        }
    }

    /// What a path names, or makes.
    fn path(&mut self, path: &Template, (makes, is_judged): (bool, bool), source: &Arc<Source>) {
        let written = path.written();
        let below = below_version(&written);
        let Some((kind, rest)) = Kind::of(below) else {
            return;
        };
        let is_deeper = kind != Kind::Alias && rest.contains('/');
        let name = if kind == Kind::Alias {
            rest
        } else {
            rest.split('/').next().unwrap_or_default()
        };
        if name.is_empty() {
            return;
        }
        if makes && !is_deeper {
            self.makes(kind, name);
        } else if is_judged {
            self.note(kind, name, Place::new(source, path.span()));
        }
    }

    /// What a POST makes.
    fn posted(&mut self, path: &str, body: Option<&Template>) {
        let Some((kind, "")) = Kind::of(below_version(path)) else {
            return;
        };
        let name = body
            .and_then(|body| at(body, "name"))
            .map(Template::written);
        self.makes(kind, name.as_deref().unwrap_or("{{"));
    }

    fn makes(&mut self, kind: Kind, name: &str) {
        if name.contains("{{") {
            self.open.insert(kind);
        } else {
            self.made.insert((kind, name.to_owned()));
        }
    }

    /// What the body of an instance or a profile names.
    fn body(&mut self, path: &str, body: &Template, source: &Arc<Source>) {
        let below = below_version(path);
        if !below.starts_with("instances") && !below.starts_with("profiles") {
            return;
        }
        if let Some(image) = at(body, "source")
            && at(image, "server").is_none()
            && let Some(alias) = at(image, "alias")
        {
            self.name(Kind::Alias, alias, source);
        }
        if let Some(Template::List(profiles, _)) = at(body, "profiles") {
            for profile in profiles {
                self.name(Kind::Profile, profile, source);
            }
        }
        if let Some(Template::Map(devices, _)) = at(body, "devices") {
            for (_, device) in devices {
                for (key, kind) in [("network", Kind::Network), ("pool", Kind::Pool)] {
                    if let Some(name) = at(device, key) {
                        self.name(kind, name, source);
                    }
                }
            }
        }
    }

    fn name(&mut self, kind: Kind, name: &Template, source: &Arc<Source>) {
        if let Some(written) = name.literal().and_then(Value::as_str) {
            self.note(kind, written, Place::new(source, name.span()));
        }
    }

    fn note(&mut self, kind: Kind, name: &str, place: Place) {
        let is_known = self.open.contains(&kind) || self.made.contains(&(kind, name.to_owned()));
        if !is_known && !name.contains("{{") && !name.is_empty() {
            self.found.push(Named {
                kind,
                name: name.to_owned(),
                place,
            });
        }
    }
}

fn below_version(path: &str) -> &str {
    let path = path.split('?').next().unwrap_or_default();
    path.strip_prefix("/1.0/").unwrap_or(path)
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
