//! Sets of servers: which generations of LXD and Incus have something.

use std::fmt;

/// The generations that the definitions are taken from, as a user calls them; oldest first within a brand.
const GENERATIONS: [Generation; 6] = [
    Generation::new("LXD", "5.0"),
    Generation::new("LXD", "5.21"),
    Generation::new("LXD", "6"),
    Generation::new("Incus", "6.0"),
    Generation::new("Incus", "7.0"),
    Generation::new("Incus", "7.3"),
];

/// Releases of one brand that have the same API as far as these definitions tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Generation {
    brand: &'static str,
    version: &'static str,
}

impl Generation {
    const fn new(brand: &'static str, version: &'static str) -> Self {
        Self { brand, version }
    }
}

/// Some of the known generations of both brands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Servers(u8);

impl Servers {
    /// None at all.
    pub const NONE: Self = Self(0);
    /// Every known generation.
    pub const ALL: Self = Self(0b11_1111);
    /// Every known generation of LXD.
    pub const LXD: Self = Self(0b00_0111);
    /// Every known generation of Incus.
    pub const INCUS: Self = Self(0b11_1000);

    /// The generation that a server of a brand and a version belongs to: the newest one that is not newer than the
    /// server, or the oldest one.
    ///
    /// ```
    /// use malleus_api::Servers;
    /// assert_eq!(Servers::at(Servers::LXD, "6.9").to_string(), "LXD 6 and newer");
    /// assert_eq!(Servers::at(Servers::INCUS, "6.0.4").to_string(), "Incus 6.0");
    /// ```
    pub fn at(brand: Self, version: &str) -> Self {
        let wanted = numbers(version);
        let own = || (0..GENERATIONS.len()).filter(|&index| brand.has(index));
        let newest = own()
            .rev()
            .find(|&index| numbers(GENERATIONS[index].version) <= wanted);
        newest
            .or_else(|| own().next())
            .map_or(Self::NONE, |index| Self(1 << index))
    }

    /// Those of either set.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those of both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether it is no server at all.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn has(self, index: usize) -> bool {
        self.0 & (1 << index) != 0
    }

    /// Reads the columns of the definitions: `5.21+`, `5.0..5.21`, `5.0` or `-`, for LXD and for Incus.
    pub(crate) fn read(lxd: &str, incus: &str) -> Self {
        Self::span(Self::LXD, lxd).or(Self::span(Self::INCUS, incus))
    }

    fn span(brand: Self, span: &str) -> Self {
        let (from, to) = match (span.strip_suffix('+'), span.split_once("..")) {
            (Some(from), _) => (from, None),
            (None, Some((from, to))) => (from, Some(to)),
            (None, None) => (span, Some(span)),
        };
        let at = |version: &str| {
            (0..GENERATIONS.len())
                .find(|&index| brand.has(index) && GENERATIONS[index].version == version)
        };
        let Some(from) = at(from) else {
            return Self::NONE;
        };
        let to = to.and_then(at).unwrap_or(GENERATIONS.len() - 1);
        (from..=to)
            .filter(|&index| brand.has(index))
            .fold(Self::NONE, |set, index| set.or(Self(1 << index)))
    }
}

/// `5.21.4` as numbers, which compare as versions do.
fn numbers(version: &str) -> Vec<u32> {
    version
        .split('.')
        .map_while(|part| part.parse().ok())
        .collect()
}

/// `LXD 5.21 and newer, Incus`.
impl fmt::Display for Servers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for brand in [Self::LXD, Self::INCUS] {
            let known: Vec<usize> = (0..GENERATIONS.len())
                .filter(|&index| brand.has(index))
                .collect();
            let own: Vec<usize> = known
                .iter()
                .copied()
                .filter(|&index| self.has(index))
                .collect();
            let (Some(&first), Some(&last)) = (own.first(), own.last()) else {
                continue;
            };
            let Generation { brand, version } = GENERATIONS[first];
            write!(out, "{separator}{brand}")?;
            separator = ", ";
            if own == known {
                continue;
            }
            write!(out, " {version}")?;
            if own.len() < last - first + 1 {
                for &index in &own[1..] {
                    write!(out, " and {}", GENERATIONS[index].version)?;
                }
            } else if Some(&last) == known.last() {
                out.write_str(" and newer")?;
            } else if first != last {
                write!(out, " to {}", GENERATIONS[last].version)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_read_and_shown() {
        for (lxd, incus, shown) in [
            ("5.0+", "6.0+", "LXD, Incus"),
            ("5.21+", "6.0+", "LXD 5.21 and newer, Incus"),
            ("5.0..5.21", "-", "LXD 5.0 to 5.21"),
            ("5.0", "7.0+", "LXD 5.0, Incus 7.0 and newer"),
            ("-", "6.0..7.0", "Incus 6.0 to 7.0"),
            ("6+", "-", "LXD 6 and newer"),
            ("-", "-", ""),
        ] {
            assert_eq!(Servers::read(lxd, incus).to_string(), shown);
        }
        let gap = Servers::read("5.0", "-").or(Servers::read("6+", "-"));
        assert_eq!(gap.to_string(), "LXD 5.0 and 6");
        assert_eq!(Servers::read("5.0+", "6.0+"), Servers::ALL);
    }

    #[test]
    fn a_server_belongs_to_the_generation_at_or_below_it() {
        for (brand, version, shown) in [
            (Servers::LXD, "5.0.2", "LXD 5.0"),
            (Servers::LXD, "5.20", "LXD 5.0"),
            (Servers::LXD, "5.21.7", "LXD 5.21"),
            (Servers::LXD, "6.9", "LXD 6 and newer"),
            (Servers::LXD, "4.0", "LXD 5.0"),
            (Servers::INCUS, "6.23", "Incus 6.0"),
            (Servers::INCUS, "7.2", "Incus 7.0"),
            (Servers::INCUS, "8.1", "Incus 7.3 and newer"),
        ] {
            assert_eq!(Servers::at(brand, version).to_string(), shown, "{version}");
        }
    }
}
