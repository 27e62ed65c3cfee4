//! Writes a new LevelDB directory, staged.
//!
//! Tables → a new LevelDB directory, staged; the inverse of `source::database`.
//!
//! Order of events, each durable before the next: tables, MANIFEST, their names (fsync of the directory),
//! CURRENT (temporary file and rename), its name; then the caller may read it all again, and
//! [`StagedResult::publish`] renames the stage. So whatever stands under the target's name is whole.
//!
//! Tables keep the extension that the owner gave them: a writer that still makes `.sst` (LevelDB before 1.14,
//! the Java port) does not look for `.ldb`, while C++ LevelDB and goleveldb read both. rusty-leveldb reads
//! `.ldb` only; it cannot open such a database before or after.

use std::cmp::Ordering;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::file_syncer::FileSyncer;
use super::staging_directory::{OccupiedTarget, StagedResult, StagingDirectory};
use super::tree::TargetAttributes;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::leveldb::comparator::Comparator;
use crate::leveldb::database_layout::{DatabaseLayout, TableExtension};
use crate::leveldb::file_name::{manifest_name, table_name};
use crate::leveldb::log_writer::append_record;
use crate::leveldb::new_version::restored_version;
use crate::leveldb::table_builder::{FinishedTable, restored_sequence};
use crate::leveldb::version::{TableMeta, VersionEdit};

/// A database being written.
#[derive(Debug)]
pub struct DatabaseTarget {
    /// Before the stage: dropped, it has stopped before the files go.
    syncer: FileSyncer,
    stage: StagingDirectory,
    comparator: Comparator,
    shape: DatabaseLayout,
    tables: Mutex<Vec<TableMeta>>,
}

impl DatabaseTarget {
    /// Begins a database at `target`, which must be absent or an empty directory; missing directories above it
    /// are made. Nothing is seen at `target` until the result is published.
    ///
    /// # Errors
    /// Those of [`super::check_target_free`], and what the operating system says.
    pub fn create(target: &Path, shape: &DatabaseLayout, comparator: &Comparator) -> Result<Self> {
        Self::begin(target, OccupiedTarget::Refuse, shape, comparator)
    }

    /// [`DatabaseTarget::create`] where a closed database may stand, if `occupied` says so.
    pub fn begin(
        target: &Path,
        occupied: OccupiedTarget,
        shape: &DatabaseLayout,
        comparator: &Comparator,
    ) -> Result<Self> {
        let stage = StagingDirectory::create(target, occupied)
            .context(|| format!("restore to {}", target.display()))?;
        Ok(Self {
            stage,
            comparator: comparator.clone(),
            shape: shape.clone(),
            tables: Mutex::new(Vec::new()),
            syncer: FileSyncer::start()?,
        })
    }

    /// What the files that are made from now on get.
    pub fn set_file_attributes(&mut self, files: TargetAttributes) {
        self.stage.set_file_attributes(files);
    }

    #[cfg(any(test, feature = "test-util"))]
    /// Where the files stand until they are published.
    pub fn stage_path(&self) -> &Path {
        self.stage.path()
    }

    /// Writes one table. May be called from several threads at once, in any order; `number` must be used once
    /// and be at least 1.
    pub fn write_table(&self, number: u64, table: &FinishedTable) -> Result<()> {
        let extension = self.shape.table_extension;
        let meta = write_table(&self.stage, &self.syncer, number, extension, table)?;
        locked(&self.tables).push(meta);
        Ok(())
    }

    /// Syncs the tables, writes MANIFEST and CURRENT: the stage now holds a whole, durable database.
    pub fn finish(self) -> Result<StagedResult> {
        let mut tables = std::mem::take(&mut *locked(&self.tables));
        sort_by_keys(&self.comparator, &mut tables);
        check_disjoint(&self.comparator, &tables)?;
        let number = tables.iter().map(|table| table.number).max().unwrap_or(0) + 1;
        let version = restored_version(
            &self.comparator,
            number + 1,
            restored_sequence(&self.shape),
            tables,
        );
        self.syncer.finish()?;
        write_manifest(&self.stage, number, &version)?;
        write_current(&self.stage, number)?;
        Ok(StagedResult::new(self.stage))
    }
}

/// Writes a table's file and hands it to be synced; what the MANIFEST is to say of it.
pub(super) fn write_table(
    stage: &StagingDirectory,
    syncer: &FileSyncer,
    number: u64,
    extension: TableExtension,
    table: &FinishedTable,
) -> Result<TableMeta> {
    let name = table_name(number, extension);
    let mut file = stage.create_file(&name)?;
    file.write_all(&table.bytes)
        .context(|| format!("write {} bytes to {name}", table.bytes.len()))?;
    syncer.sync(name, file, None)?;
    Ok(TableMeta {
        number,
        size: table.bytes.len() as u64,
        smallest: table.smallest.clone(),
        largest: table.largest.clone(),
    })
}

pub(super) fn write_manifest(stage: &StagingDirectory, number: u64, version: &VersionEdit) -> Result<()> {
    let (mut record, mut manifest) = (Vec::new(), Vec::new());
    version.encode(&mut record);
    append_record(&mut manifest, &record);
    write_synced(stage, &manifest_name(number), &manifest)?;
    stage.sync_directory()
}

pub(super) fn write_current(stage: &StagingDirectory, manifest: u64) -> Result<()> {
    let temporary = format!("{manifest:06}.dbtmp");
    write_synced(
        stage,
        &temporary,
        format!("{}\n", manifest_name(manifest)).as_bytes(),
    )?;
    let directory = stage.directory_file();
    rustix::fs::renameat(directory, &temporary, directory, "CURRENT")
        .map_err(std::io::Error::from)
        .context(|| "rename to CURRENT")?;
    stage.sync_directory()
}

pub(super) fn write_synced(stage: &StagingDirectory, name: &str, bytes: &[u8]) -> Result<()> {
    let mut file = stage.create_file(name)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_data())
        .context(|| format!("write {name}"))
}

/// By their keys where the order of keys is known; else numbers must grow with the keys.
fn sort_by_keys(comparator: &Comparator, tables: &mut [TableMeta]) {
    match comparator {
        Comparator::Unknown(_) => tables.sort_by_key(|table| table.number),
        known => {
            tables.sort_by(|left, right| known.compare(left.smallest_user_key(), right.smallest_user_key()))
        }
    }
}

/// Tables on one level must not overlap, or lookups would find old keys or none: a caller's error, caught
/// before anybody opens the result.
fn check_disjoint(comparator: &Comparator, tables: &[TableMeta]) -> Result<()> {
    for pair in tables.windows(2) {
        let (before, after) = (pair[0].largest_user_key(), pair[1].smallest_user_key());
        let is_apart = match comparator {
            Comparator::Unknown(_) => true,
            known => known.compare(before, after) == Ordering::Less,
        };
        if !is_apart {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("tables {} and {} overlap", pair[0].number, pair[1].number),
            ));
        }
    }
    Ok(())
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
