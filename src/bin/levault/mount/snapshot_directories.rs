//! Arranges snapshots in directories by id, time, host and tag.
//!
//! Snapshots on shelves: by id, by time, by host, by tag. Pure.

use std::collections::BTreeMap;

use levault::repo::StoredSnapshot;

use crate::format::time;

/// One directory of snapshots: their numbers by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotDirectory {
    pub by_name: BTreeMap<String, usize>,
    /// The name of the latest; none on the shelf of ids.
    pub latest: Option<String>,
}

/// Which directory of snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SnapshotDirectoryName {
    Ids,
    Times,
    Hosts,
    Host(String),
    Tags,
    Tag(String),
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct SnapshotDirectories {
    pub ids: SnapshotDirectory,
    pub times: SnapshotDirectory,
    pub hosts: BTreeMap<String, SnapshotDirectory>,
    pub tags: BTreeMap<String, SnapshotDirectory>,
}

impl SnapshotDirectories {
    /// Arranges snapshots that are in order of time; each number is a place in that order.
    pub fn of(snapshots: &[StoredSnapshot]) -> Self {
        let mut shelves = Self::default();
        for (number, stored) in snapshots.iter().enumerate() {
            let snapshot = &stored.snapshot;
            let short = stored.id.short();
            let id = if shelves.ids.by_name.contains_key(&short) {
                stored.id.to_hex()
            } else {
                short
            };
            shelves.ids.by_name.insert(id, number);
            let at = time(snapshot.time);
            shelves.times.add(&at, number);
            shelves
                .hosts
                .entry(plain(&snapshot.host))
                .or_default()
                .add(&at, number);
            for tag in &snapshot.tags {
                shelves.tags.entry(plain(tag)).or_default().add(&at, number);
            }
        }
        shelves
    }

    /// A shelf that has snapshots itself.
    pub fn shelf(&self, name: &SnapshotDirectoryName) -> Option<&SnapshotDirectory> {
        match name {
            SnapshotDirectoryName::Ids => Some(&self.ids),
            SnapshotDirectoryName::Times => Some(&self.times),
            SnapshotDirectoryName::Host(host) => self.hosts.get(host),
            SnapshotDirectoryName::Tag(tag) => self.tags.get(tag),
            SnapshotDirectoryName::Hosts | SnapshotDirectoryName::Tags => None,
        }
    }

    /// The shelves in one that has others.
    pub fn inner(&self, name: &SnapshotDirectoryName) -> Vec<SnapshotDirectoryName> {
        match name {
            SnapshotDirectoryName::Hosts => self
                .hosts
                .keys()
                .cloned()
                .map(SnapshotDirectoryName::Host)
                .collect(),
            SnapshotDirectoryName::Tags => self
                .tags
                .keys()
                .cloned()
                .map(SnapshotDirectoryName::Tag)
                .collect(),
            _ => Vec::new(),
        }
    }
}

impl SnapshotDirectory {
    /// Of two in one second, the later has a number behind its name.
    fn add(&mut self, name: &str, number: usize) {
        let numbered = (1..).map(|nth| format!("{name}-{nth}"));
        let mut names = std::iter::once(name.to_owned()).chain(numbered);
        if let Some(free) = names.find(|name| !self.by_name.contains_key(name)) {
            self.by_name.insert(free.clone(), number);
            self.latest = Some(free);
        }
    }
}

impl SnapshotDirectoryName {
    /// The directory's name.
    pub fn text(&self) -> &str {
        match self {
            Self::Ids => "ids",
            Self::Times => "snapshots",
            Self::Hosts => "hosts",
            Self::Tags => "tags",
            Self::Host(name) | Self::Tag(name) => name,
        }
    }
}

/// A name that a directory can hold.
pub fn plain(name: &str) -> String {
    match name {
        "" | "." | ".." | "latest" => format!("_{name}"),
        name => name.replace(['/', '\0'], "_"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use levault::clock::UnixNanos;
    use levault::id::{DomainId, ObjectId};
    use levault::snapshot::Snapshot;

    fn stored(id: [u8; 2], second: i64, host: &str, tags: &[&str]) -> StoredSnapshot {
        let mut bytes = [0; 32];
        (bytes[0], bytes[31]) = (id[0], id[1]);
        let snapshot = Snapshot {
            domain: DomainId(0),
            counter: 0,
            previous: None,
            host: host.into(),
            user: String::new(),
            time: UnixNanos(second * 1_000_000_000),
            time_end: UnixNanos(0),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            program: String::new(),
            sources: Vec::new(),
            original: None,
            missing: Default::default(),
            inside: None,
        };
        StoredSnapshot {
            id: ObjectId(bytes),
            snapshot,
        }
    }

    fn names(shelf: &SnapshotDirectory) -> Vec<(&str, usize)> {
        shelf
            .by_name
            .iter()
            .map(|(name, number)| (&name[..], *number))
            .collect()
    }

    #[test]
    fn every_snapshot_stands_on_each_of_its_shelves_once() {
        let all = [
            stored([1, 0], 0, "a/b", &["x"]),
            stored([1, 1], 0, "..", &[]),
            stored([2, 0], 60, "a/b", &["x", "y"]),
        ];
        let shelves = SnapshotDirectories::of(&all);
        let whole = all[1].id.to_hex();
        assert_eq!(
            names(&shelves.ids),
            [("01000000", 0), (&whole[..], 1), ("02000000", 2)]
        );
        assert!(shelves.ids.latest.is_none());
        let (first, last) = ("1970-01-01T00:00:00Z", "1970-01-01T00:01:00Z");
        assert_eq!(
            names(&shelves.times),
            [(first, 0), ("1970-01-01T00:00:00Z-1", 1), (last, 2)]
        );
        assert_eq!(shelves.times.latest.as_deref(), Some(last));
        let hosts: Vec<_> = shelves
            .inner(&SnapshotDirectoryName::Hosts)
            .iter()
            .map(|name| name.text().to_owned())
            .collect();
        assert_eq!(hosts, ["_..", "a_b"]);
        let host = SnapshotDirectoryName::Host("a_b".into());
        assert_eq!(names(shelves.shelf(&host).unwrap()), [(first, 0), (last, 2)]);
        let tag = |tag: &str| names(shelves.shelf(&SnapshotDirectoryName::Tag(tag.into())).unwrap()).len();
        assert_eq!((tag("x"), tag("y")), (2, 1));
        assert!(shelves.shelf(&SnapshotDirectoryName::Tag("z".into())).is_none());
    }
}
