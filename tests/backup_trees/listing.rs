//! What is told of snapshots with trees in them: their groups, their sizes, what they use.

use levault::ops::forget::{GroupBy, group};
use levault::ops::stats::stats;
use levault::report::OperationReport;

use super::scene::Scene;
use super::seen::{latest, noise};

#[test]
fn a_database_that_appears_in_a_directory_leaves_its_snapshots_in_one_group() {
    let scene = Scene::new();
    scene.file("home/file", "x");
    scene.file("other", "x");
    scene.backup(&["home"]);
    scene.database("home/db");
    scene.backup(&["home"]);
    scene.backup(&["home", "other"]);
    let groups = group(scene.repo.snapshots().unwrap(), GroupBy::default());
    let text = |name: &str| scene.path(name).to_str().unwrap().as_bytes().to_vec();
    let seen: Vec<_> = groups
        .iter()
        .map(|(group, stored)| (group.paths.clone().unwrap(), stored.len()))
        .collect();
    assert_eq!(
        seen,
        [(vec![text("home")], 2), (vec![text("home"), text("other")], 1)]
    );
}

#[test]
fn files_count_in_sizes_and_in_what_a_snapshot_uses() {
    let scene = Scene::new();
    scene.file("home/file", noise(1, 300_000));
    scene.backup(&["home"]);
    assert_eq!(latest(&scene.repo).bytes(), 300_000);
    let alone = stats(&scene.repo, None, &OperationReport::default()).unwrap();
    let share = alone.snapshots[0].share;
    assert_eq!(
        (share.restore_bytes, share.stored_bytes),
        (300_000, alone.blob_bytes)
    );
    assert_eq!(share.exclusive_bytes, alone.blob_bytes);

    // The same file once more: only trees are another snapshot's own.
    scene.file("home/more", "x");
    scene.backup(&["home"]);
    let both = stats(&scene.repo, None, &OperationReport::default()).unwrap();
    assert!(both.snapshots.iter().all(|row| row.share.stored_bytes > 300_000));
    assert!(
        both.snapshots
            .iter()
            .all(|row| row.share.exclusive_bytes < 10_000)
    );
}

#[test]
fn each_tree_has_a_row_of_its_own_with_what_it_shares() {
    let scene = Scene::new();
    scene.file("one/alone", noise(1, 300_000));
    scene.file("one/both", noise(2, 200_000));
    scene.file("two/both", noise(2, 200_000));
    scene.database("two/db");
    scene.backup(&["one", "two"]);
    scene.backup(&["two"]);
    let all = stats(&scene.repo, None, &OperationReport::default()).unwrap();
    let rows: Vec<_> = all
        .trees
        .iter()
        .map(|row| (&row.name[..], row.snapshots))
        .collect();
    assert_eq!(rows, [("one", 1), ("two", 2)]);
    assert_eq!(all.databases.len(), 1);
    let (one, two) = (all.trees[0].share, all.trees[1].share);
    assert_eq!((one.restore_bytes, two.restore_bytes), (500_000, 400_000));
    let about = |bytes: u64, expected: u64| (expected..expected + 10_000).contains(&bytes);
    assert!(about(one.exclusive_bytes, 300_000) && about(one.shared_bytes(), 200_000));
    assert!(about(two.exclusive_bytes, 0) && about(two.shared_bytes(), 200_000));
}
