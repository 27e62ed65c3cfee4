//! The storage fails at its n-th call, for every n of a backup: dead from then on, a reply lost, a torn object, a
//! full disk. Whatever was reported before must still be there, and the next backup must succeed.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod common;

use std::sync::Arc;

use levault::ops::check::{Check, ReadData};
use levault::report::OperationReport;
use levault::storage::faulty_storage::{FaultyStorage, InjectedFault};
use levault::storage::{MemoryStorage, Storage};

struct Before {
    dir: tempfile::TempDir,
    storage: MemoryStorage,
    first: common::Model,
    second: common::Model,
}

/// A repository with one snapshot, and a database that has changed since.
fn before() -> Before {
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("db");
    let first = common::fill(&db, 400, 300);
    let storage = Arc::new(MemoryStorage::default());
    let repo = common::create(storage.clone()).unwrap();
    common::backup(&repo, &db).unwrap();
    let changes: Vec<_> = (300..700)
        .map(|i| (common::key(i), (i % 3 > 0).then(|| common::value(i + 1, 200))))
        .collect();
    common::write(&db, &changes);
    let second = common::scan(&db).unwrap();
    assert_ne!(first, second);
    Before {
        dir,
        storage: storage.snapshot(),
        first,
        second,
    }
}

/// Findings about objects that no snapshot rests on are the store's tearing, not a loss.
#[derive(Clone, Copy, PartialEq)]
enum Leftovers {
    None,
    MayBeTorn,
}

fn sound_after(
    before: &Before,
    storage: Arc<MemoryStorage>,
    what: &str,
    reported: bool,
    leftovers: Leftovers,
) {
    let repo = common::open(storage).unwrap_or_else(|error| panic!("{what}: open: {error}"));
    let clean = |repo| {
        let findings = Check { read: ReadData::All }
            .run(repo, &OperationReport::default())
            .unwrap()
            .findings;
        let lost: Vec<_> = findings
            .iter()
            .filter(|found| leftovers == Leftovers::None || !found.affects.is_empty())
            .collect();
        assert!(lost.is_empty(), "{what}: {lost:?}");
    };
    clean(&repo);
    let snapshots = repo.snapshots().unwrap();
    assert!(
        snapshots.len() > usize::from(reported),
        "{what}: a reported snapshot is gone"
    );
    assert_eq!(
        common::records(&repo, &snapshots[0].id.to_hex()).unwrap(),
        before.first,
        "{what}"
    );
    common::backup(&repo, &before.dir.path().join("db"))
        .unwrap_or_else(|error| panic!("{what}: again: {error}"));
    assert_eq!(common::records(&repo, "latest").unwrap(), before.second, "{what}");
    clean(&repo);
}

/// Backs up once for every call that a backup makes, that call meeting a fault.
fn at_every_call(
    leftovers: Leftovers,
    fault: impl Fn(FaultyStorage<Arc<MemoryStorage>>, u64) -> FaultyStorage<Arc<MemoryStorage>>,
) {
    let before = before();
    let db = before.dir.path().join("db");
    let mut failed = 0;
    for call in 1.. {
        let storage = Arc::new(before.storage.snapshot());
        let repo = common::open(storage.clone()).unwrap();
        let faulty = Arc::new(fault(FaultyStorage::new(storage.clone()), call));
        let result = common::backup(&repo.with_storage(faulty.clone() as Arc<dyn Storage>), &db);
        failed += u32::from(result.is_err());
        sound_after(
            &before,
            storage,
            &format!("call {call}"),
            result.is_ok(),
            leftovers,
        );
        if faulty.calls() < call {
            assert!(result.is_ok());
            assert!(failed >= 5, "only {failed} faults were felt");
            return;
        }
    }
}

#[test]
fn a_store_that_dies_at_its_nth_call_loses_nothing_reported() {
    at_every_call(Leftovers::None, FaultyStorage::dead_from);
}

#[test]
fn a_lost_reply_loses_nothing_reported() {
    at_every_call(Leftovers::None, |faulty, call| {
        faulty.fail_at(call, InjectedFault::LostReply).dead_from(call + 1)
    });
}

#[test]
fn a_full_disk_loses_nothing_reported() {
    at_every_call(Leftovers::None, |faulty, call| {
        faulty.fail_at(call, InjectedFault::Full)
    });
}

#[test]
fn a_torn_object_is_never_relied_on() {
    at_every_call(Leftovers::MayBeTorn, |faulty, call| {
        faulty.fail_at(call, InjectedFault::TornWrite).dead_from(call + 1)
    });
}

#[test]
fn an_init_that_dies_at_its_nth_call_leaves_a_place_that_can_be_used() {
    for call in 1.. {
        let storage = Arc::new(MemoryStorage::default());
        let faulty = Arc::new(FaultyStorage::new(storage.clone()).dead_from(call));
        if common::create(faulty).is_ok() {
            assert!(call > 8, "only {call} calls");
            return;
        }
        let repo = common::open(storage.clone())
            .or_else(|_| common::create(storage))
            .unwrap_or_else(|error| panic!("call {call}: neither opens nor begins anew: {error}"));
        assert!(repo.snapshots().unwrap().is_empty());
    }
}
