//! The playbook language: what was written, whether it holds, what will run. Knows neither HTTP nor threads.

mod check;
pub mod document;
mod endpoints;
mod foreign;
pub mod grammar;
pub mod input;
pub mod plan;
mod schema;
mod templates;
mod title;
mod words;

pub use check::{Checked, check};
pub use document::Document;
pub use input::Given;
pub use plan::Plan;
pub use schema::schema;
pub use title::title;

/// Whether the bytes of a YAML file are those of a playbook, be it a wrong one: it is read, and what is wrong with it
/// is said, instead of being left out in silence.
pub fn is_playbook(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches('\u{feff}');
    let source = malleus_source::Source::new(std::path::Path::new("file"), text);
    let Ok(root) = malleus_source::yaml::parse(&source) else {
        return text.lines().any(|line| {
            let line = line.trim_start_matches(['"', '\'']);
            line.starts_with("playbook")
        });
    };
    let has_action = |step: &malleus_source::yaml::Node| {
        grammar::ACTIONS
            .iter()
            .any(|action| step.get(action.name).is_some())
    };
    let steps = root.get("steps").and_then(|steps| steps.as_list());
    root.get("playbook").is_some()
        || document::misspelt(&root, &grammar::PLAYBOOK, "playbook")
        || steps.is_some_and(|steps| root.get("name").is_some() && steps.iter().any(has_action))
}
