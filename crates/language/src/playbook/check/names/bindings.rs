//! Where names are bound.

use std::collections::HashMap;

use indexmap::IndexSet;

use crate::playbook::plan::{Action, Name, Plan, Step};
use malleus_source::Span;

/// Every name that is bound somewhere, with its places.
pub(super) fn all_bindings(plan: &Plan) -> HashMap<String, Vec<Span>> {
    let mut names = HashMap::new();
    let mut note = |name: &Name| {
        names
            .entry(name.text.clone())
            .or_insert_with(Vec::new)
            .push(name.span);
    };
    plan.inputs.iter().for_each(|input| note(&input.name));
    plan.vars.iter().for_each(|var| note(&var.name));
    visit(plan.steps.iter().chain(&plan.finally), &mut |step| {
        bound_by(step, &mut note);
        step.item.iter().for_each(&mut note);
    });
    names
}

/// What a step itself binds.
fn bound_by<'a>(step: &'a Step, note: &mut dyn FnMut(&'a Name)) {
    step.id.iter().for_each(&mut *note);
    step.capture.iter().for_each(|capture| note(&capture.name));
    if let Action::Set(bindings) = &step.action {
        for binding in bindings {
            note(&binding.name);
        }
    }
}

/// Where steps that run side by side bind names that later steps see.
pub(super) fn bindings_beside(steps: &[Step]) -> Vec<Span> {
    let mut spans = Vec::new();
    for step in steps {
        bound_by(step, &mut |name| spans.push(name.span));
        if let Action::Parallel(parallel) = &step.action {
            spans.extend(bindings_beside(&parallel.steps));
        }
    }
    spans
}

/// Whether a playbook that this one includes binds a name.
pub(super) fn is_bound_in_include(plan: &Plan, name: &str) -> bool {
    let mut found = false;
    visit(plan.steps.iter().chain(&plan.finally), &mut |step| {
        if let Action::Include(include) = &step.action {
            found = found || all_bindings(&include.plan).contains_key(name);
        }
    });
    found
}

pub(super) fn background_ids(steps: &[Step]) -> IndexSet<&str> {
    let mut ids = IndexSet::new();
    visit(steps.iter(), &mut |step| {
        if let (Action::Request(request), Some(id)) = (&step.action, &step.id)
            && request.waiting == crate::playbook::plan::Waiting::Later
        {
            ids.insert(id.text.as_str());
        }
    });
    ids
}

/// Visits steps, those inside them included.
fn visit<'a>(steps: impl Iterator<Item = &'a Step>, seen: &mut dyn FnMut(&'a Step)) {
    for step in steps {
        seen(step);
        visit(step.cleanup.iter(), seen);
        match &step.action {
            Action::Steps(group) => visit(group.steps.iter().chain(&group.finally), seen),
            Action::Parallel(parallel) => visit(parallel.steps.iter(), seen),
            _ => {}
        }
    }
}
