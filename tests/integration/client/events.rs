//! The server's events, on LXD and on Incus.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::container::{Container, on_both, within};
use malleus::client::{Error, EventType, Events, Limit, ServerEvent};

/// What the events say until an instance is said to have started.
fn until_started(events: &mut Events, instance: &str) -> Vec<ServerEvent> {
    let mut seen = Vec::new();
    loop {
        let event = events.next(within(10)).unwrap().expect("an event");
        let last = event.action() == Some("instance-started")
            && event.instance().as_deref() == Some(instance);
        seen.push(event);
        if last {
            return seen;
        }
    }
}

#[test]
fn events_are_told() {
    on_both(|client| {
        let mut events = client
            .events(&[EventType::Lifecycle, EventType::Operation])
            .unwrap();
        let container = Container::start(client, "events-told");
        let seen = until_started(&mut events, "events-told");
        let ours: Vec<_> = seen
            .iter()
            .filter(|event| event.instance().as_deref() == Some("events-told"))
            .collect();
        let actions: Vec<_> = ours.iter().filter_map(|event| event.action()).collect();
        assert_eq!(actions, ["instance-created", "instance-started"]);
        assert_eq!(ours[0].source(), Some("/1.0/instances/events-told"));
        assert_eq!(
            (ours[0].project.as_str(), ours[0].operation()),
            ("default", None)
        );
        assert!(ours[0].timestamp.starts_with("20"));
        let operations: Vec<_> = seen.iter().filter_map(ServerEvent::operation).collect();
        assert!(
            operations
                .iter()
                .any(|operation| operation.description.contains("Creating"))
        );
        let mut quiet = client
            .with_project("none")
            .events(&[])
            .map(|_| ())
            .unwrap_err();
        println!("{quiet}");
        assert!(matches!(quiet, Error::Api(_)), "{quiet:?}");
        quiet = client
            .events(&[EventType::Other("nonsense".to_owned())])
            .map(|_| ())
            .unwrap_err();
        println!("{quiet}");
        drop(container);

        let fork = client.fork();
        let mut events = fork.events(&[EventType::Logging]).unwrap();
        let begun = Instant::now();
        while events
            .next(Limit::after("x", Duration::from_millis(300)))
            .unwrap()
            .is_some()
        {}
        assert!(begun.elapsed() >= Duration::from_millis(300));
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(200));
                fork.cancel();
            });
            let mut ended = events.next(Limit::never());
            while let Ok(Some(_)) = ended {
                ended = events.next(Limit::never());
            }
            assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
        });
    });
}
