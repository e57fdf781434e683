//! Private daemons over HTTPS on loopback.

use std::net::TcpListener;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malleus::client::{Certificate, Client, Https, Identity, Remote, Request, Trust};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384};
use serde_json::json;

/// A certificate and its key, in PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Pair {
    /// A self-signed certificate for this machine.
    pub(crate) fn new() -> Pair {
        Self::of(
            &CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])
                .expect("names"),
        )
    }

    pub(crate) fn of(params: &CertificateParams) -> Pair {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity::from_pem(&self.certificate, &self.key).expect("an identity")
    }
}

/// An address on loopback that nobody listens at now.
pub(crate) fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

/// Has a daemon listen on loopback; gives its address and its certificate.
pub(crate) fn listen(client: &Client) -> (String, Certificate) {
    let address = free_address();
    let config = json!({"config": {"core.https_address": address}});
    client
        .request(&Request::patch("/1.0").json(config))
        .expect("it listens");
    let info = client.request(&Request::get("/1.0")).expect("itself");
    let pem = info.metadata()["environment"]["certificate"]
        .as_str()
        .expect("a certificate");
    (address, Certificate::from_pem(pem).expect("a certificate"))
}

/// Has a daemon trust a certificate.
pub(crate) fn trust(client: &Client, identity: &Identity) {
    let body = json!({
        "name": "test",
        "type": "client",
        "certificate": STANDARD.encode(identity.certificate().der()),
    });
    client
        .request(&Request::post("certificates").json(body))
        .expect("trusted");
}

/// A daemon's remote over HTTPS, with a new identity that it trusts.
pub(crate) fn https(client: &Client) -> Https {
    let (address, certificate) = listen(client);
    let identity = Pair::new().identity();
    trust(client, &identity);
    Https {
        trust: Trust::Pinned(certificate.fingerprint()),
        identity: Some(identity),
        ..Https::at(address.parse().expect("an address"))
    }
}

pub(crate) fn remote(server: &Https) -> Remote {
    Remote::Https(Box::new(server.clone()))
}
