//! Describes what a backup did.

use std::path::PathBuf;

use super::audit::AuditDisagreement;
use super::trees::TreeCounts;
use crate::clock::UnixNanos;
use crate::id::ObjectId;
use crate::leveldb::Dialect;
use crate::snapshot::{self, RecordedDamage};
use crate::source::exclude_rules::ExcludedItems;

/// What was saved.
#[derive(Clone, Debug)]
pub struct BackupOutcome {
    /// The new snapshot; `None` for a dry run, and when nothing changed and that was to be skipped.
    pub snapshot: Option<ObjectId>,
    /// The snapshot that has the same records, when none was stored for it.
    pub unchanged_since: Option<ObjectId>,
    /// When reading began.
    pub begin: UnixNanos,
    /// When all was durable.
    pub end: UnixNanos,
    /// Each database, in the order of the paths.
    pub databases: Vec<DatabaseBackupOutcome>,
    /// Each tree of files, in the order of the paths.
    pub trees: Vec<TreeBackupOutcome>,
    /// What was left out of the paths.
    pub left_out: ExcludedItems,
    /// Blobs that were new.
    pub blobs_new: u64,
    /// Plain bytes of them.
    pub bytes_added: u64,
    /// Stored bytes of them.
    pub bytes_added_packed: u64,
    /// Bytes read from the sources.
    pub bytes_read: u64,
}

/// How a database was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseStorageMode {
    /// Its visible records.
    Records,
    /// Its files as they are.
    Files {
        /// Why not its records.
        why: String,
    },
}

/// How much of a database was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadScope {
    /// All of it; why, where reading the changes could have been enough.
    Whole {
        /// The reason.
        why: Option<String>,
    },
    /// What is not the same in the state that a snapshot was made of.
    Changes {
        /// That snapshot.
        since: ObjectId,
        /// Keys that were put, or deleted, with another result than before.
        keys: u64,
        /// Bytes of the tables that are in one of the two states only, and of both states' logs.
        bytes_differing: u64,
        /// Bytes of other tables, in which single keys were looked up.
        bytes_looked_up: u64,
        /// Keys that were read again as a full scan reads them, and agree.
        spot_checked: u64,
        /// All was read besides, and agreed.
        audited: bool,
    },
}

/// One tree of a backup.
#[derive(Clone, Debug)]
pub struct TreeBackupOutcome {
    /// Its name in the snapshot.
    pub name: String,
    /// Where it was read.
    pub path: PathBuf,
    /// What is in it.
    pub counts: TreeCounts,
}

/// One database of a backup.
#[derive(Clone, Debug)]
pub struct DatabaseBackupOutcome {
    /// Its name in the snapshot.
    pub name: String,
    /// Where it was read.
    pub path: PathBuf,
    /// How it was stored.
    pub stored: DatabaseStorageMode,
    /// How much of it was read.
    pub scope: ReadScope,
    /// Bytes of the tables kept for the next backup; `None` if none are.
    pub pinned: Option<u64>,
    /// What all of it says against what its changes made of it: a bug, or a source that was tampered with.
    pub disagreement: Option<AuditDisagreement>,
    /// Records that are certain.
    pub records: u64,
    /// Their key bytes.
    pub key_bytes: u64,
    /// Their value bytes.
    pub value_bytes: u64,
    /// Records that lie in damaged ranges; kept apart.
    pub uncertain: u64,
    /// Sequence number of the newest entry.
    pub last_sequence: u64,
    /// What could not be read.
    pub damage: Vec<RecordedDamage>,
    /// How its files were had, and what was read of them.
    pub capture: snapshot::CaptureRecord,
    /// Who wrote it, as far as its files show.
    pub dialect: Dialect,
    /// What else lies in its directory.
    pub beside: TreeCounts,
}
