//! Brings forgotten snapshots back.
//!
//! Undelete: a forgotten snapshot counts again, if all that it needs is still there.
//!
//! Its packs may be marked: the marks come off once it counts again. What is said to be back was proven whole after the
//! note was durable (docs/ORDERING.md, section 7, why no prune takes it then). If it is not, it is forgotten again, and the
//! error says so: nobody is to count on what is not whole.

use crate::annotations::{Note, NoteSubject, SnapshotNote};
use crate::error::{Error, ErrorKind, Result};
use crate::id::ObjectId;
use crate::repo::{ForgottenSnapshot, Repo, SnapshotCatalog, StoredSnapshot};
use crate::report::OperationReport;

use super::check::find_missing_of_snapshot;
use super::forget::{ForgetSelection, forget};
use super::prune::unmark_needed;

/// The forgotten snapshot that `words` name: an id or its beginning. [`ErrorKind::NotFound`] if there is none.
pub fn select_forgotten<'a>(catalog: &'a SnapshotCatalog, words: &str) -> Result<&'a ForgottenSnapshot> {
    let prefix = words.to_ascii_lowercase();
    let mut found = catalog.forgotten.iter();
    let mut found = found
        .by_ref()
        .filter(|forgotten| forgotten.id.to_hex().starts_with(&prefix));
    match (found.next().filter(|_| !prefix.is_empty()), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(Error::new(
            ErrorKind::Usage,
            format!("snapshot `{words}` is not one: more than one forgotten snapshot begins so"),
        )),
        (None, _) => Err(Error::new(
            ErrorKind::NotFound,
            format!("snapshot `{words}`: no forgotten snapshot that is still stored is it"),
        )),
    }
}

/// Brings a snapshot back. [`ErrorKind::Busy`] while a prune is at work; [`ErrorKind::Corrupt`] if something it needs is gone or about to go; then it stays forgotten.
pub fn undelete(repo: &Repo, forgotten: &ForgottenSnapshot, report: &OperationReport) -> Result<()> {
    let id = forgotten.id;
    let Some(snapshot) = forgotten.snapshot.clone() else {
        return Err(Error::corrupt(format!("snapshot {} is damaged", id.short())));
    };
    let stored = StoredSnapshot { id, snapshot };
    // A prune that dies between a snapshot's delete and its second look at the notes could not put it back.
    let _lease = repo.lease("an undelete")?;
    if repo.forgotten_now()?.of(&id).is_none() {
        // Somebody else was first: it is not ours to forget again.
        return prove_counted_and_complete(repo, id, report);
    }
    if repo.marks()?.is_empty() {
        prove_complete(repo, &stored, report)?;
    }
    let domain = repo.in_domain(stored.snapshot.domain)?;
    put_note(repo, id)?;
    match unmark_needed(&domain, report).and_then(|()| prove_counted_and_complete(repo, id, report)) {
        Ok(()) => Ok(()),
        Err(error) => Err(forget_again(repo, forgotten, error)),
    }
}

fn prove_complete(repo: &Repo, stored: &StoredSnapshot, report: &OperationReport) -> Result<()> {
    let lacking = find_missing_of_snapshot(repo, stored, report)?;
    match lacking.first() {
        None => Ok(()),
        Some(first) => Err(Error::corrupt(format!(
            "snapshot {} is not whole any more: {}: {} ({} such in all)",
            stored.id.short(),
            first.object,
            first.what,
            lacking.len()
        ))),
    }
}

/// That it counts, too: the snapshot itself may have been swept, or forgotten again by somebody else; and its records
/// may lie elsewhere since.
fn prove_counted_and_complete(repo: &Repo, id: ObjectId, report: &OperationReport) -> Result<()> {
    let catalog = repo.catalog()?;
    repo.prove_snapshots(&[id].into(), &catalog)?;
    prove_complete(repo, catalog.select(&id.to_hex())?, report)
}

/// The note is behind all that was said before, whatever our clock shows.
fn put_note(repo: &Repo, id: ObjectId) -> Result<ObjectId> {
    let said = repo.forgotten_now()?.last_annotation_time(&id);
    repo.put_note(&Note {
        when: repo.clock().now().max(crate::clock::UnixNanos::next_after(said)),
        about: NoteSubject::Snapshot {
            id,
            said: SnapshotNote::Undelete,
        },
    })
}

fn forget_again(repo: &Repo, forgotten: &ForgottenSnapshot, error: Error) -> Error {
    let again = ForgetSelection {
        snapshots: vec![forgotten.since.counted],
        why: forgotten.since.why,
        words: format!("{} (brought back in vain)", forgotten.since.words),
    };
    let id = forgotten.id.short();
    let failed = forget(repo, &again).map(|outcome| outcome.failed.into_iter().next());
    match failed {
        Ok(None) => error.context(format!("bring back snapshot {id}, which is forgotten again")),
        Ok(Some((_, second))) | Err(second) => error.context(format!(
            "bring back snapshot {id}, which is not to be relied on and was not forgotten again ({second})"
        )),
    }
}
