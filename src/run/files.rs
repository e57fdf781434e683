//! Files into instances and out of them, and waiting until an instance is ready.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

use super::action::{ActionError, ActionResult, Attempt, refusal};
use super::command::{number, words};
use crate::client::{Condition, Pull, Push, Skipped, Source, Wait};
use crate::diagnostic::Diagnostic;
use crate::events::Kind;
use crate::playbook::document::octal;
use crate::playbook::plan::{self, PushSource, Ready};
use crate::template::{Template, TemplateError};

impl Attempt<'_, '_> {
    pub(super) fn push(&self, action: &plan::Push) -> Result<ActionResult, ActionError> {
        let renderer = self.renderer();
        let source = match &action.source {
            PushSource::Content(text) => Source::Bytes(renderer.text(text)?.into_bytes()),
            PushSource::Local(file) => {
                let path = self.path(file)?;
                if path.is_dir() {
                    Source::Folder(path)
                } else {
                    Source::File(path)
                }
            }
        };
        let instance = renderer.text(&action.instance)?;
        let mut push = Push::new(&instance, renderer.text(&action.path)?, source);
        push.mode = action
            .mode
            .as_ref()
            .map(|mode| self.mode(mode))
            .transpose()?;
        let id = |template: &Template| number(&renderer, template);
        push.uid = action.uid.as_ref().map(id).transpose()?;
        push.gid = action.gid.as_ref().map(id).transpose()?;
        let what = format!("push {} to {instance}", push.path);
        match self.frame.client.push(&push, &self.wait()) {
            Ok(pushed) => Ok(ActionResult {
                metadata: json!({"files": pushed.files, "bytes": pushed.bytes}),
                what,
                ..ActionResult::default()
            }),
            Err(error) => refusal(error, &what),
        }
    }

    pub(super) fn pull(&self, action: &plan::Pull) -> Result<ActionResult, ActionError> {
        let renderer = self.renderer();
        let instance = renderer.text(&action.instance)?;
        let to = renderer.text(&action.to)?;
        let mut local = self.frame.plan.source.folder().join(&to).into_os_string();
        if to.ends_with('/') && !local.to_string_lossy().ends_with('/') {
            // The slash says that what is pulled keeps its name inside the folder.
            local.push("/");
        }
        let pull = Pull::new(&instance, renderer.text(&action.path)?, local)
            .below(self.frame.plan.source.folder());
        let what = format!("pull {} from {instance}", pull.path);
        let skipped = Mutex::new(Vec::new());
        let note = |left_out: Skipped| {
            let path = left_out.path.display();
            let words = format!("{path} of {instance} is {}, and not pulled", left_out.kind);
            let warning = Kind::Warning(Diagnostic::warning(words));
            self.run.emit(&self.frame.events, warning);
            let mut skipped = skipped.lock().unwrap_or_else(PoisonError::into_inner);
            skipped.push(path.to_string());
        };
        let pulled = self.frame.client.pull_noting(&pull, &self.wait(), &note);
        let mut skipped = skipped.into_inner().unwrap_or_else(PoisonError::into_inner);
        skipped.sort();
        match pulled {
            Ok(pulled) => Ok(ActionResult {
                metadata: json!({"files": pulled.files, "bytes": pulled.bytes, "skipped": skipped}),
                what,
                ..ActionResult::default()
            }),
            Err(error) => refusal(error, &what),
        }
    }

    pub(super) fn wait_for(&self, action: &plan::WaitFor) -> Result<ActionResult, ActionError> {
        let renderer = self.renderer();
        let instance = renderer.text(&action.instance)?;
        let mut conditions = Vec::new();
        for ready in &action.ready {
            conditions.push(self.condition(ready)?);
        }
        let limit = action.within.map_or(self.limit, |after| {
            let client = &self.frame.client;
            client.limit("wait", after).earlier(self.limit)
        });
        let wait = Wait {
            limit,
            ..self.wait()
        };
        let what = format!("wait for {instance}");
        match self.frame.client.wait_ready(&instance, &conditions, &wait) {
            Ok(ready) => Ok(ActionResult {
                metadata: json!({
                    "waited": Duration::as_secs_f64(&ready.waited),
                    "ipv4": ready.addresses.ipv4,
                    "ipv6": ready.addresses.ipv6,
                }),
                what,
                ..ActionResult::default()
            }),
            Err(error) => refusal(error, &what),
        }
    }

    fn condition(&self, ready: &Ready) -> Result<Condition, TemplateError> {
        let renderer = self.renderer();
        Ok(match ready {
            Ready::Word(word) => match word.as_str() {
                "stopped" => Condition::Stopped,
                "agent" => Condition::Agent,
                "ipv4" => Condition::Ipv4,
                "ipv6" => Condition::Ipv6,
                "cloud-init" => Condition::CloudInit,
                // The grammar admits no other word.
                _ => Condition::Running,
            },
            Ready::Tcp(port) => {
                let value = renderer.value(port)?;
                let port_number = value.as_u64().and_then(|port| u16::try_from(port).ok());
                Condition::Tcp(port_number.filter(|port| *port > 0).ok_or_else(|| {
                    TemplateError {
                        message: format!("a port is an integer from 1 to 65535, not {value}"),
                        span: port.span(),
                    }
                })?)
            }
            Ready::Exec(command) => Condition::Exec(words(&renderer, command)?),
            Ready::File(path) => Condition::File(renderer.text(path)?),
        })
    }

    fn mode(&self, template: &Template) -> Result<u32, TemplateError> {
        let text = self.renderer().text(template)?;
        octal(&text).ok_or_else(|| TemplateError {
            message: format!("`{text}` is not a mode: up to four octal digits such as \"0644\""),
            span: template.span(),
        })
    }
}
