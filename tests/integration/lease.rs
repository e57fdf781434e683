//! A lease is renewed as long as its run lives, whatever becomes of what bears it.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::support::ground::{Ground, on_both};
use crate::support::scripted::{Answer, Scripted, error, sync};
use malleus::client::{Client, Remote};
use malleus::events::{Event, Sink};
use malleus::playbook::check;
use malleus::resources::Tracker;
use malleus::run::{CleanupPolicies, CleanupPolicy, RunOutputs, Session, Verdict, new_id, run};
use malleus::secret::Masker;
use malleus::source::Source;
use malleus::template::Engine;
use serde_json::json;

/// Tells nobody.
struct Silent;

impl Sink for Silent {
    fn event(&self, _: Event) {}
}

#[test]
fn a_lease_is_renewed_also_where_its_bearer_goes() {
    const LONG: &str = r#"
playbook: 1
name: long
lease: 1h
vars: {id: "{{ run.id }}"}
steps:
  - request: POST profiles
    body: {name: "p-{{ id }}"}
  - request: POST storage-pools/default/volumes/custom
    body: {name: "v-{{ id }}"}
  - request: GET profiles/p-{{ id }}
    capture: {at_first: metadata.config}
  - exec: {instance: shared, command: [sleep, "4.5"]}
  - request: GET storage-pools/default/volumes/custom/v-{{ id }}
    capture: {on_volume: metadata.config}
  - request: GET profiles/p-{{ id }}
    capture: {still: metadata.config}
  - request: DELETE storage-pools/default/volumes/custom/v-{{ id }}
  - exec: {instance: shared, command: [sleep, "4.5"]}
  - request: GET profiles/p-{{ id }}
    capture: {on_profile: metadata.config}
outputs:
  first: "{{ at_first['user.malleus.expires'] }}"
  volume: "{{ on_volume['user.malleus.expires'] }}"
  still: "{{ still['user.malleus.expires'] }}"
  profile: "{{ on_profile['user.malleus.expires'] }}"
"#;
    on_both(|flavor| {
        let ground = Ground::new(flavor);
        let engine = Engine::new();
        let source = Source::new(Path::new("long.yaml"), LONG);
        let mut plan = check(&source, &engine).plan.expect("a plan");
        plan.lease = Some(Duration::from_secs(6));
        let tracker = Tracker::default();
        let outputs = std::sync::Mutex::new(None);
        let session = Session {
            client: ground.client.clone(),
            remotes: &|name| Client::connect(&Remote::parse(name)?),
            inputs: indexmap::IndexMap::new(),
            environment: &|_| None,
            engine: &engine,
            masker: &Masker::default(),
            id: new_id(),
            started: SystemTime::now(),
            width: 2,
            tracker: &tracker,
            cleanup_policies: CleanupPolicies::always(CleanupPolicy::Everything),
            prune: true,
            cleanup: Duration::from_secs(60),
            before_cleanup: Some(&|given: &RunOutputs<'_>| {
                *outputs.lock().expect("no panic") = Some(given.outputs.clone());
                Verdict::Fine
            }),
            on_failure: None,
        };
        let summary = run(&plan, &session, &Silent);
        assert_eq!(
            (summary.failed, summary.left.len()),
            (0, 0),
            "{flavor}: {summary:?}"
        );
        let outputs = outputs.into_inner().expect("no panic").expect("outputs");
        let at = |name: &str| outputs[name].as_str().expect("a time").to_owned();
        assert!(at("volume") > at("first"), "{flavor}: {outputs:?}");
        assert_eq!(at("still"), at("first"), "one bears it: {outputs:?}");
        assert!(at("profile") > at("volume"), "{flavor}: {outputs:?}");
        assert_eq!(ground.is_clean(), Ok(()), "{flavor}");
    });
}

#[test]
fn a_renewal_that_fails_does_not_break_the_run() {
    let text = "playbook: 1\nname: refused\nlease: 1h\nsteps:\n  - request: POST profiles\n    body: {name: p}\n  - request: GET slow\n  - request: GET slow\n";
    let none = error(404, 404, "not found");
    let refused = error(500, 500, "no");
    let slow = Answer::Slow(Duration::from_secs(2), Box::new(sync(&json!({}))));
    let id = new_id();
    let marked = json!({"name": "p", "config": {"user.malleus.run": id}});
    let server = Scripted::serve(&[
        ("GET /1.0/profiles/p", &[none, sync(&marked)]),
        ("PATCH /1.0/profiles/p", &[refused]),
        ("POST /1.0/profiles", &[sync(&json!({}))]),
        ("DELETE /1.0/profiles/p", &[sync(&json!({}))]),
        ("GET /1.0/slow", &[slow]),
    ]);
    let engine = Engine::new();
    let source = Source::new(Path::new("refused.yaml"), text);
    let mut plan = check(&source, &engine).plan.expect("a plan");
    plan.lease = Some(Duration::from_secs(3));
    let tracker = Tracker::default();
    let session = Session {
        client: Client::connect(&Remote::Unix(server.socket.clone())).expect("connected"),
        remotes: &|name| Client::connect(&Remote::parse(name)?),
        inputs: indexmap::IndexMap::new(),
        environment: &|_| None,
        engine: &engine,
        masker: &Masker::default(),
        id,
        started: SystemTime::now(),
        width: 2,
        tracker: &tracker,
        cleanup_policies: CleanupPolicies::always(CleanupPolicy::Everything),
        prune: true,
        cleanup: Duration::from_secs(60),
        before_cleanup: None,
        on_failure: None,
    };
    let summary = run(&plan, &session, &Silent);
    assert_eq!((summary.failed, summary.left.len()), (0, 0), "{summary:?}");
    let looks = server
        .lines()
        .iter()
        .filter(|line| *line == "GET /1.0/profiles/p")
        .count();
    assert!(looks > 2, "it was tried again: {:?}", server.lines());
}
