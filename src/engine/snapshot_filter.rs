//! Selects snapshots by host, tags and sources.

use crate::engine::tag_list::TagList;
use crate::repo::StoredSnapshot;

/// Which snapshots are looked at; all by default. Of one kind any may fit, of each kind one must.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotFilter {
    /// Hosts.
    pub hosts: Vec<String>,
    /// Lists of tags.
    pub tags: Vec<TagList>,
    /// Labels or absolute paths of databases and trees.
    pub databases: Vec<Vec<u8>>,
}

impl SnapshotFilter {
    /// True if everything fits.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.tags.is_empty() && self.databases.is_empty()
    }

    /// True if the snapshot is to be looked at. Its tags are those that hold of it.
    pub fn fits(&self, stored: &StoredSnapshot) -> bool {
        let snapshot = &stored.snapshot;
        let is = |wanted: &Vec<u8>| snapshot.sources.iter().any(|source| source.is_called(wanted));
        any_or_empty(&self.hosts, |host| *host == snapshot.host)
            && any_or_empty(&self.tags, |tags| tags.fits(&snapshot.tags))
            && any_or_empty(&self.databases, is)
    }
}

fn any_or_empty<T>(wanted: &[T], fits: impl FnMut(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(fits)
}
