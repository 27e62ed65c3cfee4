//! Notes as sealed objects: stored, listed, opened. What they say together is [`Notes`]'s to tell.

use crate::crypto::OsEntropy;
use crate::envelope::{ObjectClass, object_id};
use crate::error::{Act, Error, Kind, Result};
use crate::facts::{Note, Notes, note};
use crate::id::ObjectId;
use crate::storage::{ObjectKind, ObjectName};

use super::create::get_named;
use super::{OWN_DOMAIN, Repo};

/// All notes that are stored.
#[derive(Clone, Debug, Default)]
pub struct StoredNotes {
    /// Those that could be read, each under its name.
    pub notes: Vec<(ObjectId, Note)>,
    /// The others. Readers tell of them and go on; deleters do not ([`StoredNotes::complete`]).
    pub unread: Vec<UnreadNote>,
}

/// A note that is there and says nothing to this program.
#[derive(Clone, Debug)]
pub struct UnreadNote {
    /// Its name.
    pub id: ObjectId,
    /// [`Kind::TooNew`] where it is whole, and for a later levault to understand; else it is damaged or not ours.
    pub kind: Kind,
    /// Why it could not be read.
    pub what: String,
}

impl StoredNotes {
    /// What the readable notes say.
    pub fn standing(&self) -> Notes {
        Notes::new(&self.notes)
    }

    /// What the notes say, for whoever deletes: the first that could not be read is an error, because it may be the
    /// one that pins or undeletes.
    pub fn complete(&self) -> Result<Notes> {
        match self.unread.first() {
            None => Ok(self.standing()),
            Some(unread) => Err(Error::new(unread.kind, unread.what.clone())),
        }
    }
}

impl Repo {
    /// Stores a note; it is durable when its name comes back.
    pub fn put_note(&self, note: &Note) -> Result<ObjectId> {
        self.may_write()?;
        let plain = note::encode(note)?;
        let bytes = self
            .keyring()
            .seal_object(ObjectClass::Note, OWN_DOMAIN, &[], &plain, &mut OsEntropy)?;
        let name = named(object_id(&bytes));
        self.storage()
            .put_new(name, &bytes)
            .act(|| format!("store {}", name.path()))?;
        Ok(name.id)
    }

    /// One note, opened and held to its name.
    pub fn note(&self, id: &ObjectId) -> Result<Note> {
        let name = named(*id);
        let bytes = get_named(&**self.storage(), name)?;
        let opened = self.keyring().open_object(ObjectClass::Note, id, &bytes)?;
        match opened.clear.is_empty() {
            true => note::decode(&opened.plain).act(|| name.path()),
            false => Err(Error::corrupt("a note with a clear part").act(name.path())),
        }
    }

    /// Loads all notes. One that cannot be read is told of and left out; one that cannot be fetched is an error.
    pub fn notes(&self) -> Result<StoredNotes> {
        let mut all = StoredNotes::default();
        for listed in self.storage().list(ObjectKind::Note).act(|| "list the notes")? {
            let id = listed.name.id;
            match self.note(&id) {
                Ok(note) => all.notes.push((id, note)),
                Err(error) if is_unreadable(&error) => all.unread.push(UnreadNote {
                    id,
                    kind: error.kind(),
                    what: error.to_string(),
                }),
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }
}

fn named(id: ObjectId) -> ObjectName {
    ObjectName {
        kind: ObjectKind::Note,
        id,
    }
}

/// True if no retry helps. Anybody who can write to the storage can put an object there that is sealed under no key
/// of ours, or too large: it must not keep readers from their data.
fn is_unreadable(error: &Error) -> bool {
    matches!(
        error.kind(),
        Kind::Corrupt | Kind::Torn | Kind::TooNew | Kind::WrongKey | Kind::Limit
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::UnixNanos;
    use crate::facts::{About, Said};
    use crate::keys::{Password, SlotCost};
    use crate::ops::check::{Check, ReadData};
    use crate::repo::{NewRepo, Settings};
    use crate::report::Report;
    use crate::storage::MemoryStorage;

    fn repo() -> Repo {
        let new = NewRepo {
            cost: SlotCost::cheap(),
            ..NewRepo::default()
        };
        let storage = Arc::new(MemoryStorage::default());
        Repo::create(storage, &Password::new(b"x".to_vec()), new, Settings::default()).unwrap()
    }

    fn pin(id: ObjectId) -> Note {
        let when = UnixNanos(1);
        let about = About::Snapshot { id, said: Said::Pin };
        Note { when, about }
    }

    /// Stores a note's plain bytes as another version of this program might.
    fn put(repo: &Repo, clear: &[u8], plain: &[u8]) -> ObjectId {
        let (class, mut entropy) = (ObjectClass::Note, OsEntropy);
        let sealed = repo
            .keyring()
            .seal_object(class, OWN_DOMAIN, clear, plain, &mut entropy);
        let bytes = sealed.unwrap();
        let name = named(object_id(&bytes));
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
        assert!(found.standing().is_pinned(&id));
        assert_eq!(found.complete().unwrap_err().kind(), Kind::TooNew);
        let check = Check { read: ReadData::None };
        let outcome = check.run(&repo, &Report::default()).unwrap();
        assert!(outcome.findings.is_empty(), "{:?}", outcome.findings);
        let path = named(newer).path();
        let told = outcome.notices.iter().find(|notice| notice.object == path);
        assert!(told.unwrap().what.contains("note kind 99"), "{told:?}");
    }

    #[test]
    fn a_note_with_a_clear_part_is_refused() {
        let repo = repo();
        let id = put(&repo, b"seen", &note::encode(&pin(ObjectId([7; 32]))).unwrap());
        assert_eq!(repo.note(&id).unwrap_err().kind(), Kind::Corrupt);
    }
}
