//! By policy, and what comes of it.

use super::*;

#[test]
fn a_policy_forgets_what_it_does_not_keep_and_its_words_are_kept() {
    let scene = Scene::new(4);
    note(&scene.repo, 1, scene.ids[1], SnapshotNote::Pin);
    let chosen = scene.plan(&keep_last(1)).unwrap();
    assert_eq!(chosen.snapshots.len(), 2);
    forget(&scene.repo, &chosen).unwrap();
    assert_eq!(scene.counting(), [scene.ids[1], scene.ids[3]]);
    let catalog = scene.repo.catalog().unwrap();
    let since = &catalog.forgotten[0].since;
    assert_eq!((since.why, &*since.words), (ForgetReason::Policy, "keep-last 1"));
    assert!(scene.plan(&keep_last(1)).unwrap().snapshots.is_empty());
}

#[test]
fn groups_are_decided_on_apart_and_by_the_tags_that_hold_now() {
    let scene = Scene::new(3);
    note(&scene.repo, 1, scene.ids[0], SnapshotNote::Tags(vec!["a".into()]));
    assert_eq!(scene.plan(&keep_last(1)).unwrap().snapshots, [scene.counted(1)]);
    let together = PolicySelection {
        group_by: "".parse().unwrap(),
        ..keep_last(1)
    };
    assert_eq!(scene.plan(&together).unwrap().snapshots.len(), 2);
    let tagged = PolicySelection {
        filter: SnapshotFilter {
            tags: vec![levault::engine::tag_list::TagList::parse("a")],
            ..SnapshotFilter::default()
        },
        leave: MinimumKept::None,
        ..PolicySelection::default()
    };
    assert_eq!(scene.plan(&tagged).unwrap().snapshots, [scene.counted(0)]);
    for wrong in ["hosts", "host,day"] {
        assert_eq!(wrong.parse::<GroupBy>().unwrap_err().kind(), ErrorKind::Usage);
    }
}

#[test]
fn a_policy_that_says_nothing_or_would_leave_nothing_of_a_group_is_refused() {
    let scene = Scene::new(2);
    let refused = |wish: &PolicySelection| scene.plan(wish).unwrap_err().kind();
    assert_eq!(refused(&keep_last(0)), ErrorKind::Usage);
    let mut nothing_fits = PolicySelection::default();
    nothing_fits
        .policy
        .tags
        .push(levault::engine::tag_list::TagList::parse("none has it"));
    assert_eq!(refused(&nothing_fits), ErrorKind::Usage);
    nothing_fits.leave = MinimumKept::None;
    assert_eq!(scene.plan(&nothing_fits).unwrap().snapshots.len(), 2);
    // All of everything is nobody's wish.
    nothing_fits.policy = RetentionPolicy::default();
    assert_eq!(refused(&nothing_fits), ErrorKind::Usage);
    note(&scene.repo, 1, scene.ids[0], SnapshotNote::Pin);
    nothing_fits.filter.databases.push("db".into());
    assert_eq!(scene.plan(&nothing_fits).unwrap().snapshots, [scene.counted(1)]);
}

#[test]
fn what_cannot_be_stored_is_told_snapshot_by_snapshot() {
    let scene = Scene::new(2);
    let full = Hooked::before(&scene.storage, |asked| match asked.verb {
        StorageVerb::Put => Err(levault::error::Error::new(ErrorKind::Full, "no room")),
        _ => Ok(()),
    });
    let outcome = forget(
        &scene.repo.with_storage(Arc::new(full)),
        &by_hand(scene.counted(0)),
    )
    .unwrap();
    assert!(outcome.forgotten.is_empty());
    assert_eq!(
        (outcome.failed[0].0, outcome.failed[0].1.kind()),
        (scene.ids[0], ErrorKind::Full)
    );
}
