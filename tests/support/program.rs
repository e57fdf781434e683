//! The program itself, run as its users run it.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Longer than any run of a test takes, and the end of one that hangs.
pub(crate) const LONGEST: Duration = Duration::from_secs(120);

/// The program in a folder, with an environment that holds nothing of the caller's.
pub(crate) fn malleus(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_malleus"));
    command
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", folder)
        .env("LANG", "C.UTF-8");
    command
}

/// One ignored test of this test program, named by its path from the crate on, in a process of its own.
pub(crate) fn own_process(test: &str) -> Command {
    let (_, name) = test.split_once("::").expect("a module before the name");
    let mut command = Command::new(std::env::current_exe().expect("the path of the test program"));
    command.args(["--exact", name, "--ignored", "--nocapture"]);
    command
}

/// How a run ended and what it wrote.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Ran {
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// A run in progress; its output is collected as it comes.
pub(crate) struct Running {
    child: Child,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
}

impl Running {
    /// Starts a command that reads `stdin`.
    pub(crate) fn start(command: &mut Command, stdin: Option<&[u8]>) -> Running {
        command
            .stdin(if stdin.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        if let (Some(bytes), Some(mut pipe)) = (stdin, child.stdin.take()) {
            let bytes = bytes.to_vec();
            // A program that does not read its input is no failure of the test.
            thread::spawn(move || pipe.write_all(&bytes).ok());
        }
        let stdout = collect(child.stdout.take().expect("piped"));
        let stderr = collect(child.stderr.take().expect("piped"));
        Running {
            child,
            stdout,
            stderr,
        }
    }

    /// Sends a signal by its name, such as `INT`; to nobody where the run has ended already.
    pub(crate) fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        kill.args(["-s", name, &self.child.id().to_string()]);
        kill.stderr(Stdio::null()).status().expect("kill runs");
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// Waits for its end; kills it when it takes too long.
    pub(crate) fn end(self) -> Ran {
        self.end_within(LONGEST).unwrap_or_else(|ran| {
            panic!(
                "killed after {LONGEST:?}\nstdout: {}\nstderr: {}",
                ran.stdout(),
                ran.stderr()
            )
        })
    }

    /// Waits for its end. What it wrote until it was killed comes as an error.
    pub(crate) fn end_within(mut self, limit: Duration) -> Result<Ran, Ran> {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break Some(status);
            }
            if start.elapsed() > limit {
                break None;
            }
            thread::sleep(Duration::from_millis(5));
        };
        let in_time = status.is_some();
        let status = status.unwrap_or_else(|| {
            self.child.kill().ok();
            self.child.wait().expect("a child")
        });
        let ran = Ran {
            status,
            stdout: self.stdout.join().expect("no panic"),
            stderr: self.stderr.join().expect("no panic"),
        };
        if in_time { Ok(ran) } else { Err(ran) }
    }
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).ok();
        bytes
    })
}
