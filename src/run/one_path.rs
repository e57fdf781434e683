//! One path, one include: a resource that one include made, or one item of a looped include, is not made again by
//! another one with another body. They would share it without knowing, and the last one would win.

use std::sync::{Arc, PoisonError};

use serde_json::Value;

use super::action::{ActionError, ActionResult, Attempt};
use super::claims::Made;
use crate::client::Request;
use crate::diagnostic::Diagnostic;
use crate::playbook::plan::{Action, Step};
use crate::resources::Resource;
use crate::source::Span;

/// What a step makes.
struct Wanted {
    resource: Resource,
    body: Value,
    span: Span,
}

impl Attempt<'_, '_> {
    /// Carries out the action, unless another include has made the same with another body.
    pub(super) fn act_for_include(&self, step: &Step) -> Result<ActionResult, ActionError> {
        let Some(include) = &self.frame.include else {
            return self.act(step);
        };
        let Some(wanted) = self.wanted(step)? else {
            return self.act(step);
        };
        let claim = self.run.claims.of(&wanted.resource);
        let mut made = claim.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = &*made
            && !is_within(&before.include, include)
            && !is_within(include, &before.include)
            && before.body != wanted.body
            && self.run.session.tracker.has(&wanted.resource)
        {
            return Err(ActionError::Refused(Box::new(self.clash(&wanted, before))));
        }
        let seen = self.act(step)?;
        let has_made = match &seen.change {
            Some(change) => change.outcome == "created",
            None => seen.error.is_none(),
        };
        if has_made {
            *made = Some(Made {
                include: Arc::clone(include),
                body: wanted.body,
                place: self.frame.plan.place(wanted.span),
                trail: self.frame.trail.clone(),
            });
        }
        Ok(seen)
    }

    /// The resource that a step makes, or would make if it were missing.
    fn wanted(&self, step: &Step) -> Result<Option<Wanted>, ActionError> {
        let renderer = self.renderer();
        let (request, body, span) = match &step.action {
            Action::Ensure(ensure) => {
                let Some(body) = &ensure.body else {
                    return Ok(None);
                };
                let mut request = Request::new("GET", renderer.path(&ensure.path)?);
                for (name, value) in &ensure.query {
                    request = request.query(name, renderer.text(value)?);
                }
                (request, renderer.value(body)?, ensure.path.span())
            }
            Action::Request(action) if action.method == "POST" => {
                let request = self.render_request(action)?;
                let Some(body) = request.json_body().cloned() else {
                    return Ok(None);
                };
                (request, body, action.path.span())
            }
            _ => return Ok(None),
        };
        Ok(
            Resource::named_by(&self.frame.client, &request).map(|resource| Wanted {
                resource,
                body: without_name(body),
                span,
            }),
        )
    }

    fn clash(&self, wanted: &Wanted, before: &Made) -> Diagnostic {
        let here = self.frame.plan.place(wanted.span);
        let mut found = Diagnostic::error(format!(
            "{} {} is another include's, which made it with another body",
            wanted.resource.kind(),
            wanted.resource.name()
        ))
        .at(here.clone(), "");
        if before.place != here {
            found = found.at(before.place.clone(), "made here");
        }
        for around in &before.trail {
            found = found.note(format!("made in {around}"));
        }
        found.help(
            "take `include.id` into its name: each include, and each item of a loop over one, has another",
        )
    }
}

/// Whether an include is that with the id `outer`, or one inside it.
fn is_within(outer: &str, include: &str) -> bool {
    include
        .strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// A body without the name that the path of the resource has too.
fn without_name(mut body: Value) -> Value {
    if let Value::Object(keys) = &mut body {
        keys.remove("name");
    }
    body
}
