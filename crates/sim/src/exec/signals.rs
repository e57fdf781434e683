//! Signals that a script catches, and jobs that it leaves behind.
//!
//! The shell knows no signals from outside. A script that sets a trap is therefore run with a few words around it: before each
//! of its commands the shell asks whether a caught signal waits, and does what the trap says. What is on its way ends first, as
//! in any shell; `wait` ends at once.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bashkit::hooks::{ExitEvent, HookAction, ToolEvent};
use bashkit::{BashBuilder, Builtin, BuiltinContext, ExecResult, Result, async_trait};

use super::process::{EXIT, Process, Processes};

/// Runs what the traps of signals that came say. Only the shell itself does, none of its subshells.
const ASK: &str =
    r#"set -T; trap 'case $BASH_SUBSHELL in 0) __sim_caught; eval "$__sim_action";; esac' DEBUG; "#;

/// A `wait` that a caught signal ends: the shell's own one is for jobs that are over already.
const WAIT: &str = concat!(
    r#"wait() { local c=0 j; case "$1" in -*) builtin wait "$@"; return;; esac; "#,
    r#"if [ $# = 0 ]; then while [ -n "$(jobs -p -r)" ]; do __sim_await || return $?; done; builtin wait; return; fi; "#,
    r#"for j; do while kill -0 "$j" 2>/dev/null; do __sim_await || return $?; done; "#,
    r#"builtin wait "$j" && c=0 || c=$?; done; return $c; }; "#
);

/// How often jobs are looked for.
const LOOK: Duration = Duration::from_millis(5);

/// Says that the script is over, with its exit code: what runs in the background then runs on.
const END: &str = "\n__sim_end $?";

/// Whether a script catches signals.
pub(super) fn sets_traps(script: &str) -> bool {
    script.contains("trap")
}

/// A script with what it needs around it, on its own lines.
pub(super) fn around(script: &str) -> Cow<'_, str> {
    let traps = sets_traps(script);
    let jobs = script.replace("&&", "").contains('&');
    if !traps && !jobs {
        return Cow::Borrowed(script);
    }
    let ask = if traps { ASK } else { "" };
    let wait = if traps && script.contains("wait") {
        WAIT
    } else {
        ""
    };
    Cow::Owned(format!("{wait}{ask}{script}{END}"))
}

/// Adds what the words around a script call, and sees which traps it sets and whom it kills.
pub(super) fn watch(
    builder: BashBuilder,
    (process, processes): (&Arc<Process>, &Arc<Processes>),
) -> BashBuilder {
    let leaver = process.clone();
    let inner = |task| Box::new(Inner(process.clone(), task));
    let (process, processes) = (process.clone(), processes.clone());
    builder
        .builtin("__sim_caught", inner(Task::Caught))
        .builtin("__sim_await", inner(Task::Await))
        .builtin("__sim_end", inner(Task::End))
        .on_exit(Box::new(move |event: ExitEvent| {
            // What is to be done at the end is done before it.
            if !leaver.catches_exit() {
                leaver.end(event.code);
            }
            HookAction::Continue(event)
        }))
        .before_tool(Box::new(move |mut event: ToolEvent| {
            match event.name.as_str() {
                "trap" => trap(&process, &event.args),
                "kill" => kill((&process, &processes), &mut event.args),
                _ => {}
            }
            HookAction::Continue(event)
        }))
}

enum Task {
    Caught,
    Await,
    End,
}

struct Inner(Arc<Process>, Task);

#[async_trait]
impl Builtin for Inner {
    async fn execute(&self, context: BuiltinContext<'_>) -> Result<ExecResult> {
        let Self(process, task) = self;
        match task {
            Task::Caught => {
                let action = process.take_caught().unwrap_or_default();
                context.variables.insert("__sim_action".to_owned(), action);
                Ok(ExecResult::ok(""))
            }
            Task::Await => {
                let caught = tokio::time::timeout(LOOK, process.catches()).await;
                let code = caught.map_or(0, |signal| 128 + signal);
                Ok(ExecResult::with_code("", code))
            }
            Task::End => {
                let code = context.args.first().and_then(|code| code.parse().ok());
                let code = code.unwrap_or(0);
                process.end(code);
                Ok(ExecResult::with_code("", code))
            }
        }
    }
}

/// `trap [ACTION] SIGNAL…`
fn trap(process: &Process, arguments: &[String]) {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let arguments = arguments.as_slice();
    let arguments = arguments.strip_prefix(&["--"]).unwrap_or(arguments);
    let Some((first, rest)) = arguments.split_first() else {
        return;
    };
    let resets = rest.is_empty() || first.parse::<u32>().is_ok();
    let (action, signals) = match *first {
        _ if resets => (None, arguments),
        "-" => (None, rest),
        option if option.starts_with('-') => return,
        action => (Some(action), rest),
    };
    for signal in signals {
        if let Some(number) = number_of(signal) {
            process.trap(number, action);
        }
    }
}

/// Sends signals to commands of the instance and to the shell itself, which it calls 1; what is left is for the shell, which
/// knows its own jobs better.
fn kill((own, processes): (&Arc<Process>, &Processes), arguments: &mut Vec<String>) {
    let mut signal = 15;
    let mut is_signal = false;
    let mut sent = false;
    let mut targets = 0;
    arguments.retain(|argument| {
        let named = match argument.as_str() {
            "-s" | "-n" => {
                is_signal = true;
                return true;
            }
            "--" => return true,
            other if is_signal => Some(other),
            other => other.strip_prefix('-'),
        };
        is_signal = false;
        if let Some(named) = named {
            signal = number_of(named).unwrap_or(signal);
            return true;
        }
        let target = match argument.parse() {
            Ok(1) => Some(own.clone()),
            Ok(id) => processes.get(id),
            Err(_) => None,
        };
        let Some(target) = target else {
            targets += 1;
            return true;
        };
        if signal != 0 {
            target.signal(signal);
        }
        sent = true;
        false
    });
    if sent && targets == 0 {
        // Of the shell itself this asks only whether it is there.
        *arguments = ["-0", "1"].map(str::to_owned).into();
    }
}

/// The number of a signal, by its name or itself.
pub(super) fn number_of(signal: &str) -> Option<i32> {
    const NAMES: [(&str, i32); 13] = [
        ("EXIT", EXIT),
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("ABRT", 6),
        ("KILL", 9),
        ("USR1", 10),
        ("USR2", 12),
        ("ALRM", 14),
        ("TERM", 15),
        ("CHLD", 17),
        ("CONT", 18),
        ("WINCH", 28),
    ];
    let upper = signal.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = NAMES.iter().find(|(known, _)| *known == name);
    named.map_or_else(|| name.parse().ok(), |(_, number)| Some(*number))
}
