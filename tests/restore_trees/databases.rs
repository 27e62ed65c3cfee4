//! Databases in trees, and what lies beside them.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use levault::engine::key_selection::KeySelection;
use levault::error::ErrorKind;
use levault::ops::restore::{DatabaseForm, ExtraEntries, OverwriteMode, Restore};

use super::common::{self, Model};
use super::disk;
use super::scene::Scene;

/// A tree with a database two levels down, which has things beside it: another database among them.
struct World {
    scene: Scene,
    outer: Model,
    inner: Model,
}

impl World {
    fn new() -> Self {
        let scene = Scene::new();
        scene.file("world/settings", "settings");
        let outer = scene.database("world/data/db");
        scene.file("world/data/db/notes/today", "today");
        let inner = scene.database("world/data/db/more/inner");
        symlink("/etc/passwd", scene.path("world/data/db/link")).unwrap();
        let db = scene.path("world/data/db");
        fs::set_permissions(&db, fs::Permissions::from_mode(0o2750)).unwrap();
        scene.backup(&["world"]);
        Self { scene, outer, inner }
    }

    #[track_caller]
    fn is_back(&self, root: &str) {
        let path = |name: &str| self.scene.path(&format!("{root}/{name}"));
        assert!(common::scan(&path("data/db")).unwrap() == self.outer);
        assert!(common::scan(&path("data/db/more/inner")).unwrap() == self.inner);
        assert_eq!(fs::read(path("data/db/notes/today")).unwrap(), b"today");
        assert_eq!(
            fs::read_link(path("data/db/link")).unwrap(),
            Path::new("/etc/passwd")
        );
        let (back, was) = (path("data/db"), self.scene.path("world/data/db"));
        let facts = |path: &Path| {
            let facts = fs::metadata(path).unwrap();
            (
                facts.mode(),
                facts.uid(),
                facts.gid(),
                facts.mtime(),
                facts.mtime_nsec(),
            )
        };
        assert_eq!(facts(&back), facts(&was));
    }

    fn change(&self) {
        common::write(
            &self.scene.path("target/data/db"),
            &[(b"new".to_vec(), Some(b"x".to_vec()))],
        );
    }
}

#[test]
fn a_database_comes_back_in_its_place_with_what_lies_beside_it() {
    let world = World::new();
    let restored = world.scene.restore();
    world.scene.has_no_problem();
    world.is_back("target");
    let mut names: Vec<_> = restored.databases.iter().map(|one| one.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["world/data/db", "world/data/db/more/inner"]);
    assert!(
        restored
            .databases
            .iter()
            .all(|one| one.verified && !one.unchanged)
    );
    assert_eq!(
        restored.databases[0].target.file_name().unwrap(),
        "inner",
        "inside first: it is staged with the outer"
    );
    assert_eq!(world.scene.names("").len(), 2, "nothing is left hidden");
}

#[test]
fn a_database_that_was_asked_for_by_itself_gets_what_lies_beside_it() {
    let scene = Scene::new();
    let model = scene.database("db");
    scene.file("db/notes", "notes");
    scene.backup(&["db"]);
    scene.restore();
    scene.has_no_problem();
    assert!(common::scan(&scene.target()).unwrap() == model);
    assert_eq!(fs::read(scene.path("target/notes")).unwrap(), b"notes");
    for records_only in [
        (|restore: &mut Restore| restore.database_form = DatabaseForm::Records) as fn(&mut Restore),
        |restore| restore.selection = KeySelection::Prefix(b"key".to_vec()),
    ] {
        fs::remove_dir_all(scene.target()).unwrap();
        scene.try_restore(records_only).unwrap();
        assert!(!scene.path("target/notes").exists());
    }
}

#[test]
fn over_a_tree_a_database_is_left_changed_in_place_or_replaced() {
    let world = World::new();
    let scene = &world.scene;
    scene.restore();
    let table = |name: &str| {
        let entries = fs::read_dir(scene.path(name))
            .unwrap()
            .map(|entry| entry.unwrap());
        let tables = entries.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "ldb"));
        tables.map(|entry| entry.metadata().unwrap().ino()).min().unwrap()
    };
    let before = table("target/data/db");
    let same = scene.restore_over(OverwriteMode::IfChanged);
    assert!(same.databases.iter().all(|one| one.unchanged));
    assert_eq!(table("target/data/db"), before);
    world.is_back("target");

    world.change();
    fs::write(scene.path("target/data/db/notes/today"), "changed").unwrap();
    scene.file("target/data/db/notes/mine", "mine");
    let changed = scene.restore_over(OverwriteMode::IfChanged);
    let unchanged: Vec<_> = changed.databases.iter().map(|one| one.unchanged).collect();
    assert_eq!(unchanged, [true, false], "the inner one is");
    world.is_back("target");
    assert_eq!(
        fs::read(scene.path("target/data/db/notes/mine")).unwrap(),
        b"mine"
    );

    world.change();
    scene.restore_over(OverwriteMode::Always);
    world.is_back("target");
    assert_ne!(table("target/data/db"), before);
    assert_eq!(
        fs::read(scene.path("target/data/db/notes/mine")).unwrap(),
        b"mine"
    );
    let delete = |restore: &mut Restore| {
        restore.overwrite = OverwriteMode::Always;
        restore.extra_entries = ExtraEntries::Delete;
    };
    scene.try_restore(delete).unwrap();
    world.is_back("target");
    assert_eq!(scene.names("target/data/db/notes"), ["today"]);
    scene.has_no_problem();
    assert_eq!(scene.names("target/data"), ["db"]);
}

#[test]
fn what_lies_beside_a_database_that_is_replaced_comes_along_as_it_is() {
    let scene = Scene::new();
    scene.database("world/db");
    scene.backup(&["world"]);
    scene.restore();
    scene.file("target/db/ancient/0001/blob", "a large one");
    symlink("nowhere", scene.path("target/db/ancient/link")).unwrap();
    fs::set_permissions(scene.path("target/db/ancient"), fs::Permissions::from_mode(0o711)).unwrap();
    let before = disk::read(&scene.path("target/db/ancient"));
    let inode = fs::metadata(scene.path("target/db/ancient/0001/blob"))
        .unwrap()
        .ino();
    scene.restore_over(OverwriteMode::Always);
    scene.has_no_problem();
    disk::assert_same(&disk::read(&scene.path("target/db/ancient")), &before);
    assert_eq!(
        fs::metadata(scene.path("target/db/ancient/0001/blob"))
            .unwrap()
            .ino(),
        inode
    );
}

#[test]
fn never_and_newer_leave_a_database() {
    let world = World::new();
    let scene = &world.scene;
    scene.restore();
    world.change();
    let changed = common::scan(&scene.path("target/data/db")).unwrap();
    for overwrite in [OverwriteMode::Never, OverwriteMode::IfNewer] {
        scene.restore_over(overwrite);
        assert!(
            common::scan(&scene.path("target/data/db")).unwrap() == changed,
            "{overwrite:?}"
        );
    }
    scene.has_no_problem();
    let old = std::time::SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(scene.path("target/data/db")).unwrap() {
        let entry = entry.unwrap();
        if !entry.file_type().unwrap().is_symlink() {
            File::open(entry.path()).unwrap().set_modified(old).unwrap();
        }
    }
    scene.restore_over(OverwriteMode::IfNewer);
    assert!(common::scan(&scene.path("target/data/db")).unwrap() == world.outer);
}

#[test]
fn a_database_that_is_open_is_told_and_the_rest_is_restored() {
    let world = World::new();
    let scene = &world.scene;
    scene.restore();
    world.change();
    fs::write(scene.path("target/settings"), "changed").unwrap();
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(scene.path("target/data/db/LOCK"))
        .unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let changed = common::scan(&scene.path("target/data/db")).unwrap();
    scene.restore_over(OverwriteMode::Always);
    let problems = scene.report.problems();
    assert!(
        problems.len() == 1 && problems[0].contains("data/db"),
        "{problems:?}"
    );
    assert!(common::scan(&scene.path("target/data/db")).unwrap() == changed);
    assert_eq!(fs::read(scene.path("target/settings")).unwrap(), b"settings");
}

#[test]
fn a_database_takes_the_place_of_what_is_none() {
    let world = World::new();
    let scene = &world.scene;
    scene.restore();
    fs::remove_dir_all(scene.path("target/data/db")).unwrap();
    symlink("/tmp", scene.path("target/data/db")).unwrap();
    scene.restore_over(OverwriteMode::IfChanged);
    world.is_back("target");
    fs::remove_dir_all(scene.path("target/data/db")).unwrap();
    scene.file("target/data/db/mine", "mine");
    scene.restore_over(OverwriteMode::IfChanged);
    assert_eq!(fs::read(scene.path("target/data/db/mine")).unwrap(), b"mine");
    let problems = scene.report.problems();
    assert!(
        problems.len() == 1 && problems[0].contains("no CURRENT"),
        "{problems:?}"
    );
}

#[test]
fn a_rocksdb_that_stands_there_is_not_taken_for_what_lies_beside() {
    let scene = Scene::new();
    scene.database("world/db");
    scene.backup(&["world"]);
    scene.restore();
    scene.file("target/db/OPTIONS-000007", "");
    scene.restore_over(OverwriteMode::Always);
    let problems = scene.report.problems();
    assert!(
        problems.len() == 1 && problems[0].contains("RocksDB"),
        "{problems:?}"
    );
    assert!(scene.path("target/db/OPTIONS-000007").exists());
}

#[test]
fn several_databases_and_a_tree_go_below_the_target() {
    let scene = Scene::new();
    let (one, two) = (scene.database("one"), scene.database("two"));
    scene.file("tree/x", "x");
    scene.backup(&["one", "two", "tree"]);
    scene.restore();
    scene.has_no_problem();
    assert_eq!(scene.names("target"), ["one", "tree", "two"]);
    assert!(common::scan(&scene.path("target/one")).unwrap() == one);
    assert!(common::scan(&scene.path("target/two")).unwrap() == two);
    let error = scene
        .try_restore(|restore| restore.selection = KeySelection::Prefix(b"k".to_vec()))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
}

#[test]
fn patterns_take_or_leave_a_database_and_choose_what_lies_beside_it() {
    use levault::pattern::{CaseSensitivity, Pattern, Patterns, Selector};
    let world = World::new();
    let scene = &world.scene;
    let patterns = |words: &[&str]| {
        let words: Vec<_> = words
            .iter()
            .map(|word| Pattern::word(word, CaseSensitivity::Matters))
            .collect();
        Patterns::new(&words).unwrap()
    };
    let restore = |include: &[&str], exclude: &[&str], address: &str| {
        let _ = fs::remove_dir_all(scene.target());
        let selector = Selector {
            include: patterns(include),
            exclude: patterns(exclude),
        };
        let address = address.as_bytes().to_vec();
        scene
            .try_restore(|restore| {
                restore.selector = selector;
                restore.address = address;
            })
            .unwrap();
        scene.has_no_problem();
    };
    restore(&[], &["db"], "");
    assert_eq!(scene.names("target"), ["data", "settings"]);
    assert!(scene.names("target/data").is_empty());
    restore(&["db"], &["notes"], "");
    assert_eq!(scene.names("target"), ["data"]);
    assert!(common::scan(&scene.path("target/data/db")).unwrap() == world.outer);
    assert!(
        !scene.path("target/data/db/notes").exists()
            && scene.path("target/data/db/more/inner/CURRENT").exists()
    );
    restore(&["today"], &[], "");
    assert_eq!(scene.names("target/data/db"), ["notes"]);
    restore(&["today"], &[], "world/data/db");
    assert_eq!(scene.names("target"), ["notes"]);
    restore(&[], &["notes"], "world/data/db");
    assert!(common::scan(&scene.target()).unwrap() == world.outer);
    assert!(!scene.path("target/notes").exists());
}
