//! A target that takes names for one another, or keeps none as it was given: nothing replaces what was just restored,
//! and what is not there by its name is reported.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use levault::ops::backup::{Backup, PinMode};
use levault::ops::restore::{OverwriteMode, Restore};
use levault::report::OperationReport;

use super::scene::Scene;
use super::support::machine;

/// A filesystem in a file, mounted as long as this lives.
struct Mounted {
    at: PathBuf,
    device: Option<String>,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.at).output();
        if let Some(device) = &self.device {
            let _ = Command::new("losetup").args(["-d", device]).output();
        }
    }
}

fn succeeds(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(text)
}

fn image(scene: &Scene, mkfs: &[&str]) -> Option<(PathBuf, String)> {
    let image = scene.path("image");
    fs::File::create(&image).unwrap().set_len(100 << 20).unwrap();
    succeeds(Command::new(mkfs[0]).args(&mkfs[1..]).arg(&image))?;
    let device = succeeds(Command::new("losetup").args(["-f", "--show"]).arg(&image))?;
    let at = scene.path("mounted");
    fs::create_dir_all(&at).unwrap();
    Some((at, device))
}

fn exfat(scene: &Scene) -> Option<Mounted> {
    if !machine::needs_root() || !machine::needs_command("mkfs.exfat", "exfatprogs") {
        return None;
    }
    let made = image(scene, &["mkfs.exfat"]).and_then(|(at, device)| {
        let fuse = Command::new("mount.exfat-fuse").arg(&device).arg(&at).output();
        let kernel = || succeeds(Command::new("mount").args(["-t", "exfat", &device]).arg(&at));
        let is_mounted = fuse.is_ok_and(|output| output.status.success()) || kernel().is_some();
        let mounted = Mounted {
            at,
            device: Some(device),
        };
        is_mounted.then_some(mounted)
    });
    if made.is_none() {
        machine::skip("needs an exFAT that can be mounted");
    }
    made
}

/// ext4 that folds case, if this kernel has it.
fn casefold(scene: &Scene) -> Option<Mounted> {
    if !machine::needs_root() || !machine::needs_command("mkfs.ext4", "e2fsprogs") {
        return None;
    }
    let mkfs = ["mkfs.ext4", "-q", "-F", "-O", "casefold", "-E", "encoding=utf8"];
    let made = image(scene, &mkfs).and_then(|(at, device)| {
        let is_mounted = succeeds(Command::new("mount").arg(&device).arg(&at)).is_some();
        let mounted = Mounted {
            at,
            device: Some(device),
        };
        let inner = mounted.at.join("folded");
        let is_folding = is_mounted
            && fs::create_dir(&inner).is_ok()
            && succeeds(Command::new("chattr").arg("+F").arg(&inner)).is_some();
        is_folding.then_some(mounted)
    });
    if made.is_none() {
        machine::skip("needs an ext4 that folds case");
    }
    made
}

const NAMES: [(&str, &str); 8] = [
    ("A", "AAA"),
    ("a", "aa"),
    ("D/x", "1"),
    ("d/x", "22"),
    ("Readme.txt", "mixed"),
    ("README.TXT", "upper"),
    ("sub/\u{c4}", "precomposed upper"),
    ("sub/\u{e4}", "precomposed lower"),
];

/// Every content that is there, sorted.
fn contents(root: &Path) -> Vec<String> {
    let walk = walkdir::WalkDir::new(root).into_iter().flatten();
    let files = walk.filter(|entry| entry.file_type().is_file());
    let mut all: Vec<_> = files
        .map(|entry| fs::read_to_string(entry.path()).unwrap())
        .collect();
    all.sort();
    all
}

/// Restores to `target`; what was reported.
fn restore(scene: &Scene, target: &Path, overwrite: OverwriteMode) -> Vec<String> {
    let report = OperationReport::default();
    let restore = Restore {
        overwrite,
        ..Restore::new(target)
    };
    let stored = scene.repo.select("latest").unwrap();
    if let Err(error) = restore.run(&scene.repo, &stored, &report) {
        report.problem(error.to_string());
    }
    report.problems()
}

/// What is not there must have been named, and what is there is whole.
#[track_caller]
fn all_there_or_named(target: &Path, problems: &[String], what: &str) {
    let there = contents(target);
    for (name, content) in NAMES {
        let is_named = problems
            .iter()
            .any(|problem| problem.contains(name) || problem.contains("/d"));
        let is_there = there.iter().any(|other| other == content);
        assert!(
            is_there || is_named,
            "{what}: {name} is neither there nor named: {there:?}, {problems:#?}"
        );
    }
    assert!(
        !problems.is_empty(),
        "{what}: this filesystem has room for half of the names"
    );
}

fn folds(scene: &Scene, place: &Path) {
    for (name, content) in NAMES {
        scene.file(&format!("source/{name}"), content);
    }
    scene.backup(&["source"]);
    let fresh = place.join("fresh");
    let problems = restore(scene, &fresh, OverwriteMode::Refuse);
    all_there_or_named(&fresh, &problems, "where nothing stands");
    for (number, overwrite) in [
        OverwriteMode::IfChanged,
        OverwriteMode::Always,
        OverwriteMode::IfNewer,
        OverwriteMode::Never,
    ]
    .into_iter()
    .enumerate()
    {
        // Into a directory with something else in it; then over what that left.
        let target = place.join(number.to_string());
        fs::create_dir(&target).unwrap();
        fs::write(target.join("there"), "").unwrap();
        for round in 0..2 {
            let problems = restore(scene, &target, overwrite);
            all_there_or_named(&target, &problems, &format!("{overwrite:?}, round {round}"));
        }
    }
}

#[test]
fn on_exfat_no_name_replaces_another_of_the_same_restore() {
    let scene = Scene::new();
    if let Some(mounted) = exfat(&scene) {
        folds(&scene, &mounted.at);
    }
}

#[test]
fn on_an_ext4_that_folds_case_no_name_replaces_another_of_the_same_restore() {
    let scene = Scene::new();
    if let Some(mounted) = casefold(&scene) {
        folds(&scene, &mounted.at.join("folded"));
    }
}

#[test]
fn a_link_in_the_way_of_a_folded_name_takes_nothing_away() {
    let scene = Scene::new();
    let Some(mounted) = casefold(&scene) else {
        return;
    };
    scene.file("source/Name", "content");
    std::os::unix::fs::symlink("nowhere", scene.path("source/name")).unwrap();
    scene.backup(&["source"]);
    for overwrite in [OverwriteMode::Refuse, OverwriteMode::Always] {
        let target = mounted.at.join("folded").join(format!("{overwrite:?}"));
        if overwrite == OverwriteMode::Always {
            fs::create_dir(&target).unwrap();
            fs::write(target.join("there"), "").unwrap();
        }
        let problems = restore(&scene, &target, overwrite);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(fs::read_to_string(target.join("NAME")).unwrap(), "content");
    }
}

#[test]
fn databases_whose_names_are_one_do_not_replace_each_other() {
    let scene = Scene::new();
    let Some(mounted) = casefold(&scene) else {
        return;
    };
    let place = mounted.at.join("folded");
    let upper = scene.database("source/Data");
    scene.database("source/data");
    let backup = Backup {
        databases: levault::ops::backup::DatabaseBackupOptions {
            pinning: PinMode::None,
            ..Default::default()
        },
        ..Backup::new(vec![scene.path("source")])
    };
    backup.run(&scene.repo, &OperationReport::default()).unwrap();
    for overwrite in [
        OverwriteMode::Refuse,
        OverwriteMode::Always,
        OverwriteMode::IfChanged,
    ] {
        let target = place.join(format!("{overwrite:?}"));
        if overwrite != OverwriteMode::Refuse {
            fs::create_dir(&target).unwrap();
            fs::write(target.join("there"), "").unwrap();
        }
        let problems = restore(&scene, &target, overwrite);
        assert_eq!(problems.len(), 1, "{overwrite:?}: {problems:?}");
        assert_eq!(super::common::scan(&target.join("Data")).unwrap(), upper);
    }
}

#[test]
fn a_name_that_the_filesystem_cannot_keep_is_reported() {
    let scene = Scene::new();
    let Some(mounted) = exfat(&scene) else {
        return;
    };
    for name in [
        "plain",
        "trailing dot.",
        "trailing space ",
        "a:b",
        "a*b",
        "a\\b",
        "tab\tname",
    ] {
        scene.file(&format!("source/{name}"), name);
    }
    scene.backup(&["source"]);
    let target = mounted.at.join("target");
    let problems = restore(&scene, &target, OverwriteMode::Refuse);
    let listed: Vec<_> = walkdir::WalkDir::new(&target)
        .into_iter()
        .flatten()
        .map(|entry| entry.file_name().to_str().unwrap().to_owned())
        .collect();
    for name in [
        "plain",
        "trailing dot.",
        "trailing space ",
        "a:b",
        "a*b",
        "a\\b",
        "tab\tname",
    ] {
        let is_named = problems.iter().any(|problem| problem.contains(name));
        assert!(
            listed.iter().any(|other| other == name) || is_named,
            "{name:?}: {problems:#?}"
        );
    }
}

#[test]
fn names_that_cannot_be_linked_become_files_of_their_own() {
    let scene = Scene::new();
    let Some(mounted) = exfat(&scene) else {
        return;
    };
    let first = scene.file("source/a", "content");
    for name in ["b", "c"] {
        fs::hard_link(&first, scene.path("source").join(name)).unwrap();
    }
    scene.backup(&["source"]);
    for overwrite in [OverwriteMode::Refuse, OverwriteMode::Always] {
        let target = mounted.at.join(format!("{overwrite:?}"));
        if overwrite == OverwriteMode::Always {
            fs::create_dir(&target).unwrap();
            fs::write(target.join("there"), "").unwrap();
        }
        let problems = restore(&scene, &target, overwrite);
        assert!(
            !problems.iter().any(|problem| problem.contains("time of")),
            "{problems:?}"
        );
        for name in ["a", "b", "c"] {
            assert_eq!(
                fs::read_to_string(target.join(name)).unwrap(),
                "content",
                "{overwrite:?}"
            );
        }
    }
}
