//! Names objects, and maps names to paths.
//!
//! Object kind and id ⇄ path in the repository: `packs/ab/abcd…`. Paths use `/` on every store.

use std::fmt;

use crate::id::ObjectId;

/// Every kind of object a repository holds (docs/FORMAT.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// `config`: what a reader must know before it has a key.
    Config,
    /// `config.copy`: the same bytes once more.
    ConfigCopy,
    /// A key slot: a password's way to an identity.
    Slot,
    /// A generation of epoch keys, sealed to the slots named in it.
    Keyring,
    /// Sealed blobs.
    Pack,
    /// An index segment: which pack holds which blob.
    Index,
    /// One backup.
    Snapshot,
    /// "This snapshot is forgotten since."
    Forgotten,
    /// Tags, pins, `suspect`, what the store can do.
    Note,
    /// Blobs never to be deduplicated against.
    Bad,
    /// Packs that are to go.
    Mark,
    /// A prune's lease.
    Lease,
    /// The scratch object that tells the store's time.
    Probe,
    /// A shipped log segment.
    Wal,
    /// Reed-Solomon shards over a pack.
    Parity,
    /// "This pack was read and found right."
    Audit,
}

impl ObjectKind {
    /// All of them, in the order of docs/FORMAT.md.
    pub const ALL: [ObjectKind; 16] = [
        Self::Config,
        Self::ConfigCopy,
        Self::Slot,
        Self::Keyring,
        Self::Pack,
        Self::Index,
        Self::Snapshot,
        Self::Forgotten,
        Self::Note,
        Self::Bad,
        Self::Mark,
        Self::Lease,
        Self::Probe,
        Self::Wal,
        Self::Parity,
        Self::Audit,
    ];

    /// The directory of this kind, or the file itself for the two that have one fixed name.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::ConfigCopy => "config.copy",
            Self::Slot => "keys",
            Self::Keyring => "keyring",
            Self::Pack => "packs",
            Self::Index => "index",
            Self::Snapshot => "snapshots",
            Self::Forgotten => "forgotten",
            Self::Note => "notes",
            Self::Bad => "bad",
            Self::Mark => "marks",
            Self::Lease => "leases",
            Self::Probe => "probes",
            Self::Wal => "wal",
            Self::Parity => "parity",
            Self::Audit => "audits",
        }
    }

    /// True for the two objects of which a repository has exactly one, under a fixed name.
    pub fn is_single(self) -> bool {
        matches!(self, Self::Config | Self::ConfigCopy)
    }

    /// True where the id is the BLAKE3 of the stored bytes; else it is random (leases, probes) or there is
    /// none (config).
    pub fn is_named_by_content(self) -> bool {
        !matches!(self, Self::Config | Self::ConfigCopy | Self::Lease | Self::Probe)
    }

    /// True for kinds without which a repository is damaged: their directories are made at `init`, so that a
    /// missing one is an error and never an empty listing (a prune that sees no snapshots deletes all packs).
    pub(super) fn is_vital(self) -> bool {
        matches!(
            self,
            Self::Slot | Self::Keyring | Self::Pack | Self::Index | Self::Snapshot
        )
    }
}

/// The full name of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// What it is.
    pub kind: ObjectKind,
    /// Which one; all zero for the two kinds that have only one.
    pub id: ObjectId,
}

impl ObjectName {
    /// `config`.
    pub const CONFIG: ObjectName = Self::single(ObjectKind::Config);
    /// `config.copy`.
    pub const CONFIG_COPY: ObjectName = Self::single(ObjectKind::ConfigCopy);

    const fn single(kind: ObjectKind) -> Self {
        Self {
            kind,
            id: ObjectId([0; 32]),
        }
    }

    /// The name of an object; the id of a single one is taken as zero.
    pub fn new(kind: ObjectKind, id: ObjectId) -> Self {
        if kind.is_single() {
            Self::single(kind)
        } else {
            Self { kind, id }
        }
    }

    /// The name that content-named kinds must have for these bytes.
    pub fn of_content(kind: ObjectKind, bytes: &[u8]) -> Self {
        Self::new(kind, ObjectId(*blake3::hash(bytes).as_bytes()))
    }

    /// Path below the repository's root. Packs are spread over 256 directories by their first byte: some
    /// filesystems and most people are slow with a hundred thousand files in one.
    pub fn path(&self) -> String {
        let folder = self.kind.folder();
        match self.kind {
            ObjectKind::Config | ObjectKind::ConfigCopy => folder.to_owned(),
            ObjectKind::Pack => {
                let hex = self.id.to_hex();
                format!("{folder}/{}/{hex}", &hex[..2])
            }
            _ => format!("{folder}/{}", self.id.to_hex()),
        }
    }

    /// Reads exactly what [`ObjectName::path`] writes; `None` for every other path.
    pub fn from_path(path: &str) -> Option<Self> {
        let (folder, rest) = path.split_once('/').unwrap_or((path, ""));
        let kind = ObjectKind::ALL.into_iter().find(|kind| kind.folder() == folder)?;
        let hex = rest.rsplit('/').next().unwrap_or(rest);
        let name = if kind.is_single() {
            Self::single(kind)
        } else {
            Self::new(kind, ObjectId::from_hex(hex)?)
        };
        (name.path() == path).then_some(name)
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_goes_to_a_path_of_its_own_and_back() {
        let mut paths = std::collections::BTreeSet::new();
        for kind in ObjectKind::ALL {
            let name = ObjectName::new(kind, ObjectId([0xc3; 32]));
            assert_eq!(ObjectName::from_path(&name.path()), Some(name));
            assert!(paths.insert(name.path()), "{name}");
        }
        assert!(paths.contains(&format!("packs/c3/{}", "c3".repeat(32))));
        assert!(paths.contains("config") && paths.contains("config.copy"));
    }

    #[test]
    fn paths_that_are_no_object_are_refused() {
        let hex = "c3".repeat(32);
        for path in [
            "",
            "config/",
            "config/x",
            "keys",
            "keys/",
            "packs",
            &format!("keys/{}", "C3".repeat(32)),
            &format!("packs/{hex}"),
            &format!("packs/c4/{hex}"),
            &format!("packs/c3/x/{hex}"),
            &format!("keys/c3/{hex}"),
            &format!("keys/{hex}.tmp"),
            &format!("/keys/{hex}"),
            &format!("other/{hex}"),
        ] {
            assert_eq!(ObjectName::from_path(path), None, "{path}");
        }
    }
}
