//! Checks notes and forget records.
//!
//! Notes and forgettings: each opens under its name, and what they say that people should know.

use std::collections::HashSet;

use crate::annotations::{
    AuditDoubt, CurrentNotes, ForgottenSnapshots, Note, NoteSubject, QuarantineFolder, SnapshotStanding,
    StoredForgetRecord,
};
use crate::clock::UnixNanos;
use crate::error::{ErrorKind, Result};
use crate::id::ObjectId;
use crate::repo::{NewestCounters, Repo, StoredNotes, UnreadAnnotation};
use crate::snapshot::Snapshot;
use crate::storage::{ListedObject, ObjectKind, ObjectName};

use super::findings::CheckFindings;

/// What to do about a note that cannot be read.
const FROM_A_COPY: &str =
    "bring the note back from another copy of the repository; what it said does not count until then";

/// What to do about a forgetting that cannot be read.
const FORGOTTEN_FROM_A_COPY: &str = "bring it back from another copy of the repository; the snapshots it names count until \
     then, and nothing is pruned";

/// What to do about a storage that shows an older state.
const ROLLED_BACK_HELPS: &str = "ask who keeps the repository; if an older copy was brought back on purpose, \
     --accept-rollback goes on with it";

/// What to do about an incomplete snapshot.
const INCOMPLETE_HELPS: &str = "it is whole but for these; back up again as a user who may read them, and restore what it \
                                lacks from another snapshot";

/// What to do about a suspect snapshot.
const SUSPECT_HELPS: &str = "prefer a snapshot that is not suspect; if it must be this one, restore it and compare what \
     comes back with what should be there";

/// What to do about an object that was set aside.
const QUARANTINED_HELPS: &str = "nothing; delete it at the storage if it is in the way";

/// What to do about a note whose snapshot is gone.
const GONE_HELPS: &str = "nothing, if the snapshot was removed on purpose";

/// What to do about a note of a later levault.
const TOO_NEW_HELPS: &str = "check with the levault that wrote it to see what it says";

/// Something people should know although nothing is wrong with the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckNotice {
    /// The object, as the storage calls it.
    pub object: String,
    /// What is to be known of it.
    pub what: String,
    /// Since when it has been so, if somebody noted that.
    pub since: Option<UnixNanos>,
    /// What to do.
    pub helps: String,
}

/// All that was noted and forgotten.
pub struct AnnotationCheck {
    notes: StoredNotes,
    unread: Vec<UnreadAnnotation>,
    forgettings: Vec<StoredForgetRecord>,
    /// Which snapshots do not count.
    pub forgotten: ForgottenSnapshots,
}

impl AnnotationCheck {
    /// To be loaded after the snapshots were listed, so that one which is noted on while we look is not taken for gone.
    pub fn load(repo: &Repo) -> Result<Self> {
        let stored = repo.forget_records()?;
        let notes = repo.notes()?;
        Ok(Self {
            forgotten: stored.forgotten_snapshots(&notes.current_notes()),
            unread: stored.unread,
            forgettings: stored.records,
            notes,
        })
    }

    /// What the readable notes say.
    pub fn notes(&self) -> CurrentNotes {
        self.notes.current_notes()
    }

    /// Forgotten snapshots that are still stored.
    pub fn forgotten_among(&self, listed: &[ListedObject]) -> u64 {
        let is_forgotten = |it: &&ListedObject| self.forgotten.of(&it.name.id).is_some();
        listed.iter().filter(is_forgotten).count() as u64
    }

    /// What was seen from here before is still there, or was forgotten.
    pub fn check_high_water(
        &self,
        repo: &Repo,
        listed: &[ListedObject],
        findings: &mut CheckFindings,
    ) -> Result<()> {
        let there = listed.iter().map(|snapshot| snapshot.name.id).collect();
        match repo.check_high_water(&NewestCounters::new(), &there, &self.forgettings) {
            // A backup from here may have ended since the listing: the catalog lists anew.
            Err(error) if error.kind() == ErrorKind::RolledBack => match repo.catalog() {
                Err(error) if error.kind() == ErrorKind::RolledBack => {
                    findings.add("snapshots", error.to_string(), ROLLED_BACK_HELPS);
                    Ok(())
                }
                seen => seen.map(drop),
            },
            seen => seen,
        }
    }

    /// Every fact opens, or is a finding; what people should know of them are notices.
    pub fn check(&self, listed: &[ListedObject], findings: &mut CheckFindings) -> Vec<CheckNotice> {
        let there: HashSet<_> = listed.iter().map(|snapshot| snapshot.name.id).collect();
        let notes = self.notes.unread.iter().map(|unread| (ObjectKind::Note, unread));
        let forgettings = self.unread.iter().map(|unread| (ObjectKind::Forgotten, unread));
        let (too_new, damaged): (Vec<_>, Vec<_>) = notes
            .chain(forgettings)
            .partition(|(_, unread)| unread.kind == ErrorKind::TooNew);
        for (kind, unread) in damaged {
            findings.add(path(kind, unread.id), unread.what.clone(), is_from_copy(kind));
        }
        let counts = |id: &ObjectId| there.contains(id) && self.forgotten.of(id).is_none();
        let mut notices = suspects(&self.notes.current_notes(), counts);
        notices.extend(self.notes.current_notes().quarantined().map(quarantined));
        notices.extend(missing_subject(&self.notes, &there, &self.forgotten));
        notices.extend(too_new.into_iter().map(|(kind, unread)| unknown(kind, unread)));
        notices
    }
}

fn is_from_copy(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Forgotten => FORGOTTEN_FROM_A_COPY,
        _ => FROM_A_COPY,
    }
}

fn suspects(notes: &CurrentNotes, counts: impl Fn(&ObjectId) -> bool) -> Vec<CheckNotice> {
    notes
        .snapshots()
        .filter(|(id, _)| counts(id))
        .filter_map(|(id, standing)| suspect(*id, standing))
        .collect()
}

fn suspect(id: ObjectId, standing: &SnapshotStanding) -> Option<CheckNotice> {
    let AuditDoubt::Suspect { since, reason } = &standing.doubt else {
        return None;
    };
    Some(CheckNotice {
        object: path(ObjectKind::Snapshot, id),
        what: format!("suspect: {reason}"),
        since: Some(*since),
        helps: SUSPECT_HELPS.into(),
    })
}

/// The notice of a snapshot that lacks something of what was to be saved.
pub(super) fn incomplete(id: ObjectId, snapshot: &Snapshot) -> Option<CheckNotice> {
    let count = snapshot.missing.count();
    let first = snapshot.missing.listed().first();
    let first = first
        .map(|one| format!(", among them: {one}"))
        .unwrap_or_default();
    (count > 0).then(|| CheckNotice {
        object: path(ObjectKind::Snapshot, id),
        what: format!("incomplete: {count} paths could not be read when it was made{first}"),
        since: None,
        helps: INCOMPLETE_HELPS.into(),
    })
}

/// Notes on snapshots that are not there and were not forgotten. A lost one leaves a gap, which is a finding of its own.
fn missing_subject<'a>(
    stored: &'a StoredNotes,
    there: &'a HashSet<ObjectId>,
    forgotten: &'a ForgottenSnapshots,
) -> impl Iterator<Item = CheckNotice> + 'a {
    let is_gone = |id: &ObjectId| !there.contains(id) && forgotten.of(id).is_none();
    stored.notes.iter().filter_map(move |(name, note)| {
        let subject = subject_text(note).filter(is_gone)?;
        Some(CheckNotice {
            object: path(ObjectKind::Note, *name),
            what: format!("is about snapshot {}, which is not here", subject.short()),
            since: None,
            helps: GONE_HELPS.into(),
        })
    })
}

fn subject_text(note: &Note) -> Option<ObjectId> {
    match &note.about {
        NoteSubject::Snapshot { id, .. } => Some(*id),
        NoteSubject::RestorePoint(_)
        | NoteSubject::Store(_)
        | NoteSubject::Parity(_)
        | NoteSubject::Quarantine { .. } => None,
    }
}

fn quarantined((folder, id): &(QuarantineFolder, ObjectId)) -> CheckNotice {
    let kind = match folder {
        QuarantineFolder::Snapshots => ObjectKind::Snapshot,
        QuarantineFolder::Index => ObjectKind::Index,
    };
    CheckNotice {
        object: ObjectName::new(kind, *id).path(),
        what: "was set aside: if it cannot be read it does not count".into(),
        since: None,
        helps: QUARANTINED_HELPS.into(),
    }
}

fn unknown(kind: ObjectKind, unread: &UnreadAnnotation) -> CheckNotice {
    CheckNotice {
        object: path(kind, unread.id),
        what: unread.what.clone(),
        since: None,
        helps: TOO_NEW_HELPS.into(),
    }
}

fn path(kind: ObjectKind, id: ObjectId) -> String {
    ObjectName { kind, id }.path()
}
