//! Whether any known server has all that a playbook uses.

use malleus_api::Servers;
use malleus_source::Place;
use malleus_source::diagnostic::Diagnostic;

use crate::playbook::plan::Plan;

/// A warning where two steps need different servers. What no server has by itself is warned of where it is written.
pub(super) fn judge(plan: &Plan) -> Option<Diagnostic> {
    let mut before: Vec<(Place, Servers)> = Vec::new();
    let mut common = Servers::ALL;
    for (place, servers) in plan.certain() {
        if servers.is_empty() || servers == Servers::ALL {
            continue;
        }
        if common.and(servers).is_empty() {
            let mut warning =
                Diagnostic::warning("no known server has all that this playbook uses")
                    .at(place, has(servers));
            // One that excludes this step's servers by itself; else all of them together do.
            let alone = before
                .iter()
                .position(|(_, other)| other.and(servers).is_empty());
            let others = alone.map_or(&before[..], |alone| &before[alone..=alone]);
            for (place, servers) in others {
                warning = warning.at(place.clone(), has(*servers));
            }
            return Some(warning.help(
                "give steps for one of the two a condition, as `when: server.flavor == \"lxd\"`",
            ));
        }
        common = common.and(servers);
        before.push((place, servers));
    }
    None
}

fn has(servers: Servers) -> String {
    format!("known of {servers}")
}
