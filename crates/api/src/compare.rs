//! What is asked of a resource against what the server shows of it.

use std::fmt;
use std::net::IpAddr;

use serde_json::{Map, Value};

use crate::bodies::{Reading, Schema};
use crate::catalog::Kind;
use crate::path::ApiPath;

/// Keys of `config` that servers and malleus write by themselves: `config: null` leaves them.
const NOT_THE_AUTHORS: [&str; 2] = ["volatile.", "user.malleus."];

/// Lists in which the order means nothing, and servers give their own.
const SETS: [&str; 6] = [
    "permissions",
    "groups",
    "identity_provider_groups",
    "members",
    "addresses",
    "projects",
];

/// Keys for which `auto` has the server choose.
const CHOSEN: [&str; 3] = ["ipv4.address", "ipv6.address", "fan.underlay_subnet"];

/// What of `limits.` is an amount of bytes or bits.
const LIMITS_OF_SIZE: [&str; 8] = [
    "memory",
    "disk",
    "hugepages",
    "read",
    "write",
    "max",
    "ingress",
    "egress",
];

/// A step of the way into a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A key of a mapping.
    Key(String),
    /// An index of a list.
    Index(usize),
}

impl Step {
    fn key(&self) -> Option<&str> {
        match self {
            Self::Key(key) => Some(key),
            Self::Index(_) => None,
        }
    }
}

/// One value that is not as it should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The way to it.
    pub path: Vec<Step>,
    /// What is there; null for nothing.
    pub from: Value,
    /// What should be; null for nothing.
    pub to: Value,
}

impl Difference {
    /// That of one key in an object of the body.
    pub fn of_key(object: &str, key: &str, to: impl Into<Value>) -> Self {
        Self {
            path: vec![Step::Key(object.into()), Step::Key(key.into())],
            from: Value::Null,
            to: to.into(),
        }
    }

    /// The key of the body that it is in.
    pub(crate) fn first(&self) -> &str {
        self.path.first().and_then(Step::key).unwrap_or_default()
    }

    /// `config.limits.memory`, `ingress[0].source`.
    pub fn place(&self) -> String {
        let mut text = String::new();
        for step in &self.path {
            match step {
                Step::Key(key) if text.is_empty() => text.push_str(key),
                Step::Key(key) => {
                    text.push('.');
                    text.push_str(key);
                }
                Step::Index(index) => {
                    text.push('[');
                    text.push_str(&index.to_string());
                    text.push(']');
                }
            }
        }
        text
    }
}

/// Where `live` is not what `body` asks of the resource with this path. Keys that the body does not name are not looked
/// at, except in the items of lists: there, what is not named should not be.
pub fn differences(path: &ApiPath, body: &Value, live: &Value) -> Vec<Difference> {
    let Value::Object(wanted) = body else {
        return Vec::new();
    };
    let schema = Schema::of_resource(&path.to_string());
    let change = Schema::of_request("PUT", &path.to_string());
    let mut walk = Walk {
        schema: &schema,
        live,
        path: Vec::new(),
        found: Vec::new(),
    };
    for (key, value) in wanted {
        let is = live.get(key);
        let is_of_creation = is.is_none() && schema.has_key(key) && !change.has_key(key);
        if is_of_creation || is_its_name(path, key, value) {
            continue;
        }
        walk.at(Step::Key(key.clone()), |walk| walk.value(value, is));
    }
    walk.found
}

/// Whether a key repeats the name that the path has.
fn is_its_name(path: &ApiPath, key: &str, value: &Value) -> bool {
    path.kind().map_or(Some("name"), Kind::name_key) == Some(key) && value == path.name()
}

struct Walk<'a> {
    schema: &'a Schema,
    /// The whole resource.
    live: &'a Value,
    path: Vec<Step>,
    found: Vec<Difference>,
}

impl Walk<'_> {
    fn at(&mut self, step: Step, look: impl FnOnce(&mut Self)) {
        self.path.push(step);
        look(self);
        self.path.pop();
    }

    fn differs(&mut self, wanted: &Value, live: Option<&Value>) {
        self.found.push(Difference {
            path: self.path.clone(),
            from: live.cloned().unwrap_or_default(),
            to: wanted.clone(),
        });
    }

    fn value(&mut self, wanted: &Value, live: Option<&Value>) {
        let nothing = Map::new();
        match (wanted, live) {
            (Value::Object(wanted), Some(Value::Object(live))) => self.map(wanted, live),
            (Value::Object(wanted), None | Some(Value::Null)) => self.map(wanted, &nothing),
            (Value::Null, Some(Value::Object(live))) if self.path.len() == 1 => {
                let own = live
                    .keys()
                    .filter(|key| !NOT_THE_AUTHORS.iter().any(|other| key.starts_with(other)));
                for key in own {
                    self.at(Step::Key(key.clone()), |walk| {
                        walk.value(&Value::Null, live.get(key));
                    });
                }
            }
            (Value::Array(wanted), Some(Value::Array(live))) => self.list(wanted, live),
            (wanted, live) if self.is_same(wanted, live) => {}
            (wanted, live) => self.differs(wanted, live),
        }
    }

    fn map(&mut self, wanted: &Map<String, Value>, live: &Map<String, Value>) {
        for (key, value) in wanted {
            self.at(Step::Key(key.clone()), |walk| {
                walk.value(value, live.get(key));
            });
        }
    }

    fn list(&mut self, wanted: &[Value], live: &[Value]) {
        let is_set = self
            .path
            .last()
            .and_then(Step::key)
            .is_some_and(|key| SETS.contains(&key));
        if is_set && self.are_same_sets(wanted, live) {
            return;
        }
        if !wanted.iter().chain(live).any(Value::is_object) {
            let is_same = wanted.len() == live.len()
                && wanted
                    .iter()
                    .zip(live)
                    .all(|(one, other)| self.is_same(one, Some(other)));
            if !is_same {
                self.differs(&wanted.into(), Some(&live.into()));
            }
            return;
        }
        for index in 0..wanted.len().max(live.len()) {
            self.at(Step::Index(index), |walk| {
                match (wanted.get(index), live.get(index)) {
                    (Some(wanted), Some(live)) => walk.item(wanted, live),
                    (wanted, live) => walk.differs(wanted.unwrap_or(&Value::Null), live),
                }
            });
        }
    }

    /// An item of a list: a key that it does not name should not be.
    fn item(&mut self, wanted: &Value, live: &Value) {
        let (Value::Object(wanted), Value::Object(live)) = (wanted, live) else {
            return self.value(wanted, Some(live));
        };
        let unnamed = live.keys().filter(|key| !wanted.contains_key(*key));
        for key in wanted.keys().chain(unnamed) {
            let (wanted, live) = (wanted.get(key), live.get(key));
            if is_nothing(wanted) && is_nothing(live) {
                continue;
            }
            self.at(Step::Key(key.clone()), |walk| {
                walk.value(wanted.unwrap_or(&Value::Null), live);
            });
        }
    }

    fn are_same_sets(&self, wanted: &[Value], live: &[Value]) -> bool {
        let mut rest: Vec<&Value> = live.iter().collect();
        let all = wanted.iter().all(|one| {
            let fits = |other: &&Value| {
                let mut walk = Walk {
                    schema: self.schema,
                    live: self.live,
                    path: self.path.clone(),
                    found: Vec::new(),
                };
                walk.path.push(Step::Index(0));
                walk.item(one, other);
                walk.found.is_empty()
            };
            let at = rest.iter().position(fits);
            at.map(|at| rest.swap_remove(at)).is_some()
        });
        all && rest.is_empty()
    }

    /// Whether a value is what was asked for, given what servers make of values.
    fn is_same(&self, wanted: &Value, live: Option<&Value>) -> bool {
        match (wanted, live) {
            (Value::Null, None | Some(Value::Null)) => true,
            (Value::Null, Some(live)) => is_empty(live),
            (wanted, None | Some(Value::Null)) => is_empty(wanted),
            (Value::String(wanted), Some(Value::String(live))) => self.is_same_text(wanted, live),
            (wanted, Some(live)) => wanted == live,
        }
    }

    fn is_same_text(&self, wanted: &str, live: &str) -> bool {
        if wanted == live {
            return true;
        }
        let place: Vec<String> = self.path.iter().map(Step::to_string).collect();
        let key = self.path.iter().rev().find_map(Step::key);
        let key = key.unwrap_or_default();
        match self.schema.reading(&place) {
            Reading::Verbatim => false,
            Reading::Boolean => truth(wanted).is_some() && truth(wanted) == truth(live),
            Reading::Setting => {
                let is_in_list = self.path.iter().any(|step| matches!(step, Step::Index(_)));
                is_same_setting(key, wanted, live)
                    || (is_in_list && is_same_by_parts(key, wanted, live))
                    || (wanted == "auto" && self.is_chosen(key) && !matches!(live, "" | "none"))
                    || (key == "source" && self.is_first_source(wanted))
            }
        }
    }

    /// Whether the server has put an address in the place of `auto`.
    fn is_chosen(&self, key: &str) -> bool {
        self.path.len() == 2 && self.live["managed"] == true && CHOSEN.contains(&key)
    }

    /// A storage pool shows where it is now, as the identifier of a disk, and keeps what it was made with.
    fn is_first_source(&self, wanted: &str) -> bool {
        self.live["config"]["volatile.initial_source"] == wanted
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => f.write_str(key),
            Self::Index(index) => write!(f, "{index}"),
        }
    }
}

/// Whether a value stands for nothing, as the API leaves out what is empty.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty() || text.starts_with("0001-01-01T00:00:00"),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The same in the items of lists, where servers show the zero of what was not said.
fn is_nothing(value: Option<&Value>) -> bool {
    value.is_none_or(|value| is_empty(value) || *value == false || *value == 0)
}

fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// Whether two texts of a setting mean the same.
fn is_same_setting(key: &str, wanted: &str, live: &str) -> bool {
    let both = |(one, other): (Option<u128>, Option<u128>)| one.is_some() && one == other;
    if key == "certificate" {
        return body_of_pem(wanted) == body_of_pem(live);
    }
    if key.ends_with("hwaddr") {
        return wanted.eq_ignore_ascii_case(live);
    }
    if key.ends_with("_at") {
        return instant(wanted).is_some() && instant(wanted) == instant(live);
    }
    (is_size(key) && both((size(wanted), size(live))))
        || (address(wanted).is_some() && address(wanted) == address(live))
}

/// Whether two lists in texts, separated by commas, have the same parts.
fn is_same_by_parts(key: &str, wanted: &str, live: &str) -> bool {
    let parts = |text: &str| -> Vec<String> {
        text.split(',').map(|part| part.trim().to_owned()).collect()
    };
    let (wanted, live) = (parts(wanted), parts(live));
    wanted.len() == live.len()
        && wanted
            .iter()
            .zip(&live)
            .all(|(one, other)| one == other || is_same_setting(key, one, other))
}

/// Whether the text of a setting is an amount of bytes or bits.
fn is_size(key: &str) -> bool {
    let limit = key.strip_prefix("limits.").unwrap_or_default();
    let of = limit.split('.').next().unwrap_or_default();
    LIMITS_OF_SIZE.contains(&of)
        || key
            .split(['.', '_'])
            .any(|word| word == "size" || word == "blocksize")
}

/// An amount with its unit, as servers read it.
fn size(text: &str) -> Option<u128> {
    const UNITS: [&str; 6] = ["k", "m", "g", "t", "p", "e"];
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u128 = number.parse().ok()?;
    let unit = unit.to_ascii_lowercase();
    let binary = unit
        .strip_suffix("ibit")
        .or_else(|| unit.strip_suffix("ib"));
    let decimal = unit.strip_suffix("bit").or_else(|| unit.strip_suffix('b'));
    let base: u128 = if binary.is_some() { 1024 } else { 1000 };
    let unit = binary.or(decimal).unwrap_or(&unit);
    if unit.is_empty() {
        return Some(number);
    }
    let power = UNITS.iter().position(|known| *known == unit)? + 1;
    number.checked_mul(base.checked_pow(u32::try_from(power).ok()?)?)
}

/// An address, with the length of its prefix where it has one.
fn address(text: &str) -> Option<(IpAddr, Option<u8>)> {
    match text.split_once('/') {
        Some((address, prefix)) => Some((address.parse().ok()?, Some(prefix.parse().ok()?))),
        None => Some((text.parse().ok()?, None)),
    }
}

fn body_of_pem(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with("-----"));
    lines.flat_map(str::split_whitespace).collect()
}

/// The seconds from some day on of a time in RFC 3339, by UTC.
fn instant(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let at = time.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = time.split_at(at);
    let seconds = |text: &str| -> Option<i64> {
        let mut total = 0;
        for (part, worth) in text.split(':').zip([3600, 60, 1]) {
            let whole = part.split('.').next()?;
            total += whole.parse::<i64>().ok()? * worth;
        }
        Some(total)
    };
    let ahead = match zone.split_at(1) {
        ("+", offset) => seconds(offset)?,
        ("-", offset) => -seconds(offset)?,
        _ => 0,
    };
    // Years begin in March, so that a leap day is the last one.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * month + 2) / 5
        + day;
    Some(days * 86_400 + seconds(clock)? - ahead)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn places(path: &str, body: &Value, live: &Value) -> Vec<String> {
        let path = ApiPath::parse(path).expect("a path");
        let found = differences(&path, body, live);
        found.iter().map(Difference::place).collect()
    }

    #[test]
    fn keys_that_are_not_named_are_not_compared() {
        let live = json!({
            "name": "x", "description": "web", "profiles": ["default"], "type": "container",
            "config": {"limits.memory": "64MiB", "security.nesting": "true", "volatile.x": "1"},
            "devices": {"root": {"type": "disk", "pool": "default", "path": "/"}},
        });
        for (body, expected) in [
            (json!({}), vec![]),
            (
                json!({"name": "x", "description": "web", "source": {"type": "image"}}),
                vec![],
            ),
            (
                json!({"config": {"security.nesting": "yes", "gone": null, "empty": ""}}),
                vec![],
            ),
            (
                json!({"devices": {"gone": null, "root": {"gone": null}}}),
                vec![],
            ),
            (
                json!({"config": {"limits.memory": "128MiB", "user.x": "1"}}),
                vec!["config.limits.memory", "config.user.x"],
            ),
            (
                json!({"config": null}),
                vec!["config.limits.memory", "config.security.nesting"],
            ),
            (json!({"profiles": ["default", "web"]}), vec!["profiles"]),
            (
                json!({"devices": {"root": {"size": "1GiB"}}}),
                vec!["devices.root.size"],
            ),
            (json!({"devices": {"root": null}}), vec!["devices.root"]),
            (json!({"devices": null}), vec!["devices.root"]),
            (
                json!({"name": "y", "type": "virtual-machine"}),
                vec!["name", "type"],
            ),
            (
                json!({"confg": {"limits.memory": "1GiB"}}),
                vec!["confg.limits.memory"],
            ),
            (json!({"restore": "s0"}), vec!["restore"]),
        ] {
            assert_eq!(places("instances/x", &body, &live), expected, "{body}");
        }
    }

    #[test]
    fn in_items_of_lists_what_is_not_named_should_not_be() {
        let live = json!({"ingress": [
            {"action": "drop", "source": "10.0.0.0/8,fd42::/64", "state": "enabled", "description": ""},
            {"action": "allow", "destination_port": "22,80-90", "state": "enabled"},
        ]});
        let rules = |one: Value, other: Value| json!({"ingress": [one, other]});
        let other = json!({"action": "allow", "destination_port": "22, 80-90", "state": "enabled"});
        for (body, expected) in [
            (
                rules(
                    json!({"action": "drop", "source": "10.0.0.0/8, FD42:0::/64", "state": "enabled"}),
                    other.clone(),
                ),
                vec![],
            ),
            (
                rules(json!({"action": "drop", "state": "enabled"}), other.clone()),
                vec!["ingress[0].source"],
            ),
            (
                rules(
                    json!({"action": "drop", "source": "10.0.0.0/8", "stat": "enabled"}),
                    other.clone(),
                ),
                vec!["ingress[0].source", "ingress[0].stat", "ingress[0].state"],
            ),
            (json!({"ingress": [live["ingress"][0]]}), vec!["ingress[1]"]),
            (json!({"ingress": null}), vec!["ingress"]),
        ] {
            assert_eq!(places("network-acls/x", &body, &live), expected, "{body}");
        }
        let group = json!({"permissions": [{"entity_type": "a", "url": "/"}, {"entity_type": "b", "url": "/"}]});
        let turned = json!({"permissions": [{"entity_type": "b", "url": "/"}, {"entity_type": "a", "url": "/"}]});
        assert_eq!(places("auth/groups/g", &turned, &group), [""; 0]);
    }

    #[test]
    fn texts_of_the_author_are_compared_as_they_are() {
        for (key, wanted, live, is_same) in [
            ("user.tier", "auto", "web", false),
            ("user.size", "1GiB", "1024MiB", false),
            ("environment.FEATURE", "on", "true", false),
            ("environment.HOST", "::1", "0::1", false),
            ("cloud-init.user-data", "yes", "true", false),
            ("no.such.key", "yes", "true", false),
            ("security.nesting", "on", "true", true),
            ("security.nesting", "no", "true", false),
            ("limits.memory", "1GiB", "1024MiB", true),
            ("limits.memory", "1GB", "1GiB", false),
            ("limits.memory", "50%", "50%", true),
            ("limits.cpu", "1", "01", false),
        ] {
            let body = json!({"config": {key: wanted}});
            let live = json!({"description": "no", "config": {key: live}});
            let found = places("instances/x", &body, &live);
            assert_eq!(found.is_empty(), is_same, "{body} {live}");
        }
        let live = json!({"description": "no", "managed": true, "config": {
            "ipv4.address": "10.1.2.1/24", "ipv6.address": "fd42:0:0::1/64", "bridge.hwaddr": "aa:bb:cc:00:11:22",
        }});
        for (body, is_same) in [
            (json!({"description": "false"}), false),
            (json!({"config": {"ipv4.address": "auto"}}), true),
            (json!({"config": {"ipv4.nat": "auto"}}), false),
            (json!({"config": {"ipv6.address": "FD42::1/64"}}), true),
            (json!({"config": {"ipv6.address": "FD42::1/65"}}), false),
            (
                json!({"config": {"bridge.hwaddr": "AA:BB:CC:00:11:22"}}),
                true,
            ),
        ] {
            let found = places("networks/x", &body, &live);
            assert_eq!(found.is_empty(), is_same, "{body}");
        }
    }

    #[test]
    fn times_are_the_same_in_every_zone() {
        let live = json!({"expires_at": "2030-03-01T00:30:00Z"});
        for (wanted, is_same) in [
            ("2030-03-01T01:30:00+01:00", true),
            ("2030-02-28T23:00:00-01:30", true),
            ("2030-03-01T01:30:00Z", false),
            ("soon", false),
        ] {
            let found = places(
                "instances/x/snapshots/s",
                &json!({"expires_at": wanted}),
                &live,
            );
            assert_eq!(found.is_empty(), is_same, "{wanted}");
        }
        let never = json!({"expires_at": "0001-01-01T00:00:00Z"});
        assert_eq!(
            places(
                "instances/x/snapshots/s",
                &json!({"expires_at": null}),
                &never
            ),
            [""; 0]
        );
    }
}
