//! `repair index` and `repair config`.

use levault::error::{ErrorKind, Result};
use levault::id::ObjectId;
use levault::ops::repair::index::{IndexOutcome, RepairIndex};
use levault::ops::repair::{RepairMode, config};
use levault::repo::Repo;
use levault::report::OperationReport;
use levault::storage::{ObjectKind, ObjectName, Storage};

use crate::common;
use crate::dying::at_every_call;
use crate::scene::{Scene, flip};

fn repair_index(repo: &Repo, mode: RepairMode, read_all_packs: bool) -> Result<IndexOutcome> {
    let repair = RepairIndex { read_all_packs, mode };
    repair.run(repo, &OperationReport::default())
}

#[test]
fn a_whole_index_is_left_as_it_is() {
    let scene = Scene::new();
    let before = scene.storage.names();
    let outcome = repair_index(&scene.repo(), RepairMode::Apply, false).unwrap();
    assert!(outcome.plan.is_empty(), "{outcome:?}");
    assert_eq!(scene.storage.names(), before);
}

#[test]
fn lost_and_damaged_segments_are_made_again_and_nothing_is_done_unless_it_is_told() {
    let scene = Scene::new();
    let segments = scene.listed(ObjectKind::Index);
    assert!(segments.len() >= 3);
    flip(&scene.storage, segments[0], 200);
    scene.storage.delete(segments[1]).unwrap();
    assert!(!scene.findings().is_empty());
    let before = scene.storage.names();
    let dry = repair_index(&scene.repo(), RepairMode::DryRun, false).unwrap();
    assert_eq!(scene.storage.names(), before);
    assert_eq!(dry.plan.damaged, [segments[0].id]);
    assert!(dry.plan.index.len() >= 2 && dry.blobs > 0, "{dry:?}");
    let done = repair_index(&scene.repo(), RepairMode::Apply, false).unwrap();
    assert_eq!(done, dry);
    scene.is_sound();
    assert!(
        repair_index(&scene.repo(), RepairMode::DryRun, false)
            .unwrap()
            .plan
            .is_empty()
    );
}

#[test]
fn an_index_that_is_lost_whole_comes_back_from_the_packs() {
    for read_all_packs in [false, true] {
        let scene = Scene::new();
        for segment in scene.listed(ObjectKind::Index) {
            scene.storage.delete(segment).unwrap();
        }
        repair_index(&scene.repo(), RepairMode::Apply, read_all_packs).unwrap();
        scene.is_sound();
    }
}

#[test]
fn reading_all_packs_replaces_every_segment() {
    let scene = Scene::new();
    let before = scene.listed(ObjectKind::Index);
    let outcome = repair_index(&scene.repo(), RepairMode::Apply, true).unwrap();
    assert_eq!(outcome.plan.replaced.len(), before.len());
    let after = scene.listed(ObjectKind::Index);
    assert_eq!(after.len(), 1);
    assert!(!before.contains(&after[0]));
    scene.is_sound();
}

#[test]
fn packs_that_are_gone_are_taken_out_and_the_others_stay() {
    for read_all_packs in [false, true] {
        let scene = Scene::new();
        let pack = scene.listed(ObjectKind::Pack)[0];
        scene.storage.delete(pack).unwrap();
        let outcome = repair_index(&scene.repo(), RepairMode::Apply, read_all_packs).unwrap();
        assert_eq!(outcome.plan.gone, [pack.id]);
        let repo = scene.repo();
        let facts = repo.index_summary().unwrap();
        assert!(!facts.packs.contains_key(&pack.id));
        assert_eq!(facts.packs.len(), scene.listed(ObjectKind::Pack).len());
    }
}

#[test]
fn a_pack_without_a_readable_directory_keeps_the_damaged_segment_and_is_told() {
    let scene = Scene::new();
    for segment in scene.listed(ObjectKind::Index) {
        flip(&scene.storage, segment, 150);
    }
    let pack = scene.listed(ObjectKind::Pack)[0];
    assert!(
        scene
            .storage
            .corrupt(pack, |bytes| *bytes.last_mut().unwrap() ^= 1)
    );
    let outcome = repair_index(&scene.repo(), RepairMode::Apply, false).unwrap();
    assert_eq!(outcome.unread.len(), 1);
    assert_eq!(outcome.unread[0].0, pack.id);
    let left = scene.listed(ObjectKind::Index);
    assert!(
        outcome
            .plan
            .damaged
            .iter()
            .all(|id| left.iter().any(|name| name.id == *id))
    );
}

#[test]
fn reading_all_packs_keeps_what_the_index_says_of_a_pack_that_cannot_be_read() {
    let scene = Scene::new();
    let pack = scene.listed(ObjectKind::Pack)[0];
    assert!(
        scene
            .storage
            .corrupt(pack, |bytes| *bytes.last_mut().unwrap() ^= 1)
    );
    let outcome = repair_index(&scene.repo(), RepairMode::Apply, true).unwrap();
    assert_eq!(outcome.unread.len(), 1);
    scene.all_come_back();
}

#[test]
fn a_segment_that_another_program_must_judge_stops_the_repair() {
    let scene = Scene::new();
    let segment = scene.listed(ObjectKind::Index)[0];
    let mut bytes = scene.storage.get(segment, 1 << 20).unwrap();
    bytes[9] = 99;
    let newer = ObjectName::new(ObjectKind::Index, ObjectId(*blake3::hash(&bytes).as_bytes()));
    scene.storage.put_new(newer, &bytes).unwrap();
    let error = repair_index(&scene.repo(), RepairMode::Apply, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooNew, "{error}");
}

#[test]
fn a_repair_of_the_index_that_dies_at_its_nth_call_leaves_it_no_worse() {
    let scene = Scene::new();
    let segments = scene.listed(ObjectKind::Index);
    flip(&scene.storage, segments[0], 200);
    let readable = |scene: &Scene| {
        let repo = scene.repo();
        let reads = |id: &ObjectId| common::records(&repo, &id.to_hex()).is_ok();
        scene.ids.iter().filter(|id| reads(id)).count()
    };
    let before = readable(&scene);
    assert!(before < 3);
    for read_all_packs in [false, true] {
        let repair = |repo: &Repo| repair_index(repo, RepairMode::Apply, read_all_packs).map(drop);
        at_every_call(&scene, repair, |left, what| {
            assert!(readable(left) >= before, "{what}");
            if what.ends_with("again") {
                left.is_sound();
            }
        });
    }
}

#[test]
fn either_copy_of_config_comes_back_from_the_other() {
    let scene = Scene::new();
    let names: Vec<_> = [ObjectKind::Config, ObjectKind::ConfigCopy]
        .map(|kind| scene.listed(kind)[0])
        .into();
    let right = scene.storage.get(names[0], 1 << 20).unwrap();
    assert!(config::run(&scene.repo(), RepairMode::Apply).unwrap().is_none());
    for name in names {
        for damage in [None, Some(0), Some(30), Some(right.len() - 1)] {
            let scene = scene.on(&scene.storage);
            match damage {
                Some(at) => flip(&scene.storage, name, at),
                None => scene.storage.delete(name).unwrap(),
            }
            let before = scene.storage.names();
            let dry = config::run(&scene.repo(), RepairMode::DryRun).unwrap().unwrap();
            assert_eq!(scene.storage.names(), before);
            assert_eq!(dry.object, name.path());
            config::run(&scene.repo(), RepairMode::Apply).unwrap().unwrap();
            assert_eq!(scene.storage.get(name, 1 << 20).unwrap(), right);
            scene.is_sound();
        }
    }
}

#[test]
fn a_repair_of_config_that_dies_leaves_a_repository_that_opens() {
    let scene = Scene::new();
    flip(&scene.storage, scene.listed(ObjectKind::Config)[0], 30);
    let repair = |repo: &Repo| config::run(repo, RepairMode::Apply).map(drop);
    at_every_call(&scene, repair, |left, _| left.all_come_back());
}
