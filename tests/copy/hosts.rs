//! Snapshots that write-only hosts made.

use levault::keys::{Password, SealedCredential};
use levault::repo::WriteOnlyRepo;

use super::*;

#[test]
fn a_hosts_snapshots_come_into_the_destinations_own_domain() {
    let dir = tempfile::tempdir().unwrap();
    let (storage, owner) = fresh();
    let domain = owner.add_host("host").unwrap();
    let owner = common::open(storage.clone()).unwrap();
    let password = Password::new(b"the file's".to_vec());
    let sealed = owner.credential(domain, &password, SlotCost::cheap()).unwrap();
    let credential = SealedCredential::decode(&sealed)
        .unwrap()
        .unlock(&password)
        .unwrap();
    let settings = RepoSettings {
        cache: levault::repo::CacheLocation::Directory(dir.path().join("cache")),
        ..common::settings()
    };
    let host = WriteOnlyRepo::open(storage, credential, settings).unwrap();
    let (db, own) = (dir.path().join("db"), dir.path().join("own"));
    let mut states = vec![common::fill(&db, 1500, 200)];
    let backup = Backup::new(vec![db.clone()]);
    backup.run_as_host(&host, &OperationReport::default()).unwrap();
    states.push(common::fill(&own, 700, 100));
    common::backup(&owner, &own).unwrap();
    common::write(&db, &[(b"long".to_vec(), Some(common::value(4, 300_000)))]);
    backup.run_as_host(&host, &OperationReport::default()).unwrap();
    states.push(common::scan(&db).unwrap());
    let (_, to) = fresh();
    let outcome = copy(&owner, &to).unwrap();
    assert_eq!(
        (outcome.copied.len(), outcome.refused.len()),
        (3, 0),
        "{outcome:?}"
    );
    holds(&to, &states);
    clean(&to);
    assert_eq!(copy(&owner, &to).unwrap().there, 3);
}
