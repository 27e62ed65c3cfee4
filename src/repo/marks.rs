//! Marks as sealed objects, and the storage's clock, by which their grace counts.

use std::collections::HashSet;

use crate::clock::UnixNanos;
use crate::crypto::{Entropy, OsEntropy};
use crate::envelope::{Header, KeyScheme, ObjectClass, object_id, parse_clear};
use crate::error::{Act, Error, Kind, Result};
use crate::facts::{Mark, mark};
use crate::id::{DomainId, EpochId, ObjectId};
use crate::storage::{ObjectKind, ObjectName};

use super::create::get_named;
use super::{OWN_DOMAIN, Repo};

/// A mark, and when its grace began.
#[derive(Clone, Debug)]
pub struct StoredMark {
    /// Its name.
    pub id: ObjectId,
    /// What it says.
    pub mark: Mark,
    /// When its line of marks began, by the storage's clock; `None` where the storage has no times.
    pub since: Option<UnixNanos>,
}

impl Repo {
    /// Stores a mark; it is durable when its name comes back.
    pub fn put_mark(&self, mark: &Mark) -> Result<ObjectId> {
        self.may_write()?;
        let clear = mark::encode(mark)?;
        let bytes = self
            .keyring()
            .seal_object(ObjectClass::Mark, OWN_DOMAIN, &clear, &[], &mut OsEntropy)?;
        let name = named(object_id(&bytes));
        self.storage()
            .put_new(name, &bytes)
            .act(|| format!("store {}", name.path()))?;
        Ok(name.id)
    }

    /// All marks, for whoever deletes: one that is not the owner's, or that cannot be read, is an error.
    pub fn marks(&self) -> Result<Vec<StoredMark>> {
        let mut marks = Vec::new();
        for listed in self.storage().list(ObjectKind::Mark).act(|| "list the marks")? {
            let id = listed.name.id;
            let Some(bytes) = self.get_if_there(listed.name)? else {
                continue;
            };
            let opened = self.keyring().open_object(ObjectClass::Mark, &id, &bytes)?;
            if !opened.plain.is_empty() {
                return Err(Error::corrupt("a mark with a sealed part").act(listed.name.path()));
            }
            let mark = mark::decode(&opened.clear).act(|| listed.name.path())?;
            let since = mark.replaces.map(|replaced| replaced.since).or(listed.modified);
            marks.push(StoredMark { id, mark, since });
        }
        Ok(marks)
    }

    /// Packs that any mark names, for whoever would count on them. Marks are believed without a key here: whoever
    /// sweeps may know an epoch that this process does not. What is damaged marks nothing, because no sweep goes by it.
    pub(super) fn marked(&self) -> Result<HashSet<ObjectId>> {
        let mut marked = HashSet::new();
        for listed in self.storage().list(ObjectKind::Mark).act(|| "list the marks")? {
            let packs = match self.get_if_there(listed.name) {
                Ok(Some(bytes)) => parse_clear(ObjectClass::Mark, &bytes)
                    .and_then(|(_, clear, _)| mark::decode(clear))
                    .map(|mark| mark.packs),
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            match packs {
                Ok(packs) => marked.extend(packs.into_iter().map(|marked| marked.pack)),
                Err(error) if matches!(error.kind(), Kind::Corrupt | Kind::Torn | Kind::Limit) => {}
                Err(error) => return Err(error.act(listed.name.path())),
            }
        }
        Ok(marked)
    }

    /// An object that was listed, unless it has gone since.
    pub(super) fn get_if_there(&self, name: ObjectName) -> Result<Option<Vec<u8>>> {
        match get_named(&**self.storage(), name) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What time it is by the storage's clock: that of a scratch object written now.
    ///
    /// # Errors
    /// [`Kind::Usage`] if the storage has no modification times.
    pub fn storage_now(&self) -> Result<UnixNanos> {
        let (name, bytes) = probe()?;
        let storage = self.storage();
        storage.put_new(name, &bytes).act(|| "store a probe")?;
        let found = storage.stat(name).act(|| "look at a probe");
        // What is left behind is swept after a day by whoever sees it.
        let _ = storage.delete(name);
        found?.modified.ok_or_else(|| {
            Error::new(
                Kind::Usage,
                format!(
                    "{} tells no modification times: nothing can be swept by its clock",
                    storage.describe()
                ),
            )
        })
    }
}

fn named(id: ObjectId) -> ObjectName {
    ObjectName {
        kind: ObjectKind::Mark,
        id,
    }
}

/// A scratch object (FORMAT.md section 11): nothing in it is secret or vouched for.
fn probe() -> Result<(ObjectName, Vec<u8>)> {
    let mut random = [0; 63];
    OsEntropy.fill(&mut random)?;
    let (id, clear) = random.split_at(32);
    let header = Header {
        class: ObjectClass::Probe,
        scheme: KeyScheme::Clear,
        epoch: EpochId(0),
        domain: DomainId(0),
        clear_len: 32,
        ephemeral: [0; 32],
        salt: [0; 32],
        commitment: [0; 32],
    };
    let bytes = [&header.encode()[..], &[1], clear].concat();
    let mut name = ObjectId([0; 32]);
    name.0.copy_from_slice(id);
    let kind = ObjectKind::Probe;
    Ok((ObjectName { kind, id: name }, bytes))
}
