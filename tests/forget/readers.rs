//! What a forgotten snapshot is to readers, writers and deleters.

use super::*;

#[test]
fn a_forgotten_snapshot_is_not_listed_and_can_be_had_by_its_whole_id() {
    let scene = Scene::new(3);
    let newest = common::records(&scene.repo, "latest").unwrap();
    scene.forget(2);
    assert_eq!(scene.counting(), scene.ids[..2]);
    assert_eq!(scene.repo.select("latest").unwrap().id, scene.ids[1]);
    let hex = scene.ids[2].to_hex();
    let error = scene.repo.select(&hex[..8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("levault undelete"), "{error}");
    assert_eq!(common::records(&scene.repo, &hex).unwrap(), newest);
    let catalog = scene.repo.catalog().unwrap();
    assert_eq!(catalog.forgotten.len(), 1);
    let since = &catalog.forgotten(&scene.ids[2]).unwrap().since;
    assert_eq!(
        (since.why, since.counted),
        (ForgetReason::ByHand, scene.counted(2))
    );
    assert!(since.modified.is_some());
    let all: Vec<_> = catalog.all().map(|(id, _)| id).collect();
    assert_eq!(all, scene.ids);
}

#[test]
fn check_passes_over_what_is_forgotten() {
    let scene = Scene::new(2);
    scene.forget(0);
    let outcome = scene.check();
    assert_eq!((outcome.snapshots, outcome.forgotten), (1, 1));
    assert!(outcome.findings.is_empty(), "{:?}", outcome.findings);
    let name = ObjectName::new(ObjectKind::Snapshot, scene.ids[0]);
    scene.storage.corrupt(name, |bytes| bytes[200] ^= 1);
    scene.is_sound();
    assert!(scene.repo.catalog().unwrap().forgotten[0].snapshot.is_none());
    assert!(scene.repo.catalog_for_deletion().is_ok());
}

#[test]
fn counters_go_on_behind_forgotten_snapshots_and_behind_swept_ones() {
    let mut scene = Scene::new(2);
    scene.forget(1);
    scene.change();
    let third = scene.backup(&scene.repo).snapshot.unwrap();
    let snapshot = scene.repo.snapshot(&third).unwrap();
    assert_eq!((snapshot.counter, snapshot.previous), (3, Some(scene.ids[1])));
    scene.ids.push(third);
    scene.forget(2);
    scene.sweep(1);
    scene.sweep(2);
    let fourth = scene.backup(&scene.repo).snapshot.unwrap();
    let snapshot = scene.repo.snapshot(&fourth).unwrap();
    assert_eq!((snapshot.counter, snapshot.previous), (4, Some(third)));
    scene.is_sound();
}

#[test]
fn a_gap_that_no_forgetting_explains_is_found() {
    let scene = Scene::new(4);
    scene.forget(1);
    scene.sweep(1);
    scene.is_sound();
    scene.sweep(2);
    let findings = scene.check().findings;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].what.contains("counter 4 follows 1"), "{findings:?}");
    // Nor does one that was undone.
    let scene = Scene::new(3);
    scene.forget(1);
    scene.undelete(1).unwrap();
    scene.sweep(1);
    assert_eq!(scene.check().findings.len(), 1);
}

#[test]
fn notes_on_a_snapshot_that_was_forgotten_and_swept_are_nothing_to_tell_of() {
    let scene = Scene::new(2);
    note(&scene.repo, 1, scene.ids[0], SnapshotNote::Tags(vec!["a".into()]));
    note(&scene.repo, 1, scene.ids[0], SnapshotNote::Suspect("x".into()));
    assert_eq!(scene.check().notices.len(), 1);
    scene.forget(0);
    assert!(scene.check().notices.is_empty());
    scene.sweep(0);
    assert!(scene.check().notices.is_empty());
}

#[test]
fn a_damaged_snapshot_can_be_forgotten_by_its_whole_id_and_then_stops_nobody() {
    let scene = Scene::new(3);
    let name = ObjectName::new(ObjectKind::Snapshot, scene.ids[1]);
    scene.storage.corrupt(name, |bytes| bytes[200] ^= 1);
    assert_eq!(
        scene.repo.catalog_for_deletion().unwrap_err().kind(),
        ErrorKind::Corrupt
    );
    let known = ForgetInput::load(&scene.repo).unwrap();
    assert!(known.select_named(&scene.repo, &scene.ids[1].short()).is_err());
    let (snapshot, why) = known
        .select_named(&scene.repo, &scene.ids[1].to_hex())
        .unwrap()
        .unwrap();
    assert_eq!((snapshot.counter, why), (0, ForgetReason::Damaged));
    let chosen = ForgetSelection {
        why,
        ..by_hand(snapshot)
    };
    forget(&scene.repo, &chosen).unwrap();
    scene.is_sound();
    scene.sweep(1);
    scene.is_sound();
    assert!(scene.repo.catalog_for_deletion().is_ok());
}

#[test]
fn a_forgetting_that_cannot_be_read_stops_deleters_and_hides_nothing() {
    let scene = Scene::new(2);
    scene.forget(0);
    let name = scene.storage.list(ObjectKind::Forgotten).unwrap()[0].name;
    scene.storage.corrupt(name, |bytes| bytes[150] ^= 1);
    let catalog = scene.repo.catalog().unwrap();
    assert_eq!(catalog.snapshots.len(), 2);
    assert_eq!(
        (
            catalog.unread_forget_records[0].id,
            catalog.unread_forget_records[0].kind
        ),
        (name.id, ErrorKind::Corrupt)
    );
    assert_eq!(
        scene.repo.catalog_for_deletion().unwrap_err().kind(),
        ErrorKind::Corrupt
    );
    let findings = scene.check().findings;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].object, name.path());
    // A prune that can read it may have marked what an increment would stand on.
    scene.change();
    let outcome = scene.backup(&scene.repo);
    assert!(
        why_whole(&outcome).contains("cannot be told"),
        "{}",
        why_whole(&outcome)
    );
}

#[test]
fn what_somebody_else_put_among_the_forgettings_keeps_nobody_from_reading() {
    let scene = Scene::new(1);
    for bytes in [&b"not an object"[..], b""] {
        let name = ObjectName::of_content(ObjectKind::Forgotten, bytes);
        scene.storage.put_new(name, bytes).unwrap();
    }
    assert_eq!(scene.counting(), scene.ids);
    assert_eq!(scene.repo.catalog().unwrap().unread_forget_records.len(), 2);
    assert!(
        scene
            .repo
            .forget_records()
            .unwrap()
            .require_complete(&scene.repo.notes().unwrap())
            .is_err()
    );
}

#[test]
fn a_note_that_cannot_be_read_stops_deleters_and_policies() {
    let scene = Scene::new(2);
    note(&scene.repo, 1, scene.ids[0], SnapshotNote::Pin);
    let name = scene.storage.list(ObjectKind::Note).unwrap()[0].name;
    scene.storage.corrupt(name, |bytes| bytes[150] ^= 1);
    assert_eq!(
        scene.repo.catalog_for_deletion().unwrap_err().kind(),
        ErrorKind::Corrupt
    );
    assert_eq!(scene.plan(&keep_last(1)).unwrap_err().kind(), ErrorKind::Corrupt);
}
