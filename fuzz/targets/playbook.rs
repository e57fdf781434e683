//! The static check gives a plan or says why there is none.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use malleus_language::playbook::check;
use malleus_language::template::Engine;
use malleus_source::Source;
use malleus_source::diagnostic::{Diagnostic, Style};

static ENGINE: LazyLock<Engine> = LazyLock::new(Engine::new);

fuzz_target!(|text: &str| {
    // Includes are looked for in a folder that has none.
    let source = Source::new(Path::new("/nonexistent/input.yaml"), text);
    let checked = check(&source, &ENGINE);
    let is_refused = checked.problems.iter().any(Diagnostic::is_error);
    assert_eq!(
        checked.plan.is_none(),
        is_refused,
        "a plan with errors, or neither a plan nor an error"
    );
    for problem in checked.problems {
        assert!(!problem.message.is_empty(), "a problem without a message");
        problem.render(Style::Plain);
        problem.render(Style::Colored);
    }
});
