//! The trust store: certificates, and the tokens by which clients come into it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{generic, kinds};
use crate::access::{Access, Peer};
use crate::call::{Answer, Call, Refusal, Reply, flag, text};
use crate::daemon::Daemon;
use crate::operations::{self, Spec, begin};
use crate::state::collection::Place;
use crate::tls::{fingerprint, secret};

fn bad(text: impl Into<String>) -> Refusal {
    Refusal::new(400, text)
}

fn list(body: &Map<String, Value>, key: &str) -> Vec<Value> {
    let list = body.get(key).and_then(Value::as_array);
    list.cloned().unwrap_or_default()
}

/// `POST /1.0/certificates`: a certificate is trusted, or a token made that will have one trusted.
pub(crate) fn add(daemon: &Arc<Daemon>, call: &Call) -> Answer {
    let body = call.json()?;
    let shown = match &call.peer {
        Peer::Remote(Some(der)) => Some(der.to_vec()),
        _ => None,
    };
    if call.access == Access::Public {
        let request = redeem(daemon, text(&body, daemon.profile.token_field))?;
        let der = shown.ok_or_else(|| bad("No client certificate provided"))?;
        return trust(daemon, &request, &der);
    }
    if flag(&body, "token") {
        return issue(daemon, call, &body);
    }
    let given = text(&body, "certificate");
    if given.is_empty() {
        return Err(bad("Client is already trusted"));
    }
    if !["client", "metrics"].contains(&text(&body, "type")) {
        return Err(bad("Invalid certificate type"));
    }
    let der = STANDARD.decode(given).map_err(|error| {
        use base64::DecodeError::{InvalidByte, InvalidLastSymbol};
        let at = match error {
            InvalidByte(at, _) | InvalidLastSymbol { offset: at, .. } => at,
            _ => given.len() / 4 * 4,
        };
        bad(format!("illegal base64 data at input byte {at}"))
    })?;
    trust(daemon, &body, &der)
}

fn issue(daemon: &Arc<Daemon>, call: &Call, body: &Map<String, Value>) -> Answer {
    if text(body, "type") != "client" {
        return Err(bad("Tokens can only be issued for client certificates"));
    }
    if !text(body, "certificate").is_empty() {
        return Err(bad("Can't use certificate if token is requested"));
    }
    let Some(address) = &daemon.address else {
        let text = "Can't issue token when server isn't listening on network";
        return Err(bad(text));
    };
    let mut request = json!({
        "name": text(body, "name"), "type": "client", "restricted": flag(body, "restricted"),
        "projects": list(body, "projects"), "certificate": "", "token": true,
        daemon.profile.token_field: "",
    });
    if daemon.profile.is_incus() {
        request["description"] = json!(text(body, "description"));
    }
    let spec = Spec {
        class: "token",
        metadata: json!({
            "addresses": [address], "fingerprint": daemon.certificate.fingerprint,
            "request": request, "secret": secret()?,
        }),
        ..Spec::task("Executing operation", "default", daemon.profile.nothing())
    };
    Ok(begin(daemon, (spec, call.fault), |_| {
        std::future::pending()
    }))
}

/// What was asked for when a token was made. It is of no use from now on.
fn redeem(daemon: &Arc<Daemon>, token: &str) -> Result<Map<String, Value>, Refusal> {
    let refused = || Refusal::new(403, "not authorized");
    let plain = STANDARD.decode(token).map_err(|_| refused())?;
    let parts: Value = serde_json::from_slice(&plain).map_err(|_| refused())?;
    let secret = parts["secret"].as_str().ok_or_else(refused)?;
    match operations::redeem(daemon, secret) {
        Some(Value::Object(request)) => Ok(request),
        _ => Err(Refusal::new(
            403,
            "No matching certificate add operation found",
        )),
    }
}

fn trust(daemon: &Daemon, request: &Map<String, Value>, der: &[u8]) -> Answer {
    let Some(common_name) = common_name(der) else {
        let text = "Invalid certificate material: x509: malformed certificate";
        return Err(bad(text));
    };
    let name = Some(text(request, "name")).filter(|name| !name.is_empty());
    let print = fingerprint(der);
    let mut world = daemon.world();
    let place = Place::global("certificates");
    if world.collections.get(&place, &print).is_some() {
        return Err(Refusal::new(409, "Certificate already in trust store"));
    }
    known_projects(&world, &list(request, "projects"))?;
    let mut object = json!({
        "name": name.unwrap_or(&common_name), "type": text(request, "type"),
        "restricted": flag(request, "restricted"), "projects": list(request, "projects"),
        "certificate": pem(der), "fingerprint": print,
    });
    if daemon.profile.is_incus() {
        object["description"] = json!(text(request, "description"));
    }
    world.collections.put(&place, &print, object);
    Ok(Reply::Created(format!("/1.0/certificates/{print}")))
}

fn known_projects(world: &crate::state::World, names: &[Value]) -> Result<(), Refusal> {
    let known = |name: &Value| {
        name.as_str()
            .is_some_and(|name| world.project(name).is_some())
    };
    if names.iter().all(known) {
        Ok(())
    } else {
        Err(Refusal::new(404, "Project not found"))
    }
}

/// The common name of a certificate's subject, empty where it has none; nothing where this is no certificate.
fn common_name(der: &[u8]) -> Option<String> {
    const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];
    let der = rustls::pki_types::CertificateDer::from(der);
    let certificate = webpki::EndEntityCert::try_from(&der).ok()?;
    let subject = certificate.subject();
    let mut windows = subject.windows(COMMON_NAME.len());
    let found = windows.position(|window| window == COMMON_NAME);
    // A tag and a length of one byte go before the text.
    let value = found.and_then(|at| {
        let length = usize::from(*subject.get(at + 6)?);
        subject.get(at + 7..at + 7 + length)
    });
    let text = value.map(|text| String::from_utf8_lossy(text).into_owned());
    Some(text.unwrap_or_default())
}

fn pem(der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let lines = base64.as_bytes().chunks(64);
    let lines: String = lines
        .map(|line| format!("{}\n", String::from_utf8_lossy(line)))
        .collect();
    format!("-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n")
}

/// `/1.0/certificates/<fingerprint>`; the beginning of a fingerprint is enough.
pub(crate) fn one(daemon: &Arc<Daemon>, call: &Call, beginning: &str) -> Answer {
    if call.method == "POST" {
        return Err(Refusal::not_implemented());
    }
    let place = Place::global("certificates");
    let name = {
        let world = daemon.world();
        let mut all = world.collections.list(&place);
        let found = all.find(|(name, _)| name.starts_with(beginning));
        let (name, stored) = found.ok_or_else(|| Refusal::new(404, "Certificate not found"))?;
        if ["PUT", "PATCH"].contains(&call.method.as_str()) {
            let body = call.json()?;
            let kind = body.get("type").and_then(Value::as_str);
            if kind != stored["type"].as_str() && (kind.is_some() || call.method == "PUT") {
                let code = daemon.profile.certificate_type_kept;
                return Err(Refusal::new(code, "The certificate type cannot be changed"));
            }
            known_projects(&world, &list(&body, "projects"))?;
        }
        name.clone()
    };
    generic::answer(
        daemon,
        call,
        (&kinds::certificates::CERTIFICATES, "", &[&name]),
    )
}
