//! Copies the notes that apply to copied snapshots.
//!
//! Notes of the source that hold of a copy too. The destination's own word, whatever it is, is not overruled.

use std::collections::HashSet;

use crate::annotations::{CurrentNotes, Note, NoteSubject, SnapshotNote};
use crate::error::Result;
use crate::id::ObjectId;
use crate::repo::{Repo, StoredNotes};

use super::CopiedSnapshot;
use super::copy_plan::{CopyPlan, CopyStep};

/// What is noted of a snapshot that was copied just now; how many notes. (Its tags stand in itself.)
pub fn notes_of_copied(to: &Repo, source: &StoredNotes, copied: CopiedSnapshot) -> Result<usize> {
    let said = missing_notes(
        &source.current_notes(),
        copied.from,
        &DestinationNotes::default(),
        copied.to,
    );
    put(to, copied.to, said)
}

/// The same of those that were copied before: a copy that was killed may not have come to it, and the source may have
/// found a snapshot to be suspect since.
pub fn copy_new_notes(
    to: &Repo,
    plan: &CopyPlan,
    source: &StoredNotes,
    there: &StoredNotes,
) -> Result<usize> {
    let (standing, words) = (source.current_notes(), DestinationNotes::of(there));
    let mut count = 0;
    for step in &plan.steps {
        if let CopyStep::There { source, copied } = step {
            count += put(
                to,
                copied.id,
                missing_notes(&standing, source.id, &words, copied.id),
            )?;
        }
    }
    Ok(count)
}

/// Snapshots of which the destination said something itself.
#[derive(Default)]
struct DestinationNotes {
    pins: HashSet<ObjectId>,
    doubts: HashSet<ObjectId>,
}

impl DestinationNotes {
    fn of(stored: &StoredNotes) -> Self {
        let mut words = Self::default();
        for (_, note) in &stored.notes {
            let NoteSubject::Snapshot { id, said } = &note.about else {
                continue;
            };
            match said {
                SnapshotNote::Pin | SnapshotNote::Unpin => drop(words.pins.insert(*id)),
                SnapshotNote::Suspect(_) | SnapshotNote::Cleared(_) => drop(words.doubts.insert(*id)),
                SnapshotNote::Tags(_) | SnapshotNote::Undelete | SnapshotNote::Rebased(_) => {}
            }
        }
        words
    }
}

fn missing_notes(
    source: &CurrentNotes,
    from: ObjectId,
    words: &DestinationNotes,
    to: ObjectId,
) -> Vec<SnapshotNote> {
    let doubt = source.suspect_note(&from).filter(|_| !words.doubts.contains(&to));
    let pin = source.is_pinned(&from) && !words.pins.contains(&to);
    let doubt = doubt.map(|reason| SnapshotNote::Suspect(reason.to_owned()));
    doubt
        .into_iter()
        .chain(pin.then_some(SnapshotNote::Pin))
        .collect()
}

fn put(to: &Repo, id: ObjectId, said: Vec<SnapshotNote>) -> Result<usize> {
    let count = said.len();
    for said in said {
        let about = NoteSubject::Snapshot { id, said };
        let when = to.clock().now();
        to.put_note(&Note { when, about })?;
    }
    Ok(count)
}
