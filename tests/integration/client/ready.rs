//! Waiting until instances are ready, on LXD and on Incus.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::AT_ONCE;
use crate::support::container::{Container, connect, on_both, within};
use crate::support::daemon::{Daemon, daemons};
use crate::support::ready::{not_ready, ready};
use malleus::client::{
    Condition, Error, EventType, Limit, NotReadyCause, Push, Request, Source, Wait,
};
use serde_json::json;

fn exec(command: &[&str]) -> Condition {
    Condition::Exec(command.iter().map(|&word| word.to_owned()).collect())
}

#[test]
fn commands_and_files() {
    on_both(|client| {
        let container = Container::start(client, "ready-files");
        let conditions = [
            Condition::Running,
            Condition::Agent,
            exec(&["test", "-f", "/tmp/ready"]),
            Condition::File("/tmp/ready".to_owned()),
        ];
        let late = || Limit::after("step", Duration::from_secs(2));
        let why = not_ready(client, &container.name, &conditions, late()).to_string();
        let expected = "ready-files was not ready within the step limit of 2s: \
            exec test -f /tmp/ready: exit code 1; file /tmp/ready: it is not there";
        assert_eq!(why, expected);
        let begun = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(300));
                container.shell("touch /tmp/ready");
            });
            let ready = ready(&container, &conditions);
            println!("ready after {:?}", ready.waited);
            assert!(ready.observations.iter().all(|seen| seen.held));
            assert!(begun.elapsed() > Duration::from_millis(300));
        });
        let hanging = [exec(&["sleep", "4321"]), exec(&["/none"])];
        let begun = Instant::now();
        let why = not_ready(
            client,
            &container.name,
            &hanging,
            Limit::after("step", Duration::from_secs(1)),
        );
        println!("{why}");
        assert!(begun.elapsed() < Duration::from_secs(1) + AT_ONCE);
        assert_eq!(
            container.shell("ps | grep -c '[s]leep 4321' || true"),
            "0\n"
        );
        let all = [exec(&["/none"])];
        let why = not_ready(client, &container.name, &all, late()).to_string();
        assert!(
            why.ends_with("exec /none: exit code 127 (Command not found)"),
            "{why}"
        );
    });
}

#[test]
fn cloud_init_is_asked() {
    on_both(|client| {
        let container = Container::start(client, "ready-cloud");
        let wanted = [Condition::CloudInit];
        let why = not_ready(client, &container.name, &wanted, within(20)).to_string();
        assert_eq!(
            why,
            "ready-cloud does not become ready: cloud-init: cloud-init is not installed"
        );
        let pretend = |script: &str| {
            let script = Source::Bytes(format!("#!/bin/sh\n{script}\n").into_bytes());
            let push = Push::new(&container.name, "/bin/cloud-init", script).mode(0o755);
            client.push(&push, &Wait::within(within(20))).unwrap();
        };
        pretend("[ $# = 2 ] || exit 9; echo '{\"status\": \"running\"}'");
        let late = || Limit::after("step", Duration::from_secs(2));
        let why = not_ready(client, &container.name, &wanted, late()).to_string();
        assert!(why.ends_with("2s: cloud-init: status running"), "{why}");
        pretend("echo '{\"status\": \"done\", \"recoverable_errors\": {}}'; exit 2");
        assert_eq!(ready(&container, &wanted).observations[0].seen, "done");
        pretend("[ $# = 1 ] || { echo usage >&2; exit 2; }; echo 'status: done'");
        assert_eq!(ready(&container, &wanted).observations[0].seen, "done");
        pretend("echo '{\"status\": \"error\", \"errors\": [\"no datasource\"]}'; exit 1");
        let why = not_ready(client, &container.name, &wanted, within(20)).to_string();
        assert!(
            why.ends_with("cloud-init: cloud-init has failed: no datasource"),
            "{why}"
        );
    });
}

#[test]
fn an_end_ends_the_wait() {
    on_both(|client| {
        let file = [Condition::Running, Condition::File("/none".to_owned())];
        let why = not_ready(client, "ready-none", &file, within(20));
        assert_eq!(why.cause, NotReadyCause::Missing);
        assert!(why.waited < AT_ONCE, "{:?}", why.waited);

        let container = Container::create(client, "ready-ends", &json!({}));
        let why = not_ready(client, &container.name, &file, within(20));
        assert_eq!(
            why.to_string(),
            "ready-ends does not become ready: it is stopped"
        );
        assert!(why.waited < AT_ONCE, "{:?}", why.waited);
        assert_eq!(why.observations[1].seen, "it is Stopped");

        // A start in the background is waited for, the end of what runs is not waited out.
        let begun = client.request(&container.state("start")).unwrap();
        ready(&container, &[Condition::Running]);
        client
            .wait(&begun.operation().unwrap().id, &Wait::within(within(20)))
            .unwrap();
        let ended = |end: &(dyn Fn() + Sync)| {
            thread::scope(|scope| {
                let ending = scope.spawn(|| {
                    thread::sleep(Duration::from_millis(300));
                    end();
                    Instant::now()
                });
                let why = not_ready(client, &container.name, &file, within(20));
                let now = Instant::now();
                let late = now.saturating_duration_since(ending.join().unwrap());
                println!("{why}: {late:?} after the end");
                // What stops by itself is announced when the server has cleaned up after it, half a second later.
                assert!(late < AT_ONCE, "{late:?}");
                why.cause
            })
        };
        assert_eq!(ended(&|| container.change("stop")), NotReadyCause::Stopped);
        container.change("start");
        // By itself, not by an operation.
        let itself = || {
            container.shell("(sleep 0.2; kill -TERM 1) >/dev/null 2>&1 &");
            let path = format!("instances/{}", container.name);
            while client.request(&Request::get(&path)).unwrap().metadata()["status"] != "Stopped" {
                thread::sleep(Duration::from_millis(20));
            }
        };
        assert_eq!(ended(&itself), NotReadyCause::Stopped);
        container.change("start");
        // A restart is none.
        thread::scope(|scope| {
            let restarting = scope.spawn(|| {
                thread::sleep(Duration::from_millis(300));
                container.change("restart");
                container.shell("touch /tmp/restarted");
            });
            ready(&container, &[Condition::File("/tmp/restarted".to_owned())]);
            restarting.join().unwrap();
        });
        let delete = || {
            container.change("stop");
            let delete = Request::delete("instances/ready-ends");
            client.run(&delete, &Wait::within(within(20))).unwrap();
        };
        let cause = ended(&delete);
        assert!(
            matches!(cause, NotReadyCause::Stopped | NotReadyCause::Deleted),
            "{cause:?}"
        );
    });
}

#[test]
fn stopped_is_a_condition_too() {
    on_both(|client| {
        let container = Container::create(client, "ready-ephemeral", &json!({"ephemeral": true}));
        container.change("start");
        let late = || Limit::after("step", Duration::from_secs(1));
        let why = not_ready(client, &container.name, &[Condition::Stopped], late()).to_string();
        assert!(why.ends_with("1s: stopped: it is Running"), "{why}");
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(300));
                container.change("stop");
            });
            let ready = ready(&container, &[Condition::Stopped]);
            println!("{} after {:?}", ready.observations[0].seen, ready.waited);
        });
        ready(&container, &[Condition::Stopped]);
    });
}

#[test]
fn conditions_that_cannot_be_waited_for() {
    on_both(|client| {
        let wait = Wait::within(within(5));
        for (conditions, expected) in [
            (
                vec![Condition::Stopped, Condition::Ipv4],
                "cannot wait for ipv4: a stopped instance cannot fulfil it",
            ),
            (vec![exec(&[])], "the command is empty"),
            (
                vec![Condition::File("x".to_owned())],
                "cannot wait for file x: a path in an instance begins with `/`",
            ),
        ] {
            let error = client
                .wait_ready("c", &conditions, &wait)
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{error}");
        }
        let fork = client.fork();
        let container = Container::start(client, "ready-cancel");
        let conditions = [Condition::File("/none".to_owned())];
        thread::scope(|scope| {
            let name = &container.name;
            let waiting = scope.spawn(|| {
                (
                    fork.wait_ready(name, &conditions, &Wait::default()),
                    Instant::now(),
                )
            });
            thread::sleep(Duration::from_millis(500));
            let begun = Instant::now();
            fork.cancel();
            let (result, at) = waiting.join().unwrap();
            assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
            assert!(at - begun < AT_ONCE, "{:?}", at - begun);
        });
    });
}

#[test]
fn a_daemon_that_goes_away_is_waited_for() {
    for flavor in daemons() {
        let mut daemon = Daemon::start(flavor);
        let client = connect(&daemon);
        let container = Container::start(&client, "ready-killed");
        let mut events = client.events(&[EventType::Lifecycle]).unwrap();
        let (name, fork) = (container.name.clone(), client.fork());
        let waiting = thread::spawn(move || {
            let conditions = [Condition::File("/tmp/back".to_owned())];
            fork.wait_ready(&name, &conditions, &Wait::within(within(30)))
        });
        thread::sleep(Duration::from_millis(300));
        daemon.kill();
        let ended = events.next(within(5)).unwrap_err();
        assert!(
            matches!(ended, Error::Interrupted { .. }) && ended.is_transient(),
            "{ended:?}"
        );
        assert!(
            ended.to_string().contains("has ended the stream of events"),
            "{ended}"
        );
        daemon.restart();
        container.shell("touch /tmp/back");
        waiting.join().unwrap().unwrap();
    }
}
