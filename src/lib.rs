//! malleus runs declarative playbooks against the REST APIs of LXD and Incus.
//!
//! A library with a thin binary. The library never prints, exits, reads the process's arguments or installs
//! handlers; the binary does that and nothing else.
//!
//! # One way for the data
//!
//! ```text
//! text ──yaml──▶ Document ──check──▶ Plan ──run──▶ Events ──report──▶ people and files
//!                as written          resolved,     facts, in
//!                with positions      valid         order
//! ```
//!
//! # Rooms
//!
//! | room | knows | must not know |
//! | --- | --- | --- |
//! | [`source`], [`diagnostic`] | files, places, the one renderer of problems | everything else |
//! | [`yaml`] | text to values with positions; the only room that names the YAML crate | playbooks |
//! | [`template`] | names, rendering, expressions; the only room that names minijinja | HTTP |
//! | [`playbook`] | the language: what was written, whether it holds, what will run | HTTP, threads |
//! | [`client`] | the API of LXD and Incus, a library on its own; the only room that names ureq and tungstenite | playbooks |
//! | [`remotes`] | which names mean which servers: malleus's own remotes, those of the `incus` and `lxc` clients | playbooks |
//! | [`tracking`] | which resources a run made, its journal, their removal | playbooks |
//! | [`run`] | carries out a plan with a client, emits events | the terminal, arguments |
//! | [`report`] | events and plans to text and files | the client |
//! | [`artifacts`] | what explains a run that failed, as files | the terminal, arguments |
//! | [`fixture`] | a run whose end is that of a value, for tests in Rust | the terminal, arguments |
//! | [`clock`] | time: the machine's, or that of a simulated daemon | everything else |
//! | [`secret`] | values that no output may show | everything else |
//! | `sim` | a simulated daemon on a socket; the only room that names hyper, tokio and bashkit | playbooks, the client |
//!
//! Imports run one way, down this table. What holds everywhere:
//!
//! - [`playbook::grammar`] is one table of all keys: the loader, the JSON Schema and the suggestions in messages follow it.
//! - [`playbook::check`] returns all problems, not the first one, and touches no server. Nothing invalid becomes a
//!   [`playbook::Plan`].
//! - The executor's only output is [`run::Event`]. Its main loop reads as the story: render, send, wait, expect, capture.
//! - Every wait has a name and a limit ([`client::Limit`]), and an error says which limit it was.
//! - What differs between LXD and Incus stands in one table, [`client::Flavor`].
//! - Cleanup has connections of its own ([`client::Client::detached`]), so that cancelling a run cannot cancel it.
//!
//! # A playbook as a fixture of a test
//!
//! ```no_run
//! use malleus::Fixture;
//!
//! # fn test() -> Result<(), malleus::fixture::FixtureError> {
//! let web = Fixture::of("tests/web.yaml").var("image", "busybox").up()?;
//! let address = web.text("address")?;
//! // … the test talks to that address …
//! web.down()
//! # }
//! ```
//!
//! # Running a playbook
//!
//! ```no_run
//! use malleus::client::{Client, Remote};
//! use malleus::playbook::{check, input};
//! use malleus::run::{Event, Session, Sink, Sweep, Sweeps, new_id, run};
//! use malleus::secret::Masker;
//! use malleus::source::Source;
//! use malleus::template::Engine;
//! use malleus::tracking::{Header, Store, Tracker};
//! use std::time::{Duration, SystemTime};
//!
//! struct Print;
//! impl Sink for Print {
//!     fn event(&self, event: Event) {
//!         eprintln!("{event:?}");
//!     }
//! }
//!
//! let environment = |name: &str| std::env::var(name).ok();
//! let engine = Engine::new();
//! let source = Source::read("scenarios/quickstart.yaml".as_ref())?;
//! let plan = check(&source, &engine).plan.ok_or("the playbook has errors")?;
//! let inputs = input::resolve(&plan, &[], &environment).map_err(|_| "an input is missing")?;
//! let id = new_id();
//! let header = Header::new(&id, &plan.name, plan.source.name());
//! let session = Session {
//!     client: Client::connect(&Remote::discover(&environment)?)?,
//!     remotes: &|name| Client::connect(&Remote::parse(name)?),
//!     inputs,
//!     environment: &environment,
//!     engine: &engine,
//!     masker: &Masker::default(),
//!     id,
//!     started: SystemTime::now(),
//!     width: 4,
//!     tracker: &Tracker::journaled(&Store::of_user(&environment)?, header),
//!     sweeps: Sweeps::always(Sweep::Explicit),
//!     cleanup: Duration::from_secs(300),
//!     interlude: None,
//!     examination: None,
//! };
//! let summary = run(&plan, &session, &Print);
//! println!("{} passed, {} failed", summary.passed, summary.failed);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod artifacts;
pub mod client;
pub mod clock;
pub mod diagnostic;
pub mod duration;
pub mod fixture;
mod part;
pub mod playbook;
pub mod remotes;
pub mod report;
pub mod run;
pub mod secret;
#[cfg(feature = "sim")]
pub mod sim;
pub mod source;
pub mod template;
pub mod tracking;
pub mod yaml;

pub use fixture::Fixture;

/// Compiles the README's Rust.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Compiles the Rust of the page about fixtures.
#[cfg(doctest)]
#[doc = include_str!("../docs/fixtures.md")]
struct Fixtures;
