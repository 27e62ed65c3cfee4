//! Goal: whatever layout a database has and whatever state a snapshot holds, the one becomes the other exactly, and until
//! it is published nothing of it has changed. Method: databases of `source::delta_model`, a small LevelDB with all its
//! habits, live on after a snapshot, or are others altogether; then they are brought back. Two judges: our reader, which
//! merges by sequence number, and a lookup as LevelDB does it, table by table in the order of levels and numbers.
//!
//! LEVAULT_IN_PLACE_SEED=N runs the one life of that seed; LEVAULT_IN_PLACE_LIVES=N runs so many.

use super::super::overwrite_mode::OtherFilesPolicy;
use crate::ops::restore::tree::PatternOrigin;
use crate::pattern::SelectorChoice;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::{OverwriteMode, Restore};
use super::*;
use crate::codec::Reader;
use crate::error::ErrorKind;
use crate::keys::{Password, SlotCost};
use crate::leveldb::BlockCodec;
use crate::leveldb::block::BlockEntries;
use crate::leveldb::block_decompressor::Decompressor;
use crate::leveldb::internal_key::{compare_internal, tag};
use crate::leveldb::table_reader::{BlockHandle, Table, read_block};
use crate::leveldb::test_databases::{MemoryFiles, WriteOp, op};
use crate::leveldb::version::user_key;
use crate::ops::backup::{Backup, PinMode};

use crate::repo::{NewRepository, Repo, RepoSettings, StoredSnapshot};
use crate::report::OperationReport;
use crate::source::RecordSink;
use crate::source::delta_model::engine::{ModelEngine, ModelState, VisibleRecords};
use crate::storage::MemoryStorage;

const DATABASE_LIVES: u64 = 200;

type RecordModel = BTreeMap<Vec<u8>, Vec<u8>>;

struct InPlaceBench {
    repo: Repo,
    dir: tempfile::TempDir,
}

impl InPlaceBench {
    fn new() -> Self {
        let new = NewRepository {
            cost: SlotCost::cheap(),
            ..NewRepository::default()
        };
        let password = Password::new(b"password".to_vec());
        let storage = Arc::new(MemoryStorage::default());
        Self {
            repo: Repo::create(storage, &password, new, RepoSettings::default()).unwrap(),
            dir: tempfile::tempdir_in("/dev/shm")
                .or_else(|_| tempfile::tempdir())
                .unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn save(&self, db: &Path) -> StoredSnapshot {
        let backup = Backup {
            databases: crate::ops::backup::DatabaseBackupOptions {
                pinning: PinMode::None,
                ..Default::default()
            },
            ..Backup::new(vec![db.to_owned()])
        };
        let outcome = backup.run(&self.repo, &OperationReport::default()).unwrap();
        self.repo.select(&outcome.snapshot.unwrap().to_hex()).unwrap()
    }

    fn save_state(&self, state: &ModelState) -> StoredSnapshot {
        let db = self.path("saved");
        state.write_to(&db);
        let stored = self.save(&db);
        std::fs::remove_dir_all(&db).unwrap();
        stored
    }

    /// Stages in place, with any amount of differences.
    fn stage(
        &self,
        stored: &StoredSnapshot,
        target: &Path,
    ) -> Result<Option<(StagedResult, InPlaceOutcome)>> {
        let database = stored.snapshot.databases().next().unwrap();
        let mut staged = None;
        over(target).run_with_context(&self.repo, stored, &OperationReport::default(), |restoring| {
            staged = restoring.stage_in_place(&step(database, target), OccupiedTarget::Replace, u64::MAX)?;
            Ok(())
        })?;
        Ok(staged)
    }

    fn beside(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.dir.path()).unwrap();
        names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with('.'))
            .collect()
    }
}

/// A database that is restored by itself.
fn step<'s>(root: &'s DatabaseRoot, target: &Path) -> DatabaseRestore<'s> {
    DatabaseRestore {
        top_source: 0,
        number: 0,
        root,
        target: target.to_owned(),
        display_path: target.to_owned(),
        attributes: None,
        other_files: OtherFilesPolicy::Refuse,
        pattern_origin: PatternOrigin::default(),
        choice: SelectorChoice::Take,
        nesting: 0,
    }
}

fn over(target: &Path) -> Restore {
    Restore {
        overwrite: OverwriteMode::IfChanged,
        ..Restore::new(target)
    }
}

fn model(visible: &VisibleRecords) -> RecordModel {
    visible.values().cloned().collect()
}

fn scan(db: &Path) -> RecordModel {
    struct ModelSink(RecordModel);
    impl RecordSink for ModelSink {
        fn record(&mut self, key: &[u8], value: &[u8], certain: bool) -> Result<()> {
            assert!(certain && self.0.insert(key.to_vec(), value.to_vec()).is_none());
            Ok(())
        }
    }
    let mut sink = ModelSink(RecordModel::new());
    let outcome = Database::open(db).unwrap().scan(&mut sink).unwrap();
    assert_eq!(outcome.damage, vec![]);
    sink.0
}

/// What LevelDB's Get finds: the first table that has the key at all decides. Only for databases without log records.
fn look_up_all(db: &Path) -> RecordModel {
    let database = Database::open(db).unwrap();
    assert_eq!(database.log_entries(), 0);
    let order = database.comparator();
    let mut tables: Vec<_> = database.version().tables.iter().collect();
    tables.sort_by(|((level, number), meta), ((other_level, other_number), other)| {
        level.cmp(other_level).then_with(|| match level {
            0 => other_number.cmp(number),
            _ => compare_internal(order, &meta.smallest, &other.smallest),
        })
    });
    let mut decided: Vec<Vec<u8>> = Vec::new();
    let mut found = RecordModel::new();
    for ((_, number), meta) in tables {
        let entries = entries(&std::fs::read(db.join(format!("{number:06}.ldb"))).unwrap());
        assert!(
            entries
                .windows(2)
                .all(|pair| compare_internal(order, &pair[0].0, &pair[1].0).is_lt())
        );
        assert_eq!(
            (&entries[0].0, &entries[entries.len() - 1].0),
            (&meta.smallest, &meta.largest)
        );
        for (key, value) in entries {
            match decided.binary_search_by(|known| order.compare(known, user_key(&key))) {
                Ok(_) => {}
                Err(place) => {
                    decided.insert(place, user_key(&key).to_vec());
                    if tag(&key) & 1 == 1 {
                        found.insert(user_key(&key).to_vec(), value);
                    }
                }
            }
        }
    }
    found
}

fn first_difference<'m>(
    found: &'m RecordModel,
    expected: &'m RecordModel,
) -> Option<(&'m Vec<u8>, Option<&'m Vec<u8>>)> {
    let keys = found.keys().chain(expected.keys());
    let differs = |key: &&Vec<u8>| found.get(*key) != expected.get(*key);
    keys.map(|key| (key, found.get(key)))
        .find(|(key, _)| differs(key))
}

fn entries(bytes: &Vec<u8>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut decompressor = Decompressor::default();
    let table = Table::open(bytes, bytes.len() as u64, &mut decompressor).unwrap();
    let mut index = BlockEntries::new(&table.index).unwrap();
    let mut all = Vec::new();
    while let Some((_, handle)) = index.next().unwrap() {
        let handle = BlockHandle::read(&mut Reader::new(handle)).unwrap();
        let (_, plain) = read_block(bytes, handle, table.data_end, &mut decompressor).unwrap();
        let mut entries = BlockEntries::new(&plain).unwrap();
        while let Some((key, value)) = entries.next().unwrap() {
            all.push((key.to_vec(), value.to_vec()));
        }
    }
    all
}

/// Every file with its bytes, its inode and when it was written.
fn facts(db: &Path) -> BTreeMap<PathBuf, (Vec<u8>, u64, i64)> {
    let entries = std::fs::read_dir(db).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.file_name().is_some_and(|name| name != "LOCK"))
        .map(|path| {
            let metadata = std::fs::metadata(&path).unwrap();
            let written = metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec();
            (
                path.clone(),
                (std::fs::read(&path).unwrap(), metadata.ino(), written),
            )
        })
        .collect()
}

#[derive(Debug, Default)]
struct InPlaceCounters {
    in_place: u64,
    whole: u64,
    from_logs: u64,
    deletions: u64,
    emptied: u64,
    filled: u64,
    idb: u64,
    long_values: u64,
}

fn live(bench: &InPlaceBench, seed: u64, counters: &mut InPlaceCounters) {
    let mut engine = ModelEngine::new(seed);
    let early = engine.random.below(120);
    for _ in 0..early {
        engine.step();
    }
    let expected = model(&engine.visible);
    let stored = bench.save_state(&engine.state);
    let begins_anew = engine.random.chance(15);
    if begins_anew {
        let order = engine.state.order.clone();
        engine.state = ModelState::new(&order);
        engine.visible = VisibleRecords::new();
    }
    let late = if begins_anew && engine.random.chance(50) {
        0
    } else {
        engine.random.below(60)
    };
    for _ in 0..late {
        engine.step();
    }
    let target = bench.path("target");
    engine.state.write_to(&target);
    let before = model(&engine.visible);
    assert!(
        scan(&target) == before,
        "seed {seed}: the model writes what it says"
    );
    println!("seed {seed}");
    bring_back(
        bench,
        &stored,
        &target,
        &expected,
        !engine.state.was_repaired,
        counters,
    )
    .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    counters.idb += u64::from(engine.state.order == Comparator::Idb);
    counters.from_logs += u64::from(engine.state.logs.values().any(|log| !log.is_empty()));
    counters.emptied += u64::from(expected.is_empty() && !before.is_empty());
    counters.filled += u64::from(before.is_empty() && !expected.is_empty());
    counters.long_values += u64::from(expected.values().any(|value| value.len() > 65536));
    std::fs::remove_dir_all(&target).unwrap();
}

fn bring_back(
    bench: &InPlaceBench,
    stored: &StoredSnapshot,
    target: &Path,
    expected: &RecordModel,
    can_look_up: bool,
    counters: &mut InPlaceCounters,
) -> Result<()> {
    let before = facts(target);
    if let Some((staged, rewritten)) = bench.stage(stored, target)? {
        assert!(facts(target) == before, "not changed before it is published");
        assert!(scan(staged.path()) == *expected, "as our reader merges it");
        let found = look_up_all(staged.path());
        assert!(
            !can_look_up || found == *expected,
            "as LevelDB looks keys up: {:?}",
            first_difference(&found, expected)
        );
        drop(staged);
        assert!(facts(target) == before, "nor by a stage that was thrown away");
        assert_eq!(bench.beside(), [""; 0]);
        let (staged, _) = bench.stage(stored, target)?.expect("as before");
        staged.publish()?;
        assert!(scan(target) == *expected);
        counters.in_place += 1;
        counters.deletions += rewritten.deletions;
    } else {
        counters.whole += 1;
    }
    let outcome = over(target).run(&bench.repo, stored, &OperationReport::default())?;
    assert!(outcome.databases[0].verified);
    assert!(
        scan(target) == *expected,
        "by whichever way a user's restore goes"
    );
    assert_eq!(bench.beside(), [""; 0]);
    Ok(())
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn any_database_becomes_any_snapshot_exactly() {
    let mut counters = InPlaceCounters::default();
    if let Some(seed) = number("LEVAULT_IN_PLACE_SEED") {
        return live(&InPlaceBench::new(), seed, &mut counters);
    }
    let lives = number("LEVAULT_IN_PLACE_LIVES").unwrap_or(DATABASE_LIVES);
    let mut bench = InPlaceBench::new();
    for seed in 0..lives {
        if seed % DATABASE_LIVES == 0 {
            bench = InPlaceBench::new();
        }
        live(&bench, seed, &mut counters);
    }
    println!("{counters:?}");
    if lives >= DATABASE_LIVES {
        assert!(
            counters.in_place > lives / 2 && counters.whole > 5,
            "{counters:?}"
        );
        assert!(
            counters.from_logs > 20 && counters.deletions > 100,
            "{counters:?}"
        );
        assert!(counters.emptied > 1 && counters.filled > 3, "{counters:?}");
        assert!(counters.idb > 30 && counters.long_values > 5, "{counters:?}");
    }
}

#[test]
fn what_reads_back_wrong_leaves_the_old_database_as_it_was() {
    let bench = InPlaceBench::new();
    let order = Comparator::Bytewise;
    let ops: Vec<WriteOp> = (0..100)
        .map(|n| op(format!("{n:03}").as_bytes(), 500 + n, Some(b"early")))
        .collect();
    let stored =
        bench.save_state(&ModelState::new(&order).with_tables(1, vec![(ops.clone(), 4, BlockCodec::Snappy)]));
    let target = bench.path("target");
    std::fs::create_dir(&target).unwrap();
    let mut files = MemoryFiles::new(&order);
    let mut changed = ops;
    changed[50] = op(b"050", 900, Some(b"late"));
    files.add_table(1, 7, &changed, 4, BlockCodec::Snappy);
    // Its owner's error: the MANIFEST forgets the newest entries, so what is written above them does not hide them.
    files.edit.last_sequence = Some(10);
    files.write_to(&target);
    let before = facts(&target);
    let error = over(&target)
        .run(&bench.repo, &stored, &OperationReport::default())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch, "{error}");
    assert!(facts(&target) == before);
    assert_eq!(bench.beside(), [""; 0]);
}

#[test]
fn a_wish_to_stop_is_heard_and_leaves_the_old_database_as_it_was() {
    let bench = InPlaceBench::new();
    let order = Comparator::Bytewise;
    let ops: Vec<WriteOp> = (0..100)
        .map(|n| op(format!("{n:03}").as_bytes(), 500 + n, Some(b"early")))
        .collect();
    let mut changed = ops.clone();
    changed[50] = op(b"050", 900, Some(b"late"));
    let stored =
        bench.save_state(&ModelState::new(&order).with_tables(1, vec![(ops, 4, BlockCodec::Snappy)]));
    let target = bench.path("target");
    ModelState::new(&order)
        .with_tables(1, vec![(changed, 4, BlockCodec::Snappy)])
        .write_to(&target);
    let before = facts(&target);
    let report = OperationReport::default();
    report.stop();
    let database = stored.snapshot.databases().next().unwrap();
    let stopped = over(&target).run_with_context(&bench.repo, &stored, &report, |restoring| {
        restoring
            .stage_in_place(&step(database, &target), OccupiedTarget::Replace, u64::MAX)
            .map(drop)
    });
    assert_eq!(stopped.err().unwrap().kind(), ErrorKind::Interrupted);
    assert!(facts(&target) == before);
    assert_eq!(bench.beside(), [""; 0]);
}
