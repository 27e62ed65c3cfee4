//! The storage fails at the n-th call of a host's backup, for every n: what was reported is there, and the next one
//! succeeds without a delete and without a key of the owner's.

use levault::storage::faulty_storage::{FaultyStorage, InjectedFault};

use super::*;

struct Before {
    scene: Scene,
    domain: DomainId,
    first: common::Model,
    second: common::Model,
}

fn before() -> Before {
    let mut scene = Scene::new();
    let host = scene.host("web");
    let db = scene.path("db");
    let first = common::fill(&db, 200, 300);
    backup(&host, &db);
    let changes: Vec<_> = (150..300)
        .map(|i| (common::key(i), Some(common::value(i + 1, 200))))
        .collect();
    common::write(&db, &changes);
    let second = common::scan(&db).unwrap();
    Before {
        domain: host.domain(),
        scene,
        first,
        second,
    }
}

fn try_with(
    before: &Before,
    fault: impl Fn(FaultyStorage<MemoryStorage>) -> FaultyStorage<MemoryStorage>,
) -> (bool, u64, Arc<MemoryStorage>) {
    let faulty = Arc::new(fault(FaultyStorage::new(before.scene.storage.snapshot())));
    // No memory and no pins: the whole of a backup.
    let settings = common::settings();
    let credential = before.scene.credential(before.domain);
    let backup = Backup {
        databases: levault::ops::backup::DatabaseBackupOptions {
            pinning: levault::ops::backup::PinMode::None,
            ..Default::default()
        },
        ..Backup::new(vec![before.scene.path("db")])
    };
    let host = WriteOnlyRepo::open(faulty.clone(), credential, settings);
    let done = host.and_then(|host| backup.run_as_host(&host, &OperationReport::default()));
    let storage = Arc::new(faulty.inner().snapshot());
    (done.is_ok(), faulty.calls(), storage)
}

fn sound(before: &Before, storage: &Arc<MemoryStorage>, reported: bool, what: &str) {
    let owner = common::open(storage.clone()).unwrap();
    let findings = Check { read: ReadData::All }
        .run(&owner, &OperationReport::default())
        .unwrap()
        .findings;
    let lost: Vec<_> = findings
        .iter()
        .filter(|found| !found.affects.is_empty())
        .collect();
    assert!(lost.is_empty(), "{what}: {lost:?}");
    let snapshots = owner.snapshots().unwrap();
    assert!(snapshots.len() > usize::from(reported), "{what}");
    assert_eq!(
        common::records(&owner, &snapshots[0].id.to_hex()).unwrap(),
        before.first,
        "{what}"
    );
    let again = WriteOnlyRepo::open(
        storage.clone(),
        before.scene.credential(before.domain),
        common::settings(),
    );
    let outcome = backup(&again.unwrap(), &before.scene.path("db"));
    assert_eq!(records(&owner, &outcome), before.second, "{what}");
}

#[test]
fn a_host_that_dies_at_any_call_leaves_what_was_reported_and_is_in_nobodys_way() {
    let before = before();
    let (done, calls, _) = try_with(&before, |faulty| faulty);
    assert!(done && calls > 10, "{calls} calls");
    for call in 0..calls {
        let (done, _, storage) = try_with(&before, |faulty| faulty.dead_from(call));
        sound(&before, &storage, done, &format!("dead from call {call}"));
        for fault in [
            InjectedFault::LostReply,
            InjectedFault::TornWrite,
            InjectedFault::Full,
        ] {
            let (done, _, storage) = try_with(&before, |faulty| faulty.fail_at(call, fault));
            sound(&before, &storage, done, &format!("{fault:?} at call {call}"));
        }
    }
}
