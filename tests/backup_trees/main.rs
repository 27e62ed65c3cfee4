//! Directories and files into a repository, with the databases in them. Each test makes a small directory, backs it up
//! through the library, and reads the stored trees with nothing but the format's own readers.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

#[path = "../common/mod.rs"]
mod common;
mod listed;
mod listing;
mod local_user;
mod meanwhile;
mod rules;
mod scene;
mod seen;
mod sqlite;
mod streams;
mod unchanged;

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::symlink;

use levault::error::ErrorKind;
use levault::ops::backup::Backup;
use levault::report::OperationReport;
use levault::snapshot::SnapshotSource;

use scene::Scene;
use seen::{Thing, database, latest, noise, on_disk, stored, things, trees};

#[test]
fn a_directory_is_stored_with_all_that_is_in_it() {
    let scene = Scene::new();
    scene.file("home/a/one", "1");
    scene.file("home/a/empty", "");
    scene.file("home/big", noise(1, 9 << 20));
    scene.file("home/middle", noise(2, 300_000));
    fs::create_dir_all(scene.path("home/hollow/hollow")).unwrap();
    symlink("../nowhere", scene.path("home/link")).unwrap();
    for odd in [&b"\xff\xfe"[..], b"new\nline", b" "] {
        fs::write(scene.path("home").join(OsString::from_vec(odd.to_vec())), odd).unwrap();
    }
    let outcome = scene.backup(&["home"]);
    scene.has_no_problem();
    let snapshot = latest(&scene.repo);
    let [tree] = trees(&snapshot)[..] else {
        panic!("{:?}", snapshot.sources)
    };
    assert_eq!(
        (&tree.name[..], &tree.path[..]),
        ("home", scene.path("home").as_os_str().as_bytes())
    );
    assert!(things(&scene.repo, &tree.root) == on_disk(&scene.path("home")));
    let bytes = 1 + (9 << 20) + 300_000 + 2 + 8 + 1;
    assert_eq!((tree.files, tree.directories, tree.bytes), (7, 4, bytes));
    let counts = outcome.trees[0].counts;
    assert_eq!(
        (counts.files.new, counts.directories.new, counts.others),
        (7, 4, 1)
    );
    assert_eq!((counts.bytes, counts.bytes_read), (bytes, bytes));
    scene.is_sound();
}

#[test]
fn a_path_may_be_a_file_a_link_or_anything() {
    let scene = Scene::new();
    scene.file("notes.txt", "mine");
    scene.file("there/deep", "x");
    symlink("there", scene.path("link")).unwrap();
    scene.backup(&["notes.txt", "link", "link/deep"]);
    let snapshot = latest(&scene.repo);
    let roots = trees(&snapshot);
    let names: Vec<_> = roots.iter().map(|tree| &tree.name[..]).collect();
    assert_eq!(names, ["notes.txt", "link", "deep"]);
    let all = |number: usize| things(&scene.repo, &roots[number].root);
    assert_eq!(
        all(0),
        [(b"notes.txt".to_vec(), Thing::File(b"mine".to_vec()))].into()
    );
    assert_eq!(
        all(1),
        [(b"link".to_vec(), Thing::Link(b"there".to_vec()))].into()
    );
    assert_eq!(all(2), [(b"deep".to_vec(), Thing::File(b"x".to_vec()))].into());
    scene.is_sound();
}

#[test]
fn databases_are_stored_as_such_and_what_lies_beside_them_as_files() {
    let scene = Scene::new();
    let shop = scene.database("home/app/shop");
    scene.database("home/app/shop/deep/inner");
    scene.file("home/app/shop/README", "of the shop");
    scene.file("home/app/settings.json", "{}");
    scene.database("alone");
    let outcome = scene.backup(&["home", "alone"]);
    scene.has_no_problem();
    let snapshot = latest(&scene.repo);
    let names: Vec<_> = snapshot.sources.iter().map(SnapshotSource::name).collect();
    assert_eq!(
        names,
        ["home/app/shop", "home/app/shop/deep/inner", "alone", "home"]
    );

    let (number, root) = database(&snapshot, "home/app/shop");
    assert_eq!(root.path, shop.as_os_str().as_bytes());
    assert!(root.directory.as_ref().is_some_and(|meta| meta.mode.is_some()));
    let beside = things(&scene.repo, &root.beside.unwrap());
    let (inner, _) = database(&snapshot, "home/app/shop/deep/inner");
    let expected = [
        (b"README".to_vec(), Thing::File(b"of the shop".to_vec())),
        (b"deep".to_vec(), Thing::Directory),
        (b"deep/inner".to_vec(), Thing::Database(inner)),
    ];
    assert_eq!(beside, expected.into());
    assert_eq!(outcome.databases[0].beside.files.new, 1);
    assert_eq!(
        database(&snapshot, "alone").1.beside,
        None,
        "nothing else lies there"
    );

    let tree = things(&scene.repo, &trees(&snapshot)[0].root);
    let expected = [
        (b"home".to_vec(), Thing::Directory),
        (b"home/app".to_vec(), Thing::Directory),
        (b"home/app/settings.json".to_vec(), Thing::File(b"{}".to_vec())),
        (b"home/app/shop".to_vec(), Thing::Database(number)),
    ];
    assert_eq!(tree, expected.into());
    scene.is_sound();

    // Again: the pins beside the databases are nobody's files.
    scene.backup(&["home", "alone"]);
    assert_eq!(latest(&scene.repo).sources.len(), 4);
    let again = things(&scene.repo, &trees(&latest(&scene.repo))[0].root);
    assert_eq!(again, tree);
}

#[test]
fn a_database_that_cannot_be_parsed_is_stored_as_its_files() {
    let scene = Scene::new();
    let db = scene.database("home/db");
    scene.file("home/db/mine.txt", "mine");
    for entry in fs::read_dir(&db).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().as_bytes().starts_with(b"MANIFEST") {
            fs::write(&path, "torn").unwrap();
        }
    }
    let before = on_disk(&db);
    let outcome = scene.backup(&["home"]);
    assert!(!outcome.databases[0].damage.is_empty());
    let snapshot = latest(&scene.repo);
    let (_, root) = database(&snapshot, "home/db");
    let levault::snapshot::DatabaseContent::Physical { tree } = root.content else {
        panic!("{root:?}")
    };
    let mut all = things(&scene.repo, &tree);
    all.extend(things(&scene.repo, &root.beside.unwrap()));
    let name = |path: &Vec<u8>| path.strip_prefix(b"db/").map(<[u8]>::to_vec);
    let mut expected: seen::Things = before
        .into_iter()
        .filter_map(|(path, thing)| Some((name(&path)?, thing)))
        .collect();
    expected.remove(&b"LOCK"[..]);
    assert_eq!(all, expected);
    scene.is_sound();
}

#[test]
fn metadata_is_stored_with_every_entry() {
    let scene = Scene::new();
    let file = scene.file("home/file", noise(3, 70_000));
    fs::hard_link(&file, scene.path("home/same")).unwrap();
    let sparse = scene.path("home/sparse");
    fs::File::create(&sparse).unwrap().set_len(1 << 20).unwrap();
    Scene::rest();
    scene.backup(&["home"]);
    let tree = stored(&scene.repo, &trees(&latest(&scene.repo))[0].root);
    let meta = |name: &str| &tree[name.as_bytes()].1;
    let (first, second) = (meta("home/file"), meta("home/same"));
    assert!(first.hard_link.is_some() && first == second);
    assert!(first.inode.is_some() && first.ctime_nanos.is_some() && first.mtime_nanos.is_some());
    assert_eq!(meta("home/sparse").holes, [(0, 1 << 20)]);
    assert_eq!(tree[&b"home/sparse"[..]].0, Thing::File(vec![0; 1 << 20]));
    assert_eq!(meta("home").hard_link, None);
    assert!(meta("home").mode.is_some() && meta("home").mtime_nanos.is_some());
}

#[test]
fn paths_that_are_missing_are_told_unless_all_are() {
    let scene = Scene::new();
    scene.file("there", "x");
    assert_eq!(
        scene.try_backup(&["gone", "gone too"]).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert!(scene.repo.catalog().unwrap().snapshots.is_empty());
    scene.backup(&["gone", "there"]);
    let [problem] = &scene.report.problems()[..] else {
        panic!("{:?}", scene.report.problems())
    };
    assert!(problem.contains("gone"), "{problem}");
    assert_eq!(latest(&scene.repo).sources.len(), 1);
}

#[test]
fn names_tell_paths_apart() {
    let scene = Scene::new();
    scene.file("a/conf/x", "1");
    scene.file("b/conf/x", "2");
    scene.backup(&["a/conf", "b/conf", "a/../a/conf"]);
    let snapshot = latest(&scene.repo);
    let names: Vec<_> = snapshot.sources.iter().map(SnapshotSource::name).collect();
    assert_eq!(names, ["a/conf", "b/conf"]);

    // Two databases whose names no text tells apart.
    for odd in [&b"\xff"[..], b"\xfe"] {
        let made = scene.database("c/made");
        fs::rename(made, scene.path("c").join(OsString::from_vec(odd.to_vec()))).unwrap();
    }
    scene.backup(&["c"]);
    let snapshot = latest(&scene.repo);
    let names: Vec<_> = snapshot.sources.iter().map(SnapshotSource::name).collect();
    assert_eq!(names, ["c/\u{fffd}", "c/\u{fffd}~2", "c"]);
}

#[test]
fn nothing_is_stored_again_when_nothing_changed() {
    let scene = Scene::new();
    scene.file("home/a", noise(4, 100_000));
    scene.database("home/db");
    Scene::rest();
    // The first makes the place of the pins, which moves the time of `home`.
    scene.backup(&["home"]);
    let first = scene.backup(&["home"]);
    let again = || {
        let mut backup = Backup::new(vec![scene.path("home")]);
        backup.skip_if_unchanged = true;
        backup.run(&scene.repo, &OperationReport::default()).unwrap()
    };
    let second = again();
    assert_eq!((second.snapshot, second.unchanged_since), (None, first.snapshot));
    assert_eq!(second.blobs_new, 0);
    let file = fs::File::options()
        .write(true)
        .open(scene.path("home/a"))
        .unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert!(again().snapshot.is_some(), "its time is another");
    scene.has_no_problem();
}

#[test]
fn a_dry_run_stores_nothing_and_counts() {
    let scene = Scene::new();
    scene.file("home/a", "abc");
    let mut backup = Backup::new(vec![scene.path("home")]);
    backup.dry_run = true;
    let outcome = backup.run(&scene.repo, &scene.report).unwrap();
    assert_eq!((outcome.snapshot, outcome.trees[0].counts.bytes), (None, 3));
    assert_eq!(outcome.trees[0].path, scene.path("home"));
    assert!(scene.repo.catalog().unwrap().snapshots.is_empty());
}
