//! What a copy reads and stores, and how.

use super::*;

#[test]
fn a_new_increment_is_copied_without_reading_what_it_stands_on() {
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("db");
    let (storage, repo) = fresh();
    let mut states = vec![common::fill(&db, 30_000, 200)];
    common::backup(&repo, &db).unwrap();
    let (_, to) = fresh();
    copy(&repo, &to).unwrap();
    common::write(&db, &[(common::key(5), Some(common::value(99, 300)))]);
    common::backup(&repo, &db).unwrap();
    states.push(common::scan(&db).unwrap());
    let (report, traced) = (OperationReport::default(), Arc::new(TracedStorage::new(storage)));
    let from = repo.with_storage(traced.clone());
    let outcome = Copy::default().run(&from, &to, &report, &mut |_| ()).unwrap();
    assert_eq!((outcome.copied.len(), outcome.there), (1, 1));
    assert_eq!(report.records.get(), 1);
    assert!(
        report.bytes_added.get() < 2_000,
        "{} bytes",
        report.bytes_added.get()
    );
    // One leaf, for the value that was there before, and the nodes that lead to it.
    let (read, all) = (pack_bytes(&traced), storage_bytes(&repo));
    assert!(read < all / 20, "{read} of {all} bytes of packs");
    holds(&to, &states);
    clean(&to);
}

/// Bytes that were read of packs.
fn pack_bytes(traced: &TracedStorage<Arc<MemoryStorage>>) -> u64 {
    let calls = traced.take_calls();
    let of_packs = calls.iter().filter(|call| call.kind == ObjectKind::Pack);
    of_packs.map(|call| call.bytes).sum()
}

#[test]
fn of_a_new_base_only_the_leaves_that_changed_are_read() {
    for in_one_copy in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("db");
        let (storage, repo) = fresh();
        let mut states = vec![common::fill(&db, 30_000, 200)];
        common::backup(&repo, &db).unwrap();
        let (_, to) = fresh();
        if !in_one_copy {
            copy(&repo, &to).unwrap();
        }
        common::write(&db, &[(common::key(5), Some(common::value(99, 300)))]);
        states.push(common::scan(&db).unwrap());
        // Without pins everything is read, and the result is a base.
        let whole = Backup {
            databases: levault::ops::backup::DatabaseBackupOptions {
                pinning: levault::ops::backup::PinMode::None,
                ..Default::default()
            },
            ..Backup::new(vec![db])
        };
        whole.run(&repo, &OperationReport::default()).unwrap();
        let (report, traced) = (OperationReport::default(), Arc::new(TracedStorage::new(storage)));
        let from = repo.with_storage(traced.clone());
        Copy::default().run(&from, &to, &report, &mut |_| ()).unwrap();
        let all = storage_bytes(&repo);
        let (read, least) = (pack_bytes(&traced), if in_one_copy { all } else { 0 });
        assert!(
            read < least * 12 / 10 + all / 5,
            "{read} of {all} bytes were read, at once: {in_one_copy}"
        );
        holds(&to, &states);
        clean(&to);
    }
}

fn storage_bytes(repo: &Repo) -> u64 {
    let packs = repo.raw_storage().list(ObjectKind::Pack).unwrap();
    packs.iter().map(|pack| pack.len).sum()
}

#[test]
fn a_destination_that_cuts_as_the_source_does_shares_what_is_backed_up_with_what_is_copied() {
    for like in [true, false] {
        let source = Source::new(1);
        let storage = Arc::new(MemoryStorage::default());
        let (new, password) = (
            NewRepository {
                cost: SlotCost::cheap(),
                ..NewRepository::default()
            },
            common::password(),
        );
        let to = if like {
            Repo::create_like(storage, &password, new, common::settings(), &source.repo)
        } else {
            Repo::create(storage, &password, new, common::settings())
        };
        let to = to.unwrap();
        copy(&source.repo, &to).unwrap();
        let native = common::backup(&to, &source.db()).unwrap();
        assert_eq!(native.blobs_new == 0, like, "{} new blobs", native.blobs_new);
        // Long values are cut by the destination's secret in either case.
        assert!(native.bytes_added < 700_000, "{}", native.bytes_added);
        clean(&to);
        let digest = |id: &ObjectId| to.snapshot(id).unwrap().databases().next().unwrap().set_digest;
        let both = ids(&to);
        assert_eq!(
            digest(&both[0]),
            digest(&both[1]),
            "the digest is that of a backup"
        );
    }
}

#[test]
fn packs_and_compression_are_the_destinations_own() {
    let source = Source::new(3);
    let storage = Arc::new(MemoryStorage::default());
    let settings = RepoSettings {
        pack_bytes: Some(16 << 20),
        compression: Compression::Off,
        ..common::settings()
    };
    let new = NewRepository {
        cost: SlotCost::cheap(),
        ..NewRepository::default()
    };
    let to = Repo::create(storage, &common::password(), new, settings).unwrap();
    copy(&source.repo, &to).unwrap();
    assert!(storage_bytes(&to) > storage_bytes(&source.repo) * 12 / 10);
    holds(&to, &source.states);
    clean(&to);
}

#[test]
fn a_database_that_is_kept_as_files_is_copied_file_by_file_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("db");
    common::fill(&db, 8000, 300);
    let (_, repo) = fresh();
    let physical = Backup {
        databases: levault::ops::backup::DatabaseBackupOptions {
            physical: true,
            ..Default::default()
        },
        ..Backup::new(vec![db.clone()])
    };
    physical.run(&repo, &OperationReport::default()).unwrap();
    let (_, to) = fresh();
    copy(&repo, &to).unwrap();
    common::write(&db, &[(b"one".to_vec(), Some(b"more".to_vec()))]);
    physical.run(&repo, &OperationReport::default()).unwrap();
    let report = OperationReport::default();
    Copy::default().run(&repo, &to, &report, &mut |_| ()).unwrap();
    assert!(
        report.bytes_added.get() < storage_bytes(&to) / 2,
        "{}",
        report.bytes_added.get()
    );
    let target = dir.path().join("back");
    common::restore(&to, "latest", &target).unwrap();
    assert!(common::scan(&target).unwrap() == common::scan(&db).unwrap());
    clean(&to);
}
