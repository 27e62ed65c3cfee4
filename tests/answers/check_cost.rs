//! What a check of all data reads, watched at the storage: it does not grow with the number of snapshots that share blobs.

use std::sync::Arc;

use levault::id::SetDigest;
use levault::ops::check::{Check, ReadData};
use levault::report::OperationReport;
use levault::snapshot::{DatabaseContent, SnapshotSource};
use levault::storage::{MemoryStorage, ObjectKind, Storage, StorageVerb, TracedStorage};

use crate::common::{backup, create, fill, key, value, write};

/// Bytes that a check of all data reads of packs, for each byte of them, after so many backups of 40 changed keys.
fn read_amplification(backups: u32) -> f64 {
    let storage = Arc::new(TracedStorage::new(MemoryStorage::default()));
    let repo = create(Arc::clone(&storage) as Arc<dyn Storage>).unwrap();
    let db = tempfile::tempdir().unwrap();
    fill(db.path(), 40_000, 100);
    backup(&repo, db.path()).unwrap();
    for round in 1..backups {
        let changes: Vec<_> = (0..40)
            .map(|n| {
                (
                    key((n * 997 + round * 31) % 40_000),
                    Some(value(n + 1000 * round, 90)),
                )
            })
            .collect();
        write(db.path(), &changes);
        backup(&repo, db.path()).unwrap();
    }
    let packs = storage.list(ObjectKind::Pack).unwrap();
    let stored: u64 = packs.iter().map(|pack| pack.len).sum();
    storage.take_calls();
    let outcome = Check { read: ReadData::All }
        .run(&repo, &OperationReport::default())
        .unwrap();
    assert_eq!(outcome.findings, []);
    assert_eq!(outcome.snapshots, u64::from(backups));
    let read: u64 = storage
        .take_calls()
        .iter()
        .filter(|call| call.kind == ObjectKind::Pack)
        .filter(|call| matches!(call.verb, StorageVerb::Get | StorageVerb::GetRange))
        .map(|call| call.bytes)
        .sum();
    read as f64 / stored as f64
}

#[test]
fn a_check_of_all_data_reads_each_leaf_a_few_times_whatever_the_number_of_snapshots() {
    let (few, many) = (read_amplification(5), read_amplification(60));
    assert!(few < 3.2 && many < 3.2, "{few} at 5 snapshots, {many} at 60");
}

/// A base of several ranges, and stacks with changes, deletions and long values in all of them.
#[test]
fn a_stack_whose_records_are_not_those_recorded_is_found_in_whichever_range_they_lie() {
    let repo = create(Arc::new(MemoryStorage::default())).unwrap();
    let db = tempfile::tempdir().unwrap();
    fill(db.path(), 220_000, 100);
    backup(&repo, db.path()).unwrap();
    for round in 1..5u32 {
        let changed = (0..50).map(|n| (key(n * 4_300 + round), Some(value(n + round, 80))));
        let deleted = (0..50).map(|n| (key(n * 4_300 + 100 + round), None));
        let long = (0..3).map(|n| (key(n * 70_000 + round), Some(vec![round as u8; 300_000])));
        write(db.path(), &changed.chain(deleted).chain(long).collect::<Vec<_>>());
        backup(&repo, db.path()).unwrap();
    }
    let check = || {
        let outcome = Check { read: ReadData::All }
            .run(&repo, &OperationReport::default())
            .unwrap();
        outcome.findings
    };
    assert_eq!(check(), []);
    let last = repo.select("latest").unwrap();
    let mut wrong = last.snapshot.clone();
    wrong.previous = Some(last.id);
    wrong.counter += 1;
    let SnapshotSource::Database(database) = &mut wrong.sources[0] else {
        panic!("a database was saved");
    };
    assert!(matches!(&database.content, DatabaseContent::Logical { runs, .. } if runs.len() > 1));
    database.set_digest = SetDigest([7; 32]);
    let id = repo.put_snapshot(&wrong).unwrap();
    let found = check();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].object.contains(&id.to_hex()), "{found:?}");
    assert!(found[0].what.contains("set digest"), "{found:?}");
}
