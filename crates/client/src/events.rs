use std::fmt;
use std::io;

use serde_json::Value;

use malleus_api::ApiPath;

use super::websocket::{Frame, Socket};
use super::{Client, Error, Limit, Operation, Request};

/// A kind of event: the API's `type`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// Something has happened to an object, such as `"instance-started"`.
    Lifecycle,
    /// An operation began, made progress or ended.
    Operation,
    /// A message of the server's log; only for clients that are not restricted.
    Logging,
    /// A kind this library does not know, by its own name.
    Other(String),
}

impl EventType {
    /// The API's name for it.
    pub fn name(&self) -> &str {
        match self {
            Self::Lifecycle => "lifecycle",
            Self::Operation => "operation",
            Self::Logging => "logging",
            Self::Other(name) => name,
        }
    }

    fn of(name: &str) -> Self {
        let known = [Self::Lifecycle, Self::Operation, Self::Logging];
        let found = known.into_iter().find(|kind| kind.name() == name);
        found.unwrap_or_else(|| Self::Other(name.to_owned()))
    }
}

/// Something that happened on the server.
///
/// Events come in an order that proves nothing: those of an operation may overtake each other, and the
/// lifecycle event may come before or after the end of its operation. Look at the object itself.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerEvent {
    /// What kind of event it is.
    pub kind: EventType,
    /// When it happened, in RFC 3339.
    pub timestamp: String,
    /// The cluster member it happened on, `"none"` outside clusters, or empty.
    pub location: String,
    /// The project it belongs to; empty for what belongs to none.
    pub project: String,
    /// What happened; its form depends on the kind.
    pub metadata: Value,
}

impl ServerEvent {
    /// Reads an event; `None` for what is none.
    fn from_value(mut raw: Value) -> Option<Self> {
        let text = |key: &str| raw[key].as_str().unwrap_or_default().to_owned();
        Some(Self {
            kind: EventType::of(raw["type"].as_str()?),
            timestamp: text("timestamp"),
            location: text("location"),
            project: text("project"),
            metadata: raw["metadata"].take(),
        })
    }

    /// The `action` of a lifecycle event, such as `"instance-started"`.
    pub fn action(&self) -> Option<&str> {
        self.lifecycle("action")
    }

    /// The `source` of a lifecycle event: the URL of the object, such as `/1.0/instances/c1`. Incus adds
    /// `?project=` outside of the default project.
    pub fn source(&self) -> Option<&str> {
        self.lifecycle("source")
    }

    /// The name of the instance that a lifecycle event is about, its snapshots and backups included. Taken
    /// from the source, as LXD 5.0 sends no `name`.
    pub fn instance(&self) -> Option<String> {
        let path = ApiPath::parse(self.source()?)?;
        path.instance().map(str::to_owned)
    }

    /// The operation that an operation event is about, as it was then.
    pub fn operation(&self) -> Option<Operation> {
        match self.kind {
            EventType::Operation => Operation::from_value(&self.metadata),
            _ => None,
        }
    }

    fn lifecycle(&self, key: &str) -> Option<&str> {
        match self.kind {
            EventType::Lifecycle => self.metadata[key].as_str(),
            _ => None,
        }
    }
}

/// The server's events, as they come. It ends with its connection, or when it is dropped.
pub struct Events {
    client: Client,
    socket: Socket,
    /// The path it was opened at, for errors.
    path: String,
}

impl Client {
    /// Listens to the server's events of these kinds; of all kinds when none is named. They are those of the
    /// client's project, and of no project at all; without one those of the default project.
    ///
    /// What happens after this call has returned is not missed.
    ///
    /// ```no_run
    /// # use malleus_client::{Client, Error, EventType, Limit};
    /// # fn f(client: &Client) -> Result<(), Error> {
    /// let mut events = client.events(&[EventType::Lifecycle])?;
    /// let minute = Limit::after("listening", std::time::Duration::from_secs(60));
    /// while let Some(event) = events.next(minute)? {
    ///     println!("{} {:?} {:?}", event.timestamp, event.action(), event.source());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Api`] when the server refuses, such as log messages for a restricted client.
    pub fn events(&self, kinds: &[EventType]) -> Result<Events, Error> {
        self.events_within(kinds, Limit::never())
    }

    /// The same; the server has to begin within a limit.
    pub(super) fn events_within(&self, kinds: &[EventType], limit: Limit) -> Result<Events, Error> {
        let kinds: Vec<&str> = kinds.iter().map(EventType::name).collect();
        let request = match kinds.as_slice() {
            [] => Request::get("events"),
            kinds => Request::get("events").query("type", kinds.join(",")),
        };
        // Every member of a cluster tells the events of all.
        let project = self.project().map(|project| ("project", project));
        let path = request.target(project.as_slice())?;
        Ok(Events {
            client: self.clone(),
            socket: self.open_websocket(&path, &path, limit)?,
            path,
        })
    }
}

impl Events {
    /// Waits for the next event; `None` when the limit passes first. Later calls go on where this one ended.
    ///
    /// # Errors
    /// [`Error::Cancelled`] as soon as the client is; [`Error::Interrupted`] when the connection is over, as when
    /// the server restarts. What happens from then on is missed until events are asked for anew.
    pub fn next(&mut self, limit: Limit) -> Result<Option<ServerEvent>, Error> {
        loop {
            match self.socket.read_within(limit) {
                Frame::Late => return Ok(None),
                Frame::End => {}
                Frame::Closed => {
                    let gone = "the server has ended the stream of events";
                    let gone = io::Error::new(io::ErrorKind::UnexpectedEof, gone);
                    return Err(self.client.socket_broken(&self.path, gone));
                }
                Frame::Data(data) => {
                    let event = serde_json::from_slice(&data).ok();
                    let event = event.and_then(ServerEvent::from_value);
                    return event.map(Some).ok_or_else(|| Error::Protocol {
                        method: "GET".to_owned(),
                        path: self.path.clone(),
                        reason: "what came is no event".to_owned(),
                    });
                }
            }
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::ServerEvent;
    use serde_json::json;

    #[test]
    fn the_instance_is_found_in_the_source() {
        for (source, expected) in [
            ("/1.0/instances/c1", Some("c1")),
            ("/1.0/instances/c%201", Some("c 1")),
            ("/1.0/instances/c1?project=p", Some("c1")),
            ("/1.0/containers/c1", Some("c1")),
            ("/1.0/virtual-machines/v1/snapshots/s0", Some("v1")),
            ("/1.0/instances/", None),
            ("/1.0/instances", None),
            ("/1.0/profiles/c1", None),
            ("", None),
        ] {
            let raw = json!({"type": "lifecycle", "metadata": {"action": "x", "source": source}});
            let event = ServerEvent::from_value(raw).unwrap();
            assert_eq!(event.instance().as_deref(), expected, "{source}");
        }
    }
}
