//! Commands that need to know more than the shell does: who runs, which instance this is, what is on its network, whose
//! a file is.

mod files;
mod network;

use std::sync::OnceLock;
use std::time::Duration;

use bashkit::{Bash, Builtin, BuiltinContext, ExecResult, Result, async_trait};

pub(in crate::exec) use self::files::Cat;
use super::Place;
use super::process::Command;

/// Whether the shell knows a command of this name.
pub(super) fn exists(name: &str) -> bool {
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    let names = NAMES.get_or_init(|| {
        let mut names = Bash::new().builtin_names();
        names.extend(OWN.map(str::to_owned));
        names.extend(["sh", "bash", "ash", "dash"].map(str::to_owned));
        names.sort();
        names
    });
    names
        .binary_search_by(|each| each.as_str().cmp(name))
        .is_ok()
}

const OWN: [&str; 12] = [
    "chgrp", "chown", "hostname", "httpd", "id", "ip", "nc", "ps", "sleep", "stat", "wget",
    "whoami",
];

/// The commands of this file, for one command line.
pub(super) fn own(place: &Place, command: &Command) -> Vec<(&'static str, Box<dyn Builtin>)> {
    let make = |name: &'static str| {
        let own = Own {
            name,
            place: place.clone(),
            user: command.user,
            group: command.group,
        };
        (name, Box::new(own) as Box<dyn Builtin>)
    };
    OWN.into_iter().map(make).collect()
}

/// The name of a user, as the instance's `/etc/passwd` has it.
pub(super) fn user_name(place: &Place, user: u32) -> String {
    name_in(place, ("/etc/passwd", user)).unwrap_or_else(|| user.to_string())
}

/// The number that goes with a name, or the number that is one itself.
fn number_in(place: &Place, (file, name): (&str, &str)) -> Option<u32> {
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let lines = place.tree.lock().read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&lines).into_owned();
    let mut lines = text.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?)
}

/// The name that goes with a number in `/etc/passwd` or `/etc/group`.
fn name_in(place: &Place, (file, number): (&str, u32)) -> Option<String> {
    let lines = place.tree.lock().read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&lines).into_owned();
    let mut lines = text.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(number)).then(|| name.to_owned())
    })
}

struct Own {
    name: &'static str,
    place: Place,
    user: u32,
    group: u32,
}

#[async_trait]
impl Builtin for Own {
    async fn execute(&self, context: BuiltinContext<'_>) -> Result<ExecResult> {
        let arguments: Vec<&str> = context.args.iter().map(String::as_str).collect();
        let arguments = arguments.as_slice();
        Ok(match self.name {
            "hostname" => ExecResult::ok(format!("{}\n", self.place.instance)),
            "whoami" => ExecResult::ok(format!("{}\n", user_name(&self.place, self.user))),
            "id" => self.id(arguments),
            "ps" => self.ps(arguments),
            "sleep" => self.sleep(arguments).await,
            "chgrp" | "chown" => self.change_owner(&context, arguments),
            "stat" => self.stat(&context, arguments).await,
            "ip" => self.ip(arguments),
            "httpd" => self.httpd(arguments),
            "wget" => self.wget(arguments),
            _ => self.nc(arguments),
        })
    }
}

impl Own {
    fn id(&self, arguments: &[&str]) -> ExecResult {
        let name = user_name(&self.place, self.user);
        let text = match arguments {
            ["-u"] => self.user.to_string(),
            ["-g" | "-G"] => self.group.to_string(),
            ["-un" | "-nu"] => name,
            _ => {
                let named = |file, number: u32| match name_in(&self.place, (file, number)) {
                    Some(name) => format!("{number}({name})"),
                    None => number.to_string(),
                };
                let user = named("/etc/passwd", self.user);
                format!("uid={user} gid={}", named("/etc/group", self.group))
            }
        };
        ExecResult::ok(format!("{text}\n"))
    }

    fn ps(&self, arguments: &[&str]) -> ExecResult {
        let only = arguments.contains(&"args");
        let mut lines = vec![(1, "{init} /bin/sh /sbin/init".to_owned())];
        let processes = self.place.processes.list();
        lines.extend(
            processes
                .iter()
                .map(|process| (process.id, process.command.argv.join(" "))),
        );
        let head = if only {
            "COMMAND\n"
        } else {
            "PID   USER     COMMAND\n"
        };
        let lines = lines.into_iter().map(|(id, words)| {
            if only {
                format!("{words}\n")
            } else {
                format!("{id:5} root     {words}\n")
            }
        });
        ExecResult::ok(format!("{head}{}", lines.collect::<String>()))
    }

    async fn sleep(&self, arguments: &[&str]) -> ExecResult {
        let mut total = Duration::ZERO;
        for argument in arguments {
            let (number, unit) = match argument.char_indices().last() {
                Some((at, 's')) => (&argument[..at], 1.0),
                Some((at, 'm')) => (&argument[..at], 60.0),
                Some((at, 'h')) => (&argument[..at], 3600.0),
                Some((at, 'd')) => (&argument[..at], 86400.0),
                _ => (*argument, 1.0),
            };
            let seconds = number.parse::<f64>().ok();
            let duration =
                seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds * unit).ok());
            match duration {
                Some(duration) => total = total.saturating_add(duration),
                None if *argument == "infinity" => total = Duration::MAX,
                None => {
                    return ExecResult::err(format!("sleep: invalid number '{argument}'\n"), 1);
                }
            }
        }
        let clock = &self.place.daemon.clock;
        let rests = clock.rests();
        clock.sleep(total).await;
        drop(rests);
        ExecResult::ok("")
    }
}
