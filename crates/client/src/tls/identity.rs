use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::super::Error;
use super::Fingerprint;

/// A certificate.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Certificate(Vec<u8>);

impl Certificate {
    /// A certificate in DER.
    pub fn from_der(der: impl Into<Vec<u8>>) -> Self {
        Self(der.into())
    }

    /// The first certificate of a text in PEM.
    ///
    /// # Errors
    /// [`Error::InvalidIdentity`] when there is none.
    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| invalid(&format!("the certificate is not in PEM: {error}")))?;
        Ok(Self(der.to_vec()))
    }

    /// The certificate in DER.
    pub fn der(&self) -> &[u8] {
        &self.0
    }

    /// What it is known by.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.0)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.fingerprint())
    }
}

/// Who we are to a server: a certificate and its private key. Never shows the key.
#[derive(Clone)]
pub struct Identity {
    fingerprint: Fingerprint,
    key: Arc<CertifiedKey>,
}

impl Identity {
    /// Reads a certificate (others that sign it may follow) and its private key from PEM. Keys are EC (P-256, P-384), RSA or
    /// Ed25519, as PKCS#8, SEC1 (`EC PRIVATE KEY`) or PKCS#1 (`RSA PRIVATE KEY`): all that the clients of LXD and Incus write.
    ///
    /// # Errors
    /// [`Error::InvalidIdentity`] when one of the two cannot be read, the key is encrypted, or they do not belong together.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, Error> {
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| invalid(&format!("the certificate is not in PEM: {error}")))?;
        let Some(first) = chain.first() else {
            return Err(invalid("there is no certificate in PEM"));
        };
        let fingerprint = Fingerprint::of(first);
        if is_encrypted(key) {
            return Err(invalid(
                "the private key is encrypted; give one that is not, kept where only you can read it",
            ));
        }
        // Errors about keys are told without the library's words: they could hold parts of the text.
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|_| invalid("there is no private key in PEM (PKCS#8, SEC1 or PKCS#1)"))?;
        let key = any_supported_type(&key).map_err(|_| {
            invalid("the private key is of an unknown type; EC (P-256, P-384), RSA and Ed25519 are known")
        })?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(_) => {
                return Err(invalid(
                    "the private key does not belong to the certificate",
                ));
            }
        }
        Ok(Self {
            fingerprint,
            key: Arc::new(key),
        })
    }

    /// What the certificate is known by: the name it has in a server's list of certificates.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The certificate.
    pub fn certificate(&self) -> Certificate {
        Certificate(
            self.key
                .cert
                .first()
                .map(|der| der.to_vec())
                .unwrap_or_default(),
        )
    }

    pub(super) fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }
}

fn is_encrypted(key: &str) -> bool {
    ["ENCRYPTED", "BEGIN OPENSSH PRIVATE KEY"]
        .iter()
        .any(|mark| key.contains(mark))
}

fn invalid(reason: &str) -> Error {
    Error::InvalidIdentity {
        reason: reason.to_owned(),
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Identity {}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}
