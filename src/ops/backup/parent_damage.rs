//! Checks whether a damaged repository still holds a parent snapshot.
//!
//! Whether a snapshot can be stood on where the repository is damaged: an increment stores nothing of what it stands on.

use crate::blob::BlobKind;
use crate::engine::blob_cache::BlobCacheReader;
use crate::engine::reachability::ReachabilityWalk;
use crate::error::{Error, ErrorKind, Result};
use crate::id::BlobId;
use crate::repo::{BlobReader, BlobWriter, Repo};
use crate::report::OperationReport;
use crate::snapshot::DatabaseRoot;

/// Why the database cannot be stood on; `None` if nothing is known against it. While no pack is missing, no blob is noted as
/// bad and all of the index can be read, its runs' top blobs alone are looked for in the index; else every blob that it
/// rests on.
pub fn find_parent_damage(
    repo: &Repo,
    writer: &BlobWriter,
    root: &DatabaseRoot,
    report: &OperationReport,
) -> Result<Option<String>> {
    if let Some(unread) = writer.unread_bad_blobs() {
        return Ok(Some(format!("which blobs are bad cannot be told: {unread}")));
    }
    let copies = writer.trusted_copies();
    for root in root.runs().filter_map(|run| run.root.as_ref()) {
        if !copies.has(&root.top.id)? {
            let id = root.top.id.short();
            return Ok(Some(format!(
                "the state before is damaged in the repository: blob {id} is lost"
            )));
        }
    }
    if copies.are_all_trusted() && !writer.index_is_damaged() {
        return Ok(None);
    }
    let reader = BlobReader::new(repo, copies.lookup);
    let recent = BlobCacheReader::new(&reader);
    let closure = ReachabilityWalk {
        source: &recent,
        report,
    };
    let mut each = |_: BlobKind, id: &BlobId| {
        if copies.has(id)? {
            Ok(())
        } else {
            Err(Error::corrupt(format!("blob {} is lost", id.short())))
        }
    };
    match root.runs().try_for_each(|run| closure.walk_run(run, &mut each)) {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
        Err(error) => Ok(Some(format!(
            "the state before is damaged in the repository: {error}"
        ))),
    }
}
