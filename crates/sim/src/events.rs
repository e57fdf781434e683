//! Who is told what happens: the websocket of `GET /1.0/events`.

use std::sync::Arc;
use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Message, handshake::derive_accept_key};

use super::call::{Answer, Call, Refusal, Reply};
use super::daemon::Daemon;

/// A websocket, seen from the server.
pub(super) type Socket = WebSocketStream<TokioIo<Upgraded>>;

const PING: Duration = Duration::from_secs(10);

/// Turns the connection into a websocket once the answer has gone out.
pub(super) async fn accept(connection: OnUpgrade) -> Option<Socket> {
    let upgraded = connection.await.ok()?;
    let io = TokioIo::new(upgraded);
    Some(WebSocketStream::from_raw_socket(io, Role::Server, None).await)
}

/// The answer that goes with [`accept`].
pub(super) fn accepted(key: &str) -> Reply {
    Reply::Websocket(derive_accept_key(key.as_bytes()))
}

#[derive(Clone, Debug)]
struct SentEvent {
    kind: &'static str,
    project: String,
    text: String,
}

/// All who listen.
#[derive(Debug)]
pub(super) struct EventBus(broadcast::Sender<SentEvent>);

impl Default for EventBus {
    fn default() -> Self {
        Self(broadcast::channel(4096).0)
    }
}

/// One event: `kind` is `operation` or `lifecycle`.
pub(super) struct Event<'a> {
    pub(super) kind: &'static str,
    pub(super) project: &'a str,
    pub(super) metadata: Value,
}

impl EventBus {
    /// Whether anybody listens.
    pub(super) fn is_heard(&self) -> bool {
        self.0.receiver_count() > 0
    }

    pub(super) fn send(&self, daemon: &Daemon, event: &Event<'_>) {
        if !self.is_heard() {
            return;
        }
        let text = json!({
            "type": event.kind, "timestamp": daemon.clock.text(), "metadata": event.metadata,
            "location": daemon.here(), "project": event.project,
        });
        // That nobody listens any more is no error.
        let _ = self.0.send(SentEvent {
            kind: event.kind,
            project: event.project.to_owned(),
            text: text.to_string(),
        });
    }
}

/// `GET /1.0/events`.
pub(super) fn listen(daemon: &Arc<Daemon>, call: Call) -> Answer {
    let kinds: Vec<String> = match call.query("type") {
        None | Some("") => ["logging", "operation", "lifecycle"]
            .map(str::to_owned)
            .into(),
        Some(kinds) => kinds.split(',').map(str::to_owned).collect(),
    };
    let known = ["logging", "operation", "lifecycle", "network-acl", "ovn"];
    if let Some(unknown) = kinds.iter().find(|kind| !known.contains(&kind.as_str())) {
        let code = if daemon.profile.is_incus() { 400 } else { 500 };
        return Err(Refusal::new(
            code,
            format!("'{unknown}' isn't a supported event type"),
        ));
    }
    let project = (!call.all_projects()).then(|| call.project().to_owned());
    let Some(upgrade) = call.upgrade else {
        return Ok(Reply::Plain(400, "Bad Request\n"));
    };
    let answer = accepted(&upgrade.key);
    let event = daemon.events.0.subscribe();
    tokio::task::spawn_local(async move {
        if let Some(socket) = accept(upgrade.connection).await {
            tell(socket, event, |event| {
                kinds.iter().any(|kind| kind == event.kind)
                    && project
                        .as_ref()
                        .is_none_or(|project| *project == event.project)
            })
            .await;
        }
    });
    Ok(answer)
}

/// Writes events until the listener has gone.
async fn tell(
    mut socket: Socket,
    mut events: broadcast::Receiver<SentEvent>,
    wanted: impl Fn(&SentEvent) -> bool,
) {
    let mut ping = tokio::time::interval(PING);
    loop {
        let message = tokio::select! {
            _ = ping.tick() => Some(Message::Ping(bytes::Bytes::new())),
            event = events.recv() => match event {
                Ok(event) if wanted(&event) => Some(Message::text(event.text)),
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => None,
                Err(broadcast::error::RecvError::Closed) => return,
            },
            read = super::exec::sockets::read(&mut socket) => match read {
                None => return,
                Some(_) => None,
            },
        };
        if let Some(message) = message
            && super::exec::sockets::write(&mut socket, message)
                .await
                .is_err()
        {
            return;
        }
    }
}
