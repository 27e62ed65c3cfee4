//! Describes one database in a snapshot.
//!
//! A database within a snapshot: its runs, its digests, and how it was read.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::bounded_list;
use super::key_filter::KeyBloomFilter;
use super::tree_blob::FileMetadata;
use crate::clock::UnixNanos;
use crate::id::{BlobId, SetDigest, StreamDigest, TimelineId};
use crate::leveldb::DatabaseLayout;
use crate::leveldb::comparator::BYTEWISE_NAME;
use crate::limits::{DAMAGE_MAX, RUNS_MAX};
use crate::run::{KeyOrder, RunRoot};

/// One database as it was saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseRoot {
    /// Label for people; `SNAPSHOT:NAME` picks the database. Not its identity.
    pub name: String,
    /// The directory it stood in, as the system's own bytes.
    pub path: Vec<u8>,
    /// Mode, owner and times of that directory, where they could be read.
    pub directory: Option<FileMetadata>,
    /// The unbroken history it belongs to.
    pub timeline: TimelineId,
    /// How its files were laid out, for the restore; names the comparator.
    pub shape: DatabaseLayout,
    /// Where its content is.
    pub content: DatabaseContent,
    /// Visible records, uncertain ones not among them.
    pub records: u64,
    /// Bytes of their keys.
    pub key_bytes: u64,
    /// Bytes of their values.
    pub value_bytes: u64,
    /// Sum of the keyed hashes of the records; zero in physical mode.
    pub set_digest: SetDigest,
    /// Hash of the canonical stream, where a full scan computed it.
    pub stream_digest: Option<StreamDigest>,
    /// Sequence number of the last write in it.
    pub last_sequence: u64,
    /// What could not be read, at most [`crate::limits::DAMAGE_MAX`] entries.
    #[serde(deserialize_with = "bounded_list::list::<_, _, DAMAGE_MAX>")]
    pub damage: Vec<RecordedDamage>,
    /// Damage beyond those entries.
    pub damage_unlisted: u64,
    /// How the files were had.
    pub capture: CaptureRecord,
    /// Whether our own reader stood between the files and the records.
    pub trust: SourceTrust,
    /// A tree blob with the files and directories in the database's directory that are none of LevelDB's.
    pub beside: Option<BlobId>,
    /// Mode, owner and group that a restore gives LevelDB's new files. (Of snapshot version 3, behind the fields of
    /// version 1.)
    #[serde(skip)]
    pub files: Option<FileMetadata>,
}

/// Where a database's content is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DatabaseContent {
    /// Records in sorted runs.
    Logical {
        /// Oldest first: the base, then what changed. Never empty, though a run may be.
        #[serde(deserialize_with = "bounded_list::list::<_, _, RUNS_MAX>")]
        runs: Vec<StoredRunRef>,
        /// Records from damaged ranges: older versions that may have been overwritten or deleted since. Restored
        /// only on request.
        uncertain: Option<StoredRunRef>,
    },
    /// The database's own files, for a key order that we do not know or by choice.
    Physical {
        /// A tree blob with one file entry for each.
        tree: BlobId,
    },
}

/// One sorted run of the stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRunRef {
    /// `None` for a run without records. Carries the counts and the first key.
    pub root: Option<RunRoot>,
    /// Key of the last entry; empty for a run without records.
    pub last_key: Vec<u8>,
    /// The order of its keys: the comparator's name.
    pub comparator: String,
    /// Says of most keys that are not in the run that they are not; the base has none.
    pub filter: Option<KeyBloomFilter>,
}

/// Something of the source that could not be read, or not be believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedDamage {
    /// The file's name.
    pub file: String,
    /// Where in it, if one place can be named.
    pub offset: Option<u64>,
    /// Level of the table.
    pub level: Option<u8>,
    /// Least key that may be concerned.
    pub smallest: Option<Vec<u8>>,
    /// Greatest key that may be concerned.
    pub largest: Option<Vec<u8>>,
    /// What is wrong.
    pub what: String,
}

/// How a consistent set of files was had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureRecord {
    /// The moment whose state it is.
    pub time: UnixNanos,
    /// Tries that met a race before the one that did not.
    pub retries: u32,
    /// How long it took, retries included, nanoseconds.
    pub duration_nanos: u64,
    /// What held the tables meanwhile.
    pub held_by: RecordedHold,
    /// Bytes of the live logs that were not on disk at the cut, if the system told.
    pub unsynced_bytes: Option<u64>,
    /// Tables read.
    pub tables: u64,
    /// Bytes of all files read.
    pub bytes_read: u64,
    /// Entries found in logs.
    pub log_entries: u64,
    /// Logs that ended inside a write that never finished: normal after a crash or under a writer.
    #[serde(deserialize_with = "bounded_list::list::<_, _, DAMAGE_MAX>")]
    pub torn_tails: Vec<LogTail>,
    /// Backups since one that read everything, this one included: 0 if it did itself.
    pub increments: u32,
}

/// What held a database's tables while they were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordedHold {
    /// Nothing: whoever could have changed them had lent them to us.
    #[default]
    Owner,
    /// Hard links.
    Links,
    /// Open descriptors.
    Descriptors,
    /// Copies.
    Copies,
}

impl Default for CaptureRecord {
    fn default() -> Self {
        Self {
            time: UnixNanos(0),
            retries: 0,
            duration_nanos: 0,
            held_by: RecordedHold::Owner,
            unsynced_bytes: None,
            tables: 0,
            bytes_read: 0,
            log_entries: 0,
            torn_tails: Vec::new(),
            increments: 0,
        }
    }
}

/// Where a log ended early.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogTail {
    /// The log's name.
    pub file: String,
    /// End of the last whole record.
    pub offset: u64,
    /// Bytes behind it.
    pub bytes_left: u64,
}

/// What stood between the files and the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceTrust {
    /// Our own reader, every checksum verified.
    Verified,
    /// Another library's iterator over a database in memory: there were no files to verify. Or files that are kept as they
    /// are because nothing says which of them belong: no checksum in them was looked at.
    Unverified,
}

impl DatabaseRoot {
    /// True if something could not be read.
    pub fn is_damaged(&self) -> bool {
        !self.damage.is_empty()
    }

    /// Key and value bytes of its records.
    pub fn bytes(&self) -> u64 {
        self.key_bytes.saturating_add(self.value_bytes)
    }

    /// Where it stood, for people.
    pub fn path_text(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }

    /// True if it is kept as files.
    pub fn is_physical(&self) -> bool {
        matches!(self.content, DatabaseContent::Physical { .. })
    }

    /// Records that lay in damaged ranges and are kept apart.
    pub fn uncertain_records(&self) -> u64 {
        match &self.content {
            DatabaseContent::Logical {
                uncertain: Some(run), ..
            } => run.records(),
            _ => 0,
        }
    }

    /// Every run, the uncertain one last.
    pub fn runs(&self) -> impl Iterator<Item = &StoredRunRef> {
        let (runs, uncertain) = match &self.content {
            DatabaseContent::Logical { runs, uncertain } => (&runs[..], uncertain.as_ref()),
            DatabaseContent::Physical { .. } => (&[][..], None),
        };
        runs.iter().chain(uncertain)
    }
}

impl StoredRunRef {
    /// Entries of the run, deletions included.
    pub fn records(&self) -> u64 {
        self.root.as_ref().map_or(0, |root| root.top.records)
    }

    /// Canonical bytes of its entries.
    pub fn bytes(&self) -> u64 {
        self.root.as_ref().map_or(0, |root| root.top.bytes)
    }

    /// False only if the run has no entry of `key`; reads nothing. `order` is that of its comparator.
    pub fn may_hold(&self, key: &[u8], order: KeyOrder<'_>) -> bool {
        let Some(root) = &self.root else { return false };
        let outside = order(key, &root.top.first_key) == Ordering::Less
            || order(key, &self.last_key) == Ordering::Greater;
        // The filter knows keys by their bytes: good for an order in which equal keys have equal bytes.
        let filter = self.filter.as_ref().filter(|_| self.comparator == BYTEWISE_NAME);
        !outside && filter.is_none_or(|filter| filter.may_contain(key))
    }
}
