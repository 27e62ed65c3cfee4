//! What becomes of what stands where a tree is restored to.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, SystemTime};

use levault::error::ErrorKind;
use levault::ops::restore::{ExtraEntries, OverwriteMode, PlannedAction, PlannedEntry, Restore, VerifyMode};
use levault::pattern::{CaseSensitivity, Pattern, Patterns, Selector};
use levault::report::OperationReport;

use super::disk::{self, assert_same};
use super::scene::Scene;

/// A tree of a few things, saved; and the same restored.
fn restored() -> Scene {
    let scene = Scene::new();
    scene.file("source/a/one", "one");
    scene.file("source/a/two", "two");
    scene.file("source/b/deep/three", "three");
    symlink("a/one", scene.path("source/link")).unwrap();
    scene.backup(&["source"]);
    scene.restore();
    scene.has_no_problem();
    scene
}

fn set_time(path: &Path, time: SystemTime) {
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(time)
        .unwrap();
}

fn hour() -> Duration {
    Duration::from_secs(3600)
}

fn patterns(words: &[&str]) -> Patterns {
    let words: Vec<_> = words
        .iter()
        .map(|word| Pattern::word(word, CaseSensitivity::Matters))
        .collect();
    Patterns::new(&words).unwrap()
}

#[test]
fn a_filled_target_is_refused_and_stays_as_it_was() {
    let scene = restored();
    fs::write(scene.path("target/a/one"), "mine").unwrap();
    let before = disk::read(&scene.target());
    let error = scene.try_restore(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists, "{error}");
    assert_same(&disk::read(&scene.target()), &before);
    let error = scene
        .try_restore(|restore| restore.extra_entries = ExtraEntries::Delete)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    assert_eq!(scene.names("").len(), 2, "source and target");
}

#[test]
fn never_restores_what_is_missing_alone() {
    let scene = restored();
    fs::write(scene.path("target/a/one"), "mine").unwrap();
    fs::remove_file(scene.path("target/link")).unwrap();
    fs::remove_dir_all(scene.path("target/b")).unwrap();
    fs::write(scene.path("target/b"), "a file").unwrap();
    let before = fs::metadata(scene.path("target/a")).unwrap();
    let outcome = scene.restore_over(OverwriteMode::Never);
    assert_eq!(fs::read(scene.path("target/a/one")).unwrap(), b"mine");
    assert_eq!(fs::read(scene.path("target/b")).unwrap(), b"a file");
    assert_eq!(
        fs::read_link(scene.path("target/link")).unwrap(),
        Path::new("a/one")
    );
    let after = fs::metadata(scene.path("target/a")).unwrap();
    assert_eq!(before.mtime_nsec(), after.mtime_nsec());
    assert_eq!(
        (
            outcome.tree.files,
            outcome.tree.others,
            outcome.tree.left_unchanged
        ),
        (0, 1, 2)
    );
}

#[test]
fn a_file_that_is_newer_stays_and_an_older_one_goes() {
    let scene = restored();
    let (one, two) = (scene.path("target/a/one"), scene.path("target/a/two"));
    let saved = fs::metadata(&one).unwrap().modified().unwrap();
    fs::write(&one, "newer").unwrap();
    set_time(&one, saved + hour());
    fs::write(&two, "older").unwrap();
    set_time(&two, saved - hour());
    let outcome = scene.restore_over(OverwriteMode::IfNewer);
    assert_eq!(fs::read(&one).unwrap(), b"newer");
    assert_eq!(fs::read(&two).unwrap(), b"two");
    assert_eq!(outcome.tree.files, 1);
}

#[test]
fn what_is_the_same_is_not_written_again_and_only_reading_tells() {
    let scene = restored();
    let (one, two) = (scene.path("target/a/one"), scene.path("target/a/two"));
    let saved = fs::metadata(&one).unwrap().modified().unwrap();
    fs::write(&one, "ONE").unwrap();
    set_time(&one, saved);
    set_time(&two, saved - hour());
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    let before = inode(&two);
    let trusting = |restore: &mut Restore| {
        restore.overwrite = OverwriteMode::IfChanged;
        restore.verify = VerifyMode::None;
    };
    let outcome = scene.try_restore(trusting).unwrap();
    assert_eq!(fs::read(&one).unwrap(), b"ONE", "size and time agree");
    assert_eq!((outcome.tree.files, outcome.tree.files_same), (0, 3));
    assert_eq!(inode(&two), before);
    let outcome = scene.restore_over(OverwriteMode::IfChanged);
    assert_eq!(fs::read(&one).unwrap(), b"one");
    assert_eq!((outcome.tree.files, outcome.tree.files_same), (1, 2));
    assert_eq!(inode(&two), before);
    assert_same(&disk::read(&scene.target()), &disk::read(&scene.path("source")));
    scene.restore_over(OverwriteMode::Always);
    assert_ne!(inode(&two), before);
}

#[test]
fn a_link_where_a_directory_is_to_be_is_replaced_and_not_followed() {
    let scene = restored();
    scene.file("outside/one", "outside");
    fs::remove_dir_all(scene.path("target/a")).unwrap();
    symlink(scene.path("outside"), scene.path("target/a")).unwrap();
    symlink(scene.path("outside/one"), scene.path("target/b/deep/more")).unwrap();
    fs::remove_file(scene.path("target/b/deep/three")).unwrap();
    symlink(scene.path("outside/one"), scene.path("target/b/deep/three")).unwrap();
    let before = disk::read(&scene.path("outside"));
    for overwrite in [OverwriteMode::Never, OverwriteMode::IfNewer] {
        // An older link is replaced as well, but these are new.
        scene.restore_over(overwrite);
        assert_same(&disk::read(&scene.path("outside")), &before);
        assert!(scene.path("target/a").is_symlink());
    }
    let delete = |restore: &mut Restore| {
        restore.overwrite = OverwriteMode::Always;
        restore.extra_entries = ExtraEntries::Delete;
    };
    scene.try_restore(delete).unwrap();
    assert_same(&disk::read(&scene.path("outside")), &before);
    assert_same(&disk::read(&scene.target()), &disk::read(&scene.path("source")));
}

#[test]
fn a_filled_directory_gives_way_to_a_file_only_with_delete() {
    let scene = restored();
    fs::remove_file(scene.path("target/a/one")).unwrap();
    scene.file("target/a/one/mine", "mine");
    scene.restore_over(OverwriteMode::IfChanged);
    assert_eq!(fs::read(scene.path("target/a/one/mine")).unwrap(), b"mine");
    let problems = scene.report.problems();
    assert!(
        problems.len() == 1 && problems[0].contains("--delete"),
        "{problems:?}"
    );
    let delete = |restore: &mut Restore| {
        restore.overwrite = OverwriteMode::IfChanged;
        restore.extra_entries = ExtraEntries::Delete;
    };
    scene.try_restore(delete).unwrap();
    assert_eq!(fs::read(scene.path("target/a/one")).unwrap(), b"one");
    assert_eq!(scene.report.problems().len(), 1);
}

#[test]
fn what_the_snapshot_does_not_have_goes_below_what_is_restored() {
    let scene = restored();
    scene.file("outside/kept", "kept");
    scene.file("target/extra/deep/x", "x");
    scene.file("target/a/extra", "x");
    symlink(scene.path("outside"), scene.path("target/b/out")).unwrap();
    let _socket = UnixListener::bind(scene.path("target/b/socket")).unwrap();
    fs::create_dir(scene.path("target/.x.levault-pins-0123456789abcdef")).unwrap();
    let delete = |restore: &mut Restore| {
        restore.overwrite = OverwriteMode::IfChanged;
        restore.extra_entries = ExtraEntries::Delete;
    };
    let outcome = scene.try_restore(delete).unwrap();
    scene.has_no_problem();
    assert_eq!(outcome.tree.removed, 3);
    assert_eq!(scene.names("outside"), ["kept"]);
    assert_eq!(
        scene.names("target/b"),
        ["deep", "socket"],
        "sockets are never saved"
    );
    assert_eq!(
        scene.names("target"),
        [".x.levault-pins-0123456789abcdef", "a", "b", "link"]
    );
    assert_eq!(scene.names("target/a"), ["one", "two"]);
}

#[test]
fn what_patterns_leave_out_is_not_deleted() {
    let scene = restored();
    scene.file("target/extra/x.keep", "x");
    scene.file("target/extra/x.go", "x");
    scene.file("target/b/y.go", "y");
    scene.file("target/a/y.go", "y");
    let select = |include: &[&str], exclude: &[&str]| Selector {
        include: patterns(include),
        exclude: patterns(exclude),
    };
    let delete = |selector: Selector| {
        scene
            .try_restore(|restore| {
                restore.overwrite = OverwriteMode::IfChanged;
                restore.extra_entries = ExtraEntries::Delete;
                restore.selector = selector;
            })
            .unwrap()
    };
    delete(select(&["b"], &[]));
    assert!(!scene.path("target/b/y.go").exists());
    assert!(scene.path("target/a/y.go").exists() && scene.path("target/extra/x.go").exists());
    delete(select(&[], &["*.keep", "a"]));
    assert!(scene.path("target/a/y.go").exists());
    assert_eq!(scene.names("target/extra"), ["x.keep"]);
    scene.has_no_problem();
}

#[test]
fn one_file_and_several_things_leave_alone_what_is_beside_them() {
    let scene = Scene::new();
    scene.file("source/a/one", "one");
    scene.file("notes", "notes");
    scene.backup(&["source", "notes"]);
    scene.file("target/mine", "mine");
    scene.file("target/source/extra", "extra");
    let delete = |address: &str| {
        let address = address.as_bytes().to_vec();
        scene
            .try_restore(|restore| {
                restore.overwrite = OverwriteMode::IfChanged;
                restore.extra_entries = ExtraEntries::Delete;
                restore.address = address;
            })
            .unwrap()
    };
    delete("source/a/one");
    delete("notes");
    assert_eq!(scene.names("target"), ["mine", "notes", "one", "source"]);
    assert_eq!(scene.names("target/source"), ["extra"]);
    delete("");
    assert_eq!(scene.names("target"), ["mine", "notes", "one", "source"]);
    assert_eq!(scene.names("target/source"), ["a"]);
    scene.has_no_problem();
}

#[test]
fn each_thing_lands_where_it_is_said() {
    let scene = Scene::new();
    scene.file("source/a/one", "one");
    symlink("one", scene.path("source/a/link")).unwrap();
    scene.database("source/db");
    scene.file("source/db/beside", "beside");
    scene.file("notes", "notes");
    scene.backup(&["source", "notes"]);
    let source = scene.path("source").to_str().unwrap().to_owned();
    for (address, expected) in [
        ("", &["notes", "source"][..]),
        ("source", &["a", "db"]),
        ("source/a", &["link", "one"]),
        (&format!("{source}/a"), &["link", "one"]),
        ("source/a/one", &["one"]),
        ("source/a/link", &["link"]),
        ("source/db/beside", &["beside"]),
        ("notes", &["notes"]),
    ] {
        let address = address.as_bytes().to_vec();
        scene
            .try_restore(|restore| restore.address = address.clone())
            .unwrap();
        assert_eq!(
            scene.names("target"),
            expected,
            "{}",
            String::from_utf8_lossy(&address)
        );
        fs::remove_dir_all(scene.target()).unwrap();
    }
    let address = b"source/db".to_vec();
    scene.try_restore(|restore| restore.address = address).unwrap();
    assert!(scene.path("target/CURRENT").exists() && scene.path("target/beside").exists());
    let none = scene.try_restore(|restore| restore.address = b"source/none".to_vec());
    assert_eq!(none.unwrap_err().kind(), ErrorKind::NotFound);
    scene.has_no_problem();
}

#[test]
fn only_what_is_included_is_made_and_not_what_is_excluded() {
    let scene = Scene::new();
    for name in ["a/x.txt", "a/y.c", "b/c/z.txt", "b/d/w.c", "keep/all/of/it.c"] {
        scene.file(&format!("source/{name}"), name);
    }
    scene.backup(&["source"]);
    let restore = |include: &[&str], exclude: &[&str]| {
        let _ = fs::remove_dir_all(scene.target());
        let selector = Selector {
            include: patterns(include),
            exclude: patterns(exclude),
        };
        scene.try_restore(|restore| restore.selector = selector).unwrap();
        let disk = disk::read(&scene.target()).into_keys();
        disk.map(|name| String::from_utf8(name).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        restore(&["*.txt", "keep"], &[]),
        [
            "",
            "a",
            "a/x.txt",
            "b",
            "b/c",
            "b/c/z.txt",
            "keep",
            "keep/all",
            "keep/all/of",
            "keep/all/of/it.c"
        ]
    );
    assert_eq!(restore(&["*.txt"], &["./b"]), ["", "a", "a/x.txt"]);
    assert_eq!(
        restore(&[], &["*.c", "a", "keep"]),
        ["", "b", "b/c", "b/c/z.txt", "b/d"]
    );
    let was = disk::read(&scene.path("source/b"));
    restore(&["z.txt"], &[]);
    let back = disk::read(&scene.path("target/b"));
    assert_eq!(back[&b""[..]], was[&b""[..]], "with its own attributes");
}

#[test]
fn a_plan_says_what_would_be_done_and_does_nothing() {
    let scene = restored();
    fs::write(scene.path("target/a/one"), "mine").unwrap();
    fs::remove_file(scene.path("target/link")).unwrap();
    fs::remove_dir_all(scene.path("target/b")).unwrap();
    scene.file("target/a/extra", "extra");
    let before = disk::read(&scene.target());
    let plan = |change: &dyn Fn(&mut Restore)| {
        let mut restore = Restore::new(scene.target());
        change(&mut restore);
        let stored = scene.repo.select("latest").unwrap();
        let mut planned = BTreeMap::new();
        let root = restore.target.clone();
        let mut each = |one: PlannedEntry| {
            let name = Path::new(&one.target).strip_prefix(&root).unwrap();
            planned.insert(name.to_str().unwrap().to_owned(), one.action);
        };
        let report = OperationReport::default();
        restore.plan(&scene.repo, &stored, &report, &mut each).unwrap();
        assert_eq!(report.problems(), [""; 0]);
        planned
    };
    let expect = |lines: &[(&str, PlannedAction)]| {
        let lines = lines.iter().map(|(name, action)| ((*name).to_owned(), *action));
        lines.collect::<BTreeMap<_, _>>()
    };
    let over = plan(&|restore| {
        restore.overwrite = OverwriteMode::IfChanged;
        restore.extra_entries = ExtraEntries::Delete;
    });
    assert_eq!(
        over,
        expect(&[
            ("a/extra", PlannedAction::Remove),
            ("a/one", PlannedAction::Restore),
            ("a/two", PlannedAction::Compare),
            ("b", PlannedAction::Restore),
            ("b/deep", PlannedAction::Restore),
            ("b/deep/three", PlannedAction::Restore),
            ("link", PlannedAction::Restore),
        ])
    );
    let never = plan(&|restore| restore.overwrite = OverwriteMode::Never);
    assert_eq!(never["a/one"], PlannedAction::Leave);
    assert_eq!(never["link"], PlannedAction::Restore);
    let new = plan(&|restore| restore.target = scene.path("nowhere"));
    assert_eq!(new.len(), 7);
    assert_same(&disk::read(&scene.target()), &before);
    assert_eq!(scene.names("").len(), 2, "source and target");
}
