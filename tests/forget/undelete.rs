//! Bringing back.

use super::*;

#[test]
fn undelete_brings_back_what_was_forgotten_and_it_can_be_forgotten_again() {
    let scene = Scene::new(2);
    for _ in 0..3 {
        scene.forget(0);
        assert_eq!(scene.counting(), scene.ids[1..]);
        scene.undelete(0).unwrap();
        assert_eq!(scene.counting(), scene.ids);
        assert_eq!(scene.undelete(0).unwrap_err().kind(), ErrorKind::NotFound);
    }
    scene.is_sound();
}

#[test]
fn a_clock_that_is_ahead_elsewhere_does_not_make_forget_and_undelete_void() {
    let scene = Scene::new(2);
    let ahead = i64::MAX / 2;
    let forgetting = ForgetRecord {
        when: UnixNanos(ahead),
        why: ForgetReason::ByHand,
        words: "from the future".into(),
        snapshots: vec![scene.counted(0)],
    };
    scene.repo.put_forget_record(&forgetting).unwrap();
    scene.undelete(0).unwrap();
    assert_eq!(scene.counting(), scene.ids);
    scene.forget(0);
    assert_eq!(scene.counting(), scene.ids[1..]);
}

#[test]
fn undelete_refuses_a_snapshot_that_is_not_whole_any_more() {
    let scene = Scene::new(2);
    scene.forget(0);
    for listed in scene.storage.list(ObjectKind::Pack).unwrap() {
        scene.storage.delete(listed.name).unwrap();
    }
    let error = scene.undelete(0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("is not whole any more"), "{error}");
    assert_eq!(scene.counting(), scene.ids[1..]);
    assert!(scene.storage.list(ObjectKind::Note).unwrap().is_empty());
}

#[test]
fn what_goes_while_undelete_writes_its_note_is_found_out_and_the_snapshot_is_forgotten_again() {
    for what in [ObjectKind::Pack, ObjectKind::Snapshot] {
        let scene = Scene::new(1);
        scene.forget(0);
        let storage = scene.storage.clone();
        let taking = Hooked::once(&scene.storage, (StorageVerb::Put, ObjectKind::Note), move || {
            for listed in storage.list(what).unwrap() {
                storage.delete(listed.name).unwrap();
            }
        });
        let catalog = scene.repo.catalog().unwrap();
        let repo = scene.repo.with_storage(taking);
        let error = undelete(&repo, &catalog.forgotten[0], &OperationReport::default()).unwrap_err();
        assert!(error.to_string().contains("forgotten again"), "{error}");
        assert!(scene.repo.forgotten_now().unwrap().of(&scene.ids[0]).is_some());
        assert!(scene.counting().is_empty());
    }
}

#[test]
fn two_forgets_at_once_forget_and_one_undelete_undoes_both() {
    let scene = Scene::new(2);
    let chosen = by_hand(scene.counted(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| forget(&scene.repo, &chosen).unwrap());
        }
    });
    assert_eq!(scene.storage.list(ObjectKind::Forgotten).unwrap().len(), 2);
    assert_eq!(scene.counting(), scene.ids[1..]);
    scene.undelete(0).unwrap();
    assert_eq!(scene.counting(), scene.ids);
}

/// As an undelete leaves it that fails behind its note, in a storage that fails when it is to be taken back.
#[test]
fn what_was_brought_back_in_vain_is_told_and_can_be_forgotten_again() {
    let scene = Scene::new(2);
    let gone = scene.counted(0);
    scene.forget(0);
    scene.sweep(0);
    let said = SnapshotNote::Undelete;
    let about = NoteSubject::Snapshot { id: gone.id, said };
    let when = UnixNanos(i64::MAX / 2);
    scene.repo.put_note(&Note { when, about }).unwrap();
    let findings = scene.check().findings;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].object.contains(&gone.id.to_hex()));
    let known = ForgetInput::load(&scene.repo).unwrap();
    let (again, why) = known
        .select_named(&scene.repo, &gone.id.to_hex())
        .unwrap()
        .unwrap();
    assert_eq!((again, why), (gone, ForgetReason::Damaged));
    let chosen = ForgetSelection {
        snapshots: vec![again],
        why,
        words: "its undelete failed".into(),
    };
    forget(&scene.repo, &chosen).unwrap();
    scene.is_sound();
}
