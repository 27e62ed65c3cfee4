//! What comes, goes and changes while a backup runs. Hooks stand where the moments lie: before the captures, behind them,
//! and behind the files.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use levault::ops::backup::{Backup, BackupHooks, BackupOutcome, HookEnd};
use levault::report::OperationReport;
use levault::snapshot::SnapshotSource;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::scene::Scene;
use crate::seen::{Thing, Things, database, latest, things, trees};

/// Commands of the shell, run in the scene's directory.
fn hooks(scene: &Scene, before: &str, after: &str, until: HookEnd) -> BackupHooks {
    let here = |command: &str| Some(format!("cd '{}' && {command}", scene.dir.path().display()));
    BackupHooks {
        before: here(before),
        after: here(after),
        until,
        ..BackupHooks::default()
    }
}

fn backup(scene: &Scene, hooks: BackupHooks) -> BackupOutcome {
    let mut backup = Backup::new(vec![scene.path("home")]);
    backup.hooks = hooks;
    backup.run(&scene.repo, &scene.report).unwrap()
}

fn tree(scene: &Scene) -> Things {
    things(&scene.repo, &trees(&latest(&scene.repo))[0].root)
}

#[test]
fn what_stands_still_between_the_hooks_is_saved_as_it_stands() {
    let scene = Scene::new();
    scene.file("home/state", "moving");
    scene.database("home/db");
    let freeze = "printf frozen > home/state";
    let thaw = "printf thawed > home/state";
    for (until, saved) in [(HookEnd::Read, "frozen"), (HookEnd::Captured, "thawed")] {
        backup(&scene, hooks(&scene, freeze, thaw, until));
        scene.has_no_problem();
        assert_eq!(tree(&scene)[&b"home/state"[..]], Thing::File(saved.into()));
        assert_eq!(fs::read_to_string(scene.path("home/state")).unwrap(), "thawed");
    }
    scene.is_sound();
}

#[test]
fn a_database_that_appears_behind_the_captures_is_captured_when_it_is_met() {
    let scene = Scene::new();
    scene.database("home/a/first");
    scene.database("new");
    scene.file("new/README", "of the new one");
    let appears = "mv new home/a/late";
    let outcome = backup(&scene, hooks(&scene, "true", appears, HookEnd::Captured));
    scene.has_no_problem();
    let notices = scene.report.notices();
    assert!(
        notices
            .iter()
            .any(|notice| notice.contains("appeared behind the captures"))
    );
    let snapshot = latest(&scene.repo);
    let names: Vec<_> = snapshot.sources.iter().map(SnapshotSource::name).collect();
    assert_eq!(names, ["home/a/first", "home/a/late", "home"]);
    assert_eq!(outcome.databases[1].records, outcome.databases[0].records);
    let (number, root) = database(&snapshot, "home/a/late");
    assert_eq!(tree(&scene)[&b"home/a/late"[..]], Thing::Database(number));
    let beside = things(&scene.repo, &root.beside.unwrap());
    assert_eq!(
        beside,
        [(b"README".to_vec(), Thing::File(b"of the new one".to_vec()))].into()
    );
    scene.is_sound();
}

#[test]
fn what_lies_beside_a_database_is_of_the_directory_that_was_captured() {
    let scene = Scene::new();
    scene.database("home/db");
    scene.file("home/db/README", "of the captured one");
    scene.database("new");
    scene.file("new/README", "of the one that took its place");
    let swap = "mv home/db old && mv new home/db";
    backup(&scene, hooks(&scene, "true", swap, HookEnd::Captured));
    let snapshot = latest(&scene.repo);
    let (_, root) = database(&snapshot, "home/db");
    let beside = things(&scene.repo, &root.beside.unwrap());
    let captured = Thing::File(b"of the captured one".to_vec());
    assert_eq!(beside, [(b"README".to_vec(), captured)].into());
}

#[test]
fn a_database_that_cannot_be_captured_is_told_and_left_out_and_the_rest_is_saved() {
    let scene = Scene::new();
    scene.database("home/a/goes");
    scene.database("home/b/stays");
    scene.file("home/file", "x");
    backup(&scene, hooks(&scene, "rm -r home/a/goes", "true", HookEnd::Read));
    let problems = scene.report.problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].starts_with("home/a/goes: not saved: "),
        "{problems:?}"
    );
    let snapshot = latest(&scene.repo);
    let (number, _) = database(&snapshot, "home/b/stays");
    assert_eq!((number, snapshot.sources.len()), (0, 2));
    let tree = tree(&scene);
    assert_eq!(tree[&b"home/b/stays"[..]], Thing::Database(0));
    assert!(tree.contains_key(&b"home/file"[..]) && !tree.contains_key(&b"home/a/goes"[..]));
    scene.is_sound();
}

#[test]
fn a_link_that_takes_a_directorys_place_under_the_walk_is_not_followed() {
    let scene = Scene::new();
    for n in 0..20 {
        scene.file(&format!("home/d{n}/deep/mine"), "mine");
    }
    scene.file("secret/deep/mine", "secret");
    scene.file("secret/deep/theirs", "secret");
    symlink(scene.path("secret"), scene.path("link")).unwrap();
    let (stop, place, link) = (AtomicBool::new(false), scene.path("home/d10"), scene.path("link"));
    let mut seen = BTreeSet::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                renameat_with(CWD, &place, CWD, &link, RenameFlags::EXCHANGE).unwrap();
            }
        });
        for _ in 0..60 {
            let mut backup = Backup::new(vec![scene.path("home")]);
            backup.files.force = true;
            backup.run(&scene.repo, &OperationReport::default()).unwrap();
            seen.extend(tree(&scene));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(
        seen.contains(&(b"home/d10".to_vec(), Thing::Directory)),
        "it was there at times"
    );
    let followed = |(path, thing): &&(Vec<u8>, Thing)| {
        path.ends_with(b"theirs") || *thing == Thing::File(b"secret".to_vec())
    };
    assert_eq!(seen.iter().find(followed), None);
}
