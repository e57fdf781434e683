use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// What a certificate is known by: the SHA-256 of its DER form, as LXD and Incus show it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate in DER.
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

/// Why a text is no fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 64 hexadecimal digits")]
pub struct NoFingerprint;

impl FromStr for Fingerprint {
    type Err = NoFingerprint;

    /// Reads 64 hexadecimal digits of either case, with colons between the bytes or without.
    fn from_str(text: &str) -> Result<Self, NoFingerprint> {
        let digits: Vec<u8> = text
            .bytes()
            .filter(|byte| *byte != b':')
            .map(|byte| {
                char::from(byte)
                    .to_digit(16)
                    .and_then(|d| d.try_into().ok())
            })
            .collect::<Option<_>>()
            .ok_or(NoFingerprint)?;
        let bytes: Vec<u8> = digits
            .chunks(2)
            .map(|pair| pair.iter().fold(0, |all, digit| all << 4 | digit))
            .collect();
        match <[u8; 32]>::try_from(bytes) {
            Ok(bytes) if digits.len() == 64 => Ok(Self(bytes)),
            _ => Err(NoFingerprint),
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::Fingerprint;

    #[test]
    fn fingerprints_as_people_write_them() {
        let shown = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let of = Fingerprint::of(b"abc");
        assert_eq!(of.to_string(), shown);
        let colons: Vec<&str> = (0..32).map(|at| &shown[at * 2..at * 2 + 2]).collect();
        for text in [shown.to_owned(), shown.to_uppercase(), colons.join(":")] {
            assert_eq!(text.parse(), Ok(of));
        }
        for text in [
            "",
            "ab",
            &shown[1..],
            &format!("{shown}00"),
            &shown.replace('a', "x"),
        ] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }
}
