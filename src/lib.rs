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
//! # What a program that embeds malleus uses
//!
//! | for | module |
//! | --- | --- |
//! | an environment for a test, as long as a value lives | [`Fixture`] |
//! | requests to a server, without playbooks | [`client`] |
//! | a playbook from its file to a plan | [`source`], [`template`], [`playbook`], [`diagnostic`] |
//! | carrying out a plan | [`run`], with [`resources`] for the journal and [`secret`] for the masker |
//! | what happens meanwhile | [`events`], and [`report`] and [`artifacts`] for text and files |
//! | a server to test against | `sim` |
//!
//! # Rooms
//!
//! | package or module | knows | must not know |
//! | --- | --- | --- |
//! | `malleus-core`: [`secret`], clock, durations | time, secrets, atomic files, faults on order | everything else |
//! | `malleus-source`: [`source`], [`diagnostic`], YAML | files, places, the one renderer of problems; text to values with positions. The only package that names the YAML crate for what has positions | playbooks |
//! | `malleus-api` | what the API of LXD and Incus is, without I/O | playbooks, threads |
//! | `malleus-language`: [`template`], [`playbook`] | the language: what was written, whether it holds, what will run. The only package that names minijinja | HTTP, threads |
//! | `malleus-client`: [`client`] | the API of LXD and Incus, a library on its own; the only package that names ureq and tungstenite | playbooks |
//! | `malleus-remotes` | which names mean which servers: malleus's own remotes, those of the `incus` and `lxc` clients | playbooks |
//! | `malleus-sim`: `sim` | a simulated daemon on a socket; the only package that names hyper, tokio and bashkit | playbooks, the client |
//! | [`resources`] | which resources a run made, its journal, their removal | playbooks |
//! | [`events`] | what happens in a run, and who takes it; masks what leaves | everything else |
//! | [`run`] | carries out a plan with a client, emits events | the terminal, arguments |
//! | [`report`] | events and plans to text and files | the client |
//! | [`artifacts`] | what explains a run that failed, as files | the terminal, arguments |
//! | [`fixture`] | a run whose end is that of a value, for tests in Rust | the terminal, arguments |
//!
//! Imports run one way, down this table. What holds everywhere:
//!
//! - [`playbook::grammar`] is one table of all keys: the loader, the JSON Schema and the suggestions in messages follow it.
//! - [`playbook::check`] returns all problems, not the first one, and touches no server. Nothing invalid becomes a
//!   [`playbook::Plan`].
//! - The run's only output is [`events::Event`], masked. Its main loop reads as the story: render, send, wait, expect, capture.
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
//! use malleus::events::{Event, Sink};
//! use malleus::run::{Session, CleanupPolicy, CleanupPolicies, new_id, run};
//! use malleus::secret::Masker;
//! use malleus::source::Source;
//! use malleus::template::Engine;
//! use malleus::resources::{Header, Store, Tracker};
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
//!     cleanup_policies: CleanupPolicies::always(CleanupPolicy::Explicit),
//!     prune: true,
//!     cleanup: Duration::from_secs(300),
//!     before_cleanup: None,
//!     on_failure: None,
//! };
//! let summary = run(&plan, &session, &Print);
//! println!("{} passed, {} failed", summary.passed, summary.failed);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod artifacts;
pub mod events;
pub mod fixture;
pub mod report;
pub mod resources;
pub mod run;

pub use malleus_client as client;
pub use malleus_core::secret;
pub use malleus_language::{playbook, template};
#[cfg(feature = "sim")]
pub use malleus_sim as sim;
pub use malleus_source as source;
pub use malleus_source::diagnostic;

pub use fixture::Fixture;

/// Compiles the README's Rust.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Compiles the Rust of the page about fixtures.
#[cfg(doctest)]
#[doc = include_str!("../docs/fixtures.md")]
struct Fixtures;
