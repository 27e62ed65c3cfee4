//! `restore --overwrite if-changed` on a database that stands there: what is written goes with what differs, whatever
//! stops it leaves the old database as it was, and other LevelDBs take the result over.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod common;
mod support;

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use common::{Model, fill, key, restore_over, scan, value, write};
use levault::error::{ErrorKind, Result};
use levault::ops::restore::DatabaseRestoreOutcome;
use levault::repo::Repo;
use levault::source::Database;
use levault::storage::faulty_storage::{FaultyStorage, InjectedFault};
use levault::storage::{MemoryStorage, Storage};
use rusty_leveldb::{DB, LdbIterator, Options};
use serde_json::json;
use support::oracle::{Operation, Oracle, python};
use support::tool::{Ended, Tool, files_below};
use tempfile::TempDir;

fn over(repo: &Repo, target: &Path) -> Result<DatabaseRestoreOutcome> {
    restore_over(repo, "latest", target)
}

/// A saved database, and the same with changes since.
struct Scene {
    dir: TempDir,
    db: PathBuf,
    storage: Arc<MemoryStorage>,
    repo: Repo,
    saved: Model,
}

impl Scene {
    fn new(records: u32, value_len: usize) -> Self {
        let dir = support::memory();
        let db = dir.path().join("db");
        let saved = fill(&db, records, value_len);
        Self::of(dir, db, saved)
    }

    fn of(dir: TempDir, db: PathBuf, saved: Model) -> Self {
        let storage = Arc::new(MemoryStorage::default());
        let repo = common::create(storage.clone()).unwrap();
        common::backup(&repo, &db).unwrap();
        Self {
            dir,
            db,
            storage,
            repo,
            saved,
        }
    }

    /// Some of each: changed, deleted and added.
    fn change(&self, count: u32) {
        let changed = (0..count).map(|i| (key(7 * i), Some(value(i + 1_000_000, 90))));
        let deleted = (0..count).map(|i| (key(7 * i + 1), None));
        let added = (0..count).map(|i| (format!("new/{i}").into_bytes(), Some(vec![b'n'; 20])));
        write(&self.db, &changed.chain(deleted).chain(added).collect::<Vec<_>>());
    }

    fn beside(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.dir.path()).unwrap();
        names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains(".levault-restore-"))
            .collect()
    }
}

fn inodes(db: &Path) -> HashSet<u64> {
    let files = std::fs::read_dir(db).unwrap();
    files
        .map(|entry| entry.unwrap().metadata().unwrap().ino())
        .collect()
}

/// Bytes of the files that are not among `old`.
fn bytes_new(db: &Path, old: &HashSet<u64>) -> u64 {
    let files = std::fs::read_dir(db).unwrap();
    files
        .map(|entry| entry.unwrap().metadata().unwrap())
        .filter(|metadata| !old.contains(&metadata.ino()))
        .map(|metadata| metadata.len())
        .sum()
}

#[test]
fn the_bytes_written_go_with_the_difference() {
    let scene = Scene::new(40_000, 200);
    let whole: u64 = files_below(&scene.db)
        .iter()
        .map(|(_, bytes)| bytes.len() as u64)
        .sum();
    // Its log, as it was filled, is written with the first.
    scene.change(1);
    over(&scene.repo, &scene.db).unwrap();
    let mut written = BTreeMap::new();
    for count in [1, 100, 1000] {
        scene.change(count);
        // What rusty-leveldb did not compact away is in the old files; nothing of it is written again.
        let old = inodes(&scene.db);
        let outcome = over(&scene.repo, &scene.db).unwrap();
        let rewritten = outcome.rewritten.expect("in place");
        assert!(outcome.verified && !outcome.unchanged);
        let count = u64::from(count);
        assert_eq!((rewritten.puts, rewritten.deletions), (2 * count, count));
        assert!(scan(&scene.db).unwrap() == scene.saved);
        let new = bytes_new(&scene.db, &old);
        assert!(
            new >= rewritten.bytes_written && new < rewritten.bytes_written + 20_000,
            "MANIFEST and CURRENT"
        );
        assert!(rewritten.bytes_linked > whole / 2);
        written.insert(count, rewritten.bytes_written);
        assert!(over(&scene.repo, &scene.db).unwrap().unchanged);
    }
    assert!(
        written[&1] < 2000 && written[&100] < 60_000 && written[&1000] < 500_000,
        "{written:?}"
    );
    assert!(written[&1000] < whole / 8, "{written:?} of {whole}");
    assert_eq!(scene.beside(), [""; 0]);
}

#[test]
fn records_in_a_log_alone_are_kept_and_its_deletions_stay() {
    let scene = Scene::new(3000, 100);
    let in_log = Database::open(&scene.db).unwrap().log_entries();
    // Not flushed: what follows stands in the log when the database is closed.
    let mut handle = DB::open(&scene.db, Options::default()).unwrap();
    handle.put(&key(5), &scene.saved[&key(5)]).unwrap();
    handle.put(&key(6), b"other").unwrap();
    handle.delete(&key(7)).unwrap();
    handle.put(b"more", b"not saved").unwrap();
    handle.put(b"gone", b"before it was saved").unwrap();
    handle.delete(b"gone").unwrap();
    drop(handle);
    let logs = |db: &Path| {
        files_below(db)
            .iter()
            .filter(|(path, _)| path.extension() == Some("log".as_ref()))
            .map(|(_, bytes)| bytes.len())
            .sum::<usize>()
    };
    assert!(logs(&scene.db) > 100);
    let rewritten = over(&scene.repo, &scene.db).unwrap().rewritten.unwrap();
    assert_eq!((rewritten.puts, rewritten.deletions), (in_log + 3, 2));
    assert_eq!(logs(&scene.db), 0);
    assert!(scan(&scene.db).unwrap() == scene.saved);
}

#[test]
fn when_most_differs_all_is_written_and_nothing_is_left_to_compact() {
    let scene = Scene::new(3000, 100);
    let half: Vec<_> = (0..1700)
        .map(|i| (key(i), Some(value(i + 50_000, 100))))
        .collect();
    write(&scene.db, &half);
    assert_eq!(over(&scene.repo, &scene.db).unwrap().rewritten, None);
    assert!(scan(&scene.db).unwrap() == scene.saved);
    // Deletions hide as many bytes as the snapshot has: they would stay in the tables.
    let more: Vec<_> = (0..3000u32)
        .map(|i| (format!("x/{i}").into_bytes(), Some(value(i, 100))))
        .collect();
    write(&scene.db, &more);
    assert_eq!(over(&scene.repo, &scene.db).unwrap().rewritten, None);
    assert!(scan(&scene.db).unwrap() == scene.saved);
}

#[test]
fn tables_of_the_old_name_get_company_of_that_name() {
    let scene = Scene::new(3000, 100);
    let is_table = |path: &Path| path.extension() == Some("ldb".as_ref());
    write(&scene.db, &[(key(3), Some(b"other".to_vec()))]);
    for (path, _) in files_below(&scene.db).iter().filter(|(path, _)| is_table(path)) {
        std::fs::rename(path, path.with_extension("sst")).unwrap();
    }
    assert!(over(&scene.repo, &scene.db).unwrap().rewritten.is_some());
    assert!(!files_below(&scene.db).iter().any(|(path, _)| is_table(path)));
    assert!(scan(&scene.db).unwrap() == scene.saved);
}

#[test]
fn restores_that_nobody_opens_between_do_not_pile_up_tables() {
    let scene = Scene::new(6000, 100);
    let states: Vec<_> = (0..2)
        .map(|state| {
            write(&scene.db, &[(key(3), Some(value(state, 100)))]);
            common::backup(&scene.repo, &scene.db).unwrap();
            let id = scene.repo.select("latest").unwrap().id.to_hex();
            (id, scan(&scene.db).unwrap())
        })
        .collect();
    let (mut in_place, mut whole) = (0, 0);
    for round in 0..20 {
        let (id, state) = &states[round % 2];
        match restore_over(&scene.repo, id, &scene.db).unwrap().rewritten {
            Some(_) => in_place += 1,
            None => whole += 1,
        }
        assert!(scan(&scene.db).unwrap() == *state);
    }
    assert!(in_place >= 14 && whole >= 1, "{in_place} {whole}");
    let levels = Database::open(&scene.db).unwrap();
    assert!(
        levels
            .version()
            .tables
            .keys()
            .filter(|(level, _)| *level == 0)
            .count()
            <= 8
    );
}

#[test]
fn long_values_that_are_the_same_are_not_fetched() {
    let dir = support::memory();
    let db = dir.path().join("db");
    let mut saved = fill(&db, 100, 100);
    for i in 0..8u32 {
        saved.insert(format!("long/{i}").into_bytes(), value(i, 300_000));
    }
    write(
        &db,
        &saved
            .iter()
            .map(|(k, v)| (k.clone(), Some(v.clone())))
            .collect::<Vec<_>>(),
    );
    let scene = Scene::of(dir, db, saved);
    let mut other = scene.saved[&b"long/3"[..]].clone();
    other[250_000] ^= 1;
    write(
        &scene.db,
        &[
            (b"long/3".to_vec(), Some(other)),
            (b"long/4".to_vec(), Some(vec![1; 299_999])),
        ],
    );
    let rewritten = over(&scene.repo, &scene.db).unwrap().rewritten.unwrap();
    assert_eq!((rewritten.puts, rewritten.deletions), (2, 0));
    assert!(scan(&scene.db).unwrap() == scene.saved);
}

#[test]
fn a_storage_that_fails_at_any_call_leaves_the_old_database_as_it_was() {
    let scene = Scene::new(1200, 200);
    scene.change(30);
    let (files, nodes) = (files_below(&scene.db), inodes(&scene.db));
    let (mut failed, mut call) = (0, 0);
    loop {
        call += 1;
        assert!(call < 500, "it never succeeds");
        let faulty = Arc::new(FaultyStorage::new(scene.storage.snapshot()).dead_from(call));
        let ended = common::open(faulty as Arc<dyn Storage>).and_then(|repo| over(&repo, &scene.db));
        if ended.is_ok() {
            break;
        }
        failed += 1;
        assert!(
            files_below(&scene.db) == files && inodes(&scene.db) == nodes,
            "call {call}"
        );
        assert_eq!(scene.beside(), [""; 0], "call {call}");
    }
    assert!(failed > 5, "{failed}");
    assert!(scan(&scene.db).unwrap() == scene.saved);
    scene.change(20);
    for call in 1..=failed {
        let faulty = FaultyStorage::new(scene.storage.snapshot()).fail_at(call, InjectedFault::LostReply);
        let _ = common::open(Arc::new(faulty) as Arc<dyn Storage>).and_then(|repo| over(&repo, &scene.db));
        assert_eq!(scene.beside(), [""; 0]);
    }
    over(&scene.repo, &scene.db).unwrap();
    assert!(scan(&scene.db).unwrap() == scene.saved);
}

#[test]
fn a_database_that_is_open_is_refused() {
    let scene = Scene::new(300, 100);
    scene.change(5);
    let handle = DB::open(&scene.db, Options::default()).unwrap();
    assert_eq!(over(&scene.repo, &scene.db).unwrap_err().kind(), ErrorKind::Busy);
    drop(handle);
    assert!(over(&scene.repo, &scene.db).unwrap().rewritten.is_some());
}

#[test]
fn a_killed_restore_leaves_one_of_the_two_whole_and_the_next_one_sweeps() {
    let tool = Tool::in_memory();
    let db = tool.path("db");
    let saved = fill(&db, 20_000, 200);
    tool.backup(&db).ok();
    let restore = || {
        let mut command = tool.command();
        command.args([
            "restore",
            "latest",
            "--json",
            "--overwrite",
            "if-changed",
            "--target",
        ]);
        command.arg(&db);
        command
    };
    let stages = || {
        let names = std::fs::read_dir(tool.dir.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(".levault-restore-")).count()
    };
    let (mut old, mut left) = (0, 0);
    for round in 0..12u64 {
        write(
            &db,
            &[
                (b"round".to_vec(), Some(round.to_le_bytes().to_vec())),
                (key(9), None),
            ],
        );
        let changed = scan(&db).unwrap();
        let mut child = restore().stdout(std::process::Stdio::null()).spawn().unwrap();
        match round % 2 {
            0 => std::thread::sleep(Duration::from_millis(30 * (round + 1))),
            _ => while stages() == 0 && child.try_wait().unwrap().is_none() {},
        }
        child.kill().unwrap();
        child.wait().unwrap();
        left += stages();
        let now = scan(&db).unwrap();
        assert!(now == changed || now == saved, "round {round}");
        old += usize::from(now == changed);
        Ended::of(&mut restore()).ok();
        assert!(scan(&db).unwrap() == saved, "round {round}");
        assert_eq!(stages(), 0, "round {round}");
    }
    println!("{old} of 12 were killed before the exchange, {left} left a stage");
    assert!(old > 0 && left > 0);
}

/// A database of C++ LevelDB with some of everything: tables on several levels, deletions, a log.
fn churned_by_cpp(oracle: &mut Oracle, db: &Path, options: &serde_json::Value) -> Model {
    let one = |key: Vec<u8>, value: Option<Vec<u8>>| Operation::One((key, value));
    let mut operations: Vec<_> = (0..12_000).map(|i| one(key(i), Some(value(i, 150)))).collect();
    operations.push(one(Vec::new(), Some(b"under the empty key".to_vec())));
    operations.push(one(b"long".to_vec(), Some(value(1, 200_000))));
    operations.push(Operation::Compact);
    operations.extend((0..3000).map(|i| one(key(3 * i), (i % 4 > 0).then(|| value(i + 77, 150)))));
    operations.push(Operation::Reopen);
    operations.extend((0..300).map(|i| one(key(11 * i), (i % 4 > 0).then(|| value(i + 99, 150)))));
    let mut model = Model::new();
    support::oracle::apply(&mut model, &operations);
    oracle.write(db, options, &operations);
    model
}

#[test]
fn cpp_leveldb_takes_over_what_was_rewritten_in_place() {
    let Some(mut oracle) = Oracle::start() else { return };
    for (compression, bits) in [(Some("snappy"), 10), (None, 0)] {
        let dir = support::memory();
        let db = dir.path().join("db");
        let options = json!({"create_if_missing": true, "write_buffer_size": 256 << 10, "max_file_size": 1 << 20,
            "compression": compression, "bloom_filter_bits": bits});
        let saved = churned_by_cpp(&mut oracle, &db, &options);
        let scene = Scene::of(dir, db, saved);
        let one = |key: Vec<u8>, value: Option<Vec<u8>>| Operation::One((key, value));
        let mut since: Vec<_> = (0..700)
            .map(|i| one(key(5 * i), (i % 3 > 0).then(|| value(i + 31, 150))))
            .collect();
        since.extend((0..300).map(|i| one(format!("new/{i}").into_bytes(), Some(vec![7; 30]))));
        since.push(one(Vec::new(), None));
        since.push(one(b"long".to_vec(), Some(value(2, 199_999))));
        oracle.write(&scene.db, &options, &since);
        let rewritten = over(&scene.repo, &scene.db).unwrap().rewritten.expect("in place");
        assert!(rewritten.puts > 500 && rewritten.deletions > 200 && rewritten.bytes_linked > 1 << 20);
        take_over(
            &scene,
            &json!({"churn": 3000, "compression": compression, "bloom_filter_bits": bits}),
        );
    }
}

/// C++ LevelDB opens, reads, looks up, writes, compacts and opens again, all checked.
fn take_over(scene: &Scene, options: &serde_json::Value) {
    let expected = scene.dir.path().join("expected");
    let mut stream = Vec::new();
    for part in scene.saved.iter().flat_map(|(key, value)| [key, value]) {
        stream.extend_from_slice(&(part.len() as u32).to_le_bytes());
        stream.extend_from_slice(part);
    }
    std::fs::write(&expected, stream).unwrap();
    let judge = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/take_over.py");
    let output = Command::new(python())
        .arg(judge)
        .args([&scene.db, &expected])
        .arg(options.to_string())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn read_by_rusty(database: &mut DB) -> Model {
    let mut records = database.new_iter().unwrap();
    let mut model = Model::new();
    while let Some((key, value)) = LdbIterator::next(&mut records) {
        assert!(model.insert(key, value).is_none(), "a key twice");
    }
    model
}

#[test]
fn rusty_leveldb_takes_over_what_was_rewritten_in_place() {
    let scene = Scene::new(8000, 120);
    scene.change(300);
    assert!(over(&scene.repo, &scene.db).unwrap().rewritten.is_some());
    let open = || {
        let options = Options {
            create_if_missing: false,
            write_buffer_size: 64 << 10,
            ..Options::default()
        };
        DB::open(&scene.db, options).unwrap()
    };
    assert!(read_by_rusty(&mut open()) == scene.saved);
    let mut model = scene.saved.clone();
    let mut database = open();
    for i in (0..8000).step_by(3) {
        database.put(&key(i), b"changed").unwrap();
        model.insert(key(i), b"changed".to_vec());
    }
    database.close().unwrap();
    drop(database);
    let mut database = open();
    database.compact_range(b"\0", b"\xff\xff").unwrap();
    assert!(read_by_rusty(&mut database) == model);
    drop(database);
    assert!(over(&scene.repo, &scene.db).is_ok());
    assert!(scan(&scene.db).unwrap() == scene.saved);
}

#[test]
fn backups_go_on_after_a_restore_in_place() {
    let scene = Scene::new(6000, 120);
    // No deletion by rusty-leveldb: a block that ends with one has an index entry that our reader calls damage.
    let changed = |round: u32| -> Vec<_> {
        let puts = (0..40 * round).map(|i| (key(7 * i + round), Some(value(i + round, 90))));
        puts.chain([(format!("new/{round}").into_bytes(), Some(vec![1; 20]))])
            .collect()
    };
    for round in 1..6 {
        write(&scene.db, &changed(round));
        common::backup(&scene.repo, &scene.db).unwrap();
        let now = common::records(&scene.repo, "latest").unwrap();
        write(&scene.db, &changed(round + 10));
        let rewritten = over(&scene.repo, &scene.db).unwrap().rewritten.expect("in place");
        assert!(rewritten.deletions > 0);
        assert!(scan(&scene.db).unwrap() == now);
        common::backup(&scene.repo, &scene.db).unwrap();
        assert!(
            common::records(&scene.repo, "latest").unwrap() == now,
            "round {round}"
        );
    }
}
