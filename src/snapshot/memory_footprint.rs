//! Counts the memory that a decoded snapshot takes.
//!
//! Spare room of lists is not counted: it is at most as much again.

use super::database_root::{DatabaseContent, DatabaseRoot, LogTail, RecordedDamage, StoredRunRef};
use super::missing_paths::MissingPath;
use super::tree_blob::FileMetadata;
use super::{Snapshot, SnapshotSource};

/// A value with parts outside of itself.
pub(super) trait Footprint: Sized {
    /// Bytes of what it points to.
    fn heap(&self) -> usize;

    /// All of it.
    fn footprint(&self) -> usize {
        size_of::<Self>() + self.heap()
    }
}

impl Snapshot {
    /// Bytes of memory that it takes.
    pub fn memory(&self) -> usize {
        let tags: usize = self.tags.iter().map(|tag| size_of::<String>() + tag.len()).sum();
        let texts = self.host.len() + self.user.len() + self.program.len() + tags;
        size_of::<Self>() + texts + all(&self.sources) + all(self.missing.listed())
    }
}

impl Footprint for SnapshotSource {
    fn heap(&self) -> usize {
        match self {
            Self::Database(database) => database.footprint(),
            Self::Tree(tree) => tree.name.len() + tree.path.len(),
        }
    }
}

impl Footprint for DatabaseRoot {
    fn heap(&self) -> usize {
        let filter = self.shape.filter.as_ref().map_or(0, |filter| filter.name.len());
        let texts = self.name.len() + self.path.len() + self.shape.comparator.len() + filter;
        let metas = [&self.directory, &self.files];
        let metas: usize = metas.into_iter().flatten().map(Footprint::heap).sum();
        texts + metas + self.content.heap() + all(&self.damage) + all(&self.capture.torn_tails)
    }
}

impl Footprint for DatabaseContent {
    fn heap(&self) -> usize {
        match self {
            Self::Logical { runs, uncertain } => all(runs) + uncertain.as_ref().map_or(0, StoredRunRef::heap),
            Self::Physical { .. } => 0,
        }
    }
}

impl Footprint for StoredRunRef {
    fn heap(&self) -> usize {
        let first = self.root.as_ref().map_or(0, |root| root.top.first_key.len());
        let filter = self.filter.as_ref().map_or(0, super::KeyBloomFilter::bytes);
        first + self.last_key.len() + self.comparator.len() + filter
    }
}

impl Footprint for RecordedDamage {
    fn heap(&self) -> usize {
        let keys = [&self.smallest, &self.largest].into_iter().flatten();
        self.file.len() + self.what.len() + keys.map(Vec::len).sum::<usize>()
    }
}

impl Footprint for LogTail {
    fn heap(&self) -> usize {
        self.file.len()
    }
}

impl Footprint for MissingPath {
    fn heap(&self) -> usize {
        self.path.len() + self.reason.len()
    }
}

impl Footprint for FileMetadata {
    fn heap(&self) -> usize {
        let xattr = |(name, value): &(Vec<u8>, Vec<u8>)| 2 * size_of::<Vec<u8>>() + name.len() + value.len();
        self.xattrs.iter().map(xattr).sum::<usize>() + self.holes.len() * size_of::<(u64, u64)>()
    }
}

fn all<T: Footprint>(list: &[T]) -> usize {
    list.iter().map(Footprint::footprint).sum()
}
