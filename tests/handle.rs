//! A program backs up the database it has open itself, through the handle: on disk the files are read and nothing
//! else is asked of the library; in memory it is iterated, and the snapshot says so.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use levault::leveldb::Comparator;
use levault::ops::backup::Backup;
use levault::report::OperationReport;
use levault::snapshot::SourceTrust;
use levault::source::HandleSource;
use levault::storage::MemoryStorage;
use rusty_leveldb::{DB, Options};

fn records(count: u32) -> common::Model {
    (0..count)
        .map(|i| (common::key(i), common::value(i, 500)))
        .collect()
}

fn fill(db: &mut DB, model: &common::Model) {
    for (key, value) in model {
        db.put(key, value).unwrap();
    }
}

#[test]
fn an_open_database_is_backed_up_and_goes_on_working() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("db");
    let repo = common::create(Arc::new(MemoryStorage::default())).unwrap();
    let mut db = DB::open(&place, Options::default()).unwrap();
    let mut model = records(3000);
    fill(&mut db, &model);
    let backup = Backup::new(vec![place.clone()]);
    let outcome = backup
        .from_handle(
            &repo,
            &mut HandleSource::on_disk(&mut db, &place).unwrap(),
            &OperationReport::default(),
        )
        .unwrap();
    assert_eq!(outcome.databases[0].records, 3000);
    assert_eq!(common::records(&repo, "latest").unwrap(), model);

    // The handle is the owner's again, its lock was not dropped, and what it writes now is in the next backup.
    assert!(
        DB::open(&place, Options::default()).is_err(),
        "the owner's lock is gone"
    );
    db.put(b"later", b"value").unwrap();
    model.insert(b"later".to_vec(), b"value".to_vec());
    let mut handle = HandleSource::on_disk(&mut db, &place).unwrap();
    backup
        .from_handle(&repo, &mut handle, &OperationReport::default())
        .unwrap();
    assert_eq!(common::records(&repo, "latest").unwrap(), model);
    let stored = repo.select("latest").unwrap();
    assert_eq!(
        stored.snapshot.databases().next().unwrap().trust,
        SourceTrust::Verified
    );
}

#[test]
fn a_database_in_memory_is_saved_and_marked_unverified() {
    let dir = tempfile::tempdir().unwrap();
    let repo = common::create(Arc::new(MemoryStorage::default())).unwrap();
    let mut db = DB::open("memory", rusty_leveldb::in_memory()).unwrap();
    let model = records(800);
    fill(&mut db, &model);
    let mut handle = HandleSource::in_memory(&mut db, Comparator::Bytewise);
    let backup = Backup::new(vec![PathBuf::from("memory")]);
    backup
        .from_handle(&repo, &mut handle, &OperationReport::default())
        .unwrap();
    let stored = repo.select("latest").unwrap();
    assert_eq!(
        stored.snapshot.databases().next().unwrap().trust,
        SourceTrust::Unverified
    );
    let restored = common::restore(&repo, "latest", &dir.path().join("back")).unwrap();
    assert_eq!(common::scan(&restored).unwrap(), model);
}
