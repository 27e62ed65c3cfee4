//! Changes tags and protection of snapshots by notes.
//!
//! Remark: tags and protection of snapshots, said anew. A snapshot never changes; a note says what holds of it.

use crate::annotations::{Note, NoteSubject, SnapshotNote};
use crate::clock::UnixNanos;
use crate::error::Result;
use crate::id::ObjectId;
use crate::repo::{Repo, StoredNotes, StoredSnapshot};

use crate::engine::tag_list::TagList;

/// What becomes of a snapshot's tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagEdit {
    /// These instead of all it has.
    Set(Vec<String>),
    /// Some more, and some less.
    Change {
        /// The more.
        add: Vec<String>,
        /// The less.
        remove: Vec<String>,
    },
}

impl TagEdit {
    /// The tags that a snapshot with `old` has then: ascending, none twice.
    pub fn apply_to(&self, old: &[String]) -> Vec<String> {
        let mut tags = match self {
            Self::Set(tags) => tags.clone(),
            Self::Change { add, remove } => {
                let mut tags = [old, add].concat();
                tags.retain(|tag| !remove.contains(tag));
                tags
            }
        };
        tags.sort();
        tags.dedup();
        tags
    }
}

/// Gives a snapshot other tags, durably; those that hold of it then, and whether they are others than before.
pub fn retag(repo: &Repo, stored: &StoredSnapshot, change: &TagEdit) -> Result<(Vec<String>, bool)> {
    let notes = repo.notes()?;
    let old = notes
        .current_notes()
        .tags(&stored.id, &stored.snapshot.tags)
        .to_vec();
    let new = change.apply_to(&old);
    let added = new.iter().filter(|tag| !old.contains(tag));
    TagList(added.cloned().collect()).check()?;
    let changed = new != old;
    if changed {
        put_snapshot_note(repo, &notes, stored.id, SnapshotNote::Tags(new.clone()))?;
    }
    Ok((new, changed))
}

/// Protects a snapshot from every policy, durably; `false` if it was already.
pub fn protect(repo: &Repo, id: ObjectId) -> Result<bool> {
    let notes = repo.notes()?;
    let is_news = !notes.current_notes().is_pinned(&id);
    if is_news {
        put_snapshot_note(repo, &notes, id, SnapshotNote::Pin)?;
    }
    Ok(is_news)
}

/// Lets policies forget a snapshot again, durably; `false` if they could.
pub fn unprotect(repo: &Repo, id: ObjectId) -> Result<bool> {
    let notes = repo.notes()?;
    let is_news = notes.current_notes().is_pinned(&id);
    if is_news {
        put_snapshot_note(repo, &notes, id, SnapshotNote::Unpin)?;
    }
    Ok(is_news)
}

/// Of two notes the later counts: so this one is behind all that was said of the snapshot, whatever our clock shows.
fn put_snapshot_note(repo: &Repo, notes: &StoredNotes, id: ObjectId, said: SnapshotNote) -> Result<ObjectId> {
    let when = repo
        .clock()
        .now()
        .max(crate::clock::UnixNanos::next_after(last_note_time(notes, &id)));
    repo.put_note(&Note {
        when,
        about: NoteSubject::Snapshot { id, said },
    })
}

fn last_note_time(notes: &StoredNotes, snapshot: &ObjectId) -> Option<UnixNanos> {
    let about_it = |note: &&Note| matches!(&note.about, NoteSubject::Snapshot { id, .. } if id == snapshot);
    let all = notes.notes.iter().map(|(_, note)| note);
    all.filter(about_it).map(|note| note.when).max()
}
