//! Prune through the library, on a clock that is turned by hand: what it gives back, what it spares, and when.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod common;
#[path = "prune/cost.rs"]
mod cost;

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::hooked::Hooked;
use levault::annotations::CountedSnapshot;
use levault::annotations::{
    DeletionMark, ForgetReason, ForgetRecord, MarkedPack, Note, NoteSubject, ReplacedMark, SnapshotNote,
};
use levault::clock::{Clock, ManualClock, UnixNanos};
use levault::error::{Error, ErrorKind};
use levault::id::ObjectId;
use levault::ops::backup::{Backup, BackupOutcome, PinMode};
use levault::ops::check::{Check, ReadData};
use levault::ops::prune::{Prune, PruneOutcome};
use levault::ops::undelete;
use levault::repo::Repo;
use levault::report::OperationReport;
use levault::storage::StorageVerb;
use levault::storage::{ListedObject, MemoryStorage, ObjectKind, ObjectName, Storage};

const HOUR: i64 = 3600 * 1_000_000_000;

struct Scene {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
    storage: Arc<MemoryStorage>,
    repo: Repo,
    written: Cell<u32>,
    pinning: PinMode,
}

impl Scene {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(UnixNanos(1_700_000_000_000_000_000)));
        let storage = Arc::new(MemoryStorage::with_clock(clock.clone()));
        let repo = common::create(storage.clone()).unwrap().with_clock(clock.clone());
        let dir = tempfile::tempdir().unwrap();
        Self {
            dir,
            clock,
            storage,
            repo,
            written: Cell::new(0),
            pinning: PinMode::None,
        }
    }

    fn db(&self) -> PathBuf {
        self.dir.path().join("db")
    }

    /// Writes new values that compress badly and backs up, in full unless the scene keeps pins; a day passes.
    fn backup(&self, from: u32, to: u32) -> ObjectId {
        let changes: Vec<_> = (from..to)
            .map(|i| (common::key(i), Some(common::value(i + self.written.get(), 900))))
            .collect();
        self.written.set(self.written.get() + 100_000);
        common::write(&self.db(), &changes);
        let outcome = self.save();
        self.clock.advance(24 * HOUR);
        outcome.snapshot.unwrap()
    }

    fn save(&self) -> BackupOutcome {
        let mut backup = Backup::new(vec![self.db()]);
        backup.databases.pinning = self.pinning;
        backup.run(&self.repo, &OperationReport::default()).unwrap()
    }

    fn forget(&self, ids: &[ObjectId]) {
        let mut snapshots: Vec<_> = ids
            .iter()
            .map(|id| {
                let snapshot = self.repo.snapshot(id).unwrap();
                CountedSnapshot {
                    id: *id,
                    domain: snapshot.domain,
                    counter: snapshot.counter,
                }
            })
            .collect();
        snapshots.sort_by_key(|counted| counted.id);
        let forgetting = ForgetRecord {
            when: self.clock.now(),
            why: ForgetReason::ByHand,
            words: "a test".into(),
            snapshots,
        };
        self.repo.put_forget_record(&forgetting).unwrap();
    }

    fn prune(&self) -> PruneOutcome {
        Prune::default()
            .run(&self.repo, &OperationReport::default())
            .unwrap()
    }

    /// Marks, waits, sweeps.
    fn prune_through(&self) -> PruneOutcome {
        self.prune();
        self.clock.advance(73 * HOUR);
        self.prune()
    }

    fn bytes(&self, kind: ObjectKind) -> u64 {
        self.storage
            .list(kind)
            .unwrap()
            .iter()
            .map(|listed| listed.len)
            .sum()
    }

    fn count(&self, kind: ObjectKind) -> usize {
        self.storage.list(kind).unwrap().len()
    }

    fn is_sound(&self) {
        let check = Check { read: ReadData::All };
        let findings = check
            .run(&self.repo, &OperationReport::default())
            .unwrap()
            .findings;
        assert!(findings.is_empty(), "{findings:?}");
    }

    /// Every pack is there.
    fn is_sound_but_for_marks(&self) {
        for stored in self.repo.snapshots().unwrap() {
            common::records(&self.repo, &stored.id.to_hex()).unwrap();
        }
    }

    fn latest_is_right(&self) {
        let model = common::scan(&self.db()).unwrap();
        assert_eq!(common::records(&self.repo, "latest").unwrap(), model);
    }
}

#[test]
fn what_is_forgotten_is_given_back_after_the_grace_and_what_is_left_restores() {
    let scene = Scene::new();
    let old = scene.backup(0, 8_000);
    // Nearly all is written anew: a new base.
    let new = scene.backup(0, 7_000);
    let before = scene.bytes(ObjectKind::Pack);
    scene.forget(&[old]);
    let marked = scene.prune();
    assert!(marked.packs_marked > 0 && marked.swept.is_empty(), "{marked:?}");
    assert!(
        scene.bytes(ObjectKind::Pack) >= before,
        "nothing goes before the grace is over"
    );
    assert!(scene.repo.snapshot(&old).is_ok());
    scene.is_sound();
    scene.clock.advance(71 * HOUR);
    assert!(scene.prune().swept.is_empty(), "an hour before");
    scene.clock.advance(2 * HOUR);
    let swept = scene.prune().swept;
    assert_eq!(swept.snapshots, [old]);
    assert!(!swept.packs.is_empty());
    assert!(scene.bytes(ObjectKind::Pack) < before * 2 / 3);
    assert_eq!(scene.count(ObjectKind::Mark), 0);
    assert_eq!(scene.repo.snapshots().unwrap()[0].id, new);
    scene.latest_is_right();
    scene.is_sound();
}

#[test]
fn pruning_what_is_all_needed_changes_nothing() {
    let scene = Scene::new();
    scene.backup(0, 3_000);
    scene.backup(0, 100);
    let before = scene.storage.names();
    let outcome = scene.prune_through();
    assert!(
        outcome.swept.is_empty() && outcome.packs_marked == 0,
        "{outcome:?}"
    );
    assert_eq!(scene.storage.names(), before);
}

#[test]
fn a_dry_run_says_the_same_and_writes_nothing_but_the_probe() {
    let scene = Scene::new();
    let old = scene.backup(0, 8_000);
    scene.backup(0, 7_000);
    scene.forget(&[old]);
    let before = scene.storage.names();
    let dry = Prune {
        dry_run: true,
        ..Prune::default()
    };
    let planned = dry.run(&scene.repo, &OperationReport::default()).unwrap();
    assert_eq!(scene.storage.names(), before);
    assert_eq!(scene.prune().plan, planned.plan);
}

#[test]
fn a_backup_that_relied_on_a_pack_which_was_marked_meanwhile_stores_it_again() {
    let scene = Scene::new();
    let old = scene.backup(0, 4_000);
    scene.forget(&[old]);
    scene.prune();
    // The same records again: the index knows them all, in packs that are marked.
    let again = scene.save();
    assert!(again.blobs_new > 0);
    scene.clock.advance(80 * HOUR);
    assert!(!scene.prune().swept.packs.is_empty());
    scene.latest_is_right();
    scene.is_sound();
}

#[test]
fn what_is_brought_back_before_the_sweep_is_unmarked_and_stays() {
    let scene = Scene::new();
    let old = scene.backup(0, 4_000);
    scene.backup(0, 3_900);
    scene.forget(&[old]);
    assert!(scene.prune().packs_marked > 0);
    scene.clock.advance(HOUR);
    let said = SnapshotNote::Undelete;
    let about = NoteSubject::Snapshot { id: old, said };
    let when = scene.clock.now();
    scene.repo.put_note(&Note { when, about }).unwrap();
    scene.clock.advance(100 * HOUR);
    let outcome = scene.prune();
    assert!(
        outcome.swept.packs.is_empty() && outcome.swept.snapshots.is_empty(),
        "{outcome:?}"
    );
    assert_eq!(outcome.packs_marked, 0);
    assert_eq!(scene.repo.snapshots().unwrap().len(), 2);
    scene.is_sound();
}

#[test]
fn undelete_takes_the_marks_off_and_a_sweep_that_was_too_early_finds_nothing() {
    for hours in [1, 100] {
        let scene = Scene::new();
        let old = scene.backup(0, 4_000);
        scene.backup(0, 3_900);
        scene.forget(&[old]);
        assert!(scene.prune().packs_marked > 0);
        scene.clock.advance(hours * HOUR);
        let catalog = scene.repo.catalog().unwrap();
        let forgotten = undelete::select_forgotten(&catalog, &old.to_hex()).unwrap();
        undelete::undelete(&scene.repo, forgotten, &OperationReport::default()).unwrap();
        assert_eq!(scene.count(ObjectKind::Mark), 0, "{hours} h");
        scene.is_sound();
        scene.clock.advance(200 * HOUR);
        assert!(scene.prune().swept.is_empty());
        assert_eq!(scene.repo.snapshots().unwrap().len(), 2);
        scene.is_sound();
    }
}

#[test]
fn a_snapshot_that_is_brought_back_while_it_is_swept_is_put_back() {
    let scene = Scene::new();
    let old = scene.backup(0, 4_000);
    scene.backup(0, 3_900);
    scene.forget(&[old]);
    scene.prune();
    scene.clock.advance(100 * HOUR);
    // Right behind the delete of the snapshot, somebody else's note is there.
    let note = {
        let (repo, when) = (scene.repo.clone(), scene.clock.now());
        let about = NoteSubject::Snapshot {
            id: old,
            said: SnapshotNote::Undelete,
        };
        move || {
            let about = about.clone();
            repo.put_note(&Note { when, about }).unwrap();
        }
    };
    let storage = Hooked::before(&scene.storage, |_| Ok(())).behind(move |asked| {
        if (asked.verb, asked.kind) == (StorageVerb::Delete, ObjectKind::Snapshot) {
            note();
        }
    });
    let storage = Arc::new(storage);
    let stopped = Prune::default().run(&scene.repo.with_storage(storage), &OperationReport::default());
    assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(scene.repo.snapshots().unwrap().len(), 2);
    scene.is_sound_but_for_marks();
    let swept = scene.prune().swept;
    assert!(swept.packs.is_empty() && swept.snapshots.is_empty(), "{swept:?}");
    scene.is_sound();
}

#[test]
fn forgotten_after_its_packs_were_marked_it_is_kept_as_long_as_it_may_come_back() {
    let scene = Scene::new();
    let old = scene.backup(0, 4_000);
    scene.backup(0, 3_900);
    scene.forget(&[old]);
    scene.prune();
    // Brought back, and forgotten again much later: its own grace counts from then.
    scene.clock.advance(50 * HOUR);
    let about = NoteSubject::Snapshot {
        id: old,
        said: SnapshotNote::Undelete,
    };
    let when = scene.clock.now();
    scene.repo.put_note(&Note { when, about }).unwrap();
    scene.clock.advance(HOUR);
    scene.forget(&[old]);
    scene.clock.advance(30 * HOUR);
    let swept = scene.prune().swept;
    assert!(swept.packs.is_empty() && swept.snapshots.is_empty(), "{swept:?}");
    assert!(scene.repo.snapshot(&old).is_ok());
    scene.clock.advance(80 * HOUR);
    assert_eq!(scene.prune().swept.snapshots, [old]);
    scene.is_sound();
}

#[test]
fn young_packs_are_let_be_and_a_grace_that_is_too_short_is_refused() {
    let scene = Scene::new();
    let old = scene.backup(0, 4_000);
    scene.clock.advance(-23 * HOUR);
    scene.forget(&[old]);
    assert_eq!(scene.prune().packs_marked, 0);
    let hasty = Prune {
        grace: Duration::from_secs(3600),
        ..Prune::default()
    };
    let error = hasty.run(&scene.repo, &OperationReport::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    let unsafe_ = Prune {
        grace: Duration::ZERO,
        unsafe_grace: true,
        ..Prune::default()
    };
    let outcome = unsafe_.run(&scene.repo, &OperationReport::default()).unwrap();
    assert!(!outcome.swept.packs.is_empty(), "at once");
    assert_eq!(scene.count(ObjectKind::Pack), 0);
}

#[test]
fn a_wrong_clock_or_a_lease_of_another_stops_it() {
    let scene = Scene::new();
    scene.backup(0, 500);
    let late = Arc::new(ManualClock::new(UnixNanos(scene.clock.now().0 + HOUR)));
    let error = Prune::default().run(&scene.repo.with_clock(late), &OperationReport::default());
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Limit);
    let lease = scene.repo.lease("somebody else's prune").unwrap();
    let error = Prune::default()
        .run(&scene.repo, &OperationReport::default())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.to_string().contains("somebody else's prune"), "{error}");
    std::mem::forget(lease);
    scene.clock.advance(3 * HOUR);
    scene.prune();
    assert_eq!(scene.count(ObjectKind::Lease), 0);
}

#[test]
fn a_lease_that_could_not_be_fetched_stays_and_stops_it() {
    let scene = Scene::new();
    scene.backup(0, 500);
    std::mem::forget(scene.repo.lease("another prune").unwrap());
    let hooked = Hooked::before(&scene.storage, |asked| match asked.name {
        Some(name) if asked.verb == StorageVerb::Get && name.kind == ObjectKind::Lease => {
            Err(Error::new(ErrorKind::Io, "the network is gone"))
        }
        _ => Ok(()),
    });
    let repo = common::open(Arc::new(hooked))
        .unwrap()
        .with_clock(scene.clock.clone());
    let error = repo.lease("a prune").err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    assert_eq!(scene.count(ObjectKind::Lease), 1);
    let error = scene.repo.lease("a prune").err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Busy);
}

#[test]
fn a_snapshot_or_a_segment_that_cannot_be_read_stops_it_before_anything_goes() {
    for kind in [
        ObjectKind::Snapshot,
        ObjectKind::Index,
        ObjectKind::Note,
        ObjectKind::Mark,
    ] {
        let scene = Scene::new();
        let old = scene.backup(0, 4_000);
        scene.backup(0, 3_900);
        scene.forget(&[old]);
        scene.prune();
        let about = NoteSubject::Snapshot {
            id: old,
            said: SnapshotNote::Pin,
        };
        scene
            .repo
            .put_note(&Note {
                when: scene.clock.now(),
                about,
            })
            .unwrap();
        scene.clock.advance(100 * HOUR);
        let name = scene.storage.list(kind).unwrap().last().unwrap().name;
        scene.storage.corrupt(name, |bytes| bytes[150] ^= 1);
        let before = scene.storage.names();
        let stopped = Prune::default().run(&scene.repo, &OperationReport::default());
        // A forgotten snapshot's damage is in nobody's way.
        if kind == ObjectKind::Snapshot && name.id == old {
            continue;
        }
        assert!(stopped.is_err(), "{kind:?}");
        assert_eq!(scene.storage.names(), before, "{kind:?}");
    }
}

#[test]
fn the_index_forgets_what_is_swept_and_small_segments_become_few() {
    let mut scene = Scene::new();
    scene.pinning = PinMode::default();
    let mut all = Vec::new();
    for round in 0..40 {
        all.push(scene.backup(round * 3, round * 3 + 5));
    }
    let before = scene.count(ObjectKind::Index);
    assert!(before >= 40);
    scene.forget(&all[..39]);
    scene.prune_through();
    scene.prune_through();
    let (segments, packs) = (scene.count(ObjectKind::Index), scene.count(ObjectKind::Pack));
    assert!(segments < 4 && packs < 6, "{segments} segments, {packs} packs");
    scene.latest_is_right();
    scene.is_sound();
    // An increment on what was pruned.
    scene.backup(0, 50);
    scene.latest_is_right();
    scene.is_sound();
}

/// Increments over one base, all overwriting the same records; the last one's name.
fn hiding_stack(scene: &Scene) -> ObjectId {
    let base = scene.backup(0, 4_000);
    let mut ids = vec![base];
    ids.extend((0..3).map(|_| scene.backup(0, 400)));
    let last = ids.pop().unwrap();
    scene.forget(&ids);
    last
}

fn runs(scene: &Scene, id: &ObjectId) -> usize {
    let snapshot = scene.repo.snapshot(id).unwrap();
    let database = snapshot.databases().next().unwrap();
    levault::engine::read_records::runs(database, false)
        .unwrap()
        .len()
}

fn keeping_pins() -> Scene {
    Scene {
        pinning: PinMode::default(),
        ..Scene::new()
    }
}

#[test]
fn a_stack_that_hides_much_becomes_one_run_and_its_snapshot_keeps_its_name() {
    let scene = keeping_pins();
    let last = hiding_stack(&scene);
    assert!(runs(&scene, &last) > 1);
    let early = scene.prune();
    assert_eq!(
        early.rebased,
        [],
        "what is forgotten may still be brought back, and has the base"
    );
    scene.clock.advance(73 * HOUR);
    let planned = Prune {
        dry_run: true,
        ..Prune::default()
    }
    .run(&scene.repo, &OperationReport::default());
    let done = scene.prune();
    assert_eq!(done.rebased.len(), 1);
    assert_eq!(planned.unwrap().rebased.len(), 1);
    assert_eq!(done.rebased[0].snapshot, last);
    assert_eq!(runs(&scene, &last), 1);
    scene.clock.advance(73 * HOUR);
    assert!(!scene.prune().swept.packs.is_empty());
    scene.latest_is_right();
    scene.is_sound();
    assert_eq!(scene.prune().rebased, [], "one run hides nothing");
    let fresh = common::create(Arc::new(MemoryStorage::default())).unwrap();
    common::backup(&fresh, &scene.db()).unwrap();
    let listed = fresh.raw_storage().list(ObjectKind::Pack).unwrap();
    let fresh: u64 = listed.iter().map(|listed| listed.len).sum();
    assert!(scene.bytes(ObjectKind::Pack) * 100 < fresh * 105);
}

#[test]
fn increments_go_on_from_a_stack_that_was_stored_anew() {
    let scene = keeping_pins();
    let last = hiding_stack(&scene);
    scene.prune_through();
    assert_eq!(runs(&scene, &last), 1);
    scene.clock.advance(73 * HOUR);
    scene.prune();
    let next = scene.backup(1_000, 1_010);
    assert_eq!(runs(&scene, &next), 2, "it is an increment");
    scene.latest_is_right();
    scene.is_sound();
}

#[test]
fn a_base_that_another_snapshot_needs_is_not_stored_twice() {
    let scene = keeping_pins();
    let base = scene.backup(0, 4_000);
    let last = scene.backup(0, 400);
    assert_eq!(scene.prune_through().rebased, []);
    assert_eq!((runs(&scene, &base), runs(&scene, &last)), (1, 2));
}

#[test]
fn who_read_a_stack_before_it_was_stored_anew_does_not_rest_on_it() {
    let scene = keeping_pins();
    let last = hiding_stack(&scene);
    let seen = scene.repo.catalog().unwrap();
    scene.repo.prove_snapshots(&[last].into(), &seen).unwrap();
    scene.prune_through();
    assert_eq!(runs(&scene, &last), 1);
    let proof = scene.repo.prove_snapshots(&[last].into(), &seen);
    assert_eq!(proof.unwrap_err().kind(), ErrorKind::Busy);
    let seen = scene.repo.catalog().unwrap();
    scene.repo.prove_snapshots(&[last].into(), &seen).unwrap();
}

#[test]
fn a_stack_that_is_not_what_its_snapshot_says_is_left_as_it_is() {
    let scene = keeping_pins();
    let last = hiding_stack(&scene);
    let mut snapshot = scene.repo.snapshot(&last).unwrap();
    let levault::snapshot::SnapshotSource::Database(database) = &mut snapshot.sources[0] else {
        panic!("a database");
    };
    database.set_digest.0[0] ^= 1;
    let wrong = scene.repo.put_snapshot(&snapshot).unwrap();
    scene.forget(&[last]);
    let report = OperationReport::default();
    scene.clock.advance(73 * HOUR);
    Prune::default().run(&scene.repo, &report).unwrap();
    assert!(runs(&scene, &wrong) > 1);
    assert_eq!(report.notices().len(), 1);
}

/// A writer that read the stack before, and proved the snapshot just before it was stored anew, publishes within the hour.
#[test]
fn what_a_stack_rested_on_is_kept_for_the_grace_although_it_was_marked_long_ago() {
    let scene = keeping_pins();
    hiding_stack(&scene);
    scene.clock.advance(73 * HOUR);
    let packs = scene.storage.list(ObjectKind::Pack).unwrap();
    assert_eq!(scene.prune().rebased.len(), 1);
    let mut old: Vec<_> = packs
        .iter()
        .map(|pack| MarkedPack {
            pack: pack.name.id,
            len: pack.len,
        })
        .collect();
    old.sort();
    let mark = scene.repo.marks().unwrap().remove(0);
    let (when, since) = (UnixNanos(0), UnixNanos(1));
    let replaces = Some(ReplacedMark { mark: mark.id, since });
    scene
        .repo
        .put_mark(&DeletionMark {
            when,
            packs: old,
            replaces,
        })
        .unwrap();
    let name = ObjectName::new(ObjectKind::Mark, mark.id);
    scene.storage.delete(name).unwrap();
    assert_eq!(scene.prune().swept.packs, []);
    scene.clock.advance(73 * HOUR);
    assert!(!scene.prune().swept.packs.is_empty());
    scene.latest_is_right();
    scene.is_sound();
}

fn epochs(scene: &Scene) -> Vec<u32> {
    let packs = scene.storage.list(ObjectKind::Pack).unwrap();
    let epoch = |pack: &ListedObject| {
        let header = scene.storage.get_range(pack.name, 12, 4).unwrap();
        u32::from_le_bytes(header.try_into().unwrap())
    };
    packs.iter().map(epoch).collect()
}

#[test]
fn after_a_rotation_packs_of_the_old_epoch_are_stored_again_if_that_is_wished() {
    let mut scene = Scene::new();
    scene.backup(0, 4_000);
    scene.repo.rotate_keys().unwrap();
    scene.repo = common::open(scene.storage.clone())
        .unwrap()
        .with_clock(scene.clock.clone());
    assert_eq!(scene.prune().plan.repack, []);
    let prune = Prune {
        repack_outdated: true,
        ..Prune::default()
    };
    let done = prune.run(&scene.repo, &OperationReport::default()).unwrap();
    assert!(!done.plan.repack.is_empty());
    scene.clock.advance(73 * HOUR);
    scene.prune();
    let epochs = epochs(&scene);
    assert!(
        !epochs.is_empty() && epochs.iter().all(|epoch| *epoch == epochs[0] && *epoch > 1),
        "{epochs:?}"
    );
    scene.latest_is_right();
    scene.is_sound();
}

#[test]
fn nothing_is_stacked_on_a_snapshot_whose_note_of_where_its_records_lie_is_lost() {
    for damaged in [false, true] {
        let scene = keeping_pins();
        hiding_stack(&scene);
        scene.prune_through();
        scene.clock.advance(73 * HOUR);
        assert!(!scene.prune().swept.packs.is_empty());
        let notes = scene.storage.list(ObjectKind::Note).unwrap();
        assert_eq!(notes.len(), 2, "it stands twice");
        scene.storage.delete(notes[0].name).unwrap();
        scene.latest_is_right();
        if damaged {
            scene.storage.corrupt(notes[1].name, |bytes| bytes.truncate(99));
        } else {
            scene.storage.delete(notes[1].name).unwrap()
        }
        let next = scene.backup(1_000, 1_010);
        assert_eq!(runs(&scene, &next), 1, "everything was read");
        scene.latest_is_right();
    }
}

/// A disk on which nothing is left: a pack that is deleted makes room, and nothing else.
fn full_disk(storage: &Arc<MemoryStorage>) -> Arc<dyn Storage> {
    let (stored, room) = (storage.clone(), AtomicU64::new(0));
    let full = Hooked::before(storage, move |asked| {
        let len = asked.bytes.end;
        let deleted = asked
            .name
            .filter(|name| (asked.verb, name.kind) == (StorageVerb::Delete, ObjectKind::Pack));
        let freed = deleted.map_or(0, |name| stored.stat(name).map_or(0, |listed| listed.len));
        room.fetch_add(freed, Ordering::SeqCst);
        let taken = |left: u64| left.checked_sub(len);
        if asked.verb != StorageVerb::Put
            || room
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, taken)
                .is_ok()
        {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Full, "no space left"))
        }
    });
    Arc::new(full)
}

#[test]
fn a_full_disk_is_given_back_what_is_ripe() {
    let scene = Scene::new();
    let old = scene.backup(0, 8_000);
    scene.backup(0, 7_000);
    scene.forget(&[old]);
    scene.prune();
    scene.clock.advance(73 * HOUR);
    let full = full_disk(&scene.storage);
    let done = Prune::default()
        .run(&scene.repo.with_storage(full), &OperationReport::default())
        .unwrap();
    assert!(!done.swept.packs.is_empty());
    scene.latest_is_right();
    scene.is_sound();
}
