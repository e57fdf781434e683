use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};

use super::{Certificate, Fingerprint};

/// By what a server is known to be the right one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Trust {
    /// By its own certificate and no other, whatever name or authority stands in it.
    Pinned(Fingerprint),
    /// By a certificate for its name that an authority of this system has signed.
    System,
    /// By a certificate for its name that one of these authorities has signed.
    Authorities(Vec<Certificate>),
}

/// Why a server is not trusted. Nothing was sent to it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsError {
    /// Its certificate is not the one that was stored.
    Changed {
        /// The stored one.
        pinned: Fingerprint,
        /// The one it has shown.
        presented: Fingerprint,
    },
    /// Its certificate is the stored one, but its time is over, or has not come.
    OutOfDate {
        /// The certificate.
        presented: Fingerprint,
    },
    /// No authority vouches for it under this name.
    Unknown {
        /// The certificate it has shown.
        presented: Fingerprint,
        /// What is wrong with it.
        reason: String,
    },
    /// What answers does not speak TLS.
    NoTls,
    /// It speaks TLS older than 1.3.
    OldTls,
    /// The handshake failed otherwise.
    Handshake(String),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { pinned, presented } => write!(
                f,
                "its certificate is not the one that is stored: expected {pinned}, found {presented}"
            ),
            Self::OutOfDate { presented } => {
                write!(
                    f,
                    "its certificate is expired, or not yet valid ({presented})"
                )
            }
            Self::Unknown { presented, reason } => {
                write!(f, "its certificate is not known: {reason} ({presented})")
            }
            Self::NoTls => f.write_str("what answers does not speak TLS (HTTPS)"),
            Self::OldTls => f.write_str("it does not speak TLS 1.3"),
            Self::Handshake(reason) => write!(f, "the TLS handshake failed: {reason}"),
        }
    }
}

impl std::error::Error for TlsError {}

impl TlsError {
    /// What a failed handshake means; `None` where the connection itself failed.
    pub(super) fn of(error: &rustls::Error) -> Self {
        use rustls::{AlertDescription, Error, PeerIncompatible};
        match error {
            Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => inner
                .downcast_ref::<Self>()
                .cloned()
                .unwrap_or_else(|| Self::Handshake(inner.to_string())),
            Error::InvalidMessage(_) => Self::NoTls,
            Error::AlertReceived(AlertDescription::ProtocolVersion)
            | Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::Tls12NotOfferedOrEnabled,
            ) => Self::OldTls,
            error => Self::Handshake(error.to_string()),
        }
    }

    fn refuse(self) -> rustls::Error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(self))))
    }
}

/// Keeps a certificate that was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder(Arc<Mutex<Option<Certificate>>>);

impl Recorder {
    pub(crate) fn seen(&self) -> Option<Certificate> {
        self.slot().clone()
    }

    fn slot(&self) -> MutexGuard<'_, Option<Certificate>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom a verifier accepts.
#[derive(Debug)]
pub(crate) enum Rule {
    /// One certificate.
    Pin(Fingerprint),
    /// What authorities vouch for.
    Vouched(Arc<WebPkiServerVerifier>),
    /// Nobody: only the certificate is wanted.
    Nobody(Recorder),
}

/// Decides about a server's certificate.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) rule: Rule,
    pub(super) provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let presented = Fingerprint::of(certificate);
        let distrust = match &self.rule {
            Rule::Pin(pinned) if presented != *pinned => TlsError::Changed {
                pinned: *pinned,
                presented,
            },
            Rule::Pin(_) if is_in_date(certificate, now) => {
                return Ok(ServerCertVerified::assertion());
            }
            Rule::Pin(_) => TlsError::OutOfDate { presented },
            Rule::Vouched(by) => {
                match by.verify_server_cert(certificate, intermediates, name, ocsp, now) {
                    Ok(verified) => return Ok(verified),
                    Err(_) if !is_in_date(certificate, now) => TlsError::OutOfDate { presented },
                    Err(error) => TlsError::Unknown {
                        presented,
                        reason: in_words(&error),
                    },
                }
            }
            Rule::Nobody(recorder) => {
                *recorder.slot() = Some(Certificate::from_der(certificate.to_vec()));
                TlsError::Handshake("only the certificate was wanted".to_owned())
            }
        };
        Err(distrust.refuse())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(TlsError::OldTls.refuse())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Whether the dates of a certificate allow its use now. Whatever else webpki would refuse is left to the pin.
fn is_in_date(certificate: &CertificateDer<'_>, now: UnixTime) -> bool {
    let Ok(entity) = webpki::EndEntityCert::try_from(certificate) else {
        return true;
    };
    let verified = entity.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        // No anchors: the dates are looked at before any path is searched.
        &[],
        &[],
        now,
        webpki::KeyUsage::server_auth(),
        None,
        None,
    );
    !matches!(
        verified.err(),
        Some(
            webpki::Error::CertExpired { .. }
                | webpki::Error::CertNotValidYet { .. }
                | webpki::Error::InvalidCertValidity
        )
    )
}

fn in_words(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "no authority of this system has signed it".to_owned()
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "it is for another name".to_owned(),
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
            match inner.downcast_ref() {
                Some(webpki::Error::CaUsedAsEndEntity) => {
                    "it is that of an authority, not of a server".to_owned()
                }
                Some(webpki::Error::EndEntityUsedAsCa) => {
                    "a certificate that is no authority's has signed it".to_owned()
                }
                _ => inner.to_string(),
            }
        }
        error => error.to_string(),
    }
}
