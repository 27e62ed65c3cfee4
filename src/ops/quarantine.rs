//! Sets aside unreadable objects that would stop a prune.
//!
//! Quarantine: sets aside objects that cannot be read, so that they stop nobody who deletes.
//!
//! Whoever may write to the storage can put an object that no key opens, and whoever deletes must not go on by less than all.
//! The owner's note says of one such object that it is nobody's. It counts only where the object cannot be read: of one
//! that can be it changes nothing. docs/ORDERING.md argues why nothing that is needed is lost.

use std::collections::BTreeMap;

use crate::annotations::{Note, NoteSubject, QuarantineFolder};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{DomainId, ObjectId};
use crate::repo::Repo;
use crate::storage::{ObjectKind, ObjectName};

/// An object that cannot be read, and stops a prune unless it is set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableObject {
    /// Its name.
    pub id: ObjectId,
    /// Where it lies.
    pub folder: QuarantineFolder,
    /// The one domain that it can concern; `None` if any.
    pub domain: Option<DomainId>,
    /// [`ErrorKind::TooNew`] where a later levault may be able to read it.
    pub kind: ErrorKind,
    /// Why it cannot be read.
    pub what: String,
    /// The owner set it aside.
    pub is_quarantined: bool,
}

impl UnreadableObject {
    /// As the storage calls it.
    pub fn path(&self) -> String {
        let kind = match self.folder {
            QuarantineFolder::Snapshots => ObjectKind::Snapshot,
            QuarantineFolder::Index => ObjectKind::Index,
        };
        ObjectName::new(kind, self.id).path()
    }
}

/// Whether an object that a later levault may be able to read is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewerFormatMode {
    /// It is refused.
    Refused,
    /// The owner knows that no later levault wrote it.
    Included,
}

/// All snapshots and index segments that cannot be read, by folder and name. (What is forgotten is not among them.)
pub fn list_unreadable(repo: &Repo) -> Result<Vec<UnreadableObject>> {
    let mut found = BTreeMap::new();
    let catalog = repo.catalog()?;
    let snapshots = [(&catalog.unreadable, false), (&catalog.quarantined, true)];
    for (unread, is_quarantined) in snapshots {
        for unread in unread {
            let object = UnreadableObject {
                id: unread.id,
                folder: QuarantineFolder::Snapshots,
                domain: unread.domain,
                kind: unread.kind,
                what: unread.what.clone(),
                is_quarantined,
            };
            found.insert((object.folder, object.id), object);
        }
    }
    for domain in repo.domains()? {
        let facts = repo.in_domain(domain)?.index_summary()?;
        let segments = [(&facts.unread, false), (&facts.quarantined, true)];
        for (unread, is_quarantined) in segments {
            for unread in unread {
                let object = UnreadableObject {
                    id: unread.id,
                    folder: QuarantineFolder::Index,
                    domain: None,
                    kind: unread.kind,
                    what: unread.what.clone(),
                    is_quarantined,
                };
                found.insert((object.folder, object.id), object);
            }
        }
    }
    Ok(found.into_values().collect())
}

/// Sets objects aside, durably; `ids` are whole ids or beginnings of those of [`list_unreadable`] objects.
///
/// # Errors
/// [`ErrorKind::NotFound`] for one that can be read or is not there; [`ErrorKind::TooNew`] for one that a later levault may be able to
/// read, unless that is allowed; [`ErrorKind::Usage`] for a beginning of several.
pub fn add(repo: &Repo, ids: &[String], newer: NewerFormatMode) -> Result<Vec<UnreadableObject>> {
    let objects = select_by_prefixes(&list_unreadable(repo)?, ids)?;
    if let Some(object) = objects
        .iter()
        .find(|object| object.kind == ErrorKind::TooNew && newer == NewerFormatMode::Refused)
    {
        return Err(Error::new(
            ErrorKind::TooNew,
            format!("{}: {}; nothing is set aside", object.path(), object.what),
        ));
    }
    put_quarantine_notes(repo, objects, true)
}

/// Takes objects back: they stop whoever deletes again, as long as they cannot be read.
pub fn remove(repo: &Repo, ids: &[String]) -> Result<Vec<UnreadableObject>> {
    let objects = select_by_prefixes(&list_unreadable(repo)?, ids)?;
    put_quarantine_notes(repo, objects, false)
}

fn select_by_prefixes(unread: &[UnreadableObject], ids: &[String]) -> Result<Vec<UnreadableObject>> {
    ids.iter().map(|id| select_by_prefix(unread, id)).collect()
}

fn select_by_prefix(unread: &[UnreadableObject], words: &str) -> Result<UnreadableObject> {
    let prefix = words.to_ascii_lowercase();
    let mut fitting = unread
        .iter()
        .filter(|object| object.id.to_hex().starts_with(&prefix));
    match (fitting.next(), fitting.next()) {
        (Some(object), None) => Ok(object.clone()),
        (None, _) => Err(Error::new(
            ErrorKind::NotFound,
            format!("{words}: no snapshot or index segment of this id that cannot be read"),
        )),
        (Some(_), Some(_)) => Err(Error::new(
            ErrorKind::Usage,
            format!("{words}: several objects begin so"),
        )),
    }
}

fn put_quarantine_notes(
    repo: &Repo,
    mut objects: Vec<UnreadableObject>,
    holds: bool,
) -> Result<Vec<UnreadableObject>> {
    objects.retain(|object| object.is_quarantined != holds);
    let stored = repo.notes()?.notes;
    for object in &mut objects {
        let about = NoteSubject::Quarantine {
            id: object.id,
            folder: object.folder,
            holds,
        };
        let last = stored.iter().filter(|(_, note)| is_about(note, object));
        let last = last.map(|(_, note)| note.when).max();
        let when = repo.clock().now().max(crate::clock::UnixNanos::next_after(last));
        repo.put_note(&Note { when, about })?;
        object.is_quarantined = holds;
    }
    Ok(objects)
}

fn is_about(note: &Note, object: &UnreadableObject) -> bool {
    matches!(&note.about, NoteSubject::Quarantine { id, folder, .. } if (*id, *folder) == (object.id, object.folder))
}
