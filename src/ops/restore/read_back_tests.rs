//! Goal: stretches read on all cores prove what a scan of the whole proves, and nothing else. Method: small databases with every
//! byte of every file changed in turn, and files that are exchanged, missing, cut short, or more than one row; the scan of
//! the whole is the judge.

use std::path::Path;
use std::sync::Arc;

use super::super::verify_database::{DatabaseComparison, ExpectedDatabase};
use super::super::{Restore, table_writer};
use super::*;
use crate::engine::read_records::RecordQuery;
use crate::error::ErrorKind;
use crate::keys::{Password, SlotCost};
use crate::leveldb::test_databases::{MemoryFiles, WriteOp, op};
use crate::leveldb::{BlockCodec, Comparator};
use crate::ops::backup::{Backup, PinMode};
use crate::record::element_len;
use crate::repo::{NewRepository, Repo, RepoSettings};
use crate::storage::MemoryStorage;
use crate::target::DatabaseTarget;

const KEY: [u8; 32] = [7; 32];

/// A database of several tables on one level, and what is expected of it.
struct ReadBackScene {
    files: MemoryFiles,
    bytes: TableStreamBytes,
    records: u64,
}

impl ReadBackScene {
    fn new(tables: u64, values: usize) -> Self {
        let (mut files, mut bytes, mut records) = (
            MemoryFiles::new(&Comparator::Bytewise),
            TableStreamBytes::default(),
            0,
        );
        for table in 0..tables {
            let ops: Vec<WriteOp> = (0..6)
                .map(|n| {
                    op(
                        format!("{table:03}{n}").as_bytes(),
                        9,
                        Some(&vec![n; values + table as usize]),
                    )
                })
                .collect();
            // Numbers that do not go with the keys: whoever wrote first.
            let number = 100 - table;
            files.add_table(1, number, &ops, 3, BlockCodec::Snappy);
            let element = element_len(4, values + table as usize) as u64;
            bytes.tables.insert(number, 6 * element);
            records += 6;
        }
        files.edit.last_sequence = Some(9);
        Self {
            files,
            bytes,
            records,
        }
    }

    fn expected(&self, reading: &ReadBackContext, dir: &Path) -> ExpectedDatabase {
        self.files.write_to(dir);
        let mut whole = reading.begin_at(0);
        let outcome = Database::open(dir).unwrap().scan(&mut whole).unwrap();
        assert!(outcome.damage.is_empty() && whole.records == self.records);
        ExpectedDatabase::of(self.records, whole.digest().unwrap()).in_tables(self.bytes.clone())
    }
}

fn reading(by_stream: bool, report: &OperationReport) -> ReadBackContext<'_> {
    ReadBackContext {
        by_stream,
        set_digest_key: &KEY,
        report,
    }
}

/// Whether it is the same: by its stretches, and by a scan of the whole.
fn verdicts(
    reading: &ReadBackContext,
    expected: &ExpectedDatabase,
    bytes: &TableStreamBytes,
    dir: &Path,
) -> (bool, bool) {
    let Ok(database) = Database::open(dir) else {
        return (false, false);
    };
    let is_same = |read: &ReadBackAccumulator| matches!(expected.compare(read), DatabaseComparison::Same);
    let stretches = reading.read_partitions(&database, bytes).unwrap();
    let mut whole = reading.begin_at(0);
    let scanned = database.scan(&mut whole);
    let is_whole = scanned.is_ok_and(|outcome| outcome.damage.is_empty());
    (
        stretches.as_ref().is_some_and(is_same),
        is_whole && is_same(&whole),
    )
}

fn both(check: impl Fn(&ReadBackContext)) {
    let report = OperationReport::default();
    check(&reading(true, &report));
    check(&reading(false, &report));
}

#[test]
fn a_sound_database_is_proven_by_its_parts_alone() {
    both(|reading| {
        for (tables, values) in [(0, 0), (1, 10), (2, 10), (40, 10), (7, 50_000)] {
            let (scene, dir) = (ReadBackScene::new(tables, values), tempfile::tempdir().unwrap());
            let expected = scene.expected(reading, dir.path());
            let verdicts = verdicts(reading, &expected, &scene.bytes, dir.path());
            assert_eq!(verdicts, (true, true), "{tables} tables");
        }
    });
}

#[test]
fn a_change_of_any_byte_is_found_by_the_parts_as_by_the_whole() {
    both(|reading| {
        let (scene, dir) = (ReadBackScene::new(5, 30), tempfile::tempdir().unwrap());
        let expected = scene.expected(reading, dir.path());
        let (mut changed, mut found) = (0, 0);
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            let right = std::fs::read(&path).unwrap();
            for at in 0..right.len() {
                let mut wrong = right.clone();
                wrong[at] ^= 1 << (at % 8);
                std::fs::write(&path, &wrong).unwrap();
                let (stretches, whole) = verdicts(reading, &expected, &scene.bytes, dir.path());
                assert_eq!(stretches, whole, "{}: {at}", path.display());
                changed += 1;
                found += u32::from(!whole);
            }
            std::fs::write(&path, right).unwrap();
        }
        // What is left is the room in footers, and numbers of the MANIFEST that no record depends on.
        assert!(
            changed > 1000 && changed - found < changed / 5,
            "{found} of {changed}"
        );
    });
}

#[test]
fn files_that_are_exchanged_missing_or_cut_short_are_found() {
    let wrongs: [fn(&mut MemoryFiles); 5] = [
        |files| {
            let mut values = files.tables.values_mut();
            let (first, last) = (values.next().unwrap(), values.next_back().unwrap());
            std::mem::swap(first, last);
        },
        |files| {
            // The MANIFEST exchanges them too: only their keys' ranges tell.
            let ranges: Vec<_> = files
                .edit
                .added
                .iter()
                .map(|(_, meta)| (meta.smallest.clone(), meta.largest.clone()))
                .collect();
            for ((_, meta), range) in files.edit.added.iter_mut().zip(ranges.iter().rev()) {
                (meta.smallest, meta.largest) = range.clone();
            }
        },
        |files| {
            files.tables.pop_first();
        },
        |files| {
            files.edit.added.remove(1);
        },
        |files| {
            files
                .tables
                .values_mut()
                .for_each(|table| table.truncate(table.len() - 1));
        },
    ];
    both(|reading| {
        for (number, wrong) in wrongs.iter().enumerate() {
            let (mut scene, dir) = (ReadBackScene::new(4, 30), tempfile::tempdir().unwrap());
            let expected = scene.expected(reading, dir.path());
            let wrong_dir = tempfile::tempdir().unwrap();
            wrong(&mut scene.files);
            scene.files.write_to(wrong_dir.path());
            let verdicts = verdicts(reading, &expected, &scene.bytes, wrong_dir.path());
            assert_eq!(verdicts, (false, false), "wrong {number}");
        }
    });
}

#[test]
fn what_is_more_than_one_row_of_tables_is_left_to_the_whole() {
    let one = |key: &str, sequence| vec![op(key.as_bytes(), sequence, Some(b"other"))];
    let more: [fn(&mut MemoryFiles, Vec<WriteOp>); 5] = [
        |files, ops| files.add_log(200, [&ops[..]]),
        |files, ops| files.add_table(0, 200, &ops, 1, BlockCodec::None),
        |files, ops| files.add_table(2, 200, &ops, 1, BlockCodec::None),
        // Within a table of its own level.
        |files, ops| files.add_table(1, 200, &ops, 1, BlockCodec::None),
        |files, _| files.logs.insert(200, vec![1; 40]).map_or((), drop),
    ];
    for (number, add) in more.iter().enumerate() {
        let (mut scene, dir) = (ReadBackScene::new(3, 10), tempfile::tempdir().unwrap());
        add(&mut scene.files, one("0013", 12));
        scene.files.write_to(dir.path());
        let database = Database::open(dir.path()).unwrap();
        assert!(database.disjoint_tables().is_none(), "more {number}");
    }
    // An older entry of the key that the table before ends with: apart by sequence, and yet one record.
    let (mut scene, dir) = (ReadBackScene::new(1, 10), tempfile::tempdir().unwrap());
    scene
        .files
        .add_table(1, 200, &one("0005", 3), 1, BlockCodec::None);
    scene.files.write_to(dir.path());
    let database = Database::open(dir.path()).unwrap();
    let outcome = database
        .scan(&mut reading(false, &OperationReport::default()).begin_at(0))
        .unwrap();
    assert!(outcome.damage.is_empty() && outcome.records == 6);
    assert!(database.disjoint_tables().is_none());
}

#[test]
fn a_stream_whose_parts_are_not_as_long_as_was_said_is_left_to_the_whole() {
    let report = OperationReport::default();
    let reading = reading(true, &report);
    let (scene, dir) = (ReadBackScene::new(9, 30), tempfile::tempdir().unwrap());
    let expected = scene.expected(&reading, dir.path());
    let mut said = scene.bytes.clone();
    *said.tables.get_mut(&97).unwrap() += 1;
    assert_eq!(verdicts(&reading, &expected, &said, dir.path()), (false, true));
    said.tables.remove(&97);
    assert_eq!(verdicts(&reading, &expected, &said, dir.path()), (false, true));
}

#[test]
fn records_too_long_for_a_thread_each_are_read_by_one() {
    both(|reading| {
        let (mut scene, dir) = (ReadBackScene::new(2, 30), tempfile::tempdir().unwrap());
        let expected = scene.expected(reading, dir.path());
        for (longest, by_stretches) in [
            (PARALLEL_RECORD_BYTES_MAX, true),
            (PARALLEL_RECORD_BYTES_MAX + 1, false),
        ] {
            scene.bytes.longest_record = longest;
            let verdicts = verdicts(reading, &expected, &scene.bytes, dir.path());
            assert_eq!(verdicts, (by_stretches, true));
        }
    });
}

#[test]
fn a_wish_to_stop_is_heard_while_parts_are_read() {
    let report = OperationReport::default();
    let reading = reading(false, &report);
    let dir = tempfile::tempdir().unwrap();
    let mut files = MemoryFiles::new(&Comparator::Bytewise);
    let ops: Vec<_> = (0..5000)
        .map(|n| op(format!("{n:05}").as_bytes(), 9, Some(b"v")))
        .collect();
    files.add_table(1, 7, &ops, 16, BlockCodec::Snappy);
    files.write_to(dir.path());
    let bytes = TableStreamBytes {
        tables: [(7, 5000 * 14)].into(),
        longest_record: 6,
    };
    report.stop();
    let stopped = reading.read_partitions(&Database::open(dir.path()).unwrap(), &bytes);
    assert_eq!(stopped.err().unwrap().kind(), ErrorKind::Interrupted);
}

#[test]
fn what_a_restore_writes_is_read_back_in_stretches() {
    let dir = tempfile::tempdir().unwrap();
    let (db, target) = (dir.path().join("db"), dir.path().join("back"));
    std::fs::create_dir(&db).unwrap();
    let value =
        |n: u32| (0..10).flat_map(move |at| *blake3::hash(&[n.to_le_bytes(), [at; 4]].concat()).as_bytes());
    let ops: Vec<_> = (0..3000)
        .map(|n| {
            op(
                format!("{n:05}").as_bytes(),
                9,
                Some(&value(n).collect::<Vec<_>>()),
            )
        })
        .collect();
    let mut files = MemoryFiles::new(&Comparator::Bytewise);
    files.add_table(1, 7, &ops, 16, BlockCodec::Snappy);
    files.write_to(&db);

    let new = NewRepository {
        cost: SlotCost::cheap(),
        ..NewRepository::default()
    };
    let password = Password::new(b"password".to_vec());
    let repo = Repo::create(
        Arc::new(MemoryStorage::default()),
        &password,
        new,
        RepoSettings::default(),
    )
    .unwrap();
    let report = OperationReport::default();
    let backup = Backup {
        databases: crate::ops::backup::DatabaseBackupOptions {
            pinning: PinMode::None,
            ..Default::default()
        },
        ..Backup::new(vec![db])
    };
    backup.run(&repo, &report).unwrap();
    let stored = repo.select("latest").unwrap();
    let restore = Restore::new(&target);
    let restored = restore.run_with_context(&repo, &stored, &report, |restoring| {
        let mut database = restoring.snapshot.databases().next().unwrap().clone();
        database.shape.table_bytes = 64 << 10;
        let order = Comparator::Bytewise;
        let staging = DatabaseTarget::create(&target, &database.shape, &order)?;
        let (reader, wish) = (restoring.reader, RecordQuery::default());
        let bytes = table_writer::write_tables(reader, &database, &wish, &staging, &order, &report)?;
        let staged = staging.finish()?;
        assert_eq!(bytes.longest_record, 325);
        assert!(
            bytes.tables.len() > 3
                && bytes.tables.len() == std::fs::read_dir(staged.path()).unwrap().count() - 2
        );
        let back = Database::open(staged.path())?;
        let read = reading(true, &report).read_partitions(&back, &bytes)?.unwrap();
        assert_eq!(read.records, 3000);
        assert_eq!(
            read.digest(),
            database.stream_digest.map(StreamOrSetDigest::Stream)
        );
        Ok(())
    });
    restored.unwrap();
}
