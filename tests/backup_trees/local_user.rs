//! Goal: a user of the machine that root backs up, who may write beside and in his database, has root read, make or remove
//! nothing outside of it. Method: what he can do with renameat2(2) and symlink(2) in directories of his own, once and in a
//! loop beside backups. Nothing of it needs root: what lies outside must stay as it is for any user.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use levault::ops::backup::{Backup, PinMode};
use levault::ops::restore::Restore;
use levault::report::OperationReport;
use levault::snapshot::SnapshotSource;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::scene::Scene;
use crate::seen::{Thing, latest, things, trees};

/// How long an exchange goes on beside backups.
const SECONDS: Duration = Duration::from_secs(3);

const SECRET: &[u8] = b"TOP SECRET of root";

/// Backs up again and again while two names are exchanged; says after each whether it is enough.
fn under_exchange(left: &Path, right: &Path, each: &mut dyn FnMut()) {
    let stop = AtomicBool::new(false);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                renameat_with(CWD, left, CWD, right, RenameFlags::EXCHANGE).unwrap();
                std::thread::sleep(Duration::from_micros(100));
            }
        });
        let mut rounds = 0;
        while begin.elapsed() < SECONDS || rounds < 3 {
            each();
            rounds += 1;
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// All bytes that the newest snapshot has: files, and the records of its databases.
fn all_bytes(scene: &Scene) -> Vec<u8> {
    let snapshot = latest(&scene.repo);
    let mut bytes = Vec::new();
    let roots = trees(&snapshot).into_iter().map(|tree| tree.root);
    let beside = snapshot.sources.iter().filter_map(|source| match source {
        SnapshotSource::Database(database) => database.beside,
        _ => None,
    });
    for root in roots.chain(beside) {
        for thing in things(&scene.repo, &root).into_values() {
            if let Thing::File(content) = thing {
                bytes.extend(content);
            }
        }
    }
    for source in &snapshot.sources {
        let SnapshotSource::Database(database) = source else {
            continue;
        };
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("back");
        let restore = Restore {
            database: Some(database.name.clone().into()),
            with_uncertain: true,
            ..Restore::new(&target)
        };
        let stored = scene.repo.select("latest").unwrap();
        if restore
            .run(&scene.repo, &stored, &OperationReport::default())
            .is_err()
        {
            continue;
        }
        for entry in walkdir::WalkDir::new(&target) {
            let entry = entry.unwrap();
            if entry.file_type().is_file() {
                bytes.extend(fs::read(entry.path()).unwrap());
            }
        }
    }
    bytes
}

fn has_secret(scene: &Scene) -> bool {
    all_bytes(scene)
        .windows(SECRET.len())
        .any(|window| window == SECRET)
}

fn secret_database(path: &Path) {
    database_of(path, SECRET);
}

/// A database with tables and a log.
fn database_of(path: &Path, text: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let options = rusty_leveldb::Options {
        write_buffer_size: 8 << 10,
        ..Default::default()
    };
    let mut db = rusty_leveldb::DB::open(path, options).unwrap();
    for number in 0..2000 {
        let value = [text, format!(" {number}").as_bytes()].concat();
        db.put(format!("key {number}").as_bytes(), &value).unwrap();
    }
    db.flush().unwrap();
    db.close().unwrap();
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn backup(scene: &Scene, path: &str, pinning: PinMode) -> levault::error::Result<()> {
    let mut backup = Backup::new(vec![scene.path(path)]);
    backup.databases.pinning = pinning;
    backup.databases.patience = Some(Duration::from_millis(300));
    backup.run(&scene.repo, &OperationReport::default()).map(drop)
}

#[test]
fn pins_that_are_exchanged_with_a_link_lead_to_no_deletion_elsewhere() {
    let scene = Scene::new();
    scene.database("u/data");
    backup(&scene, "u/data", PinMode::default()).unwrap();
    let pins = names(&scene.path("u"));
    let pins = pins.iter().find(|name| name.contains("levault-pins")).unwrap();
    for number in 1..=5 {
        scene.file(&format!("victim/file{number}"), "important");
    }
    let link = scene.path("u/x");
    symlink(scene.path("victim"), &link).unwrap();
    under_exchange(&scene.path(&format!("u/{pins}")), &link, &mut || {
        let _ = backup(&scene, "u/data", PinMode::default());
        assert_eq!(names(&scene.path("victim")).len(), 5);
    });
    for number in 1..=5 {
        let file = scene.path(&format!("victim/file{number}"));
        assert_eq!(fs::read(file).unwrap(), b"important");
    }
}

#[test]
fn a_database_that_is_exchanged_with_a_link_under_the_backup_is_saved_or_not_but_no_other_is() {
    let scene = Scene::new();
    scene.database("u/data");
    secret_database(&scene.path("private/db"));
    let link = scene.path("u/x");
    symlink(scene.path("private/db"), &link).unwrap();
    let mut saved = 0;
    for pinning in [PinMode::None, PinMode::default()] {
        under_exchange(&scene.path("u/data"), &link, &mut || {
            if backup(&scene, "u", pinning).is_ok() {
                let snapshot = latest(&scene.repo);
                let is_database = |source: &&SnapshotSource| matches!(source, SnapshotSource::Database(_));
                saved += snapshot.sources.iter().filter(is_database).count();
                assert!(!has_secret(&scene));
            }
        });
    }
    assert!(saved > 0, "it was there at times");
}

/// What is a link in a database's directory, by where it stands; what the backup says of it.
#[test]
fn a_link_in_the_place_of_any_file_of_a_database_is_not_read_and_is_reported() {
    let garbled = |db: &Path| {
        let manifest = names(db).into_iter().find(|name| name.starts_with("MANIFEST"));
        fs::write(db.join(manifest.unwrap()), "garbage").unwrap();
    };
    for kind in ["records", "files"] {
        for place in ["ldb", "log", "CURRENT", "MANIFEST"] {
            let scene = Scene::new();
            let db = scene.path("u/data");
            database_of(&db, b"mine");
            secret_database(&scene.path("private/db"));
            if kind == "files" {
                garbled(&db);
            }
            let alike = |directory: &Path| {
                let all = names(directory).into_iter();
                let mut all = all.filter(|name| name.ends_with(place) || name.starts_with(place));
                all.next().map(|name| directory.join(name))
            };
            let target = alike(&scene.path("private/db")).unwrap();
            let replaced = alike(&db).unwrap();
            fs::remove_file(&replaced).unwrap();
            symlink(&target, &replaced).unwrap();
            for physical in [false, true] {
                let report = OperationReport::default();
                let mut backup = Backup::new(vec![scene.path("u")]);
                (backup.databases.physical, backup.databases.pinning) = (physical, PinMode::None);
                backup.databases.patience = Some(Duration::from_secs(2));
                let outcome = backup.run(&scene.repo, &report).unwrap();
                assert!(!has_secret(&scene), "{kind} {place} {physical}");
                let is_told = outcome.databases.iter().any(|one| !one.damage.is_empty())
                    || !report.problems().is_empty()
                    || !report.notices().is_empty();
                assert!(
                    is_told,
                    "{kind} {place} {physical}: nothing says that it is a link"
                );
            }
        }
    }
}

#[test]
fn a_directory_of_links_to_a_database_is_saved_as_links() {
    let scene = Scene::new();
    secret_database(&scene.path("private/db"));
    scene.file("u/note", "x");
    fs::create_dir(scene.path("u/data")).unwrap();
    for name in names(&scene.path("private/db")) {
        symlink(
            scene.path("private/db").join(&name),
            scene.path("u/data").join(&name),
        )
        .unwrap();
    }
    scene.backup(&["u"]);
    let snapshot = latest(&scene.repo);
    let tree = things(&scene.repo, &trees(&snapshot)[0].root);
    let is_link = |name: &str| matches!(tree.get(name.as_bytes()), Some(Thing::Link(_)));
    assert!(is_link("u/data/CURRENT"), "{:?}", tree.keys());
    assert!(!has_secret(&scene));
    assert!(
        scene
            .report
            .notices()
            .iter()
            .any(|told| told.contains("symbolic links")),
        "{:?}",
        scene.report.notices()
    );
}

/// A user's directory that is called as one of ours is saved like any other.
#[test]
fn a_directory_that_is_only_called_as_one_of_ours_is_saved() {
    let scene = Scene::new();
    scene.file("u/.data.levault-capture-0123456789abcdef/mine", "mine");
    let db = scene.database("u/data");
    backup(&scene, "u", PinMode::default()).unwrap();
    assert!(
        names(db.parent().unwrap())
            .iter()
            .any(|name| name.contains("levault-pins"))
    );
    backup(&scene, "u", PinMode::default()).unwrap();
    let snapshot = latest(&scene.repo);
    let tree = things(&scene.repo, &trees(&snapshot)[0].root);
    let mine = &b"u/.data.levault-capture-0123456789abcdef/mine"[..];
    assert_eq!(tree.get(mine), Some(&Thing::File(b"mine".to_vec())));
    let is_pins = |path: &&Vec<u8>| String::from_utf8_lossy(path).contains("levault-pins");
    assert_eq!(tree.keys().find(is_pins), None, "ours are not");
}

/// Named pipes are not waited for, whatever they stand for.
#[test]
fn a_pipe_in_the_place_of_a_file_of_a_database_is_not_waited_for() {
    for place in ["ldb", "log", "CURRENT"] {
        let scene = Scene::new();
        let db = scene.database("u/data");
        let all = names(&db);
        let name = all.iter().find(|name| name.ends_with(place)).cloned();
        let path = db.join(name.unwrap_or_else(|| "000099.ldb".into()));
        let _ = fs::remove_file(&path);
        let mode = rustix::fs::Mode::from_bits_retain(0o600);
        rustix::fs::mknodat(CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let _ = backup(&scene, "u", PinMode::default());
        let _ = backup(&scene, "u", PinMode::None);
    }
}
