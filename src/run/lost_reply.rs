//! A request whose connection broke before the answer: what makes something is not sent again without a look.

use std::time::Duration;

use super::action::Attempt;
use crate::client::{Error, Reply, Request, Sent};
use crate::resources::{Resource, Ticket};

/// How long to go on looking, while the server is away as well.
const PATIENCE: Duration = Duration::from_secs(30);
/// The pause before each look.
const PAUSE: Duration = Duration::from_millis(500);
/// How many looks in a row must find nothing: the server may still be carrying the request out.
const LOOKS: usize = 4;

impl Attempt<'_, '_> {
    /// Sends a request that has been announced to the tracker. Where the connection breaks, and it makes a resource that
    /// was not there before, the server is asked: the resource itself is the answer then, and where it is not there the
    /// request is sent again.
    pub(super) fn deliver(&self, request: &Request, ticket: &Ticket) -> Result<Reply, Error> {
        let sent = self.send_once(request, ticket);
        let Err(error) = sent else { return sent };
        let tracker = self.run.session.tracker;
        if !error.may_have_been_sent() {
            tracker.unsent(ticket);
            return Err(error);
        }
        match tracker.expected(ticket) {
            Some(resource) if broke(&error) => self.look_first((request, ticket), &resource, error),
            _ => Err(error),
        }
    }

    fn send_once(&self, request: &Request, ticket: &Ticket) -> Result<Reply, Error> {
        let client = &self.frame.client;
        // The server makes it whether or not anybody waits for the answer; an upload ends with its connection.
        if ticket.makes() && request.upload_file().is_none() {
            client.with_grace()?.send(request)
        } else {
            client.send(request)
        }
    }

    fn look_first(
        &self,
        (request, ticket): (&Request, &Ticket),
        resource: &Resource,
        mut error: Error,
    ) -> Result<Reply, Error> {
        let client = &self.frame.client;
        let patience = client.limit("patience", PATIENCE).earlier(self.limit);
        let mut absent = 0;
        while !patience.is_over() {
            client.pause(PAUSE)?;
            match client.send(&resource.look().limit(patience)) {
                Ok(reply) if reply.status == 404 => absent += 1,
                Ok(reply) if reply.api_error().is_none() => return Ok(reply),
                Ok(_) => absent = 0,
                Err(away) if away.is_transient() || broke(&away) => absent = 0,
                Err(other) => return Err(other),
            }
            if absent < LOOKS {
                continue;
            }
            absent = 0;
            match self.send_once(request, ticket) {
                Err(again) if again.is_transient() || broke(&again) => error = again,
                other => return other,
            }
        }
        Err(error)
    }
}

/// Whether the connection broke when the server may have got the request.
fn broke(error: &Error) -> bool {
    matches!(
        error,
        Error::Interrupted {
            sent: Sent::Maybe,
            ..
        }
    )
}
