//! Deletes audit records that newer ones supersede.
//!
//! Audits that say nothing any more: check after check would pile them up.
//!
//! Which ones may go is [`crate::annotations::LatestAudits::superseded`]'s to say, which is pure; nothing else rests on audits, so
//! whatever happens here costs at most that something is read again.

use crate::error::{ErrorKind, Result, ResultExt};
use crate::id::ObjectId;
use crate::repo::{DeletePermit, Repo, UnreadAnnotation};
use crate::report::OperationReport;
use crate::storage::ObjectKind;

/// Audits to be deleted: those that others supersede, and those that are damaged. Of those alone that were there before
/// the packs were listed: what they speak of and is not listed is gone.
pub fn superseded(repo: &Repo) -> Result<Vec<ObjectId>> {
    let before = repo
        .storage_reader()
        .list(ObjectKind::Audit)
        .context(|| "list the audits")?;
    if before.is_empty() {
        return Ok(Vec::new());
    }
    let packs = repo
        .storage_reader()
        .list(ObjectKind::Pack)
        .context(|| "list the packs")?;
    let stored = repo.audits(packs.into_iter().map(|pack| pack.name.id))?;
    let mut going = stored.audits.superseded();
    let is_damaged = |audit: &&UnreadAnnotation| matches!(audit.kind, ErrorKind::Corrupt | ErrorKind::Torn);
    going.extend(stored.unread.iter().filter(is_damaged).map(|audit| audit.id));
    going.retain(|id| before.iter().any(|listed| listed.name.id == *id));
    Ok(going)
}

/// Deletes them.
pub fn drop_superseded(repo: &Repo, report: &OperationReport) -> Result<Vec<ObjectId>> {
    let going = superseded(repo)?;
    repo.delete_all(
        &DeletePermit::Disposable,
        ObjectKind::Audit,
        going.iter().copied(),
        report,
    )?;
    Ok(going)
}
