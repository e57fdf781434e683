//! Failures that a simulated daemon shows on order, as they are written.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `fail`: the operation fails, and nothing has changed.
    Fail,
    /// `fail-late`: the operation does its work and then says that it failed.
    FailLate,
    /// `slow:DURATION`: the operation takes that long.
    Slow(Duration),
    /// `never`: the operation does not end.
    Never,
    /// `reset-before`: the connection breaks before the request is carried out.
    ResetBefore,
    /// `reset-after`: the request is carried out, then the connection breaks without an answer.
    ResetAfter,
    /// `unavailable`: status 503; nothing is carried out.
    Unavailable,
    /// `locked`: "database is locked"; nothing is carried out.
    Locked,
    /// `malformed`: the request is carried out; the answer is no JSON.
    Malformed,
    /// `truncated`: the request is carried out; half of the answer comes, then the connection breaks.
    Truncated,
    /// `trickle`: the answer comes byte by byte.
    Trickle,
    /// `restart`: the daemon starts again: it forgets its operations, and all connections break.
    Restart,
}

const WORDS: &str = "fail, fail-late, slow:DURATION, never, reset-before, reset-after, unavailable, locked, \
     malformed, truncated, trickle or restart";

/// What a rule can be about.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "*"];

/// Which requests have a fault: written `METHOD PATH[#N]=FAULT`, such as `POST instances#2=slow:5s`.
///
/// A `*` in the path stands for one segment, the method may be one too. With `#N` the rule holds for the Nth
/// matching request alone, counted from 1; without, for all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    method: String,
    path: Vec<String>,
    nth: Option<u32>,
    fault: Fault,
}

/// Why a text is no [`Rule`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadRule(String);

impl Rule {
    /// A rule for requests written as `METHOD PATH`.
    ///
    /// # Errors
    /// When there is no method or no path, or the fault is unknown.
    pub fn new(on: &str, nth: Option<u32>, fault: &str) -> Result<Self, BadRule> {
        let (method, path) = on
            .trim()
            .split_once(' ')
            .ok_or_else(|| BadRule(format!("`{on}` names no request: write METHOD PATH")))?;
        let method = method.to_uppercase();
        if !METHODS.contains(&method.as_str()) {
            let all = METHODS.join(", ");
            return Err(BadRule(format!(
                "`{method}` is no method: use one of {all}"
            )));
        }
        if nth == Some(0) {
            return Err(BadRule("`nth` counts from 1".to_owned()));
        }
        let path = path.trim().trim_start_matches('/');
        let path = path.strip_prefix("1.0/").unwrap_or(path);
        Ok(Self {
            method,
            path: path.split('/').map(str::to_owned).collect(),
            nth,
            fault: fault.parse()?,
        })
    }

    /// What goes wrong.
    pub fn fault(&self) -> &Fault {
        &self.fault
    }

    /// The matching request that it holds for, counted from 1; all of them where there is none.
    pub fn nth(&self) -> Option<u32> {
        self.nth
    }

    /// Whether a request is one of those that the rule is about; `path` has the segments below `/1.0`.
    pub fn matches(&self, method: &str, path: &[String]) -> bool {
        let same = |(wanted, is): (&String, &String)| wanted == "*" || wanted == is;
        (self.method == "*" || self.method == method)
            && self.path.len() == path.len()
            && self.path.iter().zip(path).all(same)
    }
}

impl FromStr for Rule {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Self, BadRule> {
        let (on, fault) = text
            .rsplit_once('=')
            .ok_or_else(|| BadRule(format!("`{text}`: write METHOD PATH[#N]=FAULT")))?;
        let (on, nth) = match on.rsplit_once('#') {
            None => (on, None),
            Some((on, nth)) => match nth.trim().parse() {
                Ok(nth) if nth > 0 => (on, Some(nth)),
                _ => return Err(BadRule(format!("`{nth}` does not count from 1"))),
            },
        };
        Self::new(on, nth, fault)
    }
}

impl FromStr for Fault {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Self, BadRule> {
        Ok(match text.trim() {
            "fail" => Self::Fail,
            "fail-late" => Self::FailLate,
            "never" => Self::Never,
            "reset-before" => Self::ResetBefore,
            "reset-after" => Self::ResetAfter,
            "unavailable" => Self::Unavailable,
            "locked" => Self::Locked,
            "malformed" => Self::Malformed,
            "truncated" => Self::Truncated,
            "trickle" => Self::Trickle,
            "restart" => Self::Restart,
            other => {
                let duration = other.strip_prefix("slow:").map(crate::duration::parse);
                match duration {
                    Some(Ok(duration)) => Self::Slow(duration),
                    Some(Err(error)) => return Err(BadRule(error)),
                    None => return Err(BadRule(format!("`{other}` is no fault: use {WORDS}"))),
                }
            }
        })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} on {} {}",
            self.fault,
            self.method,
            self.path.join("/")
        )
    }
}
