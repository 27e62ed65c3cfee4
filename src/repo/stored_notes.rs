//! Stores and loads notes.
//!
//! Notes as sealed objects: stored, listed, opened. What they say together is [`CurrentNotes`]'s to tell.

use crate::annotations::{CurrentNotes, Note, note};
use crate::envelope::ObjectClass;
use crate::error::{Result, ResultExt};
use crate::id::ObjectId;
use crate::storage::{ObjectKind, ObjectName};

use super::Repo;
use super::stored_annotations::UnreadAnnotation;

/// All notes that are stored.
#[derive(Clone, Debug, Default)]
pub struct StoredNotes {
    /// Those that could be read, each under its name.
    pub notes: Vec<(ObjectId, Note)>,
    /// The others. Readers tell of them and go on; deleters do not ([`StoredNotes::require_complete`]).
    pub unread: Vec<UnreadAnnotation>,
}

impl StoredNotes {
    /// What the readable notes say.
    pub fn current_notes(&self) -> CurrentNotes {
        CurrentNotes::new(&self.notes)
    }

    /// What the notes say, for whoever deletes: the first that could not be read is an error, because it may be the
    /// one that pins or undeletes.
    pub fn require_complete(&self) -> Result<CurrentNotes> {
        match self.unread.first() {
            None => Ok(self.current_notes()),
            Some(unread) => Err(unread.error()),
        }
    }
}

impl Repo {
    /// Stores a note; it is durable when its name comes back.
    pub fn put_note(&self, note: &Note) -> Result<ObjectId> {
        let plain = note::encode(note)?;
        self.put_annotation(ObjectClass::Note, ObjectKind::Note, &plain)
    }

    /// One note, opened and held to its name.
    pub fn note(&self, id: &ObjectId) -> Result<Note> {
        let name = ObjectName::new(ObjectKind::Note, *id);
        let plain = self.read_annotation(ObjectClass::Note, name)?;
        note::decode(&plain).context(|| name.path())
    }

    /// Loads all notes. One that cannot be read is told of and left out; one that cannot be fetched is an error.
    pub fn notes(&self) -> Result<StoredNotes> {
        let (notes, unread) = self.read_annotations(ObjectKind::Note, |listed| {
            let id = listed.name.id;
            self.note(&id).map(|note| (id, note))
        })?;
        self.inner.parity_notes.remember(&notes);
        Ok(StoredNotes { notes, unread })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::annotations::{NoteSubject, SnapshotNote};
    use crate::clock::UnixNanos;
    use crate::crypto::OsEntropy;
    use crate::error::ErrorKind;
    use crate::keys::{Password, SlotCost};
    use crate::ops::check::{Check, ReadData};
    use crate::repo::{NewRepository, OWN_DOMAIN, RepoSettings};
    use crate::report::OperationReport;
    use crate::storage::MemoryStorage;

    fn repo() -> Repo {
        let new = NewRepository {
            cost: SlotCost::cheap(),
            ..NewRepository::default()
        };
        let storage = Arc::new(MemoryStorage::default());
        Repo::create(
            storage,
            &Password::new(b"x".to_vec()),
            new,
            RepoSettings::default(),
        )
        .unwrap()
    }

    fn pin(id: ObjectId) -> Note {
        let when = UnixNanos(1);
        let about = NoteSubject::Snapshot {
            id,
            said: SnapshotNote::Pin,
        };
        Note { when, about }
    }

    /// Stores a note's plain bytes as another version of this program might.
    fn put(repo: &Repo, clear: &[u8], plain: &[u8]) -> ObjectId {
        let (class, mut entropy) = (ObjectClass::Note, OsEntropy);
        let sealed = repo
            .keyring()
            .unwrap()
            .seal_object(class, OWN_DOMAIN, clear, plain, &mut entropy);
        let bytes = sealed.unwrap();
        let name = ObjectName::of_content(ObjectKind::Note, &bytes);
        repo.storage().put_new(name, &bytes).unwrap();
        name.id
    }

    #[test]
    fn a_note_of_a_later_version_stops_deleters_and_nobody_else() {
        let (repo, id) = (repo(), ObjectId([7; 32]));
        let mut plain = note::encode(&pin(id)).unwrap();
        plain[1] = 99;
        let newer = put(&repo, &[], &plain);
        repo.put_note(&pin(id)).unwrap();
        let found = repo.notes().unwrap();
        assert!(found.current_notes().is_pinned(&id));
        assert_eq!(found.require_complete().unwrap_err().kind(), ErrorKind::TooNew);
        let check = Check { read: ReadData::None };
        let outcome = check.run(&repo, &OperationReport::default()).unwrap();
        assert!(outcome.findings.is_empty(), "{:?}", outcome.findings);
        let path = ObjectName::new(ObjectKind::Note, newer).path();
        let told = outcome.notices.iter().find(|notice| notice.object == path);
        assert!(told.unwrap().what.contains("note kind 99"), "{told:?}");
    }

    #[test]
    fn a_note_with_a_clear_part_is_refused() {
        let repo = repo();
        let id = put(&repo, b"seen", &note::encode(&pin(ObjectId([7; 32]))).unwrap());
        assert_eq!(repo.note(&id).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
