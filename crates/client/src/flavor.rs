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
    /// An extension that only this product has, for servers that do not name themselves.
    hint: &'static str,
}

const LXD: Row = Row {
    name: "lxd",
    title: "LXD",
    header_prefix: "X-LXD-",
    groups: "`lxd`",
    // LXD up to 5.14 and the whole 5.0 series record beside the other logs.
    log_folders: &["logs/exec-output", "logs"],
    hint: "macaroon_authentication",
};

const INCUS: Row = Row {
    name: "incus",
    title: "Incus",
    header_prefix: "X-Incus-",
    groups: "`incus-admin` or `incus`",
    log_folders: &["logs/exec-output"],
    hint: "dev_incus_events",
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
        // Untrusted clients are not shown the environment, but they are shown the extensions.
        let extensions = metadata["api_extensions"].as_array()?;
        let has = |name: &str| extensions.iter().any(|extension| extension == name);
        both.into_iter().find(|flavor| has(flavor.row().hint))
    }
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
