//! `-v` and `-vv`: requests and replies as they happen.

use malleus::client::{Content, Observer, Reply, Trace, secrets_of};
use malleus::report::Verbosity;
use serde_json::Value;

use super::console::Console;

/// Bodies longer than this are cut.
const LONGEST: usize = 2000;

/// Writes a line for each exchange.
pub(crate) struct Tracer(Console);

impl Tracer {
    /// An observer for the client, if anyone wants to read what it says.
    pub(crate) fn observer(console: &Console) -> Option<Self> {
        console
            .human
            .says(Verbosity::Verbose)
            .then(|| Self(console.clone()))
    }

    fn body(&self, arrow: &str, body: &str) {
        if !self.0.human.says(Verbosity::Everything) || body.is_empty() {
            return;
        }
        // Masked before it is cut: half a secret is no longer recognised.
        let masked = self.0.masker.mask(body);
        let cut: String = masked.chars().take(LONGEST).collect();
        let rest = masked.chars().count().saturating_sub(LONGEST);
        let more = if rest > 0 {
            format!(" … {rest} more characters")
        } else {
            String::new()
        };
        self.0.line(format!("    {arrow} {cut}{more}"));
    }
}

impl Observer for Tracer {
    fn observe(&self, trace: &Trace<'_>) {
        match trace {
            Trace::Request { body, .. } => {
                self.body(">", &body.map(Value::to_string).unwrap_or_default());
            }
            Trace::Reply { reply, elapsed } => {
                self.0.masker.add(&secrets_of(reply).into());
                let time = elapsed.as_secs_f64() * 1000.0;
                self.0.line(format!(
                    "    {} {} → {} ({time:.1} ms)",
                    reply.method, reply.path, reply.status
                ));
                self.body("<", &content(reply));
            }
            Trace::Failure {
                method,
                path,
                error,
                ..
            } => {
                self.0.line(format!("    {method} {path} → {error}"));
            }
            _ => {}
        }
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
