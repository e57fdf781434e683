use std::fmt;

use serde_json::Value;

/// Which of the two products answers: told by `environment.server` of `GET /1.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavor {
    /// Canonical's LXD.
    Lxd,
    /// Incus of the Linux Containers project.
    Incus,
}

/// What differs between the two products, in the one place where it stands.
struct Row {
    name: &'static str,
    title: &'static str,
    header_prefix: &'static str,
    groups: &'static str,
    /// Paths of recorded output below an instance, newest generation first.
    log_folders: &'static [&'static str],
    /// Extensions that only this product has or had, for servers that do not name themselves.
    hints: &'static [&'static str],
}

const LXD: Row = Row {
    name: "lxd",
    title: "LXD",
    header_prefix: "X-LXD-",
    groups: "`lxd`",
    // LXD up to 5.14 and the whole 5.0 series record beside the other logs.
    log_folders: &["logs/exec-output", "logs"],
    // The first one is gone since 5.21.
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
    pub(super) fn groups(self) -> &'static str {
        self.row().groups
    }

    /// Where recorded exec output may lie below `/1.0/instances/<name>/`, newest generation first.
    pub(super) fn log_folders(self) -> &'static [&'static str] {
        self.row().log_folders
    }

    /// The flavor of a server by the metadata of its `GET /1.0`.
    pub(super) fn of(metadata: &Value) -> Option<Self> {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Flavor;

    #[test]
    fn a_server_that_does_not_trust_the_client_yet_is_known_by_its_extensions() {
        let untrusted = |extensions: serde_json::Value| json!({"auth": "untrusted", "api_version": "1.0", "api_extensions": extensions});
        for (metadata, expected) in [
            (
                untrusted(json!(["macaroon_authentication"])),
                Some(Flavor::Lxd),
            ),
            (untrusted(json!(["access_management"])), Some(Flavor::Lxd)),
            (untrusted(json!(["dev_incus_events"])), Some(Flavor::Incus)),
            // Incus shows none since 7.0; LXD always does.
            (untrusted(json!(null)), Some(Flavor::Incus)),
            (untrusted(json!([])), None),
            (json!({"anything": "else"}), None),
            (
                json!({"auth": "trusted", "environment": {"server": "lxd"}}),
                Some(Flavor::Lxd),
            ),
        ] {
            assert_eq!(Flavor::of(&metadata), expected, "{metadata}");
        }
    }
}
