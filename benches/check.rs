//! How long loading and checking a playbook of ten thousand steps takes: `cargo bench --bench check`.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use malleus::playbook::check;
use malleus::source::Source;
use malleus::template::Engine;
use malleus_source::yaml;

const STEPS: usize = 10_000;
const ROUNDS: usize = 9;

fn playbook() -> String {
    let mut text = String::from(
        "playbook: 1\nname: big\ninputs: {image: busybox}\nvars: {prefix: \"x-{{ run.id }}\"}\nsteps:\n",
    );
    for number in 0..STEPS {
        let step = format!(
            "  - name: Create number {number}\n    request: POST instances\n    \
             body: {{name: \"{{{{ prefix }}}}-{number}\", source: {{type: image, alias: \"{{{{ image }}}}\"}}}}\n"
        );
        // Writing to a string cannot fail.
        let _ = text.write_str(&step);
    }
    text
}

/// The median of some rounds.
fn median(mut work: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .collect();
    times.sort();
    times[ROUNDS / 2]
}

fn main() {
    let text = playbook();
    let source = Source::new(Path::new("big.yaml"), text.as_str());
    let engine = Engine::new();
    let parsed = median(|| {
        black_box(yaml::parse(&source).is_ok());
    });
    let checked = median(|| {
        let checked = check(&source, &engine);
        assert!(!checked.failed(), "{:?}", checked.problems.first());
    });
    println!(
        "{STEPS} steps, {} kB; medians of {ROUNDS}",
        text.len() / 1000
    );
    println!(
        "read as YAML      {:>7.1} ms",
        parsed.as_secs_f64() * 1000.0
    );
    println!(
        "read and checked  {:>7.1} ms",
        checked.as_secs_f64() * 1000.0
    );
}
