//! Repairs a damaged repository, one step at a time.
//!
//! Repair: what is left of a damaged repository is put in order, one step at a time.
//!
//! ```text
//! repair config     the two copies of config, from one another
//! repair index      what packs say of themselves --> index
//! repair packs      what still opens in damaged packs --> new packs; what does not --> bad/
//! repair snapshots  what can still be read of a snapshot --> a new one, its holes recorded; the old one is forgotten
//! ```
//! Every repair is a plan first, and does nothing unless it is told to. Whatever it writes is durable before anything is
//! dropped, so one that dies leaves the repository as it was, or better (docs/ORDERING.md, section 11).
//! What each can save is in docs/RECOVERY.md.

pub mod config;
pub mod index;
mod missing_blobs;
pub mod packs;
mod rebuild_database;
pub mod repair_files;
pub mod snapshots;

use crate::error::{Error, ErrorKind, Result};
use crate::id::ObjectId;

/// What becomes of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RepairMode {
    /// It is told.
    #[default]
    DryRun,
    /// It is carried out.
    Apply,
}

/// Those of `all` that `words` name by their ids or the beginnings of them, in the order of `all`; all of them if there
/// are no words. [`ErrorKind::NotFound`] for words that name nothing, [`ErrorKind::Usage`] for such as name several.
fn select_packs(what: &str, words: &[String], all: impl Iterator<Item = ObjectId>) -> Result<Vec<ObjectId>> {
    let all: Vec<_> = all.collect();
    if words.is_empty() {
        return Ok(all);
    }
    let mut found = words
        .iter()
        .map(|words| one(what, words, &all))
        .collect::<Result<Vec<_>>>()?;
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn one(what: &str, words: &str, all: &[ObjectId]) -> Result<ObjectId> {
    let prefix = words.to_ascii_lowercase();
    let begins = |id: &&ObjectId| !prefix.is_empty() && id.to_hex().starts_with(&prefix);
    let found: Vec<_> = all.iter().filter(begins).collect();
    match found[..] {
        [id] => Ok(*id),
        [] => Err(Error::new(ErrorKind::NotFound, format!("no {what} `{words}`"))),
        _ => Err(Error::new(
            ErrorKind::Usage,
            format!("`{words}` is the beginning of more than one {what}"),
        )),
    }
}
