//! Opens a snapshot, and finds databases in it.

use std::os::unix::ffi::OsStrExt;

use levault::engine::read_records;
use levault::engine::tree::{self, SnapshotView};
use levault::error::{Error, ErrorKind, Result};
use levault::repo::IndexLookup;
use levault::repo::{BlobReader, Repo, StoredSnapshot};
use levault::snapshot::{DatabaseRoot, EntryKind, Snapshot};

use crate::args::{DatabaseArg, SnapshotPath};
use crate::command_context::{CommandContext, usage};

/// A snapshot, and what is needed to read its blobs.
pub struct OpenSnapshot {
    /// In the snapshot's domain.
    pub repo: Repo,
    pub stored: StoredSnapshot,
    lookup: IndexLookup,
}

impl CommandContext<'_> {
    /// Opens the repository and the snapshot that `place` names.
    pub fn open_place(&self, place: &SnapshotPath) -> Result<OpenSnapshot> {
        let repo = self.open()?;
        let stored = self.select_to_read(&repo, place)?;
        let repo = repo.in_domain(stored.snapshot.domain)?;
        let lookup = repo.lookup()?;
        Ok(OpenSnapshot { repo, stored, lookup })
    }
}

impl OpenSnapshot {
    pub fn snapshot(&self) -> &Snapshot {
        &self.stored.snapshot
    }

    pub fn reader(&self) -> BlobReader<'_> {
        BlobReader::new(&self.repo, &self.lookup)
    }

    /// Whether an address means all of the snapshot: `/` does, unless the filesystem's root itself was saved.
    pub fn is_whole(&self, address: &[u8]) -> bool {
        let has_root = || self.snapshot().sources.iter().any(|source| source.path() == b"/");
        tree::parts(address).next().is_none() && (address.is_empty() || !has_root())
    }

    /// The database that is named by `--db` or behind the colon, or the only one.
    pub fn database(&self, pick: &DatabaseArg) -> Result<&DatabaseRoot> {
        let address = &pick.place.address;
        match (address.is_empty(), &pick.db) {
            (true, name) => {
                read_records::find_database(self.snapshot(), name.as_ref().map(|name| name.as_bytes()))
            }
            (false, Some(_)) => Err(usage("the database is named twice, by --db and behind the colon")),
            (false, None) => self.database_at(address),
        }
    }

    fn database_at(&self, address: &[u8]) -> Result<&DatabaseRoot> {
        let reader = self.reader();
        let found = SnapshotView::new(self.snapshot(), &reader).resolve(address)?;
        match found.node.entry.kind {
            EntryKind::Database(number) => tree::database_by_number(self.snapshot(), number),
            _ => Err(Error::new(
                ErrorKind::Usage,
                format!("{} is no database", String::from_utf8_lossy(&found.name)),
            )),
        }
    }
}
