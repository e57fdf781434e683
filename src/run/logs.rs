//! The output that daemons record of commands: whose it is, and when it is gone.

use super::action::Attempt;
use super::executor::Run;
use super::pending_work::ExecLog;
use crate::client::{Operation, Reply, Request};
use crate::resources::Resource;

impl Attempt<'_, '_> {
    /// A command has begun whose output is recorded: in an instance that is not the run's own it would stay.
    pub(super) fn note_log(&self, log: &ExecLog) {
        let tracker = self.run.session.tracker;
        if !tracker.has(&log.instance()) {
            tracker.add(log.resource(), &self.owner);
        }
    }

    /// A plain request that has the daemon record a command's output leaves logs, as `exec` does.
    pub(super) fn note_recorded_logs(&self, request: &Request, reply: &Reply, begun: &Operation) {
        let path = reply.path.split('?').next().unwrap_or_default();
        let instance = below_instances(path).and_then(|rest| rest.strip_suffix("/exec"));
        let instance = instance.filter(|name| !name.contains('/'));
        let body = request.json_body();
        let records = body.is_some_and(|body| body["record-output"] == true);
        let (Some(instance), "POST", true) = (instance, request.method(), records) else {
            return;
        };
        let query = reply.path.split(['?', '&']);
        let project = query.clone().find_map(|pair| pair.strip_prefix("project="));
        let log = ExecLog {
            client: match project {
                Some(project) => self.frame.client.with_project(&decoded(project)),
                None => self.frame.client.clone(),
            },
            instance: decoded(instance),
            operation: begun.id.clone(),
        };
        self.note_log(&log);
        self.run.pending_work().logs.push(log);
    }

    /// Logs that the playbook has deleted itself, or that went with their instance, need nobody to delete them.
    pub(super) fn forget_logs(&self, request: &Request) {
        let ("DELETE", Some(deleted)) = (request.method(), below_instances(request.path())) else {
            return;
        };
        let (instance, rest) = deleted.split_once('/').unwrap_or((deleted, ""));
        let instance = decoded(instance);
        let is_meant = |log: &ExecLog| {
            log.instance == instance
                && (rest.is_empty() || rest.contains(&format!("exec_{}.stdout", log.operation)))
        };
        let mut pending_work = self.run.pending_work();
        let gone: Vec<ExecLog> = pending_work
            .logs
            .extract_if(.., |log| is_meant(log))
            .collect();
        drop(pending_work);
        for log in &gone {
            self.run.log_is_gone(log);
        }
    }
}

impl Run<'_> {
    pub(super) fn log_is_gone(&self, log: &ExecLog) {
        self.session.tracker.gone(&log.resource());
    }
}

impl ExecLog {
    /// The logs as a resource.
    pub(super) fn resource(&self) -> Resource {
        Resource::recorded_output(&self.client, &self.instance, &self.operation)
    }

    fn instance(&self) -> Resource {
        Resource::instance(&self.client, &self.instance)
    }
}

fn below_instances(path: &str) -> Option<&str> {
    path.strip_prefix("/1.0/instances/")
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text)
        .decode_utf8_lossy()
        .into_owned()
}
