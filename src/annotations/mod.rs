//! Annotations of immutable objects: notes, deletion marks, forget records, audits.
//!
//! Facts about objects, as the owner noted them: objects never change, so what changes about them stands beside
//! them (FORMAT.md section 11).
//!
//! ```text
//! notes/ ── Note { when, about } ──┐
//! notes/ ── Note { when, about } ──┼──▶ Notes ──▶ what holds of this snapshot: tags, pinned, suspect, ...
//! notes/ ── Note { when, about } ──┘    the later by (when, name) counts
//!                                                                          │ undeleted
//! forgotten/ ── Forgetting { when, why, snapshots } ── Forgotten ◀─────────┘ which snapshots do not count now
//! bad/ ── Bad { when, domain, blobs } ── blobs that nobody deduplicates against
//! ```
//!
//! A stage: bytes in, values out. It does not know who writes notes, nor what anybody does about what they say.

pub mod audit;
pub mod bad_blobs;
mod compacted_stacks;
pub mod current_notes;
pub mod deletion_mark;
pub mod forget_record;
pub mod forgotten_snapshots;
pub mod latest_audits;
pub mod note;

pub use audit::{Audit, AuditMethod, AuditResult, AuditedObject};
pub use bad_blobs::{BadBlob, BadBlobs};
pub use compacted_stacks::CompactedStacks;
pub use current_notes::{AuditDoubt, CurrentNotes, SnapshotStanding};
pub use deletion_mark::{DeletionMark, MarkedPack, ReplacedMark};
pub use forgotten_snapshots::{
    CountedSnapshot, ForgetEvent, ForgetReason, ForgetRecord, ForgottenSnapshots, StoredForgetRecord,
};
#[cfg(any(test, feature = "test-util"))]
pub use latest_audits::LatestAudit;
pub use latest_audits::LatestAudits;

use crate::clock::UnixNanos;
use crate::id::{ObjectId, TimelineId};
use crate::parity::ParityShare;
use crate::snapshot::StoredRunRef;

/// One thing that was noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// When, by its writer's clock.
    pub when: UnixNanos,
    /// What it is about, and what it says of that.
    pub about: NoteSubject,
}

/// What a note is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoteSubject {
    /// A snapshot, which may be gone since.
    Snapshot {
        /// Its name; never zero.
        id: ObjectId,
        /// What is said of it.
        said: SnapshotNote,
    },
    /// A place in a database's history that somebody may want to go back to.
    RestorePoint(RestorePoint),
    /// The store that the repository is kept in.
    Store(StoreNote),
    /// What share of every pack there is to be parity for; none if there is to be none.
    Parity(Option<ParityShare>),
    /// An object that could not be read when this was said.
    Quarantine {
        /// Its name; never zero.
        id: ObjectId,
        /// Where it lies.
        folder: QuarantineFolder,
        /// False where it is taken back.
        holds: bool,
    },
}

/// The folders whose objects may be set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QuarantineFolder {
    /// Snapshots.
    Snapshots = 1,
    /// Index segments.
    Index = 2,
}

/// What a note says of a snapshot; pin and unpin have one subject, as have suspect and cleared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotNote {
    /// These tags instead of all it had; ascending, none twice.
    Tags(Vec<String>),
    /// Every policy keeps it.
    Pin,
    /// Policies may let it go.
    Unpin,
    /// A later full scan did not agree with it, for this reason.
    Suspect(String),
    /// It is no longer suspect, for this reason.
    Cleared(String),
    /// What was said of forgetting it before does not hold.
    Undelete,
    /// The records of one of its databases lie in one run now, and no longer in the stack that it names itself.
    Rebased(Box<CompactedStack>),
}

/// One run in place of a stack: the same records, stored again without what newer runs had hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactedStack {
    /// Which of the snapshot's sources, from 0.
    pub source: u32,
    /// All of its records.
    pub run: StoredRunRef,
}

/// A named place in a database's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestorePoint {
    /// The history.
    pub timeline: TimelineId,
    /// The last write that belongs to it.
    pub sequence: u64,
    /// What its user calls it.
    pub name: String,
}

/// What a store was found to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreNote {
    /// What can be counted on. (No safety rests on the first three: ORDERING.md.)
    pub abilities: Abilities,
    /// What was tried, and what came of it, in words.
    pub description: String,
}

/// One thing that a store may be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Ability {
    /// Create-if-absent holds.
    CreateIfAbsent = 1,
    /// It holds when two write at once.
    CreateIfAbsentRaced = 2,
    /// It holds for uploads in several parts.
    CreateIfAbsentMultipart = 4,
    /// Listings tell modification times.
    ModificationTimes = 8,
    /// A listing names everything written before it.
    CompleteListings = 16,
}

/// A set of abilities, as the format counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities(u32);

impl Abilities {
    /// All bits that have a meaning.
    const KNOWN: u32 = 31;

    /// The set of these.
    pub fn of(abilities: &[Ability]) -> Self {
        Self(abilities.iter().fold(0, |bits, ability| bits | *ability as u32))
    }

    /// True if it is in the set.
    pub fn has(self, ability: Ability) -> bool {
        self.0 & ability as u32 != 0
    }
}

#[cfg(test)]
mod forgotten_tests;
#[cfg(test)]
mod tests;
