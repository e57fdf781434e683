//! Which server a step talks to, where a playbook has several.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::action::ActionError;
use super::concurrency_limit::ConcurrencyLimits;
use super::executor::{Frame, Run, server_in_scope};
use crate::client::{Client, Error};
use crate::template::Template;

/// Gives the client for a remote by its name, or by what a journal calls it. It may be asked for the same one again.
pub type Remotes<'a> = dyn Fn(&str) -> Result<Client, Error> + Sync + 'a;

/// Connections to other servers that are cancelled together with a frame's own: one pool for each.
#[derive(Clone, Default)]
pub(super) struct RemoteClients(Arc<Mutex<Vec<(String, Client)>>>);

impl RemoteClients {
    fn get(
        &self,
        remote: &str,
        connect: impl FnOnce() -> Result<Client, Error>,
    ) -> Result<Client, Error> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = known.iter().find(|(name, _)| name == remote) {
            return Ok(client.clone());
        }
        let client = connect()?;
        known.push((remote.to_owned(), client.clone()));
        Ok(client)
    }
}

/// The limits of servers other than the run's own.
#[derive(Default)]
pub(super) struct RemoteLimits(Mutex<HashMap<String, Arc<ConcurrencyLimits>>>);

impl RemoteLimits {
    fn of(&self, client: &Client, width: usize) -> Arc<ConcurrencyLimits> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let limits = known
            .entry(client.remote().to_string())
            .or_insert_with(|| Arc::new(ConcurrencyLimits::new(width)));
        Arc::clone(limits)
    }
}

impl<'a> Run<'a> {
    /// How much the server of a client gets at a time.
    pub(super) fn limits(&self, client: &Client) -> Arc<ConcurrencyLimits> {
        if self.is_home(client) {
            Arc::clone(&self.limits)
        } else {
            self.remote_limits.of(client, self.session.width)
        }
    }

    fn is_home(&self, client: &Client) -> bool {
        client.remote() == self.session.client.remote()
    }

    /// The frame of a step that says which server it is for: `server` is that one's, and so is the project, unless the
    /// playbook names one.
    pub(super) fn abroad(
        &self,
        remote: &Template,
        frame: &Frame<'a>,
    ) -> Result<Frame<'a>, ActionError> {
        let name = self.renderer(frame).text(remote)?;
        let what = || format!("connect to {name}");
        let client = frame.abroad.get(&name, || {
            let found = (self.session.remotes)(&name)?;
            let found = if self.is_home(&found) {
                self.session.client.clone()
            } else {
                found
            };
            Ok(frame.client.child_of(&found))
        });
        let client = client.map_err(|error| ActionError::client(error, what()))?;
        if client.remote() == frame.client.remote() {
            return Ok(frame.clone());
        }
        let project = if self.is_home(&client) {
            frame.home_project.as_deref().map(str::to_owned)
        } else {
            let own = frame.plan.project.as_ref();
            own.map(|project| self.renderer(frame).text(project))
                .transpose()?
        };
        let client = match project {
            Some(project) => client.with_project(&project),
            None => client,
        };
        Ok(Frame {
            scope: frame.scope.lens("server", &server_in_scope(&client)),
            abroad: RemoteClients::default(),
            client,
            ..frame.clone()
        })
    }

    /// A client for what must be done about a resource of some server, whatever is cancelled.
    pub(super) fn cleaner(&self, remote: &str) -> Result<Client, Error> {
        let home = &self.session.client;
        if remote == home.remote().to_string() {
            return Ok(home.detached());
        }
        self.cleaners.get(remote, || {
            (self.session.remotes)(remote).map(|client| client.detached())
        })
    }
}
