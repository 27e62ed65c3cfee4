//! What a prune writes again: only what gives back enough, and nothing compressed twice.

use std::collections::BTreeMap;

use levault::compress::Compression;
use levault::id::BlobId;
use levault::repo::{BlobReader, BlobWriter, RepoSettings};

use super::*;

/// Short records: what a record costs beside its key and value is much of it.
fn short(scene: &Scene, numbers: std::ops::Range<u32>, round: u32) -> ObjectId {
    let value = |i: u32| Some(common::value(i + round * 100_000, 20));
    let changes: Vec<_> = numbers.map(|i| (common::key(i), value(i))).collect();
    common::write(&scene.db(), &changes);
    let saved = scene.save();
    scene.clock.advance(24 * HOUR);
    saved.snapshot.unwrap()
}

fn wasting_nothing() -> Prune {
    Prune {
        unused_share_max: 0.0,
        ..Prune::default()
    }
}

#[test]
fn a_stack_that_hides_little_is_left_unless_nothing_may_be_wasted() {
    let scene = keeping_pins();
    let base = short(&scene, 0..20_000, 0);
    let last = short(&scene, 0..100, 1);
    scene.forget(&[base]);
    assert_eq!(scene.prune_through().rebased, []);
    assert_eq!(runs(&scene, &last), 2);
    let done = wasting_nothing()
        .run(&scene.repo, &OperationReport::default())
        .unwrap();
    assert_eq!(done.rebased.len(), 1);
    assert_eq!(runs(&scene, &last), 1);
    scene.latest_is_right();
}

#[test]
fn a_stack_that_shows_all_it_has_is_never_stored_anew() {
    let scene = keeping_pins();
    let base = short(&scene, 0..4_000, 0);
    let last = short(&scene, 4_000..6_000, 1);
    scene.forget(&[base]);
    scene.clock.advance(73 * HOUR);
    let done = wasting_nothing()
        .run(&scene.repo, &OperationReport::default())
        .unwrap();
    assert_eq!((done.rebased, runs(&scene, &last)), (vec![], 2));
}

#[test]
fn what_a_stack_is_said_to_give_back_is_about_what_it_gives() {
    let scene = keeping_pins();
    hiding_stack(&scene);
    scene.clock.advance(73 * HOUR);
    let before = scene.bytes(ObjectKind::Pack);
    let stack = scene.prune().rebased.remove(0);
    let stored = scene.bytes(ObjectKind::Pack) - before;
    scene.clock.advance(73 * HOUR);
    scene.prune();
    let given = before - scene.bytes(ObjectKind::Pack);
    let about = |said: u64, is: u64| (is * 4 / 5..is * 6 / 5).contains(&said);
    assert!(
        about(stack.shown, scene.bytes(ObjectKind::Pack)),
        "{stack:?}, stored {stored}"
    );
    assert!(about(stack.hidden, given), "{stack:?}, given back {given}");
}

/// Stored length of every blob that lies in a pack which is there.
fn lens(scene: &Scene) -> BTreeMap<BlobId, u32> {
    let entries = scene.repo.lookup().unwrap();
    let entries = entries.iter_rows().unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.id, entry.location.len)).collect()
}

/// Records that compress well, stored with all care.
fn pressed_hard() -> Scene {
    let mut scene = Scene::new();
    let settings = RepoSettings {
        compression: Compression::Max,
        ..common::settings()
    };
    scene.repo = Repo::open(scene.storage.clone(), &common::password(), settings)
        .unwrap()
        .with_clock(scene.clock.clone());
    let text = |i: u32| format!("what is said of record {i} is said of {} ", i / 7).repeat(9);
    let changes: Vec<_> = (0..4_000)
        .map(|i| (common::key(i), Some(text(i).into_bytes())))
        .collect();
    common::write(&scene.db(), &changes);
    scene.save();
    scene
}

/// Stores again all that there is, under new keys and by a program that presses less.
fn store_again(scene: &mut Scene) -> PruneOutcome {
    scene.repo.rotate_keys().unwrap();
    scene.repo = common::open(scene.storage.clone())
        .unwrap()
        .with_clock(scene.clock.clone());
    scene.clock.advance(24 * HOUR);
    let prune = Prune {
        repack_outdated: true,
        ..Prune::default()
    };
    let done = prune.run(&scene.repo, &OperationReport::default()).unwrap();
    scene.clock.advance(73 * HOUR);
    scene.prune();
    done
}

#[test]
fn what_is_stored_again_stays_as_it_was_packed() {
    let mut scene = pressed_hard();
    let before = lens(&scene);
    assert!(!store_again(&mut scene).plan.repack.is_empty());
    assert_eq!(lens(&scene), before);
    scene.latest_is_right();
    scene.is_sound();
}

#[test]
fn what_is_damaged_where_it_was_to_be_kept_is_stored_again_from_another_copy() {
    let mut scene = pressed_hard();
    let first = scene.storage.list(ObjectKind::Pack).unwrap();
    let packs = first.iter().map(|pack| pack.name.id).collect();
    let lookup = scene.repo.lookup().unwrap();
    let entries: Vec<_> = lookup.iter_rows().unwrap().map(Result::unwrap).collect();
    let reader = BlobReader::new(&scene.repo, &lookup);
    let report = OperationReport::default();
    let mut writer = BlobWriter::start_without(&scene.repo, &report, &packs).unwrap();
    scene.clock.advance(HOUR);
    let copies = entries
        .iter()
        .map(|entry| reader.read(entry.location.kind, &entry.id).unwrap());
    writer.add_named(copies.collect()).unwrap();
    writer.finish().unwrap();
    for entry in entries.iter().step_by(2) {
        let name = ObjectName::new(ObjectKind::Pack, entry.location.pack);
        scene
            .storage
            .corrupt(name, |bytes| bytes[entry.location.offset as usize + 20] ^= 1);
    }
    assert!(!store_again(&mut scene).plan.repack.is_empty());
    scene.latest_is_right();
    scene.is_sound();
}

#[test]
fn what_is_damaged_and_nowhere_else_is_not_stored_again_and_not_marked() {
    let mut scene = pressed_hard();
    let entry = scene
        .repo
        .lookup()
        .unwrap()
        .iter_rows()
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let name = ObjectName::new(ObjectKind::Pack, entry.location.pack);
    scene
        .storage
        .corrupt(name, |bytes| bytes[entry.location.offset as usize + 20] ^= 1);
    scene.repo.rotate_keys().unwrap();
    scene.repo = common::open(scene.storage.clone())
        .unwrap()
        .with_clock(scene.clock.clone());
    scene.clock.advance(24 * HOUR);
    let prune = Prune {
        repack_outdated: true,
        ..Prune::default()
    };
    let error = prune.run(&scene.repo, &OperationReport::default()).unwrap_err();
    assert!(
        error.to_string().contains(&entry.id.short().to_string()),
        "{error}"
    );
    assert_eq!(scene.count(ObjectKind::Mark), 0);
}
