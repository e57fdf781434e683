//! The templates in an action: what the static check follows and what messages show the values of.

use super::plan::{Action, Body, Command, Io, PushSource, Ready};
use crate::template::Template;

impl Command {
    fn templates(&self) -> Vec<&Template> {
        match self {
            Self::Arguments(arguments) => arguments.iter().collect(),
            Self::Shell(line) | Self::List(line) => vec![line],
        }
    }
}

impl Action {
    /// The action's own templates in written order; not those of steps inside it.
    pub fn templates(&self) -> Vec<&Template> {
        match self {
            Self::Request(request) => {
                let body = match &request.body {
                    Body::None => None,
                    Body::Json(template) | Body::Upload(template) => Some(template),
                };
                let pairs = request.query.iter().chain(&request.headers);
                std::iter::once(&request.path)
                    .chain(pairs.map(|(_, value)| value))
                    .chain(body)
                    .chain(&request.save)
                    .collect()
            }
            Self::Exec(exec) => {
                let command = exec.command.templates();
                let stdin = match &exec.io {
                    Io::Streamed(stdin) => stdin.as_ref(),
                    Io::Recorded => None,
                };
                std::iter::once(&exec.instance)
                    .chain(command)
                    .chain(exec.environment.iter().map(|(_, value)| value))
                    .chain(
                        [&exec.creates, &exec.cwd, &exec.user, &exec.group]
                            .into_iter()
                            .flatten(),
                    )
                    .chain(stdin)
                    .collect()
            }
            Self::Push(push) => {
                let (PushSource::Content(source) | PushSource::Local(source)) = &push.source;
                [&push.instance, &push.path, source]
                    .into_iter()
                    .chain([&push.mode, &push.uid, &push.gid].into_iter().flatten())
                    .collect()
            }
            Self::Pull(pull) => vec![&pull.instance, &pull.path, &pull.to],
            Self::WaitFor(wait) => std::iter::once(&wait.instance)
                .chain(wait.ready.iter().flat_map(|ready| match ready {
                    Ready::Word(_) => Vec::new(),
                    Ready::Tcp(value) | Ready::File(value) => vec![value],
                    Ready::Exec(command) => command.templates(),
                }))
                .collect(),
            Self::Ensure(ensure) => std::iter::once(&ensure.path)
                .chain(ensure.query.iter().map(|(_, value)| value))
                .chain(&ensure.body)
                .chain(&ensure.state)
                .collect(),
            Self::Absent(absent) => std::iter::once(&absent.path)
                .chain(absent.query.iter().map(|(_, value)| value))
                .collect(),
            Self::Set(bindings) => bindings.iter().map(|binding| &binding.value).collect(),
            Self::Include(include) => include.with.iter().map(|with| &with.value).collect(),
            Self::Check(_) | Self::Steps(_) | Self::Parallel(_) | Self::Join(_) => Vec::new(),
        }
    }
}
