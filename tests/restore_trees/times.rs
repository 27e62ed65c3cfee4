//! A backup beside databases: what it stores is the directory as it was before, to the nanosecond.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use levault::ops::backup::{Backup, PinMode};
use levault::ops::restore::OverwriteMode;
use levault::report::OperationReport;

use super::corpora::around;
use super::disk::{self, Disk, assert_same};
use super::scene::Scene;

const DATABASES: [&str; 5] = ["top", "a/one", "a/two", "a/one/beside/inner", "a/b/c/deep"];

/// Databases at several depths, two of them in one directory, and no directory of today.
fn world() -> Scene {
    let scene = Scene::new();
    for name in DATABASES {
        scene.database(&format!("home/{name}"));
    }
    scene.file("home/a/b/file", "file");
    for (number, entry) in walkdir::WalkDir::new(scene.path("home")).into_iter().enumerate() {
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000 + number as u64, 123_456_789);
        File::open(entry.unwrap().path())
            .unwrap()
            .set_modified(time)
            .unwrap();
    }
    scene
}

/// All but what belongs to a database or to pins.
fn seen(root: &Path) -> Disk {
    let mut disk = around(root, &DATABASES.map(str::to_owned));
    disk.retain(|name, _| !String::from_utf8_lossy(name).contains(".levault-"));
    disk
}

fn backup(scene: &Scene, pinning: PinMode) {
    let backup = Backup {
        databases: levault::ops::backup::DatabaseBackupOptions {
            pinning,
            ..Default::default()
        },
        ..Backup::new(vec![scene.path("home")])
    };
    backup.run(&scene.repo, &scene.report).unwrap();
    scene.has_no_problem();
}

fn comes_back_as_it_was(pinning: PinMode) {
    let scene = world();
    for round in 0..3 {
        let was = seen(&scene.path("home"));
        backup(&scene, pinning);
        scene.restore_over(OverwriteMode::Always);
        assert_same(&seen(&scene.target()), &was);
        scene.file(&format!("home/a/b/c/new{round}"), "new");
        fs::write(scene.path("home/a/one/beside/inner/NOTES"), [round]).unwrap();
    }
}

#[test]
fn what_is_kept_beside_databases_moves_no_time_that_is_stored() {
    comes_back_as_it_was(PinMode::default());
}

#[test]
fn what_cannot_be_kept_moves_no_time_that_is_stored() {
    // Links to the tables can be had, and are given up when all is read.
    let scene = world();
    let was = seen(&scene.path("home"));
    let backup = Backup {
        databases: levault::ops::backup::DatabaseBackupOptions {
            physical: true,
            ..Default::default()
        },
        ..Backup::new(vec![scene.path("home")])
    };
    backup.run(&scene.repo, &scene.report).unwrap();
    scene.restore();
    assert_same(&seen(&scene.target()), &was);
}

#[test]
fn without_pins_and_in_a_dry_run_the_source_stays_as_it_is() {
    let scene = world();
    let was = disk::read(&scene.path("home"));
    backup(&scene, PinMode::None);
    assert_same(&disk::read(&scene.path("home")), &was);
    let dry = Backup {
        dry_run: true,
        ..Backup::new(vec![scene.path("home")])
    };
    dry.run(&scene.repo, &OperationReport::default()).unwrap();
    assert_same(&disk::read(&scene.path("home")), &was);
    scene.restore();
    assert_same(&seen(&scene.target()), &seen(&scene.path("home")));
}

#[test]
fn a_second_backup_makes_nothing_beside_databases() {
    let scene = world();
    backup(&scene, PinMode::default());
    let directories = |disk: Disk| -> Disk {
        let is_directory = |facts: &disk::Facts| facts.thing == disk::Thing::Directory;
        disk.into_iter()
            .filter(|(name, facts)| {
                is_directory(facts) && !String::from_utf8_lossy(name).contains(".levault-")
            })
            .collect()
    };
    let was = directories(disk::read(&scene.path("home")));
    backup(&scene, PinMode::default());
    assert_same(&directories(disk::read(&scene.path("home"))), &was);
}

const SECOND: i128 = 1_000_000_000;
/// The year 2300, which 64 bits of nanoseconds do not reach.
const YEAR_2300: i64 = 10_413_792_000;

/// Sets a time of modification, of a link itself.
fn set_time(path: &Path, seconds: i64) {
    let time = |tv_nsec| rustix::fs::Timespec {
        tv_sec: seconds,
        tv_nsec,
    };
    let times = rustix::fs::Timestamps {
        last_access: time(rustix::fs::UTIME_OMIT),
        last_modification: time(123_456_789),
    };
    let no_follow = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, no_follow).unwrap();
}

#[test]
fn times_of_any_age_come_back_to_the_nanosecond() {
    for seconds in [YEAR_2300, -YEAR_2300, i64::MAX, i64::MIN, 16 * YEAR_2300] {
        let scene = Scene::new();
        scene.file("home/dir/file", "content");
        scene.database("home/db");
        std::os::unix::fs::symlink("dir", scene.path("home/link")).unwrap();
        for name in ["dir/file", "link", "dir", "db", ""] {
            set_time(&scene.path("home").join(name), seconds);
        }
        let facts = |root: &Path| around(root, &["db".to_owned()]);
        let was = facts(&scene.path("home"));
        let time = was[&b"dir/file"[..]].mtime_nanos;
        if time != i128::from(seconds) * SECOND + 123_456_789 {
            return super::support::machine::skip("needs a filesystem that keeps all times");
        }
        scene.backup(&["home"]);
        scene.restore();
        scene.has_no_problem();
        assert_same(&facts(&scene.target()), &was);
        let of_directory = |root: &Path| fs::metadata(root.join("db")).unwrap().modified().unwrap();
        assert_eq!(of_directory(&scene.target()), of_directory(&scene.path("home")));
        // Again over what is there, and of the database alone.
        scene.restore_over(OverwriteMode::IfChanged);
        assert_same(&facts(&scene.target()), &was);
        fs::remove_dir_all(scene.target()).unwrap();
        scene.backup(&["home/db"]);
        scene.restore();
        let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        assert_eq!(modified(&scene.target()), modified(&scene.path("home/db")));
    }
}

#[test]
fn a_change_between_two_far_times_is_seen() {
    let scene = Scene::new();
    let file = scene.file("home/file", "AAAA");
    set_time(&file, YEAR_2300);
    std::thread::sleep(Duration::from_millis(2200));
    let backup = Backup {
        databases: levault::ops::backup::DatabaseBackupOptions {
            pinning: PinMode::None,
            ..Default::default()
        },
        files: levault::ops::backup::FileBackupOptions {
            ignore_ctime: true,
            ignore_inode: true,
            ..Default::default()
        },
        ..Backup::new(vec![scene.path("home")])
    };
    backup.run(&scene.repo, &scene.report).unwrap();
    fs::write(&file, "BBBB").unwrap();
    set_time(&file, YEAR_2300 + 3_155_760_000);
    backup.run(&scene.repo, &scene.report).unwrap();
    scene.restore();
    assert_eq!(fs::read(scene.path("target/file")).unwrap(), b"BBBB");
}

/// ext4 ends in 2446: it takes a later time, and keeps another.
#[test]
fn a_time_that_the_target_cannot_keep_is_reported() {
    let scene = Scene::new();
    let disk = tempfile::tempdir().unwrap();
    fs::write(disk.path().join("probe"), "").unwrap();
    set_time(&disk.path().join("probe"), 5 * YEAR_2300);
    let is_kept = disk::read(disk.path())[&b"probe"[..]].mtime_nanos
        == 5 * i128::from(YEAR_2300) * SECOND + 123_456_789;
    if is_kept {
        return super::support::machine::skip("needs a filesystem that keeps no time beyond some century");
    }
    let file = scene.file("home/file", "content");
    set_time(&file, 5 * YEAR_2300);
    scene.backup(&["home"]);
    scene
        .try_restore(|restore| restore.target = disk.path().join("target"))
        .unwrap();
    let problems = scene.report.problems();
    assert!(
        problems.len() == 1 && problems[0].contains("time of modification of 1 things"),
        "{problems:?}"
    );
}
