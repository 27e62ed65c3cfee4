//! `repair snapshots`: nothing that comes back is wrong, and what does not come back lies in a hole.

use levault::annotations::{Note, NoteSubject, SnapshotNote};
use levault::blob::BlobKind;
use levault::engine::database_series::DatabaseFilter as Databases;
use levault::engine::database_state::DatabaseState;
use levault::engine::key_selection::KeySelection;
use levault::engine::read_records;
use levault::error::{ErrorKind, Result};
use levault::id::ObjectId;
use levault::ops::backup::{Backup, PinMode, ReadScope};
use levault::ops::diff;
use levault::ops::find::{KeyQuery, find_keys};
use levault::ops::history::history;
use levault::ops::repair::RepairMode;
use levault::ops::repair::index::RepairIndex;
use levault::ops::repair::packs::RepairPacks;
use levault::ops::repair::snapshots::{RepairSnapshots, SnapshotRepairOutcome};
use levault::ops::restore::Restore;
use levault::repo::Repo;
use levault::report::OperationReport;
use levault::snapshot::{DatabaseContent, DatabaseRoot};
use levault::storage::{ObjectKind, ObjectName, Storage};

use crate::common;
use crate::dying::at_every_call;
use crate::scene::Scene;

pub fn repair(repo: &Repo, mode: RepairMode) -> Result<SnapshotRepairOutcome> {
    let packs = RepairPacks {
        packs: Vec::new(),
        mode: RepairMode::Apply,
    };
    packs.run(repo, &OperationReport::default())?;
    repair_alone(repo, mode)
}

fn repair_alone(repo: &Repo, mode: RepairMode) -> Result<SnapshotRepairOutcome> {
    let repair = RepairSnapshots {
        snapshots: Vec::new(),
        mode,
    };
    repair.run(repo, &OperationReport::default())
}

/// A stack: a base of several leaves, then deltas that put, change and delete all over it, and a long value.
fn stack() -> Scene {
    let mut scene = Scene::empty();
    scene.change(0, 500);
    let long = |seed: u32| Some(common::value(seed, 300_000));
    common::write(
        &scene.db(),
        &[(common::key(77), long(1)), (b"long".to_vec(), long(2))],
    );
    save(&mut scene);
    for round in 1..4_u32 {
        let changes: Vec<_> = (0..500)
            .filter(|i| i % (7 + round) == 0)
            .map(|i| {
                (
                    common::key(i),
                    (i % 3 > 0).then(|| common::value(i + 10_000 * round, 850)),
                )
            })
            .collect();
        common::write(&scene.db(), &changes);
        save(&mut scene);
    }
    scene
}

/// With pins: an increment where it can be one.
fn save(scene: &mut Scene) {
    let backup = Backup::new(vec![scene.db()]);
    let outcome = backup.run(&scene.repo(), &OperationReport::default()).unwrap();
    scene.ids.push(outcome.snapshot.unwrap());
    scene.models.push(common::scan(&scene.db()).unwrap());
}

fn bytewise(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    a.cmp(b)
}

/// Nothing in it is wrong, and what it lacks lies in its holes. How many records it lacks.
fn is_honest(repo: &Repo, id: &ObjectId, model: &common::Model, what: &str) -> usize {
    let snapshot = repo.snapshot(id).unwrap();
    let database = snapshot.databases().next().unwrap();
    let left = common::records(repo, &id.to_hex()).unwrap_or_else(|error| panic!("{what}: {error}"));
    for (key, value) in &left {
        assert!(
            model.get(key) == Some(value),
            "{what}: {key:?} is not what it was"
        );
    }
    for key in model.keys().filter(|key| !left.contains_key(*key)) {
        assert!(
            database.merged_hole(key, &bytewise).is_some(),
            "{what}: {key:?} in no hole"
        );
    }
    assert_eq!(left.len() as u64, database.records, "{what}");
    model.len() - left.len()
}

fn model_of<'s>(scene: &'s Scene, id: &ObjectId) -> &'s common::Model {
    let at = scene.ids.iter().position(|other| other == id).unwrap();
    &scene.models[at]
}

#[test]
fn whichever_piece_of_a_stack_is_lost_no_older_value_comes_back_and_every_gap_is_a_hole() {
    let scene = stack();
    let last = scene.database(scene.ids.last().unwrap());
    let DatabaseContent::Logical { runs, .. } = &last.content else {
        panic!("records");
    };
    assert!(runs.len() >= 3, "{} runs", runs.len());
    let pieces: Vec<_> = runs.iter().map(|run| scene.pieces(run)).collect();
    assert!(pieces[0].len() > 4, "{pieces:?}");
    let all: Vec<_> = pieces.concat();
    let mut lost = 0;
    // Each alone, and each with another one far away.
    for at in 0..2 * all.len() {
        let damaged = scene.on(&scene.storage);
        let mut broken = vec![all[at % all.len()].1];
        if at >= all.len() {
            broken.push(all[(at * 7 + 3) % all.len()].1);
        }
        // The same twice would be whole again.
        broken.dedup();
        broken.iter().for_each(|id| drop(damaged.break_blob(id)));
        let repo = damaged.repo();
        let outcome = repair(&repo, RepairMode::Apply).unwrap();
        assert!(
            !outcome.repaired.is_empty() && outcome.failed.is_empty(),
            "{outcome:?}"
        );
        let what = format!("without {broken:?}");
        for repaired in &outcome.repaired {
            let new = repaired.repaired_as.unwrap();
            lost += is_honest(&repo, &new, model_of(&scene, &repaired.id), &what);
        }
        let counting = repo.snapshots().unwrap();
        assert_eq!(counting.len(), scene.ids.len());
        let touched: Vec<_> = outcome.repaired.iter().map(|repaired| repaired.id).collect();
        for id in scene.ids.iter().filter(|id| !touched.contains(id)) {
            assert!(common::records(&repo, &id.to_hex()).unwrap() == *model_of(&scene, id));
        }
        let hurt = damaged
            .findings()
            .into_iter()
            .filter(|finding| !finding.affects.is_empty());
        assert_eq!(hurt.collect::<Vec<_>>(), [], "{what}");
    }
    assert!(lost > 0);
}

#[test]
fn what_only_the_index_lost_is_not_taken_for_lost() {
    let scene = stack();
    for segment in scene.storage.list(ObjectKind::Index).unwrap() {
        let damaged = scene.on(&scene.storage);
        damaged.storage.delete(segment.name).unwrap();
        for mode in [RepairMode::DryRun, RepairMode::Apply] {
            let refused = repair(&damaged.repo(), mode).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
            assert!(refused.to_string().contains("repair index"), "{refused}");
        }
        RepairIndex {
            mode: RepairMode::Apply,
            ..RepairIndex::default()
        }
        .run(&damaged.repo(), &OperationReport::default())
        .unwrap();
        let outcome = repair(&damaged.repo(), RepairMode::Apply).unwrap();
        assert_eq!(outcome.repaired, []);
        for (id, model) in scene.ids.iter().zip(&scene.models) {
            assert!(common::records(&damaged.repo(), &id.to_hex()).unwrap() == *model);
        }
    }
}

#[test]
fn a_lost_chunk_of_a_long_value_is_a_hole_of_one_key() {
    let scene = stack();
    let lookup = scene.repo().lookup().unwrap();
    let entries = lookup.iter_rows().unwrap().map(Result::unwrap);
    let chunks: Vec<_> = entries
        .filter(|entry| entry.location.kind == BlobKind::Data)
        .collect();
    // Two values of 300,000 bytes; where they are cut is the repository's secret.
    assert!(chunks.len() > 1, "{}", chunks.len());
    for chunk in chunks {
        let damaged = scene.on(&scene.storage);
        damaged.break_blob(&chunk.id);
        let repo = damaged.repo();
        let outcome = repair(&repo, RepairMode::Apply).unwrap();
        assert_eq!(outcome.repaired.len(), scene.ids.len(), "{outcome:?}");
        for repaired in &outcome.repaired {
            let hole = &repaired.databases[0].holes[0];
            assert_eq!(hole.smallest, hole.largest);
            let new = repaired.repaired_as.unwrap();
            assert_eq!(
                is_honest(&repo, &new, model_of(&scene, &repaired.id), "a chunk"),
                1
            );
        }
    }
}

/// One snapshot of one run with a hole in the middle, and its new name.
fn with_a_hole() -> (Scene, ObjectId) {
    let mut scene = Scene::empty();
    scene.change(0, 500);
    save(&mut scene);
    let leaves = scene.leaves(scene.database(&scene.ids[0]).runs().next().unwrap());
    scene.break_blob(&leaves[leaves.len() / 2]);
    let outcome = repair(&scene.repo(), RepairMode::Apply).unwrap();
    let id = outcome.repaired[0].repaired_as.unwrap();
    (scene, id)
}

fn database(repo: &Repo, id: &ObjectId) -> DatabaseRoot {
    repo.snapshot(id).unwrap().databases().next().unwrap().clone()
}

#[test]
fn a_dry_run_tells_and_does_nothing() {
    let scene = stack();
    let leaves = scene.leaves(scene.database(&scene.ids[0]).runs().next().unwrap());
    scene.break_blob(&leaves[1]);
    let packs = RepairPacks {
        packs: Vec::new(),
        mode: RepairMode::Apply,
    };
    packs.run(&scene.repo(), &OperationReport::default()).unwrap();
    let before = scene.storage.names();
    let dry = repair_alone(&scene.repo(), RepairMode::DryRun).unwrap();
    assert_eq!(scene.storage.names(), before);
    let done = repair_alone(&scene.repo(), RepairMode::Apply).unwrap();
    assert_eq!(dry.repaired.len(), done.repaired.len());
    for (dry, done) in dry.repaired.iter().zip(&done.repaired) {
        assert_eq!((dry.id, &dry.databases), (done.id, &done.databases));
        assert!(dry.repaired_as.is_none() && done.repaired_as.is_some());
    }
    let again = repair_alone(&scene.repo(), RepairMode::Apply).unwrap();
    assert_eq!((again.repaired, again.failed), (vec![], vec![]));
}

#[test]
fn whoever_asks_for_what_lies_in_a_hole_is_told_that_it_is_not_known() {
    let (scene, id) = with_a_hole();
    let (repo, model) = (scene.repo(), &scene.models[0]);
    let root = database(&repo, &id);
    let hole = root.holes().next().unwrap();
    assert_eq!(hole.lost_after(), Some(scene.ids[0]));
    let inside = hole.smallest.clone().unwrap();
    assert!(model.contains_key(&inside));
    let outside = model
        .keys()
        .find(|key| root.merged_hole(key, &bytewise).is_none())
        .unwrap();
    let error = read_records::get(&repo, &root, &inside).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost, "{error}");
    assert_eq!(
        read_records::get(&repo, &root, outside).unwrap(),
        model.get(outside).cloned()
    );
    assert_eq!(read_records::get(&repo, &root, b"zz").unwrap(), None);
    let stored = repo.select(&id.to_hex()).unwrap();
    let all = repo.snapshots().unwrap();
    let problems = |act: &dyn Fn(&OperationReport)| {
        let report = OperationReport::default();
        act(&report);
        report.problems().len()
    };
    let look = |keys: &[Vec<u8>]| {
        let sought = KeyQuery::Keys(keys.to_vec());
        problems(&|report| {
            find_keys(&repo, &all, &Databases::default(), &sought, report, &mut |_| {
                Ok(())
            })
            .unwrap();
        })
    };
    assert_eq!(
        (
            look(std::slice::from_ref(&inside)),
            look(std::slice::from_ref(outside))
        ),
        (1, 0)
    );
    let compare = |selection: &KeySelection| {
        let state = DatabaseState::of(&stored, None).unwrap();
        problems(&|report| {
            diff::diff_records(&repo, state, state, selection, report, &mut |_| Ok(())).unwrap();
        })
    };
    assert_eq!(compare(&KeySelection::All), 2);
    assert_eq!(compare(&KeySelection::Prefix(b"zz".to_vec())), 0);
    let mut versions = Vec::new();
    history(
        &repo,
        &all,
        &Databases::default(),
        &inside,
        &OperationReport::default(),
        &mut |version| {
            versions.push((version.unknown, version.value.is_some()));
            Ok(())
        },
    )
    .unwrap();
    assert_eq!(versions, [(true, false)]);
}

#[test]
fn a_restore_brings_the_rest_and_says_what_is_missing() {
    let (scene, id) = with_a_hole();
    let repo = scene.repo();
    let restore = Restore::new(scene.dir.path().join("back"));
    let report = OperationReport::default();
    let stored = repo.select(&id.to_hex()).unwrap();
    restore.run(&repo, &stored, &report).unwrap();
    assert_eq!(report.problems().len(), 1, "{:?}", report.problems());
    let back = common::scan(&restore.target).unwrap();
    assert_eq!(back, common::records(&repo, &id.to_hex()).unwrap());
    assert!(back.len() < scene.models[0].len());
}

#[test]
fn the_next_backup_reads_everything_and_is_whole() {
    let (mut scene, _) = with_a_hole();
    let backup = Backup::new(vec![scene.db()]);
    let outcome = backup.run(&scene.repo(), &OperationReport::default()).unwrap();
    assert!(matches!(outcome.databases[0].scope, ReadScope::Whole { .. }));
    scene.ids = vec![outcome.snapshot.unwrap()];
    scene.all_come_back();
}

#[test]
fn tags_pins_and_doubts_go_over_and_the_old_one_can_be_had_until_it_is_swept() {
    let mut scene = Scene::empty();
    scene.change(0, 500);
    save(&mut scene);
    let (repo, old) = (scene.repo(), scene.ids[0]);
    for said in [
        SnapshotNote::Pin,
        SnapshotNote::Suspect("a test".into()),
        SnapshotNote::Tags(vec!["kept".into()]),
    ] {
        let about = NoteSubject::Snapshot { id: old, said };
        let when = repo.clock().now();
        repo.put_note(&Note { when, about }).unwrap();
    }
    scene.break_blob(&scene.leaves(scene.database(&old).runs().next().unwrap())[0]);
    let outcome = repair(&repo, RepairMode::Apply).unwrap();
    let new = outcome.repaired[0].repaired_as.unwrap();
    let notes = repo.notes().unwrap().current_notes();
    assert!(notes.is_pinned(&new) && notes.suspect_note(&new).is_some());
    assert_eq!(repo.snapshot(&new).unwrap().tags, ["kept"]);
    let catalog = repo.catalog().unwrap();
    assert_eq!(
        catalog
            .snapshots
            .iter()
            .map(|stored| stored.id)
            .collect::<Vec<_>>(),
        [new]
    );
    assert!(
        catalog
            .forgotten(&old)
            .unwrap()
            .since
            .words
            .contains(&new.to_hex())
    );
}

#[test]
fn a_database_that_is_kept_as_files_keeps_those_that_are_whole() {
    let mut scene = Scene::empty();
    scene.change(0, 300);
    let mut backup = Backup::new(vec![scene.db()]);
    (backup.databases.pinning, backup.databases.physical) = (PinMode::None, true);
    let outcome = backup.run(&scene.repo(), &OperationReport::default()).unwrap();
    scene.ids.push(outcome.snapshot.unwrap());
    let repo = scene.repo();
    // The largest blob is a piece of a table.
    let lookup = repo.lookup().unwrap();
    let entries = lookup.iter_rows().unwrap().map(Result::unwrap);
    let largest = entries.max_by_key(|entry| entry.location.len).unwrap();
    scene.break_blob(&largest.id);
    let outcome = repair(&repo, RepairMode::Apply).unwrap();
    let holes = &outcome.repaired[0].databases[0].holes;
    assert_eq!(holes.len(), 1);
    assert!(holes[0].file.starts_with("repository/files/0"), "{holes:?}");
    let new = outcome.repaired[0].repaired_as.unwrap();
    let restore = Restore::new(scene.dir.path().join("back"));
    let report = OperationReport::default();
    restore
        .run(&repo, &repo.select(&new.to_hex()).unwrap(), &report)
        .unwrap();
    assert_eq!(report.problems().len(), 1);
    let files = |dir: &std::path::Path| std::fs::read_dir(dir).unwrap().count();
    let lock = usize::from(scene.db().join("LOCK").exists());
    let lost = usize::from(
        !restore
            .target
            .join(&holes[0].file["repository/files/".len()..])
            .exists(),
    );
    assert_eq!(lost, 1);
    assert!(files(&restore.target) + 1 >= files(&scene.db()) - lock - 1);
}

#[test]
fn a_snapshot_that_is_named_is_read_whole() {
    let mut scene = Scene::empty();
    scene.change(0, 500);
    save(&mut scene);
    let repo = scene.repo();
    let named = |id: &ObjectId| RepairSnapshots {
        snapshots: vec![id.to_hex()[..10].to_owned()],
        mode: RepairMode::DryRun,
    };
    let run = |repair: RepairSnapshots| repair.run(&repo, &OperationReport::default()).unwrap();
    assert_eq!(run(named(&scene.ids[0])).repaired, []);
    // Nobody noted it: only who reads finds it.
    scene.break_blob(&scene.leaves(scene.database(&scene.ids[0]).runs().next().unwrap())[1]);
    assert_eq!(repair_alone(&repo, RepairMode::DryRun).unwrap().repaired, []);
    assert_eq!(run(named(&scene.ids[0])).repaired.len(), 1);
}

#[test]
fn a_repair_of_snapshots_that_dies_at_its_nth_call_leaves_them_no_worse() {
    let mut scene = Scene::empty();
    scene.change(0, 250);
    save(&mut scene);
    scene.change(1000, 5);
    save(&mut scene);
    let leaves = scene.leaves(scene.database(&scene.ids[0]).runs().next().unwrap());
    let gone = scene.repo().lookup().unwrap().locations(&leaves[0]).unwrap();
    assert!(gone.len() == 1 && leaves.len() > 1);
    scene.break_blob(&leaves[0]);
    let packs = RepairPacks {
        packs: Vec::new(),
        mode: RepairMode::Apply,
    };
    packs.run(&scene.repo(), &OperationReport::default()).unwrap();
    let repair = |repo: &Repo| repair_alone(repo, RepairMode::Apply).map(drop);
    at_every_call(&scene, repair, |left, what| {
        let repo = left.repo();
        let catalog = repo.catalog().unwrap();
        // Each old state is there as it was, or as a repaired one that is honest, or both.
        for (id, model) in left.ids.iter().zip(&left.models) {
            let of = |root: &DatabaseRoot| root.holes().any(|hole| hole.lost_after() == Some(*id));
            let counting = catalog.snapshots.iter();
            let repaired: Vec<_> = counting
                .filter(|stored| stored.snapshot.databases().any(of))
                .map(|stored| stored.id)
                .collect();
            let old = catalog.snapshots.iter().any(|stored| stored.id == *id);
            assert!(old || repaired.len() == 1, "{what}");
            for new in &repaired {
                assert!(is_honest(&repo, new, model, what) > 0);
            }
            if what.ends_with("again") {
                assert!(!old && repaired.len() == 1, "{what}: {old}, {repaired:?}");
            }
        }
    });
}

#[test]
fn a_pack_that_comes_back_makes_the_old_snapshot_whole_again() {
    let mut scene = Scene::empty();
    scene.change(0, 500);
    save(&mut scene);
    let right = scene.storage.snapshot();
    let leaves = scene.leaves(scene.database(&scene.ids[0]).runs().next().unwrap());
    let broken: Vec<ObjectName> = scene.break_blob(&leaves[1]);
    repair(&scene.repo(), RepairMode::Apply).unwrap();
    for name in broken {
        assert_eq!(name.kind, ObjectKind::Pack);
        let bytes = right.get(name, 1 << 30).unwrap();
        scene.storage.heal(name, &bytes).unwrap();
    }
    let repo = scene.repo();
    let catalog = repo.catalog().unwrap();
    let old = catalog.forgotten(&scene.ids[0]).unwrap();
    levault::ops::undelete::undelete(&repo, old, &OperationReport::default()).unwrap();
    scene.all_come_back();
}
