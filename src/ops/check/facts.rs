//! The notes: each opens under its name, and what they say that people should know.

use std::collections::HashSet;

use crate::clock::UnixNanos;
use crate::error::{Act, Kind, Result};
use crate::facts::{About, Doubt, Note, Notes, Standing};
use crate::id::ObjectId;
use crate::repo::{Repo, StoredNotes, UnreadNote};
use crate::storage::{ObjectKind, ObjectName};

use super::findings::Findings;

/// What to do about a note that cannot be read.
const FROM_A_COPY: &str =
    "bring the note back from another copy of the repository; what it said does not count until then";

/// What to do about a suspect snapshot.
const SUSPECT_HELPS: &str = "prefer a snapshot that is not suspect; if it must be this one, restore it and compare what \
     comes back with what should be there";

/// What to do about a note whose snapshot is gone.
const GONE_HELPS: &str = "nothing, if the snapshot was removed on purpose";

/// What to do about a note of a later levault.
const TOO_NEW_HELPS: &str = "check with the levault that wrote it to see what it says";

/// Something people should know although nothing is wrong with the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The object, as the storage calls it.
    pub object: String,
    /// What is to be known of it.
    pub what: String,
    /// Since when it has been so, if somebody noted that.
    pub since: Option<UnixNanos>,
    /// What to do.
    pub helps: String,
}

/// Opens every note; those that cannot be opened are findings. The snapshots are listed after the notes, so that one
/// which is noted on while we look is not taken for gone.
pub fn check(repo: &Repo, findings: &mut Findings) -> Result<Vec<Notice>> {
    let stored = repo.notes()?;
    let listed = repo.storage().list(ObjectKind::Snapshot);
    let listed = listed.act(|| "list the snapshots")?;
    let there: HashSet<_> = listed.into_iter().map(|snapshot| snapshot.name.id).collect();
    let (too_new, damaged): (Vec<_>, Vec<_>) =
        (stored.unread.iter()).partition(|unread| unread.kind == Kind::TooNew);
    for unread in damaged {
        findings.add(
            path(ObjectKind::Note, unread.id),
            unread.what.clone(),
            FROM_A_COPY,
        );
    }
    let mut notices = suspects(&stored.standing(), &there);
    notices.extend(gone(&stored, &there));
    notices.extend(too_new.into_iter().map(unknown));
    Ok(notices)
}

fn suspects(notes: &Notes, there: &HashSet<ObjectId>) -> Vec<Notice> {
    notes
        .snapshots()
        .filter(|(id, _)| there.contains(id))
        .filter_map(|(id, standing)| suspect(*id, standing))
        .collect()
}

fn suspect(id: ObjectId, standing: &Standing) -> Option<Notice> {
    let Doubt::Suspect { since, reason } = &standing.doubt else {
        return None;
    };
    Some(Notice {
        object: path(ObjectKind::Snapshot, id),
        what: format!("suspect: {reason}"),
        since: Some(*since),
        helps: SUSPECT_HELPS.into(),
    })
}

/// Notes on snapshots that are not there. That is how it looks after a snapshot was deleted: no damage.
fn gone<'a>(stored: &'a StoredNotes, there: &'a HashSet<ObjectId>) -> impl Iterator<Item = Notice> + 'a {
    stored.notes.iter().filter_map(|(name, note)| {
        let subject = subject(note).filter(|id| !there.contains(id))?;
        Some(Notice {
            object: path(ObjectKind::Note, *name),
            what: format!("is about snapshot {}, which is not here", subject.short()),
            since: None,
            helps: GONE_HELPS.into(),
        })
    })
}

fn subject(note: &Note) -> Option<ObjectId> {
    match &note.about {
        About::Snapshot { id, .. } => Some(*id),
        About::RestorePoint(_) | About::Store(_) => None,
    }
}

fn unknown(unread: &UnreadNote) -> Notice {
    Notice {
        object: path(ObjectKind::Note, unread.id),
        what: unread.what.clone(),
        since: None,
        helps: TOO_NEW_HELPS.into(),
    }
}

fn path(kind: ObjectKind, id: ObjectId) -> String {
    ObjectName { kind, id }.path()
}
