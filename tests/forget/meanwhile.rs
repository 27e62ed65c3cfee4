//! What is forgotten or swept while somebody else works: backups, proofs, listings, checks.

use super::*;

#[test]
fn an_increment_does_not_stand_on_a_forgotten_snapshot() {
    let scene = Scene::new(2);
    scene.forget(1);
    scene.change();
    let outcome = scene.backup(&scene.repo);
    assert!(
        why_whole(&outcome).contains("is forgotten"),
        "{}",
        why_whole(&outcome)
    );
    assert_eq!(
        common::records(&scene.repo, "latest").unwrap(),
        common::scan(&scene.db()).unwrap()
    );
    scene.is_sound();
    // And the next one stands on that.
    scene.change();
    assert!(matches!(
        scene.backup(&scene.repo).databases[0].scope,
        ReadScope::Changes { .. }
    ));
}

#[test]
fn a_backup_whose_parent_is_forgotten_meanwhile_begins_again_and_reads_everything() {
    let scene = Scene::new(2);
    scene.change();
    let (other, chosen) = (scene.repo.clone(), by_hand(scene.counted(1)));
    let storage = Hooked::once(&scene.storage, (StorageVerb::Put, ObjectKind::Pack), move || {
        forget(&other, &chosen).unwrap();
    });
    let report = OperationReport::default();
    let outcome = Backup::new(vec![scene.db()])
        .run(&scene.repo.with_storage(storage), &report)
        .unwrap();
    assert!(
        why_whole(&outcome).contains("is forgotten"),
        "{}",
        why_whole(&outcome)
    );
    let notices = report.notices();
    assert!(
        notices.iter().any(|notice| notice.contains("begun again")),
        "{notices:?}"
    );
    assert_eq!(
        common::records(&scene.repo, "latest").unwrap(),
        common::scan(&scene.db()).unwrap()
    );
    scene.is_sound();
}

#[test]
fn nothing_is_unchanged_since_a_forgotten_snapshot() {
    let scene = Scene::new(1);
    scene.forget(0);
    let backup = Backup {
        skip_if_unchanged: true,
        ..Backup::new(vec![scene.db()])
    };
    let outcome = backup.run(&scene.repo, &OperationReport::default()).unwrap();
    assert!(outcome.snapshot.is_some() && outcome.unchanged_since.is_none());
}

#[test]
fn nothing_is_unchanged_since_a_snapshot_that_is_forgotten_meanwhile() {
    let scene = Scene::new(1);
    let (other, chosen) = (scene.repo.clone(), by_hand(scene.counted(0)));
    let storage = Hooked::once(&scene.storage, (StorageVerb::List, ObjectKind::Pack), move || {
        forget(&other, &chosen).unwrap();
    });
    let backup = Backup {
        skip_if_unchanged: true,
        ..Backup::new(vec![scene.db()])
    };
    let repo = scene.repo.with_storage(storage);
    let outcome = backup.run(&repo, &OperationReport::default()).unwrap();
    assert!(outcome.snapshot.is_some() && outcome.unchanged_since.is_none());
    assert_eq!(scene.counting(), [outcome.snapshot.unwrap()]);
}

#[test]
fn a_snapshot_that_is_swept_while_the_catalog_is_read_is_not_missed() {
    for forgotten_before in [true, false] {
        let scene = Scene::new(2);
        let (other, chosen) = (scene.repo.clone(), by_hand(scene.counted(0)));
        if forgotten_before {
            scene.forget(0);
        }
        let name = ObjectName::new(ObjectKind::Snapshot, scene.ids[0]);
        // Behind the listing of forgettings: what it says of the snapshot is older than the sweep.
        let storage = Hooked::once(
            &scene.storage,
            (StorageVerb::List, ObjectKind::Forgotten),
            move || {
                forget(&other, &chosen).unwrap();
                other.raw_storage().delete(name).unwrap();
            },
        );
        let repo = scene.repo.with_storage(storage);
        let snapshots = repo.snapshots().unwrap();
        assert_eq!(snapshots.len(), 1, "{forgotten_before}");
        assert_eq!(snapshots[0].id, scene.ids[1]);
        scene.is_sound();
    }
}

#[test]
fn check_takes_a_snapshot_that_is_swept_meanwhile_for_no_damage() {
    let scene = Scene::new(2);
    let (other, chosen) = (scene.repo.clone(), by_hand(scene.counted(0)));
    let name = ObjectName::new(ObjectKind::Snapshot, scene.ids[0]);
    let storage = Hooked::once(
        &scene.storage,
        (StorageVerb::List, ObjectKind::Forgotten),
        move || {
            forget(&other, &chosen).unwrap();
            other.raw_storage().delete(name).unwrap();
        },
    );
    let check = Check { read: ReadData::None };
    let outcome = check
        .run(&scene.repo.with_storage(storage), &OperationReport::default())
        .unwrap();
    assert!(outcome.findings.is_empty(), "{:?}", outcome.findings);
}

#[test]
fn snapshots_are_proven_to_count_not_only_to_be_listed() {
    let scene = Scene::new(2);
    let seen = scene.repo.catalog().unwrap();
    scene
        .repo
        .prove_snapshots(&scene.ids.iter().copied().collect(), &seen)
        .unwrap();
    scene.forget(0);
    let prove = |number: usize| scene.repo.prove_snapshots(&[scene.ids[number]].into(), &seen);
    assert_eq!(prove(0).unwrap_err().kind(), ErrorKind::Busy);
    prove(1).unwrap();
    scene.sweep(1);
    assert_eq!(prove(1).unwrap_err().kind(), ErrorKind::Busy);
}
