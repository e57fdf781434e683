use std::time::{Duration, Instant};

use crate::{Client, Error, EventType, Events, Limit, ServerEvent};
use malleus_core::clock::Clock;

/// The shortest and the longest pause between two looks.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// How long after something happened to an instance most of what is waited for comes: an address, a port, a file.
const SOON: Duration = Duration::from_secs(5);

/// After that the pauses grow with the time that has gone by, as this part of it.
const PART: u32 = 10;

/// Lifecycle events after which an instance may be as it was not before. Commands and files have events
/// too; those would answer our own looks.
const TELLING: [&str; 9] = [
    "instance-created",
    "instance-started",
    "instance-ready",
    "instance-agent-started",
    "instance-restarted",
    "instance-resumed",
    "instance-shutdown",
    "instance-stopped",
    "instance-deleted",
];

/// Those of them that say that it has ended.
const ENDINGS: [&str; 3] = ["instance-shutdown", "instance-stopped", "instance-deleted"];

/// What the last telling event was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing, or that the instance goes on.
    Nothing,
    /// That it has ended.
    Ending,
}

/// Rests between two looks, with an ear on the server's events.
pub(super) struct Listener<'a> {
    client: &'a Client,
    instance: &'a str,
    /// `None` where they are refused or broken.
    events: Option<Events>,
    /// When something last happened to the instance.
    moved: Instant,
    heard: Heard,
}

impl<'a> Listener<'a> {
    /// Begins to listen: what happens from now on is heard.
    pub(super) fn new(client: &'a Client, instance: &'a str, limit: Limit) -> Result<Self, Error> {
        // A simulated clock moves on by pauses, not by silence.
        let events = if client.clock() == Clock::machine() {
            match client.events_within(&[EventType::Lifecycle], limit) {
                Ok(events) => Some(events),
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(_) => None,
            }
        } else {
            None
        };
        Ok(Self {
            client,
            instance,
            events,
            moved: client.clock().now(),
            heard: Heard::Nothing,
        })
    }

    pub(super) fn heard(&self) -> Heard {
        self.heard
    }

    /// Something has happened to the instance that was seen, not heard.
    pub(super) fn moved(&mut self) {
        self.moved = self.client.clock().now();
    }

    /// Rests until something has happened to the instance, or it is time to look again: not before the server has
    /// rested as long as the last look took, so that many waits at a time do not take its processors from what they wait for.
    pub(super) fn rest(&mut self, limit: Limit, looked: Duration) -> Result<(), Error> {
        let grown = self.client.clock().elapsed(self.moved).saturating_sub(SOON) / PART;
        let pause = grown.max(looked).clamp(PAUSE.0, PAUSE.1);
        let pause = self.client.limit("pause", pause).earlier(limit);
        while let Some(events) = &mut self.events {
            match events.next(pause) {
                Ok(Some(event)) if self.tells(&event) => return Ok(()),
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(_) => self.events = None,
            }
        }
        self.client.pause(pause.remaining().unwrap_or(PAUSE.0))
    }

    /// Whether an event says something new about the instance.
    fn tells(&mut self, event: &ServerEvent) -> bool {
        let (Some(instance), Some(action)) = (event.instance(), event.action()) else {
            return false;
        };
        if instance != self.instance || !TELLING.contains(&action) {
            return false;
        }
        self.heard = if ENDINGS.contains(&action) {
            Heard::Ending
        } else {
            Heard::Nothing
        };
        self.moved();
        true
    }
}
