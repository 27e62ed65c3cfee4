//! Snapshots: when, by whom, and the roots of what was saved.
//!
//! What one backup means: when, by whom, and the roots of what it saved.
//!
//! ```text
//! snapshot ── source ── database ── runs, newest last ── leaves ── chunks
//!         │                     └── tree of foreign files beside it
//!         └── source ── tree ── directories, files ── chunks
//! ```
//!
//! A snapshot names everything it needs itself. `previous` is evidence against rollback, not a dependency: any
//! snapshot may be forgotten without touching another.

mod bounded_list;
pub mod database_root;
pub mod directory_blobs;
pub mod key_filter;
mod memory_footprint;
pub mod missing_paths;
pub mod repository_holes;
pub mod restore_paths;
pub mod snapshot_codec;
pub mod snapshot_selector;
pub mod source_identity;
pub mod source_label;
pub mod tree_blob;

pub use database_root::{
    CaptureRecord, DatabaseContent, DatabaseRoot, LogTail, RecordedDamage, RecordedHold, SourceTrust,
    StoredRunRef,
};
pub use directory_blobs::{DirectoryBuilder, DirectoryWalk};
pub use key_filter::KeyBloomFilter;
pub use missing_paths::{MissingPath, MissingPaths, covers};
pub use repository_holes::HoleKind;
pub use snapshot_selector::{SnapshotCandidate, select};
pub use source_identity::SourceIdentity;
pub use tree_blob::{DeviceNumber, EntryKind, FileMetadata, TreeBlob, TreeEntry, TreePart};

use serde::{Deserialize, Serialize};

use crate::clock::UnixNanos;
use crate::id::{BlobId, DomainId, ObjectId, RepositoryId};
use crate::limits::{SNAPSHOT_SOURCES_MAX, SNAPSHOT_TAGS_MAX};

/// One backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The dedup domain whose keys name its blobs.
    pub domain: DomainId,
    /// One more than the domain's snapshot before it; a gap that nothing explains is evidence of a rollback.
    pub counter: u64,
    /// The domain's snapshot before it.
    pub previous: Option<ObjectId>,
    /// Host it was made on.
    pub host: String,
    /// User it was made by.
    pub user: String,
    /// When the backup began.
    pub time: UnixNanos,
    /// When its last source was read.
    pub time_end: UnixNanos,
    /// The user's words about it, sorted, none twice.
    #[serde(deserialize_with = "bounded_list::list::<_, _, SNAPSHOT_TAGS_MAX>")]
    pub tags: Vec<String>,
    /// Name and version of the program that wrote it.
    pub program: String,
    /// What was saved, in the order in which it was asked for.
    #[serde(deserialize_with = "bounded_list::list::<_, _, SNAPSHOT_SOURCES_MAX>")]
    pub sources: Vec<SnapshotSource>,
    /// Where it was made, if it is a copy. (Not among the fields of version 1: `body` writes it behind them.)
    #[serde(skip)]
    pub original: Option<OriginalSnapshot>,
    /// What was asked for and could not be read. (Of version 3, behind the fields of version 1.)
    #[serde(skip)]
    pub missing: MissingPaths,
    /// Numbers of the databases that the trees of other sources name, ascending; `None` where names and paths of the
    /// sources tell them. (Of version 3, behind the fields of version 1.)
    #[serde(skip)]
    pub inside: Option<Vec<u32>>,
}

/// The snapshot that copies were made of, by the name it has where it was made. A copy of a copy has the same original.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OriginalSnapshot {
    /// The repository it was made in.
    pub repository: RepositoryId,
    /// Its name there.
    pub snapshot: ObjectId,
}

/// One thing that was saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotSource {
    /// A LevelDB database. (Boxed: much larger than the other kind.)
    Database(Box<DatabaseRoot>),
    /// A file or a directory tree.
    Tree(TreeRoot),
}

/// A file or directory tree as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeRoot {
    /// Label for people; `SNAPSHOT:NAME` picks the source. Not its identity.
    pub name: String,
    /// Where it stood, as the system's own bytes.
    pub path: Vec<u8>,
    /// A tree blob with one entry: the file or directory itself.
    pub root: BlobId,
    /// Files beneath.
    pub files: u64,
    /// Directories beneath, the root among them.
    pub directories: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

impl SnapshotSource {
    /// Name within the snapshot.
    pub fn name(&self) -> &str {
        match self {
            Self::Database(database) => &database.name,
            Self::Tree(tree) => &tree.name,
        }
    }

    /// Where it stood, as the system's own bytes.
    pub fn path(&self) -> &[u8] {
        match self {
            Self::Database(database) => &database.path,
            Self::Tree(tree) => &tree.path,
        }
    }
}

impl Snapshot {
    /// The databases among its sources.
    pub fn databases(&self) -> impl Iterator<Item = &DatabaseRoot> {
        self.sources.iter().filter_map(|source| match source {
            SnapshotSource::Database(database) => Some(&**database),
            SnapshotSource::Tree(_) => None,
        })
    }

    /// The trees of files among its sources.
    pub fn trees(&self) -> impl Iterator<Item = &TreeRoot> {
        self.sources.iter().filter_map(|source| match source {
            SnapshotSource::Tree(tree) => Some(tree),
            SnapshotSource::Database(_) => None,
        })
    }

    /// Bytes of its records and of the files in its trees.
    pub fn bytes(&self) -> u64 {
        let databases = self.databases().map(DatabaseRoot::bytes);
        let all = databases.chain(self.trees().map(|tree| tree.bytes));
        // Numbers that nothing vouches for.
        all.fold(0, u64::saturating_add)
    }

    /// True if it lacks something of what was asked for, or a source was damaged when it was read.
    pub fn is_incomplete(&self) -> bool {
        !self.missing.is_empty() || self.is_damaged()
    }

    /// True if some source was damaged when it was read.
    pub fn is_damaged(&self) -> bool {
        self.sources.iter().any(|source| match source {
            SnapshotSource::Database(database) => database.is_damaged(),
            SnapshotSource::Tree(_) => false,
        })
    }
}

#[cfg(test)]
mod tests;
