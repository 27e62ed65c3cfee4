//! Stores and loads deletion marks.

use std::collections::HashSet;

use crate::annotations::{DeletionMark, deletion_mark};
use crate::clock::UnixNanos;
use crate::envelope::{ObjectClass, parse_clear};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::ObjectId;
use crate::storage::{ListedObject, ObjectKind, ObjectName};

use super::Repo;
use super::create_repository::get_content_named;
use super::stored_annotations::UnreadAnnotation;

/// A mark, and when its grace began.
#[derive(Clone, Debug)]
pub struct StoredMark {
    /// Its name.
    pub id: ObjectId,
    /// What it says.
    pub mark: DeletionMark,
    /// When its line of marks began, by the storage's clock; `None` where the storage has no times.
    pub since: Option<UnixNanos>,
}

impl Repo {
    /// Stores a mark; it is durable when its name comes back.
    pub fn put_mark(&self, mark: &DeletionMark) -> Result<ObjectId> {
        let clear = deletion_mark::encode(mark)?;
        self.put_annotation_with_clear_part(ObjectClass::Mark, ObjectKind::Mark, &clear, &[])
    }

    /// All marks, for whoever deletes: one that is not the owner's, or that cannot be read, is an error.
    pub fn marks(&self) -> Result<Vec<StoredMark>> {
        let mut marks = Vec::new();
        for listed in self
            .storage()
            .list(ObjectKind::Mark)
            .context(|| "list the marks")?
        {
            marks.extend(self.stored_mark(&listed)?);
        }
        Ok(marks)
    }

    /// The marks that can be read, and the others. Those mark nothing: no sweep goes by them, and none goes on while they
    /// are there.
    pub fn marks_and_unread(&self) -> Result<(Vec<StoredMark>, Vec<UnreadAnnotation>)> {
        let (marks, unread) = self.read_annotations(ObjectKind::Mark, |listed| self.stored_mark(listed))?;
        Ok((marks.into_iter().flatten().collect(), unread))
    }

    /// One mark; `None` if it has gone since it was listed.
    fn stored_mark(&self, listed: &ListedObject) -> Result<Option<StoredMark>> {
        let id = listed.name.id;
        let Some(bytes) = self.get_if_present(listed.name)? else {
            return Ok(None);
        };
        let opened = self.keyring()?.open_object(ObjectClass::Mark, &id, &bytes)?;
        if !opened.plain.is_empty() {
            return Err(Error::corrupt("a mark with a sealed part").context(listed.name.path()));
        }
        let mark = deletion_mark::decode(&opened.clear).context(|| listed.name.path())?;
        let since = mark.replaces.map(|replaced| replaced.since).or(listed.modified);
        Ok(Some(StoredMark { id, mark, since }))
    }

    /// Packs that any mark names, for whoever would count on them. Marks are believed without a key here: whoever
    /// sweeps may know an epoch that this process does not. What is damaged marks nothing, because no sweep goes by it.
    pub(crate) fn marked_packs(&self) -> Result<HashSet<ObjectId>> {
        let mut marked = HashSet::new();
        for listed in self
            .storage()
            .list(ObjectKind::Mark)
            .context(|| "list the marks")?
        {
            let packs = match self.get_if_present(listed.name) {
                Ok(Some(bytes)) => parse_clear(ObjectClass::Mark, &bytes)
                    .and_then(|(_, clear, _)| deletion_mark::decode(clear))
                    .map(|mark| mark.packs),
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            match packs {
                Ok(packs) => marked.extend(packs.into_iter().map(|marked| marked.pack)),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::Corrupt | ErrorKind::Torn | ErrorKind::Limit
                    ) => {}
                Err(error) => return Err(error.context(listed.name.path())),
            }
        }
        Ok(marked)
    }

    /// An object that was listed, unless it has gone since.
    pub(super) fn get_if_present(&self, name: ObjectName) -> Result<Option<Vec<u8>>> {
        match get_content_named(&**self.storage(), name) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
