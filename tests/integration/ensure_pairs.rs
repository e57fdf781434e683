//! `ensure` of random bodies on resources in random states: what is called unchanged is as it was and as it should be, what
//! is called changed is as it should be, and everything else fails.

use fastrand::Rng;
use serde_json::{Map, Value, json};

use crate::support::ground::{Ground, on_both};

/// How many bodies each kind of resource gets. Each but the first meets the state that those before have left.
const PAIRS: usize = 100;

/// A place of a body and what it can be.
struct Place {
    keys: &'static [&'static str],
    /// Spellings of one value each.
    values: Vec<Vec<Value>>,
    /// Whether servers ignore it.
    is_ignored: bool,
}

/// What one body asks for at one place: one of the values in one spelling, or nothing.
#[derive(Clone)]
struct Choice {
    place: usize,
    value: Option<usize>,
}

struct Kind {
    path: &'static str,
    /// Steps before the first one.
    before: Value,
    /// What each body has.
    base: Value,
    places: Vec<Place>,
}

fn place(keys: &'static [&'static str], values: &Value) -> Place {
    let values = values.as_array().expect("a list").iter();
    Place {
        keys,
        values: values
            .map(|value| value.as_array().expect("spellings").clone())
            .collect(),
        is_ignored: false,
    }
}

fn text(keys: &'static [&'static str]) -> Place {
    let words = [
        "a", "auto", "yes", "true", "on", "1", "no", "false", "1GiB", "1024MiB", "::1", "0::1",
    ];
    let values: Value = words.iter().map(|word| json!([word])).collect();
    place(keys, &values)
}

fn ignored(keys: &'static [&'static str]) -> Place {
    Place {
        is_ignored: true,
        ..place(keys, &json!([["64MiB"]]))
    }
}

fn truth(keys: &'static [&'static str]) -> Place {
    place(
        keys,
        &json!([["true", "yes", "on", "1"], ["false", "no", "off", "0"]]),
    )
}

fn of_instance() -> Vec<Place> {
    vec![
        text(&["description"]),
        text(&["config", "user.a"]),
        text(&["config", "environment.A"]),
        truth(&["config", "security.nesting"]),
        place(
            &["config", "limits.memory"],
            &json!([["64MiB", "65536KiB"], ["128MiB"], ["64MB"]]),
        ),
        place(&["devices", "d0"], &json!([[{"type": "none"}]])),
        place(
            &["devices", "d1"],
            &json!([
                [{"type": "disk", "source": "/tmp", "path": "/d1"}],
                [{"type": "disk", "source": "/tmp", "path": "/d2"}],
            ]),
        ),
        ignored(&["confg", "limits.memory"]),
        ignored(&["descripton"]),
    ]
}

fn kinds() -> Vec<Kind> {
    let mut kinds = instances_and_rules();
    kinds.extend(networks_and_storage());
    kinds
}

fn instances_and_rules() -> Vec<Kind> {
    let rule = |destination_port: &str, source: Option<&str>| {
        let mut rule = json!({"action": "drop", "protocol": "tcp", "destination_port": destination_port, "state": "enabled"});
        if let Some(source) = source {
            rule["source"] = source.into();
        }
        json!([rule])
    };
    vec![
        Kind {
            path: "profiles/pairs",
            before: json!([]),
            base: json!({}),
            places: of_instance(),
        },
        Kind {
            path: "instances/pairs",
            before: json!([]),
            base: json!({"source": {"type": "image", "alias": "busybox"}}),
            places: of_instance(),
        },
        Kind {
            path: "projects/pairs",
            before: json!([]),
            base: json!({}),
            places: vec![
                text(&["description"]),
                text(&["config", "user.a"]),
                truth(&["config", "features.images"]),
                place(&["config", "limits.instances"], &json!([["5"], ["6"]])),
                ignored(&["confg", "user.a"]),
            ],
        },
        Kind {
            path: "network-acls/pairs",
            before: json!([]),
            base: json!({}),
            places: vec![
                text(&["description"]),
                text(&["config", "user.a"]),
                place(
                    &["ingress"],
                    &json!([
                        [rule("22,80-90", None), rule("22, 80-90", None)],
                        [
                            rule("22,80-90", Some("10.0.0.0/8")),
                            rule("22, 80-90", Some("10.0.0.0/8"))
                        ],
                        [
                            rule("22", Some("10.0.0.0/8,192.168.0.0/16")),
                            rule("22", Some("10.0.0.0/8, 192.168.0.0/16")),
                        ],
                    ]),
                ),
                ignored(&["inress"]),
            ],
        },
    ]
}

fn networks_and_storage() -> Vec<Kind> {
    let zone = json!([{"ensure": "network-zones/pairs.example", "body": {"config": {"dns.nameservers": "ns1.example"}}}]);
    vec![
        Kind {
            path: "network-zones/pairs.example/records/www",
            before: zone,
            base: json!({}),
            places: vec![
                text(&["description"]),
                text(&["config", "user.a"]),
                place(
                    &["entries"],
                    &json!([
                        [[{"type": "A", "ttl": 60, "value": "10.0.0.1"}]],
                        [[{"type": "A", "ttl": 60, "value": "10.0.0.2"}]],
                        [[{"type": "A", "ttl": 60, "value": "10.0.0.1"}, {"type": "TXT", "ttl": 60, "value": "yes"}]],
                    ]),
                ),
            ],
        },
        Kind {
            path: "storage-pools/default/volumes/custom/pairs",
            before: json!([]),
            base: json!({}),
            places: vec![
                text(&["description"]),
                text(&["config", "user.a"]),
                truth(&["config", "security.shifted"]),
                place(&["config", "snapshots.expiry"], &json!([["1d"], ["2d"]])),
                ignored(&["confg", "size"]),
            ],
        },
        Kind {
            path: "networks/pairs",
            before: json!([]),
            base: json!({"type": "bridge", "config": {"ipv4.address": "10.87.7.1/24", "ipv6.address": "none"}}),
            places: vec![
                text(&["description"]),
                text(&["config", "user.a"]),
                truth(&["config", "ipv4.nat"]),
                place(
                    &["config", "dns.domain"],
                    &json!([["a.example"], ["b.example"]]),
                ),
                place(
                    &["config", "bridge.hwaddr"],
                    &json!([
                        ["00:16:3e:aa:bb:cc", "00:16:3E:AA:BB:CC"],
                        ["00:16:3e:aa:bb:cd"]
                    ]),
                ),
                ignored(&["confg", "user.a"]),
            ],
        },
    ]
}

impl Kind {
    fn choices(&self, rng: &mut Rng) -> Vec<Choice> {
        let mut places: Vec<usize> = (0..self.places.len()).collect();
        rng.shuffle(&mut places);
        places.truncate(rng.usize(1..=3));
        let choice = |place: usize| {
            let own = &self.places[place];
            let is_nothing = !own.is_ignored && rng.u8(..4) == 0;
            Choice {
                place,
                value: (!is_nothing).then(|| rng.usize(..own.values.len())),
            }
        };
        // What servers ignore fails each body that has it.
        let is_wanted = |place: &usize| !self.places[*place].is_ignored || place.is_multiple_of(4);
        places.retain(is_wanted);
        if places.is_empty() {
            places.push(0);
        }
        places.into_iter().map(choice).collect()
    }

    fn body(&self, choices: &[Choice], rng: &mut Rng) -> Value {
        let mut body = self.base.clone();
        for choice in choices {
            let own = &self.places[choice.place];
            let value = choice.value.map_or(Value::Null, |value| {
                let spellings = &own.values[value];
                spellings[rng.usize(..spellings.len())].clone()
            });
            let mut at = &mut body;
            for key in own.keys {
                at = &mut at[*key];
            }
            *at = value;
        }
        body
    }

    /// Whether a resource is as some choices ask for.
    fn is(&self, choices: &[Choice], live: &Value) -> bool {
        choices.iter().all(|choice| {
            let own = &self.places[choice.place];
            let there = own.keys.iter().fold(live, |at, key| &at[*key]);
            match choice.value {
                None => matches!(without_zeros(there), Value::Null),
                Some(value) => own.values[value]
                    .iter()
                    .any(|spelling| without_zeros(spelling) == without_zeros(there)),
            }
        })
    }

    fn has_ignored(&self, choices: &[Choice]) -> bool {
        choices
            .iter()
            .any(|choice| self.places[choice.place].is_ignored)
    }
}

/// A value without what servers add to show that nothing was said; null where nothing is left.
fn without_zeros(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let all = map.iter().map(|(key, value)| (key, without_zeros(value)));
            let rest: Map<String, Value> = all
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key.clone(), value))
                .collect();
            if rest.is_empty() {
                Value::Null
            } else {
                rest.into()
            }
        }
        Value::Array(items) if items.is_empty() => Value::Null,
        Value::Array(items) => items.iter().map(without_zeros).collect(),
        Value::String(text) if text.is_empty() => Value::Null,
        other => other.clone(),
    }
}

/// A resource without what changes by itself.
fn at_rest(live: &Value) -> Value {
    let mut live = live.clone();
    if let Some(config) = live["config"].as_object_mut() {
        config.retain(|key, _| !key.starts_with("volatile."));
    }
    live
}

#[test]
#[ignore = "takes minutes: cargo test --test integration -- --ignored ensure_pairs"]
fn ensure_tells_the_truth_of_random_bodies() {
    on_both(|generation| {
        let ground = Ground::new(generation);
        for kind in kinds() {
            on_one(&ground, &kind);
        }
    });
}

fn on_one(ground: &Ground, kind: &Kind) {
    let mut rng = Rng::with_seed(7);
    let mut wanted: Vec<Vec<Choice>> = Vec::new();
    let mut steps = kind.before.as_array().expect("steps").clone();
    let mut outputs = Map::new();
    steps.push(json!({"ensure": kind.path, "body": kind.base}));
    steps.push(json!({"id": "first", "request": format!("GET {}", kind.path)}));
    let mut bodies = Vec::new();
    for at in 0..PAIRS {
        let choices = match wanted.last() {
            // The same once more, perhaps in other spellings.
            Some(last) if at % 3 == 2 => last.clone(),
            _ => kind.choices(&mut rng),
        };
        let body = kind.body(&choices, &mut rng);
        steps.push(json!({
            "id": format!("w{at}"), "ensure": kind.path, "body": body, "on_error": "continue",
        }));
        steps.push(json!({"id": format!("g{at}"), "request": format!("GET {}", kind.path)}));
        let seen = format!("[w{at}.failed, w{at}.outcome, w{at}.error, g{at}.metadata]");
        outputs.insert(format!("r{at}"), format!("{{{{ {seen} }}}}").into());
        bodies.push(body);
        wanted.push(choices);
    }
    outputs.insert("before".into(), "{{ first.metadata }}".into());
    let playbook = json!({"playbook": 1, "name": "pairs", "steps": steps, "outputs": outputs});
    ground.write("pairs.yaml", &playbook.to_string());
    let ran = ground.malleus(&["run", "pairs.yaml", "--out", "json"]);
    let daemon = ground.daemon.generation;
    assert_eq!(
        ran.code(),
        Some(0),
        "{daemon} {}: {}",
        kind.path,
        ran.stderr()
    );
    let told: Value = serde_json::from_str(&ran.stdout()).expect("outputs");

    let mut before = told["before"].clone();
    let (mut unchanged, mut changed, mut has_held) = (0, 0, false);
    for (at, choices) in wanted.iter().enumerate() {
        let told = &told[format!("r{at}")];
        let (failed, outcome, error, after) = (&told[0], &told[1], &told[2], &told[3]);
        let what = format!(
            "{daemon} {} {at}: {outcome} {error}\nbody {}\nbefore {before}\nafter {after}",
            kind.path, bodies[at]
        );
        let is = kind.is(choices, after);
        if *failed == false {
            assert!(
                is && !kind.has_ignored(choices),
                "it is not as it should be: {what}"
            );
        } else {
            assert!(
                !is || !error
                    .as_str()
                    .is_some_and(|words| words.contains("did not take")),
                "it did take it: {what}"
            );
        }
        match outcome.as_str() {
            Some("unchanged") => {
                unchanged += 1;
                assert_eq!(at_rest(after), at_rest(&before), "it has changed: {what}");
            }
            Some("changed") => changed += 1,
            _ => {}
        }
        if at % 3 == 2 && has_held {
            assert_eq!(outcome, "unchanged", "the same once more: {what}");
        }
        has_held = *failed == false;
        before = after.clone();
    }
    assert!(
        unchanged >= PAIRS / 4 && changed >= PAIRS / 4,
        "{unchanged} unchanged, {changed} changed"
    );
}
