//! Lines that GitHub shows beside the code: one for each problem.

use super::problem::Problem;
use super::record::Record;
use super::safe;

/// Writes masked records.
pub fn github(records: &[Record]) -> String {
    let mut text = String::new();
    for record in records {
        for problem in &record.problems {
            text.push_str(&line(problem, &record.playbook, record));
        }
        for step in &record.steps {
            let title = format!("{}: {}", record.playbook, step.info.title);
            for problem in &step.problems {
                text.push_str(&line(problem, &title, record));
            }
        }
    }
    text
}

fn line(problem: &Problem, title: &str, record: &Record) -> String {
    let command = if problem.is_error() {
        "error"
    } else {
        "warning"
    };
    let spot = problem.places.first();
    let place = match spot {
        Some(spot) => format!(
            "file={},line={},col={}",
            property(&spot.file),
            spot.line,
            spot.column
        ),
        None => format!("file={}", property(&record.file)),
    };
    let label = spot.map_or("", |spot| spot.text.as_str());
    let message: Vec<&str> = [problem.message.as_str(), label]
        .into_iter()
        .chain(problem.notes.iter().map(String::as_str))
        .chain(problem.help.as_deref())
        .filter(|line| !line.is_empty())
        .collect();
    format!(
        "::{command} {place},title={}::{}\n",
        property(title),
        data(&message.join("\n"))
    )
}

fn data(text: &str) -> String {
    safe::printable(text)
        .replace('%', "%25")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_inside_their_line() {
        for (text, in_data, in_property) in [
            ("a: b, 5%", "a: b, 5%25", "a%3A b%2C 5%25"),
            (
                "x\r\n::error::y",
                "x%0A::error::y",
                "x%0A%3A%3Aerror%3A%3Ay",
            ),
        ] {
            assert_eq!(data(text), in_data);
            assert_eq!(property(text), in_property);
        }
    }
}
