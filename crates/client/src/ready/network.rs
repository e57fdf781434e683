//! What the server says about an instance's addresses and agent: the costly half of it.

use std::net::IpAddr;

use serde_json::Value;

use super::Addresses;
use super::status::unclear;
use crate::{Client, Error, Limit, Request};
use malleus_api::ApiPath;

/// The state of an instance that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Network {
    /// Each interface but the loopback, by name.
    interfaces: Vec<(String, Vec<Address>)>,
    /// The number of processes; -1 where the agent of a virtual machine does not answer.
    pub(super) processes: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Address {
    family: Family,
    text: String,
    scope: String,
}

/// The family of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// `GET /1.0/instances/<name>/state`: some 60 milliseconds of the server's time.
///
/// # Errors
/// The outer one when looking again will not help; the inner text when it may.
pub(super) fn read(
    client: &Client,
    instance: &str,
    limit: Limit,
) -> Result<Result<Network, String>, Error> {
    let state = ApiPath::of_instance_part(instance, "state");
    let request = Request::get(state.to_string()).limit(limit);
    match client.request(&request) {
        Ok(reply) => Ok(Ok(Network::from_value(reply.metadata()))),
        // An instance that stops at this moment has no state; that it stopped is noticed elsewhere.
        Err(Error::Api(error)) if error.status != 403 => Ok(Err(error.message)),
        Err(error) => unclear(error).map(Err),
    }
}

impl Network {
    pub(super) fn from_value(state: &Value) -> Self {
        let interfaces = state["network"].as_object().into_iter().flatten();
        let interfaces =
            interfaces
                .filter(|(name, _)| name.as_str() != "lo")
                .map(|(name, interface)| {
                    let addresses = interface["addresses"].as_array().into_iter().flatten();
                    (
                        name.clone(),
                        addresses.filter_map(Address::from_value).collect(),
                    )
                });
        Self {
            interfaces: interfaces.collect(),
            processes: state["processes"].as_i64().unwrap_or(-1),
        }
    }

    /// The global addresses of a family, in the server's order.
    pub(super) fn global(&self, family: Family) -> Vec<String> {
        let addresses = self.interfaces.iter().flat_map(|(_, addresses)| addresses);
        let global =
            addresses.filter(|address| address.family == family && address.scope == "global");
        global.map(|address| address.text.clone()).collect()
    }

    pub(super) fn addresses(&self) -> Addresses {
        Addresses {
            ipv4: self.global(Family::V4),
            ipv6: self.global(Family::V6),
        }
    }

    /// What there is, in words.
    pub(super) fn describe(&self) -> String {
        if self.interfaces.is_empty() {
            return "it has no network interface but lo".to_owned();
        }
        let each = self.interfaces.iter().map(|(name, addresses)| {
            if addresses.is_empty() {
                return format!("{name} has no address");
            }
            let all = addresses
                .iter()
                .map(|address| format!("{} ({})", address.text, address.scope));
            format!("{name} has only {}", all.collect::<Vec<_>>().join(", "))
        });
        each.collect::<Vec<_>>().join("; ")
    }
}

impl Address {
    fn from_value(value: &Value) -> Option<Self> {
        let text = value["address"].as_str()?;
        let family = match text.parse() {
            Ok(IpAddr::V4(_)) => Family::V4,
            Ok(IpAddr::V6(_)) => Family::V6,
            Err(_) => return None,
        };
        Some(Self {
            family,
            text: text.to_owned(),
            scope: value["scope"].as_str().unwrap_or_default().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Family, Network};
    use serde_json::json;

    #[test]
    fn only_global_addresses_count() {
        let address = |address: &str, scope: &str| json!({"address": address, "scope": scope});
        let lo =
            json!({"addresses": [address("127.0.0.1", "local"), address("10.9.9.9", "global")]});
        for (eth0, ipv4, ipv6, words) in [
            (json!([]), &[][..], &[][..], "eth0 has no address"),
            (
                json!([address("fe80::1", "link")]),
                &[],
                &[],
                "eth0 has only fe80::1 (link)",
            ),
            (
                json!([
                    address("10.1.2.3", "global"),
                    address("fd42::1", "global"),
                    address("fe80::1", "link")
                ]),
                &["10.1.2.3"],
                &["fd42::1"],
                "eth0 has only 10.1.2.3 (global), fd42::1 (global), fe80::1 (link)",
            ),
        ] {
            let network =
                Network::from_value(&json!({"network": {"lo": lo, "eth0": {"addresses": eth0}}}));
            assert_eq!(network.global(Family::V4), ipv4);
            assert_eq!(network.global(Family::V6), ipv6);
            assert_eq!(network.describe(), words);
        }
        let none = Network::from_value(&json!({"network": null}));
        assert_eq!(none.describe(), "it has no network interface but lo");
    }
}
