//! The output that daemons record of commands: whose it is, and when it is gone.

use malleus_api::ApiPath;

use super::action::Attempt;
use super::executor::Run;
use super::pending_work::ExecLog;
use crate::client::{Operation, Reply, Request};
use crate::resources::{Resource, Retention};

impl Attempt<'_, '_> {
    /// A command has begun whose output is recorded: in an instance that is not the run's own it would stay.
    pub(super) fn note_log(&self, log: &ExecLog) {
        let tracker = self.run.session.tracker;
        if !tracker.has(&log.instance()) {
            tracker.add(log.resource(), (&self.owner, Retention::Removed));
        }
    }

    /// A plain request that has the daemon record a command's output leaves logs, as `exec` does.
    pub(super) fn note_recorded_logs(&self, request: &Request, reply: &Reply, begun: &Operation) {
        let Some(path) = ApiPath::parse(&reply.path) else {
            return;
        };
        let records = request
            .json_body()
            .is_some_and(|body| body["record-output"] == true);
        let (Some(instance), "POST", true) = (path.exec_in(), request.method(), records) else {
            return;
        };
        let log = ExecLog {
            client: match path.project() {
                Some(project) => self.frame.client.with_project(project),
                None => self.frame.client.clone(),
            },
            instance: instance.to_owned(),
            operation: begun.id.clone(),
        };
        self.note_log(&log);
        self.run.pending_work().logs.push(log);
    }

    /// Logs that the playbook has deleted itself, or that went with their instance, need nobody to delete them.
    pub(super) fn forget_logs(&self, request: &Request) {
        let path = ApiPath::parse(request.path()).filter(|_| request.method() == "DELETE");
        let Some((path, instance)) = path
            .as_ref()
            .and_then(|path| Some((path, path.instance()?)))
        else {
            return;
        };
        let is_meant = |log: &ExecLog| {
            log.instance == instance
                && (path.is_instance()
                    // Both files are one resource, known by the first of them.
                    || path.name().ends_with(".stdout")
                        && path.recorded_output() == Some((instance, log.operation.as_str())))
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
