//! `repair packs`, and what everybody makes of blobs that were noted as bad.

use std::sync::Arc;

use levault::annotations::{BadBlob, BadBlobs, DeletionMark, MarkedPack};
use levault::blob::BlobKind;
use levault::clock::{ManualClock, UnixNanos};
use levault::error::{ErrorKind, Result};
use levault::id::{BlobId, ObjectId};
use levault::index::Location;
use levault::ops::backup::{Backup, ReadScope};
use levault::ops::prune::Prune;
use levault::ops::repair::RepairMode;
use levault::ops::repair::index::RepairIndex;
use levault::ops::repair::packs::{BlobFate, PackRepairOutcome, RepairPacks, pack_action};
use levault::repo::{BlobReader, BlobWriter, Repo};
use levault::report::OperationReport;
use levault::snapshot::DatabaseContent;
use levault::storage::{MemoryStorage, ObjectKind, ObjectName, Storage};

use crate::common;
use crate::dying::at_every_call;
use crate::scene::{Scene, backup, flip};

fn repair_packs(repo: &Repo, mode: RepairMode, packs: &[ObjectName]) -> Result<PackRepairOutcome> {
    let repair = RepairPacks {
        packs: packs
            .iter()
            .map(|pack| pack.id.to_hex()[..12].to_owned())
            .collect(),
        mode,
    };
    repair.run(repo, &OperationReport::default())
}

/// A leaf that the newest snapshot has and the first has not, in the pack with the most blobs.
fn a_leaf(scene: &Scene) -> BlobId {
    let leaves = |id| scene.leaves(scene.database(id).runs().next().unwrap());
    let old = leaves(&scene.ids[0]);
    let new = leaves(scene.ids.last().unwrap()).into_iter();
    let new = new.filter(|leaf| scene.ids.len() == 1 || !old.contains(leaf));
    new.max_by_key(|leaf| blobs_in(scene, pack_of(scene, leaf)).len())
        .unwrap()
}

fn pack_of(scene: &Scene, id: &BlobId) -> ObjectName {
    let copies = scene.repo().lookup().unwrap().locations(id).unwrap();
    ObjectName::new(ObjectKind::Pack, copies[0].pack)
}

/// Where they begin in the pack, in order.
fn blobs_in(scene: &Scene, pack: ObjectName) -> Vec<u32> {
    let lookup = scene.repo().lookup().unwrap();
    let entries = lookup.iter_rows().unwrap().map(Result::unwrap);
    let here = entries.filter(|entry| entry.location.pack == pack.id);
    let mut begin: Vec<_> = here.map(|entry| entry.location.offset).collect();
    begin.sort_unstable();
    begin
}

fn note_bad(repo: &Repo, id: BlobId) {
    let blob = BadBlob {
        id,
        kind: BlobKind::Leaf,
    };
    repo.put_bad_blobs(&BadBlobs {
        when: UnixNanos(1),
        domain: repo.domain_keys().id(),
        blobs: vec![blob],
    })
    .unwrap();
}

#[test]
fn a_right_copy_elsewhere_wins_and_what_opens_nowhere_is_lost() {
    assert_eq!(pack_action(true, true), BlobFate::Elsewhere);
    assert_eq!(pack_action(false, true), BlobFate::Elsewhere);
    assert_eq!(pack_action(true, false), BlobFate::Again);
    assert_eq!(pack_action(false, false), BlobFate::Lost);
}

#[test]
fn whole_packs_are_left_as_they_are() {
    let scene = Scene::new();
    let before = scene.storage.names();
    let outcome = repair_packs(&scene.repo(), RepairMode::Apply, &[]).unwrap();
    assert_eq!(outcome.damaged, []);
    assert_eq!(outcome.packs_read, scene.listed(ObjectKind::Pack).len() as u64);
    assert_eq!(scene.storage.names(), before, "and the lease is gone");
}

#[test]
fn what_opens_is_stored_again_what_does_not_is_noted_and_the_next_backup_brings_it_back() {
    let scene = Scene::new();
    let leaf = a_leaf(&scene);
    let broken = scene.break_blob(&leaf);
    let before = scene.storage.names();
    let dry = repair_packs(&scene.repo(), RepairMode::DryRun, &broken).unwrap();
    assert_eq!(scene.storage.names(), before);
    assert_eq!(dry.lost.iter().map(|blob| blob.id).collect::<Vec<_>>(), [leaf]);
    assert_eq!((dry.noted, dry.marked.len()), (1, broken.len()));
    assert!(dry.again > 0, "{dry:?}");
    let done = repair_packs(&scene.repo(), RepairMode::Apply, &[]).unwrap();
    assert_eq!(done.lost, dry.lost);
    // What was in the damaged packs is not needed there any more, but for what is lost.
    for pack in &broken {
        scene.storage.delete(*pack).unwrap();
    }
    let readable = |id: &ObjectId| common::records(&scene.repo(), &id.to_hex()).is_ok();
    assert!(!readable(scene.ids.last().unwrap()));
    assert!(readable(&scene.ids[0]));
    backup(&scene.repo(), &scene.db()).unwrap();
    scene.all_come_back();
}

#[test]
fn it_does_the_same_again_and_nothing_more() {
    let scene = Scene::new();
    scene.break_blob(&a_leaf(&scene));
    repair_packs(&scene.repo(), RepairMode::Apply, &[]).unwrap();
    let before = scene.storage.names();
    let again = repair_packs(&scene.repo(), RepairMode::Apply, &[]).unwrap();
    assert_eq!((again.again, again.noted, again.marked.len()), (0, 0, 0));
    assert_eq!(again.lost.len(), 1);
    assert_eq!(scene.storage.names(), before);
}

#[test]
fn a_pack_whose_directory_does_not_open_is_salvaged_by_the_index() {
    let scene = Scene::new();
    for pack in scene.listed(ObjectKind::Pack) {
        let damaged = scene.on(&scene.storage);
        assert!(
            damaged
                .storage
                .corrupt(pack, |bytes| *bytes.last_mut().unwrap() ^= 1)
        );
        let outcome = repair_packs(&damaged.repo(), RepairMode::Apply, &[pack]).unwrap();
        assert_eq!(outcome.lost, []);
        damaged.storage.delete(pack).unwrap();
        damaged.all_come_back();
    }
}

#[test]
fn of_a_pack_that_is_cut_short_the_beginning_is_salvaged() {
    let scene = Scene::new();
    let packs = scene.listed(ObjectKind::Pack).into_iter();
    let pack = packs.max_by_key(|pack| blobs_in(&scene, *pack).len()).unwrap();
    let blobs = blobs_in(&scene, pack);
    let last = *blobs.last().unwrap() as usize;
    assert!(scene.storage.corrupt(pack, |bytes| bytes.truncate(last + 30)));
    let outcome = repair_packs(&scene.repo(), RepairMode::Apply, &[pack]).unwrap();
    assert_eq!((outcome.again as usize, outcome.lost.len()), (blobs.len() - 1, 1));
}

#[test]
fn of_a_pack_whose_header_is_damaged_or_that_is_gone_all_is_lost_that_has_no_copy() {
    for gone in [false, true] {
        let scene = Scene::new();
        let pack = scene.listed(ObjectKind::Pack)[0];
        if gone {
            scene.storage.delete(pack).unwrap()
        } else {
            flip(&scene.storage, pack, 60)
        }
        let outcome = repair_packs(&scene.repo(), RepairMode::Apply, &[pack]).unwrap();
        assert_eq!(outcome.again, 0);
        assert_eq!(outcome.damaged[0].blobs, outcome.damaged[0].broken);
        assert_eq!(
            outcome.lost.len() as u64 + outcome.elsewhere,
            outcome.damaged[0].blobs
        );
        assert_eq!(outcome.marked.len(), usize::from(!gone));
        // Some of it is in the source still.
        scene.saves_and_restores(&scene);
    }
}

/// Stores a second copy of every blob of a pack.
fn copy_pack(scene: &Scene, pack: ObjectName) {
    let (repo, report) = (scene.repo(), OperationReport::default());
    let lookup = repo.lookup().unwrap();
    let reader = BlobReader::new(&repo, &lookup);
    let mut writer = BlobWriter::start_without(&repo, &report, &[pack.id].into()).unwrap();
    for entry in lookup.iter_rows().unwrap().map(Result::unwrap) {
        if entry.location.pack == pack.id {
            writer
                .add_named(vec![reader.read_copy(&entry.location, &entry.id).unwrap()])
                .unwrap();
        }
    }
    writer.finish().unwrap();
}

/// A sweep would take the only one that opens.
#[test]
fn a_copy_in_a_pack_that_is_marked_to_go_is_stored_again() {
    let scene = Scene::new();
    let leaf = a_leaf(&scene);
    let pack = pack_of(&scene, &leaf);
    copy_pack(&scene, pack);
    let repo = scene.repo();
    let copies = repo.lookup().unwrap().locations(&leaf).unwrap();
    let twin = copies.iter().find(|copy| copy.pack != pack.id).unwrap().pack;
    let listed = scene.storage.list(ObjectKind::Pack).unwrap();
    let len = listed.iter().find(|listed| listed.name.id == twin).unwrap().len;
    let packs = vec![MarkedPack { pack: twin, len }];
    repo.put_mark(&DeletionMark {
        when: UnixNanos(1),
        packs,
        replaces: None,
    })
    .unwrap();
    flip(&scene.storage, pack, 60);
    let repo = scene.on(&scene.storage).repo();
    let outcome = repair_packs(&repo, RepairMode::Apply, &[pack]).unwrap();
    assert!(outcome.again > 0 && outcome.lost.is_empty(), "{outcome:?}");
    let copies = repo.lookup().unwrap().locations(&leaf).unwrap();
    let is_new = |copy: &Location| copy.pack != pack.id && copy.pack != twin;
    assert!(
        copies.iter().any(is_new),
        "{copies:?} {outcome:?} {:?}",
        repo.marks()
    );
}

#[test]
fn a_copy_elsewhere_is_opened_and_not_believed() {
    let scene = Scene::new();
    let leaf = a_leaf(&scene);
    let pack = pack_of(&scene, &leaf);
    copy_pack(&scene, pack);
    flip(&scene.storage, pack, 60);
    let outcome = repair_packs(&scene.on(&scene.storage).repo(), RepairMode::Apply, &[pack]).unwrap();
    assert_eq!((outcome.again, outcome.lost.len()), (0, 0));
    assert!(outcome.elsewhere > 0);
    // The other copy of one of them is damaged too, in a pack that nobody named.
    let copies = scene.repo().lookup().unwrap().locations(&leaf).unwrap();
    let other = copies.iter().find(|copy| copy.pack != pack.id).unwrap();
    let name = ObjectName::new(ObjectKind::Pack, other.pack);
    flip(&scene.storage, name, other.offset as usize + 20);
    let outcome = repair_packs(&scene.repo(), RepairMode::Apply, &[pack]).unwrap();
    assert!(outcome.lost.iter().any(|blob| blob.id == leaf), "{outcome:?}");
}

#[test]
fn a_backup_stores_again_what_is_noted_as_bad_and_then_uses_the_copy_that_opens() {
    let scene = Scene::new();
    let leaf = a_leaf(&scene);
    scene.break_blob(&leaf);
    let copies = || scene.repo().lookup().unwrap().locations(&leaf).unwrap().len();
    // Nobody noticed: the index is believed.
    backup(&scene.repo(), &scene.db()).unwrap();
    assert_eq!(copies(), 1);
    note_bad(&scene.repo(), leaf);
    backup(&scene.repo(), &scene.db()).unwrap();
    assert_eq!(copies(), 2, "the packs are not marked: only the note says it");
    scene.all_come_back();
    backup(&scene.repo(), &scene.db()).unwrap();
    assert_eq!(copies(), 2, "the new copy opens, so that it counts");
}

#[test]
fn a_note_on_a_blob_that_was_healed_costs_nothing() {
    let scene = Scene::new();
    let leaf = a_leaf(&scene);
    note_bad(&scene.repo(), leaf);
    let packs = scene.listed(ObjectKind::Pack);
    backup(&scene.repo(), &scene.db()).unwrap();
    assert_eq!(scene.listed(ObjectKind::Pack), packs);
}

#[test]
fn nothing_is_stacked_on_a_state_that_rests_on_a_bad_blob_or_on_a_pack_that_is_gone() {
    for (gone, reindexed) in [(false, false), (true, false), (true, true)] {
        let mut scene = Scene::empty();
        scene.change(0, 400);
        let save = |scene: &Scene| {
            let backup = Backup::new(vec![scene.db()]);
            backup.run(&scene.repo(), &OperationReport::default()).unwrap()
        };
        scene.ids.push(save(&scene).snapshot.unwrap());
        scene.change(1000, 3);
        let outcome = save(&scene);
        scene.ids.push(outcome.snapshot.unwrap());
        assert!(matches!(outcome.databases[0].scope, ReadScope::Changes { .. }));
        let leaf = scene.leaves(scene.database(&scene.ids[0]).runs().next().unwrap())[1];
        if gone {
            let copies = scene.repo().lookup().unwrap().locations(&leaf).unwrap();
            let name = ObjectName::new(ObjectKind::Pack, copies[0].pack);
            scene.storage.delete(name).unwrap();
        } else {
            scene.break_blob(&leaf);
            note_bad(&scene.repo(), leaf);
        }
        if reindexed {
            let repair = RepairIndex {
                read_all_packs: false,
                mode: RepairMode::Apply,
            };
            let outcome = repair.run(&scene.repo(), &OperationReport::default()).unwrap();
            assert_eq!(outcome.plan.gone.len(), 1);
            assert!(outcome.noted > 0);
        }
        scene.change(2000, 3);
        let outcome = save(&scene);
        let ReadScope::Whole { why: Some(why) } = &outcome.databases[0].scope else {
            panic!("{:?}", outcome.databases[0].scope);
        };
        assert!(why.contains("damaged in the repository"), "{why}");
        let model = common::scan(&scene.db()).unwrap();
        assert_eq!(common::records(&scene.repo(), "latest").unwrap(), model);
        scene.change(3000, 3);
        let outcome = save(&scene);
        assert!(
            matches!(outcome.databases[0].scope, ReadScope::Changes { .. }),
            "and then it goes on as ever"
        );
    }
}

#[test]
fn a_note_that_says_nothing_any_more_goes_with_a_prune_and_damage_that_hurts_stops_it() {
    const HOUR: i64 = 3600 * 1_000_000_000;
    let clock = Arc::new(ManualClock::new(UnixNanos(1_700_000_000_000_000_000)));
    let mut scene = Scene::empty();
    scene.storage = Arc::new(MemoryStorage::with_clock(clock.clone()));
    let repo = common::create(scene.storage.clone())
        .unwrap()
        .with_clock(clock.clone());
    scene.change(0, 400);
    scene.ids.push(backup(&repo, &scene.db()).unwrap());
    scene.models.push(common::scan(&scene.db()).unwrap());
    clock.advance(24 * HOUR);
    scene.break_blob(&a_leaf(&scene));
    repair_packs(&repo, RepairMode::Apply, &[]).unwrap();
    assert_eq!(scene.listed(ObjectKind::Bad).len(), 1);
    clock.advance(80 * HOUR);
    let prune = || Prune::default().run(&repo, &OperationReport::default());
    let error = prune().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("repair snapshots"), "{error}");
    backup(&repo, &scene.db()).unwrap();
    let marked = scene.listed(ObjectKind::Pack).len();
    for _ in 0..3 {
        prune().unwrap();
        clock.advance(80 * HOUR);
    }
    assert!(scene.listed(ObjectKind::Pack).len() < marked);
    assert_eq!(scene.listed(ObjectKind::Bad), []);
    assert_eq!(scene.listed(ObjectKind::Mark), []);
    scene.is_sound();
}

#[test]
fn damaged_notes_and_marks_are_found_again() {
    let scene = Scene::new();
    scene.break_blob(&a_leaf(&scene));
    repair_packs(&scene.repo(), RepairMode::Apply, &[]).unwrap();
    let (bad, mark) = (
        scene.listed(ObjectKind::Bad)[0],
        scene.listed(ObjectKind::Mark)[0],
    );
    for name in [bad, mark] {
        flip(&scene.storage, name, 130);
    }
    let outcome = repair_packs(&scene.repo(), RepairMode::Apply, &[]).unwrap();
    assert_eq!(outcome.unread.len(), 2);
    assert_eq!((outcome.noted, outcome.marked.len()), (1, 1));
    let repo = scene.repo();
    assert_eq!(repo.bad_blobs().unwrap().lists.len(), 1);
    assert!(repo.bad_blobs().unwrap().unread.is_empty());
    assert_eq!(repo.marks().unwrap().len(), 1);
}

#[test]
fn a_damaged_index_and_ids_that_name_nothing_are_refused() {
    let scene = Scene::new();
    let wrong = RepairPacks {
        packs: vec!["no such".into()],
        mode: RepairMode::DryRun,
    };
    let error = wrong.run(&scene.repo(), &OperationReport::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    flip(&scene.storage, scene.listed(ObjectKind::Index)[0], 200);
    let error = repair_packs(&scene.repo(), RepairMode::DryRun, &[]).unwrap_err();
    assert!(error.to_string().contains("repair index --apply"), "{error}");
}

#[test]
fn a_repair_of_packs_that_dies_at_its_nth_call_leaves_them_no_worse() {
    let scene = Scene::new();
    scene.break_blob(&a_leaf(&scene));
    let readable = |scene: &Scene| {
        let repo = scene.repo();
        let reads = |id: &&ObjectId| common::records(&repo, &id.to_hex()).is_ok();
        scene.ids.iter().filter(reads).count()
    };
    let before = readable(&scene);
    let repair = |repo: &Repo| repair_packs(repo, RepairMode::Apply, &[]).map(drop);
    at_every_call(&scene, repair, |left, what| {
        assert_eq!(readable(left), before, "{what}");
        if what.ends_with("again") {
            assert_eq!(
                left.repo().bad_blobs().unwrap().blobs(&left.repo()).len(),
                1,
                "{what}"
            );
            let marks = left.repo().marks().unwrap();
            assert!(!marks.is_empty(), "{what}");
        }
    });
    assert!(matches!(
        scene.database(&scene.ids[0]).content,
        DatabaseContent::Logical { .. }
    ));
}
