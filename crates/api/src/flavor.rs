//! What differs between LXD and Incus and between their generations: told by extensions where there is one, else by what
//! the server answers, never by version numbers.

use std::fmt;

use serde_json::Value;

/// Which of the two products answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavor {
    /// Canonical's LXD.
    Lxd,
    /// Incus of the Linux Containers project.
    Incus,
}

/// What differs between the two products.
struct Row {
    name: &'static str,
    title: &'static str,
    header_prefix: &'static str,
    groups: &'static str,
    /// Paths of recorded output below an instance, newest generation first.
    log_folders: &'static [&'static str],
    /// Extensions that only this product has, for servers that do not name themselves.
    hints: &'static [&'static str],
}

const LXD: Row = Row {
    name: "lxd",
    title: "LXD",
    header_prefix: "X-LXD-",
    groups: "`lxd`",
    // LXD up to 5.14 and the whole 5.0 series record beside the other logs.
    log_folders: &["logs/exec-output", "logs"],
    // The first is gone from 5.21 on.
    hints: &[
        "macaroon_authentication",
        "access_management",
        "oidc_groups_claim",
        "instances_uefi_vars",
    ],
};

const INCUS: Row = Row {
    name: "incus",
    title: "Incus",
    header_prefix: "X-Incus-",
    groups: "`incus-admin` or `incus`",
    log_folders: &["logs/exec-output"],
    hints: &["dev_incus_events", "instance_access"],
};

impl Flavor {
    fn row(self) -> &'static Row {
        match self {
            Self::Lxd => &LXD,
            Self::Incus => &INCUS,
        }
    }

    /// `"lxd"` or `"incus"`, as in `environment.server`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The product's name as people write it: `"LXD"` or `"Incus"`.
    pub fn title(self) -> &'static str {
        self.row().title
    }

    /// What file and image headers begin with: `"X-LXD-"` or `"X-Incus-"`.
    pub fn header_prefix(self) -> &'static str {
        self.row().header_prefix
    }

    /// The groups whose members may use the socket, ready for a sentence.
    pub fn groups(self) -> &'static str {
        self.row().groups
    }

    /// Where recorded output of a command may lie below an instance's path, newest generation first. A server that does
    /// not know one of them says so ([`Meaning::NoLogHere`](crate::messages::Meaning::NoLogHere)).
    pub fn log_folders(self) -> &'static [&'static str] {
        self.row().log_folders
    }

    /// The flavor of a server by the metadata of its `GET /1.0`.
    pub fn of(metadata: &Value) -> Option<Self> {
        let both = [Self::Incus, Self::Lxd];
        if let Some(name) = metadata["environment"]["server"].as_str() {
            return both.into_iter().find(|flavor| flavor.name() == name);
        }
        // Untrusted clients are not shown the environment. LXD, and Incus before 7.0, show them the extensions.
        let Some(extensions) = metadata["api_extensions"].as_array() else {
            let is_untrusted = metadata["auth"] == "untrusted" && metadata["api_version"] == "1.0";
            return is_untrusted.then_some(Self::Incus);
        };
        let has = |name: &&str| extensions.iter().any(|extension| extension == name);
        both.into_iter()
            .find(|flavor| flavor.row().hints.iter().any(has))
    }
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether a name of a header, without its case, is what both products call a resource that is sent as a file.
pub fn is_name_header(header: &str) -> bool {
    [Flavor::Lxd, Flavor::Incus]
        .iter()
        .any(|flavor| header.eq_ignore_ascii_case(&format!("{}name", flavor.header_prefix())))
}

/// The extension with which a server starts an instance that it makes.
pub const CREATE_AND_START: &str = "instance_create_start";
/// The extension with which a DELETE of an instance takes `force=1`.
pub const FORCE_DELETE: &str = "instance_force_delete";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn untrusted_servers_are_known_by_their_extensions() {
        for (metadata, expected) in [
            (
                json!({"environment": {"server": "incus"}}),
                Some(Flavor::Incus),
            ),
            (
                json!({"api_extensions": ["macaroon_authentication"]}),
                Some(Flavor::Lxd),
            ),
            (
                json!({"api_extensions": ["access_management", "x"]}),
                Some(Flavor::Lxd),
            ),
            (
                json!({"api_extensions": ["dev_incus_events"]}),
                Some(Flavor::Incus),
            ),
            (json!({"api_extensions": ["etag"]}), None),
            (
                json!({"auth": "untrusted", "api_version": "1.0", "api_extensions": null}),
                Some(Flavor::Incus),
            ),
            (json!({"api_extensions": null}), None),
        ] {
            assert_eq!(Flavor::of(&metadata), expected, "{metadata}");
        }
    }
}
