//! Streams: what a command writes, as one file.

use std::ffi::OsStr;

use levault::error::ErrorKind;
use levault::ops::backup::Backup;
use levault::report::OperationReport;
use levault::source::InputStream;

use super::Scene;
use super::seen::{Thing, latest, things, trees};

impl Scene {
    fn stream(
        &self,
        script: &str,
        name: &str,
    ) -> levault::error::Result<levault::ops::backup::BackupOutcome> {
        let stream = InputStream::of_command(&["sh", "-c", script])?;
        let backup = Backup {
            skip_if_unchanged: true,
            ..Backup::default()
        };
        backup.from_stream(&self.repo, stream, OsStr::new(name), &OperationReport::default())
    }
}

#[test]
fn what_a_command_writes_is_one_file() {
    let scene = Scene::new();
    let script = "i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); echo line $i; done";
    let outcome = scene.stream(script, "lines.txt").unwrap();
    let snapshot = latest(&scene.repo);
    let [tree] = trees(&snapshot)[..] else { panic!() };
    assert_eq!(
        (&tree.name[..], &tree.path[..]),
        ("lines.txt", &b"/lines.txt"[..])
    );
    let expected: String = (1..=200_000).map(|number| format!("line {number}\n")).collect();
    assert_eq!(
        (tree.files, tree.directories, tree.bytes),
        (1, 0, expected.len() as u64)
    );
    assert_eq!(outcome.bytes_read, expected.len() as u64);
    let file = [(b"lines.txt".to_vec(), Thing::File(expected.into_bytes()))];
    assert!(things(&scene.repo, &tree.root) == file.into());
    scene.is_sound();
}

#[test]
fn a_command_that_fails_makes_no_snapshot() {
    let scene = Scene::new();
    let error = scene.stream("echo half; exit 3", "dump").unwrap_err();
    assert!(error.to_string().contains("exit status: 3"), "{error}");
    assert!(scene.repo.select("latest").is_err());
}

#[test]
fn the_same_bytes_again_are_nothing_new() {
    let scene = Scene::new();
    scene.stream("echo same", "dump").unwrap();
    let again = scene.stream("echo same", "dump").unwrap();
    assert_eq!(
        again.unchanged_since,
        Some(scene.repo.select("latest").unwrap().id)
    );
    let other = scene.stream("echo other", "dump").unwrap();
    assert!(other.snapshot.is_some());
    assert!(scene.stream("true", "empty").unwrap().snapshot.is_some());
}

#[test]
fn a_name_is_one() {
    let scene = Scene::new();
    for name in ["", ".", "..", "a/b"] {
        let error = scene.stream("echo x", name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{name}");
    }
}
