//! Checks deletion marks and lists of bad blobs.
//!
//! Marks and notes on bad blobs: each opens under its name. Data does not hang on them, but no prune goes on without them.

use crate::error::{ErrorKind, Result};
use crate::repo::Repo;
use crate::storage::{ObjectKind, ObjectName};

use super::findings::CheckFindings;

/// What to do about one that cannot be read.
const HELPS: &str =
    "run `levault repair packs --apply`: it finds again what is lost, and prunes mark again what is to go";

/// Those that are damaged are findings; what a later levault wrote is for that one to judge.
pub fn check(repo: &Repo, findings: &mut CheckFindings) -> Result<()> {
    let marks = repo.marks_and_unread()?.1.into_iter();
    let bad = repo.bad_blobs()?.unread.into_iter();
    let all = marks
        .map(|unread| (ObjectKind::Mark, unread))
        .chain(bad.map(|unread| (ObjectKind::Bad, unread)));
    for (kind, unread) in all.filter(|(_, unread)| unread.kind != ErrorKind::TooNew) {
        findings.add(ObjectName::new(kind, unread.id).path(), unread.what, HELPS);
    }
    Ok(())
}
