//! Goal: a damaged database comes back with all that is good in it, and with the newest good copy of the rest; and what is
//! told of it is true. Method: C++ LevelDB writes, one thing is broken, a naive map says what may come out, C++ LevelDB
//! reads the result.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod common;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use levault::annotations::{Note, NoteSubject, SnapshotNote};
use levault::clock::UnixNanos;
use levault::engine::file_list_source::FileListSource;
use levault::error::{ErrorKind, Result};
use levault::id::ObjectId;
use levault::ops::rescue::{Rescue, RescueMode, RescueOutcome, UncertainRecords};
use levault::repo::Repo;
use levault::report::OperationReport;
use levault::source::Database;
use levault::storage::MemoryStorage;
use serde_json::json;
use support::oracle::{Change, Model, Operation, Oracle, apply};
use support::tool::{Ended, Tool, files_below};

/// A database, what it held when it was backed up, and what it holds now.
struct Scene {
    dir: tempfile::TempDir,
    oracle: Oracle,
    repo: Repo,
    then: Model,
    now: Model,
    snapshot: ObjectId,
    /// Tables that were there at the snapshot.
    old_tables: Vec<PathBuf>,
}

fn record(i: u32, salt: u32) -> (Vec<u8>, Vec<u8>) {
    (common::key(i), common::value(i.wrapping_add(salt * 7919), 150))
}

/// Puts, overwrites and deletions behind the snapshot.
fn later() -> Vec<Change> {
    let overwritten = (0..400)
        .map(|i| record(i * 37, 1))
        .map(|(key, value)| (key, Some(value)));
    let new = (20000..20200)
        .map(|i| record(i, 2))
        .map(|(key, value)| (key, Some(value)));
    let deleted = (0..300).map(|i| (common::key(i * 41 + 5), None));
    overwritten.chain(new).chain(deleted).collect()
}

impl Scene {
    /// Compacted tables that the snapshot knows; then changes in a log, which `since` may move on.
    fn new(since: &[Operation]) -> Option<Self> {
        let mut oracle = Oracle::start()?;
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("db");
        let puts: Vec<_> = (0..16000)
            .map(|i| record(i, 0))
            .map(|(key, value)| (key, Some(value)))
            .collect();
        let mut first: Vec<_> = puts
            .chunks(500)
            .map(|some| Operation::Batch(some.to_vec()))
            .collect();
        first.push(Operation::Compact);
        let small = json!({"create_if_missing": true, "max_file_size": 1 << 20, "write_buffer_size": 1 << 18, "compression": null});
        oracle.write(&db, &small, &first);
        // What is left to be compacted would be while the later changes are written, or would not.
        (0..3).for_each(|_| oracle.write(&db, &small, &[Operation::Compact]));
        let mut then = Model::new();
        apply(&mut then, &first);
        let repo = common::create(Arc::new(MemoryStorage::default())).unwrap();
        let snapshot = common::backup(&repo, &db).unwrap().snapshot.unwrap();
        let old_tables = tables(&db);
        oracle.write(&db, &Self::options(), since);
        let mut now = then.clone();
        apply(&mut now, since);
        Some(Self {
            dir,
            oracle,
            repo,
            then,
            now,
            snapshot,
            old_tables,
        })
    }

    fn options() -> serde_json::Value {
        json!({"create_if_missing": true, "max_file_size": 1 << 20})
    }

    fn db(&self) -> PathBuf {
        self.dir.path().join("db")
    }

    fn output(&self) -> PathBuf {
        self.dir.path().join("rescued")
    }

    fn rescue(&self, act: RescueMode) -> Result<RescueOutcome> {
        let rescue = Rescue {
            directory: self.db(),
            output: self.output(),
            snapshot: None,
            database: None,
            uncertain: UncertainRecords::LeaveOut,
            act,
        };
        rescue.run(&self.repo, &OperationReport::default())
    }

    /// Rescues, sees that the directory is as it was, and reads the result with C++ LevelDB.
    fn rescued(&mut self) -> (RescueOutcome, Model) {
        let before = files_below(&self.db());
        let told = self.rescue(RescueMode::Tell).unwrap();
        assert!(!self.output().exists() && !told.written);
        let outcome = self.rescue(RescueMode::Write).unwrap();
        assert_eq!(
            (told.records, told.own, &told.spans),
            (outcome.records, outcome.own, &outcome.spans)
        );
        assert!(files_below(&self.db()) == before, "the directory is only read");
        let model = self.oracle.dump_strictly(&self.output());
        assert_eq!(model.len() as u64, outcome.records);
        (outcome, model)
    }
}

fn tables(db: &Path) -> Vec<PathBuf> {
    named(db, ".ldb")
}

/// Those of the level below 0 that has most, in order of keys: none of them covers another's.
fn side_by_side(db: &Path) -> Vec<PathBuf> {
    let database = Database::open(db).unwrap();
    let tables = &database.version().tables;
    let count = |level: &u8| tables.keys().filter(|(at, _)| at == level).count();
    let level = (1..7).max_by_key(count).unwrap();
    let mut found: Vec<_> = tables.iter().filter(|((at, _), _)| *at == level).collect();
    found.sort_by(|(_, a), (_, b)| a.smallest.cmp(&b.smallest));
    let path = |number: u64| db.join(format!("{number:06}.ldb"));
    found.into_iter().map(|((_, number), _)| path(*number)).collect()
}

fn named(db: &Path, part: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(db).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries
        .filter(|path| path.to_string_lossy().contains(part))
        .collect();
    found.sort();
    found
}

/// Flips bits in the middle of a file.
fn break_at(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 0x55;
    fs::write(file, bytes).unwrap();
}

fn middle(file: &Path) -> usize {
    fs::metadata(file).unwrap().len() as usize / 2
}

/// Each key is as it was at one of the two times.
fn is_between(found: &Model, scene: &Scene) {
    let keys = found.keys().chain(scene.then.keys()).chain(scene.now.keys());
    for key in keys {
        let states = [scene.then.get(key), scene.now.get(key)];
        assert!(states.contains(&found.get(key)), "{key:?}");
    }
}

#[test]
fn a_bad_block_is_supplied_by_the_snapshot_and_what_changed_since_is_kept() {
    let Some(mut scene) = Scene::new(&[Operation::Batch(later())]) else {
        return;
    };
    let table = scene.old_tables[0].clone();
    break_at(&table, middle(&table));
    let (outcome, found) = scene.rescued();
    assert_eq!(
        (outcome.files.clone(), outcome.spans.len()),
        (FileListSource::Manifest, 1)
    );
    assert!(outcome.is_supplied() && !outcome.is_whole() && outcome.lost_writes.is_none());
    let span = &outcome.spans[0];
    assert_eq!(span.supply.as_ref().unwrap().snapshot, scene.snapshot);
    assert!(span.tally.supplied > 5 && span.tally.supplied < 200, "{span:?}");
    assert!(
        found == scene.now,
        "nothing that was lost changed after the snapshot"
    );
}

#[test]
fn many_bad_blocks_and_a_missing_table_are_supplied_each_by_its_keys() {
    let Some(mut scene) = Scene::new(&[Operation::Batch(later())]) else {
        return;
    };
    let side_by_side = side_by_side(&scene.db());
    let (first, last) = (&side_by_side[0], &side_by_side[side_by_side.len() - 1]);
    assert!(side_by_side.len() > 1);
    let len = middle(first) * 2;
    for part in 1..5 {
        break_at(first, len / 6 * part);
    }
    fs::remove_file(last).unwrap();
    let (outcome, found) = scene.rescued();
    assert!(
        outcome.spans.len() >= 4 && outcome.is_supplied(),
        "{:?}",
        outcome.spans
    );
    assert!(outcome.own > 1000 && outcome.own < outcome.records);
    assert!(found == scene.now);
}

#[test]
fn what_was_lost_after_the_snapshot_is_as_the_snapshot_has_it_and_the_rest_as_it_is() {
    // The second opening puts the log into a table of level 0.
    let changes = [Operation::Batch(later()), Operation::Reopen, Operation::Reopen];
    let Some(mut scene) = Scene::new(&changes) else {
        return;
    };
    let new: Vec<_> = tables(&scene.db())
        .into_iter()
        .filter(|table| !scene.old_tables.contains(table))
        .collect();
    break_at(&new[0], middle(&new[0]));
    let (outcome, found) = scene.rescued();
    is_between(&found, &scene);
    assert!(found != scene.now, "the lost block held changes");
    assert!(outcome.is_supplied() && !outcome.is_whole());
    for key in scene.then.keys().chain(scene.now.keys()) {
        let inside = outcome.spans.iter().any(|span| {
            span.span.smallest.as_ref().is_none_or(|smallest| smallest <= key)
                && span.span.largest.as_ref().is_none_or(|largest| largest >= key)
        });
        assert!(inside || found.get(key) == scene.now.get(key), "{key:?}");
    }
}

#[test]
fn without_current_the_newest_manifest_leads_to_all_of_it() {
    let Some(mut scene) = Scene::new(&[Operation::Batch(later())]) else {
        return;
    };
    fs::remove_file(scene.db().join("CURRENT")).unwrap();
    let (outcome, found) = scene.rescued();
    assert!(matches!(outcome.files, FileListSource::NewestManifest(_)) && outcome.is_whole());
    assert!(found == scene.now);
}

#[test]
fn without_a_manifest_the_snapshot_and_all_that_is_newer_make_it_whole() {
    for lose in [true, false] {
        let Some(mut scene) = Scene::new(&[Operation::Batch(later())]) else {
            return;
        };
        for manifest in named(&scene.db(), "MANIFEST") {
            if lose {
                fs::remove_file(manifest).unwrap()
            } else {
                break_at(&manifest, 20)
            }
        }
        let (outcome, found) = scene.rescued();
        assert!(matches!(outcome.files, FileListSource::AllFiles(_)) && !outcome.is_whole());
        assert!(outcome.is_supplied());
        assert!(found == scene.now);
    }
}

#[test]
fn a_manifest_torn_anywhere_never_leads_to_a_whole_database_with_other_records() {
    let moved = [Operation::Batch(later()), Operation::Reopen, Operation::Compact];
    let Some(mut scene) = Scene::new(&moved) else {
        return;
    };
    let manifest = named(&scene.db(), "MANIFEST").pop().unwrap();
    let bytes = fs::read(&manifest).unwrap();
    let (mut whole, mut others) = (0, 0);
    for len in (0..=bytes.len()).step_by(13).chain([bytes.len()]) {
        fs::write(&manifest, &bytes[..len]).unwrap();
        let (outcome, found) = scene.rescued();
        if outcome.is_whole() {
            assert!(found == scene.now, "torn at {len}");
            whole += 1;
        } else {
            is_between(&found, &scene);
            others += 1;
        }
        fs::remove_dir_all(scene.output()).unwrap();
    }
    assert!(whole > 0 && others > 0, "{whole} {others}");
}

#[test]
fn writes_that_a_log_lost_are_told_and_all_others_are_there() {
    let batches: Vec<_> = later()
        .chunks(30)
        .map(|some| Operation::Batch(some.to_vec()))
        .collect();
    let Some(mut scene) = Scene::new(&batches) else {
        return;
    };
    let log = named(&scene.db(), ".log").pop().unwrap();
    break_at(&log, middle(&log));
    let (outcome, found) = scene.rescued();
    is_between(&found, &scene);
    let files: Vec<_> = files_below(&scene.db())
        .into_iter()
        .map(|(path, bytes)| (path, bytes.len()))
        .collect();
    let (first, last) = outcome
        .lost_writes
        .unwrap_or_else(|| panic!("{outcome:?} {files:?}"));
    assert!(last - first < 1000 && !outcome.is_supplied());
    let differs = |key: &&Vec<u8>| found.get(*key) != scene.now.get(*key);
    let lost = scene.then.keys().chain(scene.now.keys()).filter(differs).count() as u64;
    assert!(
        lost > 0 && lost <= 2 * (last - first + 1),
        "{lost} {first} {last}"
    );
}

#[test]
fn a_suspect_snapshot_and_one_that_lacks_its_data_are_passed_over_for_an_older_one() {
    let Some(mut scene) = Scene::new(&[]) else { return };
    let suspect = |scene: &mut Scene| {
        scene.oracle.write(
            &scene.db(),
            &Scene::options(),
            &[Operation::Batch(vec![(b"z".to_vec(), Some(vec![1]))])],
        );
        common::backup(&scene.repo, &scene.db())
            .unwrap()
            .snapshot
            .unwrap()
    };
    let newer = suspect(&mut scene);
    let about = NoteSubject::Snapshot {
        id: newer,
        said: SnapshotNote::Suspect("three records differ".into()),
    };
    let when = UnixNanos(1);
    scene.repo.put_note(&Note { when, about }).unwrap();
    scene.now.insert(b"z".to_vec(), vec![1]);
    let table = scene.old_tables[0].clone();
    break_at(&table, middle(&table));
    let (outcome, found) = scene.rescued();
    let span = &outcome.spans[0];
    assert_eq!(span.supply.as_ref().unwrap().snapshot, scene.snapshot);
    assert_eq!(span.passed_over[0].0, newer);
    assert!(span.passed_over[0].1.contains("three records differ"));
    assert!(found == scene.now);
}

#[test]
fn an_open_database_is_refused_and_one_that_nobody_saved_is_not_guessed() {
    let Some(mut scene) = Scene::new(&[]) else { return };
    let db = scene.db();
    scene.oracle.keep_writing(&db, &Scene::options(), &[]);
    assert_eq!(
        scene.rescue(RescueMode::Tell).unwrap_err().kind(),
        ErrorKind::Busy
    );
    scene.oracle.close(&db);
    let (outcome, found) = scene.rescued();
    assert!(outcome.is_whole() && found == scene.now);
    let elsewhere = scene.dir.path().join("elsewhere");
    fs::rename(&db, &elsewhere).unwrap();
    let mut rescue = Rescue {
        directory: elsewhere,
        output: scene.dir.path().join("another"),
        snapshot: None,
        database: None,
        uncertain: UncertainRecords::LeaveOut,
        act: RescueMode::Tell,
    };
    let error = rescue.run(&scene.repo, &OperationReport::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    rescue.database = Some("db".into());
    assert!(
        rescue
            .run(&scene.repo, &OperationReport::default())
            .unwrap()
            .is_whole()
    );
}

#[test]
fn the_tool_tells_each_range_and_its_exit_code_says_how_it_went() {
    let tool = Tool::new();
    let db = tool.path("db");
    let model = common::fill(&db, 3000, 200);
    tool.backup(&db).ok();
    let run = |apply: bool, code: i32| {
        let mut command = tool.command();
        command
            .args(["rescue", "--json", "--output"])
            .arg(tool.path("out"))
            .arg(&db);
        Ended::of(command.args(apply.then_some("--apply")))
            .exits(code)
            .summary()
    };
    assert_eq!(run(false, 0)["whole"], true);
    let largest = tables(&db).into_iter().max_by_key(|table| middle(table)).unwrap();
    break_at(&largest, middle(&largest));
    let told = run(false, 3);
    assert_eq!(
        (&told["written"], &told["supplied"]),
        (&json!(false), &json!(true))
    );
    assert!(told["ranges"][0]["smallest_b64"].is_string() && told["ranges"][0]["snapshot_time"].is_string());
    assert!(!tool.path("out").exists());
    assert_eq!(run(true, 3)["written"], true);
    assert!(common::scan(&tool.path("out")).unwrap() == model);
    let snapshot = tool.run(["snapshots", "--json"]).ok();
    let id = serde_json::from_slice::<serde_json::Value>(&snapshot.stdout).unwrap()[0]["id"].clone();
    fs::remove_dir_all(tool.path("out")).unwrap();
    // Nothing can supply what the only snapshot lacks.
    let packs = files_below(&tool.repository().join("packs"));
    for (pack, bytes) in packs {
        // Stored objects are read-only, which stops all but root.
        fs::set_permissions(&pack, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(pack, &bytes[..bytes.len() / 2]).unwrap();
    }
    let lacking = run(false, 22);
    assert_eq!(lacking["ranges"][0]["passed_over"][0]["snapshot_id"], id);
    assert_eq!(lacking["ranges"][0]["snapshot_id"], json!(null));
}
