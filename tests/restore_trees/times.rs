//! A backup beside databases: what it stores is the directory as it was before, to the nanosecond.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use levault::ops::backup::{Backup, Pinning};
use levault::ops::restore::Overwrite;
use levault::report::Report;

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

fn backup(scene: &Scene, pinning: Pinning) {
    let backup = Backup {
        pinning,
        ..Backup::new(vec![scene.path("home")])
    };
    backup.run(&scene.repo, &scene.report).unwrap();
    scene.has_no_problem();
}

fn comes_back_as_it_was(pinning: Pinning) {
    let scene = world();
    for round in 0..3 {
        let was = seen(&scene.path("home"));
        backup(&scene, pinning);
        scene.restore_over(Overwrite::Always);
        assert_same(&seen(&scene.target()), &was);
        scene.file(&format!("home/a/b/c/new{round}"), "new");
        fs::write(scene.path("home/a/one/beside/inner/NOTES"), [round]).unwrap();
    }
}

#[test]
fn what_is_kept_beside_databases_moves_no_time_that_is_stored() {
    comes_back_as_it_was(Pinning::default());
}

#[test]
fn what_cannot_be_kept_moves_no_time_that_is_stored() {
    // Links to the tables can be had, and are given up when all is read.
    let scene = world();
    let was = seen(&scene.path("home"));
    let backup = Backup {
        physical: true,
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
    backup(&scene, Pinning::None);
    assert_same(&disk::read(&scene.path("home")), &was);
    let dry = Backup {
        dry_run: true,
        ..Backup::new(vec![scene.path("home")])
    };
    dry.run(&scene.repo, &Report::default()).unwrap();
    assert_same(&disk::read(&scene.path("home")), &was);
    scene.restore();
    assert_same(&seen(&scene.target()), &seen(&scene.path("home")));
}

#[test]
fn a_second_backup_makes_nothing_beside_databases() {
    let scene = world();
    backup(&scene, Pinning::default());
    let directories = |disk: Disk| -> Disk {
        let is_directory = |facts: &disk::Facts| facts.thing == disk::Thing::Directory;
        disk.into_iter()
            .filter(|(name, facts)| {
                is_directory(facts) && !String::from_utf8_lossy(name).contains(".levault-")
            })
            .collect()
    };
    let was = directories(disk::read(&scene.path("home")));
    backup(&scene, Pinning::default());
    assert_same(&directories(disk::read(&scene.path("home"))), &was);
}
