//! Restores over a closed database by writing the differences.
//!
//! ```text
//! hold LOCK --> scan it beside the snapshot --differences--> new tables in the stage
//!           --> link its own tables, MANIFEST over both --> (read back) --> exchange the two directories
//! ```
//! When that is the worse way, nothing comes of it and all is written as if nothing were there: when more than half
//! of what the snapshot holds differs, when level 0 would fill up, when a number is used up or the key order is
//! another one. A full rewrite leaves no compaction to do; here the owner merges the new tables when it likes.
//!
//! Memory: a leaf of each run, one value, and the table that is being built. Who did not let the digests decide
//! first would read the whole snapshot from the repository to learn that nothing differs; so that comes before.

use std::path::Path;

use super::RestoreContext;
use super::restore_database::DatabaseRestore;
use super::write_differences::{DifferenceContext, DifferenceWriter};
use crate::error::{Error, Result, ResultExt};
use crate::leveldb::continued_version::VersionContinuation;
use crate::leveldb::file_name::FileName;
use crate::leveldb::table_builder::TableBuilder;
use crate::leveldb::version::TableMeta;
use crate::leveldb::{Comparator, DatabaseLayout};
use crate::repo::BlobReader;
use crate::run::{KeyOrder, KeyRange, RunReader, StackCursor, TombstoneMode};
use crate::snapshot::{DatabaseContent, DatabaseRoot};
use crate::source::Database;
use crate::target::{InPlaceTarget, OccupiedTarget, StagedResult};

use crate::engine::read_records;

/// A new table, bytes: so large that few are needed on level 0, so small that one fits in memory.
const IN_PLACE_TABLE_BYTES: u64 = 64 << 20;

/// What an in-place restore wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InPlaceOutcome {
    /// Records written.
    pub puts: u64,
    /// Records hidden by a deletion.
    pub deletions: u64,
    /// Bytes of the new tables, and of those that could not be linked.
    pub bytes_written: u64,
    /// Bytes of the tables that were linked.
    pub bytes_linked: u64,
}

impl RestoreContext<'_> {
    /// The database at `target` with what differs above it, staged; `None` when all is to be written, because more than
    /// `bytes_max` key and value bytes differ or because nothing may come above it.
    pub(super) fn stage_in_place(
        &self,
        step: &DatabaseRestore,
        occupied: OccupiedTarget,
        bytes_max: u64,
    ) -> Result<Option<(StagedResult, InPlaceOutcome)>> {
        let (database, target) = (step.root, &step.target);
        if !self.can_restore_in_place(database, target) {
            return Ok(None);
        }
        let mut staging = InPlaceTarget::begin(target, occupied)?;
        staging.set_file_attributes(self.database_file_attributes(step));
        let Some(old) = staging.old_directory() else {
            return Ok(None);
        };
        let standing = Database::open_in(old)?;
        let order = Comparator::from_name(&database.shape.comparator);
        let is_ordered_alike = order.is_known() && *standing.comparator() == order;
        let highest = staging.highest_file_number()?;
        let above = VersionContinuation::of(standing.version(), standing.last_sequence(), highest);
        let Some(above) = above.filter(|_| is_ordered_alike) else {
            return Ok(None);
        };
        let eyes = DifferenceContext {
            repo: self.repo,
            reader: self.reader,
            order: &order,
            report: self.report,
        };
        let tables = InPlaceTableWriter::new(&staging, standing.layout(), above)?;
        let new = self
            .write_differences(eyes, database, &standing, tables, bytes_max)
            .context(|| format!("compare with {}", target.display()))?;
        new.map(|new| finish_in_place(staging, &standing, above, new))
            .transpose()
    }

    fn can_restore_in_place(&self, database: &DatabaseRoot, target: &Path) -> bool {
        self.options.compares_existing()
            && matches!(database.content, DatabaseContent::Logical { .. })
            && target.join("CURRENT").exists()
    }

    fn write_differences(
        &self,
        eyes: DifferenceContext,
        database: &DatabaseRoot,
        standing: &Database,
        tables: InPlaceTableWriter,
        bytes_max: u64,
    ) -> Result<Option<InPlaceTables>> {
        let compare = |left: &[u8], right: &[u8]| eyes.order.compare(left, right);
        let snapshot = self.open_records(eyes.reader, database, &compare)?;
        let mut differences = DifferenceWriter::new(eyes, snapshot, tables, bytes_max)?;
        let done_before = eyes.report.bytes_done.get();
        let compared = compare_records(standing, &mut differences);
        if differences.gave_up() {
            // What was compared in vain is to be done on top.
            let in_vain = eyes.report.bytes_done.get() - done_before;
            eyes.report.bytes_total.add(in_vain);
            return Ok(None);
        }
        compared?;
        Ok(Some(differences.into_new()))
    }

    fn open_records<'a>(
        &self,
        reader: &'a BlobReader,
        database: &'a DatabaseRoot,
        order: KeyOrder<'a>,
    ) -> Result<StackCursor<'a>> {
        let runs = read_records::runs(database, self.options.with_uncertain)?;
        let newest_first = runs.iter().rev();
        let walkers: Vec<_> = newest_first
            .map(|run| RunReader::new(reader, run.root.as_ref(), order))
            .collect();
        StackCursor::new(&walkers, &KeyRange::all(), TombstoneMode::Drop, order)
    }
}

/// Nobody knows what a damaged database holds; it was found whole a moment ago.
fn compare_records(standing: &Database, differences: &mut DifferenceWriter) -> Result<()> {
    let outcome = standing.scan(differences)?;
    match outcome.damage.first() {
        Some(damage) => Err(Error::corrupt(format!("{}: {}", damage.file, damage.what))),
        None => differences.finish(),
    }
}

/// What comes above a database.
pub struct InPlaceTables {
    pub tables: Vec<TableMeta>,
    pub written: InPlaceOutcome,
}

/// Puts both together.
fn finish_in_place(
    staging: InPlaceTarget,
    standing: &Database,
    above: VersionContinuation,
    new: InPlaceTables,
) -> Result<(StagedResult, InPlaceOutcome)> {
    let mut written = new.written;
    written.bytes_written = new.tables.iter().map(|table| table.size).sum();
    for file in standing.files() {
        let is_table = matches!(FileName::parse(&file.name), Some(FileName::Table(..)));
        if let (true, Some((directory, name))) = (is_table, file.directory_and_name()) {
            let copied = staging.link_or_copy_table(directory, name)?;
            written.bytes_written += copied;
            written.bytes_linked += file.len - copied.min(file.len);
        }
    }
    let continued = above.finish(standing.version(), new.tables);
    Ok((staging.finish(&continued)?, written))
}

/// New tables for level 0, one after the other in key order; none overlaps another.
pub struct InPlaceTableWriter<'a> {
    staging: &'a InPlaceTarget,
    layout: DatabaseLayout,
    continuation: VersionContinuation,
    builder: TableBuilder,
    written: Vec<TableMeta>,
}

impl<'a> InPlaceTableWriter<'a> {
    /// Laid out as the tables that stand there.
    fn new(staging: &'a InPlaceTarget, standing: DatabaseLayout, above: VersionContinuation) -> Result<Self> {
        let shape = DatabaseLayout {
            table_bytes: IN_PLACE_TABLE_BYTES,
            last_sequence: above.sequence(),
            ..standing
        };
        let order = Comparator::from_name(&shape.comparator);
        Ok(Self {
            builder: TableBuilder::new(&shape, &order)?,
            staging,
            layout: shape,
            continuation: above,
            written: Vec::new(),
        })
    }

    /// What the MANIFEST is to say of those that were written.
    pub fn into_written(self) -> Vec<TableMeta> {
        self.written
    }

    /// Adds a record; false when there is no room for more tables.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        self.builder.add(key, value)?;
        self.finish_if_full()
    }

    /// Adds a deletion; false when there is no room for more tables.
    pub fn delete(&mut self, key: &[u8]) -> Result<bool> {
        self.builder.delete(key)?;
        self.finish_if_full()
    }

    fn finish_if_full(&mut self) -> Result<bool> {
        if self.builder.is_full() {
            self.finish_table()
        } else {
            Ok(true)
        }
    }

    /// Writes the table that was begun, if one was; false when there is no room for it.
    pub fn finish_table(&mut self) -> Result<bool> {
        if self.builder.is_empty() {
            return Ok(true);
        }
        let Some(number) = self.continuation.table_number(self.written.len()) else {
            return Ok(false);
        };
        let table = self.builder.finish()?;
        let extension = self.layout.table_extension;
        self.written
            .push(self.staging.write_table(number, extension, &table)?);
        self.builder.recycle(table);
        Ok(true)
    }
}

#[cfg(test)]
#[path = "in_place_tests.rs"]
mod tests;
