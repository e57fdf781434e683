use crate::{Flavor, Headers, Request};

/// What a path of an instance is. The API tells no more kinds apart: pipes, sockets and devices are
/// files to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A file.
    File,
    /// A folder.
    Directory,
    /// A symbolic link.
    Symlink,
}

impl FileKind {
    /// The API's word for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
        }
    }
}

/// What the server tells about a path without its content. A link is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// What it is.
    pub kind: FileKind,
    /// Its permission bits; the API hides the set-user-id, set-group-id and sticky bits.
    pub mode: u32,
    /// Its numeric owner.
    pub uid: u32,
    /// Its numeric group.
    pub gid: u32,
}

/// The bits of a mode that say who may read, write and execute.
pub(super) const PERMISSIONS: u32 = 0o777;

impl FileInfo {
    /// Reads `X-LXD-type` or `X-Incus-type` and their kin; `None` where they are missing.
    pub(super) fn from_headers(headers: &Headers, flavor: Flavor) -> Option<Self> {
        let value = |name: &str| headers.get(&format!("{}{name}", flavor.header_prefix()));
        let number = |name: &str| value(name)?.parse().ok();
        let kinds = [FileKind::File, FileKind::Directory, FileKind::Symlink];
        let kind = value("type")?;
        Some(Self {
            kind: kinds.into_iter().find(|known| known.name() == kind)?,
            // Also what an instance says: no file that it gives away is another user's for whoever runs it.
            mode: u32::from_str_radix(value("mode")?, 8).ok()? & PERMISSIONS,
            uid: number("uid")?,
            gid: number("gid")?,
        })
    }
}

/// The permissions and the owner that something is to have, as far as they matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

impl Attributes {
    /// Whether nothing matters.
    pub(super) fn any_will_do(self) -> bool {
        self == Self::default()
    }

    /// Whether what there is has them already.
    pub(super) fn hold_for(self, info: &FileInfo) -> bool {
        self.mode.is_none_or(|mode| mode == info.mode) && self.owner_holds_for(info)
    }

    /// Whether what there is belongs to whom it should.
    pub(super) fn owner_holds_for(self, info: &FileInfo) -> bool {
        self.uid.is_none_or(|uid| uid == info.uid) && self.gid.is_none_or(|gid| gid == info.gid)
    }

    /// What does not matter, as it is.
    pub(super) fn or_those_of(self, info: &FileInfo) -> Self {
        Self {
            mode: self.mode.or(Some(info.mode)),
            uid: self.uid.or(Some(info.uid)),
            gid: self.gid.or(Some(info.gid)),
        }
    }

    /// Adds the headers for something new. A mode without a leading zero would be read as decimal.
    pub(super) fn ask(self, mut request: Request, flavor: Flavor) -> Request {
        let prefix = flavor.header_prefix();
        let mode = self.mode.map(|mode| format!("{mode:04o}"));
        let ids = [("uid", self.uid), ("gid", self.gid)]
            .map(|(name, id)| (name, id.map(|id| id.to_string())));
        for (name, value) in [("mode", mode)].into_iter().chain(ids) {
            if let Some(value) = value {
                request = request.header(format!("{prefix}{name}"), value);
            }
        }
        request
    }

    /// Adds the header that has them hold for what exists too.
    pub(super) fn insist(self, request: Request, flavor: Flavor) -> Request {
        let all = [("mode", self.mode), ("uid", self.uid), ("gid", self.gid)];
        let named: Vec<&str> = all
            .into_iter()
            .filter_map(|(name, value)| value.map(|_| name))
            .collect();
        request.header(
            format!("{}modify-perm", flavor.header_prefix()),
            named.join(","),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Attributes, FileInfo, FileKind};
    use crate::{Flavor, Headers, Request};

    #[test]
    fn headers_are_read_and_written() {
        let headers = [
            ("X-Lxd-Type", "symlink"),
            ("X-Lxd-Mode", "0640"),
            ("X-Lxd-Uid", "0"),
            ("X-Lxd-Gid", "65534"),
        ];
        let headers = Headers::new(
            headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        );
        let info = FileInfo::from_headers(&headers, Flavor::Lxd).unwrap();
        assert_eq!(
            (info.kind, info.mode, info.uid, info.gid),
            (FileKind::Symlink, 0o640, 0, 65534)
        );
        assert_eq!(FileInfo::from_headers(&headers, Flavor::Incus), None);
        for (mode, expected) in [("6777", 0o777), ("01755", 0o755), ("37777777777", 0o777)] {
            let headers = [("mode", mode), ("type", "file"), ("uid", "0"), ("gid", "0")]
                .map(|(name, value)| (format!("X-Lxd-{name}"), value.to_owned()));
            let headers = Headers::new(headers.into());
            let info = FileInfo::from_headers(&headers, Flavor::Lxd).unwrap();
            assert_eq!(info.mode, expected, "{mode}");
        }
        let wanted = Attributes {
            mode: Some(0o7),
            uid: None,
            gid: Some(5),
        };
        let request = wanted.insist(wanted.ask(Request::post("x"), Flavor::Incus), Flavor::Incus);
        let expected = [
            ("X-Incus-mode", "0007"),
            ("X-Incus-gid", "5"),
            ("X-Incus-modify-perm", "mode,gid"),
        ];
        assert_eq!(
            request.headers(),
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }
}
