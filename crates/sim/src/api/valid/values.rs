//! What a value of `config` may be, in the words of the daemons.

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    Any,
    Bool,
    Integer,
    /// Of 32 bits, without a sign.
    Number,
    /// From 0 to 10.
    Priority,
    /// Bytes with a unit.
    Size,
    /// The same, or percent.
    Memory,
    /// Whether, and in Incus also how much.
    Swap,
    Cpus,
    /// The same, but none is no number.
    SomeCpus,
    Nodes,
    Allowance,
    OneOf(&'static [&'static str]),
    Schedule,
    Expiry,
    /// Lines of `raw.lxc`.
    Lxc,
    /// A mapping of YAML.
    Yaml,
    /// An address with its prefix, `auto` or `none`.
    Subnet,
}

impl Rule {
    /// Why a value does not hold. An empty one unsets its key.
    pub(crate) fn check(self, value: &str) -> Result<(), String> {
        if value.is_empty() {
            return Ok(());
        }
        let holds = match self {
            Self::Any => true,
            Self::Bool => return boolean(value),
            Self::Integer => return integer(value).map(drop),
            Self::Number => return number(value),
            Self::Priority => {
                let limit = integer(value)?;
                if (0..=10).contains(&limit) {
                    return Ok(());
                }
                return Err(format!(
                    "Invalid value for a limit \"{value}\". Must be between 0 and 10"
                ));
            }
            Self::Size => return size(value),
            Self::Memory => return memory(value),
            Self::Swap => boolean(value).is_ok() || size(value).is_ok(),
            Self::SomeCpus if value == "0" => return Err("Invalid cpuset value: 0".to_owned()),
            Self::Cpus | Self::SomeCpus => return cpus(value),
            Self::Nodes => value == "balanced" || cpus(value).is_ok(),
            Self::Allowance => {
                if allowed(value) {
                    return Ok(());
                }
                return Err(format!("Invalid allowance: {value}"));
            }
            Self::OneOf(all) if all.contains(&value) => true,
            Self::OneOf(all) => {
                let all = all.join(" ");
                return Err(format!("Invalid value \"{value}\" (not one of [{all}])"));
            }
            Self::Schedule => {
                let form = "<minute> <hour> <day-of-month> <month> <day-of-week>";
                let words = value.split_whitespace().count();
                if value.starts_with('@') || value.contains(',') || words == 5 {
                    return Ok(());
                }
                return Err(format!("Schedule must be of the form: {form}"));
            }
            Self::Expiry => {
                if value.split_whitespace().all(is_span) {
                    return Ok(());
                }
                return Err("Invalid expiry expression".to_owned());
            }
            Self::Lxc => return lxc(value),
            Self::Yaml => {
                if value.contains([':', '{', '#', '\n']) {
                    return Ok(());
                }
                return Err(format!(
                    "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!str `{value}` into struct {{}}"
                ));
            }
            Self::Subnet => {
                let subnet = || value.split_once('/').is_some_and(is_subnet);
                if ["auto", "none"].contains(&value) || subnet() {
                    return Ok(());
                }
                return Err(format!("invalid CIDR address: {value}"));
            }
        };
        if holds {
            Ok(())
        } else {
            Err(format!("\"{value}\" isn't a valid value"))
        }
    }
}

fn boolean(value: &str) -> Result<(), String> {
    const WORDS: [&str; 8] = ["true", "1", "yes", "on", "false", "0", "no", "off"];
    if WORDS.contains(&value.to_lowercase().as_str()) {
        Ok(())
    } else {
        Err(format!("Invalid value for a boolean \"{value}\""))
    }
}

fn integer(value: &str) -> Result<i64, String> {
    value
        .parse()
        .map_err(|_| format!("Invalid value for an integer \"{value}\""))
}

fn number(value: &str) -> Result<(), String> {
    match value.parse::<u32>() {
        Ok(_) => Ok(()),
        Err(_) => Err(format!(
            "Invalid value for uint32 \"{value}\": strconv.ParseUint: parsing \"{value}\": invalid syntax"
        )),
    }
}

fn size(value: &str) -> Result<(), String> {
    const UNITS: [&str; 16] = [
        "", "B", "bytes", " bytes", "kB", "KB", "MB", "GB", "TB", "PB", "EB", "KiB", "MiB", "GiB",
        "TiB", "PiB",
    ];
    let digits = value.find(|char: char| !char.is_ascii_digit());
    let (number, unit) = value.split_at(digits.unwrap_or(value.len()));
    if !number.is_empty() && (UNITS.contains(&unit) || unit == "EiB") {
        Ok(())
    } else {
        Err(format!("Invalid value: {value}"))
    }
}

fn memory(value: &str) -> Result<(), String> {
    if value == "0" {
        return Err("Memory limit can't be 0".to_owned());
    }
    match value.strip_suffix('%') {
        Some(percent) if percent.parse::<i64>().is_err() => Err(format!(
            "strconv.ParseInt: parsing \"{percent}\": invalid syntax"
        )),
        Some(_) => Ok(()),
        None => size(value),
    }
}

/// A count, or a set of them such as `0-3,5`.
fn cpus(value: &str) -> Result<(), String> {
    let is_number = |text: &str| text.parse::<u32>().is_ok();
    let holds = value.split(',').all(|part| match part.split_once('-') {
        Some((from, to)) => is_number(from) && is_number(to),
        None => is_number(part),
    });
    if holds {
        Ok(())
    } else {
        Err("Invalid CPU limit syntax".to_owned())
    }
}

/// `10%` or `25ms/100ms`.
fn allowed(value: &str) -> bool {
    let is_number = |text: Option<&str>| text.is_some_and(|text| text.parse::<u32>().is_ok());
    match value.split_once('/') {
        Some((part, of)) => is_number(part.strip_suffix("ms")) && is_number(of.strip_suffix("ms")),
        None => is_number(value.strip_suffix('%')),
    }
}

/// `1M`, `2H` and the like.
fn is_span(word: &str) -> bool {
    let number = word.strip_suffix(['S', 'M', 'H', 'd', 'w', 'm', 'y']);
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

fn lxc(value: &str) -> Result<(), String> {
    for line in value.lines().filter(|line| !line.trim().is_empty()) {
        let Some((key, _)) = line.split_once('=') else {
            return Err(format!("Invalid raw.lxc line: {line}"));
        };
        if ["lxc.log.file", "lxc.logfile"].contains(&key.trim()) {
            return Err("Setting lxc.logfile is not allowed".to_owned());
        }
    }
    Ok(())
}

fn is_subnet((address, prefix): (&str, &str)) -> bool {
    address.parse::<std::net::IpAddr>().is_ok()
        && prefix.parse::<u8>().is_ok_and(|bits| bits <= 128)
}
