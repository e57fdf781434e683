//! The client against real daemons: every case on LXD and on Incus.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::AT_ONCE;
use crate::support::container::{Container, connect, on_both, within};
use crate::support::daemon::{Daemon, daemons};
use crate::support::program::own_process;
use malleus::client::{
    Class, Client, Content, Error, Exec, Exit, Limit, Operation, Output, Request, Signals, Stdio,
    Wait,
};
use serde_json::json;

/// A request whose operation, of class token, does not end by itself.
fn endless(client: &Client) -> Request {
    let alias = client
        .request(&Request::get("images/aliases/busybox"))
        .unwrap();
    let image = alias.metadata()["target"].as_str().unwrap().to_owned();
    Request::post(format!("images/{image}/secret")).json(json!({}))
}

/// What is left of commands.
impl Container {
    /// The processes of the container whose arguments contain a text.
    fn processes(&self, text: &str) -> usize {
        let script = format!("ps -o args | grep -v grep | grep -cF '{text}'");
        let (_, stdout, _) = run(&self.client, &self.command(&script));
        stdout.trim().parse::<usize>().unwrap().saturating_sub(1)
    }

    /// The recorded output that is left on the server.
    fn logs(&self) -> Vec<String> {
        let listed = ["logs", "logs/exec-output"].map(|folder| {
            let request = Request::get(format!("instances/{}/{folder}", self.name));
            let reply = self.client.send(&request).expect("a reply");
            let names = reply.metadata().as_array().cloned().unwrap_or_default();
            names
                .into_iter()
                .filter_map(|name| name.as_str().map(str::to_owned))
        });
        let all = listed.into_iter().flatten();
        all.filter(|name| name.contains("exec_")).collect()
    }
}

fn run(client: &Client, exec: &Exec) -> (Exit, String, String) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let output = Output {
        stdout: &mut stdout,
        stderr: &mut stderr,
    };
    let exit = client.exec(exec, output, &Wait::within(within(60)));
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (exit.expect("run"), text(stdout), text(stderr))
}

/// Counts bytes and keeps none.
#[derive(Default)]
struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn short_commands_over_websockets_lose_nothing() {
    on_both(|client| {
        let container = Container::start(client, "c-short");
        let runs = |exec: Exec| {
            for _ in 0..60 {
                let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
                let io = Stdio {
                    stdin: None,
                    stdout: &mut stdout,
                    stderr: &mut stderr,
                    signals: None,
                };
                let exit = client.exec_stream(&exec, io, &Wait::within(within(60)));
                assert_eq!(exit.expect("run").code, 3);
                assert_eq!(stdout, b"out\n");
                assert_eq!(stderr, b"err\n");
            }
        };
        thread::scope(|threads| {
            for _ in 0..4 {
                let exec = container.command("echo out; echo err >&2; exit 3");
                threads.spawn(move || runs(exec));
            }
        });
    });
}

#[test]
fn the_server_says_what_it_is() {
    for flavor in daemons() {
        let client = connect(Daemon::shared(flavor));
        let server = client.server();
        assert_eq!(server.flavor.to_string(), flavor.flavor().name());
        assert!(server.has_extension("container_exec_recording"));
        assert!(!server.has_extension("no_such_extension"));
        assert!(!server.clustered);
        assert!(!server.version.is_empty() && !server.name.is_empty());
        assert_eq!(server.project, "default");
    }
}

#[test]
fn replies_are_decoded_by_their_body() {
    on_both(|client| {
        let list = client
            .request(&Request::get("instances?recursion=1"))
            .unwrap();
        assert!(list.metadata().is_array());
        assert_eq!(list.path, "/1.0/instances?recursion=1");
        let missing = client.send(&Request::get("instances/none")).unwrap();
        let error = missing.api_error().expect("an error envelope");
        assert_eq!((missing.status, error.status), (404, 404));
        let refused = client.request(&Request::get("instances/none")).unwrap_err();
        assert_eq!(refused.status(), Some(404));
        let taken = client.request(&Request::get("instances/none").skip_validation());
        assert_eq!(taken.unwrap().status, 404);
        let events = client.send(&Request::get("events")).unwrap();
        assert!(matches!(events.content, Content::Text(_)), "{events:?}");
        let ready = client.send(&Request::get("/internal/ready")).unwrap();
        assert_eq!(ready.status, 200);
        let create = Request::post("profiles").json(json!({"name": "client-etag"}));
        client.request(&create).unwrap();
        let path = "profiles/client-etag";
        let profile = client.request(&Request::get(path)).unwrap();
        let stale = Request::patch(path)
            .json(json!({"description": "x"}))
            .if_match("\"0\"");
        assert_eq!(client.request(&stale).unwrap_err().status(), Some(412));
        let fresh = Request::patch(path)
            .json(json!({"description": ""}))
            .if_match(profile.etag().unwrap());
        client.request(&fresh).unwrap();
        client.request(&Request::delete(path)).unwrap();
    });
}

#[test]
fn failed_operations_are_errors_that_name_the_request() {
    on_both(|client| {
        let container = Container::start(client, "client-failing");
        let again = Request::put(format!("instances/{}/state", container.name))
            .json(json!({"action": "start"}));
        match client.run(&again, &Wait::within(within(30))) {
            Err(Error::Operation(error)) => {
                assert!(error.err.contains("already running"), "{error}");
                assert_eq!(error.path, "/1.0/instances/client-failing/state");
                assert_eq!(error.status_code, 400);
            }
            other => panic!("{other:?}"),
        }
        let begun = client.request(&again).unwrap().operation().unwrap();
        let ended = client.wait(&begun.id, &Wait::within(within(30))).unwrap();
        assert!(ended.failed());
        let lost = client.wait("00000000-0000-0000-0000-000000000000", &Wait::default());
        assert!(matches!(lost, Err(Error::Lost { .. })), "{lost:?}");
    });
}

#[test]
fn token_operations_are_not_awaited() {
    on_both(|client| {
        let done = client
            .run(&endless(client), &Wait::within(within(10)))
            .unwrap();
        let operation = done.operation.expect("a token operation");
        assert_eq!(operation.class, Class::Token);
        client
            .cancel_operation(&operation.id, Limit::never())
            .unwrap();
    });
}

#[test]
fn recorded_commands() {
    on_both(|client| {
        let container = Container::start(client, "client-recorded");
        let (exit, stdout, stderr) = run(
            client,
            &container
                .command("echo $GREETING; pwd; id -u; echo oops >&2; exit 7")
                .env("GREETING", "hello")
                .user(1000)
                .cwd("/tmp"),
        );
        assert_eq!(exit.code, 7);
        assert_eq!(
            (stdout.as_str(), stderr.as_str()),
            ("hello\n/tmp\n1000\n", "oops\n")
        );
        for (command, code, message) in [
            ("/nonexistent", 127, "Command not found"),
            ("/etc/passwd", 126, "Command not executable"),
        ] {
            let (exit, _, _) = run(client, &Exec::new(&container.name, [command]));
            assert_eq!(exit.code, code);
            assert_eq!(exit.message.as_deref(), Some(message));
        }
        assert_eq!(run(client, &container.command("kill -9 $$")).0.code, 137);
        assert_eq!(container.logs(), Vec::<String>::new());

        let recorded = client
            .exec_recorded(&container.command("echo kept"), &Wait::within(within(30)))
            .unwrap();
        assert_eq!(recorded.logs().len(), 2);
        assert_eq!(container.logs().len(), 2);
        recorded.delete().unwrap();
        recorded.delete().unwrap();
        let id = &recorded.exit.operation.id;
        client.delete_exec_logs(&container.name, id).unwrap();
        assert_eq!(container.logs(), Vec::<String>::new());
    });
}

#[test]
fn a_command_that_outlives_its_limit_is_ended_with_its_children() {
    on_both(|client| {
        let container = Container::start(client, "client-hanging");
        let hang = container.command("sleep 4321 & setsid sleep 4321 & sleep 4321; echo end");
        let begun = Instant::now();
        let wait = Wait::within(Limit::after("step", Duration::from_secs(1)));
        let error = client.exec_recorded(&hang, &wait).unwrap_err();
        let elapsed = begun.elapsed();
        println!("{error} after {elapsed:?}");
        match error {
            Error::Timeout {
                limit,
                operation,
                note,
                ..
            } => {
                assert_eq!((limit, note), ("step", None));
                assert!(operation.is_some());
            }
            other => panic!("{other:?}"),
        }
        let limit = Duration::from_secs(1);
        assert!(elapsed < limit + 2 * AT_ONCE, "{elapsed:?}");
        assert_eq!(container.processes("sleep 4321"), 0);
        assert_eq!(container.logs(), Vec::<String>::new());

        // Cancelled from another thread, the same holds.
        let fork = client.fork();
        let ended = thread::scope(|scope| {
            let running = scope.spawn(|| fork.exec_recorded(&hang, &Wait::default()));
            thread::sleep(Duration::from_millis(500));
            fork.cancel();
            running.join().unwrap()
        });
        assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
        assert_eq!(container.processes("sleep 4321"), 0);
        assert_eq!(container.logs(), Vec::<String>::new());
        assert!(!client.is_cancelled());
    });
}

#[test]
fn cancelling_ends_what_is_in_flight_at_once() {
    on_both(|client| {
        let token = client
            .request(&endless(client))
            .unwrap()
            .operation()
            .unwrap();
        let parent = client.fork();
        let fork = parent.fork();
        let cleanup = parent.detached();
        thread::scope(|scope| {
            let waits: Vec<_> = [&parent, &fork]
                .map(|c| scope.spawn(|| (c.wait(&token.id, &Wait::default()), Instant::now())))
                .into();
            thread::sleep(Duration::from_millis(300));
            let begun = Instant::now();
            parent.cancel();
            for wait in waits {
                let (result, at) = wait.join().unwrap();
                assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
                let took = at - begun;
                assert!(took < AT_ONCE, "{took:?}");
            }
        });
        assert!(fork.is_cancelled() && parent.clone().is_cancelled());
        let refused = parent.request(&Request::get("/1.0"));
        assert!(matches!(refused, Err(Error::Cancelled)));
        assert!(parent.fork().is_cancelled());
        cleanup.cancel_operation(&token.id, Limit::never()).unwrap();
    });
}

#[test]
fn waiting_tells_about_the_operation_and_ends_with_its_limit() {
    on_both(|client| {
        let token = client
            .request(&endless(client))
            .unwrap()
            .operation()
            .unwrap();
        let seen = std::sync::Mutex::new(0);
        let progress = |_: &Operation| *seen.lock().unwrap() += 1;
        let wait = Wait {
            limit: Limit::after("step", Duration::from_millis(2500)),
            progress: Some(&progress),
            started: None,
        };
        let begun = Instant::now();
        let error = client.wait(&token.id, &wait).unwrap_err();
        let elapsed = begun.elapsed();
        assert!(
            matches!(error, Error::Timeout { limit: "step", .. }),
            "{error}"
        );
        assert!((2400..2500 + AT_ONCE.as_millis()).contains(&elapsed.as_millis()));
        assert!((1..=3).contains(&*seen.lock().unwrap()));
        client.cancel_operation(&token.id, Limit::never()).unwrap();
    });
}

#[test]
fn a_project_is_added_wherever_it_is_missing() {
    on_both(|client| {
        let name = "client-project";
        let project = Request::post("projects").json(json!({"name": name,
            "config": {"features.images": "false", "features.profiles": "false"}}));
        client.request(&project).unwrap();
        let scoped = client.with_project(name);
        assert_eq!(scoped.project(), Some(name));
        {
            let container = Container::start(&scoped, "inside");
            let (exit, stdout, _) = run(&scoped, &container.command("echo inside"));
            assert_eq!((exit.code, stdout.as_str()), (0, "inside\n"));
            assert_eq!(container.logs(), Vec::<String>::new());
            let outside = client.send(&Request::get("instances/inside")).unwrap();
            assert_eq!(outside.status, 404);
        }
        client
            .request(&Request::delete(format!("projects/{name}")))
            .unwrap();
    });
}

#[test]
fn large_outputs_and_uploads_are_streamed() {
    let test = concat!(module_path!(), "::streams_in_little_memory");
    let ran = own_process(test).output().expect("the test runs");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

/// The test above runs this one in a process of its own, whose memory no other test uses.
#[test]
#[ignore = "belongs to the test that runs it in a process of its own"]
fn streams_in_little_memory() {
    on_both(|client| {
        let container = Container::start(client, "client-large");
        let (mut stdout, mut stderr) = (Counter::default(), Counter::default());
        let output = Output {
            stdout: &mut stdout,
            stderr: &mut stderr,
        };
        let exec = container.command("dd if=/dev/zero bs=1M count=100 2>/dev/null");
        let exit = client
            .exec(&exec, output, &Wait::within(within(120)))
            .unwrap();
        assert_eq!((exit.code, stdout.0), (0, 100 << 20));

        let mut file = tempfile::NamedTempFile::new().unwrap();
        let block = vec![7; 1 << 20];
        for _ in 0..100 {
            file.write_all(&block).unwrap();
        }
        let prefix = client.server().flavor.header_prefix();
        let path = format!("instances/{}/files", container.name);
        let push = Request::post(&path)
            .query("path", "/tmp/large")
            .header(format!("{prefix}type"), "file")
            .header(format!("{prefix}mode"), "0644")
            .upload(file.path());
        client.request(&push).unwrap();
        let pull = Request::get(&path).query("path", "/tmp/large");
        let mut back = Counter::default();
        let reply = client.download(&pull, &mut back).unwrap();
        assert_eq!(reply.content, Content::Streamed { bytes: 100 << 20 });
        assert_eq!(back.0, 100 << 20);
        let refused = client.request(&pull).unwrap_err().to_string();
        assert!(refused.contains("Client::download"), "{refused}");
        let missing = Request::get(&path).query("path", "/tmp/none");
        let error = client.download(&missing, &mut back).unwrap_err();
        assert_eq!(error.status(), Some(404), "{error}");
        assert_eq!(back.0, 100 << 20);
        let nowhere = Request::post("instances/none/files")
            .query("path", "/x")
            .upload(file.path());
        assert_eq!(client.request(&nowhere).unwrap_err().status(), Some(404));
    });
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    let peak: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    println!("peak memory: {peak} kB");
    assert!(peak < 64 << 10, "{peak} kB");
}

/// More input than fits on the way.
static BLOCK: &[u8] = &[7; 1 << 20];

fn silent<'a>(stdout: &'a mut Counter, stderr: &'a mut Counter) -> Stdio<'a> {
    Stdio {
        stdin: None,
        stdout,
        stderr,
        signals: None,
    }
}

type Streamed = (Result<Exit, Error>, Vec<u8>, Vec<u8>);

fn stream(
    client: &Client,
    exec: &Exec,
    stdin: &'static [u8],
    signals: Option<Signals>,
) -> Streamed {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let streams = Stdio {
        stdin: Some(Box::new(stdin)),
        stdout: &mut stdout,
        stderr: &mut stderr,
        signals,
    };
    let exit = client.exec_stream(exec, streams, &Wait::within(within(60)));
    (exit, stdout, stderr)
}

#[test]
fn streamed_commands() {
    on_both(|client| {
        let container = Container::start(client, "client-streamed");
        let script = container.command("cat; echo oops >&2; exit 7");
        let (exit, stdout, stderr) = stream(client, &script, b"hello\n", None);
        assert_eq!(exit.unwrap().code, 7);
        assert_eq!(
            (&stdout[..], &stderr[..]),
            (&b"hello\n"[..], &b"oops\n"[..])
        );
        for (command, code, message) in [
            ("/nonexistent", 127, "Command not found"),
            ("/etc/passwd", 126, "Command not executable"),
        ] {
            let (exit, _, _) = stream(client, &Exec::new(&container.name, [command]), b"", None);
            let exit = exit.unwrap();
            assert_eq!(exit.code, code);
            assert_eq!(exit.message.as_deref(), Some(message));
        }
        // A command that does not read its input, one that leaves a child behind, one that is quick.
        for round in 0..20 {
            let quick = container.command("echo quick");
            let (exit, stdout, _) = stream(client, &quick, BLOCK, None);
            assert_eq!(
                (exit.unwrap().code, &stdout[..]),
                (0, &b"quick\n"[..]),
                "{round}"
            );
        }
        let begun = Instant::now();
        let leaving = container.command("sleep 20 & echo left");
        let (exit, stdout, _) = stream(client, &leaving, b"", None);
        assert_eq!((exit.unwrap().code, &stdout[..]), (0, &b"left\n"[..]));
        println!("with a child left behind: {:?}", begun.elapsed());
        assert_eq!(container.logs(), Vec::<String>::new());
    });
}

/// Sends SIGTERM as soon as the command has written something.
struct Trigger {
    seen: Vec<u8>,
    signals: Signals,
}

impl Trigger {
    fn new(signals: &Signals) -> Self {
        Self {
            seen: Vec::new(),
            signals: signals.clone(),
        }
    }
}

impl Write for Trigger {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.seen.is_empty() {
            self.signals.send(15);
        }
        self.seen.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn streamed_commands_get_signals() {
    on_both(|client| {
        let container = Container::start(client, "client-signals");
        let trap = container
            .command("trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.1; done");
        let signals = Signals::new();
        let (mut stdout, mut stderr) = (Trigger::new(&signals), Vec::new());
        let streams = Stdio {
            stdin: None,
            stdout: &mut stdout,
            stderr: &mut stderr,
            signals: Some(signals),
        };
        let exit = client.exec_stream(&trap, streams, &Wait::within(within(60)));
        assert_eq!(exit.unwrap().code, 5);
        assert_eq!(stdout.seen, b"ready\ncaught\n");
        let early = Signals::new();
        early.send(9);
        let (exit, _, _) = stream(client, &container.command("sleep 30"), b"", Some(early));
        assert_eq!(exit.unwrap().code, 137);
    });
}

#[test]
fn a_streamed_command_that_outlives_its_limit_is_ended_with_its_children() {
    on_both(|client| {
        let container = Container::start(client, "client-late");
        let hang = container.command("setsid sleep 4322 & sleep 4322");
        let (mut out, mut err) = (Counter::default(), Counter::default());
        let begun = Instant::now();
        let wait = Wait::within(Limit::after("step", Duration::from_secs(1)));
        let error = client
            .exec_stream(&hang, silent(&mut out, &mut err), &wait)
            .unwrap_err();
        println!("{error} after {:?}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(1) + 2 * AT_ONCE);
        assert!(
            matches!(
                error,
                Error::Timeout {
                    limit: "step",
                    note: None,
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(container.processes("sleep 4322"), 0);

        let fork = client.fork();
        thread::scope(|scope| {
            let running = scope.spawn(|| {
                let (mut out, mut err) = (Counter::default(), Counter::default());
                fork.exec_stream(&hang, silent(&mut out, &mut err), &Wait::default())
            });
            thread::sleep(Duration::from_millis(500));
            fork.cancel();
            let ended = running.join().unwrap();
            assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
        });
        assert_eq!(container.processes("sleep 4322"), 0);
    });
}

/// Fails after some bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self
            .0
            .checked_sub(bytes.len())
            .ok_or(std::io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn much_is_streamed_and_a_writer_that_fails_ends_the_command() {
    on_both(|client| {
        let container = Container::start(client, "client-much");
        let (mut stdout, mut stderr) = (Counter::default(), Counter::default());
        let streams = Stdio {
            stdin: Some(Box::new(std::io::Read::take(std::io::repeat(7), 100 << 20))),
            stdout: &mut stdout,
            stderr: &mut stderr,
            signals: None,
        };
        let begun = Instant::now();
        let both = container.command("cat; dd if=/dev/zero bs=1M count=100 >&2 2>/dev/null");
        let exit = client
            .exec_stream(&both, streams, &Wait::within(within(120)))
            .unwrap();
        println!("100 MiB three times in {:?}", begun.elapsed());
        assert_eq!((exit.code, stdout.0, stderr.0), (0, 100 << 20, 100 << 20));

        let (mut stdout, mut stderr) = (Full(100_000), Vec::new());
        let streams = Stdio {
            stdin: None,
            stdout: &mut stdout,
            stderr: &mut stderr,
            signals: None,
        };
        let endless = container.command("while :; do echo 4323; done");
        let error = client.exec_stream(&endless, streams, &Wait::within(within(30)));
        assert!(matches!(error, Err(Error::Output { .. })), "{error:?}");
        assert_eq!(container.processes("echo 4323"), 0);
        let (mut stdout, mut stderr) = (Full(100_000), Vec::new());
        let output = Output {
            stdout: &mut stdout,
            stderr: &mut stderr,
        };
        let much = container.command("dd if=/dev/zero bs=1M count=1");
        let error = client.exec(&much, output, &Wait::within(within(30)));
        assert!(matches!(error, Err(Error::Output { .. })), "{error:?}");
        assert_eq!(container.logs(), Vec::<String>::new());
    });
}

#[test]
fn without_a_shell_a_late_command_cannot_be_ended_and_the_error_says_so() {
    on_both(|client| {
        let container = Container::start(client, "client-shellless");
        assert_eq!(
            run(client, &Exec::new(&container.name, ["rm", "/bin/sh"]))
                .0
                .code,
            0
        );
        let sleep = Exec::new(&container.name, ["sleep", "4325"]);
        let wait = Wait::within(Limit::after("step", Duration::from_millis(500)));
        let error = client.exec_recorded(&sleep, &wait).unwrap_err().to_string();
        assert_eq!(
            error,
            "POST /1.0/instances/client-shellless/exec did not end within the step limit of 500ms; \
             the command may still be running: there is no shell in the instance"
        );
    });
}

/// Runs a case on every brand, with a daemon of its own.
fn on_own_daemons(case: impl Fn(&Client, &mut Daemon)) {
    for flavor in daemons() {
        println!("--- {flavor}");
        let mut daemon = Daemon::start(flavor);
        let client = connect(&daemon);
        case(&client, &mut daemon);
    }
}

#[test]
fn a_daemon_that_is_killed_during_a_wait() {
    on_own_daemons(|client, daemon| {
        let container = Container::start(client, "client-killed");
        let sleep = container.command("sleep 4324");
        let (started, running) = std::sync::mpsc::channel();
        let started = std::sync::Mutex::new(started);
        let tell = |operation: &Operation| {
            started.lock().unwrap().send(operation.id.clone()).unwrap();
        };
        thread::scope(|scope| {
            let recorded = scope.spawn(|| {
                let wait = Wait {
                    started: Some(&tell),
                    ..Wait::within(within(60))
                };
                (client.exec_recorded(&sleep, &wait), Instant::now())
            });
            running.recv().unwrap();
            thread::sleep(Duration::from_millis(300));
            daemon.kill();
            let away = client.request(&Request::get("instances")).unwrap_err();
            assert!(away.is_transient() && !away.may_have_been_sent(), "{away}");
            thread::sleep(Duration::from_millis(500));
            daemon.restart();
            let back = Instant::now();
            let (ended, at) = recorded.join().unwrap();
            println!("{:?} after the daemon was back", at.duration_since(back));
            assert!(matches!(ended, Err(Error::Lost { .. })), "{ended:?}");
            assert!(at.duration_since(back) < 2 * AT_ONCE);
        });
        assert_eq!(container.processes("sleep 4324"), 0);
        assert_eq!(container.logs(), Vec::<String>::new());

        // The same client goes on; a daemon that stays away is given up at the limit.
        let begun = client
            .request(&endless(client))
            .unwrap()
            .operation()
            .unwrap();
        daemon.kill();
        let at = Instant::now();
        let wait = Wait::within(Limit::after("step", Duration::from_millis(1500)));
        let error = client.wait(&begun.id, &wait).unwrap_err();
        assert!(
            matches!(error, Error::Timeout { limit: "step", .. }),
            "{error}"
        );
        assert!(at.elapsed() < Duration::from_millis(1500) + AT_ONCE);
        daemon.restart();
    });
}

#[test]
fn many_threads_share_few_connections() {
    on_both(|client| {
        let begun = Instant::now();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        client.request(&Request::get("profiles/default")).unwrap();
                    }
                });
            }
        });
        println!("800 requests in {:?}", begun.elapsed());
    });
}
