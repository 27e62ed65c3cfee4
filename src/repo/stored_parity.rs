//! Stores parity objects and the share that new packs get.
//!
//! Parity beside the packs: what share of each is kept, and the object that keeps it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::annotations::{Note, NoteSubject};
use crate::clock::UnixNanos;
use crate::error::{ErrorKind, Result, ResultExt};
use crate::id::ObjectId;
use crate::parity::{self, ParityShare};
use crate::storage::{ObjectKind, ObjectName, Storage};

use super::Repo;
use super::object_deletion::DurableObject;
use super::stored_annotations::is_unreadable;

/// What notes that were read say of parity, under their names: notes never change, so none is read twice for this.
#[derive(Default)]
pub(super) struct ParityNotes(Mutex<HashMap<ObjectId, Option<NotedParity>>>);

/// When it was said, and what.
type NotedParity = (UnixNanos, Option<ParityShare>);

impl ParityNotes {
    /// Takes note of notes.
    pub fn remember(&self, notes: &[(ObjectId, Note)]) {
        let said = |note: &Note| match note.about {
            NoteSubject::Parity(share) => Some((note.when, share)),
            _ => None,
        };
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.extend(notes.iter().map(|(id, note)| (*id, said(note))));
    }

    fn noted_in(&self, note: &ObjectId) -> Option<Option<NotedParity>> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(note).copied()
    }
}

impl Repo {
    /// The share of each pack that writers store parity for, if any. A note that cannot be read says nothing.
    pub fn parity_share(&self) -> Result<Option<ParityShare>> {
        Ok(self.newest_noted_parity()?.and_then(|(_, share)| share))
    }

    /// Notes that from now on there is to be parity for this share of each pack, or none.
    pub fn put_parity_share(&self, share: Option<ParityShare>) -> Result<ObjectId> {
        let before = self
            .newest_noted_parity()?
            .map(|(when, _)| when.0.saturating_add(1));
        let now = self.clock().now();
        self.put_note(&Note {
            // Behind all that was said before, even if our clock is.
            when: UnixNanos(before.map_or(now.0, |before| before.max(now.0))),
            about: NoteSubject::Parity(share),
        })
    }

    /// Stores the parity object of a pack that is durable.
    pub(crate) fn put_parity(&self, object: &[u8]) -> Result<DurableObject> {
        put_parity(&**self.storage(), object)
    }

    /// The last word.
    fn newest_noted_parity(&self) -> Result<Option<NotedParity>> {
        let listed = self
            .storage()
            .list(ObjectKind::Note)
            .context(|| "list the notes")?;
        let mut last: Option<(UnixNanos, ObjectId, Option<ParityShare>)> = None;
        for id in listed.iter().map(|listed| listed.name.id) {
            if self.inner.parity_notes.noted_in(&id).is_none() {
                match self.note(&id) {
                    Ok(note) => self.inner.parity_notes.remember(&[(id, note)]),
                    Err(error) if is_unreadable(&error) || error.kind() == ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
            }
            if let Some(Some((when, share))) = self.inner.parity_notes.noted_in(&id) {
                last = last.max(Some((when, id, share)));
            }
        }
        Ok(last.map(|(when, _, share)| (when, share)))
    }
}

/// Stores the parity object of a pack that is durable. One of that name with other bytes is damaged: it is put right.
pub(super) fn put_parity(storage: &dyn Storage, object: &[u8]) -> Result<DurableObject> {
    let name = ObjectName::of_content(ObjectKind::Parity, object);
    let stored = match storage.put_new(name, object) {
        Err(error) if error.kind() == ErrorKind::Exists => storage.heal(name, object),
        stored => stored,
    };
    stored.context(|| format!("store {}", name.path()))?;
    Ok(DurableObject::of_stored(name))
}

/// The same from the pack's bytes.
pub(super) fn store_parity(storage: &dyn Storage, pack: &[u8], share: ParityShare) -> Result<()> {
    put_parity(storage, &parity::encode(pack, share)?).map(drop)
}
