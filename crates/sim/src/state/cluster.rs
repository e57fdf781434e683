//! The members of a cluster, their groups, and what they have each for themselves.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::collection::Place;
use super::{Key, World};

/// How a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Online,
    Evacuated,
}

/// One of the servers.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) config: Map<String, Value>,
    pub(crate) failure_domain: String,
    pub(crate) standing: Standing,
    /// `HOST:PORT`.
    pub(crate) address: String,
    /// The instances that were stopped for its evacuation.
    parked: Vec<Key>,
}

/// Some members under a name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    pub(crate) description: String,
    pub(crate) members: Vec<String>,
}

/// Which resource has settings that differ by member: its kind and its name.
pub(crate) type Shared = (&'static str, String);

/// A cluster; a daemon that is alone has one without members.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    /// As they joined. The first is the one that answers.
    members: Vec<Member>,
    pub(crate) groups: BTreeMap<String, Group>,
    /// What pools and networks are given on one member.
    own: BTreeMap<Shared, BTreeMap<String, Map<String, Value>>>,
}

/// The group of all members.
pub(crate) const DEFAULT: &str = "default";

impl Cluster {
    pub(crate) fn is_alone(&self) -> bool {
        self.members.is_empty()
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// The name of the member that answers; `none` where there is no cluster.
    pub(crate) fn here(&self) -> &str {
        self.members.first().map_or("none", |member| &member.name)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let names = self.members.iter().map(|member| member.name.clone());
        names.collect()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.name == name)
    }

    pub(crate) fn join(&mut self, name: &str, address: String) {
        self.members.push(Member {
            name: name.to_owned(),
            description: String::new(),
            config: Map::new(),
            failure_domain: DEFAULT.to_owned(),
            standing: Standing::Online,
            address,
            parked: Vec::new(),
        });
        let group = self.groups.entry(DEFAULT.to_owned()).or_default();
        "Default cluster group".clone_into(&mut group.description);
        group.members.push(name.to_owned());
    }

    pub(crate) fn leave(&mut self, name: &str) {
        self.members.retain(|member| member.name != name);
        for group in self.groups.values_mut() {
            group.members.retain(|member| member != name);
        }
        for by_member in self.own.values_mut() {
            by_member.remove(name);
        }
    }

    /// A member goes by another name.
    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        if let Some(member) = self.get_mut(from) {
            to.clone_into(&mut member.name);
        }
        let names = self
            .groups
            .values_mut()
            .flat_map(|group| &mut group.members);
        for name in names.filter(|name| *name == from) {
            to.clone_into(name);
        }
        for by_member in self.own.values_mut() {
            if let Some(own) = by_member.remove(from) {
                by_member.insert(to.to_owned(), own);
            }
        }
    }

    /// A member is in these groups and no other.
    pub(crate) fn regroup(&mut self, name: &str, wanted: &[&str]) {
        for (group, there) in &mut self.groups {
            there.members.retain(|member| member != name);
            if wanted.contains(&group.as_str()) {
                there.members.push(name.to_owned());
            }
        }
    }

    /// Notes an instance that is to start again with the member.
    pub(crate) fn park(&mut self, name: &str, instance: Key) {
        if let Some(member) = self.get_mut(name) {
            member.parked.push(instance);
        }
    }

    /// What was noted.
    pub(crate) fn unpark(&mut self, name: &str) -> Vec<Key> {
        let member = self.get_mut(name);
        member.map_or_else(Vec::new, |member| std::mem::take(&mut member.parked))
    }

    /// The groups that a member is in.
    pub(crate) fn groups_of(&self, name: &str) -> Vec<&String> {
        let all = self.groups.iter();
        all.filter(|(_, group)| group.members.iter().any(|member| member == name))
            .map(|(group, _)| group)
            .collect()
    }

    /// What the database is on a member: there are three that vote, two that stand by.
    pub(crate) fn roles(&self, name: &str) -> &'static [&'static str] {
        let at = self.members.iter().position(|member| member.name == name);
        match at {
            Some(0) => &["database-leader", "database"],
            Some(1 | 2) => &["database"],
            Some(3 | 4) => &["database-standby"],
            _ => &[],
        }
    }

    /// What a resource has on each member that it was made on.
    pub(crate) fn own(&mut self, shared: Shared) -> &mut BTreeMap<String, Map<String, Value>> {
        self.own.entry(shared).or_default()
    }

    pub(crate) fn own_on(&self, shared: &Shared, member: &str) -> Option<&Map<String, Value>> {
        self.own.get(shared)?.get(member)
    }

    pub(crate) fn forget(&mut self, shared: &Shared) {
        self.own.remove(shared);
    }
}

impl World {
    /// The member with the fewest instances, of those in a group or of those that take any; not `besides`.
    pub(crate) fn emptiest(&self, group: Option<&Group>, besides: &str) -> Option<&Member> {
        let takes = |member: &&Member| {
            let scheduled = member.config.get("scheduler.instance");
            let wanted = match (scheduled.and_then(Value::as_str), group) {
                (Some("manual"), _) | (Some("group"), None) => false,
                (_, Some(group)) => group.members.contains(&member.name),
                (_, None) => true,
            };
            wanted && member.standing == Standing::Online && member.name != besides
        };
        let held = |member: &&Member| {
            let all = self.instances.values();
            all.filter(|instance| instance.location == member.name)
                .count()
        };
        self.cluster.members().iter().filter(takes).min_by_key(held)
    }

    /// The instances on a member.
    pub(crate) fn on_member(&self, name: &str) -> Vec<Key> {
        let all = self.instances.iter();
        all.filter(|(_, instance)| instance.location == name)
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// All that is in one place is in another one now.
    pub(crate) fn relocate(&mut self, from: &str, to: &str) {
        let instances = self.instances.values_mut();
        for instance in instances.filter(|instance| instance.location == from) {
            to.clone_into(&mut instance.location);
        }
        let volumes: Vec<(Place, String, Value)> = self
            .collections
            .every("volumes")
            .filter(|(_, _, volume)| volume["location"] == from)
            .map(|(place, name, volume)| (place.clone(), name.clone(), volume.clone()))
            .collect();
        for (place, name, mut volume) in volumes {
            volume["location"] = to.into();
            self.collections.put(&place, &name, volume);
        }
    }
}
