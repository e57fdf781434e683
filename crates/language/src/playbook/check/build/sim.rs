//! `sim`: how the simulated daemon behaves.

use crate::playbook::plan::{SimFault, Simulation};
use malleus_core::fault::Rule;
use malleus_source::yaml::{Kind, Node};

use super::{Builder, flag, text};

impl Builder<'_> {
    pub(super) fn sim(&mut self, node: Option<&Node>) -> Simulation {
        let Some(node) = node else {
            return Simulation::default();
        };
        let faults = node.get("faults").and_then(Node::as_list);
        let rules = faults.into_iter().flatten();
        Simulation {
            rules: rules.filter_map(|rule| self.fault(rule)).collect(),
            seed: node.get("seed").and_then(|seed| self.count(seed)),
            virtual_time: flag(node, "virtual_time"),
        }
    }

    fn fault(&mut self, node: &Node) -> Option<SimFault> {
        let nth = node.get("nth").and_then(|nth| self.count(nth));
        let fault = SimFault {
            on: text(node, "on")?,
            nth: nth.and_then(|nth| u32::try_from(nth).ok()),
            fault: text(node, "fault")?,
        };
        if let Err(why) = Rule::new(&fault.on, fault.nth, &fault.fault) {
            self.problem(node.span, why.to_string());
        }
        Some(fault)
    }

    /// A whole number that is not negative; `nth` counts from 1, and no seed is less worth than another.
    fn count(&mut self, node: &Node) -> Option<u64> {
        let Kind::Number(number) = &node.kind else {
            return None;
        };
        let number = number.as_u64();
        if number.is_none() {
            self.problem(node.span, "a number that is not negative is needed here");
        }
        number
    }
}
