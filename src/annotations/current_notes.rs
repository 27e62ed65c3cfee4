//! Combines all notes: of two on one subject, the later counts.
//!
//! What all notes together say: of two about the same thing the later by (when, name) counts.
//!
//! Notes are put in that order and said one after the other, each over what was said before: so the last word
//! stands, whatever order the storage lists them in, and every reader of the same notes comes to the same end.

use std::collections::{BTreeMap, BTreeSet};

use super::{CompactedStacks, Note, NoteSubject, QuarantineFolder, RestorePoint, SnapshotNote, StoreNote};
use crate::clock::UnixNanos;
use crate::id::{ObjectId, TimelineId};
use crate::parity::ParityShare;
use crate::snapshot::Snapshot;

/// What holds by the notes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CurrentNotes {
    snapshots: BTreeMap<ObjectId, SnapshotStanding>,
    points: BTreeMap<(TimelineId, String), RestorePoint>,
    store: Option<StoreNote>,
    parity: Option<ParityShare>,
    quarantined: BTreeSet<(QuarantineFolder, ObjectId)>,
}

/// The state of one snapshot by the notes about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotStanding {
    /// Tags that replace its own.
    pub tags: Option<Vec<String>>,
    /// Every policy keeps it.
    pub pinned: bool,
    /// Whether a later full scan agreed with it.
    pub doubt: AuditDoubt,
    /// The last undelete, by time and the note's name: a `forgotten` before that does not hold.
    pub undeleted: Option<(UnixNanos, ObjectId)>,
    /// Runs that stand in for its own.
    pub rebasings: CompactedStacks,
}

/// Whether a later full scan agreed with a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AuditDoubt {
    /// Nothing was ever said against it.
    #[default]
    None,
    /// It did not.
    Suspect {
        /// When this was first said and not cleared since.
        since: UnixNanos,
        /// Why, as it was said last.
        reason: String,
    },
    /// It was suspect and is no longer.
    Cleared {
        /// When that was said.
        when: UnixNanos,
        /// Why.
        reason: String,
    },
}

impl CurrentNotes {
    /// What these notes, each under its name, say together; their order means nothing.
    pub fn new(notes: &[(ObjectId, Note)]) -> Self {
        let mut in_order: Vec<_> = notes.iter().collect();
        in_order.sort_by_key(|(name, note)| (note.when, *name));
        let mut all = Self::default();
        for (name, note) in in_order {
            all.add_annotation(name, note);
        }
        all
    }

    /// Why the snapshot is suspect, if it is.
    pub fn suspect_note(&self, snapshot: &ObjectId) -> Option<&str> {
        match &self.snapshots.get(snapshot)?.doubt {
            AuditDoubt::Suspect { reason, .. } => Some(reason),
            AuditDoubt::None | AuditDoubt::Cleared { .. } => None,
        }
    }

    /// True if every policy keeps the snapshot.
    pub fn is_pinned(&self, snapshot: &ObjectId) -> bool {
        self.of(snapshot).is_some_and(|standing| standing.pinned)
    }

    /// The tags that hold of a snapshot which has `own` itself.
    pub fn tags<'a>(&'a self, snapshot: &ObjectId, own: &'a [String]) -> &'a [String] {
        let noted = self.of(snapshot).and_then(|standing| standing.tags.as_deref());
        noted.unwrap_or(own)
    }

    /// Puts the runs in place that stand in for the snapshot's own.
    pub fn apply_compactions(&self, id: &ObjectId, snapshot: &mut Snapshot) {
        if let Some(standing) = self.of(id) {
            standing.rebasings.apply(snapshot);
        }
    }

    /// All that was said of a snapshot; `None` if nothing was.
    pub fn of(&self, snapshot: &ObjectId) -> Option<&SnapshotStanding> {
        self.snapshots.get(snapshot)
    }

    /// The snapshots of which something was said, by name; they may be gone.
    pub fn snapshots(&self) -> impl Iterator<Item = (&ObjectId, &SnapshotStanding)> {
        self.snapshots.iter()
    }

    /// Restore points, by timeline and name. (Another note with both the same moves the point.)
    pub fn restore_points(&self) -> impl Iterator<Item = &RestorePoint> {
        self.points.values()
    }

    /// What the store was last found to do.
    pub fn storage_note(&self) -> Option<&StoreNote> {
        self.store.as_ref()
    }

    /// What share of every pack writers store parity for, if any.
    pub fn parity(&self) -> Option<ParityShare> {
        self.parity
    }

    /// True if the owner set the object aside. It means nothing for one that can be read.
    pub fn is_quarantined(&self, folder: QuarantineFolder, id: &ObjectId) -> bool {
        self.quarantined.contains(&(folder, *id))
    }

    /// The objects that the owner set aside; they may be gone.
    pub fn quarantined(&self) -> impl Iterator<Item = &(QuarantineFolder, ObjectId)> {
        self.quarantined.iter()
    }

    fn add_annotation(&mut self, name: &ObjectId, note: &Note) {
        match &note.about {
            NoteSubject::Quarantine { id, folder, holds } => {
                if *holds {
                    self.quarantined.insert((*folder, *id));
                } else {
                    self.quarantined.remove(&(*folder, *id));
                }
            }
            NoteSubject::Snapshot { id, said } => {
                self.snapshots
                    .entry(*id)
                    .or_default()
                    .add_annotation(name, note.when, said);
            }
            NoteSubject::RestorePoint(point) => {
                let key = (point.timeline, point.name.clone());
                self.points.insert(key, point.clone());
            }
            NoteSubject::Store(store) => self.store = Some(store.clone()),
            NoteSubject::Parity(share) => self.parity = *share,
        }
    }
}

impl SnapshotStanding {
    fn add_annotation(&mut self, name: &ObjectId, when: UnixNanos, said: &SnapshotNote) {
        match said {
            SnapshotNote::Tags(tags) => self.tags = Some(tags.clone()),
            SnapshotNote::Pin => self.pinned = true,
            SnapshotNote::Unpin => self.pinned = false,
            SnapshotNote::Suspect(reason) => self.suspect_note(when, reason),
            SnapshotNote::Cleared(reason) => {
                let reason = reason.clone();
                self.doubt = AuditDoubt::Cleared { when, reason };
            }
            SnapshotNote::Undelete => self.undeleted = Some((when, *name)),
            SnapshotNote::Rebased(rebased) => self.rebasings.apply_note(rebased),
        }
    }

    fn suspect_note(&mut self, when: UnixNanos, reason: &str) {
        let since = match self.doubt {
            AuditDoubt::Suspect { since, .. } => since,
            AuditDoubt::None | AuditDoubt::Cleared { .. } => when,
        };
        let reason = reason.to_owned();
        self.doubt = AuditDoubt::Suspect { since, reason };
    }
}
