//! Proves that captured files were not written to while read.
//!
//! LevelDB never writes to a finished table, and to a log or MANIFEST only behind what is there. Others do: a copy over
//! the database goes onto the same inodes. So what was read counts only if, behind the last read,
//! - each table's inode has the length and the times that it had when it was held. Losing a name, as when the owner
//!   deletes the table, changes the time of change as well: then what was read of it is read again and compared;
//! - each log, as far as the cut, has the records that it had when its end was found;
//! - the MANIFEST, as far as it was read, leads to the same version.
//!
//! A file that was written to before it was held is another matter: the capture's own steps see to that.

use rayon::prelude::*;

use super::file_set::{FileSet, HeldBytes, HeldLog, HeldTable};
use super::walk::FileFingerprint;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::leveldb::file_name::{log_name, table_name};
use crate::leveldb::log_cut_point::LogContinuity;
use crate::leveldb::manifest::version_of_manifest;
use crate::leveldb::version::Version;

impl FileSet {
    /// Proves that nothing was written to since it was held.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`], with the name of the first file that was.
    pub fn prove_unchanged(&self, version: &Version) -> Result<()> {
        let tables: Vec<_> = self.tables.iter().collect();
        tables.into_par_iter().try_for_each(|(number, table)| {
            let name = || table_name(*number, table.extension);
            changed_error_unless(table.is_unchanged(), name)
        })?;
        for (number, log) in &self.logs {
            changed_error_unless(self.has_same_log_records(*number, log), || log_name(*number))?;
        }
        changed_error_unless(self.manifest_yields(version), || self.manifest.name.clone())
    }

    fn has_same_log_records(&self, number: u64, log: &HeldLog) -> Result<bool> {
        let Some(proof) = &log.proof else {
            return Ok(true);
        };
        if fingerprint_of(&log.held)?.is_some_and(|now| now.has_same_content(&proof.fingerprint)) {
            return Ok(true);
        }
        let log = self.open_log_of(number)?;
        Ok(LogContinuity::new(0).read(log.as_ref()).content == proof.content)
    }

    fn manifest_yields(&self, version: &Version) -> Result<bool> {
        let Some(then) = &self.manifest_fingerprint else {
            return Ok(true);
        };
        let now = FileFingerprint::of(&self.manifest.metadata()?);
        if now.has_same_content_but_links(then) {
            return Ok(true);
        }
        let read = version_of_manifest(self.manifest.open()?.as_ref());
        Ok(read.is_ok_and(|now| now == *version))
    }
}

impl HeldTable {
    fn is_unchanged(&self) -> Result<bool> {
        let Some(then) = &self.fingerprint else {
            return Ok(true);
        };
        match fingerprint_of(&self.held)? {
            None => Ok(true),
            Some(now) if now.has_same_content(then) => Ok(true),
            Some(now) if now.has_same_content_but_links(then) => self
                .read_ranges
                .matches_file(self.open_unrecorded(true)?.as_ref()),
            Some(_) => Ok(false),
        }
    }
}

/// The file as it is now; `None` for bytes in memory.
pub(super) fn fingerprint_of(held: &HeldBytes) -> Result<Option<FileFingerprint>> {
    match held {
        HeldBytes::ByName(named) => named.fingerprint().map(Some),
        HeldBytes::Descriptor(file) => {
            let facts = file.metadata().context(|| "look at an open file")?;
            Ok(Some(FileFingerprint::of(&facts)))
        }
        HeldBytes::InMemory(_) => Ok(None),
    }
}

fn changed_error_unless(unchanged: Result<bool>, name: impl Fn() -> String) -> Result<()> {
    if unchanged.context(|| format!("look at {} again", name()))? {
        return Ok(());
    }
    let what = format!(
        "{} was written to or replaced while the database was read",
        name()
    );
    Err(Error::new(ErrorKind::Changed, what))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::leveldb::TableExtension;

    #[test]
    fn a_table_that_was_written_over_with_its_times_and_deleted_is_not_what_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("000005.ldb");
        for (is_written_over, is_read) in [(false, true), (true, true), (true, false)] {
            fs::write(&path, [1; 100]).unwrap();
            let file = fs::File::open(&path).unwrap();
            let facts = file.metadata().unwrap();
            let table = HeldTable {
                extension: TableExtension::Ldb,
                len: 100,
                held: HeldBytes::Descriptor(Arc::new(file)),
                fingerprint: Some(FileFingerprint::of(&facts)),
                read_ranges: Arc::default(),
            };
            if is_read {
                table.open(true).unwrap().read_at(&mut [0; 50], 20).unwrap();
            }
            // Longer than clocks that times of change are taken from stand still.
            std::thread::sleep(Duration::from_millis(11));
            if is_written_over {
                fs::write(&path, [2; 100]).unwrap();
                let file = fs::File::options().write(true).open(&path).unwrap();
                file.set_modified(facts.modified().unwrap()).unwrap();
            }
            fs::remove_file(&path).unwrap();
            assert_eq!(table.is_unchanged().unwrap(), !(is_written_over && is_read));
        }
    }
}
