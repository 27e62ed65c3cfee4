//! Checks all objects but packs.
//!
//! The objects that are not packs: each is held to its name and opened.

use crate::error::{ErrorKind, Result};
use crate::index_cache::IndexLookup;
use crate::repo::{IndexSummary, Repo};
use crate::storage::ObjectKind;

use super::findings::CheckFindings;

/// What to do about an object that nothing can be rebuilt from.
const FROM_A_COPY: &str =
    "bring it back from another copy of the repository (names are hashes: any equal copy will do)";

/// What to do about one copy of config, where the other is whole.
const CONFIG: &str = "run `levault repair config --apply`: the other copy of it is whole";

/// What to do about a damaged index segment.
const REINDEX: &str = "run `levault repair index --apply`: what it said is read from the packs again";

/// The index, as far as it can be read.
pub struct ReadableIndex {
    /// Every location of every blob.
    pub lookup: IndexLookup,
    /// Packs by the segments' clear headers.
    pub facts: IndexSummary,
}

/// Config, slots, keyrings.
pub fn check(repo: &Repo, findings: &mut CheckFindings) -> Result<()> {
    for doubt in repo.unlock_warnings() {
        let (object, what) = doubt.split_once(": ").unwrap_or(("repository", doubt));
        let helps = if object.starts_with("config") {
            CONFIG
        } else {
            FROM_A_COPY
        };
        findings.add(object, what, helps);
    }
    for listed in repo.storage_reader().list(ObjectKind::Slot)? {
        if let Err(error) = repo.slot_info(listed.name) {
            findings.add(
                listed.name.path(),
                error.to_string(),
                "make a new slot for that password and remove this one",
            );
        }
    }
    Ok(())
}

/// Opens every segment; those that cannot be opened are findings, and the rest is the index.
pub fn index(repo: &Repo, findings: &mut CheckFindings) -> Result<ReadableIndex> {
    let facts = repo.index_summary()?;
    for listed in repo.storage_reader().list(ObjectKind::Index)? {
        // One that cannot be told is ours to open.
        if repo
            .foreign_segment(&listed)
            .is_ok_and(|foreign| foreign.is_some())
        {
            continue;
        }
        match repo.segment(&listed.name.id) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            Err(_) if facts.quarantined.iter().any(|unread| unread.id == listed.name.id) => {}
            Err(error) => findings.add(listed.name.path(), error.to_string(), REINDEX),
        }
    }
    let facts = repo.index_summary()?;
    let lookup = repo.lookup_for(&facts)?;
    Ok(ReadableIndex { lookup, facts })
}
