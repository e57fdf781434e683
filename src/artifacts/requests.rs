//! The last exchanges of a run, with their bodies as far as these are of a size to be read.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use malleus_api::ApiPath;
use serde_json::{Value, json};

use super::events::seconds;
use crate::client::{Content, Reply, Trace, encode};
use crate::secret::Masker;

/// The most of a body that is shown.
const LONGEST: usize = 16 << 10;
/// What is kept of a longer body beyond that: no secret is longer, so that each of them is whole before the cut.
const MARGIN: usize = 8 << 10;
/// The most of all bodies.
const ALL: usize = 16 << 20;
/// The most exchanges.
const MOST: usize = 10_000;

/// The exchanges of a run.
pub(super) struct Requests(Mutex<Inner>);

struct Inner {
    began: Instant,
    /// What the threads are sending.
    under_way: HashMap<ThreadId, (Duration, Body)>,
    done: VecDeque<Exchange>,
    size: usize,
    left_out: usize,
    instances: Vec<Involved>,
}

/// An instance that a request was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Involved {
    pub(super) project: String,
    /// Percent-encoded, as in paths.
    pub(super) name: String,
}

struct Exchange {
    at: Duration,
    method: String,
    path: String,
    request: Body,
    answer: Answer,
    took: Duration,
}

enum Answer {
    Reply(u16, Body),
    Failure(String),
}

/// A body as text, or its beginning.
#[derive(Default)]
struct Body {
    text: String,
    /// How long it was as a whole.
    whole: usize,
}

impl Default for Requests {
    fn default() -> Self {
        Self(Mutex::new(Inner {
            began: Instant::now(),
            under_way: HashMap::new(),
            done: VecDeque::new(),
            size: 0,
            left_out: 0,
            instances: Vec::new(),
        }))
    }
}

impl Requests {
    pub(super) fn take(&self, trace: &Trace<'_>) {
        match trace {
            Trace::Request { path, body, .. } => {
                let body = Body::new(body.map(Value::to_string).unwrap_or_default());
                let mut inner = self.inner();
                let at = inner.began.elapsed();
                inner.under_way.insert(thread::current().id(), (at, body));
                if let Some(instance) = Involved::of(path) {
                    // The latest last.
                    inner.instances.retain(|known| *known != instance);
                    inner.instances.push(instance);
                }
            }
            Trace::Reply { reply, elapsed } => {
                let answer = Answer::Reply(reply.status, Body::new(content(reply)));
                self.ended((&reply.method, &reply.path), answer, *elapsed);
            }
            Trace::Failure {
                method,
                path,
                error,
                elapsed,
            } => self.ended((method, path), Answer::Failure(error.to_string()), *elapsed),
            // Kinds of traces that later versions of the client may add.
            _ => {}
        }
    }

    fn ended(&self, (method, path): (&str, &str), answer: Answer, took: Duration) {
        let mut inner = self.inner();
        let (at, request) = inner
            .under_way
            .remove(&thread::current().id())
            .unwrap_or_default();
        inner.push(Exchange {
            at,
            method: method.to_owned(),
            path: path.to_owned(),
            request,
            answer,
            took,
        });
    }

    /// The instances that requests were about, the latest last.
    pub(super) fn instances(&self) -> Vec<Involved> {
        self.inner().instances.clone()
    }

    /// One JSON object a line, without secrets.
    pub(super) fn lines(&self, masker: &Masker) -> String {
        let inner = self.inner();
        let mut lines = String::new();
        if inner.left_out > 0 {
            lines += &format!("{}\n", json!({"left_out": inner.left_out}));
        }
        for exchange in &inner.done {
            lines += &format!("{}\n", exchange.told(masker));
        }
        lines
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn push(&mut self, exchange: Exchange) {
        self.size += exchange.size();
        self.done.push_back(exchange);
        while self.size > ALL || self.done.len() > MOST {
            let Some(oldest) = self.done.pop_front() else {
                break;
            };
            self.size -= oldest.size();
            self.left_out += 1;
        }
    }
}

impl Exchange {
    fn size(&self) -> usize {
        let answer = match &self.answer {
            Answer::Reply(_, body) => body.text.len(),
            Answer::Failure(text) => text.len(),
        };
        self.path.len() + self.request.text.len() + answer
    }

    fn told(&self, masker: &Masker) -> Value {
        let mut line = json!({
            "at": seconds(self.at),
            "method": self.method,
            "path": masker.mask(&self.path),
            "duration": seconds(self.took),
            "request": self.request.told(masker),
        });
        match &self.answer {
            Answer::Reply(status, body) => {
                line["status"] = (*status).into();
                line["reply"] = body.told(masker);
            }
            Answer::Failure(text) => line["failure"] = masker.mask(text).into(),
        }
        line
    }
}

impl Body {
    fn new(mut text: String) -> Self {
        let whole = text.len();
        if whole > LONGEST + MARGIN {
            let mut end = LONGEST + MARGIN;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            text.shrink_to_fit();
        }
        Self { text, whole }
    }

    /// JSON as such; other text, and what is cut, as text.
    fn told(&self, masker: &Masker) -> Value {
        if self.text.is_empty() {
            return Value::Null;
        }
        if self.whole <= LONGEST {
            return match serde_json::from_str::<Value>(&self.text) {
                Ok(value) => masker.mask_value(&value),
                Err(_) => masker.mask(&self.text).into(),
            };
        }
        let shown = masker.mask(&self.text);
        // Where the text was cut already, a secret may have lost its end: it is in what goes now.
        let safe = if self.text.len() < self.whole {
            shown.len().saturating_sub(MARGIN)
        } else {
            shown.len()
        };
        let mut end = safe.min(LONGEST);
        while !shown.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}… ({} bytes in all)", &shown[..end], self.whole).into()
    }
}

impl Involved {
    /// The instance that a path with its query is about.
    fn of(target: &str) -> Option<Self> {
        let path = ApiPath::parse(target)?;
        Some(Self {
            project: path.project().unwrap_or("default").to_owned(),
            name: encode(path.instance()?),
        })
    }
}

fn content(reply: &Reply) -> String {
    match &reply.content {
        Content::Bytes(bytes) => format!("({} bytes)", bytes.len()),
        Content::Streamed { bytes } => format!("({bytes} bytes, streamed)"),
        Content::Empty => String::new(),
        Content::Text(text) => text.clone(),
        Content::Envelope(_) | Content::Json(_) => reply.body().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_at_the_cut_is_not_half_shown() {
        let masker = Masker::default();
        masker.add(&json!("swordfish-swordfish"));
        for at in [LONGEST - 5, LONGEST + MARGIN - 5] {
            let text = format!(
                "{}swordfish-swordfish{}",
                "x".repeat(at),
                "y".repeat(MARGIN)
            );
            let whole = text.len();
            let told = Body::new(text).told(&masker).to_string();
            assert!(!told.contains("sword"), "{at}");
            assert!(told.contains(&format!("({whole} bytes in all)")), "{at}");
            assert!(told.len() < LONGEST + 100);
        }
    }

    #[test]
    fn the_oldest_are_left_out() {
        let requests = Requests::default();
        for number in 0..MOST + 3 {
            let answer = Answer::Failure(String::new());
            requests.ended(("GET", &format!("/{number}")), answer, Duration::ZERO);
        }
        let lines = requests.lines(&Masker::default());
        assert_eq!(lines.lines().count(), MOST + 1);
        assert!(lines.starts_with("{\"left_out\":3}\n"), "{}", &lines[..80]);
        assert!(lines.contains("\"path\":\"/3\""));
    }

    #[test]
    fn instances_of_paths() {
        let involved = |project: &str, name: &str| {
            Some(Involved {
                project: project.into(),
                name: name.into(),
            })
        };
        for (target, expected) in [
            ("/1.0/instances/web/exec", involved("default", "web")),
            (
                "/1.0/instances/web?x=1&project=a%20b",
                involved("a b", "web"),
            ),
            ("/1.0/instances?project=p", None),
            ("/1.0/images/web", None),
            ("/internal/instances/web", None),
        ] {
            assert_eq!(Involved::of(target), expected, "{target}");
        }
    }
}
