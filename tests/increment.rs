//! Increments through the library: what they stand on, what they leave, and what makes them give way to a full read.
//! Each test changes a small real database between backups and compares the snapshots with naive copies.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use levault::engine::read_records;
use levault::id::ObjectId;
use levault::ops::backup::{Backup, BackupOutcome, PinMode, ReadScope};
use levault::ops::check::{Check, ReadData};
use levault::repo::Repo;
use levault::report::OperationReport;
use levault::snapshot::{DatabaseContent, DatabaseRoot, SnapshotSource};
use levault::source::pins::PinOptions;
use levault::storage::{MemoryStorage, ObjectKind, ObjectName, Storage};

struct Scene {
    dir: tempfile::TempDir,
    repo: Repo,
}

impl Scene {
    /// A database of 600 records and a repository without snapshots.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        common::fill(&dir.path().join("db"), 600, 300);
        let repo = common::create(Arc::new(MemoryStorage::default())).unwrap();
        Self { dir, repo }
    }

    fn db(&self) -> PathBuf {
        self.dir.path().join("db")
    }

    fn put(&self, from: u32, to: u32, len: usize) {
        put(&self.db(), from, to, len);
    }

    fn backup(&self) -> BackupOutcome {
        self.backup_with(|_| {})
    }

    fn backup_with(&self, how: impl FnOnce(&mut Backup)) -> BackupOutcome {
        let mut backup = Backup::new(vec![self.db()]);
        how(&mut backup);
        backup.run(&self.repo, &OperationReport::default()).unwrap()
    }

    /// The newest snapshot holds what the database does.
    fn is_right(&self) {
        let model = common::scan(&self.db()).unwrap();
        assert_eq!(common::records(&self.repo, "latest").unwrap(), model);
    }

    fn is_sound(&self) {
        let check = Check { read: ReadData::All };
        let findings = check
            .run(&self.repo, &OperationReport::default())
            .unwrap()
            .findings;
        assert!(findings.is_empty(), "{findings:?}");
    }

    fn state(&self) -> PathBuf {
        let is_pins = |path: &PathBuf| path.to_string_lossy().contains(".levault-pins-");
        let mut all = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        all.find(is_pins).unwrap().join("state")
    }
}

fn put(db: &Path, from: u32, to: u32, len: usize) {
    let changes: Vec<_> = (from..to)
        .map(|i| (common::key(i), (i % 5 > 0).then(|| common::value(i + 7, len))))
        .collect();
    common::write(db, &changes);
}

fn scope(outcome: &BackupOutcome) -> &ReadScope {
    &outcome.databases[0].scope
}

fn stands_on(outcome: &BackupOutcome) -> Option<ObjectId> {
    match scope(outcome) {
        ReadScope::Changes { since, .. } => Some(*since),
        ReadScope::Whole { .. } => None,
    }
}

fn runs(repo: &Repo, words: &str) -> usize {
    repo.select(words)
        .unwrap()
        .snapshot
        .databases()
        .next()
        .unwrap()
        .runs()
        .count()
}

#[test]
fn the_second_backup_stores_what_changed_and_stands_on_the_first() {
    let scene = Scene::new();
    let first = scene.backup();
    assert_eq!(scope(&first), &ReadScope::Whole { why: None });
    scene.put(590, 640, 100);
    let second = scene.backup();
    assert_eq!(stands_on(&second), first.snapshot);
    // Of the ten keys that are deleted eight were never there.
    assert!(matches!(scope(&second), ReadScope::Changes { keys: 42, .. }));
    assert_eq!(runs(&scene.repo, "latest"), 2);
    scene.is_right();
    scene.is_sound();
    let target = scene.dir.path().join("restored");
    common::restore(&scene.repo, "latest", &target).unwrap();
    assert_eq!(common::scan(&target).unwrap(), common::scan(&scene.db()).unwrap());
}

#[test]
fn a_backup_without_change_adds_no_run_and_no_snapshot_if_that_is_wished() {
    let scene = Scene::new();
    let first = scene.backup();
    let same = scene.backup();
    assert!(matches!(scope(&same), ReadScope::Changes { keys: 0, .. }));
    assert_eq!(same.blobs_new, 0);
    assert_eq!(runs(&scene.repo, "latest"), 1);

    // Overwritten with equal values: more in the logs, no other record.
    let again: Vec<_> = (0..20)
        .map(|i| (common::key(i), Some(common::value(i, 300))))
        .collect();
    common::write(&scene.db(), &again);
    let skipped = scene.backup_with(|backup| backup.skip_if_unchanged = true);
    assert_eq!((skipped.snapshot, skipped.unchanged_since), (None, same.snapshot));
    assert_eq!(scene.repo.snapshots().unwrap().len(), 2);

    scene.put(0, 30, 50);
    let changed = scene.backup_with(|backup| backup.skip_if_unchanged = true);
    assert_eq!(stands_on(&changed), same.snapshot);
    assert_ne!(changed.snapshot, first.snapshot);
    scene.is_right();
}

#[test]
fn an_increment_stands_on_the_snapshot_its_pins_name_and_not_on_the_latest() {
    let scene = Scene::new();
    let first = scene.backup();
    // Another database of the same name, as another directory or host may have it.
    let other = scene.dir.path().join("other/db");
    fs::create_dir_all(other.parent().unwrap()).unwrap();
    common::fill(&other, 500, 200);
    common::backup(&scene.repo, &other).unwrap();
    scene.put(100, 140, 80);
    let second = scene.backup();
    assert_eq!(stands_on(&second), first.snapshot);
    scene.is_right();
}

#[test]
fn pins_whose_snapshot_is_gone_lead_to_a_full_read() {
    let scene = Scene::new();
    let first = scene.backup();
    let name = ObjectName {
        kind: ObjectKind::Snapshot,
        id: first.snapshot.unwrap(),
    };
    scene.repo.raw_storage().delete(name).unwrap();
    scene.put(0, 10, 10);
    let second = scene.backup();
    let ReadScope::Whole { why: Some(why) } = scope(&second) else {
        panic!("an increment on a snapshot that is gone");
    };
    assert!(why.contains("is gone"), "{why}");
    scene.is_right();
    scene.put(10, 20, 10);
    assert_eq!(
        stands_on(&scene.backup()),
        second.snapshot,
        "the next one is an increment again"
    );
}

/// Makes the pins name `snapshot`.
fn misname(state: &Path, from: ObjectId, snapshot: ObjectId) {
    let mut bytes = fs::read(state).unwrap();
    bytes.truncate(bytes.len() - 32);
    let at = bytes.windows(32).position(|window| window == from.0).unwrap();
    bytes[at..at + 32].copy_from_slice(&snapshot.0);
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    fs::write(state, bytes).unwrap();
}

#[test]
fn an_audit_finds_a_stack_that_is_wrong_names_the_key_and_begins_anew() {
    let scene = Scene::new();
    let first = scene.backup().snapshot.unwrap();
    // A snapshot in which one record is another, as a bug in an increment would leave it.
    let twin = scene.dir.path().join("twin/db");
    fs::create_dir_all(twin.parent().unwrap()).unwrap();
    common::fill(&twin, 600, 300);
    common::write(&twin, &[(common::key(5), Some(b"wrong".to_vec()))]);
    let wrong = common::backup(&scene.repo, &twin).unwrap().snapshot.unwrap();
    let mut snapshot = scene.repo.snapshot(&first).unwrap();
    let other = scene.repo.snapshot(&wrong).unwrap();
    let (SnapshotSource::Database(root), SnapshotSource::Database(false_root)) =
        (&mut snapshot.sources[0], &other.sources[0])
    else {
        panic!("databases");
    };
    root.content = false_root.content.clone();
    (root.set_digest, root.value_bytes) = (false_root.set_digest, false_root.value_bytes);
    root.capture.increments = 1;
    snapshot.time.0 += 1;
    let wrong = scene.repo.put_snapshot(&snapshot).unwrap();
    misname(&scene.state(), first, wrong);

    scene.put(100, 120, 90);
    let unaware = scene.backup_with(|backup| backup.databases.audit_every = Some(0));
    assert_eq!(stands_on(&unaware), Some(wrong));
    // What is forgotten may be brought back: it is in doubt like the others.
    common::forget(&scene.repo, wrong);
    scene.put(120, 140, 90);
    let audited = scene.backup_with(|backup| backup.databases.audit_every = Some(3));
    let found = audited.databases[0].disagreement.clone().unwrap();
    assert_eq!(found.keys, 1);
    assert_eq!(found.differences[0].key, common::key(5));
    assert_eq!(found.differences[0].by_changes.unwrap().0, 5);
    assert_eq!(found.differences[0].in_database.unwrap().0, 300);
    assert_eq!(found.suspects, [unaware.snapshot.unwrap(), wrong]);
    assert!(matches!(scope(&audited), ReadScope::Whole { why: Some(_) }));
    assert_eq!(runs(&scene.repo, "latest"), 1);
    scene.is_right();
    let notes = scene.repo.notes().unwrap().current_notes();
    assert!(found.suspects.iter().all(|id| notes.suspect_note(id).is_some()));
    assert!(notes.suspect_note(&audited.snapshot.unwrap()).is_none());
}

#[test]
fn check_computes_every_stacks_digest_anew() {
    let scene = Scene::new();
    scene.backup();
    for round in 0..12 {
        scene.put(round * 9, round * 9 + 12, 30);
        scene.backup();
    }
    scene.is_sound();
    for back in [0, 5, 11] {
        let stored = scene.repo.select(&format!("latest~{back}")).unwrap();
        let spoil: [fn(&mut DatabaseRoot); 2] = [|root| root.set_digest.0[7] ^= 1, |root| root.records += 1];
        for wrong in spoil {
            let mut snapshot = stored.snapshot.clone();
            let SnapshotSource::Database(root) = &mut snapshot.sources[0] else {
                panic!("a database");
            };
            wrong(root);
            let id = scene.repo.put_snapshot(&snapshot).unwrap();
            let check = Check { read: ReadData::All };
            let findings = check
                .run(&scene.repo, &OperationReport::default())
                .unwrap()
                .findings;
            assert_eq!(findings.len(), 1, "{findings:?}");
            assert!(findings[0].what.contains("set digest"), "{findings:?}");
            let kind = ObjectKind::Snapshot;
            scene.repo.raw_storage().delete(ObjectName { kind, id }).unwrap();
        }
    }
}

#[test]
fn a_full_backup_reads_all_agrees_and_stores_nothing_twice() {
    let scene = Scene::new();
    scene.backup();
    scene.put(0, 50, 100);
    scene.backup();
    let full = scene.backup_with(|backup| backup.full = true);
    assert!(matches!(
        scope(&full),
        ReadScope::Changes {
            keys: 0,
            audited: true,
            ..
        }
    ));
    assert_eq!(full.blobs_new, 0);
    let stored = scene.repo.select("latest").unwrap();
    let root = stored.snapshot.databases().next().unwrap();
    assert_eq!(root.capture.increments, 0);
    assert!(root.stream_digest.is_some());
}

#[test]
fn one_backup_in_so_many_is_an_audit() {
    let scene = Scene::new();
    scene.backup();
    let audited: Vec<_> = (0..7)
        .map(|round| {
            scene.put(round * 5, round * 5 + 5, 40 + round as usize);
            let outcome = scene.backup_with(|backup| backup.databases.audit_every = Some(3));
            matches!(scope(&outcome), ReadScope::Changes { audited: true, .. })
        })
        .collect();
    assert_eq!(audited, [false, false, true, false, false, true, false]);
}

#[test]
fn many_increments_keep_the_stack_low_and_every_snapshot_right() {
    let scene = Scene::new();
    scene.backup();
    let mut models = Vec::new();
    for round in 0..45 {
        scene.put(round * 3, round * 3 + 4, 20 + round as usize % 7);
        scene.backup();
        let deltas = runs(&scene.repo, "latest");
        assert!(
            deltas <= levault::run::compaction_plan::STACK_RUNS_MAX,
            "{deltas} runs"
        );
        models.push(common::scan(&scene.db()).unwrap());
    }
    for (back, model) in models.iter().rev().enumerate().step_by(5) {
        let records = common::records(&scene.repo, &format!("latest~{back}")).unwrap();
        assert_eq!(&records, model, "{back} before the latest");
    }
    scene.is_sound();
}

/// A value that is another one every round in `len` bytes only.
fn edited(key: u32, rounds: u32, len: usize) -> Vec<u8> {
    let mut value = common::value(key, 20_000);
    for round in 1..=rounds {
        let at = round as usize * 577 % (20_000 - len);
        let new = common::value(key ^ round << 8, len);
        value[at..at + len].copy_from_slice(&new);
    }
    value
}

#[test]
fn values_that_change_a_little_cost_a_little_and_every_snapshot_has_them() {
    let scene = Scene::new();
    // Half of one value changes at a time: patches of it that a fold joins are longer than the value.
    let edit = |round, key| edited(key, round, if key == 1000 { 9_000 } else { 32 });
    let values = |round| (1000..1020).map(move |key| (common::key(key), Some(edit(round, key))));
    common::write(&scene.db(), &values(0).collect::<Vec<_>>());
    scene.backup();
    let mut models = vec![common::scan(&scene.db()).unwrap()];
    let mut added = Vec::new();
    for round in 1..=30 {
        common::write(&scene.db(), &values(round).collect::<Vec<_>>());
        added.push(scene.backup().bytes_added);
        models.push(common::scan(&scene.db()).unwrap());
    }
    let low = added.iter().filter(|added| **added < 16_000).count();
    assert!(
        low > 25,
        "20 values of 20,000 bytes, in which little changes: {added:?}"
    );
    let runs = runs(&scene.repo, "latest");
    assert!(runs < 16, "{runs} runs: nothing was folded");
    for (back, model) in models.iter().rev().enumerate() {
        let words = format!("latest~{back}");
        assert_eq!(&common::records(&scene.repo, &words).unwrap(), model, "{words}");
        let stored = scene.repo.select(&words).unwrap();
        let database = stored.snapshot.databases().next().unwrap();
        for key in [1000, 1007] {
            let found = read_records::get(&scene.repo, database, &common::key(key)).unwrap();
            assert_eq!(found.as_ref(), model.get(&common::key(key)), "{words}");
        }
    }
    scene.is_sound();
    let target = scene.dir.path().join("restored");
    common::restore(&scene.repo, "latest", &target).unwrap();
    assert_eq!(&common::scan(&target).unwrap(), models.last().unwrap());
}

#[test]
fn without_pins_everything_is_read_and_nothing_is_left_beside_the_database() {
    let scene = Scene::new();
    for _ in 0..2 {
        let outcome = scene.backup_with(|backup| backup.databases.pinning = PinMode::None);
        assert_eq!(scope(&outcome), &ReadScope::Whole { why: None });
    }
    assert_eq!(fs::read_dir(scene.dir.path()).unwrap().count(), 1);
}

#[test]
fn pins_that_may_not_be_kept_spoil_no_backup() {
    let scene = Scene::new();
    let first = scene.backup();
    scene.put(0, 300, 200);
    let too_much = PinOptions {
        bytes_max: Some(1000),
        ..PinOptions::default()
    };
    let second = scene.backup_with(|backup| backup.databases.pinning = PinMode::Keep(too_much));
    assert_eq!(
        stands_on(&second),
        first.snapshot,
        "what was kept before is of use once more"
    );
    assert!(second.databases[0].damage.is_empty());
    scene.is_right();
    let third = scene.backup_with(|backup| backup.databases.pinning = PinMode::Keep(too_much));
    assert_eq!(scope(&third), &ReadScope::Whole { why: None });
    assert!(third.databases[0].damage.is_empty());
    scene.is_right();
    assert_eq!(fs::read_dir(scene.dir.path()).unwrap().count(), 1);
}

#[test]
fn a_dry_run_keeps_nothing_and_spoils_nothing() {
    let scene = Scene::new();
    scene.backup_with(|backup| backup.dry_run = true);
    assert_eq!(fs::read_dir(scene.dir.path()).unwrap().count(), 1);
    let first = scene.backup();
    scene.put(0, 20, 10);
    let dry = scene.backup_with(|backup| backup.dry_run = true);
    assert!(matches!(scope(&dry), ReadScope::Changes { keys: 20, .. }));
    assert_eq!(stands_on(&scene.backup()), first.snapshot);
    scene.is_right();
}

#[test]
fn a_database_that_is_stored_as_files_is_read_in_full_the_next_time() {
    let scene = Scene::new();
    scene.backup();
    scene.backup_with(|backup| backup.databases.physical = true);
    let stored = scene.repo.select("latest").unwrap();
    let physical = |root: &DatabaseRoot| matches!(root.content, DatabaseContent::Physical { .. });
    assert!(stored.snapshot.databases().all(physical));
    assert_eq!(scope(&scene.backup()), &ReadScope::Whole { why: None });
    scene.is_right();
}

fn delete_all(storage: &dyn Storage, kind: ObjectKind) {
    for listed in storage.list(kind).unwrap() {
        storage.delete(listed.name).unwrap();
    }
}

#[test]
fn packs_of_a_backup_that_was_killed_are_found_and_nothing_of_them_is_stored_again() {
    let scene = Scene::new();
    let first = scene.backup();
    assert!(first.blobs_new > 2);
    let storage = Arc::clone(scene.repo.raw_storage());
    delete_all(&*storage, ObjectKind::Index);
    delete_all(&*storage, ObjectKind::Snapshot);
    let second = scene.backup();
    assert_eq!((second.blobs_new, second.bytes_added), (0, 0));
    scene.is_right();
    scene.is_sound();
}

#[test]
fn a_pack_that_was_torn_when_its_backup_was_killed_is_not_counted_on() {
    let scene = Scene::new();
    let first = scene.backup();
    let storage = Arc::clone(scene.repo.raw_storage());
    delete_all(&*storage, ObjectKind::Index);
    delete_all(&*storage, ObjectKind::Snapshot);
    for listed in storage.list(ObjectKind::Pack).unwrap() {
        let mut bytes = storage.get(listed.name, 1 << 30).unwrap();
        storage.delete(listed.name).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        storage.put_new(listed.name, &bytes).unwrap();
    }
    let second = scene.backup();
    assert_eq!(second.blobs_new, first.blobs_new);
    scene.is_right();
}
