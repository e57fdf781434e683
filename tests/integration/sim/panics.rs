//! A panic of malleus itself, wherever it comes: the run fails, ends, and leaves nothing behind.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use malleus::client::{Client, Remote, Request};
use malleus::events::{Event, Kind, Phase, Sink};
use malleus::playbook::check;
use malleus::resources::Tracker;
use malleus::run::{CleanupPolicies, CleanupPolicy, Session, new_id, run};
use malleus::secret::Masker;
use malleus::sim::{Flavor, Options, Sim};
use malleus::source::Source;
use malleus::template::Engine;

const PLAYBOOK: &str = r#"
playbook: 1
name: panics
lease: 1h
steps:
  - request: POST profiles
    body: {name: first}
    cleanup:
      - request: DELETE profiles/first
  - parallel:
      - request: POST profiles
        body: {name: second}
      - ensure: instances/third
        body: {source: {type: image, alias: busybox}}
        state: running
  - for_each: [a, b]
    exec: {instance: third, command: [echo, "{{ item }}"]}
  - request: POST profiles
    body: {name: fourth}
    background: true
    id: later
  - join: later
finally:
  - request: GET profiles/default
"#;

/// Panics in the place of the event of this number, counted from 1.
struct PanicsAt {
    number: usize,
    seen: AtomicUsize,
}

impl Sink for PanicsAt {
    fn event(&self, event: Event) {
        // What comes after the steps is not counted: the removal of what was made ends by its own means.
        let is_of_steps = match &event.kind {
            Kind::StepStarted(step) | Kind::StepFinished { step, .. } => step.phase == Phase::Steps,
            _ => false,
        };
        if is_of_steps {
            let at = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
            assert_ne!(at, self.number, "a panic on order");
        }
    }
}

fn left(client: &Client) -> Vec<String> {
    let mut names = Vec::new();
    for list in ["profiles", "instances"] {
        let reply = client.request(&Request::get(list)).expect("a list");
        let urls = reply.metadata().as_array().cloned().unwrap_or_default();
        names.extend(
            urls.iter()
                .filter_map(|url| url.as_str().map(str::to_owned)),
        );
    }
    names.retain(|name| !name.ends_with("/default"));
    names
}

#[test]
fn a_panic_at_any_step_is_a_failure_that_is_cleaned_up() {
    let engine = Engine::new();
    let source = Source::new(Path::new("panics.yaml"), PLAYBOOK);
    let plan = check(&source, &engine).plan.expect("a plan");
    for number in 1..=20 {
        let sim = Sim::start(Options::new(Flavor::Incus)).expect("it starts");
        let remote = Remote::Unix(sim.socket().to_owned());
        let client = Client::connect(&remote).expect("connected");
        let tracker = Tracker::default();
        let session = Session {
            client: client.clone(),
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
            before_cleanup: None,
            on_failure: None,
        };
        let sink = PanicsAt {
            number,
            seen: AtomicUsize::new(0),
        };
        let summary = run(&plan, &session, &sink);
        let has_come = sink.seen.load(Ordering::SeqCst) >= number;
        assert_eq!(summary.failed > 0, has_come, "{number}: {summary:?}");
        assert_eq!(left(&client), Vec::<String>::new(), "{number}: {summary:?}");
    }
}
