//! docs/RECOVERY.md, row by row: the damage, what `check` says of it, what the repair that it names saves.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

#[path = "../common/mod.rs"]
mod common;
mod person;
#[path = "../repair/scene.rs"]
mod scene;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;

use levault::annotations::{BadBlob, BadBlobs, DeletionMark, MarkedPack, Note, NoteSubject, SnapshotNote};
use levault::clock::UnixNanos;
use levault::error::ErrorKind;
use levault::id::{BlobId, ObjectId};
use levault::keys::{Password, SlotCost};
use levault::kind::BlobKind;
use levault::ops::check::CheckFinding;
use levault::ops::repair::index::RepairIndex;
use levault::ops::repair::packs::{PackRepairOutcome, RepairPacks};
use levault::ops::repair::snapshots::RepairSnapshots;
use levault::ops::repair::{RepairMode, config};
use levault::report::OperationReport;
use levault::storage::{ObjectKind, ObjectName, Storage};

use scene::{Scene, backup, flip};

const DOCUMENT: &str = include_str!("../../docs/RECOVERY.md");
const SOURCE: &str = include_str!("main.rs");

#[test]
fn every_row_has_its_test_and_every_test_its_row() {
    let rows = DOCUMENT
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let rows: BTreeSet<_> = rows.map(|(name, _)| name).collect();
    let tests = SOURCE.split("#[test]\nfn row_").skip(1);
    let tests: BTreeSet<_> = tests.filter_map(|test| Some(test.split_once('(')?.0)).collect();
    assert!(rows.len() > 15);
    assert_eq!(rows, tests);
}

/// What `check` finds of an object, and the command that it names.
fn named(scene: &Scene, name: ObjectName, command: &str) -> Vec<CheckFinding> {
    let findings = scene.findings();
    let of_it = findings.iter().filter(|finding| finding.object == name.path());
    let of_it: Vec<_> = of_it.cloned().collect();
    assert!(!of_it.is_empty(), "{}: {findings:?}", name.path());
    assert!(
        of_it.iter().all(|finding| finding.helps.contains(command)),
        "{of_it:?}"
    );
    of_it
}

fn repair_index(scene: &Scene) {
    let repair = RepairIndex {
        read_all_packs: false,
        mode: RepairMode::Apply,
    };
    repair.run(&scene.repo(), &OperationReport::default()).unwrap();
}

fn repair_packs(scene: &Scene) -> PackRepairOutcome {
    let repair = RepairPacks {
        packs: Vec::new(),
        mode: RepairMode::Apply,
    };
    repair.run(&scene.repo(), &OperationReport::default()).unwrap()
}

/// After it no snapshot that counts lacks anything, and what is left of each is right.
fn repair_snapshots(scene: &Scene) -> usize {
    let repair = RepairSnapshots {
        snapshots: Vec::new(),
        mode: RepairMode::Apply,
    };
    let outcome = repair.run(&scene.repo(), &OperationReport::default()).unwrap();
    assert_eq!(outcome.failed, []);
    for repaired in &outcome.repaired {
        let at = scene.ids.iter().position(|id| *id == repaired.id).unwrap();
        let new = repaired.repaired_as.unwrap().to_hex();
        let left = common::records(&scene.repo(), &new).unwrap();
        let model = &scene.models[at];
        assert!(left.iter().all(|(key, value)| model.get(key) == Some(value)));
        assert!(left.len() < model.len());
    }
    let hurt: Vec<_> = scene.findings();
    let hurt = hurt.iter().filter(|finding| !finding.affects.is_empty());
    assert_eq!(hurt.count(), 0);
    outcome.repaired.len()
}

/// Damage to a pack, by its bytes; whether it costs anything. What `check` says, then both ends: with a source that has
/// all of it still, and without one.
fn pack_damage(damage: impl Fn(&mut Vec<u8>), costs: bool) {
    let scene = Scene::new();
    let packs = scene.listed(ObjectKind::Pack);
    // That of the newest snapshot's own records: the source still has them.
    let newest = scene.database(scene.ids.last().unwrap());
    let leaf = *scene.leaves(newest.runs().next().unwrap()).last().unwrap();
    let pack = ObjectName::new(
        ObjectKind::Pack,
        scene.repo().lookup().unwrap().locations(&leaf).unwrap()[0].pack,
    );
    assert!(packs.contains(&pack));
    assert!(scene.storage.corrupt(pack, damage));
    // Where trees lead to what is lost, the whole way is named; else this pack's own.
    let whole_way = "levault repair packs --apply".to_owned();
    let own = format!("levault repair packs {} --apply", pack.id.short());
    let findings = named(&scene, pack, "levault repair packs");
    let names = |finding: &CheckFinding| finding.helps.contains(&whole_way) || finding.helps.contains(&own);
    assert!(findings.iter().all(names), "{findings:?}");
    let with_source = scene.on(&scene.storage);
    let outcome = repair_packs(&scene);
    assert_eq!(!outcome.lost.is_empty(), costs, "{outcome:?}");
    assert_eq!(repair_snapshots(&scene) > 0, costs);
    repair_packs(&with_source);
    with_source.saves_and_restores(&scene);
    let last = with_source.ids.last().unwrap().to_hex();
    assert_eq!(
        &common::records(&with_source.repo(), &last).unwrap(),
        scene.models.last().unwrap()
    );
}

#[test]
fn row_pack_header_damaged() {
    pack_damage(|bytes| bytes[60] ^= 1, true);
}

#[test]
fn row_pack_part_damaged() {
    let scene = Scene::new();
    let newest = scene.database(scene.ids.last().unwrap());
    let leaf = scene.leaves(newest.runs().next().unwrap())[1];
    let pack = scene.break_blob(&leaf)[0];
    let findings = named(&scene, pack, "repair packs");
    assert!(
        findings.iter().any(|finding| !finding.affects.is_empty()),
        "{findings:?}"
    );
    let outcome = repair_packs(&scene);
    assert_eq!(
        outcome.lost.iter().map(|blob| blob.id).collect::<Vec<_>>(),
        [leaf]
    );
    let with_source = scene.on(&scene.storage);
    assert!(repair_snapshots(&scene) > 0);
    backup(&with_source.repo(), &scene.db()).unwrap();
    with_source.all_come_back();
    assert_eq!(repair_snapshots(&with_source), 0);
}

#[test]
fn row_pack_directory_damaged() {
    pack_damage(
        |bytes| {
            let at = bytes.len() - 40;
            bytes[at] ^= 1;
        },
        false,
    );
}

#[test]
fn row_pack_trailer_damaged() {
    pack_damage(|bytes| *bytes.last_mut().unwrap() ^= 1, false);
}

#[test]
fn row_pack_cut_short() {
    pack_damage(|bytes| bytes.truncate(bytes.len() / 2), true);
}

#[test]
fn row_pack_gone() {
    let scene = Scene::new();
    let pack = scene.listed(ObjectKind::Pack)[0];
    scene.storage.delete(pack).unwrap();
    named(&scene, pack, "repair packs");
    assert!(!repair_packs(&scene).lost.is_empty());
    let with_source = scene.on(&scene.storage);
    assert!(repair_snapshots(&scene) > 0);
    with_source.saves_and_restores(&scene);
}

#[test]
fn row_directory_and_index_damaged() {
    let scene = Scene::new();
    let pack = scene.listed(ObjectKind::Pack)[0];
    assert!(
        scene
            .storage
            .corrupt(pack, |bytes| *bytes.last_mut().unwrap() ^= 1)
    );
    for segment in scene.listed(ObjectKind::Index) {
        scene.storage.delete(segment).unwrap();
    }
    repair_index(&scene);
    let outcome = repair_packs(&scene);
    assert_eq!(outcome.damaged.len(), 1);
    assert_eq!(outcome.damaged[0].blobs, 0, "nothing says what lies in it");
    assert!(repair_snapshots(&scene) > 0);
    scene.saves_and_restores(&scene);
}

#[test]
fn row_directory_and_segments_damaged() {
    let scene = Scene::new();
    let pack = scene.listed(ObjectKind::Pack)[0];
    assert!(
        scene
            .storage
            .corrupt(pack, |bytes| *bytes.last_mut().unwrap() ^= 1)
    );
    let segments = scene.listed(ObjectKind::Index);
    segments
        .iter()
        .for_each(|segment| flip(&scene.storage, *segment, 150));
    let whole = scene.on(&scene.storage);
    repair_index(&scene);
    // They are kept: a whole copy of one would say all.
    assert!(
        segments
            .iter()
            .all(|segment| scene.listed(ObjectKind::Index).contains(segment))
    );
    segments
        .iter()
        .for_each(|segment| flip(&whole.storage, *segment, 150));
    repair_packs(&whole);
    whole.all_come_back();
    let repair = RepairPacks {
        packs: vec![pack.id.to_hex()],
        mode: RepairMode::Apply,
    };
    repair.run(&scene.repo(), &OperationReport::default()).unwrap();
    repair_index(&scene);
    assert!(
        !segments
            .iter()
            .any(|segment| scene.listed(ObjectKind::Index).contains(segment))
    );
    assert!(repair_snapshots(&scene) > 0);
    scene.saves_and_restores(&scene);
}

#[test]
fn row_segment_damaged() {
    for at in [0, 60, 150] {
        let scene = Scene::new();
        let segment = scene.listed(ObjectKind::Index)[1];
        flip(&scene.storage, segment, at);
        named(&scene, segment, "repair index --apply");
        repair_index(&scene);
        scene.is_sound();
    }
}

#[test]
fn row_segment_gone() {
    let scene = Scene::new();
    let segment = scene.listed(ObjectKind::Index)[1];
    scene.storage.delete(segment).unwrap();
    assert!(!scene.findings().is_empty());
    repair_index(&scene);
    scene.is_sound();
}

fn config_damage(kind: ObjectKind) {
    for at in [None, Some(0), Some(40)] {
        let scene = Scene::new();
        let name = scene.listed(kind)[0];
        match at {
            None => scene.storage.delete(name).unwrap(),
            Some(at) => flip(&scene.storage, name, at),
        }
        named(&scene, name, "repair config --apply");
        config::run(&scene.repo(), RepairMode::Apply).unwrap().unwrap();
        scene.is_sound();
    }
}

#[test]
fn row_config_damaged() {
    config_damage(ObjectKind::Config);
}

#[test]
fn row_config_copy_damaged() {
    config_damage(ObjectKind::ConfigCopy);
}

#[test]
fn row_both_configs_gone() {
    let scene = Scene::new();
    let right = scene.storage.snapshot();
    let names = [ObjectKind::Config, ObjectKind::ConfigCopy].map(|kind| scene.listed(kind)[0]);
    for name in names {
        scene.storage.delete(name).unwrap();
    }
    assert!(common::open(scene.storage.clone()).is_err());
    let bytes = right.get(names[0], 1 << 20).unwrap();
    scene.storage.put_new(names[1], &bytes).unwrap();
    config::run(&scene.repo(), RepairMode::Apply).unwrap().unwrap();
    scene.is_sound();
}

#[test]
fn row_slot_damaged() {
    let scene = Scene::new();
    let first = scene.listed(ObjectKind::Slot)[0];
    let other = Password::new(b"another".to_vec());
    scene
        .repo()
        .add_password(&other, SlotCost::cheap(), "another")
        .unwrap();
    flip(&scene.storage, first, 50);
    assert!(common::open(scene.storage.clone()).is_err());
    let repo = levault::repo::Repo::open(scene.storage.clone(), &other, common::settings()).unwrap();
    repo.add_password(&common::password(), SlotCost::cheap(), "again")
        .unwrap();
    scene.all_come_back();
    assert!(
        scene
            .findings()
            .iter()
            .any(|finding| finding.object == first.path())
    );
}

#[test]
fn row_only_slot_damaged() {
    from_a_copy(ObjectKind::Slot);
}

#[test]
fn row_keyring_damaged() {
    from_a_copy(ObjectKind::Keyring);
}

/// Nothing opens until the object is back.
fn from_a_copy(kind: ObjectKind) {
    let scene = Scene::new();
    let name = scene.listed(kind)[0];
    let bytes = scene.storage.get(name, 1 << 20).unwrap();
    flip(&scene.storage, name, bytes.len() / 2);
    assert!(common::open(scene.storage.clone()).is_err());
    scene.storage.delete(name).unwrap();
    scene.storage.put_new(name, &bytes).unwrap();
    scene.is_sound();
}

#[test]
fn row_snapshot_damaged() {
    let scene = Scene::new();
    let name = ObjectName::new(ObjectKind::Snapshot, scene.ids[1]);
    flip(&scene.storage, name, 130);
    named(&scene, name, "levault forget ID");
    let repo = scene.repo();
    for at in [0, 2] {
        assert_eq!(
            common::records(&repo, &scene.ids[at].to_hex()).unwrap(),
            scene.models[at]
        );
    }
}

#[test]
fn row_snapshot_gone() {
    let scene = Scene::new();
    let name = ObjectName::new(ObjectKind::Snapshot, scene.ids[1]);
    scene.storage.delete(name).unwrap();
    let findings = scene.findings();
    assert!(
        findings.iter().any(|finding| finding.what.contains("is gone")),
        "{findings:?}"
    );
    let repo = scene.repo();
    for at in [0, 2] {
        assert_eq!(
            common::records(&repo, &scene.ids[at].to_hex()).unwrap(),
            scene.models[at]
        );
    }
}

#[test]
fn row_note_damaged() {
    let scene = Scene::new();
    let about = NoteSubject::Snapshot {
        id: scene.ids[0],
        said: SnapshotNote::Pin,
    };
    let when = UnixNanos(1);
    scene.repo().put_note(&Note { when, about }).unwrap();
    let name = scene.listed(ObjectKind::Note)[0];
    flip(&scene.storage, name, 130);
    named(&scene, name, "another copy");
    scene.all_come_back();
}

#[test]
fn row_forgotten_damaged() {
    let scene = Scene::new();
    common::forget(&scene.repo(), scene.ids[0]);
    assert_eq!(scene.repo().snapshots().unwrap().len(), 2);
    let name = scene.listed(ObjectKind::Forgotten)[0];
    flip(&scene.storage, name, 130);
    named(&scene, name, "another copy");
    assert_eq!(scene.repo().snapshots().unwrap().len(), 3);
    scene.all_come_back();
}

#[test]
fn row_mark_damaged() {
    let scene = Scene::new();
    let pack = MarkedPack {
        pack: ObjectId([7; 32]),
        len: 1,
    };
    let mark = DeletionMark {
        when: UnixNanos(1),
        packs: vec![pack],
        replaces: None,
    };
    let id = scene.repo().put_mark(&mark).unwrap();
    let name = ObjectName::new(ObjectKind::Mark, id);
    flip(&scene.storage, name, 130);
    named(&scene, name, "repair packs --apply");
    repair_packs(&scene);
    assert_eq!(scene.listed(ObjectKind::Mark), []);
    scene.is_sound();
}

#[test]
fn row_bad_damaged() {
    let scene = Scene::new();
    let blob = BadBlob {
        id: BlobId([7; 32]),
        kind: BlobKind::Leaf,
    };
    let bad = BadBlobs {
        when: UnixNanos(1),
        domain: levault::repo::OWN_DOMAIN,
        blobs: vec![blob],
    };
    let name = ObjectName::new(ObjectKind::Bad, scene.repo().put_bad_blobs(&bad).unwrap());
    flip(&scene.storage, name, 130);
    named(&scene, name, "repair packs --apply");
    repair_packs(&scene);
    assert_eq!(scene.listed(ObjectKind::Bad), []);
    scene.is_sound();
}

#[test]
fn row_lease_damaged() {
    let scene = Scene::new();
    let repo = scene.repo();
    std::mem::forget(repo.lease("a process that died").unwrap());
    let name = scene.listed(ObjectKind::Lease)[0];
    assert_eq!(repo.lease("another").err().unwrap().kind(), ErrorKind::Busy);
    flip(&scene.storage, name, 130);
    assert_eq!(scene.findings(), []);
    drop(repo.lease("another").unwrap());
    assert_eq!(scene.listed(ObjectKind::Lease), []);
}
