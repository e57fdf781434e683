use std::sync::Arc;

use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};

use super::super::Error;
use super::verifier::{Rule, Verifier};
use super::{Identity, Trust};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// How to speak TLS with a server that the rule accepts.
pub(crate) fn client_config(
    rule: Rule,
    identity: Option<&Identity>,
) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| invalid(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier {
            rule,
            provider: provider(),
        }));
    let mut config = match identity {
        Some(identity) => {
            builder.with_client_cert_resolver(Arc::new(Own(Arc::clone(identity.key()))))
        }
        None => builder.with_no_client_auth(),
    };
    // A resumed session would not look at the certificate again.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

impl Trust {
    pub(crate) fn rule(&self) -> Result<Rule, Error> {
        match self {
            Self::Pinned(pinned) => Ok(Rule::Pin(*pinned)),
            Self::System => vouched(rustls_native_certs::load_native_certs().certs),
            Self::Authorities(known) => vouched(
                known
                    .iter()
                    .map(|certificate| CertificateDer::from(certificate.der().to_vec()))
                    .collect(),
            ),
        }
    }
}

fn vouched(authorities: Vec<CertificateDer<'static>>) -> Result<Rule, Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities);
    if roots.is_empty() {
        return Err(Error::InvalidIdentity {
            reason: "this system has no certificate authorities to verify the server by; pin its certificate instead"
                .to_owned(),
        });
    }
    let by = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| Error::InvalidIdentity {
            reason: error.to_string(),
        })?;
    Ok(Rule::Vouched(by))
}

/// The name that goes with the handshake. Pins do not look at it.
pub(crate) fn server_name(host: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).ok()
}

/// Shows our certificate whenever a server asks for one: it may list authorities that have not signed it.
#[derive(Debug)]
struct Own(Arc<CertifiedKey>);

impl ResolvesClientCert for Own {
    fn resolve(
        &self,
        _authorities: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn invalid(error: &rustls::Error) -> Error {
    Error::InvalidIdentity {
        reason: error.to_string(),
    }
}
