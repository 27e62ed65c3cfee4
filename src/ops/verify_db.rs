//! Verifies a database, live or closed, without a repository.
//!
//! `verify-db`: everything that is wrong with a database, live or closed. No repository is involved.

use std::path::Path;

use super::READ_ATTEMPTS_MAX;
use crate::engine::file_list_source::FileListSource;
use crate::error::{Error, ErrorKind, Result};
use crate::leveldb::scan_context::{ScanBudget, is_buffering};
use crate::leveldb::{Comparator, DatabaseLayout, Dialect};
use crate::report::OperationReport;
use crate::source::{CaptureOptions, CutPoint, Database, RecordSink, ScanOutcome, SourceDamage, detect};

/// How often a scan looks whether it is to stop, in records.
const STOP_CHECK_RECORDS: u64 = 4096;

/// What was read and found.
#[derive(Clone, Debug)]
pub struct VerifyOutcome {
    /// When and how its files were had; `None` when CURRENT or the MANIFEST cannot be read.
    pub capture_details: Option<CutPoint>,
    /// How it was known which files count.
    pub files: FileListSource,
    /// How its files are laid out.
    pub layout: DatabaseLayout,
    /// Why its records were not read: then tables and logs were checked one by one, what is not known was passed over, and
    /// nothing was compared between files. `None` if they were.
    pub unread: Option<String>,
    /// Counts, damage, and writes that were under way.
    pub scan: ScanOutcome,
}

impl VerifyOutcome {
    /// Who wrote it, as far as its files show.
    pub fn dialect(&self) -> Dialect {
        self.layout.dialect
    }

    /// True when nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.scan.damage.is_empty()
    }
}

/// Reads everything and checks everything: checksums of blocks and log records, the order of keys within and
/// between blocks, key ranges and sizes against the MANIFEST, overlap within levels, the run of sequence numbers. Where
/// CURRENT or the MANIFEST cannot be read, as much of it as can be had without them, and that is damage.
///
/// # Errors
/// Those of [`CaptureOptions::capture`], except damage, which is what this is for.
pub fn verify_db(directory: &Path, how: &CaptureOptions, report: &OperationReport) -> Result<VerifyOutcome> {
    detect(directory)?;
    for reading in 1.. {
        match verify_once(directory, how, report) {
            Err(error) if error.kind() == ErrorKind::Changed && reading < READ_ATTEMPTS_MAX => {
                report.notice(format!("begun again: {error}"));
            }
            result => return result,
        }
    }
    unreachable!("the last reading returns")
}

fn verify_once(directory: &Path, how: &CaptureOptions, report: &OperationReport) -> Result<VerifyOutcome> {
    match how.capture(directory) {
        Ok(captured) => {
            let database = Database::from_captured(captured, ScanBudget::default());
            let checked = verify_files(&database, FileListSource::Manifest, report);
            // What is wrong may be so because somebody wrote to it.
            database.prove_unchanged()?;
            checked
        }
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            verify_without_manifest(directory, &error, report)
        }
        Err(error) => Err(error),
    }
}

fn verify_files(
    database: &Database,
    files: FileListSource,
    report: &OperationReport,
) -> Result<VerifyOutcome> {
    report
        .bytes_total
        .add(database.files().map(|file| file.len).sum());
    let (scan, unread) = match &files {
        FileListSource::AllFiles(why) => (database.verify()?, Some(why.clone())),
        FileListSource::Manifest | FileListSource::NewestManifest(_) => {
            match database.scan(&mut CountingSink(report)) {
                Err(error) if is_buffering(error.kind()) => (database.verify()?, Some(error.to_string())),
                scanned => (scanned?, None),
            }
        }
    };
    Ok(VerifyOutcome {
        capture_details: database.capture_details().cloned(),
        files,
        layout: database.layout(),
        unread,
        scan,
    })
}

/// By the newest MANIFEST, or else each file by itself.
fn verify_without_manifest(
    directory: &Path,
    error: &Error,
    report: &OperationReport,
) -> Result<VerifyOutcome> {
    let mut found = vec![file_damage("CURRENT or MANIFEST", error.to_string())];
    let mut outcome = match Database::open_by_newest_manifest(directory) {
        Ok((database, name)) => verify_files(&database, FileListSource::NewestManifest(name), report)?,
        Err(why) => {
            let unknown = Comparator::Unknown(String::new());
            let (database, unreadable) = Database::open_all_files(directory, &unknown)?;
            let damaged = unreadable.iter().filter(|(_, error)| !is_buffering(error.kind()));
            found.extend(damaged.map(|(name, error)| file_damage(name, error.to_string())));
            let mut outcome = verify_files(&database, FileListSource::AllFiles(why.to_string()), report)?;
            // What the logs should begin with, only a MANIFEST says.
            let is_gap = |damage: &SourceDamage| damage.offset.is_none() && damage.sequences_lost.is_some();
            outcome.scan.damage.retain(|damage| !is_gap(damage));
            outcome
        }
    };
    found.append(&mut outcome.scan.damage);
    outcome.scan.damage = found;
    Ok(outcome)
}

fn file_damage(file: &str, what: String) -> SourceDamage {
    SourceDamage {
        file: file.to_owned(),
        offset: None,
        level: None,
        smallest: None,
        largest: None,
        sequences_lost: None,
        what,
    }
}

struct CountingSink<'a>(&'a OperationReport);

impl RecordSink for CountingSink<'_> {
    fn record(&mut self, key: &[u8], value: &[u8], _certain: bool) -> Result<()> {
        self.0.records.add(1);
        self.0.bytes_done.add((key.len() + value.len()) as u64);
        if self.0.records.get().is_multiple_of(STOP_CHECK_RECORDS) {
            self.0.go_on()
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::leveldb::test_databases::{MemoryFiles, op, recode};
    use crate::leveldb::{BlockCodec, Comparator};

    /// Two tables; the second's only block is broken if it is to be.
    fn write(directory: &Path, breaks: bool) -> MemoryFiles {
        let mut files = MemoryFiles::new(&Comparator::Bytewise);
        files.edit.last_sequence = Some(4);
        files.add_table(
            1,
            5,
            &[op(b"a", 1, Some(b"1")), op(b"b", 2, Some(b"2"))],
            2,
            BlockCodec::None,
        );
        files.add_table(
            1,
            6,
            &[op(b"c", 3, Some(b"3")), op(b"d", 4, Some(b"4"))],
            2,
            BlockCodec::None,
        );
        files.add_log(7, [&[op(b"e", 5, Some(b"5"))][..]]);
        if breaks {
            files.tables.get_mut(&6).unwrap()[14] ^= 1;
        }
        files.write_to(directory);
        files
    }

    fn verify(directory: &Path) -> VerifyOutcome {
        verify_db(directory, &CaptureOptions::default(), &OperationReport::default()).unwrap()
    }

    fn damaged(outcome: &VerifyOutcome) -> Vec<&str> {
        outcome
            .scan
            .damage
            .iter()
            .map(|damage| damage.file.as_str())
            .collect()
    }

    #[test]
    fn without_current_all_is_read_by_the_newest_manifest() {
        for current in [None, Some("MANIFEST-0000"), Some("MANIFEST-000009\n"), Some("")] {
            for breaks in [false, true] {
                let dir = tempfile::tempdir().unwrap();
                write(dir.path(), breaks);
                match current {
                    None => std::fs::remove_file(dir.path().join("CURRENT")).unwrap(),
                    Some(text) => std::fs::write(dir.path().join("CURRENT"), text).unwrap(),
                }
                let outcome = verify(dir.path());
                let table = breaks.then_some("000006.ldb");
                let expected: Vec<_> = ["CURRENT or MANIFEST"].into_iter().chain(table).collect();
                assert_eq!(damaged(&outcome), expected, "{current:?}");
                assert_eq!(
                    outcome.files,
                    FileListSource::NewestManifest("MANIFEST-000001".into())
                );
                assert_eq!((outcome.unread.as_ref(), outcome.scan.tables_read), (None, 2));
                assert_eq!(outcome.scan.records, if breaks { 3 } else { 5 });
                assert!(outcome.scan.bytes_read > 0);
            }
        }
    }

    #[test]
    fn without_a_manifest_each_file_is_checked_by_itself() {
        for breaks in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            write(dir.path(), breaks);
            std::fs::write(dir.path().join("MANIFEST-000001"), b"no log").unwrap();
            std::fs::write(dir.path().join("000008.ldb"), b"no table").unwrap();
            let outcome = verify(dir.path());
            let table = breaks.then_some("000006.ldb");
            let expected: Vec<_> = ["CURRENT or MANIFEST", "000008.ldb"]
                .into_iter()
                .chain(table)
                .collect();
            assert_eq!(damaged(&outcome), expected);
            assert!(outcome.unread.is_some() && matches!(outcome.files, FileListSource::AllFiles(_)));
            assert_eq!((outcome.scan.tables_read, outcome.scan.log_entries), (2, 1));
        }
    }

    #[test]
    fn what_is_not_known_is_said_and_is_no_damage() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = write(dir.path(), false);
        recode(files.tables.get_mut(&6).unwrap(), None, 5);
        files.write_to(dir.path());
        let outcome = verify(dir.path());
        assert!(outcome.is_sound() && outcome.unread.unwrap().contains("codec 5"));
        assert_eq!(outcome.scan.records, 0);
    }
}
