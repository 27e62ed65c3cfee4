//! Stores and loads forget records.
//!
//! Forgettings as sealed objects: stored, listed, opened. What they say together, with the notes, is [`ForgottenSnapshots`]'s
//! to tell.

use crate::annotations::{CurrentNotes, ForgetRecord, ForgottenSnapshots, StoredForgetRecord, forget_record};
use crate::envelope::ObjectClass;
use crate::error::{Result, ResultExt};
use crate::id::ObjectId;
use crate::storage::{ObjectKind, ObjectName};

use super::stored_annotations::UnreadAnnotation;
use super::{Repo, StoredNotes};

/// All forgettings that are stored.
#[derive(Clone, Debug, Default)]
pub struct StoredForgetRecords {
    /// Those that could be read.
    pub records: Vec<StoredForgetRecord>,
    /// The others. Readers tell of them, take what they may name as not forgotten, and go on; deleters do not
    /// ([`StoredForgetRecords::require_complete`]).
    pub unread: Vec<UnreadAnnotation>,
}

impl StoredForgetRecords {
    /// What the readable forgettings say, by these notes.
    pub fn forgotten_snapshots(&self, notes: &CurrentNotes) -> ForgottenSnapshots {
        ForgottenSnapshots::new(&self.records, notes)
    }

    /// The same for whoever deletes: the first forgetting or note that could not be read is an error, because it may
    /// be the one that forgets or brings back.
    pub fn require_complete(&self, notes: &StoredNotes) -> Result<ForgottenSnapshots> {
        match self.unread.first() {
            None => Ok(self.forgotten_snapshots(&notes.require_complete()?)),
            Some(unread) => Err(unread.error()),
        }
    }
}

impl Repo {
    /// Stores a forgetting; it is durable, and the snapshots do not count, when its name comes back.
    pub fn put_forget_record(&self, forgetting: &ForgetRecord) -> Result<ObjectId> {
        let plain = forget_record::encode(forgetting)?;
        self.put_annotation(ObjectClass::Forgotten, ObjectKind::Forgotten, &plain)
    }

    /// One forgetting, opened and held to its name.
    pub fn forget_record(&self, id: &ObjectId) -> Result<ForgetRecord> {
        let name = ObjectName::new(ObjectKind::Forgotten, *id);
        let plain = self.read_annotation(ObjectClass::Forgotten, name)?;
        forget_record::decode(&plain).context(|| name.path())
    }

    /// Loads all forgettings. One that cannot be read is told of and left out; one that cannot be fetched is an error.
    pub fn forget_records(&self) -> Result<StoredForgetRecords> {
        let (forgettings, unread) = self.read_annotations(ObjectKind::Forgotten, |listed| {
            Ok(StoredForgetRecord {
                name: listed.name.id,
                modified: listed.modified,
                forgetting: self.forget_record(&listed.name.id)?,
            })
        })?;
        Ok(StoredForgetRecords {
            records: forgettings,
            unread,
        })
    }
}
