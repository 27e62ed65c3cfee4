//! Goal: what a host saves comes back, in the owner's hands and in nobody else's way.

use super::*;

#[test]
fn a_host_backs_up_twice_and_its_owner_restores_both() {
    let mut scene = Scene::new();
    let host = scene.host("web");
    let db = scene.path("db");
    let mut model = common::fill(&db, 2000, 300);
    let first = backup(&host, &db);
    assert_eq!(records(&scene.owner, &first), model);
    common::write(&db, &[(b"new".to_vec(), Some(b"value".to_vec()))]);
    let before = model.clone();
    model.insert(b"new".to_vec(), b"value".to_vec());
    let second = backup(&host, &db);
    assert_eq!(records(&scene.owner, &second), model);
    assert_eq!(records(&scene.owner, &first), before);
    assert!(
        second.bytes_added < first.bytes_added / 4,
        "what is stored is not stored again"
    );
    let snapshot = scene.owner.snapshot(&second.snapshot.unwrap()).unwrap();
    assert_eq!(
        (snapshot.domain, snapshot.counter, snapshot.previous),
        (host.domain(), 2, first.snapshot)
    );
    let restored = scene.path("restored");
    common::restore(&scene.owner, "latest", &restored).unwrap();
    let checked = scene.check();
    assert!(checked.findings.is_empty(), "{:?}", checked.findings);
    assert_eq!(checked.snapshots, 2);
}

#[test]
fn two_hosts_and_the_owner_with_equal_data_share_nothing_and_each_comes_back() {
    let mut scene = Scene::new();
    let hosts = [scene.host("web"), scene.host("mail")];
    let db = scene.path("db");
    let model = common::fill(&db, 1000, 300);
    let by_owner = common::backup(&scene.owner, &db).unwrap();
    let all = [by_owner, backup(&hosts[0], &db), backup(&hosts[1], &db)];
    for outcome in &all {
        assert_eq!(records(&scene.owner, outcome), model);
        // Cuts are keyed as well: it is not to the byte the same.
        let stored = outcome.bytes_added * 10;
        assert!(
            stored > all[0].bytes_added * 9,
            "nobody found what another stored"
        );
    }
    assert!(scene.check().findings.is_empty());
    let latest = scene.owner.select("latest").unwrap();
    assert_eq!(
        Some(latest.id),
        all[0].snapshot,
        "the owner's, though the hosts' are newer"
    );
    for (outcome, number) in all[1..].iter().zip(1..) {
        let words = format!("latest@{number}");
        assert_eq!(Some(scene.owner.select(&words).unwrap().id), outcome.snapshot);
    }
}

/// With delete rights a host, or the storage, can take its snapshots away; a client that saw them says so.
#[test]
fn a_hosts_snapshot_that_goes_without_being_forgotten_is_missed() {
    let mut scene = Scene::new();
    let web = scene.host("web");
    let db = scene.path("db");
    common::fill(&db, 20, 20);
    let first = backup(&web, &db);
    let settings = RepoSettings {
        cache: CacheLocation::Directory(scene.path("cache-owner")),
        ..common::settings()
    };
    let open = || Repo::open(scene.storage.clone(), &common::password(), settings.clone()).unwrap();
    assert_eq!(open().snapshots().unwrap().len(), 1);
    let name = ObjectName::new(ObjectKind::Snapshot, first.snapshot.unwrap());
    scene.storage.delete(name).unwrap();
    assert_eq!(
        open().snapshots().unwrap_err().kind(),
        levault::error::ErrorKind::RolledBack
    );
    assert!(
        scene.owner.snapshots().unwrap().is_empty(),
        "a fresh client cannot tell"
    );
}
