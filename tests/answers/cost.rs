//! What answers read, watched at the storage: the index is in the local cache, the data is cold.

use std::collections::BTreeMap;
use std::sync::Arc;

use levault::engine::database_state::DatabaseState;
use levault::engine::key_selection::KeySelection;
use levault::engine::read_records;
use levault::ops::diff;
use levault::repo::{CacheLocation, Repo, RepoSettings};
use levault::report::OperationReport;
use levault::storage::{MemoryStorage, ObjectKind, Storage, StorageCall, StorageVerb, TracedStorage};

use crate::common::{backup, create, fill, key, password, settings, value, write};

/// Bytes read, and by which calls, of each kind of object.
type Reads = BTreeMap<String, (usize, u64)>;

fn reads(calls: &[StorageCall]) -> Reads {
    let mut reads = Reads::new();
    for call in calls
        .iter()
        .filter(|call| matches!(call.verb, StorageVerb::Get | StorageVerb::GetRange))
    {
        let sum = reads
            .entry(format!("{:?} {:?}", call.kind, call.verb))
            .or_default();
        *sum = (sum.0 + 1, sum.1 + call.bytes);
    }
    reads
}

struct Watched {
    repo: Repo,
    storage: Arc<TracedStorage<MemoryStorage>>,
    _cache: tempfile::TempDir,
}

/// 300,000 records of 100 bytes in two snapshots that differ in one hundred.
fn watched() -> Watched {
    let storage = Arc::new(TracedStorage::new(MemoryStorage::default()));
    create(Arc::clone(&storage) as Arc<dyn Storage>).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let settings = RepoSettings {
        cache: CacheLocation::Directory(cache.path().to_owned()),
        ..settings()
    };
    let repo = Repo::open(Arc::clone(&storage) as Arc<dyn Storage>, &password(), settings).unwrap();
    let db = tempfile::tempdir().unwrap();
    fill(db.path(), 300_000, 100);
    backup(&repo, db.path()).unwrap();
    let changes: Vec<_> = (0..100).map(|n| (key(n * 3000), Some(value(n, 90)))).collect();
    write(db.path(), &changes);
    backup(&repo, db.path()).unwrap();
    Watched {
        repo,
        storage,
        _cache: cache,
    }
}

#[test]
fn answers_read_what_they_need_and_no_more() {
    let watched = watched();
    let [old, new] = ["latest~1", "latest"].map(|words| watched.repo.select(words).unwrap());
    let database = read_records::find_database(&new.snapshot, None).unwrap();
    drop(watched.repo.lookup().unwrap());

    watched.storage.take_calls();
    for n in [1, 3000] {
        assert!(
            read_records::get(&watched.repo, database, &key(n))
                .unwrap()
                .is_some()
        );
        let reads = reads(&watched.storage.take_calls());
        println!("get: {reads:?}");
        let packs: u64 = reads
            .iter()
            .filter(|(what, _)| what.starts_with("Pack"))
            .map(|(_, sum)| sum.1)
            .sum();
        assert!(packs < 256 << 10, "{packs} bytes for one key: {reads:?}");
    }
    assert!(
        read_records::get(&watched.repo, database, b"absent")
            .unwrap()
            .is_none()
    );
    let absent = reads(&watched.storage.take_calls());
    println!("get of a key before the first: {absent:?}");
    assert!(absent.keys().all(|what| !what.starts_with("Pack")), "{absent:?}");

    let (old, new) = (
        DatabaseState::of(&old, None).unwrap(),
        DatabaseState::of(&new, None).unwrap(),
    );
    let started = std::time::Instant::now();
    let report = OperationReport::default();
    let outcome = diff::diff_records(&watched.repo, old, new, &KeySelection::All, &report, &mut |_| {
        Ok(())
    })
    .unwrap();
    assert_eq!(outcome.records(), 100);
    let calls = watched.storage.take_calls();
    println!("diff: {:?} in {:?}", reads(&calls), started.elapsed());
    let opened = calls
        .iter()
        .filter(|call| call.kind == ObjectKind::Pack && call.bytes > 4096)
        .count();
    assert!(opened <= 100 * 2 + 50, "{opened} blobs for 100 changes");
}
