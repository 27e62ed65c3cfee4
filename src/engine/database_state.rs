//! Pairs a database with the snapshot that has it.

use crate::engine::read_records;
use crate::error::Result;
use crate::repo::StoredSnapshot;
use crate::run::{BlobSource, KeyOrder, RunReader, StackLayer};
use crate::snapshot::{DatabaseRoot, SourceIdentity, StoredRunRef};

/// A database as a snapshot has it.
#[derive(Clone, Copy)]
pub struct DatabaseState<'s> {
    /// The snapshot.
    pub snapshot: &'s StoredSnapshot,
    /// The database in it.
    pub database: &'s DatabaseRoot,
}

impl<'s> DatabaseState<'s> {
    /// The database of a snapshot with this label or path, or its only one.
    pub fn of(snapshot: &'s StoredSnapshot, name: Option<&[u8]>) -> Result<Self> {
        let database = read_records::find_database(&snapshot.snapshot, name)?;
        Ok(Self { snapshot, database })
    }

    /// Which database it is a state of.
    pub fn identity(&self) -> SourceIdentity<'s> {
        let snapshot = &self.snapshot.snapshot;
        SourceIdentity {
            domain: snapshot.domain,
            host: &snapshot.host,
            path: &self.database.path,
            timeline: Some(self.database.timeline),
        }
    }
}

/// Runs, oldest first, to be compared.
pub(crate) fn stack_layers<'a>(
    source: &'a dyn BlobSource,
    runs: impl IntoIterator<Item = &'a StoredRunRef>,
    order: KeyOrder<'a>,
) -> Vec<StackLayer<'a>> {
    let layer = |run: &'a StoredRunRef| {
        let walker = RunReader::new(source, run.root.as_ref(), order);
        StackLayer::filtered(walker, |key| run.may_hold(key, order))
    };
    runs.into_iter().map(layer).collect()
}
