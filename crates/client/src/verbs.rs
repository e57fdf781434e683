//! The client's verbs: send, request, run, wait, download.

use std::io::Write;

use super::exchange::{Outgoing, Sink};
use super::request::Judged;
use super::wait::Waiter;
use super::{Class, Client, Error, Limit, Operation, Reply, Request, Wait};

/// What became of a request and of the operation it began.
#[derive(Clone, Debug)]
pub struct Completed {
    /// The reply to the request itself.
    pub reply: Reply,
    /// The operation: as it ended when it was awaited (class task), as it began when it was not
    /// (classes token and websocket), `None` when the request began none.
    pub operation: Option<Operation>,
}

impl Client {
    /// One exchange, nothing judged: the server's refusals come back as a [`Reply`] too.
    pub fn send(&self, request: &Request) -> Result<Reply, Error> {
        self.deliver(request, self.request_limit(request), Sink::Memory)
    }

    /// Sends a request and has the reply validated, unless the request skips that.
    ///
    /// # Errors
    /// [`Error::Api`] when the server refuses, with the default [`Validation`](super::Validation).
    pub fn request(&self, request: &Request) -> Result<Reply, Error> {
        self.judged(request, self.send(request)?)
    }

    /// Sends a request and, when that begins an operation of class task, waits for its end.
    ///
    /// `wait.limit` covers both. Operations of class token never end by themselves and those of class
    /// websocket wait for us, so neither is awaited. Classes unknown to this library are taken for tasks.
    ///
    /// # Errors
    /// Those of [`Client::request`]; [`Error::Operation`] when the operation fails, also when the
    /// request skips validation; [`Error::Lost`] and [`Error::Timeout`] when its end was not seen.
    pub fn run(&self, request: &Request, wait: &Wait<'_>) -> Result<Completed, Error> {
        let limit = self.request_limit(request).earlier(wait.limit);
        let reply = self.judged(request, self.deliver(request, limit, Sink::Memory)?)?;
        let Some(begun) = reply.operation() else {
            let operation = None;
            return Ok(Completed { reply, operation });
        };
        if let Some(started) = wait.started {
            started(&begun);
        }
        let operation = match begun.class {
            Class::Task | Class::Other => {
                let cause = (reply.method.as_str(), reply.path.as_str());
                Waiter::new(self, &begun.id, wait, cause)?.run()?
            }
            Class::Token | Class::Websocket => begun,
        };
        if operation.failed() {
            return Err(Error::failed(operation, &reply.method, &reply.path));
        }
        let operation = Some(operation);
        Ok(Completed { reply, operation })
    }

    /// Sends a request and writes the body of a 2xx reply to `to` as it comes, whatever it is. Other
    /// bodies are decoded and judged as by [`Client::request`].
    ///
    /// # Errors
    /// Those of [`Client::request`], and [`Error::Output`] when `to` fails.
    pub fn download(&self, request: &Request, to: &mut dyn Write) -> Result<Reply, Error> {
        let reply = self.deliver(request, self.request_limit(request), Sink::Writer(to))?;
        self.judged(request, reply)
    }

    /// Waits for an operation, named by its identifier or any of its URLs, and gives it as it ended:
    /// failed ones too, see [`Operation::failed`].
    ///
    /// A server forgets an operation five seconds after its end, so waiting begins at once.
    ///
    /// # Errors
    /// Only when the outcome is unknown: [`Error::Lost`] when the server no longer knows the operation or
    /// stays away for two minutes, [`Error::Timeout`] when the limit passes, [`Error::Cancelled`].
    pub fn wait(&self, operation: &str, wait: &Wait<'_>) -> Result<Operation, Error> {
        Waiter::new(self, operation, wait, ("GET", operation))?.run()
    }

    /// Asks the server to cancel an operation. LXD from 6.7 on answers when the operation has ended, others at once.
    ///
    /// # Errors
    /// [`Error::Api`] with status 400 when the operation cannot be cancelled, which holds for most:
    /// see [`Operation::may_cancel`](super::Operation); [`Error::Timeout`] when the limit passes, with the operation
    /// being cancelled all the same.
    pub fn cancel_operation(&self, operation: &str, limit: Limit) -> Result<(), Error> {
        let wait = Wait::within(limit);
        let path = Waiter::new(self, operation, &wait, ("DELETE", operation))?.path();
        self.request(&Request::delete(path).limit(limit))
            .map(|_| ())
    }

    /// The request target that a request has when this client sends it: path and query, with the client's project and
    /// cluster member.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] when it cannot be sent.
    pub fn target_of(&self, request: &Request) -> Result<String, Error> {
        let scope = [("project", self.project()), ("target", self.target())];
        let scope: Vec<(&str, &str)> = scope
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
            .collect();
        request.target(&scope)
    }

    /// Sends without `target=`: operations are found through any member, by their identifier.
    pub(super) fn send_unscoped(&self, request: &Request) -> Result<Reply, Error> {
        let untargeted = Self {
            target: None,
            ..self.clone()
        };
        untargeted.send(request)
    }

    pub(super) fn deliver(
        &self,
        request: &Request,
        limit: Limit,
        sink: Sink<'_>,
    ) -> Result<Reply, Error> {
        let out = Outgoing {
            request,
            target: self.target_of(request)?,
            limit,
        };
        let reply = self.wire.exchange(&out, sink)?;
        match reply.misfit() {
            Some(reason) => Err(Error::Protocol {
                method: reply.method,
                path: reply.path,
                reason,
            }),
            None => Ok(reply),
        }
    }

    pub(super) fn request_limit(&self, request: &Request) -> Limit {
        let default = || Limit::after("request", self.wire.settings.request_timeout);
        request.limit.unwrap_or_else(default)
    }

    pub(super) fn judged(&self, request: &Request, reply: Reply) -> Result<Reply, Error> {
        if request.judged == Judged::Yes {
            self.wire.settings.validation.validate(&reply)?;
        }
        Ok(reply)
    }
}
