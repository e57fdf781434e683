//! Durations as playbooks and the command line write them: `500ms`, `30s`, `5m`, `2h`.

use std::time::Duration;

/// The longest duration that is taken: sums of times must stay dates.
pub const LONGEST: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// Reads a duration: digits, optionally with a fraction, and a unit `ms`, `s`, `m`, `h` or `d`.
/// Several may follow each other, as in `1h30m`.
///
/// # Errors
/// Says in one line what is wrong, a missing unit above all.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(malleus_core::duration::parse("1m30s"), Ok(Duration::from_secs(90)));
/// assert!(malleus_core::duration::parse("30").is_err());
/// ```
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration such as `30s`, `5m` or `1h30m`");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("a duration is missing, as in `30s`".into());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let seconds = match &rest[..letters] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            "" if !rest.is_empty() => return Err(wrong()),
            "" => {
                return Err(format!(
                    "`{text}` has no unit, as in `{text}s` or `{text}ms`"
                ));
            }
            other => {
                return Err(format!(
                    "`{other}` is not a unit of time: use ms, s, m, h or d"
                ));
            }
        };
        total += number * seconds;
        rest = &rest[letters..];
    }
    Duration::try_from_secs_f64(total)
        .ok()
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| format!("`{text}` is longer than ten years (`3650d`)"))
}

/// A duration for people: `0.31s`, `12.0s`, `2m05s`.
pub fn show(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 9.995 {
        format!("{seconds:.2}s")
    } else if seconds < 59.95 {
        format!("{seconds:.1}s")
    } else {
        let whole = duration.as_secs();
        match whole / 3600 {
            0 => format!("{}m{:02}s", whole / 60, whole % 60),
            hours => format!("{hours}h{:02}m{:02}s", whole / 60 % 60, whole % 60),
        }
    }
}

/// A limit as its author would write it: `500ms`, `30s`, `5m`, `1h30m`.
pub fn compact(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis == 0 || !millis.is_multiple_of(1000) {
        return format!("{millis}ms");
    }
    let seconds = duration.as_secs();
    [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ]
    .iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, unit)| format!("{number}{unit}"))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_authors_write() {
        for (text, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("1.5s", 1500),
            ("1h30m", 5_400_000),
            ("0s", 0),
            ("3650d", 315_360_000_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest_and_says_why() {
        for (text, part) in [
            ("30", "no unit"),
            ("5 parsecs", "not a"),
            ("s", "not a duration"),
            ("-1s", "not a duration"),
            ("", "missing"),
            ("1x", "not a unit"),
            ("1.2.3s", "not a duration"),
            ("99999999999999999999999d", "longer than ten years"),
            ("100000000h", "longer than ten years"),
            ("3650d1s", "longer than ten years"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn shows_and_compacts() {
        assert_eq!(show(Duration::from_millis(312)), "0.31s");
        assert_eq!(show(Duration::from_secs(125)), "2m05s");
        assert_eq!(show(Duration::from_secs(3725)), "1h02m05s");
        assert_eq!(compact(Duration::from_secs(90)), "1m30s");
        assert_eq!(compact(Duration::from_millis(1500)), "1500ms");
    }
}
