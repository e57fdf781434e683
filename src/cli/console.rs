//! stderr for people, stdout for data.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use malleus::diagnostic::{Diagnostic, Style};
use malleus::events::{Event, Sink};
use malleus::report::{Human, Terminal, Verbosity};
use malleus::secret::Masker;

use super::args::{Color, Common};
use super::lanes::{Lane, Said};

/// The two streams of the process. All that is said goes through one masker.
#[derive(Clone)]
pub(crate) struct Console {
    pub(crate) human: Arc<Human<io::Stderr>>,
    pub(crate) masker: Masker,
    /// Where several speak at once.
    lane: Option<Lane>,
    /// Whether it has been said that a server is simulated.
    told: Arc<AtomicBool>,
}

impl Console {
    pub(crate) fn new(common: &Common) -> Self {
        let masker = Masker::default();
        let verbosity = match (common.quiet, common.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, 0) => Verbosity::Normal,
            (false, 1) => Verbosity::Verbose,
            (false, _) => Verbosity::Everything,
        };
        let terminal = if io::stderr().is_terminal() {
            Terminal::Yes
        } else {
            Terminal::No
        };
        let human = Human::new(
            io::stderr(),
            masker.clone(),
            (style(common.color), terminal),
            verbosity,
        );
        Self {
            human: Arc::new(human),
            masker,
            lane: None,
            told: Arc::default(),
        }
    }

    /// The same for one of several that speak at once.
    pub(crate) fn in_lane(&self, lane: Lane) -> Self {
        Self {
            lane: Some(lane),
            ..self.clone()
        }
    }

    /// Says, once in a process, that what answers is a simulation.
    pub(crate) fn simulated(&self) {
        if self.human.says(Verbosity::Normal) && !self.told.swap(true, Ordering::Relaxed) {
            self.human.line(
                "a simulated daemon: nothing on this machine is changed, and nothing it says is real",
            );
        }
    }

    fn say(&self, said: Said) {
        match &self.lane {
            Some(lane) => lane.say(said),
            None => said.write(&self.human),
        }
    }

    pub(crate) fn problem(&self, problem: &Diagnostic) {
        self.say(Said::Problem(problem.clone()));
    }

    pub(crate) fn line(&self, line: String) {
        self.say(Said::Line(line));
    }

    pub(crate) fn problems(&self, problems: &[Diagnostic]) {
        let wanted =
            |problem: &&Diagnostic| problem.is_error() || self.human.says(Verbosity::Normal);
        for problem in problems.iter().filter(wanted) {
            self.problem(problem);
        }
    }

    /// Writes data. A reader that has gone away is no error: it has seen what it wanted.
    pub(crate) fn data(bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }
}

impl Sink for Console {
    fn event(&self, event: Event) {
        self.say(Said::Event(event));
    }
}

/// `NO_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE` and the kind of the stream decide where the user does not.
fn style(color: Color) -> Style {
    let colored = match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never,
    };
    if colored {
        Style::Colored
    } else {
        Style::Plain
    }
}
