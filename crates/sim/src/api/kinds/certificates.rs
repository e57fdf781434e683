//! Trusted certificates.

use crate::api::kind::{Blank, Kind, Patching};
use crate::call::Refusal;

pub(crate) const CERTIFICATES: Kind = Kind {
    store: "certificates",
    title: "Certificate",
    path: "certificates",
    shape: &[
        ("name", Blank::Name),
        ("type", Blank::Text("client")),
        ("restricted", Blank::False),
        ("projects", Blank::List),
        ("certificate", Blank::Text("")),
        ("fingerprint", Blank::Name),
    ],
    patching: Patching::Merges,
    editable: &["name", "type", "restricted", "projects", "description"],
    missing: ("Certificate not found", "Certificate not found"),
    // They come in by another way, as their name is made of what they are.
    make: |_, _, _| Err(Refusal::not_implemented()),
    ..Kind::PLAIN
};
